//! The entity rows in parts by key.

use std::sync::Arc;

use larder_core::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use larder_core::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use larder_core::{EntityRows, Result, SpineFiles, pit};
use parking_lot::Mutex;

use super::files::{Folder, Part, Writers};
use crate::entity::{Cursor, pick};
use crate::fault;
use crate::work::{self, Cancel};

/// Sends every entity row, with its number, to the part of its key.
pub(crate) fn scatter(
    rows: &EntityRows,
    set: &[usize],
    parts: usize,
    name: &str,
    folder: &Arc<Folder>,
    threads: usize,
    cancel: &Cancel,
) -> Result<Vec<Part>> {
    let mut cursor = Cursor::new(rows)?;
    let Some(first) = cursor.next()? else {
        return Ok((0..parts).map(|_| Part::default()).collect());
    };
    let schema = schema(&pick(&first.keys, set)?);
    let writers = Writers::new(folder, name, schema.clone(), parts);
    let waiting = Mutex::new((Some(first), cursor));
    let next = || {
        let mut waiting = waiting.lock();
        match waiting.0.take() {
            Some(first) => Ok(Some(first)),
            None => waiting.1.next(),
        }
    };
    work::each(vec![(); threads], threads, cancel, |(), _| {
        while let Some(rows) = next()? {
            cancel.check()?;
            let n = rows.times.len();
            let mut columns = pick(&rows.keys, set)?;
            let files = pit::partition(&columns, n, parts as u32).map_err(fault::kernel)?;
            columns.push(Arc::new(rows.times.with_timezone("UTC")));
            columns.push(Arc::new(UInt64Array::from_iter_values(
                rows.first..rows.first + n as u64,
            )));
            let batch = RecordBatch::try_new(schema.clone(), columns).map_err(fault::arrow)?;
            writers.scatter(&batch, &files)?;
        }
        Ok(())
    })?;
    writers.finish()
}

/// Keys, time, number of the row.
fn schema(keys: &[ArrayRef]) -> SchemaRef {
    let mut fields = SpineFiles::fields(keys);
    fields.push(Field::new("row", DataType::UInt64, false));
    Arc::new(Schema::new(fields))
}
