//! Tables that people can read, as sources and entity rows: the form in which point-in-time cases are written.
//!
//! A scenario is one point-in-time join: sources with their rows, entity rows, views, and perhaps what is expected.
//! `cases/*.case` hold scenarios as text; [`Scenario::parse`] reads them:
//!
//! ```text
//! about: the newest row not after T is joined
//!
//! [source stats]
//! event_time: at
//! | user int64 | at timestamp | n int64 as int16 |
//! | 1          | 10:00        | 5                |
//!
//! [entities]
//! | user int64 | T     |
//! | 1          | 10:30 |
//!
//! [view stats]
//! keys: user
//! features: n
//!
//! [expect stats]
//! | n | event |
//! | 5 | 10:00 |
//! ```
//!
//! Options of a source are those of its YAML, each value in JSON or as bare text. A line of `==` cuts a source's rows
//! into two batches. Times are `10:00` on 2026-05-01, anything RFC 3339, a number of `us`, `min` or `max`. A column
//! may be stored `as` another Arrow type: `int8` … `uint32`, `float32`, `large_string`, `string_view`, `dictionary`,
//! `s`, `ms`, `ns`, `naive`, `naive+02:00` (the wall clock two hours ahead of UTC).

use std::sync::Arc;

use larder_core::arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use larder_core::arrow::cast::cast;
use larder_core::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use larder_core::convert::array_of;
use larder_core::model::{Knowledge, Source};
use larder_core::{
    ColumnName, EntityRows, Error, FeatureName, HistoricalRead, JoinKey, Micros, Result, Span, Value,
    ValueType, ViewJoin, ViewName, ViewScan,
};

mod parse;

/// One point-in-time join.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Scenario {
    /// The sources.
    pub tables: Vec<Facts>,
    /// The entity rows.
    pub spine: Spine,
    /// The views.
    pub views: Vec<View>,
    /// What is expected of views, by position; the oracle must say the same.
    pub expected: Vec<Expected>,
}

/// A source and its rows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Facts {
    /// The source.
    pub source: Source,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows in their order; a value per column.
    pub rows: Vec<Vec<Value>>,
    /// Rows before which a new batch begins.
    pub cuts: Vec<usize>,
}

/// A column of a source.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Column {
    /// Name in the data.
    pub name: String,
    /// What its values mean.
    pub of: ValueType,
    /// How it is stored, where that differs.
    pub stored: Stored,
}

/// How a column is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stored {
    /// In the canonical Arrow type of its values.
    #[default]
    Canonical,
    /// Cast to another Arrow type, without loss.
    As(DataType),
    /// As timestamps without a zone that show a wall clock so many µs ahead of UTC.
    Naive(i64),
}

/// Entity rows.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Spine {
    /// Names and types of the key columns.
    pub columns: Vec<(String, ValueType)>,
    /// The keys of each row.
    pub rows: Vec<Vec<Value>>,
    /// `T` of each row, µs UTC.
    pub times: Vec<i64>,
}

/// A view in the join.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct View {
    /// Name.
    pub name: String,
    /// Which table.
    pub table: usize,
    /// Join keys by name, each with its column of the spine; sorted by name.
    pub keys: Vec<(String, usize)>,
    /// Features.
    pub features: Vec<String>,
    /// Time to live, µs.
    pub ttl: Option<i64>,
    /// Overrides what the source says about created times.
    pub knowledge: Option<Knowledge>,
}

/// What is expected of a view.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Expected {
    /// Which view.
    pub view: usize,
    /// Names of the columns given: features, `event`, `created`.
    pub columns: Vec<String>,
    /// Values per entity row.
    pub rows: Vec<Vec<Value>>,
    /// Counters of the report by name.
    pub counts: Vec<(String, u64)>,
}

impl Column {
    /// A column in its canonical type.
    pub fn new(name: impl Into<String>, of: ValueType) -> Self {
        Self {
            name: name.into(),
            of,
            stored: Stored::Canonical,
        }
    }

    fn array(&self, values: &[Value]) -> Result<ArrayRef> {
        let plain = array_of(values, self.of)?;
        let change =
            |error| Error::internal(format!("column `{}` cannot be stored so", self.name)).source(error);
        match &self.stored {
            Stored::Canonical => Ok(plain),
            Stored::As(to) => cast(&plain, to).map_err(change),
            Stored::Naive(ahead) => {
                let shifted: Vec<Option<i64>> = values
                    .iter()
                    .map(|value| match value {
                        Value::Timestamp(t) => t.0.checked_add(*ahead),
                        _ => None,
                    })
                    .collect();
                Ok(Arc::new(TimestampMicrosecondArray::from(shifted)))
            }
        }
    }

