//! What an offline store must do: point-in-time joins, the newest rows, ranges, appends.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::stream::BoxStream;
use larder_base::model::{Knowledge, Source};
use larder_base::{Error, FeatureName, Health, JoinKey, Micros, Result, Span, ValueType, ViewName};
use serde::{Deserialize, Serialize};

use crate::compact::{CompactOptions, CompactReport};
use crate::progress::Progress;
use crate::report::{Explanation, SharedReport};

/// A stream of record batches that all have one schema.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// The history of features, by source.
///
/// # The point-in-time rule
/// For an entity row with keys `k` and time `T`, and a view with ttl `D` on rows with keys, event
/// time `e` and created time `c`:
/// 1. candidates have equal keys, `e + available_after <= T`, and `e >= T - D` where a ttl is set;
/// 2. the winner has the largest `e`, then the largest `c` (absent is smallest), then the largest
///    `tie_break` columns, then the last place in the source's order (path, row);
/// 3. with `knowledge: as_of` a candidate also needs `c <= T`, where an absent or untrusted `c`
///    counts as known at `e`;
/// 4. a null key or a null event time matches nothing;
/// 5. a null feature of the winner is null; older rows are never asked;
/// 6. rows out = rows in, in input order, duplicates kept.
///
/// Every method is required. What a store cannot do it declares absent in
/// [`OfflineStore::capabilities`] and answers with `Unsupported`.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use larder_core::*;
/// # use larder_core::memory::MemoryOffline;
/// # use larder_core::arrow::array::*;
/// # use futures::TryStreamExt;
/// # futures::executor::block_on(async {
/// let source: model::Source = serde_json::from_str(
///     r#"{ "name": "orders", "type": "memory", "event_time": "at", "timezone": "UTC" }"#,
/// ).unwrap();
/// let store = MemoryOffline::new();
/// store.insert("orders", RecordBatch::try_from_iter([
///     ("user_id", Arc::new(Int64Array::from(vec![7, 7])) as ArrayRef),
///     ("at", Arc::new(TimestampMicrosecondArray::from(vec![10, 20])) as ArrayRef),
///     ("total", Arc::new(Float64Array::from(vec![1.5, 2.5])) as ArrayRef),
/// ]).unwrap());
///
/// let key = JoinKey { name: ColumnName::new("user_id")?, value_type: ValueType::INT64 };
/// let scan = ViewScan::new(ViewName::new("orders")?, Arc::new(source))
///     .key(key, "user_id")
///     .feature(FeatureName::new("total")?, ValueType::FLOAT64, "total");
/// let spine = EntityRows::batches(
///     vec![Arc::new(Int64Array::from(vec![7, 7, 8]))],
///     TimestampMicrosecondArray::from(vec![15, 25, 15]),
/// );
/// let request = HistoricalRead { rows: spine, views: vec![ViewJoin::new(scan, vec![0])] };
/// let mut joined = store.historical(request, &OfflineOptions::default()).await?;
/// let batch = joined.batches.try_next().await?.unwrap();
/// let total = batch.views[0].features[0].as_primitive::<larder_core::arrow::datatypes::Float64Type>();
/// assert_eq!((total.value(0), total.value(1), total.is_null(2)), (1.5, 2.5, true));
/// # Ok::<(), Error>(()) }).unwrap();
/// ```
#[async_trait]
pub trait OfflineStore: Debug + Send + Sync + 'static {
    /// What the store can do. Constant for the life of the object.
    fn capabilities(&self) -> OfflineCapabilities;

    /// The columns of a source as the data has them, before renames and coercion.
    ///
    /// **Errors**: `NotFound` when there is no data, `Input` when files disagree, naming both.
    async fn schema(&self, source: &Arc<Source>) -> Result<SchemaRef>;

    /// Joins every view to the entity rows by the point-in-time rule above.
    ///
    /// **Contract**: batches come in row order and together have exactly the rows of the request.
    /// The report is complete when the stream has ended.
    ///
    /// **Cancellation**: dropping the stream stops the work.
    ///
    /// **Errors**: `Input` naming source, file and column for data that does not fit; `Corrupt`
    /// for damaged files; never a short answer.
    async fn historical(&self, request: HistoricalRead, options: &OfflineOptions) -> Result<JoinedStream>;

    /// At least the newest row per key among the rows in the window; older ones may come too.
    ///
    /// **Contract**: rows have the schema of [`ViewScan::schema`]; rows with a null key or a null
    /// event time are left out.
    async fn latest(&self, request: LatestRead, options: &OfflineOptions) -> Result<BatchStream>;

    /// All rows of a view with an event time in an interval, in no particular order.
    async fn range(&self, request: RangeRead, options: &OfflineOptions) -> Result<BatchStream>;

    /// Appends rows whose columns are named and typed as in [`ViewScan::schema`], renamed to the
    /// source's columns by the store. All or nothing; returns the number of rows.
    ///
    /// **Errors**: after an error nothing was appended.
    async fn append(&self, scan: &ViewScan, rows: BatchStream, options: &OfflineOptions) -> Result<u64>;

    /// Merges what many small [`OfflineStore::append`]s left behind, so that reading costs less.
    ///
    /// **Contract**: every read, before, during and after, finds each row exactly once, and point-in-time joins answer the
    /// same, full ties included where the store has an order. What others wrote stays as it is. A second run on the same
    /// data finds nothing to do. A killed one, or several at once, do no harm.
    ///
    /// **Errors**: `Conflict` where another one is under way; `Unsupported` for sources that take no rows.
    async fn compact(&self, source: &Arc<Source>, options: &CompactOptions) -> Result<CompactReport>;

    /// What [`OfflineStore::historical`] would read, and why it would not read the rest.
    async fn explain(&self, request: &HistoricalRead, options: &OfflineOptions) -> Result<Explanation>;

    /// Whether a file of this machine, which need not exist yet, is data of a source or would be. So nobody writes
    /// results where the next read would take them for input. A store that keeps no files answers `false`.
    ///
    /// `file` is an absolute path; folders of it that are links are followed.
    async fn takes_file(&self, source: &Arc<Source>, file: &Path) -> Result<bool>;

    /// Whether the store can be reached and used now.
    async fn check(&self) -> Result<Health>;
}

