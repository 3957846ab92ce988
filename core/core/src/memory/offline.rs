//! The offline store in memory: batches by source name, joined by the kernel.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use larder_base::model::Source;
use larder_base::plugin::{Plugin, Role, SourceKind};
use larder_base::{BuildContext, Error, Health, Micros, Result};
use parking_lot::RwLock;
use serde::Deserialize;

use crate::compact::{CompactOptions, CompactReport};
use crate::convert::{SourceColumns, Zone, concat_rows, tie_rows};
use crate::offline::{
    BatchStream, EntityRows, HistoricalRead, JoinedBatch, JoinedStream, JoinedView, LatestRead,
    OfflineCapabilities, OfflineOptions, OfflineStore, RangeRead, ViewJoin, ViewScan,
};
use crate::pit;
use crate::plugin_offline::OfflineStoreConfig;
use crate::report::{Explanation, JoinReport, ReadStats, ViewExplanation, ViewReport};

const BATCH_ROWS: usize = 65_536;

/// The offline store in memory. Tables are found by the source's *name*, whatever its type, so
/// that a project's own definitions can be tested on it.
#[derive(Debug, Default)]
pub struct MemoryOffline {
    tables: RwLock<BTreeMap<String, Vec<RecordBatch>>>,
}

impl MemoryOffline {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds rows to a source's table; columns are named as in the source's data.
    pub fn insert(&self, source: impl Into<String>, rows: RecordBatch) {
        self.tables.write().entry(source.into()).or_default().push(rows);
    }

    /// Puts rows in the place of all that a source's table has.
    pub fn replace(&self, source: impl Into<String>, rows: RecordBatch) {
        self.tables.write().insert(source.into(), vec![rows]);
    }

    /// All rows of a source's table, in their order; none where there is no table, or its batches do not fit together.
    pub fn whole(&self, source: &str) -> Option<RecordBatch> {
        concat_rows(self.tables.read().get(source)?).ok()
    }

    /// The table of a source as one batch.
    fn table(&self, source: &Source) -> Result<RecordBatch> {
        let tables = self.tables.read();
        let batches = tables
            .get(source.name.as_str())
            .filter(|batches| !batches.is_empty())
            .ok_or_else(|| {
                Error::not_found(format!(
                    "the memory store has no rows for source `{}`",
                    source.name
                ))
                .help("give it some with `MemoryOffline::insert` or, in tests, `given`")
            })?;
        concat_rows(batches).map_err(|error| error.with("source", &source.name))
    }

    /// The table, or none where nothing was given: a source without rows is no mistake in a read.
    fn table_if_any(&self, source: &Source) -> Result<Option<RecordBatch>> {
        if self.tables.read().contains_key(source.name.as_str()) {
            self.table(source).map(Some)
        } else {
            Ok(None)
        }
    }

    fn rows(&self, scan: &ViewScan, keep: impl Fn(Micros, Option<Micros>) -> bool) -> Result<BatchStream> {
        let Some(table) = self.table_if_any(&scan.source)? else {
            return Ok(stream::empty().boxed());
        };
        let columns = SourceColumns::new(scan)?;
        let place = format!("memory table {}", scan.source.name);
        let event = columns.event(&table, &place)?;
        let created = columns.created(&table, &place)?;
        let batch = columns.batch(&table, &place)?;
        let keys = &batch.columns()[..scan.keys.len()];
        let mask = (0..table.num_rows()).map(|row| {
            let created = created
                .as_ref()
                .and_then(|c| c.is_valid(row).then(|| Micros(c.value(row))));
            Some(
                event.is_valid(row)
                    && keys.iter().all(|key| key.is_valid(row))
                    && keep(Micros(event.value(row)), created),
            )
        });
        let kept = filter_record_batch(&batch, &mask.collect()).map_err(arrow)?;
        Ok(stream::iter(slices(&kept).map(Ok).collect::<Vec<_>>()).boxed())
    }
}

fn slices(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    (0..rows)
        .step_by(BATCH_ROWS)
        .map(move |start| batch.slice(start, BATCH_ROWS.min(rows - start)))
}

fn arrow(error: arrow_schema::ArrowError) -> Error {
    Error::internal("an Arrow kernel failed").source(error)
}

fn kernel(error: pit::PitError) -> Error {
    Error::internal("the point-in-time kernel refused its input").source(error)
}

