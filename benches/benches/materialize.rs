//! How fast does a source reach Redis, next to the bare client writing the same rows?
//!
//! One million rows of 10 `float64` features, a million entities, in one Parquet file (zstd, row groups of 100,000), into one
//! `redis-server` on loopback, which this program starts and stops.
//!
//! - `set`: pipelined `SET` of packed rows of the same bytes, which are ready in memory;
//! - `first`: `materialize` into nothing: reading, the newest row of each key, packing, writing;
//! - `again`: the same with `rebuild`, where Redis has every row already.
//!
//! Goals (P5): `first` at least 60 % of `set`, `again` at least 40 %.

#![allow(missing_docs, reason = "a program, not a library")]

#[path = "online_redis/server.rs"]
mod server;

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
use server::Server;

const ROWS: usize = 1_000_000;
const GROUP: usize = 100_000;
const FEATURES: usize = 10;
const START: i64 = 1_750_000_000_000_000;
const BATCH: usize = 5_000;
const UNDER_WAY: usize = 4;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a bench tells what it measured")]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("rows.parquet"));
    let server = Server::start();
    let mut times = vec![("set", bare_sets(&server).await)];
    let store = store(folder.path(), &server).await;
    let began = Instant::now();
    let report = store.materialize().run().await.expect("materialized");
    assert_eq!(written(&report), ROWS as u64, "every row reaches Redis");
    times.push(("first", began.elapsed()));
    let began = Instant::now();
    store.materialize().rebuild().run().await.expect("materialized");
    times.push(("again", began.elapsed()));

    for (name, took) in &times {
        eprintln!(
            "{name:<6} {:>8.0} rows/s   {:.0} % of set",
            ROWS as f64 / took.as_secs_f64(),
            100.0 * times[0].1.as_secs_f64() / took.as_secs_f64()
        );
    }
    eprintln!("peak memory of this program {} MiB", peak_mib());
}

fn written(report: &larder::MaterializeReport) -> u64 {
    report.views.iter().map(|view| view.written).sum()
}

fn write(path: &std::path::Path) {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_max_row_group_row_count(Some(GROUP));
    let mut writer = None;
    for first in (0..ROWS).step_by(GROUP) {
        let rows = first..first + GROUP;
        let ids = rows
            .clone()
            .map(|row| (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64);
        let times = rows.clone().map(|row| START + row as i64);
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

async fn store(folder: &std::path::Path, server: &Server) -> FeatureStore {
    let features: Vec<String> = (0..FEATURES)
        .map(|f| format!("{{ name: f{f}, type: float64 }}"))
        .collect();
    let yaml = format!(
        "entities:\n  - {{ name: user, join_keys: [{{ name: id, type: int64 }}] }}\n\
         sources:\n  - {{ name: s, type: parquet, path: rows.parquet, event_time: at }}\n\
         feature_views:\n  - {{ name: v, entities: [user], source: s, ttl: 36500d, online: true, features: [{}] }}\n",
        features.join(", ")
    );
    let online = RedisStore::new(&RedisConfig::new(server.url()), &BuildContext::new(".")).expect("a store");
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
    let took = began.elapsed();
    let mut connection = connections[0].clone();
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut connection)
        .await
        .expect("removed");
    took
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
