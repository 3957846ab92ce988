//! Which files are found, and what is said about those that cannot be read.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use larder_core::arrow::array::*;
use larder_core::arrow::datatypes::Int64Type;
use larder_core::{
    EntityRows, Error, ErrorKind, HistoricalRead, LatestRead, Micros, OfflineOptions, OfflineStore, Progress,
    Result, Span, ViewJoin, ViewScan,
};
use larder_parquet::ParquetStore;
use parquet::file::properties::EnabledStatistics;
use serde_json::json;

use crate::common::{batch, joined, micros, plain, scan, source, write, write_with};

pub(crate) fn rows(user: i64, at: i64, total: i64) -> RecordBatch {
    batch(vec![
        ("user_id", Arc::new(Int64Array::from(vec![user]))),
        ("at", micros([at])),
        ("total", Arc::new(Int64Array::from(vec![total]))),
    ])
}

pub(crate) fn orders(path: &str) -> ViewScan {
    let source = source(json!({ "name": "orders", "type": "parquet", "path": path, "event_time": "at" }));
    scan(&source, &[("user_id", "int64")], &[("total", "int64")])
}

fn ask(scan: ViewScan, users: &[i64], at: i64) -> HistoricalRead {
    let times = TimestampMicrosecondArray::from(vec![at; users.len()]);
    HistoricalRead {
        rows: EntityRows::batches(vec![Arc::new(Int64Array::from(users.to_vec()))], times),
        views: vec![ViewJoin::new(scan, vec![0])],
    }
}

pub(crate) async fn total(root: &Path, path: &str) -> Result<Vec<Option<i64>>> {
    let store = ParquetStore::new(root);
    let request = ask(orders(path), &[1, 2, 3, 4], 100);
    let (views, _) = joined(&store, request, &OfflineOptions::default()).await?;
    Ok(views[0].features[0].as_primitive::<Int64Type>().iter().collect())
}

pub(crate) async fn error(root: &Path, path: &str) -> Error {
    total(root, path).await.unwrap_err()
}

#[tokio::test]
async fn files_folders_patterns_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("o/a.parquet"), &rows(1, 10, 11));
    write(&root.join("o/deep/er/b.pq"), &rows(2, 10, 12));
    write(&root.join("o/c.PARQ"), &rows(3, 10, 13));
    write(&root.join("elsewhere/d.parquet"), &rows(4, 10, 14));
    // None of these is data.
    for ignored in [
        "o/_tmp.parquet",
        "o/.hidden.parquet",
        "o/_temporary/x.parquet",
        "o/.tmp-part.parquet",
    ] {
        write(&root.join(ignored), &rows(4, 10, 99));
    }
    fs::write(root.join("o/_SUCCESS"), "").unwrap();
    fs::write(root.join("o/notes.txt"), "x").unwrap();
    fs::write(root.join("o/x.parquet.tmp"), "x").unwrap();

    let all = vec![Some(11), Some(12), Some(13), None];
    assert_eq!(total(root, "o").await.unwrap(), all);
    assert_eq!(total(root, "o/").await.unwrap(), all);
    assert_eq!(
        total(root, &root.join("o").display().to_string()).await.unwrap(),
        all
    );
    assert_eq!(
        total(root, &format!("file://{}/o", root.display()))
            .await
            .unwrap(),
        all
    );
    assert_eq!(
        total(root, "o/a.parquet").await.unwrap(),
        [Some(11), None, None, None]
    );
    assert_eq!(
        total(root, "o/*.parquet").await.unwrap(),
        [Some(11), None, None, None]
    );
    assert_eq!(
        total(root, "o/**/*.pq").await.unwrap(),
        [None, Some(12), None, None]
    );
    assert_eq!(
        total(root, "o/[ab]*").await.unwrap(),
        [Some(11), None, None, None]
    );
    assert_eq!(total(root, "?/d*").await.unwrap(), [None, Some(12), None, None]);

    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(root.join("elsewhere"), root.join("o/link")).unwrap();
        std::os::unix::fs::symlink(root.join("o"), root.join("o/loop")).unwrap();
        let with_link = vec![Some(11), Some(12), Some(13), Some(14)];
        assert_eq!(total(root, "o").await.unwrap(), with_link);
    }
}

