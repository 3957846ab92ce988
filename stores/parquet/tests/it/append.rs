//! Whether appended rows are there whole, read back equal, and come last.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use larder_core::arrow::array::*;
use larder_core::arrow::cast::cast;
use larder_core::arrow::datatypes::{DataType, TimeUnit};
use larder_core::{
    BatchStream, Error, ErrorKind, Micros, OfflineOptions, OfflineStore, RangeRead, Result, ViewScan,
    VirtualClock,
};
use larder_parquet::ParquetStore;
use serde_json::json;

use crate::common::{batch, micros, scan, source, write};

fn view(path: &str, extra: serde_json::Value) -> ViewScan {
    let mut definition = json!({
        "name": "s", "type": "parquet", "path": path, "event_time": "at", "created_time": "written",
        "columns": { "total": "The Total" },
    });
    definition
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    scan(&source(definition), &[("id", "int64")], &[("total", "int64")])
}

fn rows(scan: &ViewScan, ids: &[i64], at: i64) -> RecordBatch {
    let n = ids.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        micros(vec![at; n]),
        micros(vec![at + 1; n]),
        Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id * 10))),
    ];
    RecordBatch::try_new(scan.schema(), columns).unwrap()
}

fn stream_of(batches: Vec<Result<RecordBatch>>) -> BatchStream {
    stream::iter(batches).boxed()
}

