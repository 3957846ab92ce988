//! Feature services: the features one model needs, in order, with roles and defaults.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::common::Tags;
use super::reference::Reference;
use crate::names::{ColumnName, FeatureName, ServiceName, ViewName};

/// The features of one model, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureService {
    /// Name.
    pub name: ServiceName,
    /// What it serves.
    pub features: Vec<ServiceItem>,
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

/// One item of a service: some or all features of a view, perhaps in a role.
///
/// In YAML also `view`, `view:feature` and `{ ref: "view:feature", default: 0 }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceItem {
    /// The view, feature view or on-demand view.
    pub view: ViewName,
    /// Role: the same view a second time under other keys.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub alias: Option<ColumnName>,
    /// Join key of the view → column of the entity rows, where they differ.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<ColumnName, ColumnName>,
    /// The features; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<FeatureName>>,
    /// Fills `not_found` and `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// Whether the default also fills nulls.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_null: bool,
}

impl ServiceItem {
    /// The item for a plain reference.
    pub fn from_reference(reference: Reference) -> Self {
        Self {
            view: reference.view,
            alias: None,
            keys: BTreeMap::new(),
            features: reference.feature.map(|feature| vec![feature]),
            default: None,
            default_null: false,
        }
    }
}

impl<'de> Deserialize<'de> for ServiceItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Long {
            #[serde(default, rename = "ref")]
            reference: Option<String>,
            #[serde(default)]
            view: Option<ViewName>,
            #[serde(default, rename = "as")]
            alias: Option<ColumnName>,
            #[serde(default)]
            keys: BTreeMap<ColumnName, ColumnName>,
            #[serde(default)]
            features: Option<Vec<FeatureName>>,
            #[serde(default)]
            default: Option<serde_json::Value>,
            #[serde(default)]
            default_null: bool,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ServiceItem;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`view`, `view:feature`, { ref: …, default: … } or { view: …, as: …, keys: …, features: … }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ServiceItem, E> {
                text.parse().map(ServiceItem::from_reference).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ServiceItem, A::Error> {
                let long = Long::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let base = match (long.reference, long.view) {
                    (Some(text), None) => {
                        let item = ServiceItem::from_reference(text.parse().map_err(de::Error::custom)?);
                        if long.features.is_some() && item.features.is_some() {
                            return Err(de::Error::custom(
                                "`ref` names a feature already, drop `features`",
                            ));
                        }
                        item
                    }
                    (None, Some(view)) => ServiceItem::from_reference(Reference { view, feature: None }),
                    _ => return Err(de::Error::custom("an item needs either `ref` or `view`")),
                };
                if long.default_null && long.default.is_none() {
                    return Err(de::Error::custom("`default_null` needs a `default`"));
                }
                Ok(ServiceItem {
                    alias: long.alias,
                    keys: long.keys,
                    features: long.features.or(base.features),
                    default: long.default,
                    default_null: long.default_null,
                    view: base.view,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
