//! What happens on bad lines, with a silent server, with too many callers, and among racing writers?

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_base::{BuildContext, ErrorKind, OnPartial, ReadOptions, RowStatus, Span};
use larder_conformance::{FaultProxy, Race, trouble};
use larder_dynamodb::{DynamoDbConfig, DynamoDbStore};

use super::common::{config, layout, open, prepare, read, read_with, write};
use super::server::Server;
use super::stub::{Stub, Trick, refused, throttled};

async fn through(server: &Server) -> (FaultProxy, DynamoDbConfig) {
    let proxy = FaultProxy::start(server.address()).await.expect("a proxy");
    let mut config = config(format!("http://{}", proxy.address()));
    config.timeout = Span(300_000);
    config.connect_timeout = Span(300_000);
    config.write_timeout = Span::seconds(2);
    (proxy, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn reads_fail_fast_and_recover() {
    let server = Server::start();
    let (proxy, config) = through(&server).await;
    let store = open(&config).await;
    let view = layout("shop", "v", 1);
    prepare(&store, &view).await;
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    let fine = async || assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [Some((1, 1))]);
    fine().await;
    // A line that was cut while nobody used it is no error.
    proxy.cut();
    fine().await;
    proxy.half_close();
    fine().await;
    proxy.refuse();
    proxy.cut();
    let start = Instant::now();
    let error = read(&store, &view, &[1]).await.expect_err("a bad line");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let partial = ReadOptions::new().on_partial(OnPartial::Return);
    let found = read_with(&store, &view, &[1], partial).await;
    assert_eq!(found.expect("a partial answer"), [(RowStatus::Unavailable, None)]);
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
    let found = read_with(&store, &view, &[1], deadline.on_partial(OnPartial::Return)).await;
    assert_eq!(found.expect("a partial answer"), [(RowStatus::Unavailable, None)]);
    proxy.pass();
    fine().await;
    // The server itself stops in its tracks.
    server.freeze();
    let error = read(&store, &view, &[1]).await.expect_err("a frozen server");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    server.thaw();
    fine().await;
    // A slow line is slow, and no error.
    proxy.delay(Duration::from_millis(60));
    fine().await;
    // An answer that ends in the middle, again and again.
    proxy.pass();
    proxy.cut();
    proxy.cut_after(60);
    let error = read(&store, &view, &[1]).await.expect_err("half an answer");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    proxy.pass();
    proxy.cut();
    fine().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn writes_are_tried_again() {
    let server = Server::start();
    let (proxy, config) = through(&server).await;
    let store = open(&config).await;
    let view = layout("shop", "v", 1);
    prepare(&store, &view).await;
    proxy.refuse();
    proxy.cut();
    let later = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        proxy.pass();
    };
    let rows: Vec<_> = (0..300).map(|key| (key, 2, key)).collect();
    let (report, ()) = tokio::join!(write(&store, &view, &rows), later);
    assert_eq!(report.expect("a write that waits").written, 300);
    proxy.refuse();
    proxy.cut();
    let start = Instant::now();
    let error = write(&store, &view, &rows).await.expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn requests_under_way_are_limited() {
    let server = Server::start();
    let stub = Stub::start(server.address()).await;
    let mut config = config(stub.endpoint());
    config.connections = 3;
    config.timeout = Span::seconds(20);
    let store = Arc::new(open(&config).await);
    let view = layout("shop", "v", 1);
    prepare(&*store, &view).await;
    stub.delay(Duration::from_millis(5));
    let reads = (0..200).map(|_| {
        let (store, view) = (store.clone(), view.clone());
        tokio::spawn(async move { read(&*store, &view, &[1]).await })
    });
    for read in reads.collect::<Vec<_>>() {
        assert_eq!(read.await.expect("no panic").expect("a read"), [None]);
    }
    assert_eq!(stub.most_under_way(), 3);
    // Who waits too long is told so.
    config.timeout = Span(100_000);
    let store = Arc::new(open(&config).await);
    stub.delay(Duration::from_millis(80));
    let reads = (0..30).map(|_| {
        let (store, view) = (store.clone(), view.clone());
        tokio::spawn(async move { read(&*store, &view, &[1]).await })
    });
    let mut kinds = Vec::new();
    for read in reads.collect::<Vec<_>>() {
        kinds.extend(read.await.expect("no panic").err().map(|error| error.kind()));
    }
    assert!(kinds.contains(&ErrorKind::Overloaded), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn sixteen_writers_leave_the_newest() {
    let server = Server::start();
    let mut config = config(server.endpoint());
    config.write_connections = 4;
    config.timeout = Span::seconds(20);
    config.write_timeout = Span::seconds(30);
    prepare(&open(&config).await, &layout("shop", "race", 5)).await;
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(Arc::new(open(&config).await));
    }
    let report = Race::sixteen().run(stores, |_| {}).await;
    assert_eq!(report.failed, 0, "nobody stands in another's way");
}

/// Old tries come late, and nobody knows of some whether they were done.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn writers_leave_the_newest_while_dynamodb_refuses_and_fails() {
    let server = Server::start();
    let stub = Stub::start(server.address()).await;
    let mut config = config(stub.endpoint());
    config.write_connections = 8;
    config.timeout = Span::seconds(5);
    config.write_timeout = Span::seconds(5);
    prepare(&open(&config).await, &layout("shop", "race", 5)).await;
    let stores = vec![Arc::new(open(&config).await), Arc::new(open(&config).await)];
    let race = Race {
        writers: 8,
        keys: 200,
        rows: 40,
        lasts: Duration::from_secs(8),
    };
    race.run(stores, |round| {
        stub.play(match round % 5 {
            0 => throttled(3),
            1 => Trick::LoseAnswers { every: 9 },
            2 => refused(5, 500, "InternalServerError", "sorry"),
            3 => Trick::LeaveOver { nothing: 4 },
            _ => Trick::Pass,
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn writers_leave_the_newest_over_lines_that_break() {
    let server = Server::start();
    let (first, mut config) = through(&server).await;
    let (second, mut other) = through(&server).await;
    prepare(&open(&config).await, &layout("shop", "race", 5)).await;
    (config.timeout, other.timeout) = (Span::seconds(1), Span::seconds(1));
    let stores = vec![Arc::new(open(&config).await), Arc::new(open(&other).await)];
    let lines = [first, second];
    let race = Race {
        writers: 8,
        keys: 200,
        rows: 40,
        lasts: Duration::from_secs(8),
    };
    race.run(stores, |round| trouble(&lines, round)).await;
}

#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn who_has_no_credentials_or_names_nobody_is_told_what_to_do() {
    let server = Server::start();
    let view = layout("shop", "v", 1);
    let mut nobody = config("http://127.0.0.1:9");
    nobody.connect_timeout = Span(300_000);
    let error = read(&open(&nobody).await, &view, &[1])
        .await
        .expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert!(error.chain().contains("cannot be reached"), "{}", error.chain());
    // A profile that is nowhere has no credentials.
    let mut config = config(server.endpoint());
    (config.access_key_id, config.secret_access_key) = (None, None);
    config.profile = Some("surely-not-there".to_owned());
    config.timeout = Span::seconds(20);
    let store = DynamoDbStore::new(&config, &BuildContext::new("/nowhere"))
        .await
        .expect("a store");
    let error = read(&store, &view, &[1]).await.expect_err("no credentials");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(error.chain().contains("access_key_id"), "{}", error.chain());
    config.ca = Some("nowhere.pem".into());
    let error = DynamoDbStore::new(&config, &BuildContext::new("/nowhere"))
        .await
        .expect_err("no file");
    assert!(
        error.chain().contains("/nowhere/nowhere.pem"),
        "{}",
        error.chain()
    );
}
