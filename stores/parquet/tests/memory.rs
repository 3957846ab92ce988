//! Whether a join under a memory limit keeps to it, measured from outside: the peak memory of a process of its own.
//!
//! Larger by hand: `LARDER_MEMORY_ROWS=20000000 LARDER_MEMORY_LIMIT=268435456 cargo test --release -p larder-parquet --test memory`.

#![expect(
    clippy::print_stdout,
    reason = "a program that is started and read by the test"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use futures::TryStreamExt;
use larder_core::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use larder_core::arrow::datatypes::Float64Type;
use larder_core::model::Source;
use larder_core::{
    ColumnName, EntityRows, FeatureName, HistoricalRead, JoinKey, OfflineOptions, OfflineStore, Span,
    SpineFiles, ValueType, ViewJoin, ViewName, ViewScan,
};
use larder_parquet::ParquetStore;
use parquet::arrow::ArrowWriter;

const NAME: &str = "a_join_keeps_to_its_memory_limit";
const FEATURES: usize = 10;
const DAY: i64 = 86_400_000_000;

/// What cargo and other runners ask of a test program, and the two programs that this one is.
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        if !args.iter().any(|arg| arg == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    if let [first, folder, rows, limit] = args.as_slice()
        && first == "join"
    {
        join(Path::new(folder), rows.parse().unwrap(), limit.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if filters.is_empty() || filters.iter().any(|filter| NAME.contains(filter.as_str())) {
        test();
    }
    ExitCode::SUCCESS
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn test() {
    if !Path::new("/proc/self/status").exists() {
        println!("not measured: this system does not tell a process' peak memory");
        return;
    }
    let rows = number("LARDER_MEMORY_ROWS", 2_000_000);
    let limit = number("LARDER_MEMORY_LIMIT", 96 << 20);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), rows);
    let run = |limit: u64| {
        let out = Command::new(std::env::current_exe().unwrap())
            .args([
                "join",
                folder.path().to_str().unwrap(),
                &rows.to_string(),
                &limit.to_string(),
            ])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()
    };
    let (limited, unlimited) = (run(limit), run(0));
    println!("limited   {limited}\nunlimited {unlimited}");
    assert_eq!(limited["digest"], unlimited["digest"], "the answers are the same");
    assert!(limited["rows"].as_u64().unwrap() >= rows);
    assert!(limited["matched"].as_u64().unwrap() > rows / 4);
    assert!(limited["spilled"].as_u64().unwrap() > 0 && unlimited["spilled"] == 0);
    let (peak, free) = (
        limited["peak"].as_u64().unwrap(),
        unlimited["peak"].as_u64().unwrap(),
    );
    assert!(peak <= limit, "{peak} bytes at the peak, the limit is {limit}");
    assert!(free > limit, "the limit matters: without it the peak is {free}");
}

/// Entity rows, and a source of the same size; one key owns a fifth of both.
fn write(folder: &Path, rows: u64) {
    let mut state = 42_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut key = {
        let users = rows / 10 + 1;
        let mut random = random;
        move || match random() % 5 {
            0 => 7,
            _ => (random() % users) as i64,
        }
    };
    let mut time = move || DAY * 20_000 + (random() as i64 * 1_000) % (30 * DAY);
    let batch = 100_000;
    let mut spine = None;
    let source = File::create(folder.join("source.parquet")).unwrap();
    let mut parquet: Option<ArrowWriter<File>> = None;
    let mut source = Some(source);
    for _ in 0..rows.div_ceil(batch) {
        let n = batch as usize;
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..n).map(|_| key())));
        let at: TimestampMicrosecondArray = (0..n).map(|_| Some(time())).collect();
        let at: ArrayRef = Arc::new(at.with_timezone("UTC"));
        let entity = RecordBatch::try_from_iter([("user_id", keys), ("at", at)]).unwrap();
        let spine = spine.get_or_insert_with(|| {
            let file = File::create(folder.join("spine")).unwrap();
            arrow_ipc::writer::StreamWriter::try_new(file, &entity.schema()).unwrap()
        });
        spine.write(&entity).unwrap();

        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..n).map(|_| key())));
        let at: TimestampMicrosecondArray = (0..n).map(|_| Some(time())).collect();
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("user_id".into(), keys),
            ("at".into(), Arc::new(at.with_timezone("UTC"))),
        ];
        for feature in 0..FEATURES {
            let values = Float64Array::from_iter_values((0..n).map(|_| time() as f64 / 3.0));
            columns.push((format!("f{feature}"), Arc::new(values)));
        }
        let facts = RecordBatch::try_from_iter(columns).unwrap();
        let parquet = parquet.get_or_insert_with(|| {
            ArrowWriter::try_new(source.take().unwrap(), facts.schema(), None).unwrap()
        });
        parquet.write(&facts).unwrap();
    }
    spine.unwrap().finish().unwrap();
    parquet.unwrap().close().unwrap();
}

fn join(folder: &Path, rows: u64, limit: u64) {
    let source: Source = serde_json::from_value(serde_json::json!({
        "name": "s", "type": "parquet", "path": "source.parquet", "event_time": "at",
    }))
    .unwrap();
    let key = JoinKey {
        name: ColumnName::new("user_id").unwrap(),
        value_type: ValueType::INT64,
    };
    let mut scan = ViewScan::new(ViewName::new("v").unwrap(), Arc::new(source)).key(key, "user_id");
    for feature in 0..FEATURES {
        let name = format!("f{feature}");
        scan = scan.feature(FeatureName::new(&name).unwrap(), ValueType::FLOAT64, name);
    }
    let request = HistoricalRead {
        rows: EntityRows::Files(SpineFiles::new(
            vec![folder.join("spine")],
            rows.div_ceil(100_000) * 100_000,
        )),
        views: vec![ViewJoin::new(scan, vec![0]).with_ttl(Some(Span(7 * DAY)))],
    };
    let options = OfflineOptions::default()
        .with_threads(2)
        .with_memory_limit((limit > 0).then_some(limit))
        .with_spill_dir(Some(PathBuf::from(folder)));
    let store = ParquetStore::new(folder);
    let started = Instant::now();
    let (digest, matched, rows, report) = futures::executor::block_on(async {
        let mut stream = store.historical(request, &options).await.unwrap();
        // By feature, so that it does not matter where batches end.
        let (mut digest, mut matched, mut rows) = ([0_u64; FEATURES], 0, 0_u64);
        while let Some(batch) = stream.batches.try_next().await.unwrap() {
            for (digest, feature) in digest.iter_mut().zip(&batch.views[0].features) {
                let values = feature.as_primitive::<Float64Type>();
                for row in 0..values.len() {
                    let bits = if values.is_valid(row) {
                        values.value(row).to_bits()
                    } else {
                        1
                    };
                    *digest = mixed(*digest, bits);
                }
            }
            matched += batch.rows - batch.views[0].event.null_count();
            rows += batch.rows as u64;
        }
        let report = stream.report.lock().clone();
        (digest, matched, rows, report)
    });
    let seconds = started.elapsed().as_secs_f64();
    let phases: Vec<String> = report
        .phases
        .iter()
        .map(|phase| format!("{} {:.2} s", phase.name, phase.seconds))
        .collect();
    let out = serde_json::json!({
        "digest": digest, "matched": matched, "rows": rows, "seconds": seconds, "peak": peak(),
        "spilled": report.spilled, "phases": phases,
    });
    println!("{out}");
}

/// A digest that depends on the order of values, and is the same in every process.
fn mixed(digest: u64, bits: u64) -> u64 {
    (digest.rotate_left(5) ^ bits).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// The largest memory that this process had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
