//! How do all rows of one view in an interval come out, without entity rows?

use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use larder_base::{Error, Micros, Result, Snapshot};
use larder_core::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use larder_core::arrow::compute::filter::filter_record_batch;
use larder_core::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use larder_core::{
    BatchStream, EntityRows, HistoricalRead, LatestRead, OfflineOptions, Phase, RangeRead, SourceFiles,
    ViewJoin,
};
use parking_lot::Mutex;

use super::latest::{times_of, visible_at};
use super::manifest::Inputs;
use super::output::TrainingSet;
use super::parameters::Parameters;
use super::report::{FeatureReport, HistoricalReport, empty_sources};
use super::spine::refuse_unknown_renames;
use crate::selection::{Resolved, ResolvedView};
use crate::store::FeatureStore;

/// Column of the created time, where the source has one.
const CREATED: &str = "created_timestamp";

/// The rows of the selection's only view, as a training set: keys, event time, created time
/// where the source has one, features.
pub(super) async fn run(
    store: &FeatureStore,
    snapshot: &Snapshot,
    resolved: &Resolved,
    inputs: Inputs,
    (from, until): (Micros, Micros),
    options: &OfflineOptions,
) -> Result<TrainingSet> {
    let started = Instant::now();
    let view = only_view(resolved)?;
    let parameters = &inputs.parameters;
    refuse_unknown_renames(resolved, &parameters.keys)?;
    if from > until {
        return Err(Error::input("the interval ends before it begins").help("swap --from and --until"));
    }
    let scan = crate::scan::scan_of(snapshot.catalog(), &view.view, &view.features)?;
    let offline = store.store_of(&view.source).await?;
    if !offline.capabilities().range {
        return Err(
            Error::unsupported("the offline store of this view cannot read ranges")
                .with("source", &view.source.name)
                .help("give entity rows"),
        );
    }
    let sources = sources_of(offline.as_ref(), &scan).await?;
    let shape = Shape::new(resolved, view, parameters)?;
    // One thread reads in the source's own order, so that two runs give the same rows.
    let options = options.clone().with_threads(1);
    let visible = parameters
        .known_until
        .map(|until| visible_at(scan.clone(), until));
    let rows = offline.range(RangeRead::new(scan, from, until), &options).await?;
    let report = HistoricalReport {
        version: inputs.version,
        features: shape.features(resolved),
        warnings: empty_sources(&sources).collect(),
        sources,
        ..HistoricalReport::default()
    };
    let report = Arc::new(Mutex::new(report));
    let schema = shape.schema.clone();
    let running = Running {
        rows,
        shape,
        visible,
        left: parameters.limit.unwrap_or(u64::MAX),
        report: report.clone(),
        started,
    };
    let batches = stream::try_unfold(running, |mut running| async move {
        let batch = running.next().await?;
        Ok(batch.map(|batch| (batch, running)))
    });
    Ok(TrainingSet {
        schema,
        batches: batches.boxed(),
        report,
        inputs: Arc::new(inputs),
    })
}

fn only_view(resolved: &Resolved) -> Result<&ResolvedView> {
    match resolved.views.as_slice() {
        [view] => Ok(view),
        views => Err(Error::input(format!(
            "rows of an interval are those of one view; {} are selected",
            views.len()
        ))
        .help("select the features of one view, or give entity rows")),
    }
}

/// The files of a source, asked for by a join of no rows.
async fn sources_of(
    offline: &dyn larder_core::OfflineStore,
    scan: &larder_core::ViewScan,
) -> Result<Vec<SourceFiles>> {
    use larder_core::convert::null_array;
    let keys: Vec<ArrayRef> = scan
        .keys
        .iter()
        .map(|key| null_array(key.key.value_type, 0))
        .collect();
    let indexes = (0..keys.len()).collect();
    let request = HistoricalRead {
        rows: EntityRows::batches(keys, Vec::<i64>::new().into()),
        views: vec![ViewJoin::new(scan.clone(), indexes)],
    };
    let mut joined = offline.historical(request, &OfflineOptions::default()).await?;
    while joined.batches.try_next().await?.is_some() {}
    let sources = joined.report.lock().sources.clone();
    Ok(sources)
}

