//! Where rows come from and what their times mean.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::common::Tags;
use crate::names::{SourceName, StoreName};
use crate::time::{Micros, Span};

/// Rows of events in an offline store.
///
/// Keys that are not listed here (`path`, `table`, …) are options of the source's type; the
/// store that the source names reads and checks them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// Name.
    pub name: SourceName,
    /// Type, such as `parquet`; decides which options there are.
    #[serde(rename = "type")]
    pub kind: String,
    /// The configured offline store that reads it; the default store where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreName>,
    /// Column with the time at which the row's values became true.
    pub event_time: String,
    /// Column with the time at which the row was written, and from when on it means anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_time: Option<CreatedTime>,
    /// What created time decides in a training join.
    #[serde(skip_serializing_if = "Knowledge::is_default")]
    pub knowledge: Knowledge,
    /// How long after its event time a row is really known.
    #[serde(skip_serializing_if = "is_zero")]
    pub available_after: Span,
    /// Zone of naive timestamp columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Columns that decide between rows with equal times, larger first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tie_break: Vec<String>,
    /// Feature or key name → column name, where they differ.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Expression that rows must satisfy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Labels.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Options of the type.
    #[serde(flatten)]
    pub options: BTreeMap<String, serde_json::Value>,
}

fn is_zero(span: &Span) -> bool {
    *span == Span::ZERO
}

impl Source {
    /// Keys that every source may have, besides the options of its type.
    pub const KEYS: [&'static str; 14] = [
        "name",
        "type",
        "store",
        "event_time",
        "created_time",
        "knowledge",
        "available_after",
        "timezone",
        "tie_break",
        "columns",
        "filter",
        "description",
        "owner",
        "tags",
    ];

    /// The column that holds a feature or key.
    pub fn column_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.columns.get(name).map_or(name, String::as_str)
    }
}

/// What created time decides in a training join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Knowledge {
    /// It breaks ties between equal event times; nothing else.
    #[default]
    TieBreak,
    /// A row is seen only from its created time on.
    AsOf,
}

impl Knowledge {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The spelling in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TieBreak => "tie_break",
            Self::AsOf => "as_of",
        }
    }
}

/// The created-time column of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CreatedTime {
    /// Column name.
    pub column: String,
    /// Created times before this instant mean nothing: such rows count as known at their event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_from: Option<Micros>,
}

impl<'de> Deserialize<'de> for CreatedTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Long {
            column: String,
            #[serde(default)]
            trusted_from: Option<Micros>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = CreatedTime;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column name or { column: NAME, trusted_from: DATE }")
            }
            fn visit_str<E: de::Error>(self, column: &str) -> Result<CreatedTime, E> {
                Ok(CreatedTime {
                    column: column.to_owned(),
                    trusted_from: None,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CreatedTime, A::Error> {
                let long = Long::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(CreatedTime {
                    column: long.column,
                    trusted_from: long.trusted_from,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a source")
    }

    // By hand, not by `flatten`: that buffers the map and loses the places of wrong values.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Source, A::Error> {
        let mut name = None;
        let mut kind = None;
        let mut event_time = None;
        let mut source = Source {
            name: SourceName::new("unnamed").map_err(de::Error::custom)?,
            kind: String::new(),
            store: None,
            event_time: String::new(),
            created_time: None,
            knowledge: Knowledge::default(),
            available_after: Span::ZERO,
            timezone: None,
            tie_break: Vec::new(),
            columns: BTreeMap::new(),
            filter: None,
            description: String::new(),
            owner: String::new(),
            tags: Tags::new(),
            options: BTreeMap::new(),
        };
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => name = Some(map.next_value()?),
                "type" => kind = Some(map.next_value()?),
                "event_time" => event_time = Some(map.next_value()?),
                "store" => source.store = map.next_value()?,
                "created_time" => source.created_time = map.next_value()?,
                "knowledge" => source.knowledge = map.next_value()?,
                "available_after" => source.available_after = map.next_value()?,
                "timezone" => source.timezone = map.next_value()?,
                "tie_break" => source.tie_break = map.next_value()?,
                "columns" => source.columns = map.next_value()?,
                "filter" => source.filter = map.next_value()?,
                "description" => source.description = map.next_value()?,
                "owner" => source.owner = map.next_value()?,
                "tags" => source.tags = map.next_value()?,
                _ => {
                    let value = map.next_value()?;
                    source.options.insert(key, value);
                }
            }
        }
        source.name = name.ok_or_else(|| de::Error::missing_field("name"))?;
        source.kind = kind.ok_or_else(|| de::Error::missing_field("type"))?;
        source.event_time = event_time.ok_or_else(|| de::Error::missing_field("event_time"))?;
        Ok(source)
    }
}
