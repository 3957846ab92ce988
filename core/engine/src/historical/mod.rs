//! Historical: training sets. Entity rows in, the same rows with features out, nothing from the future.
//!
//! Reads top to bottom: resolve the selection, reduce the entity rows to keys and times, ask each
//! offline store for its views, zip the answers by row, fill defaults, hand out batches.

mod ages;
mod aside;
mod compare;
mod content;
mod explain;
mod labels;
pub(crate) mod latest;
mod manifest;
mod output;
mod parameters;
mod parts;
mod range;
mod report;
mod spine;
mod split;
mod zip;

pub use ages::AgeReport;
pub use aside::EntitySource;
pub use compare::{Changed, Difference, definitions as definition_differences};
pub use content::{ColumnContent, Content, ContentHash, row_hashes};
pub use explain::{HistoricalExplanation, Skipped, ViewPlan};
pub use manifest::{DefinitionUsed, EntityFile, Inputs, Manifest, ManifestColumn, ManifestOutput, ViewUsed};
pub use output::TrainingSet;
pub use parameters::{Parameters, RowsFrom};
pub use parts::Parts;
pub use report::{DefaultCount, FeatureReport, HistoricalReport};
pub use spine::unclear_times_warning;
pub use split::{HashPart, Split, TimePart};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use larder_base::model::Knowledge;
use larder_base::{Error, Micros, Result, Snapshot, StoreName, Version};
use larder_core::arrow::array::RecordBatch;
use larder_core::{HistoricalRead, OfflineOptions, ViewJoin, scratch};

use crate::guard::Deed;
use crate::outputs;
use crate::selection::{Resolved, Selection};
use crate::store::FeatureStore;
use latest::HowMany;
use output::Assembly;
use report::Tally;
use spine::Spine;
use zip::Zip;

/// Name of the time column of entity rows where nothing else is said.
pub const TIME_COLUMN: &str = "event_timestamp";

/// A training set to be made; see [`FeatureStore::historical`].
#[derive(Debug, Clone)]
#[must_use = "a training set is made by `run`"]
pub struct Historical {
    store: FeatureStore,
    selection: Selection,
    rows: Vec<RecordBatch>,
    source: Option<Arc<dyn EntitySource>>,
    parameters: Parameters,
    options: OfflineOptions,
    outputs: Vec<PathBuf>,
}

impl FeatureStore {
    /// Starts a training set of a service's or of single features.
    pub fn historical(&self, select: impl Into<Selection>) -> Historical {
        Historical {
            store: self.clone(),
            selection: select.into(),
            rows: Vec::new(),
            source: None,
            parameters: Parameters::default(),
            options: OfflineOptions::default(),
            outputs: Vec::new(),
        }
    }

    /// A version of the definitions; the newest where none is named.
    ///
    /// # Errors
    /// `NotFound` for a version that is not there.
    pub async fn snapshot_at(&self, version: Option<Version>) -> Result<Arc<Snapshot>> {
        match version {
            None => self.snapshot().await,
            Some(version) => self.registry().await?.load_at(self.project(), version).await,
        }
    }
}

