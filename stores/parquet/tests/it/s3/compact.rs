//! Whether objects are compacted like files, also when several compactions are at work at once.

use std::sync::Arc;

use larder_core::{CompactOptions, ErrorKind, OfflineStore};
use object_store::list::PaginatedListStore;

use super::world::{Server, built, prefix};
use crate::compact::{all, append, at_once, view};

async fn objects(server: &Server, prefix: &str) -> usize {
    let client = server.client();
    let page = client.list_paginated(Some(prefix), Default::default()).await;
    page.unwrap().result.objects.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn small_objects_become_few() {
    let (server, prefix) = (Server::of_environment(), prefix());
    let store = built(&server.config(&prefix)).await;
    let view = view("s/");
    for n in 0..12 {
        append(&*store, &view, &[(n % 3, 100 - n, n), (7, 50, n)]).await;
    }
    let before = all(&*store, &view).await.unwrap();
    let report = store
        .compact(&view.source, &CompactOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (report.merged, report.made, report.rows, report.waiting),
        (12, 1, 24, 12)
    );
    assert!(report.bytes_made.unwrap() > 0);
    assert_eq!(objects(&server, &prefix).await, 13);
    assert_eq!(all(&*store, &view).await.unwrap(), before);
    let report = store.compact(&view.source, &at_once()).await.unwrap();
    assert_eq!((report.merged, report.removed, report.waiting), (0, 12, 0));
    assert_eq!(objects(&server, &prefix).await, 1);
    assert_eq!(all(&*store, &view).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn compactions_at_once_agree() {
    let (server, prefix) = (Server::of_environment(), prefix());
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(built(&server.config(&prefix)).await);
    }
    let view = view("s/");
    let reader: Arc<dyn OfflineStore> = stores.pop().unwrap();
    let mut expected = 0;
    for round in 0..4_i64 {
        for n in 0..5 {
            append(&*reader, &view, &[(n, round * 100 + n, n)]).await;
            expected += 1;
        }
        let mut tasks = tokio::task::JoinSet::new();
        for store in &stores {
            let store = store.clone();
            let source = view.source.clone();
            tasks.spawn(async move { store.compact(&source, &CompactOptions::default()).await });
        }
        // Nothing is removed while they are at it, so that every look finds every row once.
        while !tasks.is_empty() {
            let found = all(&*reader, &view).await.unwrap();
            assert_eq!(found.len(), expected, "round {round}");
            assert!(
                found.values().all(|count| *count == 1),
                "round {round}: a row is there twice"
            );
            while let Some(done) = tasks.try_join_next() {
                match done.unwrap() {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                }
            }
        }
    }
    reader.compact(&view.source, &at_once()).await.unwrap();
    assert_eq!(objects(&server, &prefix).await, 1);
    assert_eq!(all(&*reader, &view).await.unwrap().len(), expected);
}