/// Which columns of a scan come out, under which names.
struct Shape {
    schema: SchemaRef,
    /// Places in the rows of the scan.
    places: Vec<usize>,
    /// The first feature among the output's columns.
    first_feature: usize,
}

impl Shape {
    fn new(resolved: &Resolved, view: &ResolvedView, parameters: &Parameters) -> Result<Self> {
        use larder_core::convert::arrow_type;
        let keys = view.keys.len();
        let time = DataType::clone(&arrow_type(larder_base::ValueType::TIMESTAMP));
        let mut named: Vec<(String, DataType, usize)> = Vec::new();
        for (place, role) in view.keys.iter().enumerate() {
            let name = parameters.column_of(role.column.as_str()).to_owned();
            named.push((name, arrow_type(role.key.value_type), place));
        }
        named.push((parameters.time_column.clone(), time.clone(), keys));
        if view.source.created_time.is_some() {
            named.push((CREATED.to_owned(), time, keys + 1));
        }
        let first_feature = named.len();
        for output in &resolved.outputs {
            let of = resolved.feature_of(output).value_type;
            named.push((output.name.clone(), arrow_type(of), keys + 2 + output.feature));
        }
        for (index, (name, ..)) in named.iter().enumerate() {
            if named[..index]
                .iter()
                .any(|(other, ..)| other.eq_ignore_ascii_case(name))
            {
                return Err(
                    Error::input(format!("two output columns would be named `{name}`"))
                        .help("ask for full names (`--full-names`), or name the time with `--time-column`"),
                );
            }
        }
        let fields: Vec<Field> = named
            .iter()
            .map(|(name, of, _)| Field::new(name, of.clone(), true))
            .collect();
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            places: named.into_iter().map(|(_, _, place)| place).collect(),
            first_feature,
        })
    }

    fn features(&self, resolved: &Resolved) -> Vec<FeatureReport> {
        let outputs = resolved.outputs.iter();
        outputs
            .map(|output| FeatureReport {
                column: output.name.clone(),
                reference: resolved.reference_of(output),
                ..FeatureReport::default()
            })
            .collect()
    }
}

struct Running {
    rows: BatchStream,
    shape: Shape,
    /// Tells the rows that were visible, where not all count.
    visible: Option<LatestRead>,
    /// Rows that may still come out.
    left: u64,
    report: Arc<Mutex<HistoricalReport>>,
    started: Instant,
}

impl Running {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.left > 0 {
            let Some(batch) = self.rows.try_next().await? else {
                break;
            };
            let batch = self.take(batch)?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        let mut report = self.report.lock();
        report.seconds = self.started.elapsed().as_secs_f64();
        let rows = report.rows;
        for feature in &mut report.features {
            feature.null_share = feature.nulls as f64 / rows.max(1) as f64;
        }
        let seconds = report.seconds;
        report.phases = vec![Phase::new("read and write", seconds)];
        Ok(None)
    }

    fn take(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let arrow = |error| Error::internal("rows of a range could not be put together").source(error);
        let batch = match &self.visible {
            None => batch,
            Some(visible) => {
                let (events, created) = times_of(&batch)?;
                let mask = (0..batch.num_rows()).map(|row| {
                    let created = created.is_valid(row).then(|| Micros(created.value(row)));
                    Some(visible.takes(Micros(events.value(row)), created))
                });
                filter_record_batch(&batch, &mask.collect::<BooleanArray>()).map_err(arrow)?
            }
        };
        let rows = batch
            .num_rows()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let batch = batch.slice(0, rows);
        self.left -= rows as u64;
        let columns = self.shape.places.iter().map(|place| batch.column(*place).clone());
        let taken = RecordBatch::try_new(self.shape.schema.clone(), columns.collect()).map_err(arrow)?;
        let mut report = self.report.lock();
        report.rows += rows as u64;
        let features = taken.columns().iter().skip(self.shape.first_feature);
        for (feature, column) in report.features.iter_mut().zip(features) {
            feature.nulls += column.null_count() as u64;
        }
        Ok(taken)
    }
}