async fn read(store: &ParquetStore, scan: &ViewScan) -> Vec<(i64, i64, i64)> {
    let request = RangeRead::new(scan.clone(), Micros::MIN, Micros::MAX);
    let options = OfflineOptions::default().with_threads(1);
    let batches: Vec<RecordBatch> = store
        .range(request, &options)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let id = batch.column(0).as_primitive::<types::Int64Type>();
        let at = batch.column(1).as_primitive::<types::TimestampMicrosecondType>();
        let total = batch.column(3).as_primitive::<types::Int64Type>();
        rows.extend((0..batch.num_rows()).map(|row| (id.value(row), at.value(row), total.value(row))));
    }
    rows
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .map(|entries| {
            entries
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[tokio::test]
async fn rows_are_appended_whole_and_last() {
    let dir = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at(Micros(1_000));
    let store = ParquetStore::with_clock(dir.path(), Arc::new(clock.clone()));
    let view = view("new/folder", json!({}));
    let options = OfflineOptions::default();
    let n = store
        .append(
            &view,
            stream_of(vec![Ok(rows(&view, &[1, 2], 100)), Ok(rows(&view, &[3], 100))]),
            &options,
        )
        .await
        .unwrap();
    assert_eq!(n, 3);
    // The clock went back; the new file is the last one nevertheless.
    clock.set(Micros(10));
    store
        .append(&view, stream_of(vec![Ok(rows(&view, &[4], 100))]), &options)
        .await
        .unwrap();
    assert_eq!(
        read(&store, &view).await,
        [(1, 100, 10), (2, 100, 20), (3, 100, 30), (4, 100, 40)]
    );
    // Nothing to append is no file.
    assert_eq!(store.append(&view, stream_of(vec![]), &options).await.unwrap(), 0);
    assert_eq!(
        store
            .append(&view, stream_of(vec![Ok(rows(&view, &[], 1))]), &options)
            .await
            .unwrap(),
        0
    );
    assert_eq!(names(&dir.path().join("new/folder")).len(), 2);

    // An error on the way leaves nothing behind, not even a temporary file.
    let broken = stream_of(vec![Ok(rows(&view, &[5], 100)), Err(Error::input("a bad row"))]);
    let error = store.append(&view, broken, &options).await.unwrap_err();
    assert_eq!(error.message(), "a bad row");
    // Neither does a caller that goes away.
    let endless = stream::iter([Ok(rows(&view, &[6], 100))])
        .chain(stream::pending())
        .boxed();
    let appending = store.append(&view, endless, &options);
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(100), appending)
            .await
            .is_err()
    );
    for _ in 0..100 {
        if names(&dir.path().join("new/folder")).len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(names(&dir.path().join("new/folder")).len(), 2);
    assert_eq!(read(&store, &view).await.len(), 4);
}

#[tokio::test]
async fn existing_types_are_matched() {
    let dir = tempfile::tempdir().unwrap();
    let store = ParquetStore::new(dir.path());
    let local = |at: i64, unit| {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![at]));
        cast(&times, &DataType::Timestamp(unit, None)).unwrap()
    };
    let hour = 3_600_000_000;
    for (name, unit) in [("ms", TimeUnit::Millisecond), ("ns", TimeUnit::Nanosecond)] {
        let body = batch(vec![
            ("id", Arc::new(Int32Array::from(vec![1]))),
            ("at", local(hour, unit)),
            ("written", local(hour, unit)),
            ("note", Arc::new(StringArray::from(vec!["kept"]))),
            ("The Total", Arc::new(Int16Array::from(vec![10]))),
        ]);
        write(&dir.path().join(name).join("part-0.parquet"), &body);
    }
    let options = OfflineOptions::default();
    let zone = json!({ "timezone": "Europe/Stockholm" });
    // Winter in Stockholm is an hour ahead; the second column is then off by a microsecond, which ns can hold.
    let ns = view("ns", zone.clone());
    store
        .append(&ns, stream_of(vec![Ok(rows(&ns, &[2], 5 * hour))]), &options)
        .await
        .unwrap();
    assert_eq!(read(&store, &ns).await, [(1, 0, 10), (2, 5 * hour, 20)]);
    let schema = store.schema(&ns.source).await.unwrap();
    assert_eq!(
        schema.field_with_name("at").unwrap().data_type(),
        &DataType::Timestamp(TimeUnit::Nanosecond, None)
    );

    let ms = view("ms", zone);
    let mut lossy = vec![
        ("a microsecond", rows(&ms, &[2], 5 * hour)),
        ("a wide key", rows(&ms, &[1 << 40], 5 * hour)),
        ("a wide value", rows(&ms, &[30_000], 5 * hour)),
    ];
    // The hour that Stockholm has twice: of two instants with the same local time only the first can be written.
    let twice = "2026-10-25T01:30:00Z".parse::<Micros>().unwrap().0;
    lossy.push(("an ambiguous time", rows(&ms, &[2], twice)));
    for (what, rows) in lossy {
        let error = store
            .append(&ms, stream_of(vec![Ok(rows)]), &options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{what}");
        assert!(error.to_string().contains("part-0.parquet"), "{error}");
    }
    assert_eq!(names(&dir.path().join("ms")), ["part-0.parquet"]);

    // Without a zone, local times cannot be written, and a column that the files do not have is refused.
    let error = store
        .append(
            &view("ms", json!({})),
            stream_of(vec![Ok(rows(&ms, &[2], 0))]),
            &options,
        )
        .await
        .unwrap_err();
    assert!(error.to_string().contains("timezone"), "{error}");
    let renamed = view(
        "ns",
        json!({ "timezone": "UTC", "columns": { "total": "Other" } }),
    );
    let error = store
        .append(&renamed, stream_of(vec![Ok(rows(&renamed, &[2], 0))]), &options)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Other"), "{error}");
}

#[tokio::test]
async fn only_plain_folders_take_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = ParquetStore::new(dir.path());
    let body = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1]))),
        ("at", micros([1])),
        ("written", micros([1])),
        ("The Total", Arc::new(Int64Array::from(vec![1]))),
    ]);
    write(&dir.path().join("a/x.parquet"), &body);
    write(&dir.path().join("hive/day=1/x.parquet"), &body);
    for path in ["a/x.parquet", "a/*.parquet", "hive", "not/yet.parquet"] {
        let view = view(path, json!({}));
        let error = store
            .append(
                &view,
                stream_of(vec![Ok(rows(&view, &[1], 1))]),
                &OfflineOptions::default(),
            )
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.remedy().is_some(), "{error}");
    }
    assert_eq!(names(&dir.path().join("a")), ["x.parquet"]);
}
