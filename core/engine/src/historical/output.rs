//! The training set that comes out: the caller's columns, features, defaults, and the report.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use larder_base::{Error, Result, ValueType};
use larder_core::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, Scalar, TimestampMicrosecondArray,
};
use larder_core::arrow::compute::concat::concat_batches;
use larder_core::arrow::compute::zip::zip;
use larder_core::arrow::datatypes::{Field, Schema, SchemaRef};
use larder_core::convert::{array_of, arrow_type};
use larder_core::{BatchStream, JoinedView};
use parking_lot::Mutex;

use super::manifest::Inputs;
use super::parts::Parts;
use super::report::{DefaultCount, HistoricalReport, Tally};
use super::spine::Spine;
use super::zip::{Zip, Zipped};
use crate::selection::Resolved;

/// A training set: a stream of batches in the order of the entity rows.
pub struct TrainingSet {
    pub(super) schema: SchemaRef,
    pub(super) batches: BatchStream,
    pub(super) report: Arc<Mutex<HistoricalReport>>,
    pub(super) inputs: Arc<Inputs>,
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

    /// What cuts the batches into the parts that were asked for, and digests each.
    ///
    /// # Errors
    /// `Input` for a column to split by that is not there.
    pub fn parts(&self) -> Result<Parts> {
        Parts::new(&self.schema, &self.inputs.parameters)
    }

    /// What it was made from, for a manifest.
    pub fn inputs(&self) -> Arc<Inputs> {
        self.inputs.clone()
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
        let mut fields: Vec<Arc<Field>> = spine.schema().fields().iter().cloned().collect();
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
        let metadata = spine.schema().metadata().clone();
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
        spine: Spine,
        zip: Zip,
        tally: Tally,
        inputs: Arc<Inputs>,
        report: HistoricalReport,
    ) -> TrainingSet {
        let with_default = self.resolved.outputs.iter().filter(|o| o.default.is_some());
        let defaults = with_default.map(|output| DefaultCount {
            column: output.name.clone(),
            ..DefaultCount::default()
        });
        let report = HistoricalReport {
            version: inputs.version,
            defaults: defaults.collect(),
            ..report
        };
        let schema = self.schema.clone();
        let report = Arc::new(Mutex::new(report));
        let running = Running {
            assembly: self,
            spine,
            zip,
            tally,
            report: report.clone(),
        };
        let batches = stream::try_unfold(running, |mut running| async move {
            let batch = running.next().await?;
            Ok(batch.map(|batch| (batch, running)))
        });
        TrainingSet {
            schema,
            batches: batches.boxed(),
            report,
            inputs,
        }
    }

    fn batch(
        &self,
        rows: &RecordBatch,
        times: &TimestampMicrosecondArray,
        zipped: &Zipped,
        tally: &mut Tally,
        report: &mut HistoricalReport,
    ) -> Result<RecordBatch> {
        tally.ages(times, zipped);
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        let mut counts = report.defaults.iter_mut();
        for (index, output) in self.resolved.outputs.iter().enumerate() {
            let view = &zipped.views[output.view];
            let column = &view.features[output.feature];
            let default = self.defaults[index].as_ref();
            let column = match (default, default.and_then(|_| counts.next())) {
                (Some(default), Some(count)) => fill(column, view, default, output.default_null, count)?,
                _ => column.clone(),
            };
            tally.nulls(index, &column);
            columns.push(column);
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
}

/// A training set while it streams.
struct Running {
    assembly: Assembly,
    spine: Spine,
    zip: Zip,
    tally: Tally,
    report: Arc<Mutex<HistoricalReport>>,
}

impl Running {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.tally.polled();
        let asked = Instant::now();
        let most = self.spine.at_hand(self.zip.done());
        let zipped = self.zip.next(most).await?;
        self.tally.joined(asked.elapsed());
        let Some(zipped) = zipped else {
            self.tally.finish(&self.zip, &mut self.report.lock());
            return Ok(None);
        };
        let began = Instant::now();
        let (rows, times) = self.spine.window(zipped.start, zipped.rows).await?;
        let mut report = self.report.lock();
        let batch = self
            .assembly
            .batch(&rows, &times, &zipped, &mut self.tally, &mut report)?;
        self.tally.assembled(began.elapsed());
        Ok(Some(batch))
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
