//! Whether small appends become few files, and nobody notices but by speed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use larder_core::arrow::array::*;
use larder_core::{
    ByteSize, CompactOptions, CompactReport, EntityRows, ErrorKind, HistoricalRead, Micros, OfflineOptions,
    OfflineStore, RangeRead, Result, Span, ViewJoin, ViewScan, VirtualClock,
};
use larder_parquet::ParquetStore;
use proptest::prelude::*;
use serde_json::json;

use crate::common::{batch, joined, micros, scan, source, write};

pub(crate) fn view(path: &str) -> ViewScan {
    let definition = json!({
        "name": "s", "type": "parquet", "path": path, "event_time": "at", "created_time": "written",
    });
    scan(
        &source(definition),
        &[("id", "int64")],
        &[("total", "int64"), ("text", "string")],
    )
}

/// Key, event, total; a null event is −1.
type Row = (i64, i64, i64);

pub(crate) fn rows(scan: &ViewScan, rows: &[Row]) -> RecordBatch {
    let n = rows.len();
    let times = |value: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(value).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        times(rows.iter().map(|row| (row.1 >= 0).then_some(row.1)).collect()),
        times(vec![None; n]),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
        Arc::new(StringArray::from_iter(
            rows.iter()
                .map(|row| (row.2 % 3 != 0).then(|| format!("text {}", row.2))),
        )),
    ];
    RecordBatch::try_new(scan.schema(), columns).unwrap()
}

pub(crate) async fn append(store: &dyn OfflineStore, scan: &ViewScan, list: &[Row]) {
    let stream = stream::iter([Ok(rows(scan, list))]).boxed();
    let count = store
        .append(scan, stream, &OfflineOptions::default())
        .await
        .unwrap();
    assert_eq!(count, list.len() as u64);
}

/// How often each row with an event time is there.
pub(crate) async fn all(store: &dyn OfflineStore, scan: &ViewScan) -> Result<BTreeMap<Row, usize>> {
    let request = RangeRead::new(scan.clone(), Micros::MIN, Micros::MAX);
    let batches: Vec<RecordBatch> = store
        .range(request, &OfflineOptions::default())
        .await?
        .try_collect()
        .await?;
    let mut found = BTreeMap::new();
    for batch in batches {
        let column = |at: usize| batch.column(at).as_primitive::<types::Int64Type>().clone();
        let at = batch.column(1).as_primitive::<types::TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            *found
                .entry((column(0).value(row), at.value(row), column(3).value(row)))
                .or_insert(0) += 1;
        }
    }
    Ok(found)
}

pub(crate) fn data_files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

pub(crate) fn at_once() -> CompactOptions {
    CompactOptions::default().with_grace(Span::ZERO)
}

async fn run(store: &ParquetStore, scan: &ViewScan, options: &CompactOptions) -> CompactReport {
    store.compact(&scan.source, options).await.unwrap()
}

#[tokio::test]
async fn replaced_files_wait_for_their_grace() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("s");
    let clock = VirtualClock::at(Micros(1_700_000_000_000_000));
    let store = ParquetStore::with_clock(dir.path(), Arc::new(clock.clone()));
    let view = view("s");
    for n in 0..10 {
        append(&store, &view, &[(n % 3, 100 - n, n), (7, 50, n)]).await;
    }
    let before = all(&store, &view).await.unwrap();
    let options = CompactOptions::default();
    let report = run(&store, &view, &options).await;
    assert_eq!(
        (report.files, report.merged, report.made, report.rows),
        (10, 10, 1, 20)
    );
    assert_eq!((report.removed, report.waiting), (0, 10));
    assert!(report.bytes_made.unwrap() < report.bytes_merged);
    assert_eq!(data_files(&folder).len(), 11);
    assert_eq!(all(&store, &view).await.unwrap(), before);

    // While they wait, more comes, and is merged again.
    append(&store, &view, &[(1, 200, 77)]).await;
    clock.advance(Span::minutes(50));
    let report = run(&store, &view, &options).await;
    assert_eq!(
        (report.files, report.merged, report.removed, report.waiting),
        (2, 2, 0, 12)
    );
    clock.advance(Span::minutes(10));
    // The first ten are due, although they were named again since.
    let report = run(&store, &view, &options).await;
    assert_eq!((report.merged, report.removed, report.waiting), (0, 10, 2));
    clock.advance(Span::hours(1));
    let report = run(&store, &view, &options).await;
    assert_eq!((report.files, report.removed, report.waiting), (1, 2, 0));
    assert_eq!(data_files(&folder).len(), 1);
    let mut after = before;
    after.insert((1, 200, 77), 1);
    assert_eq!(all(&store, &view).await.unwrap(), after);

    let short = CompactOptions::default().with_grace(Span::minutes(1));
    let error = store.compact(&view.source, &short).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
}

