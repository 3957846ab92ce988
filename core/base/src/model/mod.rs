//! What users define: entities, sources, views, services, models, and how they refer to each other.

mod catalog;
mod common;
mod reference;
mod service;
mod source;
mod view;

pub use catalog::{Catalog, Definitions};
pub use common::{Entity, JoinKeyDef, Kind, Model, ObjectId, Sensitivity, Tags};
pub use reference::Reference;
pub use service::{FeatureService, ServiceItem};
pub use source::{CreatedTime, Knowledge, Source};
pub use view::{Feature, FeatureView, OnDemandFeature, OnDemandInputs, OnDemandView, Online, RequestField};
