//! Do views of several stores, sources and roles come together in one training set?

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use larder_base::model::Source;
use larder_base::{Error, Health, Result, StoreName};
use larder_core::arrow::array::RecordBatch;
use larder_core::arrow::datatypes::SchemaRef;
use larder_core::memory::MemoryOffline;
use larder_core::{
    BatchStream, CompactOptions, CompactReport, Explanation, HistoricalRead, JoinedBatch, JoinedStream,
    JoinedView, LatestRead, OfflineCapabilities, OfflineOptions, OfflineStore, RangeRead, ViewScan,
};
use larder_engine::Selection;

use crate::support::*;

const FLIGHTS: &str = "
entities:
  - { name: airport, join_keys: [{ name: airport, type: string }] }
  - { name: carrier, join_keys: [{ name: carrier, type: string }] }
sources:
  - { name: delays, type: memory, event_time: at, available_after: 1h, columns: { airport: code } }
  - { name: fleets, type: memory, store: dwh, event_time: at }
feature_views:
  - { name: airport_stats, entities: [airport], source: delays, lateness: 1d, features: [{ name: delay, type: int64 }] }
  - { name: carrier_stats, entities: [carrier], source: fleets, lateness: 1d, features: [{ name: planes, type: int64 }] }
  - { name: pair_stats, entities: [carrier, airport], source: fleets, lateness: 1d, features: [{ name: flights, type: int64 }] }
feature_services:
  - name: flights
    features:
      - { view: airport_stats, as: origin, keys: { airport: origin_airport }, features: [delay] }
      - \"carrier_stats:planes\"
      - { view: airport_stats, as: dest, keys: { airport: dest_airport } }
      - { view: pair_stats, keys: { airport: dest_airport } }
";

/// Hands answers out in batches of other sizes, some empty, and tells its report only at the very end.
#[derive(Debug)]
struct Odd {
    inner: MemoryOffline,
    sizes: Vec<usize>,
    /// How many rows too many, or too few, it answers.
    wrong: i64,
}

#[async_trait]
impl OfflineStore for Odd {
    fn capabilities(&self) -> OfflineCapabilities {
        self.inner.capabilities()
    }
    async fn schema(&self, source: &Arc<Source>) -> Result<SchemaRef> {
        self.inner.schema(source).await
    }
    async fn historical(&self, request: HistoricalRead, options: &OfflineOptions) -> Result<JoinedStream> {
        let whole = options.clone().with_batch_rows(usize::MAX / 2);
        let mut answer = self.inner.historical(request, &whole).await?;
        let complete = answer.report.lock().clone();
        let report = Arc::new(parking_lot::Mutex::new(larder_core::JoinReport::default()));
        let mut batches = Vec::new();
        while let Some(batch) = answer.batches.next().await {
            let batch = batch?;
            let rows = (batch.rows as i64 + self.wrong.min(0)) as usize;
            let (mut start, mut turn) = (0, 0);
            while start < rows {
                let size = self.sizes[turn % self.sizes.len()].min(rows - start);
                batches.push(Ok(cut(&batch, start, size)));
                start += size;
                turn += 1;
            }
            if self.wrong > 0 {
                batches.push(Ok(cut(&batch, 0, self.wrong as usize)));
            }
        }
        let shared = report.clone();
        let last = stream::once(async move {
            *shared.lock() = complete;
            None
        });
        let batches = stream::iter(batches)
            .map(Some)
            .chain(last)
            .filter_map(|batch| async { batch });
        Ok(JoinedStream {
            batches: batches.boxed(),
            report,
        })
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
        Err(Error::unavailable("odd as always"))
    }
}

fn cut(batch: &JoinedBatch, start: usize, rows: usize) -> JoinedBatch {
    let views = batch.views.iter().map(|view| JoinedView {
        features: view
            .features
            .iter()
            .map(|feature| feature.slice(start, rows))
            .collect(),
        event: view.event.slice(start, rows),
        created: view.created.slice(start, rows),
    });
    JoinedBatch {
        rows,
        views: views.collect(),
    }
}

fn spine(rows: i64) -> RecordBatch {
    let code = |n: i64| ["ARN", "JFK", "LHR", "XXX"][(n % 4) as usize];
    let carrier = |n: i64| ["SK", "BA", "ZZ"][(n % 3) as usize];
    batch(vec![
        ("row", ints(0..rows)),
        ("origin_airport", texts((0..rows).map(code))),
        ("dest_airport", texts((0..rows).map(|n| code(n + 1)))),
        ("carrier", texts((0..rows).map(carrier))),
        ("event_timestamp", times((0..rows).map(|n| START + n * MINUTE))),
    ])
}

