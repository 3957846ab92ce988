//! What of a source's folder must not be passed over in silence, nor waited for.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use larder_core::{ErrorKind, OfflineStore};
use larder_parquet::ParquetStore;

use crate::common::write;
use crate::files::{error, orders, rows, total};

#[tokio::test]
async fn a_link_that_leads_nowhere_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("o/a.parquet"), &rows(1, 10, 11));
    // What is hidden is nobody's data.
    symlink("gone", root.join("o/.lock")).unwrap();
    assert_eq!(total(root, "o").await.unwrap()[0], Some(11));
    for (link, path) in [
        ("o/b.parquet", "o"),
        ("o/folder", "o"),
        ("o/c.parquet", "o/*.parquet"),
        ("o/dt=1", "o/*/x.parquet"),
        ("o/d.parquet", "o/d.parquet"),
    ] {
        symlink("../gone.parquet", root.join(link)).unwrap();
        let error = error(root, path).await;
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let named = root.join(link).display().to_string();
        assert!(
            error.to_string().contains(&named) && error.to_string().contains("orders"),
            "{error}"
        );
        // Outputs of runs that read something else are no matter of this link.
        let store = ParquetStore::new(root);
        assert!(
            !store
                .takes_file(&orders("o").source, &root.join("out.parquet"))
                .await
                .unwrap()
        );
        fs::remove_file(root.join(link)).unwrap();
    }
    // A link that does not match the pattern is none of the source's.
    symlink("../gone", root.join("o/b.txt")).unwrap();
    assert_eq!(total(root, "o/*.parquet").await.unwrap()[0], Some(11));
}

#[tokio::test]
async fn what_is_no_regular_file_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("o/a.parquet"), &rows(1, 10, 11));
    let _socket = UnixListener::bind(root.join("o/b.parquet")).unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(root.join("pipe.parquet"))
        .status();
    assert!(pipe.unwrap().success());
    fs::create_dir(root.join("p")).unwrap();
    symlink("../pipe.parquet", root.join("p/link.parquet")).unwrap();
    for (path, named) in [
        ("o", "o/b.parquet"),
        ("o/b*", "o/b.parquet"),
        ("o/b.parquet", "o/b.parquet"),
        ("pipe.parquet", "pipe.parquet"),
        ("p", "p/link.parquet"),
    ] {
        let error = error(root, path).await;
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        let named = root.join(named).display().to_string();
        assert!(
            error.to_string().contains(&named) && error.to_string().contains("regular file"),
            "{error}"
        );
    }
    assert_eq!(total(root, "o/a*").await.unwrap()[0], Some(11));
}
