//! What do reads and writes over Redis cost beyond the bare client moving the same bytes?
//!
//! A service of 50 `float64` features in three views (17, 17, 16) on one `redis-server` on loopback, which this program
//! starts and stops. Reads: 1, 10, 100 and 1,000 rows of 100,000 entities, each other ones at random.
//!
//! - `bare`: one `MGET` of as many keys of the same kind by the same client, answers left as they are;
//! - `read`: keys as `i64` in, `Session::read`, statuses decided;
//! - `tensor`: the same and `fill_f32` of all 50 features.
//!
//! Writes: 500,000 rows of one view of 10 features, batches of 5,000, four under way at a time.
//!
//! - `set`: the same keys and values by pipelined `SET`;
//! - `first`, `again`, `newer`: `OnlineStore::write` into nothing, of the same rows, of newer rows.
//!
//! Feast: its SDK on a server of its own, with the same views and 10,000 entities, where `LARDER_BENCH_PYTHON` is an
//! interpreter that has it.
//!
//! Goals: `read` at most 1.15 times `bare`, and 25, 40 and 60 times faster than Feast at 1, 10 and 100 rows; `first` at least 60 %, `again` and `newer` at least 40 % of `set`. Redis
//! itself says how many commands each read was and what a row costs in memory.

#![allow(missing_docs, reason = "a program, not a library")]

#[path = "online_redis/server.rs"]
mod server;

use futures::future::join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use larder_base::memory::MemoryRegistry;
use larder_base::{
    BuildContext, Cell, EntityKeys, Micros, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions,
    SetName, Snapshot, ViewLayout, WriteOptions,
};
use larder_engine::online::{KeyHandle, Tensor};
use larder_engine::{ApplyOptions, DefinitionSet, FeatureStore, OnlinePlan, Session, TensorSpec};
use larder_redis::{RedisConfig, RedisStore};
use redis::aio::MultiplexedConnection;
use server::Server;
use std::fmt::Write;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WIDTHS: [usize; 3] = [17, 17, 16];
const ENTITIES: u64 = 100_000;
const WRITTEN: u64 = 500_000;
const BATCH: u64 = 5_000;
const UNDER_WAY: usize = 4;
const START: i64 = 1_750_000_000_000_000;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "a bench tells what it measured")]
async fn main() {
    let server = Server::start();
    let bench = Bench::new(&server).await;
    let mut report = String::new();
    let medians = bench.reads(&server, &mut report).await;
    bench.writes(&server, &mut report).await;
    drop(server);
    match std::env::var("LARDER_BENCH_PYTHON") {
        Ok(python) => feast(&python, &medians, &mut report),
        Err(_) => report.push_str("\nFeast: not measured, LARDER_BENCH_PYTHON is not set\n"),
    }
    eprintln!("{report}");
}

struct Bench {
    store: Arc<dyn OnlineStore>,
    snapshot: Arc<Snapshot>,
    plan: OnlinePlan,
}

fn definitions() -> DefinitionSet {
    let mut yaml = "entities:\n  - { name: user, join_keys: [{ name: id, type: int64 }] }\n\
        sources:\n  - { name: s, type: memory, event_time: at, timezone: UTC }\nfeature_views:\n"
        .to_owned();
    for (view, width) in WIDTHS.into_iter().chain([10]).enumerate() {
        let feature = |f| format!("{{ name: v{view}_f{f}, type: float64 }}");
        let features: Vec<String> = (0..width).map(feature).collect();
        writeln!(
            yaml,
            "  - {{ name: v{view}, entities: [user], source: s, ttl: 36500d, online: true, features: [{}] }}",
            features.join(", ")
        )
        .expect("a string grows");
    }
    yaml += "feature_services:\n  - { name: all, features: [v0, v1, v2] }\n";
    DefinitionSet::from_yaml("bench.yaml", &yaml, SetName::new("bench").expect("a name"))
        .expect("definitions")
}

fn id(entity: u64) -> i64 {
    entity.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64
}

fn keys(ids: impl Iterator<Item = i64>) -> EntityKeys {
    let mut keys = EntityKeys::new();
    for id in ids {
        let mut writer = keys.begin();
        writer.int64(id);
        writer.finish().expect("short");
    }
    keys
}

/// Rows of some entities at a time.
fn batch(layout: &Arc<ViewLayout>, entities: std::ops::Range<u64>, event: i64) -> OnlineWrite {
    let mut rows = PackedRows::new();
    for entity in entities.clone() {
        let mut writer = rows.begin(layout, Micros(event), Some(Micros(event)));
        for slot in layout.active_slots() {
            // Numbers without many zeros, as features are.
            writer.put(slot, Cell::Float64(1.0 / (entity + u64::from(slot) + 3) as f64));
        }
        writer.finish().expect("a sound row");
    }
    OnlineWrite::new(layout.clone(), Arc::new(keys(entities.map(id))), Arc::new(rows))
}

