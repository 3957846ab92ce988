//! Which rows of a CSV are set aside, and why?

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use larder::{Error, Result};

use super::csv::Wrong;

/// The rows of a file as they were written, and the bad ones among them with their reasons.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    texts: Vec<RecordBatch>,
    rows: usize,
    bad: BTreeMap<usize, String>,
}

impl Aside {
    /// Rows in the file.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The bad rows, from 0, with their reasons.
    pub(crate) fn bad(&self) -> &BTreeMap<usize, String> {
        &self.bad
    }

    /// The rows of a batch all of whose cells can be typed; remembers the others.
    pub(super) fn sift(
        &mut self,
        texts: RecordBatch,
        names: &[String],
        typed: impl Fn(usize, &StringArray) -> Result<ArrayRef, Wrong>,
    ) -> Result<RecordBatch> {
        let mut good = vec![true; texts.num_rows()];
        for (i, name) in names.iter().enumerate() {
            let cells = texts.column(i).as_string::<i32>();
            // One look at the whole column; only where it has a wrong cell, row by row.
            if typed(i, cells).is_ok() {
                continue;
            }
            for (row, good) in good.iter_mut().enumerate() {
                if let Err(wrong) = typed(i, &cells.slice(row, 1)) {
                    *good = false;
                    let reason = format!("column `{name}`: {}", wrong.what);
                    self.bad.entry(self.rows + row).or_insert(reason);
                }
            }
        }
        self.rows += texts.num_rows();
        self.texts.push(texts.clone());
        filter_record_batch(&texts, &BooleanArray::from(good)).map_err(broken)
    }

    /// Adds rows that were refused later, counted among the good ones.
    pub(crate) fn add(&mut self, refused: impl IntoIterator<Item = (usize, String)>) {
        let good: Vec<usize> = (0..self.rows).filter(|row| !self.bad.contains_key(row)).collect();
        for (row, reason) in refused {
            if let Some(row) = good.get(row) {
                self.bad.insert(*row, reason);
            }
        }
    }

    /// The bad rows as they were written, with a column `reason`; none where all were good.
    pub(crate) fn dead(&self) -> Result<Option<RecordBatch>> {
        let Some(first) = self.texts.first().filter(|_| !self.bad.is_empty()) else {
            return Ok(None);
        };
        let all = concat_batches(&first.schema(), &self.texts).map_err(broken)?;
        let bad: BooleanArray = (0..self.rows)
            .map(|row| Some(self.bad.contains_key(&row)))
            .collect();
        let (schema, mut columns, _) = filter_record_batch(&all, &bad).map_err(broken)?.into_parts();
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("reason", DataType::Utf8, false)));
        columns.push(Arc::new(self.bad.values().map(Some).collect::<StringArray>()));
        let dead = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        dead.map(Some).map_err(broken)
    }
}

fn broken(cause: ArrowError) -> Error {
    Error::internal("rows could not be set aside").source(cause)
}