#[tokio::test]
async fn where_nothing_is_found_the_path_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::create_dir_all(root.join("csv")).unwrap();
    fs::write(root.join("csv/a.csv"), "a").unwrap();
    for (path, named) in [
        ("none", "none"),
        ("none.parquet", "none.parquet"),
        ("x/*.parquet", "x/*.parquet"),
        ("csv", "csv"),
    ] {
        let error = error(root, path).await;
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let resolved = root.join(named).display().to_string();
        assert!(error.to_string().contains(&resolved), "{error}");
        assert!(error.to_string().contains("orders"), "{error}");
        assert!(error.remedy().is_some(), "{error}");
        let store = ParquetStore::new(root);
        assert_eq!(
            store.schema(&orders(path).source).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
    // A folder that is there and empty has no rows, but no columns to plan with either.
    assert_eq!(total(root, "empty").await.unwrap(), [None; 4]);
    let store = ParquetStore::new(root);
    let error = store.schema(&orders("empty").source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn damaged_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("good.parquet"), &rows(1, 10, 11));
    let good = fs::read(root.join("good.parquet")).unwrap();
    for (name, bytes) in [
        ("empty.parquet", Vec::new()),
        ("short.parquet", b"PAR1".to_vec()),
        ("text.parquet", b"this is not what you think it is".repeat(10)),
        ("cut.parquet", good[..good.len() / 2].to_vec()),
        ("footer.parquet", {
            let mut bytes = good.clone();
            let at = bytes.len() - 40;
            bytes[at..at + 20].fill(0xff);
            bytes
        }),
    ] {
        let folder = root.join(name.trim_end_matches(".parquet"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("0.parquet"), &good).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
        let error = error(root, folder.file_name().unwrap().to_str().unwrap()).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn damaged_pages_never_panic_and_never_shorten_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let many = batch(vec![
        (
            "user_id",
            Arc::new(Int64Array::from_iter_values((0..500).map(|i| i % 4 + 1))),
        ),
        ("at", micros((0..500).map(|i| i % 90))),
        ("total", Arc::new(Int64Array::from_iter_values(0..500))),
    ]);
    write_with(
        &root.join("a.parquet"),
        &many,
        plain().set_data_page_row_count_limit(50).set_write_batch_size(10),
    );
    let good = fs::read(root.join("a.parquet")).unwrap();
    let want = total(root, "a.parquet").await.unwrap();
    for at in (4..good.len()).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        fs::write(root.join("b.parquet"), &bytes).unwrap();
        // Without checksums a changed value may go unnoticed, but not a lost row or a crash.
        match total(root, "b.parquet").await {
            Ok(got) => assert_eq!(got.len(), want.len()),
            // Decoders panic on some damage; that is told as what it is, with the file.
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::Internal, "byte {at}: {}", error.chain());
                assert!(error.to_string().contains("b.parquet"), "byte {at}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn files_that_disagree_are_both_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("o/a.parquet"), &rows(1, 10, 11));
    let without = rows(2, 10, 12).project(&[0, 1]).unwrap();
    write(&root.join("o/b.parquet"), &without);
    let text = batch(vec![
        ("user_id", Arc::new(Int64Array::from(vec![2]))),
        ("at", micros([10])),
        ("total", Arc::new(StringArray::from(vec!["12"]))),
    ]);
    write(&root.join("p/a.parquet"), &rows(1, 10, 11));
    write(&root.join("p/b.parquet"), &text);
    let store = ParquetStore::new(root);
    for path in ["o", "p"] {
        for error in [
            error(root, path).await,
            store.schema(&orders(path).source).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Input, "{error}");
            for named in ["a.parquet", "b.parquet", "total", "orders"] {
                assert!(error.to_string().contains(named), "{error}");
            }
        }
    }
    // A column that nobody asks for may be missing.
    let scan = scan(&orders("o").source, &[("user_id", "int64")], &[]);
    let (views, _) = joined(&store, ask(scan, &[1, 2], 100), &OfflineOptions::default())
        .await
        .unwrap();
    assert_eq!(views[0].event.null_count(), 0);
    // A wrong name is told with what there is.
    let misspelt = crate::common::scan(
        &orders("o/a.parquet").source,
        &[("user_id", "int64")],
        &[("totl", "int64")],
    );
    let error = joined(&store, ask(misspelt, &[1], 100), &OfflineOptions::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("did you mean `total`"), "{error}");
}

#[tokio::test]
async fn partitions_are_columns_typed_by_need() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let body = |at: i64, total: i64| {
        batch(vec![
            ("at", micros([at])),
            ("total", Arc::new(Int64Array::from(vec![total]))),
        ])
    };
    write(
        &root.join("o/user_id=1/city=S%C3%A3o%20Paulo/x.parquet"),
        &body(10, 11),
    );
    write(&root.join("o/user_id=2/city=Rio/x.parquet"), &body(10, 12));
    write(
        &root.join("o/user_id=__HIVE_DEFAULT_PARTITION__/city=Rio/x.parquet"),
        &body(10, 13),
    );
    assert_eq!(total(root, "o").await.unwrap(), [Some(11), Some(12), None, None]);
    assert_eq!(
        total(root, "o/user_id=2").await.unwrap(),
        [None, Some(12), None, None]
    );

    let store = ParquetStore::new(root);
    let source = orders("o").source;
    let schema = store.schema(&source).await.unwrap();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(names, ["at", "total", "user_id", "city"]);
    // The same column as another type, as a string key, and as a feature.
    for of in ["int32", "int64", "string"] {
        let scan = scan(
            &source,
            &[("user_id", of)],
            &[("city", "string"), ("user_id", "int64")],
        );
        larder_core::convert::SourceColumns::new(&scan)
            .unwrap()
            .check(&schema, "x")
            .unwrap();
        let key: ArrayRef = match of {
            "int32" => Arc::new(Int32Array::from(vec![1, 9])),
            "int64" => Arc::new(Int64Array::from(vec![1, 9])),
            _ => Arc::new(StringArray::from(vec!["1", "9"])),
        };
        let request = HistoricalRead {
            rows: EntityRows::batches(vec![key], TimestampMicrosecondArray::from(vec![100, 100])),
            views: vec![ViewJoin::new(scan, vec![0])],
        };
        let result = joined(&store, request, &OfflineOptions::default()).await;
        if of == "int64" {
            let (views, report) = result.unwrap();
            let city = views[0].features[0].as_string::<i32>();
            assert_eq!((city.value(0), city.is_null(1)), ("São Paulo", true));
            assert_eq!(views[0].features[1].as_primitive::<Int64Type>().value(0), 1);
            // The keys are few, so that user 2 is known not to be among them; null never is.
            assert_eq!((report.read.files, report.read.files_read), (3, 1));
        }
    }
    // A value that is no number is told with the file.
    write(&root.join("bad/user_id=x/a.parquet"), &body(1, 1));
    let error = error(root, "bad").await;
    assert!(error.to_string().contains("user_id=x"), "{error}");
}

#[tokio::test]
async fn event_time_can_be_a_partition() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (day, total) in [("2026-01-01", 1), ("2026-01-02", 2), ("2026-01-03", 3)] {
        let body = batch(vec![
            ("user_id", Arc::new(Int64Array::from(vec![7]))),
            ("total", Arc::new(Int64Array::from(vec![total]))),
        ]);
        write(&root.join(format!("o/day={day}/a.parquet")), &body);
    }
    let source = source(json!({
        "name": "orders", "type": "parquet", "path": "o", "event_time": "day", "timezone": "Europe/Stockholm",
    }));
    let scan = scan(&source, &[("user_id", "int64")], &[("total", "int64")]);
    let store = ParquetStore::new(root);
    // The second day begins in Stockholm an hour before it does in UTC.
    let at = "2026-01-01T23:00:00Z".parse::<Micros>().unwrap().0;
    let mut request = ask(scan, &[7], at);
    request.views[0] = request.views[0].clone().with_ttl(Some(Span::hours(1)));
    let (views, report) = joined(&store, request, &OfflineOptions::default()).await.unwrap();
    assert_eq!(views[0].features[0].as_primitive::<Int64Type>().value(0), 2);
    assert_eq!(report.read.files_read, 1);
}

#[tokio::test]
async fn later_files_win_full_ties() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("o/b.parquet"), &rows(1, 10, 22));
    write(&root.join("o/a.parquet"), &rows(1, 10, 11));
    write(&root.join("o/a/z.parquet"), &rows(1, 10, 0));
    assert_eq!(total(root, "o").await.unwrap()[0], Some(22));
    write(&root.join("o/c/a.parquet"), &rows(1, 10, 33));
    assert_eq!(total(root, "o").await.unwrap()[0], Some(33));
}

