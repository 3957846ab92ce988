//! What happens on bad lines, with a silent server, with too many callers, and among racing writers?

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_base::{
    ErrorKind, FeatureBlock, OnPartial, OnlineDelete, OnlineStore, ReadOptions, RowStatus, Span, WriteOptions,
};
use larder_conformance::{FaultProxy, Race, trouble};
use larder_postgres::PostgresConfig;

use super::common::{keys, layout, open, read, read_with, request, write};
use super::server::Server;

async fn through(server: &Server) -> (FaultProxy, PostgresConfig) {
    let proxy = FaultProxy::start(server.address()).await.expect("a proxy");
    let mut config = PostgresConfig::new(format!("postgresql://postgres@{}/postgres", proxy.address()));
    config.timeout = Span(300_000);
    config.connect_timeout = Span(300_000);
    config.write_timeout = Span::seconds(2);
    (proxy, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn a_read_is_one_round_trip_for_all_views() {
    let server = Server::start();
    let (proxy, config) = through(&server).await;
    let store = open(&config);
    let views: Vec<_> = (1..=20).map(|n| layout("shop", &format!("v{n}"), n)).collect();
    let rows: Vec<_> = (0..1_000).map(|key| (key, 1, key)).collect();
    for view in &views {
        write(&store, view, &rows).await.expect("a write");
    }
    let views: Vec<_> = views.iter().collect();
    let names: Vec<i64> = (0..1_000).chain([7, 7, -1]).collect();
    let request = request(&views, &names);
    let mut block = FeatureBlock::new();
    let ask = async |block: &mut FeatureBlock| {
        store
            .read(&request, &ReadOptions::default(), block)
            .await
            .expect("a read");
    };
    ask(&mut block).await;
    let before = proxy.exchanges();
    ask(&mut block).await;
    assert_eq!(proxy.exchanges() - before, 1);
    for slot in 0..20 {
        let status = |row| block.status(slot, row);
        assert!((0..1_002).all(|row| status(row) == RowStatus::Present));
        assert_eq!(status(1_002), RowStatus::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn reads_fail_fast_and_recover() {
    let server = Server::start();
    let (proxy, config) = through(&server).await;
    let store = open(&config);
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    let fine = async || assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [Some((1, 1))]);
    fine().await;
    // A line that was cut while nobody used it is no error.
    proxy.cut();
    fine().await;
    proxy.half_close();
    fine().await;
    let fails = async |kind: ErrorKind| {
        let start = Instant::now();
        let error = read(&store, &view, &[1]).await.expect_err("a bad line");
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let partial = ReadOptions::new().on_partial(OnPartial::Return);
        let found = read_with(&store, &view, &[1], partial)
            .await
            .expect("a partial answer");
        assert_eq!(found, [(RowStatus::Unavailable, None)]);
    };
    proxy.refuse();
    proxy.cut();
    fails(ErrorKind::Unavailable).await;
    proxy.pass();
    fine().await;
    proxy.silence();
    let start = Instant::now();
    let error = read(&store, &view, &[1]).await.expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    assert!(start.elapsed() < Duration::from_secs(1));
    let deadline = ReadOptions::new().timeout(Duration::from_millis(20));
    let error = read_with(&store, &view, &[1], deadline)
        .await
        .expect_err("a deadline");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    proxy.pass();
    proxy.cut();
    fine().await;
    // The server itself stops in its tracks.
    server.freeze();
    let error = read(&store, &view, &[1]).await.expect_err("a frozen server");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    server.thaw();
    fine().await;
    // An answer that ends in the middle, again and again.
    proxy.cut_after(600);
    let _ = read(&store, &view, &[1]).await;
    proxy.pass();
    proxy.cut();
    fine().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn writes_are_tried_again() {
    let server = Server::start();
    let (proxy, config) = through(&server).await;
    let store = open(&config);
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    proxy.refuse();
    proxy.cut();
    let later = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        proxy.pass();
    };
    let rows: Vec<_> = (0..5_000).map(|key| (key, 2, key)).collect();
    let (report, ()) = tokio::join!(write(&store, &view, &rows), later);
    assert_eq!(report.expect("a write that waits").written, 5_000);
    proxy.refuse();
    proxy.cut();
    let error = write(&store, &view, &rows).await.expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn connections_are_limited() {
    let server = Server::start();
    let (proxy, mut config) = through(&server).await;
    config.connections = 2;
    config.timeout = Span::seconds(20);
    let store = Arc::new(open(&config));
    let view = layout("shop", "v", 1);
    write(&*store, &view, &[(1, 1, 1)]).await.expect("a write");
    let before = proxy.connections();
    let reads = (0..200).map(|_| {
        let (store, view) = (store.clone(), view.clone());
        tokio::spawn(async move { read(&*store, &view, &[1]).await })
    });
    for read in reads.collect::<Vec<_>>() {
        assert_eq!(read.await.expect("no panic").expect("a read"), [Some((1, 1))]);
    }
    assert!(
        proxy.connections() - before <= 2,
        "{}",
        proxy.connections() - before
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn sixteen_writers_leave_the_newest() {
    let server = Server::start();
    let mut config = PostgresConfig::new(server.url());
    config.write_connections = 4;
    let stores = (0..4).map(|_| Arc::new(open(&config))).collect();
    let report = Race::sixteen().run(stores, |_| {}).await;
    assert_eq!(report.failed, 0, "nobody stands in another's way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn writers_leave_the_newest_over_lines_that_break() {
    let server = Server::start();
    let (first, config) = through(&server).await;
    let (second, other) = through(&server).await;
    let stores = vec![Arc::new(open(&config)), Arc::new(open(&other))];
    let lines = [first, second];
    let race = Race {
        writers: 8,
        keys: 300,
        rows: 100,
        lasts: Duration::from_secs(5),
    };
    race.run(stores, |round| trouble(&lines, round)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn expired_rows_leave_and_tombstones_stay_their_time() {
    let server = Server::start();
    let store = open(&PostgresConfig::new(server.url()));
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1), (2, 1, 1)])
        .await
        .expect("a write");
    let delete = OnlineDelete {
        layout: view.clone(),
        keys: keys(&view, &[1]),
        at: larder_base::Micros(5),
        now: larder_base::Micros(5),
    };
    store
        .delete(&delete, &WriteOptions::default())
        .await
        .expect("a deletion");
    let rows = || server.sql("SELECT count(*) FROM larder_online_shop WHERE generation >= 0");
    store.reclaim(view.project(), &[]).await.expect("nothing to do");
    assert_eq!(rows(), "2");
    server.sql("UPDATE larder_online_shop SET expires = 1 WHERE expires IS NOT NULL");
    store.reclaim(view.project(), &[]).await.expect("one to remove");
    assert_eq!(rows(), "1");
    assert_eq!(
        read(&store, &view, &[1, 2]).await.expect("a read"),
        [None, Some((1, 1))]
    );
}
