//! Does the script in Redis decide as Rust does, for every instant, created or not?

use std::sync::Arc;

use larder_base::{Micros, OnlineStore, OnlineWrite, PackedRows, Value, WriteOptions};

use super::cluster_kit::Configured;
use super::common::{keys, layout, open, read};
use super::server::Server;

/// Instants where doubles lose digits, signs change, and words end.
fn edges() -> Vec<i64> {
    let mut edges = vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX, 0];
    for power in [7, 8, 15, 31, 32, 52, 53, 54, 62] {
        for near in -1..=1 {
            edges.push((1_i64 << power) + near);
            edges.push(-(1_i64 << power) + near);
        }
    }
    edges
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn the_newer_row_wins_at_every_edge_of_time() {
    let server = Server::start();
    let store = open(&server.config());
    let view = layout("shop", "v", 1);
    let mut versions: Vec<(i64, Option<i64>)> = edges().into_iter().map(|event| (event, None)).collect();
    versions.extend(edges().into_iter().map(|created| (7, Some(created))));
    let mut key = 0;
    // Each pair has a key of its own: the first is written, then the second.
    let (mut firsts, mut seconds, mut names, mut expected) =
        (PackedRows::new(), PackedRows::new(), vec![], vec![]);
    for (first_event, first_created) in &versions {
        for (event, created) in &versions {
            let put = |rows: &mut PackedRows, event: i64, created: Option<i64>, number| {
                rows.push_values(&view, Micros(event), created.map(Micros), &[Value::Int64(number)])
                    .expect("a row");
            };
            put(&mut firsts, *first_event, *first_created, 1);
            put(&mut seconds, *event, *created, 2);
            names.push(key);
            key += 1;
            // An absent created time is the earliest one.
            let newer =
                (*event, created.unwrap_or(i64::MIN)) >= (*first_event, first_created.unwrap_or(i64::MIN));
            expected.push(if newer { (*event, 2) } else { (*first_event, 1) });
        }
    }
    let keys = keys(&view, &names);
    for rows in [firsts, seconds] {
        let batch = OnlineWrite::new(view.clone(), keys.clone(), Arc::new(rows));
        store
            .write(&batch, &WriteOptions::default())
            .await
            .expect("a write");
    }
    let found = read(&store, &view, &names).await.expect("a read");
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let pair = (versions[at / versions.len()], versions[at % versions.len()]);
        assert_eq!(found.as_ref(), Some(expected), "{pair:?}");
    }
    assert!(names.len() > 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn equal_rows_of_one_batch_are_taken_in_order() {
    let server = Server::start();
    let store = open(&server.config());
    let view = layout("shop", "v", 1);
    for generation in 0..3 {
        // The first round finds no rows, the next ones do: both ways of writing keep the order.
        let rows: Vec<_> = (0..5_000).map(|at| (at % 10, generation, at)).collect();
        super::common::write(&store, &view, &rows).await.expect("a write");
        let found = read(&store, &view, &(0..10).collect::<Vec<_>>())
            .await
            .expect("a read");
        for (key, found) in (0..).zip(found) {
            assert_eq!(found, Some((generation, 4_990 + key)), "round {generation}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_script_that_was_forgotten_is_loaded_again() {
    let server = Server::start();
    let store = open(&server.config());
    let view = layout("shop", "v", 1);
    for event in 0..4 {
        let rows: Vec<_> = (0..2_000).map(|key| (key, event, event)).collect();
        let report = super::common::write(&store, &view, &rows).await.expect("a write");
        assert_eq!((report.written, report.stale), (2_000, 0));
        server.cli(&["SCRIPT", "FLUSH", "SYNC"]);
    }
    let stale: Vec<_> = (0..2_000).map(|key| (key, 1, 9)).collect();
    let report = super::common::write(&store, &view, &stale)
        .await
        .expect("a write");
    assert_eq!((report.written, report.stale), (0, 2_000));
}
