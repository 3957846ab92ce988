//! What do the tests share? A feature store in memory, short ways to write rows and definitions, and stores that fail.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use larder_base::memory::{MemoryOnline, MemoryRegistry};
use larder_base::{
    ChangeSet, Commit, Error, FeatureBlock, Generation, Health, LayoutChanges, Ledger, Loaded, Micros,
    OnlineCapabilities, OnlineDelete, OnlineRead, OnlineScan, OnlineStore, OnlineWrite, ProjectName,
    ReadFuture, ReadOptions, ReclaimReport, Registry, Result, SetName, Snapshot, Span, StoreIdentity, Value,
    Version, VirtualClock, WriteOptions, WriteReport,
};
use larder_core::arrow::array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use larder_core::convert::{infer_type, value_at};
use larder_core::memory::MemoryOffline;
use larder_engine::{
    Applied, ApplyOptions, DefinitionSet, FeatureStore, FeatureStoreBuilder, Materialize, Reading, Selection,
    ViewRun,
};

/// 2026-05-01T00:00:00Z
pub(crate) const START: i64 = 1_777_593_600_000_000;
pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// Users with a count of orders and a mean basket: the definitions most tests begin with.
pub(crate) const USERS: &str = "
entities: [{ name: user, join_keys: [{ name: user_id, type: int64 }] }]
sources: [{ name: orders, type: memory, event_time: at, created_time: created }]
feature_views:
  - { name: stats, entities: [user], source: orders, ttl: 7d, features: [{ name: n, type: int64 }, { name: x, type: float64 }] }
feature_services: [{ name: svc, features: [stats] }]
";

/// A feature store in memory whose parts the test can reach.
pub(crate) struct World {
    pub(crate) clock: VirtualClock,
    pub(crate) registry: Arc<MemoryRegistry>,
    pub(crate) online: Arc<Flaky>,
    pub(crate) offline: Arc<MemoryOffline>,
    pub(crate) store: FeatureStore,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(more: impl FnOnce(FeatureStoreBuilder) -> FeatureStoreBuilder) -> Self {
        let clock = VirtualClock::at(Micros(START));
        let registry = Arc::new(MemoryRegistry::new());
        let online = Arc::new(Flaky::default());
        let offline = Arc::new(MemoryOffline::new());
        let builder = FeatureStore::builder(project())
            .registry(registry.clone())
            .online(online.clone())
            .offline(offline.clone())
            .clock(Arc::new(clock.clone()));
        let store = more(builder).build().unwrap();
        Self {
            clock,
            registry,
            online,
            offline,
            store,
        }
    }

    /// The same registry, clock and history behind another online store.
    pub(crate) fn replaced_online(&self, online: Arc<Flaky>) -> Self {
        let store = FeatureStore::builder(project())
            .registry(self.registry.clone())
            .online(online.clone())
            .offline(self.offline.clone())
            .clock(Arc::new(self.clock.clone()))
            .build()
            .unwrap();
        Self {
            clock: self.clock.clone(),
            registry: self.registry.clone(),
            online,
            offline: self.offline.clone(),
            store,
        }
    }

    /// Applies definitions of the set `default` without looking at the data.
    pub(crate) async fn apply(&self, yaml: &str) -> Applied {
        self.try_apply(yaml, &ApplyOptions::new().with_offline(true))
            .await
            .unwrap()
    }

    pub(crate) async fn try_apply(&self, yaml: &str, options: &ApplyOptions) -> Result<Applied> {
        self.store.apply(&definitions(yaml), options).await
    }

    /// Inserts rows of [`USERS`]: user, event, created, n, x.
    pub(crate) fn orders(&self, rows: &[(i64, i64, Option<i64>, Option<i64>)]) {
        self.offline.insert("orders", orders(rows));
    }

    pub(crate) async fn materialize(&self) -> ViewRun {
        run(self.store.materialize()).await.unwrap()
    }

    pub(crate) fn now(&self) -> Micros {
        larder_base::Clock::now(&self.clock)
    }

    /// The values of some features for users, online, now.
    pub(crate) async fn read(&self, features: &[&str], users: &[i64]) -> Vec<Vec<Reading<Value>>> {
        let users: Vec<Value> = users.iter().map(|user| Value::Int64(*user)).collect();
        read(
            &self.store,
            Selection::features(features.to_vec()),
            &[("user_id", users)],
        )
        .await
    }

