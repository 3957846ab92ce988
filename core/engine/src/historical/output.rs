//! The training set that comes out: the caller's columns, features, defaults, and the report.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use larder_base::{Error, Result, ValueType, Version};
use larder_core::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar};
use larder_core::arrow::compute::concat::concat_batches;
use larder_core::arrow::compute::zip::zip;
use larder_core::arrow::datatypes::{Field, Schema, SchemaRef};
use larder_core::convert::{array_of, arrow_type};
use larder_core::{JoinedView, ReadStats, ViewReport};
use parking_lot::Mutex;
use serde::Serialize;

use super::spine::Spine;
use super::zip::{Zip, Zipped};
use crate::selection::Resolved;

/// A training set: a stream of batches in the order of the entity rows.
pub struct TrainingSet {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
    report: Arc<Mutex<HistoricalReport>>,
}

impl std::fmt::Debug for TrainingSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainingSet")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl TrainingSet {
    /// The caller's columns, then the features in order, then event times where asked for.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What was found so far; complete when the stream has ended.
    pub fn report(&self) -> HistoricalReport {
        self.report.lock().clone()
    }

    /// The whole training set as one batch.
    ///
    /// # Errors
    /// What the stream says.
    pub async fn collect(mut self) -> Result<(RecordBatch, HistoricalReport)> {
        let batches: Vec<RecordBatch> = (&mut self).try_collect().await?;
        let whole = concat_batches(&self.schema, &batches).map_err(|error| {
            Error::internal("the batches of a training set do not fit together").source(error)
        })?;
        Ok((whole, self.report()))
    }
}

impl Stream for TrainingSet {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(cx)
    }
}

/// What making a training set found.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct HistoricalReport {
    /// Version of the definitions.
    pub version: Version,
    /// Rows handed out.
    pub rows: u64,
    /// One entry per view and role.
    pub views: Vec<ViewReport>,
    /// Defaults that were filled in, per output column that has one.
    pub defaults: Vec<DefaultCount>,
    /// Files, row groups and bytes.
    pub read: ReadStats,
    /// Seconds from the call to the last batch.
    pub seconds: f64,
}

/// How often a default was filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DefaultCount {
    /// The output column.
    pub column: String,
    /// Rows that were not found or expired.
    pub filled: u64,
    /// Nulls that were filled, too.
    pub filled_null: u64,
}

/// How batches of the training set are put together.
pub(super) struct Assembly {
    resolved: Arc<Resolved>,
    schema: SchemaRef,
    /// Per output, the default as an array of one value.
    defaults: Vec<Option<ArrayRef>>,
    event_times: bool,
}

impl Assembly {
    pub(super) fn new(resolved: &Arc<Resolved>, spine: &Spine, event_times: bool) -> Result<Self> {
        let mut fields: Vec<Arc<Field>> = spine.rows.schema_ref().fields().iter().cloned().collect();
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for field in &fields {
            owners.insert(
                field.name().to_lowercase(),
                format!("column `{}` of the entity rows", field.name()),
            );
        }
        let mut add = |name: &str, of: ValueType, owner: String| {
            if let Some(other) = owners.insert(name.to_lowercase(), owner.clone()) {
                return Err(Error::input(format!(
                    "the output column `{name}` would be both {other} and {owner}"
                ))
                .help("rename the column, ask for full names (`--full-names`), or give the view a role"));
            }
            fields.push(Arc::new(Field::new(name, arrow_type(of), true)));
            Ok(())
        };
        let mut defaults = Vec::with_capacity(resolved.outputs.len());
        for output in &resolved.outputs {
            let of = resolved.feature_of(output).value_type;
            add(
                &output.name,
                of,
                format!("feature `{}`", resolved.reference_of(output)),
            )?;
            let default = output
                .default
                .as_ref()
                .map(|value| array_of(std::slice::from_ref(value), of));
            defaults.push(default.transpose()?);
        }
        if event_times {
            for view in &resolved.views {
                let prefix = view
                    .alias
                    .as_ref()
                    .map_or(view.view.name.as_str(), |alias| alias.as_str());
                add(
                    &format!("{prefix}__event_timestamp"),
                    ValueType::TIMESTAMP,
                    format!("the event time of `{prefix}`"),
                )?;
            }
        }
        let metadata = spine.rows.schema_ref().metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        Ok(Self {
            resolved: resolved.clone(),
            schema,
            defaults,
            event_times,
        })
    }

