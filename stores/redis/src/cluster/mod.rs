//! Which node of a cluster serves what, learnt from the nodes and kept up to date.

pub(crate) mod read;
pub(crate) mod slots;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use larder_base::{ErrorKind, random};
use parking_lot::Mutex;
use redis::Value;

use crate::connect::Access;
use crate::connect::address::Endpoint;
use crate::connect::link::Dial;
use crate::connect::node::Node;
use crate::fault::{self, Fault, Turn};
use slots::{Shard, SlotMap};

/// Nodes that are asked for the map at once.
const ASKED_AT_ONCE: usize = 3;
/// A map older than this is asked for again, while the old one serves: replicas come and go without a fault.
const LIFE: Duration = Duration::from_secs(10);
/// A map younger than this is not asked for again.
const FRESH: Duration = Duration::from_millis(50);

/// A cluster: its map and the connections to its nodes.
#[derive(Debug, Clone)]
pub(crate) struct Cluster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    access: Arc<Access>,
    seeds: Vec<Endpoint>,
    readers: usize,
    timeout: Duration,
    map: ArcSwapOption<SlotMap>,
    primaries: Mutex<HashMap<Endpoint, Arc<Node>>>,
    replicas: Mutex<HashMap<Endpoint, Arc<Node>>>,
    /// Held by whoever asks for the map; when it was asked for last.
    asked: tokio::sync::Mutex<Option<Instant>>,
    /// When the map is to be asked for without need, in ms since `began`.
    due: AtomicU64,
    began: Instant,
}