/// What an offline store can do: flat flags; `Default` is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OfflineCapabilities {
    /// Full ties are decided by the source's own order of rows, the last one wins.
    pub ordered_source: bool,
    /// [`OfflineStore::append`] works.
    pub append: bool,
    /// [`OfflineStore::compact`] works.
    pub compact: bool,
    /// [`OfflineStore::range`] works.
    pub range: bool,
    /// [`OfflineStore::explain`] works.
    pub explain: bool,
    /// [`EntityRows::Files`] are taken, and [`OfflineOptions::memory_limit`] is kept.
    pub entity_files: bool,
    /// Dropping a stream stops work on a server, too.
    pub cancels_server_side: bool,
}

impl OfflineCapabilities {
    /// Names of the flags that are set, for tables and reports.
    pub fn names(&self) -> Vec<&'static str> {
        [
            ("ordered_source", self.ordered_source),
            ("append", self.append),
            ("compact", self.compact),
            ("range", self.range),
            ("explain", self.explain),
            ("entity_files", self.entity_files),
            ("cancels_server_side", self.cancels_server_side),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect()
    }
}

/// Options of offline work.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OfflineOptions {
    /// Rows per batch of the answer; the store's choice where absent.
    pub batch_rows: Option<usize>,
    /// Threads to use; all cores where absent.
    pub threads: Option<usize>,
    /// Where the work tells how far it is.
    pub progress: Option<Progress>,
    /// Bytes of memory that a join may use, its answer in flight included; the store's own setting
    /// where absent. A join that would need more spills to disk instead.
    pub memory_limit: Option<u64>,
    /// Where a join spills; the store's own setting, or the system's temporary folder, where absent.
    pub spill_dir: Option<PathBuf>,
}

