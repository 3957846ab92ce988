//! What does the store make of a line that is slow, silent, cut or half closed, and of writers that race on it?

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_base::{
    ErrorKind, FeatureBlock, Micros, OnPartial, OnlineStore, OnlineWrite, PackedRows, ReadOptions, RowStatus,
    Slot, Span, Value, ValueType, ViewLayout, WriteOptions,
};
use larder_conformance::{FaultProxy, Race, eventually, trouble};
use larder_redis::RedisConfig;

use super::cluster_kit::Configured;
use super::common::{keys, layout, open, plain_layout, read, read_with, request, write};
use super::server::Server;

async fn line(server: &Server) -> FaultProxy {
    let target = std::net::SocketAddr::from(([127, 0, 0, 1], server.port));
    FaultProxy::start(target).await.expect("a proxy")
}

fn through(proxy: &FaultProxy) -> RedisConfig {
    let mut config = RedisConfig::new(format!("redis://{}", proxy.address()));
    config.timeout = Span(300_000);
    config.connect_timeout = Span(500_000);
    config.write_timeout = Span::seconds(2);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_read_is_one_exchange_whatever_its_size() {
    let server = Server::start();
    let proxy = line(&server).await;
    let mut config = through(&proxy);
    config.connections = 1;
    let store = open(&config);
    let views: Vec<_> = (0..20).map(|n| layout("shop", &format!("v{n}"), n + 1)).collect();
    for view in &views {
        let rows: Vec<_> = (0..1_000).map(|key| (key, 1, key)).collect();
        write(&store, view, &rows).await.expect("a write");
    }
    let mut block = FeatureBlock::new();
    for (entities, of) in [
        (1, 1),
        (1, 3),
        (10, 3),
        (100, 3),
        (1_000, 3),
        (1, 20),
        (250, 20),
        (5_000, 1),
    ] {
        let asked: Vec<_> = views.iter().take(of).collect();
        let names: Vec<i64> = (0..entities).collect();
        let request = request(&asked, &names);
        // The first read connects.
        store
            .read(&request, &ReadOptions::new(), &mut block)
            .await
            .expect("a read");
        let before = proxy.exchanges();
        for _ in 0..3 {
            store
                .read(&request, &ReadOptions::new(), &mut block)
                .await
                .expect("a read");
        }
        assert_eq!(proxy.exchanges() - before, 3, "{entities} entities of {of} views");
        let status = |row: i64| {
            if row < 1_000 {
                RowStatus::Present
            } else {
                RowStatus::NotFound
            }
        };
        assert!(
            names
                .iter()
                .all(|row| block.status(0, *row as usize) == status(*row))
        );
    }
    // Beyond one command the answers begin before the question has ended, on the one connection all the same.
    let names: Vec<i64> = (0..10_000).collect();
    let asked: Vec<_> = views.iter().collect();
    let connections = proxy.connections();
    store
        .read(&request(&asked, &names), &ReadOptions::new(), &mut block)
        .await
        .expect("a read");
    assert!((0..20).all(|slot| block.status(slot, 999) == RowStatus::Present));
    assert_eq!(proxy.connections(), connections);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_slow_line_costs_the_deadline_and_bytes_that_come_are_waited_for() {
    let server = Server::start();
    let proxy = line(&server).await;
    let store = open(&through(&proxy));
    let text = Arc::new(ViewLayout::new(
        larder_base::ProjectName::new("shop").expect("a name"),
        larder_base::ViewName::new("large").expect("a name"),
        larder_base::Generation(9),
        plain_layout("shop", "large", 9).join_keys().to_vec(),
        vec![Slot::new(
            larder_base::FeatureName::new("text").expect("a name"),
            ValueType::STRING,
        )],
    ));
    let mut rows = PackedRows::new();
    let value = "x".repeat(1 << 20);
    for event in 0..3 {
        rows.push_values(&text, Micros(event), None, &[Value::str(&value)])
            .expect("a row");
    }
    let batch = OnlineWrite::new(text.clone(), keys(&text, &[1, 2, 3]), Arc::new(rows));
    store
        .write(&batch, &WriteOptions::default())
        .await
        .expect("a write of 3 MiB");

    proxy.delay(Duration::from_millis(60));
    let started = Instant::now();
    let options = ReadOptions::new().timeout(Duration::from_millis(20));
    let mut block = FeatureBlock::new();
    let asked = request(&[&text], &[1, 2, 3]);
    let error = store
        .read(&asked, &options, &mut block)
        .await
        .expect_err("too slow");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        started.elapsed() < Duration::from_millis(60),
        "{:?}",
        started.elapsed()
    );
    let partial = options.on_partial(OnPartial::Return);
    store
        .read(&asked, &partial, &mut block)
        .await
        .expect("a partial answer");
    assert_eq!(block.status(0, 0), RowStatus::Unavailable);
    store
        .read(&asked, &ReadOptions::new(), &mut block)
        .await
        .expect("slow, and in time");
    assert_eq!(block.status(0, 2), RowStatus::Present);

    // More than the timeout in all, and never that long without a byte.
    proxy.pass();
    proxy.throttle(4 << 20);
    let started = Instant::now();
    store
        .read(&asked, &ReadOptions::new(), &mut block)
        .await
        .expect("a slow answer");
    assert!(
        started.elapsed() > Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(block.packed(0, 1).map(|row| row.len() > 1 << 20), Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_silent_line_is_left_for_a_new_one() {
    let server = Server::start();
    let proxy = line(&server).await;
    let store = open(&through(&proxy));
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    proxy.silence();
    let error = read(&store, &view, &[1]).await.expect_err("silence");
    assert!(
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable),
        "{}",
        error.chain()
    );
    proxy.pass();
    assert_eq!(eventually(|| read(&store, &view, &[1])).await, [Some((1, 1))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn silence_shows_though_questions_go_out_all_the_time() {
    let server = Server::start();
    let proxy = line(&server).await;
    let mut config = through(&proxy);
    config.connections = 1;
    let store = Arc::new(open(&config));
    let view = layout("shop", "v", 1);
    write(&*store, &view, &[(1, 1, 1)]).await.expect("a write");
    read(&*store, &view, &[1]).await.expect("a read");
    proxy.silence();
    let mut reads = Vec::new();
    for _ in 0..30 {
        let (store, view) = (store.clone(), view.clone());
        reads.push(tokio::spawn(async move {
            let started = Instant::now();
            (read(&*store, &view, &[1]).await, started.elapsed())
        }));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for read in reads {
        let (answer, lasted) = read.await.expect("no panic");
        answer.expect_err("silence");
        // One timeout, and perhaps one for connecting.
        assert!(lasted < Duration::from_millis(1_200), "{lasted:?}");
    }
    proxy.pass();
    assert_eq!(eventually(|| read(&*store, &view, &[1])).await, [Some((1, 1))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_sweep_begins_anew_where_another_server_answers() {
    let servers = [Server::start(), Server::start()];
    let (retired, other) = (layout("shop", "v", 1), layout("shop", "w", 2));
    let rows: Vec<_> = (0..4_000).map(|key| (key, 1, key)).collect();
    for server in &servers {
        write(&open(&server.config()), &retired, &rows)
            .await
            .expect("a write");
    }
    let proxy = line(&servers[0]).await;
    let mut config = through(&proxy);
    config.reclaim_rate = 1_500;
    let store = Arc::new(open(&config));
    let sweep = {
        let (store, project) = (store.clone(), retired.project().clone());
        let generation = retired.generation();
        tokio::spawn(async move { store.reclaim(&project, &[generation]).await })
    };
    super::server::until("the sweep has begun", || servers[0].cli(&["DBSIZE"]) != "4000");
    // While it rests, somebody else finds the line cut and makes another one.
    proxy.point_at(std::net::SocketAddr::from(([127, 0, 0, 1], servers[1].port)));
    proxy.cut();
    eventually(|| write(&*store, &other, &[(1, 1, 1)])).await;
    assert!(!sweep.is_finished());
    sweep.await.expect("no panic").expect("a sweep");
    assert_eq!(servers[1].cli(&["DBSIZE"]), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_line_that_was_cut_or_half_closed_between_requests_goes_unnoticed() {
    let server = Server::start();
    let proxy = line(&server).await;
    let store = open(&through(&proxy));
    let view = layout("shop", "v", 1);
    for event in 1..20 {
        write(&store, &view, &[(1, event, event)]).await.expect("a write");
        assert_eq!(
            read(&store, &view, &[1]).await.expect("a read"),
            [Some((event, event))]
        );
        match event % 2 {
            0 => proxy.cut(),
            _ => proxy.half_close(),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.cut();
    proxy.refuse();
    let started = Instant::now();
    for _ in 0..50 {
        let error = read(&store, &view, &[1]).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    proxy.pass();
    assert_eq!(eventually(|| read(&store, &view, &[1])).await, [Some((19, 19))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn an_answer_that_is_cut_in_the_middle_is_never_taken_for_whole() {
    let server = Server::start();
    let good = open(&server.config());
    let view = layout("shop", "v", 1);
    let rows: Vec<_> = (0..300).map(|key| (key, key + 1, key * 7)).collect();
    write(&good, &view, &rows).await.expect("a write");
    let names: Vec<i64> = (0..300).collect();
    for limit in [60, 61, 70, 100, 1_000, 5_000, 12_000] {
        let proxy = line(&server).await;
        let store = open(&through(&proxy));
        proxy.cut_after(limit);
        match read(&store, &view, &names).await {
            Ok(found) => assert!(
                (0..)
                    .zip(found)
                    .all(|(key, found)| found == Some((key + 1, key * 7)))
            ),
            Err(error) => assert!(error.is_retryable(), "{limit}: {}", error.chain()),
        }
        let report = store
            .write(&super::common::batch(&view, &rows), &WriteOptions::default())
            .await;
        assert!(
            report
                .as_ref()
                .map_or_else(|error| error.is_retryable(), |report| report.written == 300)
        );
        proxy.pass();
        assert_eq!(eventually(|| read(&store, &view, &names)).await.len(), 300);
    }
    assert!(
        read(&good, &view, &names)
            .await
            .expect("a read")
            .iter()
            .all(Option::is_some)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn every_key_ends_at_its_newest_value() {
    let server = Server::start();
    let stores = (0..4).map(|_| Arc::new(open(&server.config()))).collect();
    Race::sixteen().run(stores, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn every_key_ends_at_its_newest_value_over_lines_that_break() {
    let server = Server::start();
    let lines = [line(&server).await, line(&server).await];
    let stores = lines.iter().map(|line| Arc::new(open(&through(line)))).collect();
    let race = Race {
        writers: 8,
        keys: 300,
        rows: 100,
        lasts: Duration::from_secs(5),
    };
    race.run(stores, |round| trouble(&lines, round)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_read_whose_caller_leaves_harms_nobody() {
    let server = Server::start();
    let proxy = line(&server).await;
    let store = open(&through(&proxy));
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1), (2, 2, 2)])
        .await
        .expect("a write");
    proxy.delay(Duration::from_millis(5));
    for round in 0..50 {
        let options = ReadOptions::new().timeout(Duration::from_millis(round % 12));
        let _ = read_with(&store, &view, &[1], options).await;
        // The answer that nobody waited for is not taken for this one.
        assert_eq!(read(&store, &view, &[2]).await.expect("a read"), [Some((2, 2))]);
    }
}
