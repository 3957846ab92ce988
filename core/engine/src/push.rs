//! Push: rows go to the source's history, to the online values, or to both.
//!
//! Reads top to bottom: find the views, check every row of the whole batch, stamp created times,
//! append offline, write online, report each side. Rows pass the same shaping as materialization.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use larder_base::error::suggest;
use larder_base::model::{Catalog, FeatureView};
use larder_base::{
    Diagnostic, EntityKeys, Error, ErrorKind, FeatureName, JoinKey, Micros, OnlineStore, Result, Snapshot,
    Span, StoreName, ViewName, WriteReport,
};
use larder_core::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use larder_core::arrow::compute::filter::filter_record_batch;
use larder_core::arrow::datatypes::{Field, Schema};
use larder_core::convert::{SourceColumns, concat_rows, encode_keys, infer_type};
use larder_core::{OfflineOptions, ViewScan};
use serde::Serialize;

use crate::guard::Deed;
use crate::ingest::{Shaper, Table};
use crate::store::FeatureStore;
use crate::writes::{Outlet, Pipe, WriteLimits};

/// How far ahead of the clock an event may be.
pub const MAX_FUTURE: Span = Span::minutes(5);
/// Rows that are packed at once.
const AT_ONCE: usize = 16_384;

/// Where pushed rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PushTarget {
    /// Only to the online values.
    #[default]
    Online,
    /// Only to the source's history.
    Offline,
    /// First to the history, then to the online values.
    Both,
}

/// Rows to be pushed; see [`FeatureStore::push`].
#[derive(Debug, Clone)]
#[must_use = "rows are pushed by `run`"]
pub struct Push {
    store: FeatureStore,
    source: String,
    rows: Vec<RecordBatch>,
    target: PushTarget,
    dead_letter: bool,
    max_future: Span,
}

/// What a push did.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct PushReport {
    /// Rows given.
    pub rows: u64,
    /// Rows appended to the history.
    pub appended: u64,
    /// What was written online, per view.
    pub views: Vec<PushedView>,
    /// Rows that were refused, where a dead letter was asked for.
    pub refused: Vec<RefusedRow>,
    /// The refused rows with a column `reason`.
    #[serde(skip)]
    pub dead: Option<RecordBatch>,
}

/// What a push wrote online for one view.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PushedView {
    /// The view.
    pub view: ViewName,
    /// Rows written: the newest per key.
    pub written: u64,
    /// Rows refused because a newer one is stored.
    pub stale: u64,
}

/// A row that cannot be pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedRow {
    /// The row, from 0.
    pub row: usize,
    /// Why.
    pub reason: String,
}

impl FeatureStore {
    /// Starts a push of rows of a source, named by itself or by one of its views.
    pub fn push(&self, source: impl Into<String>) -> Push {
        Push {
            store: self.clone(),
            source: source.into(),
            rows: Vec::new(),
            target: PushTarget::default(),
            dead_letter: false,
            max_future: MAX_FUTURE,
        }
    }
}