    fn stored_type(&self) -> DataType {
        match &self.stored {
            Stored::Canonical => larder_core::convert::arrow_type(self.of),
            Stored::As(to) => to.clone(),
            Stored::Naive(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

impl Facts {
    /// A source with columns and no rows yet.
    pub fn new(source: Source, columns: Vec<Column>) -> Self {
        Self {
            source,
            columns,
            rows: Vec::new(),
            cuts: Vec::new(),
        }
    }

    /// The position of a column.
    ///
    /// # Errors
    /// `Internal` when there is none: the scenario is wrong.
    pub fn column(&self, name: &str) -> Result<usize> {
        let found = self.columns.iter().position(|column| column.name == name);
        found.ok_or_else(|| Error::internal(format!("the scenario has no column `{name}`")))
    }

    /// The rows as record batches, cut where the scenario says; at least one.
    ///
    /// # Errors
    /// `Internal` when a value does not fit its column: the scenario is wrong.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        let mut ends: Vec<usize> = self.cuts.clone();
        ends.push(self.rows.len());
        let mut start = 0;
        let mut batches = Vec::new();
        for end in ends {
            batches.push(self.batch(start..end)?);
            start = end;
        }
        Ok(batches)
    }

    fn batch(&self, rows: std::ops::Range<usize>) -> Result<RecordBatch> {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| Field::new(&column.name, column.stored_type(), true))
            .collect();
        let mut arrays = Vec::new();
        for (number, column) in self.columns.iter().enumerate() {
            let values: Vec<Value> = self.rows[rows.clone()]
                .iter()
                .map(|row| row[number].clone())
                .collect();
            arrays.push(column.array(&values)?);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|error| Error::internal("the scenario's columns do not make a batch").source(error))
    }
}

impl View {
    /// A view without ttl in its source's knowledge mode.
    pub fn new(
        name: impl Into<String>,
        table: usize,
        keys: Vec<(String, usize)>,
        features: Vec<String>,
    ) -> Self {
        let mut keys = keys;
        keys.sort();
        Self {
            name: name.into(),
            table,
            keys,
            features,
            ttl: None,
            knowledge: None,
        }
    }

    /// The scan of this view on a source that reads its table.
    ///
    /// # Errors
    /// `Internal` when the scenario names columns that it does not have.
    pub fn scan(&self, facts: &Facts, source: &Arc<Source>) -> Result<ViewScan> {
        let mut scan = ViewScan::new(ViewName::new(&*self.name)?, source.clone());
        for (name, _) in &self.keys {
            let column = source.column_of(name).to_owned();
            let key = JoinKey {
                name: ColumnName::new(name.as_str())?,
                value_type: facts.columns[facts.column(&column)?].of,
            };
            scan = scan.key(key, column);
        }
        for name in &self.features {
            let column = source.column_of(name).to_owned();
            let of = facts.columns[facts.column(&column)?].of;
            scan = scan.feature(FeatureName::new(name.as_str())?, of, column);
        }
        Ok(scan)
    }

    /// The knowledge mode that holds.
    pub fn mode(&self, facts: &Facts) -> Knowledge {
        self.knowledge.unwrap_or(facts.source.knowledge)
    }
}

impl Scenario {
    /// The join as a request, on sources that read the tables.
    ///
    /// # Errors
    /// `Internal` when the scenario contradicts itself.
    pub fn request(&self, sources: &[Arc<Source>]) -> Result<HistoricalRead> {
        let mut keys = Vec::new();
        for (number, (_, of)) in self.spine.columns.iter().enumerate() {
            let values: Vec<Value> = self.spine.rows.iter().map(|row| row[number].clone()).collect();
            keys.push(array_of(&values, *of)?);
        }
        let times = TimestampMicrosecondArray::from(self.spine.times.clone()).with_timezone("UTC");
        let mut views = Vec::new();
        for view in &self.views {
            let scan = view.scan(&self.tables[view.table], &sources[view.table])?;
            let columns = view.keys.iter().map(|(_, column)| *column).collect();
            let mut join = ViewJoin::new(scan, columns).with_ttl(view.ttl.map(Span));
            if let Some(knowledge) = view.knowledge {
                join = join.with_knowledge(knowledge);
            }
            views.push(join);
        }
        Ok(HistoricalRead {
            rows: EntityRows::batches(keys, times),
            views,
        })
    }
}

/// The instant that a case's text names.
pub(crate) fn time(text: &str) -> Option<Micros> {
    match text {
        "min" => return Some(Micros::MIN),
        "max" => return Some(Micros::MAX),
        _ => {}
    }
    if let Some(number) = text.strip_suffix("us") {
        return number.parse().ok().map(Micros);
    }
    let clock = match text.len() {
        5 => format!("2026-05-01T{text}:00Z"),
        _ => format!("2026-05-01T{text}Z"),
    };
    clock.parse().or_else(|_| text.parse()).ok()
}
