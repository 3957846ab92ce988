//! How fast does a source reach Redis, next to the bare client writing the same rows, and next to Feast?
//!
//! One million rows of 10 `float64` features, a million entities, in one Parquet file (zstd, row groups of 100,000), into
//! `redis-server`s on loopback, which this program starts and stops.
//!
//! - `set`: pipelined `SET` of packed rows of the same bytes, which are ready in memory; beside it `redis-benchmark`;
//! - `first`: `materialize` into nothing: reading, the newest row of each key, packing, writing;
//! - `again`: the same with `rebuild`, where Redis has every row already;
//! - `newer`: the same, where Redis has an older row of every key;
//! - `cluster`: `first` into three nodes without replicas;
//! - `larger`: `first` of four million rows, for its peak of memory;
//! - Feast: `materialize` of the first 100,000 of the rows, where `LARDER_BENCH_PYTHON` is an interpreter that has it.
//!
//! Goals (P5): `first` at least 60 % of `set` and 35 times Feast, `again` at least 40 %, `cluster` at least 25 % per node,
//! and a peak of memory that does not grow with the source.

#![allow(missing_docs, reason = "a program, not a library")]

#[path = "online/redis_server.rs"]
mod server;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use larder::memory::MemoryRegistry;
use larder::parquet::ParquetStore;
use larder::{ApplyOptions, DefinitionSet, FeatureStore, ProjectName, SetName};
use larder_base::BuildContext;
use larder_redis::{RedisConfig, RedisStore};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use server::{Server, benchmark, cluster};

const ROWS: usize = 1_000_000;
const LARGER: usize = 4 * ROWS;
const FEAST: usize = ROWS / 10;
const GROUP: usize = 100_000;
const FEATURES: usize = 10;
const START: i64 = 1_750_000_000_000_000;
const BATCH: usize = 5_000;
const UNDER_WAY: usize = 4;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a bench tells what it measured")]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("rows.parquet"), ROWS, START);
    let server = Server::start();
    let set = bare_sets(&server).await;
    eprint!("{}", benchmark(&server));
    eprintln!("set      {:>8.0} rows/s", speed(ROWS, set));
    let tell = |name: &str, rows: usize, took: Duration| {
        let share = 100.0 * speed(rows, took) / speed(ROWS, set);
        eprintln!(
            "{name:<8} {:>8.0} rows/s   {share:.0} % of set   peak memory so far {} MiB",
            speed(rows, took),
            peak_mib()
        );
    };
    empty(&server).await;
    let config = RedisConfig::new(server.url());
    let store = store(folder.path(), &config).await;
    let first = materialize(&store, ROWS, false).await;
    tell("first", ROWS, first);
    tell("again", ROWS, materialize(&store, ROWS, true).await);
    write(&folder.path().join("rows.parquet"), ROWS, START + 1);
    tell("newer", ROWS, materialize(&store, ROWS, true).await);
    write(&folder.path().join("rows.parquet"), ROWS, START);
    drop(store);

    let nodes = cluster(3).await;
    let config = RedisConfig::cluster(nodes.iter().map(Server::address));
    let store = self::store(folder.path(), &config).await;
    let took = materialize(&store, ROWS, false).await;
    tell("cluster", ROWS, took);
    drop((store, nodes));

    write(&folder.path().join("rows.parquet"), LARGER, START);
    empty(&server).await;
    let store = self::store(folder.path(), &RedisConfig::new(server.url())).await;
    tell("larger", LARGER, materialize(&store, LARGER, false).await);

    match std::env::var("LARDER_BENCH_PYTHON") {
        Err(_) => eprintln!("Feast: not measured, LARDER_BENCH_PYTHON is not set"),
        Ok(python) => {
            write(&folder.path().join("rows.parquet"), FEAST, START);
            match feast(&python, folder.path()) {
                Ok(took) => eprintln!(
                    "Feast    {:>8.0} rows/s   first is {:.0} times as fast",
                    speed(FEAST, took),
                    speed(ROWS, first) / speed(FEAST, took)
                ),
                Err(why) => eprintln!("Feast failed: {why}"),
            }
        }
    }
}

fn speed(rows: usize, took: Duration) -> f64 {
    rows as f64 / took.as_secs_f64()
}

async fn materialize(store: &FeatureStore, rows: usize, again: bool) -> Duration {
    let began = Instant::now();
    let run = store.materialize();
    let run = if again { run.rebuild() } else { run };
    let report = run.run().await.expect("materialized");
    let took = began.elapsed();
    if !again {
        assert_eq!(written(&report), rows as u64, "every row reaches Redis");
    }
    took
}