impl Push {
    /// Adds rows with the columns of the source.
    pub fn rows(mut self, rows: impl IntoIterator<Item = RecordBatch>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Sets where the rows go; only online where nothing is said.
    pub fn to(mut self, target: PushTarget) -> Self {
        self.target = target;
        self
    }

    /// Pushes the good rows and hands the bad ones back, instead of refusing all.
    pub fn dead_letter(mut self, wanted: bool) -> Self {
        self.dead_letter = wanted;
        self
    }

    /// Sets how far ahead of the clock an event may be.
    pub fn max_future(mut self, span: Span) -> Self {
        self.max_future = span;
        self
    }

    /// Pushes.
    ///
    /// # Errors
    /// `Input` naming rows and reasons when a row is bad and no dead letter was asked for: then
    /// nothing was written. With [`PushTarget::Both`] an error of the online side says that the
    /// history has the rows already.
    pub async fn run(self) -> Result<PushReport> {
        let store = &self.store;
        let snapshot = store.snapshot().await?;
        let views = views_of(snapshot.catalog(), &self.source)?;
        let names = views
            .iter()
            .map(|view| format!("feature_view:{}", view.name))
            .collect();
        store.allow(Deed::Write, names).await?;

        if self.target != PushTarget::Offline && views.iter().all(|view| view.online.store().is_none()) {
            return Err(
                Error::input(format!("no feature view of `{}` is served online", self.source))
                    .help("push `--to offline`, or set `online: true` on the view and apply"),
            );
        }
        let scans: Vec<ViewScan> = views
            .iter()
            .map(|view| crate::scan::scan_of(snapshot.catalog(), view, &view.features))
            .collect::<Result<_>>()?;
        let now = store.clock().now();
        let rows = stamp_created(&one_batch(&self.rows)?, &scans[0], now)?;
        let refused = refuse(&rows, &scans, now.plus(self.max_future))?;
        if !refused.is_empty() && !self.dead_letter {
            return Err(refusal(&refused, rows.num_rows()));
        }
        let mut report = PushReport {
            rows: rows.num_rows() as u64,
            ..PushReport::default()
        };
        let good = keep(&rows, &refused)?;
        if !refused.is_empty() {
            report.dead = Some(dead(&rows, &refused)?);
            report.refused = refused;
        }
        // Everything that can be wrong with the rows comes to light before the first is written.
        let mut writes = Vec::new();
        if self.target != PushTarget::Offline {
            for (view, scan) in views
                .iter()
                .zip(&scans)
                .filter(|(view, _)| view.online.store().is_some())
            {
                writes.push(prepare(store, &snapshot, view, scan, &good).await?);
            }
        }
        if self.target != PushTarget::Online {
            report.appended = append(store, &scans, &good).await?;
        }
        for prepared in writes {
            let view = prepared.view.clone();
            let written = prepared.write().await.map_err(|error| {
                let error = error.with("view", &view);
                match self.target {
                    PushTarget::Both => error.with("appended_offline", report.appended),
                    _ => error,
                }
            })?;
            report.views.push(PushedView {
                view,
                written: written.written,
                stale: written.stale,
            });
        }
        Ok(report)
    }
}

/// The views that a source feeds; or one view, by its own name.
fn views_of(catalog: &Catalog, name: &str) -> Result<Vec<Arc<FeatureView>>> {
    if let Some(source) = catalog.sources.get(name) {
        let views: Vec<_> = catalog
            .feature_views
            .values()
            .filter(|v| v.source == source.name)
            .cloned()
            .collect();
        if views.is_empty() {
            return Err(Error::input(format!("no feature view uses source `{name}`")));
        }
        return Ok(views);
    }
    if let Some(view) = catalog.feature_views.get(name) {
        return Ok(vec![view.clone()]);
    }
    let known = catalog
        .sources
        .keys()
        .map(AsRef::as_ref)
        .chain(catalog.feature_views.keys().map(AsRef::as_ref));
    Err(
        Error::not_found(format!("there is no source or feature view `{name}`"))
            .help(suggest(name, known.collect::<Vec<_>>())),
    )
}

fn one_batch(batches: &[RecordBatch]) -> Result<RecordBatch> {
    if batches.is_empty() {
        return Err(Error::input("there are no rows to push"));
    }
    concat_rows(batches).map_err(|error| Error::input(format!("the rows to push: {}", error.message())))
}

/// Gives rows without a created time the present one, before any store sees them.
fn stamp_created(rows: &RecordBatch, scan: &ViewScan, now: Micros) -> Result<RecordBatch> {
    let Some(created) = &scan.source.created_time else {
        return Ok(rows.clone());
    };
    let stamps = match rows.column_by_name(&created.column) {
        None => TimestampMicrosecondArray::from(vec![now.0; rows.num_rows()]),
        Some(column) if column.null_count() == 0 => return Ok(rows.clone()),
        Some(_) => {
            let known = SourceColumns::new(scan)?.created(rows, "the rows to push")?;
            let known = known.ok_or_else(|| Error::internal("a created time that is there is missing"))?;
            known.iter().map(|time| Some(time.unwrap_or(now.0))).collect()
        }
    };
    let (schema, mut columns, _) = rows.clone().into_parts();
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    if let Some((index, _)) = schema.column_with_name(&created.column) {
        fields.remove(index);
        columns.remove(index);
    }
    let stamps: ArrayRef = Arc::new(stamps.with_timezone("UTC"));
    fields.push(Arc::new(Field::new(
        &created.column,
        stamps.data_type().clone(),
        true,
    )));
    columns.push(stamps);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal("created times could not be added").source(error))
}

