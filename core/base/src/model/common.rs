//! Entities and models, and what all objects have in common.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{ColumnName, EntityName, ModelName, ServiceName};
use crate::types::ValueType;

/// Free labels of an object.
pub type Tags = BTreeMap<String, String>;

/// The kinds of objects a project holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// [`Entity`]
    Entity,
    /// [`crate::model::Source`]
    Source,
    /// [`crate::model::FeatureView`]
    FeatureView,
    /// [`crate::model::OnDemandView`]
    OnDemandView,
    /// [`crate::model::FeatureService`]
    FeatureService,
    /// [`Model`]
    Model,
}

impl Kind {
    /// All kinds in the order in which they build on each other.
    pub const ALL: [Self; 6] = [
        Self::Entity,
        Self::Source,
        Self::FeatureView,
        Self::OnDemandView,
        Self::FeatureService,
        Self::Model,
    ];

    /// The name in documents: `feature_view`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Source => "source",
            Self::FeatureView => "feature_view",
            Self::OnDemandView => "on_demand_view",
            Self::FeatureService => "feature_service",
            Self::Model => "model",
        }
    }

    /// The name of the list in YAML: `feature_views`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Entity => "entities",
            Self::Source => "sources",
            Self::FeatureView => "feature_views",
            Self::OnDemandView => "on_demand_views",
            Self::FeatureService => "feature_services",
            Self::Model => "models",
        }
    }

    /// Reads singular and plural names, with `_` or `-`, and the short forms people type.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.replace('-', "_").to_lowercase();
        Self::ALL
            .into_iter()
            .find(|kind| text == kind.as_str() || text == kind.plural())
            .or(match text.as_str() {
                "view" | "views" => Some(Self::FeatureView),
                "service" | "services" => Some(Self::FeatureService),
                _ => None,
            })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // For people: `feature view`.
        f.write_str(&self.as_str().replace('_', " "))
    }
}

/// Kind and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// Kind; a kind this build does not know keeps its text.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl ObjectId {
    /// The id of an object of a known kind.
    pub fn new(kind: Kind, name: impl AsRef<str>) -> Self {
        Self {
            kind: kind.as_str().to_owned(),
            name: name.as_ref().to_owned(),
        }
    }

    /// The kind, where this build knows it.
    pub fn known_kind(&self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == self.kind)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind.replace('_', " "), self.name)
    }
}

/// How sensitive a key or feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sensitivity {
    /// Not sensitive.
    #[default]
    None,
    /// Identifies a person.
    Pii,
    /// Health information.
    Phi,
}

impl Sensitivity {
    /// Whether it is the default, for shorter documents.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// A thing that features describe, such as a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Name.
    pub name: EntityName,
    /// The columns that identify it.
    pub join_keys: Vec<JoinKeyDef>,
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

/// A join key as it is defined on an entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinKeyDef {
    /// Column name.
    pub name: ColumnName,
    /// Type; any but floats, lists and vectors.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// How sensitive its values are.
    #[serde(default, skip_serializing_if = "Sensitivity::is_none")]
    pub sensitivity: Sensitivity,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A trained model that uses a feature service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Name.
    pub name: ModelName,
    /// The service it reads.
    pub service: ServiceName,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Where it stands, such as `prod`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}
