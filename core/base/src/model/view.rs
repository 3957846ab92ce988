//! Feature views and on-demand views.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::common::{Sensitivity, Tags};
use crate::names::{EntityName, FeatureName, SourceName, StoreName, ViewName};
use crate::time::Span;
use crate::types::ValueType;

/// Features of the same entities from one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureView {
    /// Name.
    pub name: ViewName,
    /// Whose features; none for features that hold for everything.
    #[serde(default)]
    pub entities: Vec<EntityName>,
    /// Where the rows come from.
    pub source: SourceName,
    /// How long a value is good after its event time; for ever where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Whether, and in which store, it is served online.
    #[serde(default, skip_serializing_if = "Online::is_default")]
    pub online: Online,
    /// How late rows may arrive; the window an incremental run looks at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness: Option<Span>,
    /// After how long the online backend may free a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Span>,
    /// Cron line for generated jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// How long ago the view may have been materialized; the age of its data is that of its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Span>,
    /// The features.
    pub features: Vec<Feature>,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl FeatureView {
    /// A feature by name.
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.name == *name)
    }
}

/// One feature of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Name, and the source's column unless the source renames it.
    pub name: FeatureName,
    /// Type.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How sensitive it is.
    #[serde(default, skip_serializing_if = "Sensitivity::is_none")]
    pub sensitivity: Sensitivity,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// Whether, and in which store, a view is served online.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Online {
    /// Not at all.
    Off,
    /// In the default online store.
    #[default]
    Default,
    /// In a named online store.
    Store(StoreName),
}

impl Online {
    fn is_default(&self) -> bool {
        *self == Self::Default
    }

    /// The name of the store; `None` when the view is not served.
    pub fn store(&self) -> Option<StoreName> {
        match self {
            Self::Off => None,
            Self::Default => Some(StoreName::default_store()),
            Self::Store(name) => Some(name.clone()),
        }
    }
}

impl Serialize for Online {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::Default => serializer.serialize_bool(true),
            Self::Store(name) => name.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Online {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Online;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or the name of an online store")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Online, E> {
                Ok(if on { Online::Default } else { Online::Off })
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Online, E> {
                name.parse().map(Online::Store).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Online, A::Error> {
                #[derive(Deserialize)]
                struct Long {
                    store: StoreName,
                }
                let long = Long::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Online::Store(long.store))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Features computed at request time from request data and other features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemandView {
    /// Name.
    pub name: ViewName,
    /// What the expressions may use.
    #[serde(default)]
    pub inputs: OnDemandInputs,
    /// The features.
    pub features: Vec<OnDemandFeature>,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// Inputs of an on-demand view.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OnDemandInputs {
    /// Fields that come with the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<RequestField>,
    /// References to features.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// A field that comes with the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestField {
    /// Name.
    pub name: crate::names::ColumnName,
    /// Type.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A feature of an on-demand view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemandFeature {
    /// Name.
    pub name: FeatureName,
    /// Type of the result.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// SQL expression over the inputs.
    pub expr: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How sensitive it is.
    #[serde(default, skip_serializing_if = "Sensitivity::is_none")]
    pub sensitivity: Sensitivity,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}
