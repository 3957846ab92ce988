//! Is the primary found that sentinels name, and its successor after it died?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder_base::{ErrorKind, OnlineStore, ReadOptions, Span};
use larder_conformance::eventually;
use larder_redis::ReadFrom;

use super::cluster_kit::{Configured, shared};
use super::common::{layout, open, read, read_with, write};
use super::server::until;
use super::watched::Watched;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn the_successor_of_a_dead_primary_is_found() {
    let mut watched = Watched::start();
    let store = shared(&watched.config());
    let view = layout("shop", "a", 1);
    let rows: Vec<_> = (0..500).map(|key| (key, 1, key)).collect();
    let all: Vec<i64> = (0..500).collect();
    write(&*store, &view, &rows).await.expect("a write");
    until("the replica has everything", || {
        watched.replica.cli(&["DBSIZE"]) == "500"
    });
    watched.primary.kill();
    let error = read(&*store, &view, &all).await.expect_err("the primary is dead");
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
        "{}",
        error.chain()
    );
    // A write waits the failover out by itself, within its time.
    let newer: Vec<_> = (0..500).map(|key| (key, 2, key)).collect();
    let report = eventually(|| write(&*store, &view, &newer)).await;
    assert_eq!((report.written, report.stale), (500, 0));
    let found = eventually(|| read(&*store, &view, &all)).await;
    assert!(
        found
            .iter()
            .all(|found| found.is_some_and(|(event, _)| event == 2))
    );
    // The old primary comes back with nothing, becomes a replica, and is not written to.
    watched.primary.run();
    until("the old primary follows", || {
        watched.primary.info("role") == "slave"
    });
    let report = eventually(|| write(&*store, &view, &newer)).await;
    assert_eq!(report.written, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_frozen_primary_is_left() {
    let watched = Watched::start();
    let store = shared(&watched.config());
    let view = layout("shop", "a", 1);
    write(&*store, &view, &[(1, 1, 1)]).await.expect("a write");
    until("the replica has it", || watched.replica.cli(&["DBSIZE"]) == "1");
    watched.primary.freeze();
    let started = std::time::Instant::now();
    // What it was asked just before it may still answer.
    let error = loop {
        if let Err(error) = read(&*store, &view, &[1]).await {
            break error;
        }
    };
    assert!(
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable),
        "{}",
        error.chain()
    );
    assert!(started.elapsed().as_secs() < 5);
    let report = eventually(|| write(&*store, &view, &[(1, 5, 5)])).await;
    assert_eq!(report.written, 1);
    watched.primary.thaw();
    until("the old primary follows", || {
        watched.primary.info("role") == "slave"
    });
    assert_eq!(eventually(|| read(&*store, &view, &[1])).await, [Some((5, 5))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn readers_with_little_time_find_the_successor_of_a_frozen_primary() {
    let watched = Watched::start();
    let mut config = watched.config();
    config.timeout = Span(400_000);
    config.connect_timeout = Span(400_000);
    let store = shared(&config);
    let view = layout("shop", "a", 1);
    write(&*store, &view, &[(1, 1, 1)]).await.expect("a write");
    until("the replica has it", || watched.replica.cli(&["DBSIZE"]) == "1");
    let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let reader = || {
        let (store, view, stop, good) = (store.clone(), view.clone(), stop.clone(), good.clone());
        tokio::spawn(async move {
            // Nobody waits long enough to see that nobody answers.
            let options = ReadOptions::new().timeout(Duration::from_millis(50));
            while !stop.load(Ordering::SeqCst) {
                if read_with(&*store, &view, &[1], options).await.is_ok() {
                    good.fetch_add(1, Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        })
    };
    let readers: Vec<_> = (0..8).map(|_| reader()).collect();
    until("reads succeed", || good.load(Ordering::SeqCst) > 50);
    watched.primary.freeze();
    until("the replica took over", || {
        watched.replica.info("role") == "master"
    });
    let started = std::time::Instant::now();
    let before = good.load(Ordering::SeqCst);
    until("reads succeed again", || {
        good.load(Ordering::SeqCst) > before + 50
    });
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("no panic");
    }
    watched.primary.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn replicas_answer_and_wait_waits_for_them() {
    let mut watched = Watched::start();
    let mut config = watched.config();
    config.read_from = ReadFrom::Replica;
    config.wait =
        serde_json::from_value(serde_json::json!({ "replicas": 1, "timeout": "300ms" })).expect("a wait");
    config.write_timeout = larder_base::Span::seconds(1);
    let store = open(&config);
    let view = layout("shop", "a", 1);
    // Acknowledged means: the replica has it.
    for event in 1..50 {
        write(&store, &view, &[(1, event, event)]).await.expect("a write");
        assert_eq!(
            read(&store, &view, &[1]).await.expect("a read"),
            [Some((event, event))]
        );
    }
    assert!(
        !watched.replica.info("cmdstat_mget").is_empty() && watched.primary.info("cmdstat_mget").is_empty()
    );
    watched.sentinels.iter_mut().for_each(super::server::Server::kill);
    watched.replica.kill();
    let error = write(&store, &view, &[(1, 99, 99)])
        .await
        .expect_err("no replica");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.chain().contains("replicas"), "{}", error.chain());
    let health = open(&watched.primary.config()).check().await.expect("an answer");
    assert!(
        health
            .details
            .iter()
            .any(|(name, value)| name == "replicas" && value == "0"),
        "{health:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn an_unknown_primary_is_told() {
    let watched = Watched::start();
    let mut config = watched.config();
    config.sentinel.as_mut().expect("sentinels").master = "nobody".to_owned();
    let error = read(&open(&config), &layout("shop", "a", 1), &[1])
        .await
        .expect_err("nobody");
    assert!(error.chain().contains("no such primary"), "{}", error.chain());
}
