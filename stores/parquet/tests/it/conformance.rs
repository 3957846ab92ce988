//! Does the parquet store pass the suite that every offline store runs?

use std::sync::Arc;

use larder_conformance::{Loaded, OfflineFixture, SourceTable, run_offline};
use larder_core::{Result, async_trait};
use larder_parquet::ParquetStore;
use parking_lot::Mutex;
use parquet::file::properties::WriterPropertiesBuilder;

use crate::common::{plain, write_with};

struct Files {
    name: &'static str,
    properties: fn() -> WriterPropertiesBuilder,
    /// Folders of the stores that were made; removed at the end.
    folders: Mutex<Vec<tempfile::TempDir>>,
}

#[async_trait::async_trait]
impl OfflineFixture for Files {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    async fn load(&self, tables: Vec<SourceTable>) -> Result<Loaded> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sources = Vec::new();
        for table in tables {
            let mut source = table.source;
            let path = source.name.to_string();
            for (at, batch) in table.batches.iter().enumerate() {
                let file = folder.path().join(&path).join(format!("{at:05}.parquet"));
                write_with(&file, batch, (self.properties)());
            }
            source.kind = "parquet".to_owned();
            source.options.insert("path".to_owned(), path.into());
            sources.push(Arc::new(source));
        }
        let store = Arc::new(ParquetStore::new(folder.path()));
        self.folders.lock().push(folder);
        Ok(Loaded { store, sources })
    }
}

async fn run(name: &'static str, properties: fn() -> WriterPropertiesBuilder) {
    let fixture = Files {
        name,
        properties,
        folders: Mutex::default(),
    };
    let report = run_offline(&fixture).await;
    report.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_row_group_per_file() {
    run("parquet", plain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tiny_row_groups_and_pages() {
    run("parquet, tiny row groups and pages", || {
        plain()
            .set_max_row_group_row_count(Some(5))
            .set_data_page_row_count_limit(2)
            .set_write_batch_size(1)
    })
    .await;
}
