//! How a retired view leaves Redis: exactly, in the background, slowly, and touching nothing else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_base::{Error, ReclaimReport, Result};
use larder_remote::Tries;
use redis::{Cmd, Value};

use crate::connect::Conn;
use crate::connect::node::Node;
use crate::fault::{self, Fault};
use crate::layout::Place;
use crate::store::{Backend, Settings, send_on};

/// Keys that the server looks at per step.
const STEP: u32 = 1_000;

/// Removes all rows of some places. Correctness never depends on it: nobody reads a retired generation.
pub(crate) async fn sweep(backend: &Backend, settings: &Settings, places: &[Place]) -> Result<ReclaimReport> {
    if places.is_empty() {
        return Ok(ReclaimReport::default());
    }
    let mut rows = 0;
    for node in backend.primaries().await.map_err(Error::from)? {
        let sweep = Sweep {
            node: &node,
            settings,
            wanted: places.iter().copied().collect(),
            pattern: settings.layout.pattern(places),
            one_slot: matches!(backend, Backend::One(_)),
        };
        rows += sweep.run().await?;
    }
    tracing::debug!(
        rows,
        places = places.len(),
        "removed rows of retired views from redis"
    );
    Ok(ReclaimReport::new(rows))
}

/// What is to be removed from one node.
struct Sweep<'a> {
    node: &'a Node,
    settings: &'a Settings,
    wanted: HashSet<Place>,
    pattern: Vec<u8>,
    /// Whether keys of one command may lie anywhere.
    one_slot: bool,
}

/// How far a walk over the keys of a node came. A cursor means something to the server that gave it, and to no other.
#[derive(Default)]
struct Walk {
    cursor: u64,
    conn: Option<Arc<Conn>>,
    /// Who is at the other end: a random name that a server takes whenever it starts.
    server: String,
}

impl Sweep<'_> {
    /// Walks over all keys once. A sweep is long, and servers fail over meanwhile: what fails is tried again.
    async fn run(&self) -> Result<u64> {
        let per_step = Duration::from_secs_f64(f64::from(STEP) / f64::from(self.settings.reclaim_rate));
        let (mut walk, mut rows) = (Walk::default(), 0);
        let mut tries = Tries::new(self.settings.write_timeout);
        loop {
            let started = Instant::now();
            match self.step(&mut walk).await {
                Ok(gone) => {
                    rows += gone;
                    tries.helped();
                    if walk.cursor == 0 {
                        return Ok(rows);
                    }
                }
                Err(fault) if fault.passes() => {
                    self.settings.meters.admin.retries.increment(1);
                    if !tries.again().await {
                        return Err(fault.into());
                    }
                }
                Err(fault) => return Err(fault.into()),
            }
            tokio::time::sleep(per_step.saturating_sub(started.elapsed())).await;
        }
    }

    /// Looks at some keys and removes those that are wanted; answers how many went.
    async fn step(&self, walk: &mut Walk) -> Result<u64, Fault> {
        let conn = self.conn(walk).await?;
        let (next, keys) = self.scan(&conn, walk.cursor).await?;
        let own: Vec<Vec<u8>> = keys.into_iter().filter(|key| self.is_wanted(key)).collect();
        let gone = self.unlink(&conn, &own).await?;
        walk.cursor = next;
        Ok(gone)
    }

    fn is_wanted(&self, key: &[u8]) -> bool {
        let place = self.settings.layout.place_of(key);
        place.is_some_and(|place| self.wanted.contains(&place))
    }

    /// The connection of the walk. A new one may lead to another server, where the walk begins anew.
    async fn conn(&self, walk: &mut Walk) -> Result<Arc<Conn>, Fault> {
        let conn = self.node.writer().conn().await?;
        if walk.conn.as_ref().is_some_and(|old| Arc::ptr_eq(old, &conn)) {
            return Ok(conn);
        }
        let server = self.run_id(&conn).await?;
        if server.is_empty() || server != walk.server {
            walk.cursor = 0;
        }
        walk.server = server;
        walk.conn = Some(conn.clone());
        Ok(conn)
    }

    async fn run_id(&self, conn: &Arc<Conn>) -> Result<String, Fault> {
        let mut command = redis::cmd("INFO");
        command.arg("server");
        let answers = self.send(conn, &[command]).await?;
        let Some(Value::BulkString(info)) = answers.first() else {
            return Err(fault::odd("redis answered something else than its state"));
        };
        let info = String::from_utf8_lossy(info);
        let line = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(line.unwrap_or_default().to_owned())
    }

    async fn scan(&self, conn: &Arc<Conn>, cursor: u64) -> Result<(u64, Vec<Vec<u8>>), Fault> {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(self.pattern.as_slice())
            .arg("COUNT")
            .arg(STEP);
        let answers = self.send(conn, &[command]).await?;
        let odd = || fault::odd("redis answered something else than a page of keys");
        let Some(Value::Array(parts)) = answers.into_iter().next() else {
            return Err(odd());
        };
        let mut parts = parts.into_iter();
        let (Some(Value::BulkString(next)), Some(Value::Array(keys))) = (parts.next(), parts.next()) else {
            return Err(odd());
        };
        let next = std::str::from_utf8(&next)
            .ok()
            .and_then(|next| next.parse().ok())
            .ok_or_else(odd)?;
        let keys = keys.into_iter().filter_map(|key| match key {
            Value::BulkString(key) => Some(key),
            _ => None,
        });
        Ok((next, keys.collect()))
    }

    /// Removes keys; their memory is freed by a thread of the server's own.
    async fn unlink(&self, conn: &Arc<Conn>, keys: &[Vec<u8>]) -> Result<u64, Fault> {
        let per_command = if self.one_slot { keys.len().max(1) } else { 1 };
        let commands: Vec<Cmd> = keys
            .chunks(per_command)
            .map(|keys| {
                let mut command = redis::cmd("UNLINK");
                keys.iter().for_each(|key| {
                    command.arg(key.as_slice());
                });
                command
            })
            .collect();
        let answers = self.send(conn, &commands).await?;
        let count = |answer: &Value| match answer {
            Value::Int(count) => u64::try_from(*count).unwrap_or(0),
            _ => 0,
        };
        Ok(answers.iter().map(count).sum())
    }

    async fn send(&self, conn: &Arc<Conn>, commands: &[Cmd]) -> Result<Vec<Value>, Fault> {
        send_on(self.node, conn, self.settings, commands.iter()).await
    }
}
