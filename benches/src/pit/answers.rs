//! What did an engine answer? One hash per row and view, whatever the types it stored its values in.

use std::path::Path;

use larder::arrow::array::cast::AsArray;
use larder::arrow::array::types::Int64Type;
use larder::arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use larder::arrow::cast::{CastOptions, cast_with_options};
use larder::arrow::datatypes::DataType;
use larder::arrow::row::{RowConverter, SortField};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::Result;
use crate::files;

/// Columns to compare, and their types in larder's answer.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) names: Vec<String>,
    pub(crate) types: Vec<DataType>,
}

/// A row that is not in the answer.
pub(crate) const ABSENT: u64 = 0;

/// Hashes rows of features, so that equal values have equal hashes.
pub(crate) struct Hasher {
    types: Vec<DataType>,
    rows: RowConverter,
    /// Hash of a row of nulls: nothing matched.
    pub(crate) nothing: u64,
}

impl Hasher {
    pub(crate) fn new(types: &[DataType]) -> Result<Self> {
        let fields = types.iter().map(|of| SortField::new(of.clone())).collect();
        let mut hasher = Self {
            types: types.to_vec(),
            rows: RowConverter::new(fields)?,
            nothing: ABSENT,
        };
        let nulls: Vec<ArrayRef> = types.iter().map(|of| new_null_array(of, 1)).collect();
        hasher.nothing = hasher.hash(&nulls)?[0];
        Ok(hasher)
    }

    /// One hash per row, never [`ABSENT`].
    pub(crate) fn hash(&mut self, columns: &[ArrayRef]) -> Result<Vec<u64>> {
        let mut cast = Vec::with_capacity(columns.len());
        for (column, of) in columns.iter().zip(&self.types) {
            cast.push(exact(column, of)?);
        }
        let rows = self.rows.convert_columns(&cast)?;
        Ok(rows.iter().map(|row| xxh3_64(row.as_ref()).max(1)).collect())
    }
}

/// Another representation of the same values; a value without one is an error, never a null.
pub(crate) fn exact(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(cast_with_options(column, to, &options)?)
}

/// The answer of one engine.
pub(crate) struct Answers {
    /// Per view and row the hash of its features.
    pub(crate) hashes: Vec<Vec<u64>>,
    /// Rows that came more than once.
    pub(crate) repeated: u64,
    pub(crate) nothing: Vec<u64>,
}

impl Answers {
    /// Reads an engine's result: `row_id` and features named `view__feature`.
    pub(crate) fn read(path: &Path, rows: usize, views: &[Wanted]) -> Result<Self> {
        let mut hashers = views
            .iter()
            .map(|view| Hasher::new(&view.types))
            .collect::<Result<Vec<_>>>()?;
        let mut answers = Self {
            hashes: vec![vec![ABSENT; rows]; views.len()],
            repeated: 0,
            nothing: hashers.iter().map(|hasher| hasher.nothing).collect(),
        };
        for batch in files::read(path, None)? {
            let batch = batch?;
            let ids = exact(&column(&batch, "row_id")?, &DataType::Int64)?;
            let ids = ids.as_primitive::<Int64Type>();
            for (at, (view, hasher)) in views.iter().zip(&mut hashers).enumerate() {
                let columns = view.names.iter().map(|name| column(&batch, name));
                let hashes = hasher.hash(&columns.collect::<Result<Vec<_>>>()?)?;
                for (row, hash) in hashes.into_iter().enumerate() {
                    let id = usize::try_from(ids.value(row))?;
                    let place = answers.hashes[at].get_mut(id);
                    let place = place.ok_or_else(|| format!("row {id} was never asked for"))?;
                    answers.repeated += u64::from(at == 0 && *place != ABSENT);
                    *place = hash;
                }
            }
        }
        Ok(answers)
    }

    /// Equal for equal answers, whatever the order of rows.
    pub(crate) fn digest(&self) -> String {
        let mut digest = Xxh3::new();
        for hash in self.hashes.iter().flatten() {
            digest.update(&hash.to_le_bytes());
        }
        format!("{:016x}", digest.digest())
    }
}

pub(crate) fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let column = batch.column_by_name(name).cloned();
    column.ok_or_else(|| format!("the result has no column {name}").into())
}
