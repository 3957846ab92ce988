//! What can each column of unknown data be? A pure function of its schema.

use std::collections::BTreeMap;

use arrow_schema::{DataType, Field, Schema};
use larder::convert::{accepts, infer_type};
use larder::error::suggest;
use larder::{Error, Result, ValueType};
use serde_json::{Value as Json, json};

use super::Question;
use super::footers::Footers;

/// Definitions found for data files.
#[derive(Debug, Clone)]
pub(crate) struct Inferred {
    /// Name of source and view.
    pub(super) name: String,
    /// Path of the source.
    pub(super) path: String,
    /// Where that path starts, in words.
    pub(super) path_from: &'static str,
    /// Join keys: legal name, column, type.
    pub(super) keys: Vec<Column>,
    /// Event-time column.
    pub(super) time: String,
    /// Created-time column.
    pub(super) created: Option<String>,
    /// Columns of naive times; then the source needs a zone.
    pub(super) naive: Vec<String>,
    /// Features.
    pub(super) features: Vec<Column>,
    /// Columns that cannot be features, with the reason.
    pub(super) skipped: Vec<(String, String)>,
    /// Counts from the files.
    pub(super) footers: Footers,
}

/// A column that becomes a key or feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// Legal name.
    pub(super) name: String,
    /// Name in the data.
    pub(super) column: String,
    /// Type.
    pub(super) of: ValueType,
}

/// Decides what the columns are.
pub(super) fn decide(question: &Question, path: &str, schema: &Schema) -> Result<Inferred> {
    let find = |name: &str| -> Result<&Field> {
        let known = schema.fields().iter().map(|f| f.name().as_str());
        schema.field_with_name(name).map_err(|_| {
            Error::input(format!("the data has no column `{name}`"))
                .help(suggest(name, known.collect::<Vec<_>>()))
        })
    };
    let mut names = Names::default();
    let mut keys = Vec::new();
    for (key, wanted) in &question.keys {
        keys.push(key_column(find(key)?, *wanted, &mut names)?);
    }
    let mut naive = Vec::new();
    for name in std::iter::once(&question.time).chain(&question.created) {
        let field = find(name)?;
        accepts(field.data_type(), ValueType::TIMESTAMP, true)
            .map_err(|e| Error::input(format!("column `{name}` is no time: {}", e.message())))?;
        if is_naive(field.data_type()) {
            naive.push(name.clone());
        }
    }
    let (mut features, mut skipped) = (Vec::new(), Vec::new());
    for (i, field) in schema.fields().iter().enumerate() {
        if schema.fields()[..i]
            .iter()
            .any(|earlier| earlier.name() == field.name())
        {
            let reason = "another column of the data has this name: rename one of them".to_owned();
            skipped.push((field.name().clone(), reason));
            continue;
        }
        let used = question.keys.iter().any(|(key, _)| key == field.name());
        if used || *field.name() == question.time || Some(field.name()) == question.created.as_ref() {
            continue;
        }
        match infer_type(field.data_type()) {
            Some(of) => {
                if matches!(field.data_type(), DataType::Timestamp(_, None)) {
                    naive.push(field.name().clone());
                }
                features.push(Column {
                    name: names.legal(field.name()),
                    column: field.name().clone(),
                    of,
                });
            }
            None => skipped.push((field.name().clone(), why_not(field.data_type()))),
        }
    }
    Ok(Inferred {
        name: match &question.name {
            Some(name) => larder::ViewName::new(name)?.to_string(),
            None => Names::default().legal(stem(path)),
        },
        path: path.to_owned(),
        path_from: "below `root` of the offline store",
        keys,
        time: question.time.clone(),
        created: question.created.clone(),
        naive,
        features,
        skipped,
        footers: Footers::default(),
    })
}

fn key_column(field: &Field, wanted: Option<ValueType>, names: &mut Names) -> Result<Column> {
    let name = field.name();
    let of = match wanted {
        Some(of) => {
            accepts(field.data_type(), of, true)
                .map_err(|e| Error::input(format!("join key `{name}`: {}", e.message())))?;
            of
        }
        None => infer_type(field.data_type())
            .ok_or_else(|| Error::input(format!("join key `{name}`: {}", why_not(field.data_type()))))?,
    };
    match of {
        ValueType::Scalar(scalar) if scalar.is_key() => Ok(Column {
            name: names.legal(name),
            column: name.clone(),
            of,
        }),
        _ => Err(Error::input(format!(
            "join key `{name}` is of type {of}, which cannot identify anything"
        ))
        .help("join keys are bool, int32, int64, string, bytes, date, timestamp or decimal")),
    }
}

fn is_naive(of: &DataType) -> bool {
    matches!(
        of,
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64
    )
}

