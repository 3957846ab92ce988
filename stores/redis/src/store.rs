//! How the contract of an online store is kept on Redis.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use larder_base::error::{Error, Result};
use larder_base::{
    BuildContext, Clock, FeatureBlock, Generation, Health, LayoutChanges, OnPartial, OnlineCapabilities,
    OnlineDelete, OnlineRead, OnlineScan, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadFuture,
    ReadOptions, ReclaimReport, RowRef, Span, StoreIdentity, ViewLayout, WriteOptions, WriteReport,
    WriteRule,
};
use larder_remote::{
    Meters, TOMBSTONE_RETENTION, all_unavailable, check_keys, check_rows, check_shapes, kept, tls_client,
    within,
};
use redis::{Cmd, Pipeline, Value};
use tokio::time::timeout;
use tracing::Instrument;

use crate::cluster::Cluster;
use crate::cluster::read::ClusterRead;
use crate::cluster::slots::slot_of_key;
use crate::config::{Checked, Place as Where, ReadFrom, RedisConfig};
use crate::connect::link::Dial;
use crate::connect::node::Node;
use crate::connect::sentinel::Sentinels;
use crate::connect::{Access, Conn};
use crate::fault::{self, Fault};
use crate::layout::{Layout, Place};
use crate::read::{self, Asked};
use crate::write::{self, Batch, Memory, Packed, Rule};
use crate::{health, marks, sweep};

/// A row that would live longer than this lives for ever.
const LONGEST_LIFE: Span = Span::days(36_500);
/// Longest packed row: what Redis takes as one value, less room for its key.
const MAX_ROW_BYTES: usize = (512 << 20) - 4_096;
/// How often a call that may be repeated is tried.
const TRIES: usize = 3;

/// Redis or Valkey as an online store.
///
/// Connects when it is first used. Must be used inside a Tokio runtime with time and I/O enabled.
#[derive(Debug)]
pub struct RedisStore {
    backend: Backend,
    settings: Settings,
    clock: Arc<dyn Clock>,
}

/// Where the data is, ready to be asked.
#[derive(Debug)]
pub(crate) enum Backend {
    /// One primary: a server, or what sentinels watch.
    One(One),
    /// A cluster.
    Cluster(Cluster),
}

/// One primary, and perhaps a replica to read from.
#[derive(Debug)]
pub(crate) struct One {
    primary: Arc<Node>,
    replica: Option<Node>,
}

impl One {
    pub(crate) fn primary(&self) -> &Node {
        &self.primary
    }
}

/// What every flow needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) layout: Layout,
    pub(crate) meters: Arc<Meters>,
    pub(crate) memory: Memory,
    /// How long a read waits for a server that sends nothing.
    pub(crate) timeout: Duration,
    /// The same for all else: a batch of rows takes longer, and `WAIT` holds up what comes behind it.
    pub(crate) write_patience: Duration,
    /// How long a write goes on trying.
    pub(crate) write_timeout: Duration,
    pub(crate) read_from: ReadFrom,
    /// How many replicas must have a write, and how long to wait for them.
    pub(crate) wait: Option<(u16, Duration)>,
    pub(crate) reclaim_rate: u32,
}

impl RedisStore {
    /// A store by its configuration. Connects to nobody yet.
    ///
    /// # Errors
    /// `Config` where an option is wrong or a certificate cannot be read.
    pub fn new(config: &RedisConfig, cx: &BuildContext) -> Result<Self> {
        let checked = config.checked()?;
        let meters = Arc::new(Meters::new("redis", cx.store.as_str()));
        let tls = match &checked.tls {
            Some(tls) => Some(tls_client(tls, |path| cx.resolve(path))?.into()),
            None => None,
        };
        let access = Arc::new(Access {
            username: checked.username.clone(),
            password: checked.password.clone(),
            database: checked.database,
            tls,
            allow_plaintext: config.allow_plaintext,
            connect_timeout: checked.connect_timeout,
            alone: !matches!(checked.place, Where::Cluster(_)),
            meters: meters.clone(),
        });
        let wait = config.wait.map(|wait| (wait.replicas, wait.timeout.to_std()));
        let waits = wait.map_or(Duration::ZERO, |(_, timeout)| timeout);
        Ok(Self {
            backend: Backend::new(&checked, access, config.read_from)?,
            settings: Settings {
                layout: Layout::new(&config.prefix),
                meters,
                memory: Memory::default(),
                timeout: checked.timeout,
                write_patience: checked.timeout * 2 + waits,
                write_timeout: checked.write_timeout,
                read_from: config.read_from,
                wait,
                reclaim_rate: config.reclaim_rate,
            },
            clock: cx.clock.clone(),
        })
    }