impl OfflineOptions {
    /// Sets the bytes of memory that a join may use.
    #[must_use]
    pub fn with_memory_limit(mut self, bytes: Option<u64>) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Sets where a join spills.
    #[must_use]
    pub fn with_spill_dir(mut self, folder: Option<PathBuf>) -> Self {
        self.spill_dir = folder;
        self
    }

    /// Sets where the work tells how far it is.
    #[must_use]
    pub fn with_progress(mut self, progress: Option<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Sets the rows per batch of the answer.
    #[must_use]
    pub fn with_batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = Some(rows);
        self
    }

    /// Sets the number of threads.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }
}

/// What a store reads of a source for one view: columns by their declared names and types.
#[derive(Debug, Clone)]
pub struct ViewScan {
    /// The view, for messages and reports.
    pub view: ViewName,
    /// The source.
    pub source: Arc<Source>,
    /// Join keys in canonical order (by name), each with its column in the source.
    pub keys: Vec<ScanKey>,
    /// Features in the order wanted, each with its column in the source.
    pub features: Vec<ScanFeature>,
}

/// A join key in a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanKey {
    /// Name and declared type.
    pub key: JoinKey,
    /// Column in the source.
    pub column: String,
}

/// A feature in a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanFeature {
    /// Name.
    pub name: FeatureName,
    /// Declared type.
    pub value_type: ValueType,
    /// Column in the source.
    pub column: String,
}

/// Name of the event-time column in batches of [`ViewScan::schema`].
pub const EVENT_COLUMN: &str = "__event_time";
/// Name of the created-time column in batches of [`ViewScan::schema`].
pub const CREATED_COLUMN: &str = "__created_time";

impl ViewScan {
    /// A scan without keys and features yet.
    pub fn new(view: ViewName, source: Arc<Source>) -> Self {
        Self {
            view,
            source,
            keys: Vec::new(),
            features: Vec::new(),
        }
    }

    /// Adds a join key; keys stay sorted by name.
    #[must_use]
    pub fn key(mut self, key: JoinKey, column: impl Into<String>) -> Self {
        self.keys.push(ScanKey {
            key,
            column: column.into(),
        });
        self.keys.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        self
    }

    /// Adds a feature.
    #[must_use]
    pub fn feature(mut self, name: FeatureName, value_type: ValueType, column: impl Into<String>) -> Self {
        self.features.push(ScanFeature {
            name,
            value_type,
            column: column.into(),
        });
        self
    }

    /// The schema of rows of this scan: keys, event time, created time (nullable), features, all
    /// in the canonical Arrow types of [`crate::convert::arrow_type`]; last, where the source has
    /// tie-breaks, [`crate::convert::TIE_BREAK_COLUMN`].
    pub fn schema(&self) -> SchemaRef {
        let arrow = crate::convert::arrow_type;
        let mut fields: Vec<Field> = self
            .keys
            .iter()
            .map(|k| Field::new(k.key.name.as_str(), arrow(k.key.value_type), true))
            .collect();
        fields.push(Field::new(EVENT_COLUMN, arrow(ValueType::TIMESTAMP), true));
        fields.push(Field::new(CREATED_COLUMN, arrow(ValueType::TIMESTAMP), true));
        fields.extend(
            self.features
                .iter()
                .map(|f| Field::new(f.name.as_str(), arrow(f.value_type), true)),
        );
        if !self.source.tie_break.is_empty() {
            let bytes = arrow_schema::DataType::Binary;
            fields.push(Field::new(crate::convert::TIE_BREAK_COLUMN, bytes, true));
        }
        Arc::new(Schema::new(fields))
    }
}

/// A point-in-time join.
#[derive(Debug, Clone)]
pub struct HistoricalRead {
    /// The entity rows.
    pub rows: EntityRows,
    /// The views to join, each answered in this order.
    pub views: Vec<ViewJoin>,
}

