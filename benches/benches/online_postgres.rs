//! What do reads and writes over Postgres cost beyond the bare client moving the same bytes?
//!
//! A service of 50 `float64` features in three views (17, 17, 16) on one server on loopback, which this program starts and
//! stops; it writes to its disk before it answers. Reads: 1, 10, 100 and 1,000 rows of 100,000 entities at random.
//!
//! - `bare`: one prepared statement over a table of keys and values of its own, `key = ANY`, by the same client;
//! - `read`: keys as `i64` in, `Session::read`, statuses decided;
//! - `tensor`: the same and `fill_f32` of all 50 features.
//!
//! Writes: 100,000 rows of one view of 10 features, batches of 5,000, four under way at a time.
//!
//! - `bare`: the same keys and values by `INSERT … SELECT FROM unnest … ON CONFLICT … DO UPDATE`;
//! - `first`, `again`, `newer`: `OnlineStore::write` into nothing, of the same rows, of newer rows.
//!
//! Bytes are those of tables with their indexes, next to Feast's layout (one row per entity and feature, of which this
//! program fills a table by itself).

#![allow(missing_docs, reason = "a program, not a library")]

#[allow(
    dead_code,
    reason = "the kit of the store's own tests; not all of it is needed here"
)]
#[path = "../../stores/postgres/tests/it/postgres/server.rs"]
mod server;
#[allow(dead_code, reason = "what only the bench of Redis counts")]
#[path = "online/service.rs"]
mod service;

use futures::stream::{self, StreamExt};
use larder_base::{BuildContext, OnlineWrite};
use larder_postgres::{PostgresConfig, PostgresStore};
use server::Server;
use service::{Bare, Dice, Service, UNDER_WAY, WIDTHS};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls, Statement};

const SIZES: [usize; 4] = [1, 10, 100, 1_000];
const WRITTEN: u64 = 100_000;
const ENTITIES: u64 = 100_000;

/// Feast's table of a view, filled with values of 9 bytes under keys of 37.
const FEAST: &str = "CREATE TABLE feast (entity_key bytea, feature_name text, value bytea, value_text text, vector_value bytea, \
    event_ts timestamptz, created_ts timestamptz, PRIMARY KEY (entity_key, feature_name)); \
    CREATE INDEX feast_ek ON feast (entity_key); \
    INSERT INTO feast SELECT decode(lpad(to_hex(e), 74, '0'), 'hex'), 'v_f' || f, '\\x29000000000000d03f', '0.12345678901234567', \
    NULL, now(), now() FROM generate_series(1, 10000) AS e, generate_series(1, 50) AS f";

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "a bench tells what it measured")]
async fn main() {
    let server = Server::with(&["shared_buffers=512MB", "max_wal_size=4GB"]);
    let store = PostgresStore::new(&PostgresConfig::new(server.url()), &BuildContext::new("."));
    let service = Service::new(Arc::new(store.expect("a store")), ENTITIES).await;
    let mut report = String::new();

    let filling = service.filling();
    service.write(&filling).await;
    let bytes = size(&server, "larder_online_bench") / ENTITIES as f64;
    server.sql(FEAST);
    let feast = size(&server, "feast") / 10_000.0;
    writeln!(
        report,
        "50 features in 3 views: {bytes:.0} bytes of Postgres per entity, in Feast's layout {feast:.0} ({:.2}x)",
        bytes / feast
    )
    .expect("a string grows");
    let mut bare = Connection::new(&server, &filling).await;
    server.sql("VACUUM ANALYZE");
    service.reads(&SIZES, &mut bare, &mut report).await;
    service.writes(WRITTEN, &mut bare, &mut report).await;
    eprintln!("{report}");
}

/// Bytes of a table with its indexes.
fn size(server: &Server, table: &str) -> f64 {
    let told = server.sql(&format!("SELECT pg_total_relation_size('{table}')"));
    told.parse().expect("a number")
}

/// The client that larder uses, with nothing around it.
struct Connection {
    reader: Client,
    writers: Vec<Client>,
    read: Statement,
    keys: Vec<Vec<u8>>,
}

impl Connection {
    /// A table of its own with the same rows.
    async fn new(server: &Server, filling: &[OnlineWrite]) -> Self {
        server.sql("CREATE TABLE bare (key bytea PRIMARY KEY, row bytea NOT NULL) WITH (fillfactor = 80)");
        server.sql("CREATE TABLE written (LIKE bare INCLUDING ALL)");
        let reader = connect(server).await;
        let mut all = Vec::new();
        for write in filling {
            let place = write.layout.generation().0.to_be_bytes();
            let keys: Vec<Vec<u8>> = write
                .keys
                .iter()
                .flatten()
                .map(|key| [&place[..], key].concat())
                .collect();
            put(&reader, "bare", &keys, write).await;
            all.extend(keys);
        }
        let mut writers = Vec::new();
        for _ in 0..UNDER_WAY {
            writers.push(connect(server).await);
        }
        let read = "SELECT key, row FROM bare WHERE key = ANY($1)";
        Self {
            read: reader.prepare(read).await.expect("a statement"),
            reader,
            writers,
            keys: all,
        }
    }
}

impl Bare for Connection {
    async fn read(&mut self, keys: usize, dice: &mut Dice) -> Duration {
        let keys: Vec<&[u8]> = (0..keys)
            .map(|_| self.keys[dice.below(self.keys.len())].as_slice())
            .collect();
        let began = Instant::now();
        let rows = self.reader.query(&self.read, &[&keys]).await.expect("rows");
        assert!(rows.len() * 2 > keys.len() || keys.len() <= WIDTHS.len());
        black_box(rows);
        began.elapsed()
    }

    async fn write(&mut self, batches: &[OnlineWrite]) -> Duration {
        let ready: Vec<Vec<Vec<u8>>> = batches
            .iter()
            .map(|write| write.keys.iter().flatten().map(<[u8]>::to_vec).collect())
            .collect();
        let began = Instant::now();
        stream::iter(batches.iter().zip(&ready).enumerate())
            .for_each_concurrent(UNDER_WAY, |(number, (write, keys))| {
                let writer = &self.writers[number % UNDER_WAY];
                async move { put(writer, "written", keys, write).await }
            })
            .await;
        began.elapsed()
    }
}

async fn put(client: &Client, table: &str, keys: &[Vec<u8>], write: &OnlineWrite) {
    let text = format!(
        "INSERT INTO {table} SELECT * FROM unnest($1::bytea[], $2::bytea[]) \
         ON CONFLICT (key) DO UPDATE SET row = excluded.row"
    );
    let statement = client.prepare(&text).await.expect("a statement");
    let rows: Vec<&[u8]> = write.rows.iter().collect();
    client
        .execute(&statement, &[&keys, &rows])
        .await
        .expect("written");
}

async fn connect(server: &Server) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls)
        .await
        .expect("a connection");
    tokio::spawn(connection);
    client
}