    /// `stats:n` of one user as a number; `None` for whatever else it is.
    pub(crate) async fn n(&self, user: i64) -> Option<i64> {
        match self.read(&["stats:n"], &[user]).await.remove(0).remove(0) {
            Reading::Present(Value::Int64(n)) => Some(n),
            _ => None,
        }
    }
}

pub(crate) async fn run(task: Materialize) -> Result<ViewRun> {
    let mut report = task.run().await?;
    assert_eq!(report.views.len(), 1, "one view is expected");
    Ok(report.views.remove(0))
}

pub(crate) async fn read(
    store: &FeatureStore,
    selection: Selection,
    keys: &[(&str, Vec<Value>)],
) -> Vec<Vec<Reading<Value>>> {
    let plan = store.online(selection).await.unwrap();
    let mut session = plan.session();
    for (name, values) in keys {
        session.values(name, values).unwrap();
    }
    let outcome = session.read(ReadOptions::new()).await.unwrap();
    let outputs = plan.outputs().len();
    (0..outcome.rows())
        .map(|row| (0..outputs).map(|output| outcome.value(row, output)).collect())
        .collect()
}

pub(crate) fn project() -> ProjectName {
    "shop".parse().unwrap()
}

pub(crate) fn definitions(yaml: &str) -> DefinitionSet {
    set("default", yaml)
}

pub(crate) fn set(name: &str, yaml: &str) -> DefinitionSet {
    let name: SetName = name.parse().unwrap();
    DefinitionSet::from_yaml("features.yaml", yaml, name).unwrap()
}

/// Rows of the source of [`USERS`]: user, event, created, n; x is n / 2.
pub(crate) fn orders(rows: &[(i64, i64, Option<i64>, Option<i64>)]) -> RecordBatch {
    batch(vec![
        ("user_id", ints(rows.iter().map(|row| Some(row.0)))),
        ("at", times(rows.iter().map(|row| Some(row.1)))),
        ("created", times(rows.iter().map(|row| row.2))),
        ("n", ints(rows.iter().map(|row| row.3))),
        ("x", floats(rows.iter().map(|row| row.3.map(|n| n as f64 / 2.0)))),
    ])
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}

pub(crate) fn ints<T: Into<Option<i64>>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<Int64Array>())
}

pub(crate) fn small_ints<T: Into<Option<i32>>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<Int32Array>())
}

pub(crate) fn floats<T: Into<Option<f64>>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<Float64Array>())
}

pub(crate) fn texts<'a, T: Into<Option<&'a str>>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(values.into_iter().map(Into::into).collect::<StringArray>())
}

/// Timestamps in UTC.
pub(crate) fn times<T: Into<Option<i64>>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    let times: TimestampMicrosecondArray = values.into_iter().map(Into::into).collect();
    Arc::new(times.with_timezone("UTC"))
}

/// Timestamps without a zone.
pub(crate) fn naive<T: Into<Option<i64>>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(
        values
            .into_iter()
            .map(Into::into)
            .collect::<TimestampMicrosecondArray>(),
    )
}

/// A column of a batch as single values.
pub(crate) fn column(batch: &RecordBatch, name: &str) -> Vec<Value> {
    let column = batch
        .column_by_name(name)
        .unwrap_or_else(|| panic!("no column `{name}` in {:?}", batch.schema()));
    let of = infer_type(column.data_type()).unwrap();
    (0..column.len()).map(|row| value_at(column, row, of)).collect()
}

/// int64 values of a column.
pub(crate) fn numbers(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    let number = |value| match value {
        Value::Int64(n) => Some(n),
        Value::Null => None,
        other => panic!("{other:?} is no int64"),
    };
    column(batch, name).into_iter().map(number).collect()
}

/// An error whose text holds every one of these.
pub(crate) fn assert_says<T: Debug>(result: Result<T>, words: &[&str]) -> Error {
    let error = result.unwrap_err();
    let mut text = format!("{} {}", error.chain(), error.remedy().unwrap_or_default());
    for diagnostic in error.diagnostics() {
        text += &format!(" {diagnostic}");
    }
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    error
}