/// One view joined in memory: its features per entity row.
fn join(
    table: Option<&RecordBatch>,
    view: &ViewJoin,
    index: Arc<pit::SpineIndex>,
) -> Result<(JoinedView, ViewReport)> {
    let columns = SourceColumns::new(&view.scan)?;
    let place = format!("memory table {}", view.scan.source.name);
    let mut accumulator = pit::ViewJoin::new(index, view.rule()).map_err(kernel)?;
    if let Some(table) = table {
        let keys = columns.keys(table, &place)?;
        let event = columns.event(table, &place)?;
        let created = columns.created(table, &place)?;
        let tie = tie_rows(&columns.tie_break(table, &place)?)?;
        let batch = pit::SourceBatch::new(&keys, pit::Times::from(&event), pit::Positions::From(0))
            .with_created(created.as_ref().map(pit::Times::from))
            .with_tie_break(tie.as_ref());
        accumulator.probe(&batch).map_err(kernel)?;
    }
    let winners = accumulator.resolve();
    let rows = winners.len();
    let features = match table {
        Some(table) => {
            let take_rows: UInt32Array = (0..rows)
                .map(|row| {
                    winners
                        .position(row)
                        .and_then(|position| u32::try_from(position).ok())
                })
                .collect();
            let features = columns.features(table, &place)?;
            features
                .iter()
                .map(|feature| take(feature, &take_rows, None).map_err(arrow))
                .collect::<Result<_>>()?
        }
        None => view
            .scan
            .features
            .iter()
            .map(|f| crate::convert::null_array(f.value_type, rows))
            .collect(),
    };
    let source_rows = table.map_or(0, |table| table.num_rows() as u64);
    let report = ViewReport::new(&view.scan.view, winners.counts(), source_rows);
    Ok((
        JoinedView {
            features,
            event: winners.event_array(),
            created: winners.created_array(),
        },
        report,
    ))
}

#[async_trait]
impl OfflineStore for MemoryOffline {
    fn capabilities(&self) -> OfflineCapabilities {
        OfflineCapabilities {
            ordered_source: true,
            append: true,
            compact: true,
            range: true,
            explain: true,
            entity_files: false,
            cancels_server_side: false,
        }
    }

    async fn schema(&self, source: &Arc<Source>) -> Result<SchemaRef> {
        Ok(self.table(source)?.schema())
    }

    async fn historical(&self, request: HistoricalRead, options: &OfflineOptions) -> Result<JoinedStream> {
        let EntityRows::Batches { keys, times } = &request.rows else {
            return Err(Error::unsupported(
                "the memory store joins entity rows in memory only",
            ));
        };
        let mut report = JoinReport::default();
        let mut views = Vec::new();
        for view in &request.views {
            let spine: Vec<ArrayRef> = view.spine_keys.iter().map(|key| keys[*key].clone()).collect();
            let index = Arc::new(pit::SpineIndex::build(&spine, times.values()).map_err(kernel)?);
            let table = self.table_if_any(&view.scan.source)?;
            let (joined, counted) = join(table.as_ref(), view, index)?;
            report.views.push(counted);
            views.push(joined);
        }
        let rows = times.len();
        let step = options.batch_rows.unwrap_or(BATCH_ROWS).max(1);
        let batches = (0..rows)
            .step_by(step)
            .map(move |start| Ok(slice(&views, start, step.min(rows - start))));
        Ok(JoinedStream {
            batches: stream::iter(batches).boxed(),
            report: Arc::new(parking_lot::Mutex::new(report)),
        })
    }

    async fn latest(&self, request: LatestRead, _options: &OfflineOptions) -> Result<BatchStream> {
        self.rows(&request.scan, |event, created| request.takes(event, created))
    }

    async fn range(&self, request: RangeRead, _options: &OfflineOptions) -> Result<BatchStream> {
        self.rows(&request.scan, |event, _| {
            event >= request.from && event <= request.until
        })
    }

    async fn append(&self, scan: &ViewScan, rows: BatchStream, _options: &OfflineOptions) -> Result<u64> {
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let renamed: Vec<RecordBatch> = batches
            .iter()
            .map(|batch| scan.to_source(batch))
            .collect::<Result<_>>()?;
        let count = renamed.iter().map(|batch| batch.num_rows() as u64).sum();
        let mut tables = self.tables.write();
        let table = tables.entry(scan.source.name.to_string()).or_default();
        let mut whole = table.clone();
        whole.extend(renamed);
        let zone = scan.source.timezone.as_deref().map(Zone::new).transpose()?;
        *table = conform(&whole, zone.as_ref())?;
        Ok(count)
    }

    async fn compact(&self, source: &Arc<Source>, options: &CompactOptions) -> Result<CompactReport> {
        let mut tables = self.tables.write();
        let mut report = CompactReport::default();
        let Some(table) = tables.get_mut(source.name.as_str()) else {
            return Ok(report);
        };
        report.files = table.len() as u64;
        if table.len() < 2 {
            return Ok(report);
        }
        let whole = concat_rows(table)?;
        (report.merged, report.made) = (table.len() as u64, 1);
        report.rows = whole.num_rows() as u64;
        if !options.dry_run {
            *table = vec![whole];
        }
        Ok(report)
    }

    async fn explain(&self, request: &HistoricalRead, _: &OfflineOptions) -> Result<Explanation> {
        let views = request
            .views
            .iter()
            .map(|view| ViewExplanation::new(&view.scan.view, ReadStats::default(), vec![]));
        Ok(Explanation {
            views: views.collect(),
            ..Explanation::default()
        })
    }

