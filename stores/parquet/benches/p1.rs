//! How long does a point-in-time join take, against a bare parallel decode of the columns it must touch?
//!
//! `cargo bench -p larder-parquet --bench p1 -- [entity rows] [source rows] [shape]`, rows in thousands; without
//! arguments all shapes of goals P1 and P1b run one after the other. Environment: `P1_ROUNDS` (5), `P1_THREADS`
//! (all cores), `P1_ONLY=join` leaves the bare decode out, so that peak memory is that of the join alone.
//! The files are kept in the system's folder for temporary files for the next run.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use larder_core::{HistoricalRead, OfflineOptions, OfflineStore};
use larder_parquet::ParquetStore;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use data::{SHAPES, Shape};

#[path = "p1/data.rs"]
mod data;

/// Entity rows and source rows in thousands, and the shape: what P1 and P1b name.
const ALL: [(usize, usize, &str); 14] = [
    (1000, 10_000, "one"),
    (100, 10_000, "one"),
    (1000, 1000, "single"),
    (1000, 1000, "sources"),
    (1000, 1000, "views"),
    (1000, 10_000, "zipf"),
    (300, 8000, "days"),
    (500, 2000, "types"),
    (1000, 10_000, "string"),
    (1000, 4000, "two"),
    (1000, 4000, "sparse"),
    (50, 200, "text"),
    (20, 100, "wide"),
    (20, 10_000, "one"),
];

/// Decodes all columns of the row groups and does nothing with them.
fn decode(shape: &Shape, threads: usize) -> (Duration, usize) {
    let mut files: Vec<PathBuf> = Vec::new();
    for source in 0..shape.sources() {
        let folder = shape.folder(&shape.root(), source);
        let mut own: Vec<PathBuf> = fs::read_dir(folder)
            .expect("the data")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        own.sort();
        let own = own.into_iter().enumerate();
        files.extend(own.filter(|(at, _)| shape.reads(*at)).map(|(_, path)| path));
    }
    let start = Instant::now();
    let mut tasks = Vec::new();
    for (at, path) in files.iter().enumerate() {
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
                    let reader = builder
                        .with_row_groups(vec![*group])
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

fn join(shape: &Shape, request: HistoricalRead, threads: usize) -> (Duration, u64) {
    // A new store each time, so that no footer is cached.
    let store = ParquetStore::new(shape.root());
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
    (start.elapsed(), matched)
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

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

fn measure(shape: &Shape, threads: usize) {
    shape.write();
    let only_join = std::env::var("P1_ONLY").is_ok_and(|only| only == "join");
    let before = peak_mib();
    let mut best = [f64::MAX; 4];
    let mut matched = 0;
    for _ in 0..number("P1_ROUNDS").unwrap_or(5) {
        let request = shape.request();
        let start = cpu_seconds();
        let (joined, found) = join(shape, request, threads);
        let middle = cpu_seconds();
        matched = found;
        let decoded = if only_join {
            Duration::ZERO
        } else {
            decode(shape, threads).0
        };
        let end = cpu_seconds();
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
    let [join, decode, join_cpu, decode_cpu] = best;
    let rows = format!("{} k x {} k", shape.entity_rows / 1000, shape.source_rows / 1000);
    let own = format!("{:8} {rows:15} {matched:8} matched, join {join:.3} s", shape.name);
    if only_join {
        println!(
            "{own}, processor {join_cpu:.2} s, peak {} MiB, {before} MiB before",
            peak_mib()
        );
    } else {
        println!(
            "{own}, bare decode {decode:.3} s, ratio {:.2}; processor {join_cpu:.2} s, {decode_cpu:.2} s, ratio {:.2}",
            join / decode,
            join_cpu / decode_cpu
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let thousands = |at: usize| arguments.get(at).and_then(|text| text.parse::<usize>().ok());
    let wanted = match (thousands(0), thousands(1)) {
        (Some(entities), Some(source)) => {
            let name = arguments.get(2).map_or("one", String::as_str);
            vec![(entities, source, name)]
        }
        _ => ALL.to_vec(),
    };
    let threads =
        number("P1_THREADS").unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    println!("entity rows x source rows on {threads} threads, best of each column");
    for (entities, source, name) in wanted {
        if !SHAPES.iter().any(|(known, _)| *known == name) {
            println!("there is no shape {name}; there are:");
            for (name, what) in SHAPES {
                println!("  {name:8} {what}");
            }
            return;
        }
        let users = match name {
            "zipf" | "wide" => source as u64 * 100,
            _ => source as u64 * 10,
        };
        measure(
            &Shape {
                name: name.to_owned(),
                entity_rows: entities * 1000,
                source_rows: source * 1000,
                users: users.max(1),
            },
            threads,
        );
    }
}
