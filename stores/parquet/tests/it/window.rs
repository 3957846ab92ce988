//! Whether windows are read in bounded memory, and stop when nobody reads them.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use larder_core::arrow::array::*;
use larder_core::{
    EntityRows, HistoricalRead, LatestRead, Micros, OfflineOptions, OfflineStore, Progress, ViewJoin,
};
use larder_parquet::ParquetStore;
use serde_json::json;

use crate::common::{batch, joined, micros, plain, scan, source, write_with};

fn big(rows: i64) -> RecordBatch {
    batch(vec![
        (
            "id",
            Arc::new(Int64Array::from_iter_values((0..rows).map(|i| i % 1000))),
        ),
        ("at", micros(0..rows)),
        ("total", Arc::new(Int64Array::from_iter_values(0..rows))),
    ])
}

fn pages() -> parquet::file::properties::WriterPropertiesBuilder {
    plain()
        .set_data_page_row_count_limit(1000)
        .set_write_batch_size(1000)
}

#[tokio::test]
async fn a_dropped_stream_stops_the_work() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..20 {
        write_with(
            &dir.path().join(format!("s/{file:02}.parquet")),
            &big(50_000),
            pages(),
        );
    }
    let source = source(json!({ "name": "s", "type": "parquet", "path": "s", "event_time": "at" }));
    let scan = scan(&source, &[("id", "int64")], &[("total", "int64")]);
    let store = ParquetStore::new(dir.path());
    let progress = Progress::default();
    let options = OfflineOptions::default()
        .with_progress(Some(progress.clone()))
        .with_batch_rows(1000)
        .with_threads(2);
    let request = LatestRead {
        scan: scan.clone(),
        floor: Micros::MIN,
        after: Micros::MIN,
        until: Micros::MAX,
    };
    let mut stream = store.latest(request, &options).await.unwrap();
    stream.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (done, expected) = progress.get();
    assert_eq!(expected, 1_000_000);
    // Nobody took more than one batch: what is decoded ahead is a handful.
    assert!(done < 20_000, "{done} rows were decoded ahead");
    drop(stream);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (stopped, _) = progress.get();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        progress.get().0,
        stopped,
        "work went on after the stream was dropped"
    );

    let request = HistoricalRead {
        rows: EntityRows::batches(
            vec![Arc::new(Int64Array::from(vec![1]))],
            TimestampMicrosecondArray::from(vec![100_000]),
        ),
        views: vec![ViewJoin::new(scan, vec![0])],
    };
    drop(store.historical(request, &options).await.unwrap());
}

#[tokio::test]
async fn pages_outside_of_the_window_are_not_decoded() {
    let dir = tempfile::tempdir().unwrap();
    write_with(&dir.path().join("s.parquet"), &big(100_000), pages());
    let source = source(json!({ "name": "s", "type": "parquet", "path": "s.parquet", "event_time": "at" }));
    let scan = scan(&source, &[("id", "int64")], &[("total", "int64")]);
    let store = ParquetStore::new(dir.path());
    let progress = Progress::default();
    let options = OfflineOptions::default().with_progress(Some(progress.clone()));
    let request = LatestRead {
        scan: scan.clone(),
        floor: Micros(50_500),
        after: Micros::MIN,
        until: Micros(51_499),
    };
    let stream = store.latest(request, &options).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1000);
    assert_eq!(progress.get(), (2000, 2000));

    // A join, too: the rows of the pages keep their positions.
    let request = HistoricalRead {
        rows: EntityRows::batches(
            vec![Arc::new(Int64Array::from(vec![7, 500]))],
            TimestampMicrosecondArray::from(vec![51_499, 51_499]),
        ),
        views: vec![ViewJoin::new(scan, vec![0]).with_ttl(Some(larder_core::Span(1000)))],
    };
    let (views, report) = joined(&store, request, &OfflineOptions::default()).await.unwrap();
    let total = views[0].features[0].as_primitive::<types::Int64Type>();
    assert_eq!(total.values(), &[51_007, 50_500]);
    assert_eq!(report.views[0].source_rows, 2000);
}

#[test]
fn any_executor_will_do() {
    let dir = tempfile::tempdir().unwrap();
    write_with(&dir.path().join("s.parquet"), &big(10), plain());
    let source = source(json!({ "name": "s", "type": "parquet", "path": "s.parquet", "event_time": "at" }));
    let store = ParquetStore::new(dir.path());
    let schema = futures::executor::block_on(store.schema(&source)).unwrap();
    assert_eq!(schema.fields().len(), 3);
}
