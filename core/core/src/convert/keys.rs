//! Entity keys from columns.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use larder_base::keys::KeyWriter;
use larder_base::{EntityKeys, Error, JoinKey, Micros, Result, ScalarType, Value, ValueType};

use super::array_of;

/// Appends the canonical key of every row; rows with a null in any key become null keys.
///
/// `columns` are in the order of `join_keys` (by name) and in canonical Arrow types.
///
/// # Errors
/// `Input` with the row for a key that is too long; `Internal` for columns of other types.
pub fn encode_keys(
    join_keys: &[JoinKey],
    columns: &[ArrayRef],
    rows: usize,
    out: &mut EntityKeys,
) -> Result<()> {
    let writers: Vec<Writer<'_>> = join_keys
        .iter()
        .zip(columns)
        .map(|(k, c)| Writer::new(k, c))
        .collect::<Result<_>>()?;
    for row in 0..rows {
        let mut key = out.begin();
        if columns.iter().any(|column| column.is_null(row)) {
            key.null();
            continue;
        }
        for writer in &writers {
            writer.write(&mut key, row);
        }
        key.finish()?;
    }
    Ok(())
}

enum Writer<'a> {
    Bool(&'a arrow_array::BooleanArray),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    String(&'a arrow_array::StringArray),
    Bytes(&'a arrow_array::BinaryArray),
    Timestamp(&'a [i64]),
    Date(&'a [i32]),
    Decimal(&'a [i128], u8),
}

impl<'a> Writer<'a> {
    fn new(key: &JoinKey, column: &'a ArrayRef) -> Result<Self> {
        let ValueType::Scalar(scalar) = key.value_type else {
            return Err(not_a_key(key));
        };
        let other = || {
            Error::internal(format!(
                "the column of key `{}` is of type {}",
                key.name,
                column.data_type()
            ))
        };
        let writer = match scalar {
            ScalarType::Bool => column.as_boolean_opt().map(Self::Bool),
            ScalarType::Int32 => column
                .as_primitive_opt::<Int32Type>()
                .map(|c| Self::Int32(c.values())),
            ScalarType::Int64 => column
                .as_primitive_opt::<Int64Type>()
                .map(|c| Self::Int64(c.values())),
            ScalarType::String => column.as_string_opt::<i32>().map(Self::String),
            ScalarType::Bytes => column.as_binary_opt::<i32>().map(Self::Bytes),
            ScalarType::Timestamp => column
                .as_primitive_opt::<TimestampMicrosecondType>()
                .map(|c| Self::Timestamp(c.values())),
            ScalarType::Date => column
                .as_primitive_opt::<Date32Type>()
                .map(|c| Self::Date(c.values())),
            ScalarType::Decimal { scale, .. } => column
                .as_primitive_opt::<Decimal128Type>()
                .map(|c| Self::Decimal(c.values(), scale)),
            _ => return Err(not_a_key(key)),
        };
        writer.ok_or_else(other)
    }

    fn write(&self, key: &mut KeyWriter<'_>, row: usize) {
        match self {
            Self::Bool(column) => key.bool(column.value(row)),
            Self::Int32(values) => key.int32(values[row]),
            Self::Int64(values) => key.int64(values[row]),
            Self::String(column) => key.string(column.value(row)),
            Self::Bytes(column) => key.bytes(column.value(row)),
            Self::Timestamp(values) => key.timestamp(Micros(values[row])),
            Self::Date(values) => key.date(values[row]),
            Self::Decimal(values, scale) => key.decimal(values[row], *scale),
        }
    }
}

fn not_a_key(key: &JoinKey) -> Error {
    Error::definition(format!("join key `{}` cannot be a {}", key.name, key.value_type))
}

/// Key columns from canonical keys, one per join key; null keys become nulls.
///
/// # Errors
/// `Corrupt` for bytes that are no key of these join keys.
pub fn key_arrays(join_keys: &[JoinKey], keys: &EntityKeys) -> Result<Vec<ArrayRef>> {
    let mut columns: Vec<Vec<Value>> = vec![Vec::with_capacity(keys.len()); join_keys.len()];
    for key in keys.iter() {
        let values = match key {
            Some(bytes) => larder_base::keys::decode_key(join_keys, bytes)?,
            None => vec![Value::Null; join_keys.len()],
        };
        columns
            .iter_mut()
            .zip(values)
            .for_each(|(column, value)| column.push(value));
    }
    join_keys
        .iter()
        .zip(columns)
        .map(|(key, column)| array_of(&column, key.value_type))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_encode_like_values() {
        let types = [
            "bool",
            "bytes",
            "date",
            "decimal(9,3)",
            "int32",
            "int64",
            "string",
            "timestamp",
        ];
        let texts = [
            "true",
            "00ff",
            "2026-05-01",
            "1.250",
            "-3",
            "7",
            "ö",
            "2026-05-01T00:00:00Z",
        ];
        let join_keys: Vec<JoinKey> = types
            .iter()
            .enumerate()
            .map(|(i, of)| JoinKey {
                name: format!("k{i}").parse().unwrap(),
                value_type: of.parse().unwrap(),
            })
            .collect();
        let row: Vec<Value> = join_keys
            .iter()
            .zip(texts)
            .map(|(k, t)| Value::parse(t, k.value_type).unwrap())
            .collect();
        let columns: Vec<ArrayRef> = join_keys
            .iter()
            .zip(&row)
            .map(|(k, v)| array_of(&[v.clone(), Value::Null], k.value_type).unwrap())
            .collect();
        let mut from_columns = EntityKeys::new();
        encode_keys(&join_keys, &columns, 2, &mut from_columns).unwrap();
        let mut from_values = EntityKeys::new();
        from_values.push_values(&join_keys, &row).unwrap();
        from_values.push_null();
        assert_eq!(from_columns, from_values);
        let back = key_arrays(&join_keys, &from_columns).unwrap();
        assert_eq!(back, columns);
    }
}
