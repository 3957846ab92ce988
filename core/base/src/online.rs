//! What an online store must do: read, write and delete packed rows by canonical keys.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::block::FeatureBlock;
use crate::error::Result;
use crate::keys::EntityKeys;
use crate::layout::{Generation, ViewLayout};
use crate::names::ProjectName;
use crate::row::PackedRows;
use crate::time::Micros;

/// The newest values of entities, by key.
///
/// A store sees canonical keys and packed rows only; it never parses a name on the way. All
/// rules of ordering live in the row's header: 16 bytes at [`crate::row::VERSION_RANGE`] that
/// compare like `(event, created)`.
///
/// Every method is required: a wrapper that forgets one would silently lose the inner store's
/// behaviour. What a store cannot do it declares absent in [`OnlineStore::capabilities`] and
/// answers with `Unsupported`.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use larder_base::{*, memory::MemoryOnline};
/// # futures::executor::block_on(async {
/// let layout = Arc::new(ViewLayout::new(
///     ProjectName::new("shop")?,
///     ViewName::new("user_stats")?,
///     Generation(7),
///     vec![JoinKey { name: ColumnName::new("user_id")?, value_type: ValueType::INT64 }],
///     vec![Slot::new(FeatureName::new("orders")?, ValueType::INT64)],
/// ));
/// let store = MemoryOnline::new();
/// let mut keys = EntityKeys::new();
/// keys.push_values(layout.join_keys(), &[Value::Int64(1)])?;
/// let mut rows = PackedRows::new();
/// rows.push_values(&layout, Micros(10), None, &[Value::Int64(3)])?;
/// let keys = Arc::new(keys);
/// store.write(&OnlineWrite::new(layout.clone(), keys.clone(), Arc::new(rows)), &WriteOptions::default()).await?;
///
/// let request = OnlineRead { groups: vec![KeyGroup { keys, views: vec![ViewRead::all(0, layout)] }] };
/// let mut block = FeatureBlock::new();
/// store.read(&request, &ReadOptions::default(), &mut block).await?;
/// assert_eq!(block.status(0, 0), RowStatus::Present);
/// # Ok::<(), Error>(()) }).unwrap();
/// ```
#[async_trait]
pub trait OnlineStore: Debug + Send + Sync + 'static {
    /// What the store can do. Constant for the life of the object.
    fn capabilities(&self) -> OnlineCapabilities;

    /// Reads everything one request needs from this store, at once.
    ///
    /// **Contract**: calls [`FeatureBlock::reset`] first; answers row by row in request order;
    /// a key that is not there, a null key and a tombstone are `NotFound`, never an error; reads
    /// nothing of other generations. Below the backend's limits this is one network round trip
    /// per node for any number of views.
    ///
    /// **Cancellation**: dropping the future leaves nothing behind but an undefined block.
    ///
    /// **Errors**: `Unavailable`, `Timeout`, `Overloaded`, `Corrupt`; `Unsupported` for a
    /// [`ReadShape`] it does not know.
    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a>;

    /// Writes rows by the batch's rule.
    ///
    /// **Contract**: with [`WriteRule::NewestWins`] a row replaces the stored one, atomically
    /// and across writers, only if its 16 version bytes are greater or equal. A row is written
    /// whole or not at all. When this returns, the rows are as durable as the store declares.
    ///
    /// **Errors**: after an error some rows may be written, none half; writing the same batch
    /// again completes it. `Unsupported` for a rule the store does not know.
    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport>;

    /// Deletes by writing tombstones `(at, now)` under the newest-wins rule, so that an older
    /// row in flight cannot bring the entity back.
    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport>;

    /// Makes places for new layouts and gives the store its identity once. Idempotent.
    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity>;

    /// The identity that [`OnlineStore::prepare`] gave; `None` for an empty or flushed store.
    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>>;

    /// Frees everything of retired generations. Idempotent, may be slow, touches nothing else.
    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport>;

    /// Whether the store can be reached and used now.
    async fn check(&self) -> Result<Health>;

    /// Walking over all rows of a view, for those who can.
    fn scan(&self) -> Option<&dyn OnlineScan>;
}

