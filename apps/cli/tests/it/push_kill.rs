//! What is left of pushes that are killed, and of many small ones from a program that embeds the store?

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use larder::{BufferOptions, FeatureStore, PushTarget};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::world::{LARDER, World, larder};

const PROJECT: &str = "
project: shop
definitions: features/
registry: { type: file, path: .larder/registry }
online:   { type: local, path: .larder/online }
offline:  { type: parquet, root: data/ }
";
const FEATURES: &str = "
entities: [{ name: user, join_keys: [{ name: user_id, type: int64 }] }]
sources: [{ name: orders, type: parquet, path: orders/, event_time: at }]
feature_views:
  - { name: stats, entities: [user], source: orders, features: [{ name: n, type: int64 }, { name: x, type: float64 }] }
";

fn project() -> World {
    let world = World::new();
    fs::create_dir(world.path().join("features")).unwrap();
    fs::write(world.path().join("larder.yaml"), PROJECT).unwrap();
    fs::write(world.path().join("features/all.yaml"), FEATURES).unwrap();
    larder(world.path(), &["apply", "--offline"]).ok();
    world
}

fn data_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir.join("data/orders")).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|e| e == "parquet"))
        .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
        .collect()
}

/// The values of `n` in all files.
fn history(dir: &Path) -> Vec<i64> {
    let mut found = Vec::new();
    for path in data_files(dir) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let column = batch.column_by_name("n").unwrap().clone();
            let column = column.as_any().downcast_ref::<Int64Array>().unwrap().clone();
            found.extend(column.values().iter());
        }
    }
    found.sort_unstable();
    found
}

const ROWS: i64 = 5_000;

/// Rows of round `round`: each user's newest is that of the last round.
fn file(dir: &Path, round: i64) {
    let mut text = "user_id,at,n,x\n".to_owned();
    for n in 0..ROWS {
        let at = format!("2021-01-{:02}T{:02}:{:02}:00Z", 1 + round, n / 60 % 24, n % 60);
        writeln!(text, "{},{at},{},0.5", n % 50, round * ROWS + n).unwrap();
    }
    fs::write(dir.join("rows.csv"), text).unwrap();
}

#[test]
fn a_killed_push_is_in_the_history_whole_or_not_at_all() {
    let world = project();
    let dir = world.path();
    let push = ["push", "orders", "--file", "rows.csv", "--to", "both"];
    // How long one takes here, and so when to kill the others.
    file(dir, 0);
    let began = Instant::now();
    larder(dir, &push).ok();
    let mut whole = began.elapsed();
    let (mut there, mut killed) = (ROWS, 0);
    for round in 1..=20 {
        file(dir, round);
        let child = Command::new(LARDER)
            .current_dir(dir)
            .args(push)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap();
        // Spread over the whole of it.
        std::thread::sleep(whole * (2 * round as u32 - 1) / 40);
        child.kill().unwrap();
        match child.wait().unwrap().success() {
            false => killed += 1,
            // The machine has become faster since then.
            true => whole = whole * 3 / 4,
        }
        let found = history(dir);
        let own = found.iter().filter(|n| **n / ROWS == round).count() as i64;
        assert!(
            own == 0 || own == ROWS,
            "round {round}: {own} rows of a push are there"
        );
        there += own;
        assert_eq!(
            found.len() as i64,
            there,
            "round {round}: other rows came or went"
        );
        if own == ROWS {
            // The rest goes online without another append.
            larder(dir, &["push", "orders", "--file", "rows.csv"]).ok();
        } else {
            larder(dir, &push).ok();
            there += ROWS;
        }
    }
    assert!(killed >= 10, "only {killed} of 20 were killed on the way");
    // Every row is there once, online is the newest of each, and so it stays when files are merged.
    let want: Vec<i64> = (0..21 * ROWS).collect();
    assert_eq!(history(dir), want);
    larder(dir, &["compact", "orders", "--no-readers"]).ok();
    assert_eq!((history(dir), data_files(dir).len()), (want, 1));
    larder(dir, &["materialize"]).ok();
    let got = larder(
        dir,
        &[
            "get",
            "--features",
            "stats:n",
            "--entity",
            "user_id=7",
            "--format",
            "json",
        ],
    )
    .ok();
    // The last row of user 7 by time: times of a day repeat, so the one with the latest minute.
    let newest = (0..ROWS)
        .filter(|n| n % 50 == 7)
        .max_by_key(|n| (n / 60 % 24, n % 60, *n))
        .unwrap();
    assert!(got.out.contains(&(20 * ROWS + newest).to_string()), "{got:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_small_pushes_become_few_files() {
    let world = project();
    let dir = world.path().to_owned();
    let store = FeatureStore::from_project(&larder::project(&dir, None).unwrap()).unwrap();
    let buffer = store.push_buffer(BufferOptions::default());
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..40_i64 {
        let (store, buffer) = (store.clone(), buffer.clone());
        tasks.spawn(async move {
            for turn in 0..3 {
                let n = task * 3 + turn;
                let rows: Vec<(&str, ArrayRef)> = vec![
                    ("user_id", Arc::new(Int64Array::from(vec![task]))),
                    (
                        "at",
                        Arc::new(
                            TimestampMicrosecondArray::from(vec![1_600_000_000_000_000 + n])
                                .with_timezone("UTC"),
                        ),
                    ),
                    ("n", Arc::new(Int64Array::from(vec![n]))),
                    ("x", Arc::new(Float64Array::from(vec![0.5]))),
                ];
                let rows = RecordBatch::try_from_iter(rows).unwrap();
                let push = store
                    .push("orders")
                    .to(PushTarget::Both)
                    .rows([rows])
                    .through(&buffer);
                let report = push.run().await.unwrap();
                assert_eq!((report.appended, report.views[0].written), (1, 1));
            }
        });
    }
    tasks.join_all().await;
    // Acknowledged is there, before the buffer is closed.
    assert_eq!(history(&dir), (0..120).collect::<Vec<_>>());
    buffer.close().await.unwrap();
    let files = data_files(&dir).len();
    assert!(files < 40, "{files} files of 120 pushes in {:?}", began.elapsed());
    assert_eq!(buffer.appends(), files as u64);
    assert!(began.elapsed() < Duration::from_secs(100));
}
