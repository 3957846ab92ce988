//! Is a folder opened once, shared, recognised, and noticed when it is replaced?

use std::sync::Arc;

use larder_base::plugin::OnlineStoreConfig;
use larder_base::{BuildContext, ErrorKind, LayoutChanges, OnlineStore, ProjectName};
use larder_local::LocalStore;

use crate::common::{Row, layout, open, read, wait, write};

fn project(name: &str) -> ProjectName {
    ProjectName::new(name).expect("a name")
}

fn changes(name: &str) -> LayoutChanges {
    LayoutChanges {
        project: project(name),
        layouts: Vec::new(),
    }
}

#[test]
fn the_identity_is_given_once_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/er/online");
    let store = open(&path);
    assert_eq!(wait(store.identity(&project("p"))).expect("an answer"), None);
    let first = wait(store.prepare(&changes("p"))).expect("prepared");
    assert_eq!(wait(store.prepare(&changes("p"))).expect("prepared"), first);
    assert_eq!(wait(store.identity(&project("q"))).expect("an answer"), None);
    assert_ne!(wait(store.prepare(&changes("q"))).expect("prepared"), first);
    drop(store);
    let store = open(&path);
    assert_eq!(
        wait(store.identity(&project("p"))).expect("an answer"),
        Some(first)
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode =
            |path: &std::path::Path| std::fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("data.mdb"))), (0o700, 0o600));
    }
}

#[test]
fn two_handles_share_and_the_last_one_closes() {
    let folder = tempfile::tempdir().expect("a folder");
    let view = layout("p", 1);
    let (first, second) = (open(folder.path()), open(&folder.path().join(".")));
    write(&first, &view, &[Row::new("a", 1, 1)]).expect("a write");
    assert!(read(&second, &view, &["a"]).expect("a read")[0].is_some());
    drop(first);
    write(&second, &view, &[Row::new("b", 1, 1)]).expect("a write");
    drop(second);
    // Opening and closing from many threads never meets a half-closed folder.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let store = open(folder.path());
                    assert!(read(&store, &view, &["b"]).expect("a read")[0].is_some());
                }
            });
        }
    });
}

#[test]
fn a_replaced_folder_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("online");
    let view = layout("p", 1);
    let store = open(&path);
    wait(store.prepare(&changes("p"))).expect("prepared");
    write(&store, &view, &[Row::new("a", 1, 1)]).expect("a write");
    std::fs::remove_dir_all(&path).expect("removed");
    let error = write(&store, &view, &[Row::new("a", 2, 1)]).expect_err("nothing goes into a deleted file");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.remedy().is_some(), "{error}");
    std::fs::create_dir(&path).expect("created");
    for error in [
        wait(store.check()).expect_err("check notices"),
        wait(store.identity(&project("p"))).expect_err("identity notices"),
        read(&store, &view, &["a"]).expect_err("reads stop once it was noticed"),
        LocalStore::open(&path).expect_err("not while the old one is open"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    drop(store);
    let store = open(&path);
    assert_eq!(
        wait(store.identity(&project("p"))).expect("an answer"),
        None,
        "a new folder has no identity"
    );
    assert_eq!(read(&store, &view, &["a"]).expect("a read"), [None]);
}

#[test]
fn opening_takes_milliseconds() {
    let folder = tempfile::tempdir().expect("a folder");
    let view = layout("p", 1);
    let rows: Vec<Row> = (0..20_000).map(|n| Row::new(format!("key{n}"), 1, n)).collect();
    write(&open(folder.path()), &view, &rows).expect("a write");
    let fastest = (0..10)
        .map(|_| {
            let start = std::time::Instant::now();
            drop(open(folder.path()));
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    // Far above what it takes, far below what reading the data would.
    assert!(fastest.as_millis() < 100, "{fastest:?}");
}

#[test]
fn the_configuration_builds_it_relative_to_the_project() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = serde_json::json!({ "type": "local", "path": "a/online", "durability": "os" });
    let config: Box<dyn OnlineStoreConfig> = serde_json::from_value(config).expect("a configuration");
    let store: Arc<dyn OnlineStore> = wait(config.build(&BuildContext::new(folder.path()))).expect("a store");
    assert!(folder.path().join("a/online/data.mdb").exists());
    let health = wait(store.check()).expect("healthy");
    assert!(
        health.backend.starts_with("lmdb ") && health.warnings.len() == 1,
        "{health:?}"
    );
    let wrong = serde_json::json!({ "type": "local", "path": "x", "sync": true });
    assert!(serde_json::from_value::<Box<dyn OnlineStoreConfig>>(wrong).is_err());
    assert_eq!(larder_local::PLUGIN.capabilities, store.capabilities().names());
}
