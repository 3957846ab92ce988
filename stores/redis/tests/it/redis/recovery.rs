//! Does the store get over a server that dies, sleeps or comes back empty, without being started again?

use std::time::{Duration, Instant};

use larder_base::OnlineStore;
use larder_base::{ErrorKind, OnPartial, ProjectName, ReadOptions, RowStatus, Span};
use larder_conformance::eventually;

use super::cluster_kit::Configured;
use super::common::{layout, open, read, read_with, write};
use super::server::{Server, free_port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn nothing_acknowledged_is_lost_by_a_durable_server_that_is_killed() {
    let mut server = Server::durable();
    let mut config = server.config();
    config.write_timeout = Span::seconds(1);
    let store = open(&config);
    let view = layout("shop", "v", 1);
    let mut acknowledged = 0;
    for round in 1..=3 {
        for event in 1..=40 {
            let event = round * 100 + event;
            write(&store, &view, &[(1, event, event)]).await.expect("a write");
            acknowledged = event;
        }
        server.kill();
        let started = Instant::now();
        let error = read(&store, &view, &[1]).await.expect_err("it is dead");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
        let error = write(&store, &view, &[(1, 9_999, 0)])
            .await
            .expect_err("it is dead");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "failing took {:?}",
            started.elapsed()
        );
        server.run();
        assert_eq!(
            eventually(|| read(&store, &view, &[1])).await,
            [Some((acknowledged, acknowledged))]
        );
        let older = [(1, acknowledged - 1, 0)];
        let report = eventually(|| write(&store, &view, &older)).await;
        assert_eq!((report.written, report.stale), (0, 1));
    }
    assert_eq!(acknowledged, 340);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_server_that_came_back_empty_has_no_identity() {
    let mut server = Server::start();
    let store = open(&server.config());
    let project = ProjectName::new("shop").expect("a name");
    let changes = larder_base::LayoutChanges {
        project: project.clone(),
        layouts: vec![],
    };
    let first = store.prepare(&changes).await.expect("an identity");
    server.kill();
    server.run();
    assert_eq!(eventually(|| store.identity(&project)).await, None);
    assert_ne!(store.prepare(&changes).await.expect("an identity"), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_sleeping_server_costs_a_timeout_and_no_more() {
    let server = Server::start();
    let mut config = server.config();
    config.timeout = Span(200_000);
    config.connect_timeout = Span(200_000);
    let store = open(&config);
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    read(&store, &view, &[1]).await.expect("a read");
    server.freeze();
    for _ in 0..5 {
        let started = Instant::now();
        let error = read(&store, &view, &[1]).await.expect_err("it sleeps");
        assert!(
            matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable),
            "{}",
            error.chain()
        );
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "{:?}",
            started.elapsed()
        );
    }
    // The caller's own deadline counts before the store's.
    let started = Instant::now();
    let options = ReadOptions::new().timeout(Duration::from_millis(20));
    let error = read_with(&store, &view, &[1], options)
        .await
        .expect_err("it sleeps");
    assert!(
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable),
        "{}",
        error.chain()
    );
    assert!(
        started.elapsed() < Duration::from_millis(150),
        "{:?}",
        started.elapsed()
    );
    let found = read_with(&store, &view, &[1], options.on_partial(OnPartial::Return))
        .await
        .expect("a partial answer");
    assert_eq!(found, [(RowStatus::Unavailable, None)]);
    server.thaw();
    assert_eq!(eventually(|| read(&store, &view, &[1])).await, [Some((1, 1))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let store = open(&larder_redis::RedisConfig::new(format!(
        "redis://127.0.0.1:{}",
        free_port()
    )));
    let view = layout("shop", "v", 1);
    let started = Instant::now();
    for _ in 0..200 {
        let error = read(&store, &view, &[1]).await.expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.chain().contains("127.0.0.1") && error.remedy().is_some(),
            "{}",
            error.chain()
        );
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "200 failures took {:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_full_server_says_so_and_loses_nothing() {
    let server = Server::with(&["--save", "", "--maxmemory-policy", "noeviction"]);
    let mut config = server.config();
    config.write_timeout = Span::seconds(1);
    let store = open(&config);
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let rows: Vec<_> = (0..20_000).map(|key| (key, 2, key)).collect();
    let error = write(&store, &view, &rows).await.expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert!(
        error.remedy().is_some_and(|help| help.contains("maxmemory")),
        "{}",
        error.chain()
    );
    assert!(read(&store, &view, &[1]).await.expect("a read")[0].is_some());
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    write(&store, &view, &rows).await.expect("a write");
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let health = store.check().await.expect("an answer");
    assert!(
        health
            .warnings
            .iter()
            .any(|warning| warning.contains("noeviction")),
        "{health:?}"
    );
}