#[tokio::test]
async fn files_of_others_stay_and_part_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("s");
    let store = ParquetStore::with_clock(dir.path(), Arc::new(VirtualClock::at(Micros(1_000))));
    let view = view("s");
    let foreign = |total: i64| {
        batch(vec![
            ("id", Arc::new(Int64Array::from(vec![7]))),
            ("at", micros([50])),
            (
                "written",
                Arc::new(TimestampMicrosecondArray::from(vec![None]).with_timezone("UTC")),
            ),
            ("total", Arc::new(Int64Array::from(vec![total]))),
            ("text", Arc::new(StringArray::from(vec!["theirs"]))),
        ])
    };
    write(&folder.join("a.parquet"), &foreign(1));
    append(&store, &view, &[(7, 50, 2)]).await;
    append(&store, &view, &[(7, 50, 3)]).await;
    // Somebody's file that sorts between ours, and whose row wins the tie against the first two.
    let last = data_files(&folder).pop().unwrap();
    let theirs = last.replace(".parquet", "x.parquet");
    write(&folder.join(&theirs), &foreign(4));
    append(&store, &view, &[(8, 50, 5)]).await;
    append(&store, &view, &[(8, 50, 6)]).await;
    let request = || HistoricalRead {
        rows: EntityRows::batches(
            vec![Arc::new(Int64Array::from(vec![7, 8]))],
            TimestampMicrosecondArray::from(vec![60, 60]),
        ),
        views: vec![ViewJoin::new(view.clone(), vec![0])],
    };
    let totals = |views: &[larder_core::JoinedView]| {
        views[0].features[0]
            .as_primitive::<types::Int64Type>()
            .values()
            .to_vec()
    };
    let (before, _) = joined(&store, request(), &OfflineOptions::default())
        .await
        .unwrap();
    assert_eq!(totals(&before), [4, 6]);
    let report = run(&store, &view, &at_once()).await;
    assert_eq!((report.merged, report.made, report.removed), (4, 2, 4));
    let names = data_files(&folder);
    assert_eq!(names.len(), 4);
    assert!(names.contains(&"a.parquet".to_owned()) && names.contains(&theirs));
    let (after, told) = joined(&store, request(), &OfflineOptions::default())
        .await
        .unwrap();
    assert_eq!(totals(&after), [4, 6]);
    // Those who ask which files there were can be told where the others went.
    let files = &told.sources[0].files;
    assert_eq!(files.len(), 4);
    let known: usize = files.iter().map(|file| file.replaces.len()).sum();
    assert_eq!(known, 4);
    assert!(files[1].replaces.iter().all(|name| name.starts_with("part-")));
}