    pub(super) fn stream(
        self,
        rows: RecordBatch,
        zip: Zip,
        version: Version,
        started: Instant,
    ) -> TrainingSet {
        let defaults = self
            .resolved
            .outputs
            .iter()
            .filter(|output| output.default.is_some());
        let defaults = defaults.map(|output| DefaultCount {
            column: output.name.clone(),
            ..DefaultCount::default()
        });
        let report = HistoricalReport {
            version,
            defaults: defaults.collect(),
            ..HistoricalReport::default()
        };
        let report = Arc::new(Mutex::new(report));
        let (schema, shared) = (self.schema.clone(), report.clone());
        let state = (self, rows, zip, shared, started);
        let batches = stream::try_unfold(state, |(assembly, rows, mut zip, report, started)| async move {
            match zip.next().await? {
                Some(zipped) => {
                    let batch = assembly.batch(&rows, &zipped, &mut report.lock())?;
                    Ok(Some((batch, (assembly, rows, zip, report, started))))
                }
                None => {
                    assembly.finish(&zip, &mut report.lock(), started);
                    Ok(None)
                }
            }
        });
        TrainingSet {
            schema,
            batches: batches.boxed(),
            report,
        }
    }

    fn batch(
        &self,
        rows: &RecordBatch,
        zipped: &Zipped,
        report: &mut HistoricalReport,
    ) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = rows.slice(zipped.start, zipped.rows).columns().to_vec();
        let mut counts = report.defaults.iter_mut();
        for (output, default) in self.resolved.outputs.iter().zip(&self.defaults) {
            let view = &zipped.views[output.view];
            let column = &view.features[output.feature];
            columns.push(match (default, default.as_ref().and_then(|_| counts.next())) {
                (Some(default), Some(count)) => fill(column, view, default, output.default_null, count)?,
                _ => column.clone(),
            });
        }
        if self.event_times {
            let times = zipped
                .views
                .iter()
                .map(|view| Arc::new(view.event.clone().with_timezone("UTC")) as ArrayRef);
            columns.extend(times);
        }
        report.rows += zipped.rows as u64;
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| {
            Error::internal("an offline store answered in other types than declared").source(error)
        })
    }

    fn finish(&self, zip: &Zip, report: &mut HistoricalReport, started: Instant) {
        let mut views = vec![ViewReport::default(); self.resolved.views.len()];
        for (indexes, part) in zip.reports() {
            let part = part.lock();
            report.read.add(&part.read);
            for (index, view) in indexes.into_iter().zip(&part.views) {
                views[index] = view.clone();
                if let Some(alias) = &self.resolved.views[index].alias {
                    views[index].view = format!("{alias}={}", view.view);
                }
            }
        }
        report.views = views;
        report.seconds = started.elapsed().as_secs_f64();
    }
}

/// Fills a default where nothing matched, and for nulls where the service says so.
fn fill(
    column: &ArrayRef,
    view: &JoinedView,
    default: &ArrayRef,
    default_null: bool,
    count: &mut DefaultCount,
) -> Result<ArrayRef> {
    let mut mask = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        let unmatched = view.event.is_null(row);
        let null = !unmatched && default_null && column.is_null(row);
        count.filled += u64::from(unmatched);
        count.filled_null += u64::from(null);
        mask.push(unmatched || null);
    }
    zip(&BooleanArray::from(mask), &Scalar::new(default.clone()), column)
        .map_err(|error| Error::internal("a default could not be filled in").source(error))
}
