//! How long does a point-in-time join take, against a bare parallel decode of the columns it must touch?
//!
//! `cargo bench -p larder-parquet --bench p1 -- [entity rows] [source rows] [shape]`, in thousands; shapes: `one`
//! (files of 1 M rows per row group), `single` (one row group), `days` (16 files by day, 3 days of entity rows),
//! `string` (string keys), `views` (three views of one source). Peak memory is that of the join alone when
//! `P1_ONLY=join` is set. The files are kept in the system's folder for temporary files for the next run.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use larder_core::arrow::array::*;
use larder_core::model::Source;
use larder_core::{
    ColumnName, EntityRows, FeatureName, HistoricalRead, JoinKey, OfflineOptions, OfflineStore, Span,
    ViewJoin, ViewName, ViewScan,
};
use larder_parquet::ParquetStore;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

const FEATURES: usize = 10;
const DAY: i64 = 86_400_000_000;
const DAYS: i64 = 90;
const START: i64 = 1_750_000_000_000_000;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Clone)]
struct Shape {
    name: String,
    entity_rows: usize,
    source_rows: usize,
    users: u64,
    files: usize,
    group_rows: usize,
    strings: bool,
    views: usize,
    by_day: bool,
}

fn key(strings: bool, ids: Vec<i64>) -> ArrayRef {
    match strings {
        false => Arc::new(Int64Array::from(ids)),
        true => Arc::new(StringArray::from_iter_values(
            ids.iter().map(|id| format!("user-{id:09}")),
        )),
    }
}

fn write(folder: &Path, shape: &Shape) {
    if folder.join("done").exists() {
        return;
    }
    fs::create_dir_all(folder.join("s")).expect("a folder for the data");
    let mut rng = Rng(42);
    let per_file = shape.source_rows / shape.files;
    for file in 0..shape.files {
        let path = folder.join("s").join(format!("{file:03}.parquet"));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(shape.group_rows))
            .build();
        let mut writer: Option<ArrowWriter<File>> = None;
        let mut left = per_file;
        while left > 0 {
            let n = left.min(100_000);
            left -= n;
            let ids: Vec<i64> = (0..n).map(|_| rng.below(shape.users) as i64).collect();
            let mut times: Vec<i64> = (0..n)
                .map(|_| match shape.by_day {
                    true => START + file as i64 * DAY + rng.below(DAY as u64) as i64,
                    false => START + rng.below((DAYS * DAY) as u64) as i64,
                })
                .collect();
            let mut ids = ids;
            // Some 2 % repeat the key and time of a row before.
            for row in (50..n).step_by(50) {
                times[row] = times[row - 1];
                ids[row] = ids[row - 1];
            }
            let mut columns: Vec<(String, ArrayRef)> = vec![
                ("user_id".into(), key(shape.strings, ids)),
                (
                    "event_timestamp".into(),
                    Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
                ),
                (
                    "created".into(),
                    Arc::new(
                        TimestampMicrosecondArray::from_iter_values(
                            (0..n).map(|_| START + rng.below(1 << 40) as i64),
                        )
                        .with_timezone("UTC"),
                    ),
                ),
            ];
            for feature in 0..FEATURES {
                let values = Float64Array::from_iter_values((0..n).map(|_| rng.below(1 << 53) as f64 / 1e9));
                columns.push((format!("f{feature}"), Arc::new(values)));
            }
            let batch = RecordBatch::try_from_iter(columns).expect("a batch");
            let writer = writer.get_or_insert_with(|| {
                let file = File::create(&path).expect("a data file");
                ArrowWriter::try_new(file, batch.schema(), Some(properties.clone())).expect("a writer")
            });
            writer.write(&batch).expect("rows written");
        }
        if let Some(writer) = writer {
            writer.close().expect("a footer");
        }
    }
    fs::write(folder.join("done"), "").expect("a mark");
}

fn request(shape: &Shape) -> HistoricalRead {
    let source: Source = serde_json::from_value(serde_json::json!({
        "name": "s", "type": "parquet", "path": "s", "event_time": "event_timestamp", "created_time": "created",
    }))
    .expect("a source");
    let source = Arc::new(source);
    let mut rng = Rng(7);
    let ids = (0..shape.entity_rows)
        .map(|_| rng.below(shape.users) as i64)
        .collect();
    let times = (0..shape.entity_rows).map(|_| match shape.by_day {
        true => START + 12 * DAY + rng.below(3 * DAY as u64) as i64,
        false => START + 7 * DAY + rng.below(((DAYS - 7) * DAY) as u64) as i64,
    });
    let times = TimestampMicrosecondArray::from_iter_values(times);
    let of = if shape.strings { "string" } else { "int64" };
    let view = |at: usize| {
        let key = JoinKey {
            name: ColumnName::new("user_id").expect("a name"),
            value_type: of.parse().expect("a type"),
        };
        let mut scan = ViewScan::new(ViewName::new(format!("v{at}")).expect("a name"), source.clone())
            .key(key, "user_id");
        for feature in 0..FEATURES {
            let name = format!("f{feature}");
            scan = scan.feature(
                FeatureName::new(&name).expect("a name"),
                "float64".parse().expect("a type"),
                name,
            );
        }
        let ttl = if shape.by_day {
            Span::days(1)
        } else {
            Span::days(7 + at as i64)
        };
        ViewJoin::new(scan, vec![0]).with_ttl(Some(ttl))
    };
    HistoricalRead {
        rows: EntityRows::batches(vec![key(shape.strings, ids)], times),
        views: (0..shape.views).map(view).collect(),
    }
}

