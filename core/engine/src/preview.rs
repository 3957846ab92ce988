//! What do the values of a service or view look like? A few entities of each view, at one time.

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_base::error::suggest;
use larder_base::model::{Catalog, FeatureView, Sensitivity};
use larder_base::{Error, FeatureName, Micros, Result, Version, ViewName};
use larder_core::OfflineOptions;
use larder_core::arrow::array::{ArrayRef, RecordBatch};
use larder_core::arrow::datatypes::{Field, Schema};

use crate::guard::Deed;
use crate::historical::Parameters;
use crate::historical::latest::{self, HowMany};
use crate::selection::Selection;
use crate::sensitive::{Sensitive, masked};
use crate::store::FeatureStore;

/// Entities per view, unless the caller says.
const ENTITIES: usize = 10;
/// The time column of the rows that are joined; no feature is named so.
const AT: &str = "__at";
/// What the winner's event time is named.
const EVENT: &str = "event_timestamp";

/// A preview to be made; see [`FeatureStore::preview`].
#[derive(Debug, Clone)]
#[must_use = "a preview is made by `run`"]
pub struct Preview {
    store: FeatureStore,
    name: String,
    at: Option<Micros>,
    entities: usize,
    sensitive: Sensitive,
}

/// Values of a service or view.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PreviewReport {
    /// Version of the definitions.
    pub version: Version,
    /// The time of the values.
    pub at: Micros,
    /// One entry per view.
    pub views: Vec<ViewPreview>,
}

/// Values of one view.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ViewPreview {
    /// The view.
    pub view: String,
    /// Keys, event time, features.
    pub rows: RecordBatch,
    /// Columns that are masked because they are sensitive.
    pub masked: Vec<String>,
}

impl FeatureStore {
    /// Looks at values of a feature service or a feature view.
    pub fn preview(&self, service_or_view: impl Into<String>) -> Preview {
        Preview {
            store: self.clone(),
            name: service_or_view.into(),
            at: None,
            entities: ENTITIES,
            sensitive: Sensitive::Masked,
        }
    }
}

impl Preview {
    /// Sets the time; now where nothing is said.
    pub fn at(mut self, at: Micros) -> Self {
        self.at = Some(at);
        self
    }

    /// Sets how many entities of each view are shown.
    pub fn entities(mut self, entities: usize) -> Self {
        self.entities = entities.max(1);
        self
    }

    /// Sets whether sensitive values are shown.
    pub fn sensitive(mut self, sensitive: Sensitive) -> Self {
        self.sensitive = sensitive;
        self
    }

    /// Makes the preview. The entities are the first that are found, not the newest.
    ///
    /// # Errors
    /// `NotFound` for an unknown name; what the offline stores say.
    pub async fn run(self) -> Result<PreviewReport> {
        let snapshot = self.store.snapshot().await?;
        let catalog = snapshot.catalog();
        let wanted = wanted(catalog, &self.name)?;
        let names = wanted.iter().map(|(view, _)| format!("feature_view:{view}"));
        self.store.allow(Deed::ReadOffline, names.collect()).await?;
        let at = self.at.unwrap_or_else(|| self.store.clock().now());
        let mut views = Vec::with_capacity(wanted.len());
        for (view, features) in wanted {
            views.push(self.view(catalog, &view, &features, at).await?);
        }
        Ok(PreviewReport {
            version: snapshot.version(),
            at,
            views,
        })
    }

    async fn view(
        &self,
        catalog: &Catalog,
        name: &ViewName,
        features: &[FeatureName],
        at: Micros,
    ) -> Result<ViewPreview> {
        let view = catalog.feature_view(name.as_str())?;
        let selection = Selection::features(features.iter().map(|feature| format!("{name}:{feature}")));
        let resolved = selection.resolve(catalog, false)?;
        let parameters = Parameters {
            time_column: AT.to_owned(),
            event_times: true,
            ..Parameters::default()
        };
        let rows = latest::entities(
            &self.store,
            catalog,
            &resolved,
            &parameters,
            at,
            &OfflineOptions::default(),
            HowMany::AtMost(self.entities),
        )
        .await?;
        let training = self.store.historical(selection).with_parameters(parameters);
        let (rows, _) = training.entities([rows]).run().await?.collect().await?;
        self.shown(catalog, view, &rows)
    }

    /// Keys, event time, features; sensitive ones masked.
    fn shown(&self, catalog: &Catalog, view: &FeatureView, rows: &RecordBatch) -> Result<ViewPreview> {
        let sensitivity = sensitivities(catalog, view)?;
        let event = format!("{}__event_timestamp", view.name);
        let keys = catalog.join_keys(view)?.len();
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        let mut hidden = Vec::new();
        let schema = rows.schema();
        let named = || {
            schema
                .fields()
                .iter()
                .map(|field| field.name())
                .zip(rows.columns())
        };
        for (name, column) in named().filter(|(name, _)| *name != AT && **name != event) {
            let is_sensitive = sensitivity.get(name).is_some_and(|s| !s.is_none());
            match is_sensitive && self.sensitive == Sensitive::Masked {
                true => {
                    hidden.push(name.clone());
                    columns.push((name.clone(), masked(column)));
                }
                false => columns.push((name.clone(), column.clone())),
            }
        }
        if let Some((_, column)) = named().find(|(name, _)| **name == event) {
            columns.insert(keys, (EVENT.to_owned(), column.clone()));
        }
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
            .collect();
        let arrays = columns.into_iter().map(|(_, column)| column).collect();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|error| Error::internal("a preview could not be put together").source(error))?;
        Ok(ViewPreview {
            view: view.name.to_string(),
            rows,
            masked: hidden,
        })
    }
}

/// The features of each view, each view once, in the order of the service.
fn wanted(catalog: &Catalog, name: &str) -> Result<Vec<(ViewName, Vec<FeatureName>)>> {
    let selection = match (
        catalog.feature_services.get(name),
        catalog.feature_views.get(name),
    ) {
        (Some(_), _) => Selection::service(name),
        (None, Some(_)) => Selection::features([name]),
        (None, None) => {
            let services = catalog.feature_services.keys().map(AsRef::as_ref);
            let known: Vec<&str> = services
                .chain(catalog.feature_views.keys().map(AsRef::as_ref))
                .collect();
            return Err(
                Error::not_found(format!("there is no feature service or feature view `{name}`"))
                    .help(suggest(name, known)),
            );
        }
    };
    // Full names cannot clash, and only views and features matter here.
    let resolved = selection.resolve(catalog, true)?;
    let mut wanted: Vec<(ViewName, Vec<FeatureName>)> = Vec::new();
    for view in &resolved.views {
        let features = view.features.iter().map(|feature| feature.name.clone());
        match wanted.iter_mut().find(|(known, _)| *known == view.view.name) {
            None => wanted.push((view.view.name.clone(), features.collect())),
            Some((_, known)) => {
                for feature in features {
                    if !known.contains(&feature) {
                        known.push(feature);
                    }
                }
            }
        }
    }
    Ok(wanted)
}

fn sensitivities(catalog: &Catalog, view: &FeatureView) -> Result<BTreeMap<String, Sensitivity>> {
    let mut all: BTreeMap<String, Sensitivity> = BTreeMap::new();
    for feature in &view.features {
        all.insert(feature.name.to_string(), feature.sensitivity);
    }
    for entity in &view.entities {
        for key in &catalog.entity(entity.as_str())?.join_keys {
            all.insert(key.name.to_string(), key.sensitivity);
        }
    }
    Ok(all)
}