#[tokio::test]
async fn what_cannot_be_compacted_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let store = ParquetStore::new(dir.path());
    let view_of = |path: &str| view(path);
    append(&store, &view_of("s"), &[(1, 1, 1)]).await;
    let file = data_files(&dir.path().join("s")).remove(0);
    for path in [format!("s/{file}"), "s/*.parquet".to_owned()] {
        let error = store
            .compact(&view_of(&path).source, &at_once())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let error = store
        .compact(&view_of("nothing").source, &at_once())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // One file is as few as it gets, and a dry run locks nothing.
    let report = run(&store, &view_of("s"), &at_once().with_dry_run(true)).await;
    assert_eq!((report.files, report.merged, report.bytes_made), (1, 0, None));
    assert!(!dir.path().join("s/.larder-compact.lock").exists());
}

#[tokio::test]
async fn limits_bound_the_files_that_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = ParquetStore::new(dir.path());
    let view = view("s");
    for n in 0..12 {
        append(&store, &view, &[(n, n, n)]).await;
    }
    let bytes = fs::metadata(dir.path().join("s").join(&data_files(&dir.path().join("s"))[0]))
        .unwrap()
        .len();
    let report = run(
        &store,
        &view,
        &at_once().with_target(ByteSize(bytes * 4 + 40)).with_dry_run(true),
    )
    .await;
    // Files that have a text are a little larger than the first.
    assert!(
        report.merged == 12 && (3..=5).contains(&report.made),
        "{report:?}"
    );
    let report = run(&store, &view, &at_once().with_memory(ByteSize(200))).await;
    assert!(report.made >= 3 && report.made < 12, "{report:?}");
    assert_eq!(all(&store, &view).await.unwrap().len(), 12);
}

#[test]
fn rows_and_answers_stay_whatever_is_appended_and_compacted() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let row = (0..4_i64, -1..12_i64, 0..1_000_i64);
    let step = prop_oneof![
        4 => proptest::collection::vec(row, 1..6).prop_map(Step::Append),
        1 => (200..4_000_u64, proptest::bool::ANY).prop_map(|(target, now)| Step::Compact(target * 10, now)),
        1 => Just(Step::Wait),
    ];
    let config = ProptestConfig::with_cases(60);
    proptest!(config, |(steps in proptest::collection::vec(step, 1..14))| {
        runtime.block_on(replay(&steps));
    });
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Row>),
    Compact(u64, bool),
    Wait,
}

/// Does the steps on a store that compacts and on one that does not, and compares them after each.
async fn replay(steps: &[Step]) {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let clock = VirtualClock::at(Micros(1_000));
    let [store, plain] =
        [0, 1].map(|at: usize| ParquetStore::with_clock(dirs[at].path(), Arc::new(clock.clone())));
    let view = view("s");
    let request = || HistoricalRead {
        rows: EntityRows::batches(
            vec![Arc::new(Int64Array::from_iter_values((0..60).map(|n| n % 5)))],
            TimestampMicrosecondArray::from_iter_values((0..60).map(|n| n / 5)),
        ),
        views: vec![ViewJoin::new(view.clone(), vec![0]).with_ttl(Some(Span(6)))],
    };
    let mut appended = false;
    for step in steps {
        match step {
            Step::Append(list) => {
                append(&store, &view, list).await;
                append(&plain, &view, list).await;
                appended = true;
            }
            Step::Compact(target, now) if appended => {
                let options = if *now {
                    at_once()
                } else {
                    CompactOptions::default()
                };
                run(&store, &view, &options.with_target(ByteSize(*target))).await;
            }
            Step::Compact(..) => {}
            Step::Wait => clock.advance(Span::minutes(45)),
        }
        if !appended {
            continue;
        }
        assert_eq!(
            all(&store, &view).await.unwrap(),
            all(&plain, &view).await.unwrap()
        );
        let [got, want] = [
            joined(&store, request(), &OfflineOptions::default())
                .await
                .unwrap(),
            joined(&plain, request(), &OfflineOptions::default())
                .await
                .unwrap(),
        ];
        assert_eq!(got.1.views, want.1.views);
        for (got, want) in got.0.iter().zip(&want.0) {
            assert_eq!((&got.features, &got.event), (&want.features, &want.event));
        }
    }
}
