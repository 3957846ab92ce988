//! Does a row group's Bloom filter rule out every key that is looked for?
//!
//! Split block Bloom filters as the Parquet format specifies them; they hash a value's plain encoding, so only types
//! whose plain encoding follows from the key alone are asked.

use larder_core::Result;
use larder_core::arrow::datatypes::DataType;
use parquet::basic::Type as Physical;
use parquet::bloom_filter::Sbbf;

use crate::bounds::leaf;
use crate::fault;
use crate::keys::{Key, Keys};
use crate::object::Chunks;
use crate::reader::ScanFile;

/// Whether a row group has a filter for a column that could be asked for these keys.
pub(crate) fn is_there(file: &ScanFile, row_group: usize, column: &str, keys: &Keys) -> bool {
    let asked = keys.few.as_ref().is_some_and(|few| !few.is_empty());
    let there = |leaf: usize| {
        let chunk = file.footer.metadata().row_group(row_group).column(leaf);
        chunk.bloom_filter_offset().is_some()
    };
    asked && plain(file, column) && leaf(file, column).is_some_and(there)
}

/// Whether a row group may hold one of the keys.
pub(crate) fn may_hold(
    file: &ScanFile,
    chunks: &Chunks,
    row_group: usize,
    column: &str,
    keys: &Keys,
) -> Result<bool> {
    let (Some(few), Some(leaf)) = (&keys.few, leaf(file, column)) else {
        return Ok(true);
    };
    let chunk = file.footer.metadata().row_group(row_group).column(leaf);
    let filter = match Sbbf::read_from_column_chunk(chunk, chunks) {
        Ok(Some(filter)) => filter,
        // A filter that cannot be read rules out nothing; the data will tell whether the file is damaged.
        Ok(None) | Err(parquet::errors::ParquetError::General(_)) => return Ok(true),
        Err(error) => return Err(fault::reading(chunks, error, &file.file.shown)),
    };
    Ok(few.iter().any(|key| match (key, chunk.column_type()) {
        // What does not fit the column's type is not in it.
        (Key::Int(key), Physical::INT32) => i32::try_from(*key).is_ok_and(|key| filter.check(&key)),
        (Key::Int(key), Physical::INT64) => filter.check(key),
        (Key::Bytes(key), Physical::BYTE_ARRAY) => filter.check(key.as_slice()),
        _ => true,
    }))
}

/// Whether the column's values are encoded as the keys are.
fn plain(file: &ScanFile, column: &str) -> bool {
    fn is_plain(of: &DataType) -> bool {
        match of {
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::Date32
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => true,
            DataType::Dictionary(_, values) => is_plain(values),
            _ => false,
        }
    }
    let field = file.footer.schema().field_with_name(column);
    field.is_ok_and(|field| is_plain(field.data_type())) && file.constant(column).is_none()
}
