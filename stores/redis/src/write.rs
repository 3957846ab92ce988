//! How rows are written: newest wins inside Redis, in the round trip that writes, with bounded bytes in flight.
//!
//! A row that is not there yet needs no comparison, so the first try is `SET NX`, which is twice as fast as a script; rows
//! that were refused go to the script. Where most rows are known to be there, the script comes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::join_all;
use larder_base::{EntityKeys, Error, WriteReport};
use larder_remote::Tries;
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};

use crate::cluster::Cluster;
use crate::connect::Conn;
use crate::connect::link::Link;
use crate::connect::node::Node;
use crate::fault::{self, Fault, Turn};
use crate::layout::{Place, slot_of_entity};
use crate::script;
use crate::store::{Backend, Settings};

/// Rows of one round trip.
const ROWS_PER_TRIP: usize = 1_000;
/// Bytes of one round trip, unless a single row has more.
const BYTES_PER_TRIP: usize = 1 << 20;
/// Rows of one call of the script on a server that is no cluster: it runs alone, so it must be short.
const ROWS_PER_CALL: usize = 200;
/// Round trips under way at once per node.
const LANES: usize = 2;

/// Rows on their way into one view.
pub(crate) struct Batch<'a> {
    pub(crate) place: Place,
    pub(crate) keys: &'a EntityKeys,
    pub(crate) rows: Packed<'a>,
    pub(crate) rule: Rule,
}

/// The packed rows of a batch.
pub(crate) enum Packed<'a> {
    /// One per key, and how long each may live at most: milliseconds, or for ever.
    Each(&'a larder_base::PackedRows, Vec<Option<u64>>),
    /// The same for all keys, for this many milliseconds.
    Same(&'a [u8], u64),
}

/// Who wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The newer row.
    Newest,
    /// The row that comes last.
    Last,
}

impl Batch<'_> {
    fn row(&self, index: usize) -> (&[u8], &[u8], Option<u64>) {
        let key = self.keys.get(index).unwrap_or_default();
        match &self.rows {
            Packed::Each(rows, lives) => (key, rows.get(index), lives.get(index).copied().flatten()),
            Packed::Same(row, life) => (key, row, Some(*life)),
        }
    }
}

/// Whether rows of a view were there when they were written last; decides what is tried first.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<Place, bool>>);

impl Memory {
    fn mostly_there(&self, place: Place) -> bool {
        self.0.lock().get(&place).copied().unwrap_or(false)
    }

    fn note(&self, place: Place, there: usize, of: usize) {
        if of > 0 {
            self.0.lock().insert(place, there * 2 > of);
        }
    }
}

/// Writes a batch wherever its rows belong, trying again for as long as that may help.
pub(crate) async fn write(
    backend: &Backend,
    batch: &Batch<'_>,
    settings: &Settings,
) -> Result<WriteReport, Error> {
    let mut task = Task {
        batch,
        settings,
        report: WriteReport::default(),
    };
    let mut left: Vec<u32> = (0..u32::try_from(batch.keys.len()).unwrap_or(u32::MAX)).collect();
    let mut tries = Tries::new(settings.write_timeout);
    settings.meters.write.keys.increment(left.len() as u64);
    loop {
        let before = left.len();
        let fault = match backend {
            Backend::One(one) => task.over_node(one.primary(), &mut left, None).await,
            Backend::Cluster(cluster) => task.over_cluster(cluster, &mut left).await,
        };
        let Err(fault) = fault else {
            return Ok(task.report);
        };
        if left.len() < before {
            tries.helped();
        }
        // A second try under `Overwrite` could replace what somebody else wrote meanwhile.
        if !fault.passes() || batch.rule == Rule::Last || !tries.again().await {
            return Err(Error::from(fault)
                .with("rows", batch.keys.len())
                .with("certainly_written", batch.keys.len() - left.len()));
        }
        settings.meters.write.retries.increment(1);
    }
}

struct Task<'a> {
    batch: &'a Batch<'a>,
    settings: &'a Settings,
    report: WriteReport,
}

