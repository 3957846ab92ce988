//! How do the values of Arrow columns read as text and as JSON?

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use larder::convert::{Zone, coerce, infer_type, value_at};
use larder::{Error, Result, Value, ValueType};
use serde_json::Value as Json;

use super::{Align, Table};
use crate::rows::in_utc;

/// A column whose single values can be asked for, whatever its type.
enum Readable<'a> {
    Typed(ArrayRef, ValueType),
    /// A type larder does not know, in Arrow's own text.
    Text(&'a ArrayRef, ArrayFormatter<'a>),
}

impl<'a> Readable<'a> {
    fn new(column: &'a ArrayRef) -> Result<Self> {
        if let Some(of) = infer_type(column.data_type()) {
            // Naive times of the caller's own columns are shown as they stand.
            if let Ok(canonical) = coerce(column, of, Some(&Zone::new("UTC")?)) {
                return Ok(Self::Typed(canonical, of));
            }
        }
        const OPTIONS: FormatOptions<'static> = FormatOptions::new();
        let formatter = ArrayFormatter::try_new(column, &OPTIONS)
            .map_err(|e| Error::unsupported("a column cannot be shown").source(e))?;
        Ok(Self::Text(column, formatter))
    }

    fn value(&self, row: usize) -> Value {
        match self {
            Self::Typed(column, of) => value_at(column, row, *of),
            Self::Text(column, _) if column.is_null(row) => Value::Null,
            Self::Text(_, formatter) => Value::str(&formatter.value(row).to_string()),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Typed(_, of) if [ValueType::INT32, ValueType::INT64, ValueType::FLOAT32, ValueType::FLOAT64].contains(of))
    }
}

/// A value as people read it in a cell: a null is empty.
pub(crate) fn cell_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The rows as JSON objects.
///
/// # Errors
/// `Unsupported` for a column that cannot be shown.
pub(crate) fn batch_json(batch: &RecordBatch) -> Result<Vec<Json>> {
    let batch = in_utc(batch)?;
    let columns: Vec<Readable<'_>> = batch.columns().iter().map(Readable::new).collect::<Result<_>>()?;
    let schema = batch.schema();
    let object = |row: usize| {
        let pairs = schema.fields().iter().zip(&columns);
        Json::Object(
            pairs
                .map(|(field, column)| (field.name().clone(), column.value(row).to_json()))
                .collect(),
        )
    };
    Ok((0..batch.num_rows()).map(object).collect())
}

/// The rows as a table, one line each.
///
/// # Errors
/// `Unsupported` for a column that cannot be shown.
pub(crate) fn batch_table(batch: &RecordBatch) -> Result<Table> {
    let batch = in_utc(batch)?;
    let columns: Vec<Readable<'_>> = batch.columns().iter().map(Readable::new).collect::<Result<_>>()?;
    let mut table = Table::new(batch.schema().fields().iter().map(|field| field.name().clone()));
    for (i, column) in columns.iter().enumerate() {
        if column.is_number() {
            table.set_align(i, Align::Right);
        }
    }
    for row in 0..batch.num_rows() {
        table.row(columns.iter().map(|column| cell_text(&column.value(row))));
    }
    Ok(table.or_say("no rows"))
}

/// The rows as a table with one line per column: readable where there are many columns.
///
/// # Errors
/// `Unsupported` for a column that cannot be shown.
pub(crate) fn transposed(batch: &RecordBatch) -> Result<Table> {
    let batch = in_utc(batch)?;
    let columns: Vec<Readable<'_>> = batch.columns().iter().map(Readable::new).collect::<Result<_>>()?;
    let head = (0..batch.num_rows()).map(|row| format!("row {}", row + 1));
    let mut table = Table::new(std::iter::once("column".to_owned()).chain(head));
    for (field, column) in batch.schema().fields().iter().zip(&columns) {
        let cells = (0..batch.num_rows()).map(|row| cell_text(&column.value(row)));
        table.row(std::iter::once(field.name().clone()).chain(cells));
    }
    Ok(table.or_say("no rows"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, StringArray, TimestampMillisecondArray};

    use super::*;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
            ("x", Arc::new(Float64Array::from(vec![Some(1.5), None]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1_000]))),
            ("name", Arc::new(StringArray::from(vec!["a", "b"]))),
        ])
        .unwrap()
    }

    #[test]
    fn json_keeps_types_and_nulls() {
        let rows = batch_json(&batch()).unwrap();
        assert_eq!(
            rows[1],
            serde_json::json!({ "id": 2, "x": null, "at": "1970-01-01T00:00:01Z", "name": "b" })
        );
    }

    #[test]
    fn a_null_is_an_empty_cell() {
        assert_eq!(
            batch_table(&batch()).unwrap().csv(),
            "id,x,at,name\n1,1.5,1970-01-01T00:00:00Z,a\n2,,1970-01-01T00:00:01Z,b\n"
        );
        assert!(
            transposed(&batch())
                .unwrap()
                .csv()
                .starts_with("column,row 1,row 2\nid,1,2\n")
        );
    }
}
