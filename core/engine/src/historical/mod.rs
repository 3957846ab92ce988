//! Historical: training sets. Entity rows in, the same rows with features out, nothing from the future.
//!
//! Reads top to bottom: resolve the selection, reduce the entity rows to keys and times, ask each
//! offline store for its views, zip the answers by row, fill defaults, hand out batches.

mod output;
mod spine;
mod zip;

pub use output::{DefaultCount, HistoricalReport, TrainingSet};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use larder_base::model::Knowledge;
use larder_base::{Result, StoreName};
use larder_core::arrow::array::RecordBatch;
use larder_core::{EntityRows, HistoricalRead, OfflineOptions, ViewJoin};

use crate::guard::Deed;
use crate::selection::Selection;
use crate::store::FeatureStore;
use output::Assembly;
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
    time_column: String,
    timezone: Option<String>,
    keys: BTreeMap<String, String>,
    knowledge: Option<Knowledge>,
    full_names: bool,
    event_times: bool,
    options: OfflineOptions,
}

impl FeatureStore {
    /// Starts a training set of a service's or of single features.
    pub fn historical(&self, select: impl Into<Selection>) -> Historical {
        Historical {
            store: self.clone(),
            selection: select.into(),
            rows: Vec::new(),
            time_column: TIME_COLUMN.to_owned(),
            timezone: None,
            keys: BTreeMap::new(),
            knowledge: None,
            full_names: false,
            event_times: false,
            options: OfflineOptions::default(),
        }
    }
}

impl Historical {
    /// Adds entity rows: key columns, a time column, and any others, which come out untouched.
    pub fn entities(mut self, rows: impl IntoIterator<Item = RecordBatch>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Sets the time column; `event_timestamp` where nothing is said.
    pub fn time_column(mut self, name: impl Into<String>) -> Self {
        self.time_column = name.into();
        self
    }

    /// Declares the zone of naive timestamps in the entity rows.
    pub fn timezone(mut self, name: impl Into<String>) -> Self {
        self.timezone = Some(name.into());
        self
    }

    /// Takes a join key from a column of another name.
    pub fn key(mut self, join_key: impl Into<String>, column: impl Into<String>) -> Self {
        self.keys.insert(join_key.into(), column.into());
        self
    }

    /// Overrides what created time decides, for all views.
    pub fn knowledge(mut self, knowledge: Knowledge) -> Self {
        self.knowledge = Some(knowledge);
        self
    }

    /// Names output columns `view__feature`.
    pub fn full_names(mut self, full: bool) -> Self {
        self.full_names = full;
        self
    }

    /// Adds the winner's event time per view, as `view__event_timestamp` or `role__event_timestamp`.
    pub fn event_times(mut self, add: bool) -> Self {
        self.event_times = add;
        self
    }

    /// Sets threads, batch size, progress.
    pub fn options(mut self, options: OfflineOptions) -> Self {
        self.options = options;
        self
    }

    /// Makes the training set: a stream in the order of the entity rows, and a report.
    ///
    /// # Errors
    /// `NotFound` for unknown names; `Input` for entity rows that lack a column, have a null
    /// time, or a column that a feature would hide; what the offline stores say.
    pub async fn run(self) -> Result<TrainingSet> {
        let started = Instant::now();
        let store = &self.store;
        let snapshot = store.snapshot().await?;
        let resolved = Arc::new(self.selection.resolve(snapshot.catalog(), self.full_names)?);
        let names = resolved
            .views
            .iter()
            .map(|view| format!("feature_view:{}", view.view.name));
        store.allow(Deed::ReadOffline, names.collect()).await?;

        let spine = Spine::reduce(
            &self.rows,
            &resolved,
            &self.time_column,
            self.timezone.as_deref(),
            &self.keys,
        )?;
        let assembly = Assembly::new(&resolved, &spine, self.event_times)?;

        // Views by offline store: each store answers once for all of its views.
        let mut by_store: BTreeMap<StoreName, Vec<usize>> = BTreeMap::new();
        for (index, view) in resolved.views.iter().enumerate() {
            let name = store.offline_name(view.source.store.clone());
            by_store.entry(name).or_default().push(index);
        }
        let mut zip = Zip::new(spine.rows.num_rows(), resolved.views.len());
        for (name, views) in by_store {
            let mut joins = Vec::with_capacity(views.len());
            for index in &views {
                let view = &resolved.views[*index];
                let scan = crate::scan::scan_of(snapshot.catalog(), &view.view, &view.features)?;
                let mut join = ViewJoin::new(scan, spine.key_indexes[*index].clone()).with_ttl(view.view.ttl);
                if let Some(knowledge) = self.knowledge {
                    join = join.with_knowledge(knowledge);
                }
                joins.push(join);
            }
            let rows = EntityRows::batches(spine.keys.clone(), spine.times.clone());
            let request = HistoricalRead { rows, views: joins };
            zip.add(
                views,
                store
                    .offline_store(&name)
                    .await?
                    .historical(request, &self.options)
                    .await?,
            );
        }
        Ok(assembly.stream(spine.rows, zip, snapshot.version(), started))
    }
}