/// Decodes all columns of the row groups and does nothing with them.
fn decode(folder: &Path, threads: usize, groups_wanted: &dyn Fn(usize) -> bool) -> (Duration, usize) {
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("s"))
        .expect("the data")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let start = Instant::now();
    let mut tasks = Vec::new();
    for (at, path) in files.iter().enumerate().filter(|(at, _)| groups_wanted(*at)) {
        let file = File::open(path).expect("a data file");
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a footer");
        tasks.extend((0..builder.metadata().num_row_groups()).map(|group| (at, group)));
    }
    let next = AtomicUsize::new(0);
    let rows = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, group)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let file = File::open(&files[*at]).expect("a data file");
                    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a footer");
                    let mask = ProjectionMask::all();
                    let reader = builder
                        .with_row_groups(vec![*group])
                        .with_projection(mask)
                        .with_batch_size(16_384)
                        .build()
                        .expect("a reader");
                    for batch in reader {
                        let batch = batch.expect("a batch");
                        rows.fetch_add(std::hint::black_box(&batch).num_rows(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    (start.elapsed(), rows.into_inner())
}

fn join(folder: &Path, shape: &Shape, request: HistoricalRead, threads: usize) -> (Duration, u64, usize) {
    // A new store each time, so that no footer is cached.
    let store = ParquetStore::new(folder);
    let start = Instant::now();
    let (matched, rows) = futures::executor::block_on(async {
        let options = OfflineOptions::default().with_threads(threads);
        let mut stream = store.historical(request, &options).await.expect("a join");
        let mut rows = 0;
        while let Some(batch) = stream.batches.next().await {
            rows += std::hint::black_box(batch.expect("a batch")).rows;
        }
        let report = stream.report.lock();
        (report.views[0].matched, rows)
    });
    assert_eq!(rows, shape.entity_rows, "rows out are rows in");
    (start.elapsed(), matched, rows)
}

/// Processor time of all threads so far, in seconds: on a busy machine it says more than the wall clock.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program stands in parentheses and may hold spaces; times are the 12th and 13th after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    ticks as f64 / 100.0
}

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let number = |at: usize, or: usize| {
        arguments
            .get(at)
            .and_then(|text| text.parse::<usize>().ok())
            .map_or(or, |n| n * 1000)
    };
    let name = arguments.get(2).cloned().unwrap_or_else(|| "one".to_owned());
    let source_rows = number(1, 10_000_000);
    let shape = Shape {
        entity_rows: number(0, 1_000_000),
        source_rows,
        users: (source_rows as u64 / 100).max(1),
        files: if name == "days" { 16 } else { 1 },
        group_rows: if name == "single" { usize::MAX } else { 1_000_000 },
        strings: name == "string",
        views: if name == "views" { 3 } else { 1 },
        by_day: name == "days",
        name,
    };
    let folder = std::env::temp_dir().join(format!(
        "larder-p1-{}-{}",
        shape.name.replace("views", "one"),
        shape.source_rows
    ));
    write(&folder, &shape);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let before = peak_mib();
    println!(
        "{}: {} entity rows x {} source rows x {FEATURES} f64, {} users, {threads} threads",
        shape.name, shape.entity_rows, shape.source_rows, shape.users
    );
    let only = std::env::var("P1_ONLY").unwrap_or_default();
    let mut best = [f64::MAX; 4];
    for round in 0..5 {
        let request = request(&shape);
        let start = cpu_seconds();
        let (joined, matched, _) = join(&folder, &shape, request, threads);
        let middle = cpu_seconds();
        if only == "join" {
            println!(
                "join {joined:.3?}, {:.2} s of processor, {matched} matched, peak {} MiB, before {before} MiB",
                middle - start,
                peak_mib()
            );
            continue;
        }
        // The days that the entity rows can see.
        let wanted = |file: usize| !shape.by_day || (11..15).contains(&file);
        let (decoded, rows) = decode(&folder, threads, &wanted);
        let end = cpu_seconds();
        println!(
            "round {round}: join {joined:.3?} ({matched} matched), bare decode {decoded:.3?} ({rows} rows)"
        );
        let times = [
            joined.as_secs_f64(),
            decoded.as_secs_f64(),
            middle - start,
            end - middle,
        ];
        for (best, time) in best.iter_mut().zip(times) {
            *best = best.min(time);
        }
    }
    if only != "join" {
        let [join, decode, join_cpu, decode_cpu] = best;
        println!(
            "best wall: join {join:.3} s, bare decode {decode:.3} s, ratio {:.2}",
            join / decode
        );
        println!(
            "best processor time: join {join_cpu:.2} s, bare decode {decode_cpu:.2} s, ratio {:.2}",
            join_cpu / decode_cpu
        );
    }
}