impl Task<'_> {
    /// Writes rows to the nodes of a cluster; what is acknowledged leaves `left`.
    async fn over_cluster(&mut self, cluster: &Cluster, left: &mut Vec<u32>) -> Result<(), Fault> {
        let map = cluster.map().await?;
        let mut shards: Vec<Vec<u32>> = vec![Vec::new(); map.shards().len()];
        let mut unserved = Vec::new();
        for row in left.drain(..) {
            let key = self.batch.keys.get(row as usize).unwrap_or_default();
            match map.shard_of(slot_of_entity(key)) {
                Some(shard) => shards[shard].push(row),
                None => unserved.push(row),
            }
        }
        let nodes: Vec<_> = map
            .shards()
            .iter()
            .map(|shard| cluster.node(&shard.primary))
            .collect();
        let mut first_fault = (!unserved.is_empty()).then(fault::unserved);
        *left = unserved;
        let tasks =
            nodes
                .iter()
                .zip(shards)
                .filter(|(_, rows)| !rows.is_empty())
                .map(|(node, mut rows)| async {
                    let mut task = Task {
                        report: WriteReport::default(),
                        ..*self
                    };
                    let result = task.over_node(node, &mut rows, Some(cluster)).await;
                    (task.report, rows, result)
                });
        for (report, rows, result) in join_all(tasks).await {
            self.report.add(report);
            left.extend(rows);
            if let Err(fault) = result {
                if let Turn::Moved { slot, to } = &fault.turn {
                    cluster.moved(*slot, to);
                }
                first_fault.get_or_insert(fault);
            }
        }
        match first_fault {
            None => Ok(()),
            Some(fault) => {
                cluster.refresh(&map).await;
                Err(fault)
            }
        }
    }

    /// Writes rows to one node in lanes; what is acknowledged leaves `left`, which keeps its order.
    async fn over_node(
        &mut self,
        node: &Node,
        left: &mut Vec<u32>,
        cluster: Option<&Cluster>,
    ) -> Result<(), Fault> {
        // Equal keys are in one lane, so that the last of equal rows wins.
        let mut lanes: [Vec<u32>; LANES] = Default::default();
        for row in left.drain(..) {
            let key = self.batch.keys.get(row as usize).unwrap_or_default();
            lanes[usize::from(slot_of_entity(key)) % LANES].push(row);
        }
        let filled = lanes.into_iter().filter(|rows| !rows.is_empty());
        let work: Vec<_> = filled.map(|rows| self.lane(node, rows, cluster)).collect();
        let mut outcome = Ok(());
        for (report, rows, result) in join_all(work).await {
            self.report.add(report);
            left.extend(rows);
            if outcome.is_ok() {
                outcome = result;
            }
        }
        left.sort_unstable();
        outcome
    }

    /// Writes rows one round trip after the other; answers what is left.
    async fn lane(
        &self,
        node: &Node,
        rows: Vec<u32>,
        cluster: Option<&Cluster>,
    ) -> (WriteReport, Vec<u32>, Result<(), Fault>) {
        let mut task = Task {
            report: WriteReport::default(),
            ..*self
        };
        let mut done = 0;
        let mut result = Ok(());
        while done < rows.len() && result.is_ok() {
            let trip = task.trip(&rows[done..]);
            result = task.chunk(node.writer(), trip, cluster).await;
            if result.is_ok() {
                done += trip.len();
            }
        }
        (task.report, rows[done..].to_vec(), result)
    }

    /// As many rows as one round trip takes.
    fn trip<'r>(&self, rows: &'r [u32]) -> &'r [u32] {
        let mut bytes = 0;
        let fits = rows.iter().take(ROWS_PER_TRIP).take_while(|row| {
            let (key, packed, _) = self.batch.row(**row as usize);
            bytes += key.len() + packed.len();
            bytes <= BYTES_PER_TRIP
        });
        &rows[..fits.count().max(1)]
    }

    async fn chunk(&mut self, link: &Link, rows: &[u32], cluster: Option<&Cluster>) -> Result<(), Fault> {
        let conn = link.conn().await?;
        let result = match self.batch.rule {
            Rule::Last => self.overwrite(&conn, rows, cluster).await,
            Rule::Newest => self.newest(&conn, rows, cluster).await,
        };
        let result = match result {
            Ok(report) => self.replicated(&conn).await.map(|()| report),
            Err(fault) => Err(fault),
        };
        match result {
            Ok(report) => {
                self.report.add(report);
                Ok(())
            }
            Err(fault) => {
                link.judge(&conn, &fault);
                Err(fault)
            }
        }
    }

    async fn overwrite(
        &self,
        conn: &Arc<Conn>,
        rows: &[u32],
        cluster: Option<&Cluster>,
    ) -> Result<WriteReport, Fault> {
        let answers = self.send(conn, &self.sets(rows, SetIf::Always)).await?;
        let elsewhere = elsewhere(conn, rows, &answers)?;
        self.there(cluster, &elsewhere).await?;
        Ok(WriteReport::new(rows.len() as u64, 0))
    }

    async fn newest(
        &self,
        conn: &Arc<Conn>,
        rows: &[u32],
        cluster: Option<&Cluster>,
    ) -> Result<WriteReport, Fault> {
        let (place, memory) = (self.batch.place, &self.settings.memory);
        if memory.mostly_there(place) {
            return self.scripted(conn, rows, cluster).await.map(|(stale, fresh)| {
                memory.note(place, rows.len() - fresh, rows.len());
                WriteReport::new((rows.len() - stale) as u64, stale as u64)
            });
        }
        let answers = self.send(conn, &self.sets(rows, SetIf::Absent)).await?;
        let elsewhere = elsewhere(conn, rows, &answers)?;
        let answered = rows.iter().zip(&answers);
        let refused: Vec<u32> = answered
            .filter(|(_, answer)| matches!(answer, Value::Nil))
            .map(|(row, _)| *row)
            .collect();
        memory.note(place, refused.len(), rows.len());
        let (stale, _) = self.scripted(conn, &refused, cluster).await?;
        let (stale_there, _) = self.there(cluster, &elsewhere).await?;
        let stale = stale + stale_there;
        Ok(WriteReport::new((rows.len() - stale) as u64, stale as u64))
    }

    /// Writes rows whose keys were moved already, at the nodes that the old one named.
    async fn there(
        &self,
        cluster: Option<&Cluster>,
        rows: &[(u32, String)],
    ) -> Result<(usize, usize), Fault> {
        let mut nodes: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (row, to) in rows {
            nodes.entry(to).or_default().push(*row);
        }
        let mut sum = (0, 0);
        for (to, rows) in nodes {
            let Some(node) = cluster.and_then(|cluster| cluster.named(to)) else {
                return Err(fault::unserved());
            };
            let link = node.writer();
            let conn = link.conn().await?;
            let counts = self.asking(&conn, &rows).await;
            let counts = counts.inspect_err(|fault| link.judge(&conn, fault))?;
            sum = (sum.0 + counts.0, sum.1 + counts.1);
        }
        Ok(sum)
    }

    /// Writes rows one by one to a node that is told that another one named it.
    async fn asking(&self, conn: &Arc<Conn>, rows: &[u32]) -> Result<(usize, usize), Fault> {
        let (mut stale, mut fresh) = (0, 0);
        for row in rows {
            let mut pipeline = match self.batch.rule {
                Rule::Newest => self.calls(&[*row], 1),
                Rule::Last => self.sets(&[*row], SetIf::Always),
            };
            let own: Vec<Cmd> = pipeline.cmd_iter().cloned().collect();
            pipeline.clear();
            pipeline.add_command(redis::cmd("ASKING"));
            own.into_iter().for_each(|command| {
                pipeline.add_command(command);
            });
            let mut answers = self.send(conn, &pipeline).await?;
            if answers.iter().any(lacks_script) {
                self.load(conn).await?;
                answers = self.send(conn, &pipeline).await?;
            }
            refuse_errors(conn, &answers)?;
            if self.batch.rule == Rule::Newest {
                let counts = counts(answers.get(1))?;
                (stale, fresh) = (stale + counts.0, fresh + counts.1);
            }
        }
        self.replicated(conn).await?;
        Ok((stale, fresh))
    }

    /// Puts the script into a server's cache.
    async fn load(&self, conn: &Arc<Conn>) -> Result<(), Fault> {
        let load = script::load();
        let loaded = conn.command(&load, self.settings.write_patience).await;
        loaded.map(drop)
    }

    fn sets(&self, rows: &[u32], when: SetIf) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(rows.len());
        let mut buffer = Vec::new();
        for row in rows {
            let (key, packed, life) = self.batch.row(*row as usize);
            self.settings.layout.row(&mut buffer, self.batch.place, key);
            let mut command = Cmd::with_capacity(6, buffer.len() + packed.len() + 24);
            command.arg("SET").arg(buffer.as_slice()).arg(packed);
            if let Some(life) = life {
                command.arg("PX").arg(life);
            }
            if when == SetIf::Absent {
                command.arg("NX");
            }
            pipeline.add_command(command);
        }
        pipeline
    }

    /// Lets the script decide; answers how many rows were stale and how many were not there before.
    async fn scripted(
        &self,
        conn: &Arc<Conn>,
        rows: &[u32],
        cluster: Option<&Cluster>,
    ) -> Result<(usize, usize), Fault> {
        if rows.is_empty() {
            return Ok((0, 0));
        }
        // In a cluster a script must stay in one slot, so it is called row by row.
        let per_call = if cluster.is_some() { 1 } else { ROWS_PER_CALL };
        let pipeline = self.calls(rows, per_call);
        let mut answers = self.send(conn, &pipeline).await?;
        if answers.iter().any(lacks_script) {
            // A server that was started again, or took over, does not know it. Calls that ran may run again.
            self.load(conn).await?;
            answers = self.send(conn, &pipeline).await?;
        }
        let elsewhere = match cluster {
            Some(_) => elsewhere(conn, rows, &answers)?,
            None => refuse_errors(conn, &answers).map(|()| Vec::new())?,
        };
        let mut sum = self.there(cluster, &elsewhere).await?;
        for answer in answers
            .iter()
            .filter(|answer| !matches!(answer, Value::ServerError(_)))
        {
            let counts = counts(Some(answer))?;
            sum = (sum.0 + counts.0, sum.1 + counts.1);
        }
        Ok(sum)
    }

    fn calls(&self, rows: &[u32], per_call: usize) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(rows.len().div_ceil(per_call));
        let mut buffer = Vec::new();
        for rows in rows.chunks(per_call) {
            let bytes: usize = rows
                .iter()
                .map(|row| self.batch.row(*row as usize).1.len() + 64)
                .sum();
            let mut command = Cmd::with_capacity(3 + 3 * rows.len(), bytes + 64);
            command
                .arg("EVALSHA")
                .arg(script::newest_wins_sha())
                .arg(rows.len());
            for row in rows {
                let (key, _, _) = self.batch.row(*row as usize);
                self.settings.layout.row(&mut buffer, self.batch.place, key);
                command.arg(buffer.as_slice());
            }
            for row in rows {
                let (_, packed, life) = self.batch.row(*row as usize);
                command.arg(packed);
                match life {
                    Some(life) => command.arg(life),
                    None => command.arg(&b""[..]),
                };
            }
            pipeline.add_command(command);
        }
        pipeline
    }

    async fn send(&self, conn: &Arc<Conn>, pipeline: &Pipeline) -> Result<Vec<Value>, Fault> {
        self.settings.meters.write.round_trips.increment(1);
        conn.pipeline(pipeline, self.settings.write_patience).await
    }

    /// Waits for replicas, where that is wanted.
    async fn replicated(&self, conn: &Arc<Conn>) -> Result<(), Fault> {
        let Some((replicas, within)) = self.settings.wait else {
            return Ok(());
        };
        let mut command = redis::cmd("WAIT");
        command
            .arg(replicas)
            .arg(u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1));
        self.settings.meters.write.round_trips.increment(1);
        match conn.command(&command, self.settings.write_patience).await? {
            Value::Int(have) if have >= i64::from(replicas) => Ok(()),
            _ => Err(Fault::new(
                Turn::Later,
                larder_base::ErrorKind::Unavailable,
                "too few redis replicas have the write",
                "check replication, or lower `wait.replicas`",
            )
            .at(conn.endpoint())),
        }
    }
}

