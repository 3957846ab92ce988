//! Is what killed writers left removed, and nothing that a living one writes?

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use larder_core::{CompactOptions, OfflineOptions, OfflineStore};
use larder_parquet::ParquetStore;

use crate::compact::{all, append, rows, view};

/// A file that nobody has written to for two hours.
fn old(folder: &Path, name: &str) -> File {
    fs::create_dir_all(folder).unwrap();
    let file = File::create_new(folder.join(name)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7_200))
        .unwrap();
    file
}

fn hidden(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(".tmp-")).collect();
    names.sort();
    names
}

const APPENDED: &str = ".tmp-part-01700000000000000000-0123456789abcdef.parquet";
const MERGED: &str = ".tmp-part-01700000000000000000-0123456789abcdef~c0123456789abcdef.parquet";

#[tokio::test]
async fn what_killed_writers_left_goes_with_the_next_append_or_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("s");
    let (store, view) = (ParquetStore::new(dir.path()), view("s"));
    drop([old(&folder, APPENDED), old(&folder, MERGED)]);
    // Another program's, and one that may be begun only now.
    drop(old(&folder, ".tmp-orders.parquet"));
    let young = ".tmp-part-01700000000000000000-00000000000000aa.parquet";
    File::create_new(folder.join(young)).unwrap();
    append(&store, &view, &[(1, 5, 10)]).await;
    assert_eq!(hidden(&folder), [".tmp-orders.parquet", young]);

    drop(old(&folder, APPENDED));
    let dry = CompactOptions::default().with_dry_run(true);
    store.compact(&view.source, &dry).await.unwrap();
    assert_eq!(hidden(&folder).len(), 3);
    let done = store.compact(&view.source, &CompactOptions::default()).await;
    assert_eq!(done.unwrap().removed, 0, "it counts what was replaced");
    assert_eq!(hidden(&folder), [".tmp-orders.parquet", young]);
    assert_eq!(all(&store, &view).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_slow_append_keeps_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("s");
    let (store, view) = (Arc::new(ParquetStore::new(dir.path())), view("s"));
    let (send, receive) = futures::channel::mpsc::unbounded();
    let batch = |n| Ok(rows(&view, &[(n, 5, 10)]));
    send.unbounded_send(batch(1)).unwrap();
    let slow = tokio::spawn({
        let (store, view) = (store.clone(), view.clone());
        let stream = receive.boxed();
        async move { store.append(&view, stream, &OfflineOptions::default()).await }
    });
    while !folder.exists() || hidden(&folder).is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let name = hidden(&folder).remove(0);
    // As if nothing had come for long.
    let file = File::options().write(true).open(folder.join(name)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7_200))
        .unwrap();
    drop(file);
    append(&*store, &view, &[(2, 5, 10)]).await;
    store
        .compact(&view.source, &CompactOptions::default())
        .await
        .unwrap();
    assert_eq!(hidden(&folder).len(), 1);
    send.unbounded_send(batch(3)).unwrap();
    drop(send);
    assert_eq!(slow.await.unwrap().unwrap(), 2);
    assert_eq!(all(&*store, &view).await.unwrap().len(), 3);
    assert!(hidden(&folder).is_empty());
}