/// An optional ability: walk over the rows of a view in key order.
#[async_trait]
pub trait OnlineScan: Send + Sync {
    /// Up to `limit` rows with keys greater than `after`, tombstones included.
    async fn page(
        &self,
        layout: &Arc<ViewLayout>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<ScannedRow>>;
}

/// One row found by [`OnlineScan::page`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedRow {
    /// Canonical entity key.
    pub key: Vec<u8>,
    /// Packed row.
    pub row: Vec<u8>,
}

/// What an online store can do: flat flags and limits; `Default` is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OnlineCapabilities {
    /// [`WriteRule::NewestWins`] holds atomically across writers.
    pub newest_wins: bool,
    /// [`WriteRule::Overwrite`] is possible.
    pub overwrite: bool,
    /// An acknowledged write survives the death of this process.
    pub durable: bool,
    /// Several processes may use the store at once.
    pub shared: bool,
    /// Reads answer without waiting: [`ReadFuture::Ready`].
    pub in_process: bool,
    /// [`OnlineStore::scan`] answers.
    pub scan: bool,
    /// The backend frees rows by itself after the view's retention.
    pub native_expiry: bool,
    /// Longest key stored as it is; longer ones go by digest with verification.
    pub max_key_bytes: Option<u32>,
    /// Longest packed row.
    pub max_row_bytes: Option<u32>,
    /// Most rows in one write; the engine splits larger batches.
    pub max_write_rows: Option<u32>,
}

impl OnlineCapabilities {
    /// Names of the flags that are set, for tables and reports.
    pub fn names(&self) -> Vec<&'static str> {
        [
            ("newest_wins", self.newest_wins),
            ("overwrite", self.overwrite),
            ("durable", self.durable),
            ("shared", self.shared),
            ("in_process", self.in_process),
            ("scan", self.scan),
            ("native_expiry", self.native_expiry),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect()
    }
}

/// Everything one request needs from one store.
#[derive(Debug, Clone, Default)]
pub struct OnlineRead {
    /// One group per distinct key set.
    pub groups: Vec<KeyGroup>,
}

/// Views that share one key set (the same join keys in the same role).
#[derive(Debug, Clone)]
pub struct KeyGroup {
    /// Keys, one per row of the answer.
    pub keys: Arc<EntityKeys>,
    /// Views to read for them.
    pub views: Vec<ViewRead>,
}

/// One view of a request.
#[derive(Debug, Clone)]
pub struct ViewRead {
    /// Where the answer goes in the block; distinct within a request, counted from 0.
    pub slot: u16,
    /// The view.
    pub layout: Arc<ViewLayout>,
    /// Slots of the layout that will be read; a store may ignore the rest.
    pub features: Arc<[u16]>,
    /// What is wanted of each key.
    pub shape: ReadShape,
}

impl ViewRead {
    /// All features in use of a view's newest row.
    pub fn all(slot: u16, layout: Arc<ViewLayout>) -> Self {
        let features = layout.active_slots().collect();
        Self {
            slot,
            layout,
            features,
            shape: ReadShape::Latest,
        }
    }
}

/// What is wanted of each key; more shapes (ranges, neighbours) come as variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReadShape {
    /// The newest row.
    #[default]
    Latest,
}

/// Options of a read.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ReadOptions {
    /// How long the whole read may take.
    pub timeout: Option<Duration>,
    /// What happens when a part cannot be read.
    pub on_partial: OnPartial,
}

impl ReadOptions {
    /// The defaults: no deadline, an error when a part cannot be read.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the whole read may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets what happens when a part cannot be read.
    #[must_use]
    pub fn on_partial(mut self, on_partial: OnPartial) -> Self {
        self.on_partial = on_partial;
        self
    }
}

/// What happens when a part of a request cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnPartial {
    /// The read is an error.
    #[default]
    Fail,
    /// The rest is answered, the part is `unavailable`.
    Return,
}

/// The future of a read: ready without a heap allocation for stores in this process.
#[must_use = "a read does nothing unless awaited"]
pub enum ReadFuture<'a> {
    /// The answer is in the block already.
    Ready(Option<Result<()>>),
    /// The answer is on its way.
    Pending(BoxFuture<'a, Result<()>>),
}