    async fn takes_file(&self, _: &Arc<Source>, _: &Path) -> Result<bool> {
        Ok(false)
    }

    async fn check(&self) -> Result<Health> {
        let tables = self.tables.read();
        let rows: usize = tables.values().flatten().map(RecordBatch::num_rows).sum();
        Ok(Health::new("memory")
            .detail("tables", tables.len())
            .detail("rows", rows))
    }
}

fn slice(views: &[JoinedView], start: usize, rows: usize) -> JoinedBatch {
    let views = views.iter().map(|view| JoinedView {
        features: view
            .features
            .iter()
            .map(|feature| feature.slice(start, rows))
            .collect(),
        event: view.event.slice(start, rows),
        created: view.created.slice(start, rows),
    });
    JoinedBatch {
        rows,
        views: views.collect(),
    }
}

/// Batches with one schema: all columns of all of them, in the types of the first that has each,
/// null where a batch has none.
fn conform(batches: &[RecordBatch], zone: Option<&Zone>) -> Result<Vec<RecordBatch>> {
    let mut fields: Vec<arrow_schema::Field> = Vec::new();
    for field in batches
        .iter()
        .flat_map(|batch| batch.schema_ref().fields().iter())
    {
        if !fields.iter().any(|known| known.name() == field.name()) {
            fields.push(field.as_ref().clone().with_nullable(true));
        }
    }
    let schema = Arc::new(arrow_schema::Schema::new(fields));
    let conformed = batches.iter().map(|batch| {
        let columns = schema
            .fields()
            .iter()
            .map(|field| match batch.column_by_name(field.name()) {
                Some(column) => cast_exactly(column, field, zone),
                None => Ok(arrow_array::new_null_array(field.data_type(), batch.num_rows())),
            });
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_>>()?, &options)
            .map_err(arrow)
    });
    conformed.collect()
}

/// The column in the type of a field; an error where that would change a value.
fn cast_exactly(column: &ArrayRef, field: &arrow_schema::Field, zone: Option<&Zone>) -> Result<ArrayRef> {
    use arrow_array::cast::AsArray;
    use arrow_array::types::TimestampMicrosecondType;
    use arrow_schema::DataType::Timestamp;

    if column.data_type() == field.data_type() {
        return Ok(column.clone());
    }
    let refused = || {
        Error::input(format!(
            "column `{}` is {} in the table and cannot take these values of type {}",
            field.name(),
            field.data_type(),
            column.data_type()
        ))
    };
    // A table with naive times holds them in the zone that the source declares.
    let local = match (column.data_type(), field.data_type(), zone) {
        (Timestamp(_, Some(_)), Timestamp(_, None), Some(zone)) => {
            let utc = column
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(refused)?;
            let local = utc.unary_opt::<_, TimestampMicrosecondType>(|utc| zone.to_local(utc));
            Some(Arc::new(local) as ArrayRef)
        }
        _ => None,
    };
    let column = local.as_ref().unwrap_or(column);
    let cast = arrow_cast::cast(column, field.data_type()).map_err(|error| refused().source(error))?;
    let back = arrow_cast::cast(&cast, column.data_type()).map_err(|error| refused().source(error))?;
    if back.as_ref() == column.as_ref() {
        Ok(cast)
    } else {
        Err(refused())
    }
}

impl ViewScan {
    /// Rows of [`ViewScan::schema`] with the column names of the source, for appending.
    ///
    /// # Errors
    /// `Internal` when the batch has another schema.
    pub fn to_source(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let keys = self.keys.len();
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        let mut put = |name: &str, column: &ArrayRef| {
            if !columns.iter().any(|(known, _)| known == name) {
                columns.push((name.to_owned(), column.clone()));
            }
        };
        for (i, key) in self.keys.iter().enumerate() {
            put(&key.column, batch.column(i));
        }
        put(&self.source.event_time, batch.column(keys));
        if let Some(created) = &self.source.created_time {
            put(&created.column, batch.column(keys + 1));
        }
        for (i, feature) in self.features.iter().enumerate() {
            put(&feature.column, batch.column(keys + 2 + i));
        }
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .map_err(arrow)
    }
}

/// Descriptor of the offline store in memory.
pub static OFFLINE_PLUGIN: Plugin = Plugin {
    role: Role::Offline,
    name: "memory",
    summary: "Rows in the memory of one process; gone when it ends. For tests.",
    example: "offline: { type: memory }",
    capabilities: &["ordered_source", "append", "compact", "range", "explain"],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "",
    docs: "",
    sources: &[SourceKind {
        name: "memory",
        options: &[],
    }],
};

/// `offline: { type: memory }`
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryOfflineConfig {}

#[typetag::deserialize(name = "memory")]
#[async_trait]
impl OfflineStoreConfig for MemoryOfflineConfig {
    async fn build(&self, _cx: &BuildContext) -> Result<Arc<dyn OfflineStore>> {
        Ok(Arc::new(MemoryOffline::new()))
    }
}
