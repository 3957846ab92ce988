//! Does the store pass the suite that every offline store runs, with its files on S3?

use std::sync::Arc;

use larder_conformance::{Loaded, OfflineFixture, SourceTable, run_offline};
use larder_core::{Result, async_trait};

use super::world::{Server, built, prefix};
use crate::common::{plain, write_with};

struct Objects(Server);

#[async_trait::async_trait]
impl OfflineFixture for Objects {
    fn name(&self) -> String {
        "parquet on S3".to_owned()
    }

    async fn load(&self, tables: Vec<SourceTable>) -> Result<Loaded> {
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = prefix();
        let mut sources = Vec::new();
        for table in tables {
            let mut source = table.source;
            let path = format!("{}/", source.name);
            for (at, batch) in table.batches.iter().enumerate() {
                let file = folder.path().join(&path).join(format!("{at:05}.parquet"));
                write_with(&file, batch, plain().set_max_row_group_row_count(Some(50)));
            }
            if table.batches.is_empty() {
                // The mark of an empty folder.
                self.0.put(&format!("{prefix}{path}_empty"), Vec::new()).await;
            }
            source.kind = "parquet".to_owned();
            source.options.insert("path".to_owned(), path.into());
            sources.push(Arc::new(source));
        }
        self.0.upload(folder.path(), &prefix).await;
        let store = built(&self.0.config(&prefix)).await;
        Ok(Loaded { store, sources })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn the_suite_passes() {
    run_offline(&Objects(Server::of_environment()))
        .await
        .assert_passed();
}
