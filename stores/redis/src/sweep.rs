//! How a retired view leaves Redis: exactly, in the background, slowly, and touching nothing else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_base::{Error, ReclaimReport, Result};
use redis::{Cmd, Value};

use crate::connect::node::Node;
use crate::fault::{self, Fault};
use crate::layout::Place;
use crate::store::{Backend, Settings, send};

/// Keys that the server looks at per step.
const STEP: u32 = 1_000;
/// How often a step is tried before the sweep gives up; the next call begins anew.
const TRIES: usize = 8;
/// The pause before another try.
const PAUSE: Duration = Duration::from_millis(250);

/// Removes all rows of some places. Correctness never depends on it: nobody reads a retired generation.
pub(crate) async fn sweep(backend: &Backend, settings: &Settings, places: &[Place]) -> Result<ReclaimReport> {
    if places.is_empty() {
        return Ok(ReclaimReport::default());
    }
    let rows = match backend {
        Backend::One(one) => sweep_node(one.primary(), settings, places, true).await?,
        Backend::Cluster(_) => {
            let mut rows = 0;
            let nodes: Vec<Arc<Node>> = backend.primaries().await.map_err(Error::from)?;
            for node in nodes {
                rows += sweep_node(&node, settings, places, false).await?;
            }
            rows
        }
    };
    tracing::debug!(
        rows,
        places = places.len(),
        "removed rows of retired views from redis"
    );
    Ok(ReclaimReport::new(rows))
}

/// Walks over all keys of a node once.
async fn sweep_node(node: &Node, settings: &Settings, places: &[Place], one_slot: bool) -> Result<u64> {
    let wanted: HashSet<Place> = places.iter().copied().collect();
    let pattern = settings.layout.pattern(places);
    let per_step = Duration::from_secs_f64(f64::from(STEP) / f64::from(settings.reclaim_rate));
    let (mut cursor, mut rows, mut server) = (0_u64, 0, run_id(node, settings).await?);
    loop {
        let started = Instant::now();
        let (next, keys) = match step(node, settings, cursor, &pattern).await {
            Ok(answer) => answer,
            Err(_) => {
                // Another server has other cursors: after a failover the walk begins anew.
                let now = run_id(node, settings).await?;
                if now != server {
                    (cursor, server) = (0, now);
                }
                step(node, settings, cursor, &pattern)
                    .await
                    .map_err(Error::from)?
            }
        };
        let own: Vec<Vec<u8>> = keys
            .into_iter()
            .filter(|key| {
                settings
                    .layout
                    .place_of(key)
                    .is_some_and(|place| wanted.contains(&place))
            })
            .collect();
        rows += unlink(node, settings, &own, one_slot).await?;
        cursor = next;
        if cursor == 0 {
            return Ok(rows);
        }
        tokio::time::sleep(per_step.saturating_sub(started.elapsed())).await;
    }
}

async fn step(
    node: &Node,
    settings: &Settings,
    cursor: u64,
    pattern: &[u8],
) -> Result<(u64, Vec<Vec<u8>>), Fault> {
    let mut command = redis::cmd("SCAN");
    command
        .arg(cursor)
        .arg("MATCH")
        .arg(pattern)
        .arg("COUNT")
        .arg(STEP);
    let answers = send(node, settings, std::iter::once(&command)).await?;
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
async fn unlink(node: &Node, settings: &Settings, keys: &[Vec<u8>], one_slot: bool) -> Result<u64> {
    let per_command = if one_slot { keys.len().max(1) } else { 1 };
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
    let answers = patiently(|| send(node, settings, commands.iter())).await?;
    let count = |answer: &Value| match answer {
        Value::Int(count) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    };
    Ok(answers.iter().map(count).sum())
}

/// Who the server is: a random name that it takes whenever it starts.
async fn run_id(node: &Node, settings: &Settings) -> Result<String> {
    let mut command = redis::cmd("INFO");
    command.arg("server");
    let answers = patiently(|| send(node, settings, std::iter::once(&command))).await?;
    let Some(Value::BulkString(info)) = answers.first() else {
        return Err(fault::odd("redis answered something else than its state").into());
    };
    let info = String::from_utf8_lossy(info);
    let line = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    Ok(line.unwrap_or_default().to_owned())
}

/// Tries until it works, for some time: a sweep is long, and servers fail over meanwhile.
async fn patiently<T, F>(mut work: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, Fault>>,
{
    let mut last = None;
    for _ in 0..TRIES {
        match work().await {
            Ok(done) => return Ok(done),
            Err(fault) if fault.passes() => last = Some(fault),
            Err(fault) => return Err(fault.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(last.unwrap_or_else(Fault::silent).into())
}