/// The memory store, with writes that fail when told to.
#[derive(Debug, Default)]
pub(crate) struct Flaky {
    pub(crate) inner: MemoryOnline,
    /// Writes until one fails; negative for never.
    fail_in: AtomicI64,
    armed: AtomicBool,
    /// Most rows it takes in one write or delete.
    most_rows: Option<u32>,
    /// Bytes of the longest row it takes; any where there are none.
    most_bytes: AtomicUsize,
    /// How long a write takes, in seconds.
    slow: AtomicUsize,
    /// Writes that succeeded.
    pub(crate) writes: AtomicUsize,
    /// Generations that were prepared and not reclaimed since.
    pub(crate) prepared: std::sync::Mutex<std::collections::BTreeSet<Generation>>,
}

impl Flaky {
    /// One that takes so many rows in one write or delete.
    pub(crate) fn taking(most_rows: u32) -> Self {
        Self {
            most_rows: Some(most_rows),
            ..Self::default()
        }
    }

    /// The n-th write from now on fails, from 0, and every one after it until [`Flaky::heal`].
    pub(crate) fn fail_in(&self, writes: i64) {
        self.fail_in.store(writes, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Rows may be so long from now on.
    pub(crate) fn hold(&self, bytes: usize) {
        self.most_bytes.store(bytes, Ordering::SeqCst);
    }

    /// Every write takes so long from now on.
    pub(crate) fn slow(&self, time: Duration) {
        self.slow.store(time.as_secs() as usize, Ordering::SeqCst);
    }

    fn refuse_too_many(&self, rows: usize) -> Result<()> {
        match self.most_rows {
            Some(most) if rows > most as usize => Err(Error::internal(format!("{rows} rows at once"))),
            _ => Ok(()),
        }
    }

    pub(crate) fn heal(&self) {
        self.armed.store(false, Ordering::SeqCst);
    }
}

#[async_trait]
impl OnlineStore for Flaky {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.max_write_rows = self.most_rows;
        if let bytes @ 1.. = self.most_bytes.load(Ordering::SeqCst) {
            capabilities.max_row_bytes = Some(bytes as u32);
        }
        capabilities
    }
    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        self.inner.read(request, options, out)
    }
    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        if self.armed.load(Ordering::SeqCst) && self.fail_in.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(Error::unavailable("the test pulled the plug"));
        }
        if let seconds @ 1.. = self.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
        }
        self.refuse_too_many(batch.keys.len())?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.inner.write(batch, options).await
    }
    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        self.refuse_too_many(batch.keys.len())?;
        self.inner.delete(batch, options).await
    }
    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        let generations = changes.layouts.iter().map(|layout| layout.generation());
        self.prepared.lock().unwrap().extend(generations);
        self.inner.prepare(changes).await
    }
    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        self.inner.identity(project).await
    }
    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        self.prepared
            .lock()
            .unwrap()
            .retain(|generation| !retired.contains(generation));
        self.inner.reclaim(project, retired).await
    }
    async fn check(&self) -> Result<Health> {
        self.inner.check().await
    }
    fn scan(&self) -> Option<&dyn OnlineScan> {
        self.inner.scan()
    }
}

/// A registry that commits and then says it could not be reached, when told to; and counts commits.
#[derive(Debug, Default)]
pub(crate) struct LossyRegistry {
    pub(crate) inner: MemoryRegistry,
    pub(crate) lose_reply: AtomicBool,
    pub(crate) commits: AtomicUsize,
}

#[async_trait]
impl Registry for LossyRegistry {
    async fn projects(&self) -> Result<Vec<ProjectName>> {
        self.inner.projects().await
    }
    async fn load(&self, project: &ProjectName, known: Option<Version>, wait: Duration) -> Result<Loaded> {
        self.inner.load(project, known, wait).await
    }
    async fn load_at(&self, project: &ProjectName, version: Version) -> Result<Arc<Snapshot>> {
        self.inner.load_at(project, version).await
    }
    async fn history(
        &self,
        project: &ProjectName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<Commit>> {
        self.inner.history(project, before, limit).await
    }
    async fn commit(&self, project: &ProjectName, base: Version, changes: &ChangeSet) -> Result<Version> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let version = self.inner.commit(project, base, changes).await?;
        if self.lose_reply.swap(false, Ordering::SeqCst) {
            return Err(Error::unavailable("the reply was lost"));
        }
        Ok(version)
    }
    fn ledger(&self) -> Arc<dyn Ledger> {
        self.inner.ledger()
    }
    async fn check(&self) -> Result<Health> {
        self.inner.check().await
    }
}

/// Turns the clock forward by microseconds.
pub(crate) fn pass(world: &World, micros: i64) {
    world.clock.advance(Span(micros));
}