impl Bench {
    async fn new(server: &Server) -> Self {
        let cx = BuildContext::new(".");
        let store = RedisStore::new(&RedisConfig::new(server.url()), &cx).expect("a store");
        let store: Arc<dyn OnlineStore> = Arc::new(store);
        let features = FeatureStore::builder(ProjectName::new("bench").expect("a name"))
            .registry(Arc::new(MemoryRegistry::new()))
            .online(store.clone())
            .build()
            .expect("a feature store");
        let options = ApplyOptions::new().with_offline(true);
        features.apply(&definitions(), &options).await.expect("applied");
        Self {
            store,
            snapshot: features.snapshot().await.expect("a snapshot"),
            plan: features.online("all").await.expect("a plan"),
        }
    }

    fn layout(&self, view: usize) -> Arc<ViewLayout> {
        let layout = self.snapshot.layout(&format!("v{view}")).expect("a layout");
        Arc::new(layout.as_ref().clone())
    }

    /// Number of rows and median of `read`, µs.
    async fn reads(&self, server: &Server, report: &mut String) -> Vec<(usize, f64)> {
        let mut connection = server.connect().await;
        let before = number(&mut connection, "memory", "used_memory").await;
        for view in 0..WIDTHS.len() {
            let layout = self.layout(view);
            for first in (0..ENTITIES).step_by(BATCH as usize) {
                let write = batch(&layout, first..first + BATCH, START);
                self.store
                    .write(&write, &WriteOptions::default())
                    .await
                    .expect("written");
            }
        }
        let after = number(&mut connection, "memory", "used_memory").await;
        let bytes = (after - before) as f64 / ENTITIES as f64;
        writeln!(
            report,
            "50 features in 3 views: {bytes:.0} bytes of Redis per entity"
        )
        .expect("a string grows");
        let all: Vec<Vec<u8>> = redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut connection)
            .await
            .expect("keys");
        let all: Vec<Vec<u8>> = all.into_iter().filter(|key| key.contains(&b'{')).collect();
        let mut medians = Vec::new();
        for rows in [1, 10, 100, 1000] {
            medians.push((rows, self.read(&mut connection, &all, rows, report).await));
        }
        medians
    }

    /// Medians of single reads, taken in turns.
    async fn read(
        &self,
        connection: &mut MultiplexedConnection,
        all: &[Vec<u8>],
        rows: usize,
        report: &mut String,
    ) -> f64 {
        let mut noise = 1_u64;
        let mut random = |below: usize| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 33) as usize % below
        };
        let mut session = Reader::new(&self.plan, false);
        let mut tensor = Reader::new(&self.plan, true);
        let mut samples = vec![Vec::new(); 3];
        let mut commands = 0;
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let mut command = redis::cmd("MGET");
            (0..rows * WIDTHS.len()).for_each(|_| {
                command.arg(all[random(all.len())].as_slice());
            });
            let began = Instant::now();
            black_box(connection.send_packed_command(&command).await.expect("values"));
            samples[0].push(began.elapsed().as_nanos() as f64);
            let count = samples[0].len() == 50;
            if count {
                commands = number(connection, "stats", "total_commands_processed").await;
            }
            for (reader, samples) in [&mut session, &mut tensor].into_iter().zip(&mut samples[1..]) {
                let ids: Vec<i64> = (0..rows).map(|_| id(random(ENTITIES as usize) as u64)).collect();
                let began = Instant::now();
                reader.read(&ids).await;
                samples.push(began.elapsed().as_nanos() as f64);
            }
            if count {
                // The question itself is counted when it is asked again.
                let now = number(connection, "stats", "total_commands_processed").await;
                commands = now - commands - 1;
            }
        }
        write!(report, "{rows:>5} rows").expect("a string grows");
        let bare = percentile(&mut samples[0], 50);
        for (name, samples) in ["bare", "read", "tensor"].into_iter().zip(&mut samples) {
            let (median, high) = (percentile(samples, 50), percentile(samples, 99));
            write!(
                report,
                "   {name} {:>6.1} µs {:.2}x (p99 {:.0})",
                median / 1000.0,
                median / bare,
                high / 1000.0
            )
            .expect("a string grows");
        }
        writeln!(report, "   {commands} commands for two reads").expect("a string grows");
        percentile(&mut samples[1], 50) / 1000.0
    }

    async fn writes(&self, server: &Server, report: &mut String) {
        let layout = self.layout(WIDTHS.len());
        let batches = |event: i64| -> Vec<OnlineWrite> {
            let firsts = (0..WRITTEN).step_by(BATCH as usize);
            firsts
                .map(|first| batch(&layout, first..first + BATCH, event))
                .collect()
        };
        let rows = batches(START);
        // More connections than these would only wait for the server.
        let bare = bare_sets(server, &rows, 1)
            .await
            .min(bare_sets(server, &rows, 2).await);
        writeln!(
            report,
            "\n{WRITTEN} rows of 10 features\n  set     {:>8.0} rows/s",
            per_second(bare)
        )
        .expect("a string grows");
        let mut connection = server.connect().await;
        let before = number(&mut connection, "memory", "used_memory").await;
        let options = WriteOptions::default();
        for (name, rows) in [("first", &rows), ("again", &rows), ("newer", &batches(START + 1))] {
            let began = Instant::now();
            stream::iter(rows)
                .map(|write| self.store.write(write, &options))
                .buffer_unordered(UNDER_WAY)
                .try_for_each(|_| async { Ok(()) })
                .await
                .expect("written");
            let took = began.elapsed();
            writeln!(
                report,
                "  {name:<7} {:>8.0} rows/s   {:.0} % of set",
                per_second(took),
                100.0 * bare.as_secs_f64() / took.as_secs_f64()
            )
            .expect("a string grows");
        }
        let after = number(&mut connection, "memory", "used_memory").await;
        let bytes = (after - before) as f64 / WRITTEN as f64;
        writeln!(report, "  {bytes:.0} bytes of Redis per row").expect("a string grows");
    }
}

