//! How values pass between Arrow, packed rows, canonical keys and single values.

mod coerce;
mod columns;
mod keys;
mod pack;
mod scan;
mod values;
mod zone;

pub use coerce::{UnclearTimes, accepts, coerce, unclear_times};
pub use columns::{ColumnFill, block_column};
pub use keys::{encode_keys, key_arrays};
pub use pack::pack_rows;
pub use scan::{PARTITION, SourceColumns, TIE_BREAK_COLUMN, align_rows, concat_rows, tie_rows};
pub use values::{array_of, null_array, value_at};
pub use zone::Zone;

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use larder_base::{ScalarType, ValueType};

/// The canonical Arrow type of a declared type. Timestamps are µs with zone `UTC`.
pub fn arrow_type(of: ValueType) -> DataType {
    match of {
        ValueType::Scalar(scalar) => scalar_type(scalar),
        ValueType::List(item) => DataType::List(Arc::new(Field::new_list_field(scalar_type(item), true))),
        ValueType::Vector(n) => DataType::FixedSizeList(
            Arc::new(Field::new_list_field(DataType::Float32, false)),
            i32::try_from(n).unwrap_or(i32::MAX),
        ),
        // A type that a newer larder-base knows and this crate does not is carried as bytes.
        _ => DataType::Binary,
    }
}

fn scalar_type(scalar: ScalarType) -> DataType {
    match scalar {
        ScalarType::Bool => DataType::Boolean,
        ScalarType::Int32 => DataType::Int32,
        ScalarType::Int64 => DataType::Int64,
        ScalarType::Float32 => DataType::Float32,
        ScalarType::Float64 => DataType::Float64,
        ScalarType::String => DataType::Utf8,
        ScalarType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ScalarType::Date => DataType::Date32,
        ScalarType::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
        _ => DataType::Binary,
    }
}

/// The declared type that fits a column best, for `infer`; `None` where none does.
pub fn infer_type(of: &DataType) -> Option<ValueType> {
    Some(match of {
        DataType::Boolean => ValueType::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            ValueType::INT32
        }
        DataType::Int64 | DataType::UInt32 => ValueType::INT64,
        DataType::Float16 | DataType::Float32 => ValueType::FLOAT32,
        DataType::Float64 => ValueType::FLOAT64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ValueType::STRING,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            ValueType::BYTES
        }
        DataType::Timestamp(..) => ValueType::TIMESTAMP,
        DataType::Date32 | DataType::Date64 => ValueType::DATE,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s)
            if *s >= 0 && *s as u8 <= *p =>
        {
            ValueType::Scalar(ScalarType::Decimal {
                precision: *p,
                scale: *s as u8,
            })
        }
        DataType::Dictionary(_, values) => return infer_type(values),
        DataType::FixedSizeList(item, n) if *item.data_type() == DataType::Float32 && *n > 0 => {
            ValueType::Vector(*n as u32)
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            match infer_type(item.data_type())? {
                ValueType::Scalar(scalar) => ValueType::List(scalar),
                _ => return None,
            }
        }
        _ => return None,
    })
}