#[tokio::test]
async fn pruned_files_are_not_opened_for_data_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for day in 0..16_i64 {
        let many = batch(vec![
            ("user_id", Arc::new(Int64Array::from_iter_values(0..100))),
            ("at", micros((0..100).map(|i| day * 1000 + i))),
            (
                "total",
                Arc::new(Int64Array::from_iter_values((0..100).map(|i| day * 1000 + i))),
            ),
        ]);
        write(&root.join(format!("o/{day:02}.parquet")), &many);
    }
    let store = ParquetStore::new(root);
    let mut request = ask(orders("o"), &[5, 6], 12_500);
    request.views[0] = request.views[0].clone().with_ttl(Some(Span(3_000)));
    let explained = store.explain(&request, &OfflineOptions::default()).await.unwrap();
    let view = &explained.views[0];
    assert_eq!(
        (view.read.files, view.read.files_read, view.read.row_groups_read),
        (16, 3, 3)
    );
    assert!(view.read.bytes > 0);
    assert_eq!(view.skipped.iter().map(|(_, n)| n).sum::<u64>(), 13);
    let progress = Progress::default();
    let options = OfflineOptions::default().with_progress(Some(progress.clone()));
    let (views, report) = joined(&store, request, &options).await.unwrap();
    assert_eq!(views[0].features[0].as_primitive::<Int64Type>().value(1), 12_006);
    assert_eq!((report.read.files_read, report.read.row_groups_read), (3, 3));
    assert_eq!(report.views[0].source_rows, 300);
    assert_eq!(progress.get(), (300, 300));
    // Keys that no file has.
    let explained = store
        .explain(
            &ask(orders("o"), &[1000, 2000], 12_500),
            &OfflineOptions::default(),
        )
        .await
        .unwrap();
    assert_eq!(explained.views[0].read.row_groups_read, 0);
}

