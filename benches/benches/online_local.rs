//! What does a read of the embedded store cost beyond bare LMDB: open a transaction, get, copy?
//!
//! Ten million rows (or as many as the argument says) of 16 `float64`, keys in random order, in a new folder, read as soon
//! as they are written: warm. Requests of 1, 10 and 100 rows of one view, random keys; best of three turns each.
//!
//! - `bare`: LMDB itself with ready keys: open a read transaction, get each, copy, close;
//! - `store`: `OnlineStore::read` of the same keys into a block.
//!
//! Goal (P7): at most 1.3 times `bare`. Rates of writes are printed beside it: filling, and replacing at random.

#![allow(missing_docs, reason = "a program, not a library")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heed::types::Bytes;
use heed::{CommitOrAbort, EnvOpenOptions};
use larder_base::{
    ColumnName, EntityKeys, FeatureBlock, FeatureName, Generation, JoinKey, KeyGroup, Micros, OnlineRead,
    OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions, Slot, SystemClock, Value, ValueType,
    ViewLayout, ViewName, ViewRead, WriteOptions,
};
use larder_local::{Durability, LocalConfig, LocalStore};

const FEATURES: usize = 16;
const BATCH: u64 = 50_000;
const READS: u64 = 400_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[expect(clippy::print_stderr, reason = "a bench tells what it measured")]
fn main() -> Outcome<()> {
    let rows = std::env::args().skip(1).find_map(|text| text.parse().ok());
    let rows: u64 = rows.unwrap_or(10_000_000);
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let layout = layout()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for (event, durability, count) in [
        (0, Durability::Os, rows),
        (1, Durability::Disk, rows.min(200_000)),
    ] {
        let config = LocalConfig::new(folder).durability(durability);
        let store = LocalStore::with_config(&config, Arc::new(SystemClock))?;
        let time = runtime.block_on(fill(&store, &layout, count, event))?;
        let word = if event == 0 { "fill" } else { "replace" };
        eprintln!(
            "{word} {count} rows, {durability}: {:.0} rows/s",
            count as f64 / time.as_secs_f64()
        );
    }
    for per_request in [1, 10, 100] {
        let requests = READS / per_request;
        let mut best = [Duration::MAX; 2];
        for _ in 0..3 {
            best[0] = best[0].min(store_reads(folder, &layout, rows, requests, per_request)?);
            best[1] = best[1].min(bare_reads(folder, &layout, rows, requests, per_request)?);
        }
        let nanos = best.map(|time| time.as_nanos() as f64 / requests as f64);
        eprintln!(
            "{per_request} rows a request: store {:.0} ns, bare {:.0} ns, ratio {:.2}",
            nanos[0],
            nanos[1],
            nanos[0] / nanos[1]
        );
    }
    let bytes = std::fs::metadata(folder.join("data.mdb"))?.len();
    eprintln!("{:.0} bytes of the file per row", bytes as f64 / rows as f64);
    Ok(())
}

fn layout() -> Outcome<Arc<ViewLayout>> {
    let slots = (0..FEATURES)
        .map(|n| Ok(Slot::new(FeatureName::new(format!("f{n}"))?, ValueType::FLOAT64)))
        .collect::<Outcome<Vec<_>>>()?;
    let join_keys = vec![JoinKey {
        name: ColumnName::new("id")?,
        value_type: ValueType::INT64,
    }];
    Ok(Arc::new(ViewLayout::new(
        ProjectName::new("p")?,
        ViewName::new("v")?,
        Generation(0x00c0_ffee),
        join_keys,
        slots,
    )))
}

async fn fill(store: &LocalStore, layout: &Arc<ViewLayout>, rows: u64, event: i64) -> Outcome<Duration> {
    let start = Instant::now();
    let mut packing = Duration::ZERO;
    for first in (0..rows).step_by(BATCH as usize) {
        let pack = Instant::now();
        let (mut keys, mut packed) = (EntityKeys::new(), PackedRows::new());
        for n in first..rows.min(first + BATCH) {
            keys.push_values(layout.join_keys(), &[id(n)])?;
            let values: Vec<Value> = (0..FEATURES)
                .map(|f| Value::Float64(n as f64 + f as f64))
                .collect();
            packed.push_values(layout, Micros(event), None, &values)?;
        }
        packing += pack.elapsed();
        let batch = OnlineWrite::new(layout.clone(), Arc::new(keys), Arc::new(packed));
        store.write(&batch, &WriteOptions::default()).await?;
    }
    Ok(start.elapsed() - packing)
}

/// Spread over the whole range, so that neither writes nor reads come in key order.
fn id(n: u64) -> Value {
    Value::Int64(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64)
}

/// The keys of all requests, made before the clock starts.
fn requests(
    layout: &ViewLayout,
    rows: u64,
    requests: u64,
    per_request: u64,
) -> Outcome<Vec<Arc<EntityKeys>>> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % rows
    };
    (0..requests)
        .map(|_| {
            let mut keys = EntityKeys::new();
            for _ in 0..per_request {
                keys.push_values(layout.join_keys(), &[id(next())])?;
            }
            Ok(Arc::new(keys))
        })
        .collect()
}

fn store_reads(
    folder: &Path,
    layout: &Arc<ViewLayout>,
    rows: u64,
    count: u64,
    per: u64,
) -> Outcome<Duration> {
    let store = LocalStore::open(folder)?;
    let view = ViewRead::all(0, layout.clone());
    let requests: Vec<OnlineRead> = requests(layout, rows, count, per)?
        .into_iter()
        .map(|keys| OnlineRead {
            groups: vec![KeyGroup {
                keys,
                views: vec![view.clone()],
            }],
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let (mut block, options) = (FeatureBlock::new(), ReadOptions::default());
        let start = Instant::now();
        for request in &requests {
            store.read(request, &options, &mut block).await?;
            black_box(block.byte_len());
        }
        Ok(start.elapsed())
    })
}

fn bare_reads(folder: &Path, layout: &Arc<ViewLayout>, rows: u64, count: u64, per: u64) -> Outcome<Duration> {
    // SAFETY: the store is closed, and nobody else uses the folder of this measurement.
    let env = unsafe {
        EnvOpenOptions::new()
            .read_txn_without_tls()
            .map_size(64 << 30)
            .open(folder)?
    };
    let opened = env.open_databases_and_commit(env.read_txn()?, |opener, txn| {
        Ok::<_, heed::Error>(match opener.open_database::<Bytes, Bytes>(txn, None)? {
            Some(db) => CommitOrAbort::Commit(db),
            None => CommitOrAbort::Abort("no main tree"),
        })
    })?;
    let db = Result::from(opened).map_err(|text: &str| text.to_owned())?;
    let project = xxhash_rust::xxh3::xxh3_64(layout.project().as_str().as_bytes());
    let place = [
        layout.generation().0.to_be_bytes(),
        ((project >> 32) as u32).to_be_bytes(),
    ]
    .concat();
    let requests: Vec<Vec<Vec<u8>>> = requests(layout, rows, count, per)?
        .into_iter()
        .map(|keys| keys.iter().flatten().map(|key| [&place, key].concat()).collect())
        .collect();
    let mut out: Vec<u8> = Vec::new();
    let start = Instant::now();
    for request in &requests {
        out.clear();
        let txn = env.read_txn()?;
        for key in request {
            out.extend_from_slice(db.get(&txn, key)?.ok_or("a row is missing")?);
        }
        drop(txn);
        black_box(out.len());
    }
    Ok(start.elapsed())
}
