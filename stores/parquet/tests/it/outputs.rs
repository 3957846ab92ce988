//! Is it known which files are data of a source, or would be?

use std::fs;

use larder_core::OfflineStore;
use larder_parquet::ParquetStore;

use crate::common::write;
use crate::files::{orders, rows};

#[tokio::test]
async fn files_that_are_or_would_be_data_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("o/deep/a.parquet"), &rows(1, 10, 11));
    write(&root.join("x/b.parquet"), &rows(1, 10, 11));
    fs::create_dir_all(root.join("elsewhere")).unwrap();
    fs::create_dir_all(root.join("o/_hidden")).unwrap();
    let store = ParquetStore::new(root);
    let takes = async |path: &str, file: &str| {
        let source = orders(path).source;
        store.takes_file(&source, &root.join(file)).await.unwrap()
    };
    for (path, file) in [
        ("o", "o/deep/a.parquet"),
        ("o", "o/new.parquet"),
        ("o/", "o/deep/new.pq"),
        ("o", "elsewhere/../o/new.parquet"),
        ("o/deep/a.parquet", "o/deep/a.parquet"),
        ("later.parquet", "later.parquet"),
        ("o/*/*.parquet", "o/deep/new.parquet"),
        ("**", "elsewhere/t.parquet"),
        ("*", "t.json"),
        ("o/de*", "o/deep/new.parquet"),
    ] {
        assert!(takes(path, file).await, "{path} takes {file}");
    }
    for (path, file) in [
        ("o", "elsewhere/a.parquet"),
        ("o", "o/new.csv"),
        ("**", "elsewhere/t.json"),
        ("o", "o/.new.parquet"),
        ("o", "o/_hidden/new.parquet"),
        ("o", "o/no_such_folder/new.parquet"),
        ("o/deep/a.parquet", "o/deep/b.parquet"),
        ("later.parquet", "elsewhere/later.parquet"),
        ("o/*/*.parquet", "o/new.parquet"),
        ("nothing/*.parquet", "o/new.parquet"),
    ] {
        assert!(!takes(path, file).await, "{path} does not take {file}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(root.join("elsewhere"), root.join("o/linked")).unwrap();
        assert!(takes("o", "elsewhere/t.parquet").await);
        assert!(takes("o/linked/t.parquet", "elsewhere/t.parquet").await);
        // A file of the source that is a link to what lies elsewhere.
        write(&root.join("apart/t.parquet"), &rows(1, 10, 11));
        symlink(root.join("apart/t.parquet"), root.join("x/link.parquet")).unwrap();
        assert!(takes("x", "apart/t.parquet").await);
        assert!(!takes("x", "apart/u.parquet").await);
    }
}