/// What Feast takes for the rows of the folder, in its own process and on a server of its own.
fn feast(python: &str, folder: &std::path::Path) -> Result<Duration, String> {
    let server = Server::start();
    let script = "peers/feast_materialize.py";
    let output = Command::new(python)
        .args([script, server.address()])
        .arg(folder.join("rows.parquet"))
        .arg(FEATURES.to_string())
        .env("FEAST_USAGE", "False")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&output.stdout);
    let seconds = told.lines().last().and_then(|line| line.trim().parse().ok());
    match seconds {
        Some(seconds) if output.status.success() => Ok(Duration::from_secs_f64(seconds)),
        _ => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(why.lines().last().unwrap_or("it does not say").to_owned())
        }
    }
}

fn written(report: &larder::MaterializeReport) -> u64 {
    report.views.iter().map(|view| view.written).sum()
}

/// The rows of `count` entities, a µs apart from `start` on.
fn write(path: &std::path::Path, count: usize, start: i64) {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_max_row_group_row_count(Some(GROUP));
    let mut writer = None;
    for first in (0..count).step_by(GROUP) {
        let rows = first..first + GROUP;
        let ids = rows
            .clone()
            .map(|row| (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64);
        let times = rows.clone().map(|row| start + row as i64);
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("id".to_owned(), Arc::new(Int64Array::from_iter_values(ids))),
            (
                "at".to_owned(),
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone_utc()),
            ),
        ];
        for feature in 0..FEATURES {
            let values = rows.clone().map(|row| 1.0 / (row + feature + 3) as f64);
            columns.push((
                format!("f{feature}"),
                Arc::new(Float64Array::from_iter_values(values)),
            ));
        }
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let writer = writer.get_or_insert_with(|| {
            let file = std::fs::File::create(path).expect("a file");
            ArrowWriter::try_new(file, batch.schema(), Some(properties.clone().build())).expect("a writer")
        });
        writer.write(&batch).expect("written");
    }
    writer.expect("rows").close().expect("written");
}

async fn store(folder: &std::path::Path, config: &RedisConfig) -> FeatureStore {
    let features: Vec<String> = (0..FEATURES)
        .map(|f| format!("{{ name: f{f}, type: float64 }}"))
        .collect();
    let yaml = format!(
        "entities:\n  - {{ name: user, join_keys: [{{ name: id, type: int64 }}] }}\n\
         sources:\n  - {{ name: s, type: parquet, path: rows.parquet, event_time: at }}\n\
         feature_views:\n  - {{ name: v, entities: [user], source: s, ttl: 36500d, online: true, features: [{}] }}\n",
        features.join(", ")
    );
    let online = RedisStore::new(config, &BuildContext::new(".")).expect("a store");
    let store = FeatureStore::builder(ProjectName::new("bench").expect("a name"))
        .registry(Arc::new(MemoryRegistry::new()))
        .online(Arc::new(online))
        .offline(Arc::new(ParquetStore::new(folder)))
        .build()
        .expect("a feature store");
    let set = DefinitionSet::from_yaml("bench.yaml", &yaml, SetName::new("bench").expect("a name"));
    let options = ApplyOptions::new().with_offline(true);
    store
        .apply(&set.expect("definitions"), &options)
        .await
        .expect("applied");
    store
}

/// As many keys and values of about the bytes that larder writes, with nothing but `SET`, over two connections.
async fn bare_sets(server: &Server) -> Duration {
    let connections = join_all((0..2).map(|_| server.connect())).await;
    let value = vec![0xa5_u8; 110];
    let value = &value;
    let began = Instant::now();
    stream::iter((0..ROWS).step_by(BATCH))
        .for_each_concurrent(UNDER_WAY, |first| {
            let mut connection = connections[first / BATCH % connections.len()].clone();
            async move {
                let mut pipeline = redis::Pipeline::with_capacity(BATCH);
                for row in first..first + BATCH {
                    pipeline
                        .cmd("SET")
                        .arg(format!("bare:{{{row:012}}}12345678"))
                        .arg(value)
                        .ignore();
                }
                pipeline.exec_async(&mut connection).await.expect("written");
            }
        })
        .await;
    began.elapsed()
}

async fn empty(server: &Server) {
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut server.connect().await)
        .await
        .expect("removed");
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