fn per_second(took: Duration) -> f64 {
    WRITTEN as f64 / took.as_secs_f64()
}

/// Writes the rows under keys as long as the store's, with nothing but `SET`.
async fn bare_sets(server: &Server, batches: &[OnlineWrite], connections: usize) -> Duration {
    let connections = join_all((0..connections).map(|_| server.connect())).await;
    let began = Instant::now();
    stream::iter(batches.iter().enumerate())
        .for_each_concurrent(UNDER_WAY, |(number, write)| {
            let mut connection = connections[number % connections.len()].clone();
            async move {
                let mut pipeline = redis::Pipeline::with_capacity(BATCH as usize);
                for (key, row) in write.keys.iter().flatten().zip(write.rows.iter()) {
                    let key = [b"bare:{", key, b"}12345678"].concat();
                    pipeline.cmd("SET").arg(key).arg(row).ignore();
                }
                pipeline.exec_async(&mut connection).await.expect("written");
            }
        })
        .await;
    let took = began.elapsed();
    let mut connection = connections[0].clone();
    let _: () = redis::cmd("EVAL")
        .arg("for _, key in ipairs(redis.call('KEYS', 'bare:*')) do redis.call('DEL', key) end")
        .arg(0)
        .query_async(&mut connection)
        .await
        .expect("removed");
    took
}

/// What Feast takes for the same, in its own process.
fn feast(python: &str, medians: &[(usize, f64)], report: &mut String) {
    let server = Server::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/feast_online.py");
    let sizes: Vec<String> = medians.iter().map(|(rows, _)| rows.to_string()).collect();
    let output = Command::new(python)
        .args([script, server.address(), "10000", &sizes.join(",")])
        .env("FEAST_USAGE", "False")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .expect("an interpreter");
    let told = String::from_utf8_lossy(&output.stdout);
    let told: serde_json::Value = match told.lines().last().map(serde_json::from_str) {
        Some(Ok(told)) if output.status.success() => told,
        _ => {
            let why = String::from_utf8_lossy(&output.stderr);
            writeln!(
                report,
                "\nFeast failed: {}",
                why.lines().last().unwrap_or("it does not say")
            )
            .expect("a string grows");
            return;
        }
    };
    writeln!(
        report,
        "\nFeast: {:.0} bytes of Redis per entity",
        told["bytes"].as_f64().unwrap_or(f64::NAN)
    )
    .expect("a string grows");
    for (rows, ours) in medians {
        let told = &told["rows"][rows.to_string()];
        let (median, high) = (
            told[0].as_f64().unwrap_or(f64::NAN),
            told[1].as_f64().unwrap_or(f64::NAN),
        );
        writeln!(
            report,
            "{rows:>5} rows   {median:>8.0} µs, {:.0} times `read` (p99 {high:.0})",
            median / ours
        )
        .expect("a string grows");
    }
}

fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[(samples.len() - 1) * percent / 100]
}

/// A number that Redis tells of itself.
async fn number(connection: &mut MultiplexedConnection, section: &str, name: &str) -> u64 {
    let told: String = redis::cmd("INFO")
        .arg(section)
        .query_async(connection)
        .await
        .expect("an answer");
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|number| number.trim().parse().ok())
        .expect("a number")
}

struct Reader {
    session: Session,
    key: KeyHandle<i64>,
    tensor: Option<(Tensor, Vec<f32>, Vec<bool>)>,
}

impl Reader {
    fn new(plan: &OnlinePlan, tensor: bool) -> Self {
        let spec = || plan.tensor_f32(TensorSpec::service_order()).expect("numbers");
        Self {
            session: plan.session(),
            key: plan.key("id").expect("a key"),
            tensor: tensor.then(|| (spec(), Vec::new(), Vec::new())),
        }
    }

    async fn read(&mut self, ids: &[i64]) {
        self.session.column(self.key, ids);
        let answer = self.session.read(ReadOptions::new()).await.expect("read");
        if let Some((tensor, matrix, mask)) = &mut self.tensor {
            answer.fill_f32(tensor, matrix, mask);
            black_box(&matrix);
        }
        black_box(answer.rows());
    }
}