/// When a row is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetIf {
    Always,
    Absent,
}

fn fault_of(conn: &Conn, answer: &Value) -> Option<Fault> {
    match answer {
        Value::ServerError(error) => Some(conn.refusal(error)),
        _ => None,
    }
}

fn lacks_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if fault::of_server(error).turn == Turn::NoScript)
}

/// How many rows a call of the script refused as stale, and how many were not there before.
fn counts(answer: Option<&Value>) -> Result<(usize, usize), Fault> {
    let odd = || fault::odd("the script answered something else than counts");
    let Some(Value::Array(counts)) = answer else {
        return Err(odd());
    };
    let [Value::Int(stale), Value::Int(fresh)] = counts.as_slice() else {
        return Err(odd());
    };
    let count = |number: i64| usize::try_from(number).map_err(|_| odd());
    Ok((count(*stale)?, count(*fresh)?))
}

fn refuse_errors(conn: &Arc<Conn>, answers: &[Value]) -> Result<(), Fault> {
    match answers.iter().find_map(|answer| fault_of(conn, answer)) {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

/// Rows that are to be asked for elsewhere, with the node that was named. Any other error is one.
fn elsewhere(conn: &Arc<Conn>, rows: &[u32], answers: &[Value]) -> Result<Vec<(u32, String)>, Fault> {
    let mut found = Vec::new();
    for (row, answer) in rows.iter().zip(answers) {
        match fault_of(conn, answer) {
            None => {}
            Some(Fault {
                turn: Turn::Ask(to), ..
            }) => found.push((*row, to)),
            Some(fault) => return Err(fault),
        }
    }
    Ok(found)
}