impl ReadFuture<'_> {
    /// An answer that is there already.
    pub fn ready(result: Result<()>) -> Self {
        Self::Ready(Some(result))
    }
}

impl Debug for ReadFuture<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "ReadFuture::Ready",
            Self::Pending(_) => "ReadFuture::Pending",
        })
    }
}

impl Future for ReadFuture<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut *self {
            // Polling again after the answer is the caller's mistake; Ok would hide nothing.
            Self::Ready(result) => Poll::Ready(result.take().unwrap_or(Ok(()))),
            Self::Pending(future) => future.as_mut().poll(cx),
        }
    }
}

/// Rows of one view to be written.
#[derive(Debug, Clone)]
pub struct OnlineWrite {
    /// The view.
    pub layout: Arc<ViewLayout>,
    /// Keys, one per row; none is null.
    pub keys: Arc<EntityKeys>,
    /// Packed rows, as many as keys.
    pub rows: Arc<PackedRows>,
    /// Who wins.
    pub rule: WriteRule,
}

impl OnlineWrite {
    /// A batch under the newest-wins rule.
    pub fn new(layout: Arc<ViewLayout>, keys: Arc<EntityKeys>, rows: Arc<PackedRows>) -> Self {
        Self {
            layout,
            keys,
            rows,
            rule: WriteRule::NewestWins,
        }
    }

    /// The same batch under another rule.
    #[must_use]
    pub fn with_rule(mut self, rule: WriteRule) -> Self {
        self.rule = rule;
        self
    }
}

/// Entities of one view to be deleted.
#[derive(Debug, Clone)]
pub struct OnlineDelete {
    /// The view.
    pub layout: Arc<ViewLayout>,
    /// Keys to delete.
    pub keys: Arc<EntityKeys>,
    /// The event time of the deletion: rows with an older event stay dead.
    pub at: Micros,
    /// The present instant, which is the tombstone's created time.
    pub now: Micros,
}

/// Which row wins; merges (window tiles) come as variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WriteRule {
    /// The one with the greater `(event, created)`; the later arrival among equals.
    #[default]
    NewestWins,
    /// The one that arrives last.
    Overwrite,
}

/// Options of a write.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// How long the whole write may take.
    pub timeout: Option<Duration>,
}

/// What a write did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WriteReport {
    /// Rows that are now stored.
    pub written: u64,
    /// Rows refused because a newer one is stored.
    pub stale: u64,
}

impl WriteReport {
    /// A report.
    pub fn new(written: u64, stale: u64) -> Self {
        Self { written, stale }
    }

    /// Adds another report.
    pub fn add(&mut self, other: Self) {
        self.written += other.written;
        self.stale += other.stale;
    }
}

/// Layouts a store must be ready for.
#[derive(Debug, Clone)]
pub struct LayoutChanges {
    /// The project.
    pub project: ProjectName,
    /// Layouts that are new or changed.
    pub layouts: Vec<Arc<ViewLayout>>,
}

/// A random number written once into a store, by which a flushed or swapped store is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreIdentity(pub u128);

impl StoreIdentity {
    /// A fresh random identity.
    pub fn random() -> Self {
        Self(crate::random::u128())
    }
}

impl std::fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Debug for StoreIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Serialize for StoreIdentity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoreIdentity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// What [`OnlineStore::reclaim`] freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReclaimReport {
    /// Rows removed.
    pub rows: u64,
}

impl ReclaimReport {
    /// A report.
    pub fn new(rows: u64) -> Self {
        Self { rows }
    }
}

/// What [`OnlineStore::check`] and its siblings found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// The backend's name and version, such as `lmdb 0.9.33`.
    pub backend: String,
    /// `name: value` lines worth showing, such as sizes and settings.
    pub details: Vec<(String, String)>,
    /// Things that work now and will hurt later, each with its remedy.
    pub warnings: Vec<String>,
}

impl Health {
    /// A healthy backend.
    pub fn new(backend: impl Into<String>) -> Self {
        Self {
            backend: backend.into(),
            ..Self::default()
        }
    }

    /// Adds a line worth showing.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.details.push((name.into(), value.to_string()));
        self
    }

    /// Adds a warning with its remedy.
    #[must_use]
    pub fn warning(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
    }
}