impl Historical {
    /// Adds entity rows: key columns, a time column, and any others, which come out untouched.
    pub fn entities(mut self, rows: impl IntoIterator<Item = RecordBatch>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Takes entity rows from where they can be read again, so that they need not fit in memory;
    /// in place of [`Historical::entities`]. They are held as long as they are small against the
    /// memory limit, or no limit is set.
    pub fn entity_source(mut self, source: Arc<dyn EntitySource>) -> Self {
        self.source = Some(source);
        self
    }

    /// In place of entity rows: one row per entity that the selected views know at an instant,
    /// now where none is given. All views must describe the same entity.
    pub fn latest(mut self, at: Option<Micros>) -> Self {
        let at = at.unwrap_or_else(|| self.store.clock().now());
        self.parameters.rows = RowsFrom::Latest { at };
        self
    }

    /// In place of entity rows: the rows of the selection's only view with event times in an
    /// interval, both ends inclusive, as they are: no defaults, nothing expired.
    pub fn range(mut self, from: Micros, until: Micros) -> Self {
        self.parameters.rows = RowsFrom::Range { from, until };
        self
    }

    /// Sets the time column; `event_timestamp` where nothing is said.
    pub fn time_column(mut self, name: impl Into<String>) -> Self {
        self.parameters.time_column = name.into();
        self
    }

    /// Declares the zone of naive timestamps in the entity rows.
    pub fn timezone(mut self, name: impl Into<String>) -> Self {
        self.parameters.timezone = Some(name.into());
        self
    }

    /// Takes a join key from a column of another name.
    pub fn key(mut self, join_key: impl Into<String>, column: impl Into<String>) -> Self {
        self.parameters.keys.insert(join_key.into(), column.into());
        self
    }

    /// Overrides what created time decides, for all views.
    pub fn knowledge(mut self, knowledge: Knowledge) -> Self {
        self.parameters.knowledge = Some(knowledge);
        self
    }

    /// Names output columns `view__feature`.
    pub fn full_names(mut self, full: bool) -> Self {
        self.parameters.full_names = full;
        self
    }

    /// Adds the winner's event time per view, as `view__event_timestamp` or `role__event_timestamp`.
    pub fn event_times(mut self, add: bool) -> Self {
        self.parameters.event_times = add;
        self
    }

    /// Takes only so many of the first rows.
    pub fn limit(mut self, rows: u64) -> Self {
        self.parameters.limit = Some(rows);
        self
    }

    /// Lets only source rows take part that were visible at an instant, so that a training set of
    /// that day can be made again.
    pub fn known_until(mut self, until: Micros) -> Self {
        self.parameters.known_until = Some(until);
        self
    }

    /// Takes the definitions of a version in place of the newest.
    pub fn at_version(mut self, version: Version) -> Self {
        self.parameters.at_version = Some(version);
        self
    }

    /// Says which columns of the entity rows a model is to predict; they are checked not to be
    /// features.
    pub fn labels<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.parameters.labels = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Parts the rows; [`TrainingSet::parts`] cuts batches accordingly.
    pub fn split(mut self, split: Split) -> Self {
        self.parameters.split = Some(split);
        self
    }

    /// Replaces everything that was said besides the selection, such as by what a manifest says.
    pub fn with_parameters(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters;
        self
    }

    /// Everything that was said besides the selection.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Sets threads, batch size, memory, progress.
    pub fn options(mut self, options: OfflineOptions) -> Self {
        self.options = options;
        self
    }

    /// Names the files that the training set will be written to. Those that are or would become data of a source that
    /// is read are refused before anything is read.
    pub fn writes_to(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.outputs.extend(files);
        self
    }

    /// Makes the training set: a stream in the order of the entity rows, and a report.
    ///
    /// # Errors
    /// `NotFound` for unknown names; `Input` for entity rows that lack a column, have a null
    /// time, or a column that a feature would hide, and for outputs among the data of a source; what the offline
    /// stores say.
    pub async fn run(self) -> Result<TrainingSet> {
        let started = Instant::now();
        let request = self.configured();
        if request.options.memory_limit.is_some() {
            // What a killed run left goes, whether this one spills or not.
            scratch::sweep(request.options.spill_dir.as_deref());
        }
        request.stream(started).await
    }

    async fn stream(self, started: Instant) -> Result<TrainingSet> {
        let prepared = self.prepare().await?;
        let sources = prepared.resolved.views.iter().map(|view| &view.source);
        outputs::check(&self.store, sources, &self.outputs, "the training set").await?;
        let inputs = manifest::Inputs::new(
            &prepared.snapshot,
            &self.selection,
            &prepared.resolved,
            &self.parameters,
        );
        if let RowsFrom::Range { from, until } = self.parameters.rows {
            let Prepared { snapshot, resolved } = &prepared;
            self.refuse_labels()?;
            return range::run(
                &self.store,
                snapshot,
                resolved,
                inputs,
                (from, until),
                &self.options,
            )
            .await;
        }
        let (spine, warnings) = self.spine(&prepared).await?;
        let assembly = Assembly::new(&prepared.resolved, &spine, self.parameters.event_times)?;
        let mut tally = Tally::new(&prepared.resolved, started);
        tally.reduced();

        // Views by offline store: each store answers once for all of its views.
        let mut zip = Zip::new(spine.len(), prepared.resolved.views.len());
        for (name, views) in prepared.by_store(&self.store) {
            let request = self.request(&prepared, &spine, &views)?;
            let offline = self.store.offline_store(&name).await?;
            zip.add(views, offline.historical(request, &self.options).await?);
        }
        tally.asked();
        let report = HistoricalReport {
            warnings,
            ..HistoricalReport::default()
        };
        let training = assembly.stream(spine, zip, tally, Arc::new(inputs), report);
        // A column to split by that is not there is told before anything is read.
        training.parts()?;
        Ok(training)
    }

    /// With what the project says where this request says nothing.
    fn configured(mut self) -> Self {
        let config = self.store.historical_config();
        let options = &mut self.options;
        options.memory_limit = options.memory_limit.or(config.memory_limit.map(|size| size.0));
        options.spill_dir = options.spill_dir.take().or_else(|| config.spill_dir.clone());
        self
    }

    /// What the definitions say about the request, and whether it is allowed.
    async fn prepare(&self) -> Result<Prepared> {
        let snapshot = self.store.snapshot_at(self.parameters.at_version).await?;
        let resolved = self
            .selection
            .resolve(snapshot.catalog(), self.parameters.full_names)?;
        let names = resolved
            .views
            .iter()
            .map(|view| format!("feature_view:{}", view.view.name));
        self.store.allow(Deed::ReadOffline, names.collect()).await?;
        Ok(Prepared {
            snapshot,
            resolved: Arc::new(resolved),
        })
    }

    /// The entity rows, checked and reduced, and what deserves a look.
    async fn spine(&self, prepared: &Prepared) -> Result<(Spine, Vec<String>)> {
        let resolved = &prepared.resolved;
        let spine = match self.parameters.rows {
            RowsFrom::Latest { at } => {
                self.refuse_labels()?;
                let rows = latest::entities(
                    &self.store,
                    prepared.snapshot.catalog(),
                    resolved,
                    &self.parameters,
                    at,
                    &self.options,
                    HowMany::All,
                );
                Spine::reduce(&[rows.await?], resolved, &self.parameters)?
            }
            _ => match &self.source {
                None => Spine::reduce(&self.rows, resolved, &self.parameters)?,
                Some(source) => {
                    let most = self.held(prepared).await?;
                    Spine::read(source, resolved, &self.parameters, &self.options, most).await?
                }
            },
        };
        let mut warnings = labels::check(&self.parameters, spine.schema(), resolved)?;
        warnings.extend(spine.warnings());
        if let (RowsFrom::Entities, Some(source)) = (self.parameters.rows, &self.source) {
            warnings.extend(source.warnings());
        }
        Ok((spine, warnings))
    }

    /// Bytes of entity rows that are held in memory. The store, the output and the rest need theirs.
    async fn held(&self, prepared: &Prepared) -> Result<u64> {
        for name in prepared.by_store(&self.store).into_keys() {
            let offline = self.store.offline_store(&name).await?;
            if !offline.capabilities().entity_files {
                return Ok(u64::MAX);
            }
        }
        Ok(self.options.memory_limit.map_or(u64::MAX, |limit| limit / 8))
    }

    /// What one store is asked for some of the views.
    fn request(&self, prepared: &Prepared, spine: &Spine, views: &[usize]) -> Result<HistoricalRead> {
        let join = |index: &usize| {
            let view = &prepared.resolved.views[*index];
            let scan = crate::scan::scan_of(prepared.snapshot.catalog(), &view.view, &view.features)?;
            let join = ViewJoin::new(scan, spine.keys_of(*index))
                .with_ttl(view.view.ttl)
                .with_known_until(self.parameters.known_until);
            Ok(match self.parameters.knowledge {
                Some(knowledge) => join.with_knowledge(knowledge),
                None => join,
            })
        };
        Ok(HistoricalRead {
            rows: spine.entity_rows(),
            views: views.iter().map(join).collect::<Result<_>>()?,
        })
    }

    fn refuse_labels(&self) -> Result<()> {
        match self.parameters.labels.first() {
            None => Ok(()),
            Some(label) => Err(Error::input(format!(
                "label `{label}` needs entity rows, which have it as a column"
            ))
            .help("give entity rows, or leave the labels out")),
        }
    }
}

/// A request against the definitions.
struct Prepared {
    snapshot: Arc<Snapshot>,
    resolved: Arc<Resolved>,
}

impl Prepared {
    /// Views by the offline store that reads them.
    fn by_store(&self, store: &FeatureStore) -> BTreeMap<StoreName, Vec<usize>> {
        let mut by_store: BTreeMap<StoreName, Vec<usize>> = BTreeMap::new();
        for (index, view) in self.resolved.views.iter().enumerate() {
            let name = store.offline_name(view.source.store.clone());
            by_store.entry(name).or_default().push(index);
        }
        by_store
    }
}
