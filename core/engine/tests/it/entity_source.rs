//! Do entity rows that are read twice, for want of memory, give what those in memory give?

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use larder_base::model::Source;
use larder_base::{Health, Result};
use larder_core::arrow::array::{Array, AsArray, RecordBatch};
use larder_core::arrow::compute::concat::concat_batches;
use larder_core::arrow::datatypes::SchemaRef;
use larder_core::memory::MemoryOffline;
use larder_core::{
    BatchStream, CompactOptions, CompactReport, EntityRows, Explanation, HistoricalRead, JoinedStream,
    LatestRead, OfflineCapabilities, OfflineOptions, OfflineStore, RangeRead, ViewScan,
};
use larder_engine::Selection;
use larder_engine::historical::EntitySource;

use crate::support::*;

/// Takes entity rows from files, by reading them.
#[derive(Debug, Default)]
struct Reading {
    inner: MemoryOffline,
    files: AtomicUsize,
}

#[async_trait]
impl OfflineStore for Reading {
    fn capabilities(&self) -> OfflineCapabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.entity_files = true;
        capabilities
    }
    async fn schema(&self, source: &Arc<Source>) -> Result<SchemaRef> {
        self.inner.schema(source).await
    }
    async fn historical(
        &self,
        mut request: HistoricalRead,
        options: &OfflineOptions,
    ) -> Result<JoinedStream> {
        if let EntityRows::Files(files) = &request.rows {
            self.files.fetch_add(files.paths.len(), Ordering::Relaxed);
            let mut batches = Vec::new();
            for path in &files.paths {
                let reader =
                    arrow_ipc::reader::StreamReader::try_new(File::open(path).unwrap(), None).unwrap();
                batches.extend(reader.map(|batch| batch.unwrap()));
            }
            let whole = concat_batches(&batches[0].schema(), &batches).unwrap();
            assert_eq!(whole.num_rows() as u64, files.rows);
            let (times, keys) = whole.columns().split_last().unwrap();
            request.rows = EntityRows::batches(keys.to_vec(), times.as_primitive().clone());
        }
        self.inner.historical(request, options).await
    }
    async fn latest(&self, request: LatestRead, options: &OfflineOptions) -> Result<BatchStream> {
        self.inner.latest(request, options).await
    }
    async fn range(&self, request: RangeRead, options: &OfflineOptions) -> Result<BatchStream> {
        self.inner.range(request, options).await
    }
    async fn append(&self, scan: &ViewScan, rows: BatchStream, options: &OfflineOptions) -> Result<u64> {
        self.inner.append(scan, rows, options).await
    }
    async fn compact(&self, source: &Arc<Source>, options: &CompactOptions) -> Result<CompactReport> {
        self.inner.compact(source, options).await
    }
    async fn explain(&self, request: &HistoricalRead, options: &OfflineOptions) -> Result<Explanation> {
        self.inner.explain(request, options).await
    }
    async fn takes_file(&self, source: &Arc<Source>, file: &Path) -> Result<bool> {
        self.inner.takes_file(source, file).await
    }
    async fn check(&self) -> Result<Health> {
        self.inner.check().await
    }
}

/// Rows in batches of odd sizes; from the second reading on, so many rows fewer.
#[derive(Debug)]
struct Rows {
    whole: RecordBatch,
    opened: AtomicUsize,
    shrinks: usize,
}

impl EntitySource for Rows {
    fn open(&self) -> Result<BatchStream> {
        let again = self.opened.fetch_add(1, Ordering::Relaxed) > 0;
        let rows = self.whole.num_rows() - if again { self.shrinks } else { 0 };
        let (mut start, mut batches) = (0, Vec::new());
        for size in [1, 7, 0, 20].into_iter().cycle() {
            let n = size.min(rows - start);
            batches.push(Ok(self.whole.slice(start, n)));
            start += n;
            if start == rows {
                break;
            }
        }
        Ok(stream::iter(batches).boxed())
    }
}

fn rows(shrinks: usize) -> Arc<Rows> {
    Arc::new(Rows {
        whole: batch(vec![
            ("user_id", ints((0..100).map(|n| n % 4))),
            ("label", ints(0..100)),
            ("event_timestamp", times((0..100).map(|n| START + n * MINUTE))),
        ]),
        opened: AtomicUsize::new(0),
        shrinks,
    })
}

async fn world() -> (World, Arc<Reading>) {
    let offline = Arc::new(Reading::default());
    offline.inner.insert(
        "orders",
        orders(&[
            (1, START - HOUR, None, Some(1)),
            (1, START + 50 * MINUTE, None, Some(2)),
            (3, START - HOUR, None, None),
        ]),
    );
    let shared = offline.clone();
    let world = World::with(|builder| builder.offline(shared));
    world.apply(USERS).await;
    (world, offline)
}

#[tokio::test]
async fn rows_that_are_not_held_give_the_same() {
    let (world, offline) = world().await;
    let ask = |limit: Option<u64>| {
        let options = OfflineOptions::default()
            .with_memory_limit(limit)
            .with_batch_rows(9);
        let historical = world.store.historical(Selection::features(["stats"]));
        historical.limit(93).options(options)
    };
    let held = rows(0);
    let (want, _) = ask(None)
        .entity_source(held.clone())
        .run()
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(
        held.opened.load(Ordering::Relaxed),
        1,
        "without a limit they are read once"
    );
    let again = rows(0);
    let (got, report) = ask(Some(8))
        .entity_source(again.clone())
        .run()
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(got, want);
    assert_eq!((got.num_rows(), report.rows), (93, 93));
    assert_eq!(again.opened.load(Ordering::Relaxed), 2);
    assert_eq!(offline.files.load(Ordering::Relaxed), 1);
    assert_eq!(numbers(&got, "label")[92], Some(92));
    assert!(got.column(3).null_count() < 93);

    let explained = ask(Some(8)).entity_source(rows(0)).explain().await.unwrap();
    assert_eq!(explained.rows, 93);
}

#[tokio::test]
async fn rows_that_change_meanwhile_are_told() {
    let (world, _) = world().await;
    let options = OfflineOptions::default().with_memory_limit(Some(8));
    let historical = world.store.historical(Selection::features(["stats"]));
    let training = historical
        .options(options)
        .entity_source(rows(5))
        .run()
        .await
        .unwrap();
    assert_says(training.collect().await, &["entity rows changed"]);
}

#[tokio::test]
async fn a_null_time_is_named_by_its_row_in_the_whole() {
    let (world, _) = world().await;
    let mut bad = rows(0);
    let missing = (0..100).map(|n| (n != 60).then_some(START));
    let columns = bad.whole.columns();
    let whole = batch(vec![
        ("user_id", columns[0].clone()),
        ("label", columns[1].clone()),
        ("event_timestamp", times(missing)),
    ]);
    Arc::get_mut(&mut bad).unwrap().whole = whole;
    let options = OfflineOptions::default().with_memory_limit(Some(8));
    let historical = world.store.historical(Selection::features(["stats"]));
    assert_says(
        historical.options(options).entity_source(bad).run().await,
        &["row 60"],
    );
}