/// Entity rows reduced to keys and times; the caller's other columns stay with the engine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EntityRows {
    /// In memory: key columns in canonical Arrow types, and `T` without nulls. All columns have
    /// the same length.
    Batches {
        /// The distinct key columns that the joins refer to by index.
        keys: Vec<ArrayRef>,
        /// `T` of each row.
        times: TimestampMicrosecondArray,
    },
    /// In files that may be larger than memory.
    Files(SpineFiles),
    /// As a query of the store's own database. Part 4; stores answer `Unsupported` until then.
    Sql(String),
}

impl EntityRows {
    /// Entity rows in memory.
    pub fn batches(keys: Vec<ArrayRef>, times: TimestampMicrosecondArray) -> Self {
        Self::Batches { keys, times }
    }
}

/// Entity rows in files, one after the other. Each is an uncompressed Arrow IPC stream of the key
/// columns in canonical Arrow types, then `T` without nulls as the last column. Whoever wrote the files
/// keeps them until the stream that answers has ended or was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpineFiles {
    /// The files, in the order of their rows.
    pub paths: Vec<PathBuf>,
    /// Rows of all files together.
    pub rows: u64,
}

impl SpineFiles {
    /// Entity rows in files.
    pub fn new(paths: Vec<PathBuf>, rows: u64) -> Self {
        Self { paths, rows }
    }

    /// The columns of each file: `key0`, `key1` and so on, then `time`.
    pub fn fields(keys: &[ArrayRef]) -> Vec<Field> {
        let key =
            |(at, key): (usize, &ArrayRef)| Field::new(format!("key{at}"), key.data_type().clone(), true);
        let time = crate::convert::arrow_type(ValueType::TIMESTAMP);
        let time = Field::new("time", time, false);
        keys.iter().enumerate().map(key).chain([time]).collect()
    }

    /// Rows as the files have them: keys in canonical Arrow types, `T` in µs UTC without nulls.
    ///
    /// # Errors
    /// `Internal` for columns of different lengths, or a null in `T`.
    pub fn batch(keys: Vec<ArrayRef>, times: TimestampMicrosecondArray) -> Result<RecordBatch> {
        let schema = Arc::new(Schema::new(Self::fields(&keys)));
        let mut columns = keys;
        columns.push(Arc::new(times.with_timezone("UTC")));
        RecordBatch::try_new(schema, columns)
            .map_err(|error| Error::internal("keys and times do not fit together").source(error))
    }
}

/// One view in a join.
#[derive(Debug, Clone)]
pub struct ViewJoin {
    /// What to read.
    pub scan: ViewScan,
    /// For each key of the scan, the key column of the entity rows.
    pub spine_keys: Vec<usize>,
    /// Time to live.
    pub ttl: Option<Span>,
    /// What created time decides: the source's own mode, or the join's override.
    pub knowledge: Knowledge,
    /// Only rows that were visible at this instant take part, see [`larder_base::Interval`]: available, and
    /// created where the source says when. So a training set of that day can be made again.
    pub known_until: Option<Micros>,
}

impl ViewJoin {
    /// A join without ttl in the source's own knowledge mode.
    pub fn new(scan: ViewScan, spine_keys: Vec<usize>) -> Self {
        let knowledge = scan.source.knowledge;
        Self {
            scan,
            spine_keys,
            ttl: None,
            knowledge,
            known_until: None,
        }
    }

    /// Leaves out rows that became visible later.
    #[must_use]
    pub fn with_known_until(mut self, until: Option<Micros>) -> Self {
        self.known_until = until;
        self
    }

    /// Sets the ttl.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Option<Span>) -> Self {
        self.ttl = ttl;
        self
    }

    /// Overrides what created time decides.
    #[must_use]
    pub fn with_knowledge(mut self, knowledge: Knowledge) -> Self {
        self.knowledge = knowledge;
        self
    }
}

