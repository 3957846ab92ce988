//! What happens where somebody holds a lock, or the first of several hosts falls silent?

use std::time::{Duration, Instant};

use larder_base::{ErrorKind, OnlineStore, Span};
use larder_conformance::FaultProxy;
use larder_postgres::PostgresConfig;

use super::common::{layout, open, read, write};
use super::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn somebodys_lock_is_named_and_costs_no_connection() {
    let server = Server::start();
    let mut config = PostgresConfig::new(server.url());
    config.timeout = Span(600_000);
    config.write_timeout = Span(2_400_000);
    let store = open(&config);
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    let held = server.hold("LOCK TABLE larder_online_shop IN ACCESS EXCLUSIVE MODE");
    let started = Instant::now();
    let error = read(&store, &view, &[1]).await.expect_err("a lock");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    assert!(error.to_string().contains("somebody's lock"), "{}", error.chain());
    assert!(
        started.elapsed() < Duration::from_millis(600),
        "{:?}",
        started.elapsed()
    );
    let error = write(&store, &view, &[(1, 2, 2)]).await.expect_err("a lock");
    assert!(error.to_string().contains("somebody's lock"), "{}", error.chain());
    // The server gives the statement up by another limit.
    let mut short = config.clone();
    short.url = larder_base::Secret::new(format!("{}?options=-c%20statement_timeout%3D50", server.url()));
    let error = read(&open(&short), &view, &[1]).await.expect_err("a lock");
    assert!(error.to_string().contains("cancelled"), "{}", error.chain());
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    drop(held);
    write(&store, &view, &[(1, 3, 3)]).await.expect("a write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn expired_rows_that_somebody_holds_are_left_for_the_next_time() {
    let server = Server::start();
    let store = open(&PostgresConfig::new(server.url()));
    let view = layout("shop", "v", 1);
    let rows: Vec<_> = (0..5_000).map(|key| (key, 1, key)).collect();
    write(&store, &view, &rows).await.expect("a write");
    server.sql("UPDATE larder_online_shop SET expires = 1 WHERE generation >= 0");
    let held = server.hold(
        "UPDATE larder_online_shop SET expires = 2 \
         WHERE ctid = (SELECT min(ctid) FROM larder_online_shop WHERE generation = 1)",
    );
    let count = || server.sql("SELECT count(*) FROM larder_online_shop WHERE generation >= 0");
    let started = Instant::now();
    store.reclaim(view.project(), &[]).await.expect("a sweep");
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(count(), "1");
    drop(held);
    // The server notices a moment after its client left.
    super::server::until("the lock is gone", || {
        server.sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") == "0"
    });
    store.reclaim(view.project(), &[]).await.expect("a sweep");
    assert_eq!(count(), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn a_write_goes_on_at_the_next_host_where_the_first_one_falls_silent() {
    let server = Server::start();
    let proxy = FaultProxy::start(server.address()).await.expect("a proxy");
    let url = format!(
        "postgresql://postgres@{},127.0.0.1:{}/postgres",
        proxy.address(),
        server.port
    );
    let mut config = PostgresConfig::new(url);
    config.connect_timeout = Span(300_000);
    config.write_timeout = Span::seconds(4);
    let store = open(&config);
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    proxy.silence();
    let started = Instant::now();
    let report = write(&store, &view, &[(1, 2, 2)]).await.expect("the second host");
    assert_eq!(report.written, 1);
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    store.check().await.expect("an answer");
}