fn why_not(of: &DataType) -> String {
    match of {
        DataType::UInt64 => "uint64 does not fit int64: write it as int64 or decimal(20,0)".to_owned(),
        DataType::Struct(_) => "a struct: write its fields as columns of their own".to_owned(),
        DataType::Map(..) => "a map: write the keys of interest as columns of their own".to_owned(),
        DataType::Null => "it holds nothing but nulls, so its type is unknown".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "a time of day without a date".to_owned(),
        other => format!("there is no type for {other}"),
    }
}

fn stem(path: &str) -> &str {
    let name = path.trim_end_matches('/');
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split('.').next().unwrap_or(name)
}

/// Legal names that are different without regard to case.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, usize>);

impl Names {
    fn legal(&mut self, column: &str) -> String {
        let mut name: String = column
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c
                } else {
                    '_'
                }
            })
            .take(120)
            .collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            name.insert(0, '_');
        }
        let seen = self.0.entry(name.to_lowercase()).or_default();
        *seen += 1;
        match *seen {
            1 => name,
            n => {
                let other = format!("{name}_{n}");
                self.legal(&other)
            }
        }
    }
}

impl Inferred {
    /// Names that differ from their columns.
    pub(super) fn renamed(&self) -> impl Iterator<Item = &Column> {
        self.keys
            .iter()
            .chain(&self.features)
            .filter(|c| c.name != c.column)
    }

    /// The entity of a join key: `user_id` identifies a `user`.
    pub(super) fn entity(key: &Column) -> &str {
        key.name
            .strip_suffix("_id")
            .filter(|name| !name.is_empty())
            .unwrap_or(&key.name)
    }

    /// The definitions and counts as programs read them.
    pub(crate) fn document(&self) -> Json {
        let entities: Vec<Json> = self
            .keys
            .iter()
            .map(|key| json!({ "name": Self::entity(key), "join_keys": [{ "name": key.name, "type": key.of }] }))
            .collect();
        let mut source =
            json!({ "name": self.name, "type": "parquet", "path": self.path, "event_time": self.time });
        if let Some(created) = &self.created {
            source["created_time"] = json!(created);
        }
        if !self.naive.is_empty() {
            source["timezone"] = json!("UTC");
        }
        let columns: BTreeMap<&str, &str> = self
            .renamed()
            .map(|c| (c.name.as_str(), c.column.as_str()))
            .collect();
        if !columns.is_empty() {
            source["columns"] = json!(columns);
        }
        let features: Vec<Json> = self
            .features
            .iter()
            .map(|f| json!({ "name": f.name, "type": f.of }))
            .collect();
        let view = json!({
            "name": self.name,
            "entities": self.keys.iter().map(Self::entity).collect::<Vec<_>>(),
            "source": self.name,
            "features": features,
        });
        // A view without features is refused, so there is none.
        let views: Vec<Json> = (!self.features.is_empty()).then_some(view).into_iter().collect();
        json!({
            "definitions": {
                "entities": entities,
                "sources": [source],
                "feature_views": views,
            },
            "files": self.footers.files,
            "rows": self.footers.rows,
            "nulls": self.footers.nulls,
            "skipped": self.skipped.iter().map(|(column, reason)| json!({ "column": column, "reason": reason })).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::TimeUnit;

    use super::*;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("user_id", DataType::Int32, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
            Field::new("Orders 30d", DataType::Int64, true),
            Field::new("orders_30d", DataType::Int64, true),
            Field::new("big", DataType::UInt64, true),
            Field::new("9lives", DataType::Utf8View, true),
            Field::new("ratio", DataType::Float64, true),
        ])
    }

    fn ask(keys: &[(&str, Option<&str>)], time: &str) -> Result<Inferred> {
        let question = Question {
            path: "data/user daily/".into(),
            keys: keys
                .iter()
                .map(|(k, t)| ((*k).to_owned(), t.map(|t| t.parse().unwrap())))
                .collect(),
            time: time.into(),
            created: None,
            name: None,
            root: None,
        };
        decide(&question, "user daily/", &Arc::new(schema()))
    }

    #[test]
    fn names_become_legal_and_stay_apart() {
        let found = ask(&[("user_id", Some("int64"))], "at").unwrap();
        assert_eq!(found.name, "user_daily");
        let names: Vec<&str> = found.features.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["Orders_30d", "orders_30d_2", "_9lives", "ratio"]);
        assert_eq!(found.keys[0].of, ValueType::INT64);
        assert_eq!(found.naive, ["at"]);
        assert_eq!(found.skipped[0].0, "big");
    }

    #[test]
    fn wrong_columns_are_refused_with_the_reason() {
        let message = |keys: &[(&str, Option<&str>)], time| ask(keys, time).unwrap_err().to_string();
        assert!(message(&[("user", None)], "at").contains("no column `user`"));
        assert!(message(&[("ratio", None)], "at").contains("cannot identify"));
        assert!(message(&[("user_id", Some("string"))], "at").contains("join key `user_id`"));
        assert!(message(&[("user_id", None)], "ratio").contains("is no time"));
    }
}
