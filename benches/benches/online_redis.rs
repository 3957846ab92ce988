//! What do reads and writes over Redis cost beyond the bare client moving the same bytes, and next to Feast?
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
//! - `bare`: the same keys and values by pipelined `SET`; beside it what `redis-benchmark` says of `SET` and `GET`;
//! - `first`, `again`, `newer`: `OnlineStore::write` into nothing, of the same rows, of newer rows.
//!
//! Feast: its SDK on a server of its own, with the same views and as many entities, where `LARDER_BENCH_PYTHON` is an
//! interpreter that has it.
//!
//! What no client can do without: the round trip of `redis-benchmark` on one connection, and what Redis itself says that it
//! spends in an `MGET` of so many keys.
//!
//! Goals: `read` at most 1.15 times `bare`, and 25, 40 and 60 times faster than Feast at 1, 10 and 100 rows; `first` at
//! least 60 %, `again` at least 40 % of `bare`. Redis itself says how many commands a read was and what a
//! row costs in memory.

#![allow(missing_docs, reason = "a program, not a library")]

#[allow(dead_code, reason = "clusters are of use to another bench")]
#[path = "online/redis_server.rs"]
mod server;
#[path = "online/service.rs"]
mod service;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use larder_base::{BuildContext, OnlineWrite};
use larder_redis::{RedisConfig, RedisStore};
use redis::aio::MultiplexedConnection;
use server::{Server, benchmark};
use service::{BATCH, Bare, Dice, Service, UNDER_WAY};
use std::fmt::Write;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZES: [usize; 4] = [1, 10, 100, 1_000];
const WRITTEN: u64 = 500_000;
const ENTITIES: u64 = 100_000;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "a bench tells what it measured")]
async fn main() {
    let server = Server::start();
    let store = RedisStore::new(&RedisConfig::new(server.url()), &BuildContext::new(".")).expect("a store");
    let service = Service::new(Arc::new(store), ENTITIES).await;
    let mut connection = server.connect().await;
    let mut report = String::new();

    let before = memory(&mut connection).await;
    service.write(&service.filling()).await;
    let bytes = (memory(&mut connection).await - before) / ENTITIES as f64;
    writeln!(
        report,
        "50 features in 3 views: {bytes:.0} bytes of Redis per entity"
    )
    .expect("a string grows");
    let mut bare = Client::new(&server).await;
    let trip = server::tool(&server, &["-t", "get", "-d", "110", "-c", "1", "-n", "20000"]);
    if let Some(cells) = trip.first() {
        writeln!(
            report,
            "redis-benchmark, one connection: a round trip of {} ms (median)",
            cells[4]
        )
        .expect("a string grows");
    }
    let mut medians = Vec::new();
    for rows in SIZES {
        let before = mget(&mut connection).await;
        medians.extend(service.reads(&[rows], &mut bare, &mut report).await);
        let after = mget(&mut connection).await;
        let own = (after.1 - before.1) / (after.0 - before.0);
        writeln!(report, "             Redis itself {own:.1} µs").expect("a string grows");
    }
    let before = commands(&mut connection).await;
    service.read_once(1_000).await;
    // The question is a command, too.
    let asked = commands(&mut connection).await - before - 1.0;
    writeln!(report, "commands of one read of 1,000 rows: {asked}").expect("a string grows");

    let before = memory(&mut connection).await;
    service.writes(WRITTEN, &mut bare, &mut report).await;
    let bytes = (memory(&mut connection).await - before) / WRITTEN as f64;
    writeln!(report, "  {bytes:.0} bytes of Redis per row").expect("a string grows");
    report.push_str(&benchmark(&server));
    drop(server);
    match std::env::var("LARDER_BENCH_PYTHON") {
        Ok(python) => feast(&python, &medians, &mut report),
        Err(_) => report.push_str("\nFeast: not measured, LARDER_BENCH_PYTHON is not set\n"),
    }
    eprintln!("{report}");
}

/// The client that larder uses, with nothing around it.
struct Client {
    connections: Vec<MultiplexedConnection>,
    /// Keys of rows, as the store made them.
    keys: Vec<Vec<u8>>,
}

