//! All objects of a project by name: what one set of files defines, or what a snapshot holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::common::{Entity, Kind, Model, ObjectId};
use super::service::FeatureService;
use super::source::Source;
use super::view::{FeatureView, OnDemandView};
use crate::error::{Error, Result, suggest};
use crate::keys::JoinKey;
use crate::names::{EntityName, ModelName, ServiceName, SourceName, ViewName};

/// What one definition set defines, in the order of its files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Definitions {
    /// Entities.
    pub entities: Vec<Entity>,
    /// Sources.
    pub sources: Vec<Source>,
    /// Feature views.
    pub feature_views: Vec<FeatureView>,
    /// On-demand views.
    pub on_demand_views: Vec<OnDemandView>,
    /// Feature services.
    pub feature_services: Vec<FeatureService>,
    /// Models.
    pub models: Vec<Model>,
}

impl Definitions {
    /// Kind and name of every object, in order.
    pub fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let entities = self.entities.iter().map(|o| ObjectId::new(Kind::Entity, &o.name));
        let sources = self.sources.iter().map(|o| ObjectId::new(Kind::Source, &o.name));
        let views = self
            .feature_views
            .iter()
            .map(|o| ObjectId::new(Kind::FeatureView, &o.name));
        let on_demand = self
            .on_demand_views
            .iter()
            .map(|o| ObjectId::new(Kind::OnDemandView, &o.name));
        let services = self
            .feature_services
            .iter()
            .map(|o| ObjectId::new(Kind::FeatureService, &o.name));
        let models = self.models.iter().map(|o| ObjectId::new(Kind::Model, &o.name));
        entities
            .chain(sources)
            .chain(views)
            .chain(on_demand)
            .chain(services)
            .chain(models)
    }
}

/// Objects by name, cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Entities.
    pub entities: BTreeMap<EntityName, Arc<Entity>>,
    /// Sources.
    pub sources: BTreeMap<SourceName, Arc<Source>>,
    /// Feature views.
    pub feature_views: BTreeMap<ViewName, Arc<FeatureView>>,
    /// On-demand views.
    pub on_demand_views: BTreeMap<ViewName, Arc<OnDemandView>>,
    /// Feature services.
    pub feature_services: BTreeMap<ServiceName, Arc<FeatureService>>,
    /// Models.
    pub models: BTreeMap<ModelName, Arc<Model>>,
}

macro_rules! lookups {
    ($($(#[$doc:meta])* $function:ident, $map:ident, $type:ty, $kind:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// `NotFound` with the nearest known names.
        pub fn $function(&self, name: &str) -> Result<&Arc<$type>> {
            self.$map.get(name).ok_or_else(|| {
                Error::not_found(format!("there is no {} `{name}`", $kind))
                    .help(suggest(name, self.$map.keys().map(AsRef::as_ref)))
            })
        }
    )*};
}

impl Catalog {
    lookups! {
        /// An entity by name.
        entity, entities, Entity, Kind::Entity;
        /// A source by name.
        source, sources, Source, Kind::Source;
        /// A feature view by name.
        feature_view, feature_views, FeatureView, Kind::FeatureView;
        /// An on-demand view by name.
        on_demand_view, on_demand_views, OnDemandView, Kind::OnDemandView;
        /// A feature service by name.
        feature_service, feature_services, FeatureService, Kind::FeatureService;
        /// A model by name.
        model, models, Model, Kind::Model;
    }

    /// Adds definitions over what is there.
    pub fn extend(&mut self, definitions: &Definitions) {
        for entity in &definitions.entities {
            self.entities
                .insert(entity.name.clone(), Arc::new(entity.clone()));
        }
        for source in &definitions.sources {
            self.sources.insert(source.name.clone(), Arc::new(source.clone()));
        }
        for view in &definitions.feature_views {
            self.feature_views
                .insert(view.name.clone(), Arc::new(view.clone()));
        }
        for view in &definitions.on_demand_views {
            self.on_demand_views
                .insert(view.name.clone(), Arc::new(view.clone()));
        }
        for service in &definitions.feature_services {
            self.feature_services
                .insert(service.name.clone(), Arc::new(service.clone()));
        }
        for model in &definitions.models {
            self.models.insert(model.name.clone(), Arc::new(model.clone()));
        }
    }

    /// The join keys of a view in canonical order (by name).
    ///
    /// # Errors
    /// `NotFound` when an entity of the view does not exist.
    pub fn join_keys(&self, view: &FeatureView) -> Result<Vec<JoinKey>> {
        let mut keys = Vec::new();
        for entity in &view.entities {
            for key in &self.entity(entity.as_str())?.join_keys {
                keys.push(JoinKey {
                    name: key.name.clone(),
                    value_type: key.value_type,
                });
            }
        }
        keys.sort_by(|a: &JoinKey, b| a.name.cmp(&b.name));
        Ok(keys)
    }
}