impl Cluster {
    pub(crate) fn new(access: Arc<Access>, seeds: Vec<Endpoint>, readers: usize, timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            access,
            seeds,
            readers,
            timeout,
            map: ArcSwapOption::empty(),
            primaries: Mutex::default(),
            replicas: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
            due: AtomicU64::new(0),
            began: Instant::now(),
        }))
    }

    /// The map as it is known, or asked for now.
    pub(crate) async fn map(&self) -> Result<Arc<SlotMap>, Fault> {
        match self.0.map.load_full() {
            Some(map) => {
                self.renew_if_old(&map);
                Ok(map)
            }
            None => self.renew(None).await,
        }
    }

    fn renew_if_old(&self, map: &Arc<SlotMap>) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.0.due.load(Ordering::Relaxed);
        let next = now.saturating_add(LIFE.as_millis() as u64);
        // Whoever moves the date asks.
        let moved = now >= due
            && self
                .0
                .due
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if moved && due > 0 {
            let (cluster, seen) = (self.clone(), map.clone());
            tokio::spawn(async move { cluster.renew_now(Some(seen)).await.map(drop) });
        }
    }

    /// Asks for the map again, unless somebody did since `seen`. What is wrong shows in the next try.
    pub(crate) async fn refresh(&self, seen: &Arc<SlotMap>) {
        if let Err(fault) = self.renew(Some(seen.clone())).await {
            tracing::debug!(kind = %fault.kind(), "no new map of the redis cluster");
        }
    }

    /// In a task of its own: a caller with little time gives up waiting, not the asking.
    async fn renew(&self, seen: Option<Arc<SlotMap>>) -> Result<Arc<SlotMap>, Fault> {
        let cluster = self.clone();
        tokio::spawn(async move { cluster.renew_now(seen).await })
            .await
            .unwrap_or_else(|_| Err(Fault::unreachable("the runtime is going down")))
    }

    async fn renew_now(&self, seen: Option<Arc<SlotMap>>) -> Result<Arc<SlotMap>, Fault> {
        let mut asked = self.0.asked.lock().await;
        if let Some(current) = self.0.map.load_full() {
            let newer = !seen.is_some_and(|seen| Arc::ptr_eq(&seen, &current));
            if newer || asked.is_some_and(|at| at.elapsed() < FRESH) {
                return Ok(current);
            }
        }
        let result = self.ask().await;
        *asked = Some(Instant::now());
        let map = Arc::new(result?);
        self.forget_others(&map);
        self.0.map.store(Some(map.clone()));
        tracing::debug!(
            shards = map.shards().len(),
            unserved = map.unserved(),
            "map of the redis cluster"
        );
        Ok(map)
    }

    async fn ask(&self) -> Result<SlotMap, Fault> {
        let mut candidates: Vec<Endpoint> = match self.0.map.load_full() {
            Some(map) => {
                let known = map
                    .shards()
                    .iter()
                    .flat_map(|shard| shard.replicas.iter().chain([&shard.primary]));
                let mut known: Vec<Endpoint> = known.cloned().collect();
                let turn = random::u64() as usize % known.len().max(1);
                known.rotate_left(turn);
                known
            }
            None => Vec::new(),
        };
        candidates.extend(self.0.seeds.iter().cloned());
        let mut last = None;
        for some in candidates.chunks(ASKED_AT_ONCE) {
            let mut answers: FuturesUnordered<_> = some.iter().map(|node| self.ask_node(node)).collect();
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(map) => return Ok(map),
                    Err(fault) => last = Some(fault),
                }
            }
        }
        Err(last.unwrap_or_else(fault::unserved))
    }

    async fn ask_node(&self, endpoint: &Endpoint) -> Result<SlotMap, Fault> {
        let node = self.node(endpoint);
        let link = node.reader();
        let conn = link.conn().await?;
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let answer = conn
            .command(&command, self.0.timeout)
            .await
            .inspect_err(|fault| link.judge(&conn, fault))?;
        let map = SlotMap::parse(&answer, endpoint).filter(|map| !map.shards().is_empty());
        map.ok_or_else(|| {
            // A node that was reset, or is still to join, knows no slots.
            let empty = matches!(&answer, Value::Array(ranges) if ranges.is_empty());
            match empty {
                true => fault::unserved().at(endpoint),
                false => Fault::new(
                    Turn::Give,
                    ErrorKind::Unsupported,
                    "redis describes its cluster in a form that is not understood",
                    "use Redis 6 or newer, or Valkey",
                )
                .at(endpoint),
            }
        })
    }

    /// The connections to a primary.
    pub(crate) fn node(&self, endpoint: &Endpoint) -> Arc<Node> {
        let mut nodes = self.0.primaries.lock();
        let new = || {
            Arc::new(Node::new(
                &self.0.access,
                &Dial::Fixed(endpoint.clone()),
                self.0.readers,
            ))
        };
        nodes.entry(endpoint.clone()).or_insert_with(new).clone()
    }

    /// The connections to one of a shard's replicas, in turn by chance; none where it has none.
    pub(crate) fn replica(&self, shard: &Shard) -> Option<Arc<Node>> {
        let turn = random::u64() as usize;
        let endpoint = shard.replicas.get(turn % shard.replicas.len().max(1))?;
        let mut nodes = self.0.replicas.lock();
        let dial = Dial::ClusterReplica(endpoint.clone());
        let new = || Arc::new(Node::new(&self.0.access, &dial, self.0.readers));
        Some(nodes.entry(endpoint.clone()).or_insert_with(new).clone())
    }

    /// The connections to a node that a redirection named; none where the name is not understood.
    pub(crate) fn named(&self, node: &str) -> Option<Arc<Node>> {
        let asked = self.0.seeds.first()?;
        Some(self.node(&asked.parse(node)?))
    }

    /// Notes where a slot went, until the whole map is asked for.
    pub(crate) fn moved(&self, slot: u16, to: &str) {
        let Some(to) = self.0.seeds.first().and_then(|seed| seed.parse(to)) else {
            return;
        };
        self.0.map.rcu(|map| {
            map.as_ref().map(|map| {
                let mut map = SlotMap::clone(map);
                map.moved(slot, &to);
                Arc::new(map)
            })
        });
    }

    /// Closes connections to nodes that the map does not name.
    fn forget_others(&self, map: &SlotMap) {
        let primary = |endpoint: &Endpoint| map.shards().iter().any(|shard| shard.primary == *endpoint);
        let replica =
            |endpoint: &Endpoint| map.shards().iter().any(|shard| shard.replicas.contains(endpoint));
        self.0.primaries.lock().retain(|endpoint, _| primary(endpoint));
        self.0.replicas.lock().retain(|endpoint, _| replica(endpoint));
    }
}