/// Every bad row with its reason. Missing columns and wrong types are errors of the whole batch.
fn refuse(rows: &RecordBatch, scans: &[ViewScan], latest: Micros) -> Result<Vec<RefusedRow>> {
    let mut reasons: BTreeMap<usize, String> = BTreeMap::new();
    for scan in scans {
        let columns = SourceColumns::new(scan)?;
        let place = "the rows to push";
        columns.check(rows.schema_ref(), place)?;
        let event = columns.event(rows, place)?;
        let keys = columns.keys(rows, place)?;
        columns.features(rows, place)?;
        let join_keys: Vec<JoinKey> = scan.keys.iter().map(|key| key.key.clone()).collect();
        let mut encoded = EntityKeys::new();
        // One look at all rows; only where a key cannot be encoded, row by row.
        let all_fit = encode_keys(&join_keys, &keys, rows.num_rows(), &mut encoded).is_ok();
        let fits = |row: usize| {
            let key: Vec<ArrayRef> = keys.iter().map(|column| column.slice(row, 1)).collect();
            encode_keys(&join_keys, &key, 1, &mut EntityKeys::new())
        };
        for row in 0..rows.num_rows() {
            let null_key = scan
                .keys
                .iter()
                .zip(&keys)
                .find(|(_, column)| column.is_null(row));
            let reason = if let Some((key, _)) = null_key {
                format!("join key `{}` is null", key.key.name)
            } else if event.is_null(row) {
                format!("event time `{}` is null", scan.source.event_time)
            } else if event.value(row) > latest.0 {
                format!("event time {} is in the future", Micros(event.value(row)))
            } else if !all_fit && let Err(error) = fits(row) {
                error.message().to_owned()
            } else {
                continue;
            };
            reasons.entry(row).or_insert(reason);
        }
    }
    Ok(reasons
        .into_iter()
        .map(|(row, reason)| RefusedRow { row, reason })
        .collect())
}

fn refusal(refused: &[RefusedRow], rows: usize) -> Error {
    let shown = refused
        .iter()
        .take(20)
        .map(|bad| Diagnostic::new(format!("row {}: {}", bad.row, bad.reason)));
    let what = format!("the {rows} rows to push ({} bad)", refused.len());
    Error::from_diagnostics(ErrorKind::Input, &what, shown.collect())
        .help("nothing was written; mend the rows, or set them aside with `--dead-letter FILE`; rows are counted from 0")
}

fn keep(rows: &RecordBatch, refused: &[RefusedRow]) -> Result<RecordBatch> {
    let mut mask = vec![true; rows.num_rows()];
    refused.iter().for_each(|bad| mask[bad.row] = false);
    filter_record_batch(rows, &BooleanArray::from(mask))
        .map_err(|error| Error::internal("rows could not be set aside").source(error))
}

fn dead(rows: &RecordBatch, refused: &[RefusedRow]) -> Result<RecordBatch> {
    let mut mask = vec![false; rows.num_rows()];
    refused.iter().for_each(|bad| mask[bad.row] = true);
    let bad = filter_record_batch(rows, &BooleanArray::from(mask))
        .map_err(|error| Error::internal("rows could not be set aside").source(error))?;
    let reasons: StringArray = refused.iter().map(|bad| Some(bad.reason.as_str())).collect();
    let (schema, mut columns, _) = bad.into_parts();
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("reason", reasons.data_type().clone(), false)));
    columns.push(Arc::new(reasons));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal("rows could not be set aside").source(error))
}

