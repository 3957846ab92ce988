//! The entity rows, reduced to what offline stores need: distinct key columns and times.

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_base::error::suggest;
use larder_base::{Error, JoinKey, Result, ValueType};
use larder_core::EntityRows;
use larder_core::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use larder_core::arrow::datatypes::{Schema, SchemaRef};
use larder_core::convert::{Zone, coerce, concat_rows};

use super::parameters::Parameters;
use crate::selection::Resolved;

/// Entity rows and what offline stores need of them.
#[derive(Debug)]
pub(super) struct Spine {
    /// The caller's rows, untouched.
    rows: RecordBatch,
    /// Distinct (column, type) pairs in canonical Arrow types.
    keys: Vec<ArrayRef>,
    /// `T`, without nulls.
    times: TimestampMicrosecondArray,
    /// For each view and each of its keys in canonical order, the index in `keys`.
    pub(super) key_indexes: Vec<Vec<usize>>,
}

impl Spine {
    pub(super) fn reduce(
        batches: &[RecordBatch],
        resolved: &Resolved,
        parameters: &Parameters,
    ) -> Result<Self> {
        let rows = first_rows(one_batch(batches)?, parameters.limit);
        let zone = parameters
            .timezone
            .as_deref()
            .map(Zone::new)
            .transpose()
            .map_err(|error| Error::input(error.to_string()))?;
        let times = times(&rows, &parameters.time_column, zone.as_ref())?;
        refuse_unknown_renames(resolved, &parameters.keys)?;

        let mut known: Vec<(String, ValueType)> = Vec::new();
        let mut keys = Vec::new();
        let mut key_indexes = Vec::new();
        for view in &resolved.views {
            let mut indexes = Vec::with_capacity(view.keys.len());
            for role in &view.keys {
                let column = parameters.column_of(role.column.as_str());
                let wanted = (column.to_owned(), role.key.value_type);
                let index = match known.iter().position(|pair| *pair == wanted) {
                    Some(index) => index,
                    None => {
                        keys.push(key_column(&rows, column, &role.key, zone.as_ref())?);
                        known.push(wanted);
                        keys.len() - 1
                    }
                };
                indexes.push(index);
            }
            key_indexes.push(indexes);
        }
        Ok(Self {
            rows,
            keys,
            times,
            key_indexes,
        })
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// The caller's columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.rows.schema_ref()
    }

    /// What stores are asked with.
    pub(super) fn entity_rows(&self) -> EntityRows {
        EntityRows::batches(self.keys.clone(), self.times.clone())
    }

    /// Consecutive rows as the caller gave them, and their times.
    pub(super) fn window(&self, start: usize, rows: usize) -> (RecordBatch, TimestampMicrosecondArray) {
        (self.rows.slice(start, rows), self.times.slice(start, rows))
    }
}

fn first_rows(rows: RecordBatch, limit: Option<u64>) -> RecordBatch {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    match rows.num_rows() > limit {
        true => rows.slice(0, limit),
        false => rows,
    }
}

fn one_batch(batches: &[RecordBatch]) -> Result<RecordBatch> {
    match batches {
        [] => Err(Error::input("there are no entity rows").help("give some with `entities`")),
        batches => concat_rows(batches)
            .map_err(|error| Error::input(format!("the entity rows: {}", error.message()))),
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str, what: &str, remedy: &str) -> Result<&'a ArrayRef> {
    rows.column_by_name(name).ok_or_else(|| {
        let schema: &Schema = rows.schema_ref();
        let known = schema.fields().iter().map(|field| field.name().as_str());
        Error::input(format!(
            "the entity rows have no column `{name}`, which is {what}"
        ))
        .help(format!("{}; {remedy}", suggest(name, known)))
    })
}

fn times(rows: &RecordBatch, name: &str, zone: Option<&Zone>) -> Result<TimestampMicrosecondArray> {
    let found = column(rows, name, "their time", "name it with `--time-column`")?;
    let times = coerce(found, ValueType::TIMESTAMP, zone).map_err(|error| error.with("column", name))?;
    if times.null_count() > 0 {
        let rows: Vec<String> = (0..times.len())
            .filter(|row| times.is_null(*row))
            .take(10)
            .map(|row| row.to_string())
            .collect();
        return Err(Error::input(format!(
            "{} entity rows have no time: row {}{}",
            times.null_count(),
            rows.join(", "),
            if times.null_count() > rows.len() {
                ", …"
            } else {
                ""
            }
        ))
        .with("column", name)
        .help("rows are counted from 0; give each a time or leave it out"));
    }
    Ok(times.as_primitive().clone())
}

fn key_column(rows: &RecordBatch, name: &str, key: &JoinKey, zone: Option<&Zone>) -> Result<ArrayRef> {
    let what = format!("join key `{}`", key.name);
    let found = column(rows, name, &what, "map it with `--keys KEY=COLUMN`")?;
    match narrowed(found, key.value_type) {
        Some(column) => Ok(column),
        None => coerce(found, key.value_type, zone)
            .map_err(|error| error.with("column", name).with("join_key", &key.name)),
    }
}

/// An int64 column for an int32 key: tools write ids as int64 whatever they were. A value that
/// does not fit is no key of that type, so it matches nothing.
fn narrowed(column: &ArrayRef, of: ValueType) -> Option<ArrayRef> {
    use larder_core::arrow::array::Int32Array;
    use larder_core::arrow::datatypes::Int64Type;
    if of != ValueType::INT32 {
        return None;
    }
    let wide = column.as_primitive_opt::<Int64Type>()?;
    let narrow: Int32Array = wide
        .iter()
        .map(|value| value.and_then(|v| i32::try_from(v).ok()))
        .collect();
    Some(Arc::new(narrow))
}

/// Refuses renamed keys that no view has.
pub(super) fn refuse_unknown_renames(resolved: &Resolved, renames: &BTreeMap<String, String>) -> Result<()> {
    let columns = resolved.key_columns();
    match renames.keys().find(|name| !columns.contains_key(name.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Error::input(format!(
            "`{unknown}` is not a join key of the features asked for"
        ))
        .help(suggest(unknown, columns.keys().map(AsRef::as_ref)))),
    }
}