fn fill(lake: &MemoryOffline, dwh: &MemoryOffline) {
    lake.insert(
        "delays",
        batch(vec![
            ("code", texts(["ARN", "JFK", "LHR", "ARN"])),
            (
                "at",
                times([
                    START - 2 * HOUR,
                    START - 2 * HOUR,
                    START - HOUR,
                    START - 30 * MINUTE,
                ]),
            ),
            ("delay", ints([1, 2, 3, 4])),
        ]),
    );
    dwh.insert(
        "fleets",
        batch(vec![
            ("carrier", texts(["SK", "BA", "SK"])),
            ("airport", texts(["ARN", "JFK", "JFK"])),
            ("at", times([START - HOUR, START - HOUR, START + 10 * MINUTE])),
            ("planes", ints([100, 200, 101])),
            ("flights", ints([7, 8, 9])),
        ]),
    );
}

async fn world(sizes: &[usize], wrong: i64) -> World {
    let dwh = Odd {
        inner: MemoryOffline::new(),
        sizes: sizes.to_vec(),
        wrong,
    };
    let lake = Arc::new(MemoryOffline::new());
    fill(&lake, &dwh.inner);
    let name: StoreName = "dwh".parse().unwrap();
    let world = World::with(|builder| builder.offline(lake).offline_named(name, Arc::new(dwh)));
    world.apply(FLIGHTS).await;
    world
}

/// What each row must be, worked out by hand.
fn expected(n: i64) -> [Option<i64>; 4] {
    let delay = |n: i64, minute: i64| match n % 4 {
        0 => Some(if minute >= 30 { 4 } else { 1 }),
        1 => Some(2),
        2 => Some(3),
        _ => None,
    };
    let sk = if n >= 10 { 101 } else { 100 };
    let planes = [Some(sk), Some(200), None][(n % 3) as usize];
    let flights = match (n % 3, (n + 1) % 4) {
        (0, 0) => Some(7),
        (0, 1) if n >= 10 => Some(9),
        (1, 1) => Some(8),
        _ => None,
    };
    [delay(n, n), planes, delay(n + 1, n), flights]
}

#[tokio::test]
async fn roles_sources_and_stores_zip_whatever_the_sizes_of_batches() {
    for sizes in [&[1][..], &[7, 0, 3], &[0, 1_000], &[64]] {
        let world = world(sizes, 0).await;
        for batch_rows in [1, 5, 4_096] {
            let options = OfflineOptions::default().with_batch_rows(batch_rows);
            let task = world
                .store
                .historical("flights")
                .options(options)
                .event_times(true)
                .entities([spine(90)]);
            let (out, report) = task.run().await.unwrap().collect().await.unwrap();
            let names: Vec<_> = out.schema().fields().iter().map(|f| f.name().clone()).collect();
            assert_eq!(
                names[5..],
                [
                    "origin__delay",
                    "planes",
                    "dest__delay",
                    "flights",
                    "origin__event_timestamp",
                    "carrier_stats__event_timestamp",
                    "dest__event_timestamp",
                    "pair_stats__event_timestamp"
                ]
            );
            assert_eq!(numbers(&out, "row"), (0..90).map(Some).collect::<Vec<_>>());
            let columns =
                ["origin__delay", "planes", "dest__delay", "flights"].map(|name| numbers(&out, name));
            for row in 0..90_i64 {
                let got = columns.each_ref().map(|column| column[row as usize]);
                assert_eq!(got, expected(row), "row {row}, sizes {sizes:?}");
            }
            let views: Vec<_> = report.views.iter().map(|view| view.view.as_str()).collect();
            assert_eq!(
                views,
                [
                    "origin=airport_stats",
                    "carrier_stats",
                    "dest=airport_stats",
                    "pair_stats"
                ]
            );
            let matched: Vec<u64> = report.views.iter().map(|view| view.matched).collect();
            let counted = [0, 1, 2, 3].map(|column: usize| columns[column].iter().flatten().count() as u64);
            assert_eq!(
                matched, counted,
                "each store's report is complete, sizes {sizes:?}"
            );
            assert_eq!(report.rows, 90);
        }
    }
}

#[tokio::test]
async fn a_store_that_answers_too_few_or_too_many_rows_is_an_error() {
    for wrong in [-1, 1] {
        let world = world(&[8], wrong).await;
        let set = world
            .store
            .historical("flights")
            .entities([spine(40)])
            .run()
            .await
            .unwrap();
        assert_says(set.collect().await, &["an offline store answered"]);
    }
}

#[tokio::test]
async fn a_store_that_is_not_configured_is_named() {
    let world = World::new();
    world.apply(FLIGHTS).await;
    assert_says(
        world.store.historical("flights").entities([spine(1)]).run().await,
        &["offline store `dwh`"],
    );
    // What does not need it works.
    fill(&world.offline, &MemoryOffline::new());
    let select = Selection::features(["airport_stats:delay"]);
    let task = world
        .store
        .historical(select)
        .key("airport", "origin_airport")
        .entities([spine(2)]);
    let (out, _) = task.run().await.unwrap().collect().await.unwrap();
    assert_eq!(numbers(&out, "delay"), [Some(1), Some(2)]);
}