/// Appends the rows to the source once, with the columns of all of its views.
async fn append(store: &FeatureStore, scans: &[ViewScan], rows: &RecordBatch) -> Result<u64> {
    let mut whole = scans[0].clone();
    for scan in &scans[1..] {
        for key in scan
            .keys
            .iter()
            .filter(|key| !whole.keys.iter().any(|known| known.column == key.column))
            .cloned()
            .collect::<Vec<_>>()
        {
            whole = whole.key(key.key, key.column);
        }
        for feature in &scan.features {
            if !whole.features.iter().any(|known| known.column == feature.column) {
                whole.features.push(feature.clone());
            }
        }
    }
    // What the history has and no view uses yet must not become null because of that: tie-breaks,
    // and columns of tomorrow's features.
    let offline = store.store_of(&whole.source).await?;
    let known = offline.schema(&whole.source).await.ok();
    for (number, field) in rows.schema_ref().fields().iter().enumerate() {
        let name = field.name();
        let source = &whole.source;
        let used = whole.keys.iter().any(|key| key.column == *name)
            || whole.features.iter().any(|feature| feature.column == *name)
            || source.event_time == *name
            || source
                .created_time
                .as_ref()
                .is_some_and(|created| created.column == *name);
        let wanted = source.tie_break.contains(name)
            || known
                .as_ref()
                .is_some_and(|schema| schema.field_with_name(name).is_ok());
        if used || !wanted {
            continue;
        }
        match infer_type(field.data_type()) {
            Some(of) => whole = whole.feature(FeatureName::new(format!("__column_{number}"))?, of, name),
            None => {
                return Err(Error::input(format!(
                    "column `{name}` of type {} cannot be appended",
                    field.data_type()
                ))
                .help("leave it out of the rows to push"));
            }
        }
    }
    let batch = SourceColumns::new(&whole)?.batch(rows, "the rows to push")?;
    offline
        .append(
            &whole,
            stream::iter([Ok(batch)]).boxed(),
            &OfflineOptions::default(),
        )
        .await
}

/// Packed rows on their way to one view, written as those of a materialization are.
struct Prepared {
    view: ViewName,
    online: Arc<dyn OnlineStore>,
    tables: Vec<Table>,
    rows: u64,
}

async fn prepare(
    store: &FeatureStore,
    snapshot: &Snapshot,
    view: &FeatureView,
    scan: &ViewScan,
    rows: &RecordBatch,
) -> Result<Prepared> {
    let layout = snapshot.layout(view.name.as_str()).ok_or_else(|| {
        Error::internal(format!(
            "feature view `{}` is online and has no layout",
            view.name
        ))
    })?;
    let online = store
        .online_store(&view.online.store().unwrap_or_else(StoreName::default_store))
        .await?;
    // A source without created times has none to stamp: a row stamped online only would beat the
    // same row of the history for ever, and a backfill of a new feature could not replace it.
    let batch = SourceColumns::new(scan)?.batch(rows, "the rows to push")?;
    let mut shaper = Shaper::new(layout, scan)?;
    let mut tables = Vec::new();
    for start in (0..batch.num_rows()).step_by(AT_ONCE) {
        let part = batch.slice(start, AT_ONCE.min(batch.num_rows() - start));
        tables.extend(shaper.take(&part)?);
    }
    tables.extend(shaper.finish());
    Ok(Prepared {
        view: view.name.clone(),
        online: online.clone(),
        tables,
        rows: batch.num_rows() as u64,
    })
}

impl Prepared {
    async fn write(self) -> Result<WriteReport> {
        let outlet = Outlet::new(self.online, WriteLimits::default());
        let mut pipe = Pipe::new(outlet.clone());
        for table in self.tables {
            pipe.send(table).await?;
        }
        pipe.finish().await?;
        let report = outlet.report();
        // Rows of the batch that a newer row of the same batch replaced are stale, too.
        let unique = report.written + report.stale;
        Ok(WriteReport::new(
            report.written,
            report.stale + self.rows.saturating_sub(unique),
        ))
    }
}