    async fn read_all(
        &self,
        request: &OnlineRead,
        options: &ReadOptions,
        out: &mut FeatureBlock,
    ) -> Result<()> {
        out.reset(request);
        check_shapes(request, "Redis")?;
        let partial = options.on_partial == OnPartial::Return;
        let asked = Asked::new(request);
        let result = match &self.backend {
            Backend::One(one) => {
                let (primary, replica) = (one.primary(), one.replica.as_ref());
                let read = read::from_one(primary, replica, &asked, &self.settings, out, partial);
                let result = within(options, read).await;
                match result {
                    Err(fault) if partial && fault.is_passing() => {
                        all_unavailable(request, out);
                        Ok(())
                    }
                    result => result,
                }
            }
            Backend::Cluster(cluster) => {
                let read = ClusterRead::new(cluster, &asked, &self.settings, partial);
                let mut answered = read.nothing_yet();
                let result = within(options, read.run(&mut answered, out)).await;
                match result {
                    Err(fault) if partial && fault.is_passing() => {
                        read.fail_rest(fault.kind(), &answered, out);
                        Ok(())
                    }
                    result => result,
                }
            }
        };
        result.map_err(Error::from)
    }

    async fn store(&self, batch: Batch<'_>, options: &WriteOptions) -> Result<WriteReport> {
        let work = write::write(&self.backend, &batch, &self.settings);
        match options.timeout {
            None => work.await,
            Some(limit) => timeout(limit, work)
                .await
                .unwrap_or_else(|_| Err(Fault::late().into())),
        }
    }

    /// How long each row of a view may live, by its event time; nothing where the view keeps its rows.
    fn lives(&self, layout: &ViewLayout, rows: &PackedRows) -> Result<Vec<Option<u64>>> {
        let Some(kept) = kept(layout) else {
            return Ok(Vec::new());
        };
        let now = self.clock.now().0;
        let life = |row: &[u8]| {
            let left = RowRef::parse(row)?
                .event()
                .0
                .saturating_add(kept.0)
                .saturating_sub(now);
            // Zero and less would be refused by Redis; the row is written and gone, as it should be.
            Ok((left < LONGEST_LIFE.0).then(|| u64::try_from(left / 1_000).unwrap_or(0).max(1)))
        };
        rows.iter().map(life).collect()
    }
}

impl Backend {
    fn new(checked: &Checked, access: Arc<Access>, read_from: ReadFrom) -> Result<Self> {
        let from_replica = read_from == ReadFrom::Replica;
        let one = |primary: Dial, replica: Option<Dial>| {
            let node = |dial: Dial| Node::new(&access, &dial, checked.connections);
            Self::One(One {
                primary: Arc::new(node(primary)),
                replica: replica.map(node),
            })
        };
        Ok(match &checked.place {
            Where::Server(_) if from_replica => {
                return Err(Error::config("`read_from: replica` needs to know the replicas of Redis")
                    .help("use `sentinel:` or `cluster:`, or point `url` at the replica in a store that only reads"));
            }
            Where::Server(endpoint) => one(Dial::Fixed(endpoint.clone()), None),
            Where::Sentinel {
                master,
                nodes,
                username,
                password,
            } => {
                let own = Arc::new(Access {
                    username: username.clone(),
                    password: password.clone(),
                    database: 0,
                    tls: access.tls.clone(),
                    allow_plaintext: access.allow_plaintext,
                    connect_timeout: access.connect_timeout,
                    alone: false,
                    meters: access.meters.clone(),
                });
                let sentinels = Arc::new(Sentinels::new(master.clone(), own, nodes.clone()));
                let replica = from_replica.then(|| Dial::Replica(sentinels.clone()));
                one(Dial::Primary(sentinels), replica)
            }
            Where::Cluster(seeds) => {
                let (seeds, readers) = (seeds.clone(), checked.connections);
                Self::Cluster(Cluster::new(access.clone(), seeds, readers, checked.timeout))
            }
        })
    }

