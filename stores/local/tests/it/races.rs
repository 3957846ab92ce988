//! Does the newest win when many threads write the same keys at once, and are acknowledgements true?

use std::sync::Arc;

use larder_base::{FeatureBlock, OnlineStore, WriteOptions, WriteRule};
use larder_local::LocalStore;

use crate::common::{Random, Row, allocations, batch, keys, layout, open, read, read_into, wait, write};

const THREADS: usize = 8;
const KEYS: u64 = 100;

#[test]
fn every_key_ends_at_its_newest() {
    let folder = tempfile::tempdir().expect("a folder");
    let view = layout("p", 1);
    // Every (key, time) is written by exactly one thread, in an order of its own.
    let mut rows: Vec<Row> = (0..KEYS)
        .flat_map(|key| (0..40).map(move |time| Row::new(format!("key{key}"), time, key as i64 * 100 + time)))
        .collect();
    let mut random = Random(4);
    for i in (1..rows.len()).rev() {
        rows.swap(i, random.below(i as u64 + 1) as usize);
    }
    let shares: Vec<&[Row]> = rows.chunks(rows.len() / THREADS).collect();
    let reports: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .iter()
            .map(|share| {
                let (path, view) = (folder.path(), &view);
                scope.spawn(move || {
                    // Each thread opens the folder for itself; they share one environment.
                    let store = open(path);
                    let mut sum = (0, 0);
                    for rows in share.chunks(17) {
                        let report = write(&store, view, rows).expect("a write");
                        sum = (sum.0 + report.written, sum.1 + report.stale);
                        // An acknowledged row or a newer one is there at once.
                        let found = read(&store, view, &[&rows[0].key]).expect("a read");
                        assert!(found[0].as_ref().is_some_and(|found| found.0 >= rows[0].event));
                    }
                    sum
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread"))
            .collect()
    });
    let (written, stale) = reports
        .iter()
        .fold((0, 0), |sum, report| (sum.0 + report.0, sum.1 + report.1));
    assert_eq!(written + stale, rows.len() as u64);
    assert!(stale > 0, "the order was mixed");
    let store = open(folder.path());
    for key in 0..KEYS {
        let found = read(&store, &view, &[&format!("key{key}")]).expect("a read");
        assert_eq!(
            found[0].as_ref().map(|found| (found.0, found.1)),
            Some((39, key as i64 * 100 + 39))
        );
    }
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let view = layout("p", 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .expect("a runtime");
    let sum: u64 = runtime.block_on(async {
        let tasks: Vec<_> = (0..600)
            .map(|n| {
                let (store, batch) = (store.clone(), batch(&view, &[Row::new(format!("key{n}"), 1, n)]));
                tokio::spawn(async move {
                    store
                        .write(&batch, &WriteOptions::default())
                        .await
                        .map(|r| r.written)
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.expect("a task").expect("a write");
        }
        sum
    });
    assert_eq!(sum, 600);
    let names: Vec<String> = (0..600).map(|n| format!("key{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(
        read(&store, &view, &names)
            .expect("a read")
            .iter()
            .all(Option::is_some)
    );
}

#[test]
fn overwrite_takes_what_comes_last_and_a_dropped_write_is_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let view = layout("p", 1);
    write(&store, &view, &[Row::new("a", 10, 1)]).expect("a write");
    let older = batch(&view, &[Row::new("a", 5, 2)]).with_rule(WriteRule::Overwrite);
    let report = wait(store.write(&older, &WriteOptions::default())).expect("an overwrite");
    assert_eq!((report.written, report.stale), (1, 0));
    assert_eq!(
        read(&store, &view, &["a"]).expect("a read")[0]
            .as_ref()
            .map(|found| found.0),
        Some(5)
    );
    // Never polled to its end: nothing is promised, and the store goes on.
    wait(async {
        let batch = batch(&view, &[Row::new("b", 1, 1)]);
        let options = WriteOptions::default();
        let _ = futures::poll!(store.write(&batch, &options));
    });
    write(&store, &view, &[Row::new("c", 1, 1)]).expect("a write");
    assert!(read(&store, &view, &["c"]).expect("a read")[0].is_some());
}

#[test]
fn reads_do_not_allocate_once_warm() {
    let folder = tempfile::tempdir().expect("a folder");
    let store: Arc<LocalStore> = Arc::new(open(folder.path()));
    let view = layout("p", 1);
    let rows: Vec<Row> = (0..100).map(|n| Row::new(format!("key{n}"), 1, n)).collect();
    write(&store, &view, &rows).expect("a write");
    let names: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    let request = larder_base::OnlineRead {
        groups: vec![larder_base::KeyGroup {
            keys: keys(&view, &names),
            views: vec![larder_base::ViewRead::all(0, view.clone())],
        }],
    };
    let options = larder_base::ReadOptions::default();
    let mut block = FeatureBlock::new();
    read_into(&store, &view, keys(&view, &names), &mut block).expect("a read");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        store.read(&request, &options, &mut block).await.expect("a read");
        let before = allocations();
        for _ in 0..10 {
            store.read(&request, &options, &mut block).await.expect("a read");
        }
        assert_eq!(allocations() - before, 0);
    });
    assert_eq!(block.rows(0), 100);
}