impl Client {
    async fn new(server: &Server) -> Self {
        let connections = join_all((0..2).map(|_| server.connect())).await;
        let mut connection = connections[0].clone();
        let all: Vec<Vec<u8>> = redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut connection)
            .await
            .expect("keys");
        Self {
            connections,
            keys: all.into_iter().filter(|key| key.contains(&b'{')).collect(),
        }
    }

    async fn sets(&self, batches: &[OnlineWrite], connections: usize) -> Duration {
        let began = Instant::now();
        stream::iter(batches.iter().enumerate())
            .for_each_concurrent(UNDER_WAY, |(number, write)| {
                let mut connection = self.connections[number % connections].clone();
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
        let _: () = redis::cmd("EVAL")
            .arg("for _, key in ipairs(redis.call('KEYS', 'bare:*')) do redis.call('DEL', key) end")
            .arg(0)
            .query_async(&mut self.connections[0].clone())
            .await
            .expect("removed");
        took
    }
}

impl Bare for Client {
    async fn read(&mut self, keys: usize, dice: &mut Dice) -> Duration {
        let mut command = redis::cmd("MGET");
        for _ in 0..keys {
            command.arg(self.keys[dice.below(self.keys.len())].as_slice());
        }
        let began = Instant::now();
        let answer = self.connections[0].send_packed_command(&command).await;
        black_box(answer.expect("values"));
        began.elapsed()
    }

    async fn write(&mut self, batches: &[OnlineWrite]) -> Duration {
        // More connections than these would only wait for the server.
        let one = self.sets(batches, 1).await;
        one.min(self.sets(batches, 2).await)
    }
}

/// What Feast takes for the same, in its own process.
fn feast(python: &str, medians: &[(usize, [f64; 2])], report: &mut String) {
    let server = Server::start();
    let script = "peers/feast_online.py";
    let sizes: Vec<String> = medians.iter().map(|(rows, _)| rows.to_string()).collect();
    let output = Command::new(python)
        .args([script, server.address(), &ENTITIES.to_string(), &sizes.join(",")])
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
            let last = why.lines().last().unwrap_or("it does not say");
            writeln!(report, "\nFeast failed: {last}").expect("a string grows");
            return;
        }
    };
    let bytes = told["bytes"].as_f64().unwrap_or(f64::NAN);
    writeln!(report, "\nFeast: {bytes:.0} bytes of Redis per entity").expect("a string grows");
    for (rows, [read, tensor]) in medians {
        let told = &told["rows"][rows.to_string()];
        let number = |at: usize| told[at].as_f64().unwrap_or(f64::NAN);
        let [median, high, values] = [0, 1, 2].map(number);
        writeln!(
            report,
            "{rows:>5} rows   {median:>8.0} µs, {:.0} times `read` (p99 {high:.0}); as values {values:.0} µs, {:.0} times `tensor`",
            median / read,
            values / tensor
        )
        .expect("a string grows");
    }
}

async fn memory(connection: &mut MultiplexedConnection) -> f64 {
    number(connection, "memory", "used_memory").await
}

async fn commands(connection: &mut MultiplexedConnection) -> f64 {
    number(connection, "stats", "total_commands_processed").await
}

/// How many `MGET` there were, and the µs that Redis spent in them.
async fn mget(connection: &mut MultiplexedConnection) -> (f64, f64) {
    let told = info(connection, "commandstats").await;
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_mget:calls="));
    let numbers = line.and_then(|line| {
        let (calls, rest) = line.split_once(",usec=")?;
        Some((calls.parse().ok()?, rest.split(',').next()?.parse().ok()?))
    });
    numbers.unwrap_or((0.0, 0.0))
}

async fn info(connection: &mut MultiplexedConnection, section: &str) -> String {
    let mut command = redis::cmd("INFO");
    command.arg(section);
    command.query_async(connection).await.expect("an answer")
}

/// A number that Redis tells of itself.
async fn number(connection: &mut MultiplexedConnection, section: &str, name: &str) -> f64 {
    let told = info(connection, section).await;
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|number| number.trim().parse().ok())
        .expect("a number")
}