    /// Sends commands that may be repeated, each to whoever serves its key, and answers in their order.
    pub(crate) async fn commands(
        &self,
        settings: &Settings,
        commands: Vec<(Vec<u8>, Cmd)>,
    ) -> Result<Vec<Value>> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.try_commands(settings, &commands).await {
                Ok(answers) => return Ok(answers),
                Err(fault) if fault.passes() => {
                    settings.meters.admin.retries.increment(1);
                    if let Self::Cluster(cluster) = self
                        && let Ok(map) = cluster.map().await
                    {
                        cluster.refresh(&map).await;
                    }
                    last = Some(fault);
                    tokio::time::sleep(Duration::from_millis(60)).await;
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(last.unwrap_or_else(Fault::silent).into())
    }

    async fn try_commands(
        &self,
        settings: &Settings,
        commands: &[(Vec<u8>, Cmd)],
    ) -> Result<Vec<Value>, Fault> {
        let cluster = match self {
            Self::One(one) => {
                let all = commands.iter().map(|(_, command)| command);
                return send(&one.primary, settings, all).await;
            }
            Self::Cluster(cluster) => cluster,
        };
        let map = cluster.map().await?;
        let mut answers = vec![Value::Nil; commands.len()];
        for (index, shard) in map.shards().iter().enumerate() {
            let own: Vec<usize> = (0..commands.len())
                .filter(|at| map.shard_of(slot_of_key(&commands[*at].0)) == Some(index))
                .collect();
            if own.is_empty() {
                continue;
            }
            let node = cluster.node(&shard.primary);
            let values = send(&node, settings, own.iter().map(|at| &commands[*at].1)).await?;
            for (at, value) in own.iter().zip(values) {
                answers[*at] = value;
            }
        }
        match commands
            .iter()
            .all(|(key, _)| map.shard_of(slot_of_key(key)).is_some())
        {
            true => Ok(answers),
            false => Err(fault::unserved()),
        }
    }

    /// The servers that take writes: one, or those of a cluster, shard by shard.
    pub(crate) async fn primaries(&self) -> Result<Vec<Arc<Node>>, Fault> {
        match self {
            Self::One(one) => Ok(vec![one.primary.clone()]),
            Self::Cluster(cluster) => {
                let map = cluster.map().await?;
                Ok(map
                    .shards()
                    .iter()
                    .map(|shard| cluster.node(&shard.primary))
                    .collect())
            }
        }
    }
}

/// Sends commands to one node on its connection for writes; any error of the server is a fault.
pub(crate) async fn send(
    node: &Node,
    settings: &Settings,
    commands: impl Iterator<Item = &Cmd>,
) -> Result<Vec<Value>, Fault> {
    let conn = node.writer().conn().await?;
    send_on(node, &conn, settings, commands).await
}

/// The same on a connection that is known.
pub(crate) async fn send_on(
    node: &Node,
    conn: &Arc<Conn>,
    settings: &Settings,
    commands: impl Iterator<Item = &Cmd>,
) -> Result<Vec<Value>, Fault> {
    let mut pipeline = Pipeline::new();
    commands.for_each(|command| {
        pipeline.add_command(command.clone());
    });
    let link = node.writer();
    settings.meters.admin.round_trips.increment(1);
    let answers = conn.pipeline(&pipeline, settings.write_patience).await;
    let answers = answers.inspect_err(|fault| link.judge(conn, fault))?;
    for answer in &answers {
        if let Value::ServerError(error) = answer {
            let fault = conn.refusal(error);
            link.judge(conn, &fault);
            return Err(fault);
        }
    }
    Ok(answers)
}

#[async_trait]
impl OnlineStore for RedisStore {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut can = OnlineCapabilities::default();
        can.newest_wins = true;
        can.overwrite = true;
        can.durable = true;
        can.shared = true;
        can.native_expiry = true;
        can
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        let span = tracing::debug_span!("redis.read", groups = request.groups.len());
        ReadFuture::Pending(Box::pin(self.read_all(request, options, out).instrument(span)))
    }

    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        let rule = match batch.rule {
            WriteRule::NewestWins => Rule::Newest,
            WriteRule::Overwrite => Rule::Last,
            _ => {
                return Err(Error::unsupported(
                    "the Redis store does not know this write rule",
                ));
            }
        };
        check_keys(&batch.layout, &batch.keys)?;
        check_rows(batch, MAX_ROW_BYTES, "Redis")?;
        let lives = self.lives(&batch.layout, &batch.rows)?;
        let span = tracing::debug_span!("redis.write", view = %batch.layout.view(), rows = batch.rows.len());
        let batch = Batch {
            place: Place::of(&batch.layout),
            keys: &batch.keys,
            rows: Packed::Each(&batch.rows, lives),
            rule,
        };
        self.store(batch, options).instrument(span).await
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        check_keys(&batch.layout, &batch.keys)?;
        let mut tombstone = PackedRows::new();
        tombstone.push_tombstone(&batch.layout, batch.at, batch.now);
        let span = tracing::debug_span!("redis.delete", view = %batch.layout.view(), rows = batch.keys.len());
        let life = u64::try_from(TOMBSTONE_RETENTION.0 / 1_000).unwrap_or(u64::MAX);
        let batch = Batch {
            place: Place::of(&batch.layout),
            keys: &batch.keys,
            rows: Packed::Same(tombstone.get(0), life),
            rule: Rule::Newest,
        };
        self.store(batch, options).instrument(span).await
    }

    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        marks::prepare(&self.backend, &self.settings, &changes.project).await
    }

    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        marks::identity(&self.backend, &self.settings, project).await
    }

    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        let places: Vec<Place> = retired
            .iter()
            .map(|generation| Place::new(project, *generation))
            .collect();
        let span = tracing::debug_span!("redis.reclaim", generations = retired.len());
        sweep::sweep(&self.backend, &self.settings, &places)
            .instrument(span)
            .await
    }

    async fn check(&self) -> Result<Health> {
        health::check(&self.backend, &self.settings, self.clock.now()).await
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        None
    }
}