#[tokio::test]
async fn a_file_that_changes_between_the_passes_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("o/a.parquet"), &rows(1, 10, 11));
    let store = ParquetStore::new(root);
    let (views, _) = joined(&store, ask(orders("o"), &[1], 100), &OfflineOptions::default())
        .await
        .unwrap();
    assert_eq!(views[0].features[0].as_primitive::<Int64Type>().value(0), 11);
    // A cached footer of the old file must not be used for the new one.
    fs::remove_file(root.join("o/a.parquet")).unwrap();
    let two = larder_core::arrow::compute::concat::concat_batches(
        &rows(1, 1, 1).schema(),
        &[rows(1, 20, 21), rows(2, 20, 22)],
    )
    .unwrap();
    write(&root.join("o/a.parquet"), &two);
    assert_eq!(total(root, "o").await.unwrap(), [Some(21), Some(22), None, None]);
    let (views, _) = joined(&store, ask(orders("o"), &[2], 100), &OfflineOptions::default())
        .await
        .unwrap();
    assert_eq!(views[0].features[0].as_primitive::<Int64Type>().value(0), 22);

    // While a stream is being read, files go away: an error, not an end.
    let body = batch(vec![
        ("user_id", Arc::new(Int64Array::from_iter_values(0..50_000))),
        ("at", micros(0..50_000)),
        ("total", Arc::new(Int64Array::from_iter_values(0..50_000))),
    ]);
    for file in 0..40 {
        write(&root.join(format!("many/{file:02}.parquet")), &body);
    }
    let request = LatestRead {
        scan: orders("many"),
        floor: Micros::MIN,
        after: Micros::MIN,
        until: Micros::MAX,
    };
    let options = OfflineOptions::default().with_batch_rows(1000).with_threads(2);
    let mut stream = store.latest(request, &options).await.unwrap();
    stream.next().await.unwrap().unwrap();
    fs::remove_dir_all(root.join("many")).unwrap();
    let rest: Result<Vec<RecordBatch>> = stream.try_collect().await;
    let error = rest.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("many"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("delta/a.parquet"), &rows(1, 10, 11));
    fs::create_dir(root.join("delta/_delta_log")).unwrap();
    write(&root.join("ice/data/a.parquet"), &rows(1, 10, 11));
    fs::create_dir(root.join("ice/metadata")).unwrap();
    fs::write(root.join("ice/metadata/v1.metadata.json"), "{}").unwrap();
    for path in ["delta", "ice"] {
        assert_eq!(error(root, path).await.kind(), ErrorKind::Unsupported, "{path}");
    }
    #[cfg(not(feature = "s3"))]
    {
        let error = error(root, "s3://bucket/x").await;
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("feature `s3`"), "{error}");
    }
    let store = ParquetStore::new(root);
    for (definition, kind) in [
        (
            json!({ "name": "s", "type": "parquet", "path": "o", "event_time": "at", "filter": "x = 1" }),
            ErrorKind::Unsupported,
        ),
        (
            json!({ "name": "s", "type": "parquet", "event_time": "at" }),
            ErrorKind::Definition,
        ),
        (
            json!({ "name": "s", "type": "parquet", "path": "o", "pth": 1, "event_time": "at" }),
            ErrorKind::Definition,
        ),
        (
            json!({ "name": "s", "type": "parquet", "path": "o/[", "event_time": "at" }),
            ErrorKind::Definition,
        ),
    ] {
        let scan = scan(&source(definition), &[("user_id", "int64")], &[]);
        let error = joined(&store, ask(scan, &[1], 1), &OfflineOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let request = HistoricalRead {
        rows: EntityRows::Sql("select 1".to_owned()),
        views: vec![],
    };
    let error = store
        .historical(request, &OfflineOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn bloom_filters_rule_out_row_groups_without_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..4_i64 {
        // Every file spans all keys, so that only a filter can tell which it has.
        let ids = (0..200).map(|row| row * 40 + file * 10);
        let rows = batch(vec![
            (
                "user_id",
                Arc::new(Int32Array::from_iter_values(ids.clone().map(|id| id as i32))),
            ),
            (
                "name",
                Arc::new(StringArray::from_iter_values(ids.map(|id| format!("n{id}")))),
            ),
            ("at", micros((0..200).map(|row| row * 10))),
            ("total", Arc::new(Int64Array::from_iter_values(0..200))),
        ]);
        let properties = plain()
            .set_bloom_filter_enabled(true)
            .set_statistics_enabled(EnabledStatistics::None);
        write_with(&dir.path().join(format!("o/{file}.parquet")), &rows, properties);
    }
    let store = ParquetStore::new(dir.path());
    let scan = scan(
        &source(json!({ "name": "o", "type": "parquet", "path": "o", "event_time": "at" })),
        &[("user_id", "int64")],
        &[("total", "int64")],
    );
    let explained = store
        .explain(
            &ask(scan.clone(), &[50, 90], 1_000_000),
            &OfflineOptions::default(),
        )
        .await
        .unwrap();
    let view = &explained.views[0];
    assert_eq!(view.read.row_groups_read, 1, "{view:?}");
    assert!(
        view.skipped
            .iter()
            .any(|(reason, n)| reason.contains("Bloom") && *n == 3),
        "{view:?}"
    );
    let (views, report) = joined(
        &store,
        ask(scan.clone(), &[50, 90], 1_000_000),
        &OfflineOptions::default(),
    )
    .await
    .unwrap();
    let totals = views[0].features[0].as_primitive::<Int64Type>();
    assert_eq!(
        (totals.value(0), totals.value(1), report.read.files_read),
        (1, 2, 1)
    );
    // A key that does not fit the column's type is nowhere.
    let (views, report) = joined(
        &store,
        ask(scan, &[1 << 40, 1 << 41], 1_000_000),
        &OfflineOptions::default(),
    )
    .await
    .unwrap();
    assert_eq!((views[0].event.null_count(), report.read.files_read), (2, 0));
}

#[tokio::test]
async fn health_names_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let health = ParquetStore::new(dir.path()).check().await.unwrap();
    assert!(
        health
            .details
            .iter()
            .any(|(_, value)| *value == dir.path().display().to_string())
    );
    let error = ParquetStore::new(dir.path().join("none"))
        .check()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.remedy().is_some());
}
