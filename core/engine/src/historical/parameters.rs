//! What decides a training set besides definitions and data? Kept together, so that a manifest can repeat it.

use std::collections::BTreeMap;

use larder_base::model::Knowledge;
use larder_base::{Micros, Version};
use serde::{Deserialize, Serialize};

use super::TIME_COLUMN;
use super::split::Split;

/// Where the rows of a training set come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RowsFrom {
    /// The caller's entity rows.
    #[default]
    Entities,
    /// One row per entity that the selected views know at an instant.
    Latest {
        /// The instant.
        at: Micros,
    },
    /// The rows of one view with event times in an interval, both ends inclusive.
    Range {
        /// First event time.
        from: Micros,
        /// Last event time.
        until: Micros,
    },
}

/// What was asked for besides the selection; the same parameters over the same definitions and
/// data give the same training set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parameters {
    /// Where rows come from.
    #[serde(default)]
    pub rows: RowsFrom,
    /// The time column.
    pub time_column: String,
    /// Zone of naive timestamps in the entity rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Join key → column of the entity rows, where they differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, String>,
    /// What created time decides, in place of what the sources say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<Knowledge>,
    /// Whether columns are named `view__feature`.
    #[serde(default)]
    pub full_names: bool,
    /// Whether each view's event time is a column, too.
    #[serde(default)]
    pub event_times: bool,
    /// Only so many of the first rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only source rows that were visible at this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_until: Option<Micros>,
    /// The version of the definitions; the newest where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_version: Option<Version>,
    /// Columns of the entity rows that a model is to predict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How rows are parted into files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            rows: RowsFrom::Entities,
            time_column: TIME_COLUMN.to_owned(),
            timezone: None,
            keys: BTreeMap::new(),
            knowledge: None,
            full_names: false,
            event_times: false,
            limit: None,
            known_until: None,
            at_version: None,
            labels: Vec::new(),
            split: None,
        }
    }
}

impl Parameters {
    /// The column that holds a key column of the selection.
    pub fn column_of<'a>(&'a self, key: &'a str) -> &'a str {
        self.keys.get(key).map_or(key, String::as_str)
    }
}