impl ViewJoin {
    /// The kernel's rule for this join: all stores that use the kernel ask it the same.
    pub fn rule(&self) -> crate::pit::ViewRule {
        let source = &self.scan.source;
        crate::pit::ViewRule::new()
            .with_available_after(source.available_after.0)
            .with_ttl(self.ttl.map(|ttl| ttl.0))
            .with_knowledge(match self.knowledge {
                Knowledge::AsOf => crate::pit::Knowledge::AsOf,
                _ => crate::pit::Knowledge::TieBreak,
            })
            .with_trusted_from(
                source
                    .created_time
                    .as_ref()
                    .and_then(|c| c.trusted_from)
                    .map(|t| t.0),
            )
            .with_tie_break(!source.tie_break.is_empty())
            .with_known_until(self.known_until.map(|until| until.0))
    }
}

/// The answer of a point-in-time join.
pub struct JoinedStream {
    /// Batches in row order.
    pub batches: BoxStream<'static, Result<JoinedBatch>>,
    /// Filled while the stream runs, complete when it has ended.
    pub report: SharedReport,
}

impl Debug for JoinedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinedStream")
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// Consecutive rows of a join.
#[derive(Debug, Clone)]
pub struct JoinedBatch {
    /// How many rows.
    pub rows: usize,
    /// One answer per view of the request.
    pub views: Vec<JoinedView>,
}

/// The answer of one view for the rows of a batch.
#[derive(Debug, Clone)]
pub struct JoinedView {
    /// Features in the order of the scan, in canonical Arrow types.
    pub features: Vec<ArrayRef>,
    /// The winner's event time; null where nothing matched.
    pub event: TimestampMicrosecondArray,
    /// The winner's created time.
    pub created: TimestampMicrosecondArray,
}

/// The rows of a view that became visible in a window; see [`larder_base::Interval`].
#[derive(Debug, Clone)]
pub struct LatestRead {
    /// What to read.
    pub scan: ViewScan,
    /// Only rows with `event >= floor`.
    pub floor: Micros,
    /// Only rows that became visible after this instant; [`Micros::MIN`] for all.
    pub after: Micros,
    /// Only rows whose event is available at this instant; in `as_of` mode also created by then.
    pub until: Micros,
}

impl LatestRead {
    /// Whether a row is in the window.
    ///
    /// Visible means: available (`event + available_after`), and created where the source says
    /// when. Without `as_of` a row available by `until` is taken even if it is created later,
    /// because a training join at `until` would see it, too.
    pub fn takes(&self, event: Micros, created: Option<Micros>) -> bool {
        let Some(available) = event.0.checked_add(self.scan.source.available_after.0) else {
            return false;
        };
        let trusted = self
            .scan
            .source
            .created_time
            .as_ref()
            .and_then(|c| c.trusted_from);
        let known = match created {
            Some(c) if trusted.is_none_or(|trusted| c >= trusted) => available.max(c.0),
            _ => available,
        };
        let upper = match self.scan.source.knowledge {
            Knowledge::AsOf => known,
            _ => available,
        };
        event >= self.floor && (self.after == Micros::MIN || known > self.after.0) && upper <= self.until.0
    }
}

/// All rows of a view in an interval of event time.
#[derive(Debug, Clone)]
pub struct RangeRead {
    /// What to read.
    pub scan: ViewScan,
    /// First event time, inclusive.
    pub from: Micros,
    /// Last event time, inclusive.
    pub until: Micros,
    /// Keys that the caller is after, in the order of the scan's keys and in canonical types: a hint, by
    /// which a store may leave out rows that have none of them.
    pub keys: Option<Vec<ArrayRef>>,
}

impl RangeRead {
    /// All rows in an interval, both ends inclusive.
    pub fn new(scan: ViewScan, from: Micros, until: Micros) -> Self {
        Self {
            scan,
            from,
            until,
            keys: None,
        }
    }

    /// Says which keys the caller is after.
    #[must_use]
    pub fn with_keys(mut self, keys: Option<Vec<ArrayRef>>) -> Self {
        self.keys = keys;
        self
    }
}
