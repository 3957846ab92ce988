//! What is one value on its way into or out of a packed row?

use super::list::{ListCell, encode_list};
use crate::time::Micros;
use crate::types::{ScalarType, ValueType};
use crate::value::Value;

/// One value on its way into or out of a packed row, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// `bool`
    Bool(bool),
    /// `int32`
    Int32(i32),
    /// `int64`
    Int64(i64),
    /// `float32`
    Float32(f32),
    /// `float64`
    Float64(f64),
    /// `string`
    Str(&'a str),
    /// `bytes`
    Bytes(&'a [u8]),
    /// `timestamp`
    Timestamp(Micros),
    /// `date`
    Date(i32),
    /// `decimal(p,s)`: the unscaled integer
    Decimal(i128),
    /// `list<T>`
    List(ListCell<'a>),
    /// `vector(float32,N)`: little-endian floats
    Vector(&'a [u8]),
}

impl Cell<'_> {
    /// The cell as an owned value of a type.
    pub fn to_value(self, of: ValueType) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Bool(v) => Value::Bool(v),
            Cell::Int32(v) => Value::Int32(v),
            Cell::Int64(v) => Value::Int64(v),
            Cell::Float32(v) => Value::Float32(v),
            Cell::Float64(v) => Value::Float64(v),
            Cell::Str(v) => Value::str(v),
            Cell::Bytes(v) => Value::Bytes(v.into()),
            Cell::Timestamp(v) => Value::Timestamp(v),
            Cell::Date(v) => Value::Date(v),
            Cell::Decimal(v) => match of {
                ValueType::Scalar(ScalarType::Decimal { scale, .. }) => Value::Decimal(v, scale),
                _ => Value::Decimal(v, 0),
            },
            Cell::List(list) => Value::List(
                list.iter()
                    .map(|c| c.to_value(ValueType::Scalar(list.item())))
                    .collect(),
            ),
            Cell::Vector(bytes) => Value::Vector(floats(bytes).collect()),
        }
    }
}

/// The floats of a vector cell.
pub fn floats(bytes: &[u8]) -> impl ExactSizeIterator<Item = f32> + '_ {
    bytes
        .chunks_exact(4)
        .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
}

/// A value as a cell; lists and vectors are encoded into `scratch`.
pub fn cell_of<'a>(value: &'a Value, of: ValueType, scratch: &'a mut Vec<u8>) -> Cell<'a> {
    match (value, of) {
        (Value::List(items), ValueType::List(item)) => {
            scratch.clear();
            encode_list(items.iter().map(scalar_cell), item, scratch);
            Cell::List(ListCell::new(item, scratch))
        }
        // An empty body is no list, so a list in the place of a scalar is refused by the writer.
        (Value::List(_), _) => Cell::List(ListCell::new(ScalarType::Bool, &[])),
        (Value::Vector(floats), _) => {
            scratch.clear();
            scratch.extend(floats.iter().flat_map(|x| x.to_le_bytes()));
            Cell::Vector(scratch)
        }
        (scalar, _) => scalar_cell(scalar),
    }
}

fn scalar_cell(value: &Value) -> Cell<'_> {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(v) => Cell::Bool(*v),
        Value::Int32(v) => Cell::Int32(*v),
        Value::Int64(v) => Cell::Int64(*v),
        Value::Float32(v) => Cell::Float32(*v),
        Value::Float64(v) => Cell::Float64(*v),
        Value::String(v) => Cell::Str(v),
        Value::Bytes(v) => Cell::Bytes(v),
        Value::Timestamp(v) => Cell::Timestamp(*v),
        Value::Date(v) => Cell::Date(*v),
        Value::Decimal(v, _) => Cell::Decimal(*v),
        // Lists nest in nothing: these are of no scalar type, and refused as such.
        Value::List(_) | Value::Vector(_) => Cell::Vector(&[]),
    }
}

/// Writes a fixed-width value to the front of `out`; `false` when the cell is of another type.
#[inline]
pub(super) fn put_fixed(cell: Cell<'_>, scalar: ScalarType, out: &mut [u8]) -> bool {
    fn copy<const N: usize>(bytes: [u8; N], out: &mut [u8]) -> bool {
        out.first_chunk_mut().map(|to| *to = bytes).is_some()
    }
    match (cell, scalar) {
        (Cell::Bool(v), ScalarType::Bool) => copy([u8::from(v)], out),
        (Cell::Int32(v), ScalarType::Int32) | (Cell::Date(v), ScalarType::Date) => copy(v.to_le_bytes(), out),
        (Cell::Float32(v), ScalarType::Float32) => copy(v.to_le_bytes(), out),
        (Cell::Int64(v), ScalarType::Int64) => copy(v.to_le_bytes(), out),
        (Cell::Float64(v), ScalarType::Float64) => copy(v.to_le_bytes(), out),
        (Cell::Timestamp(v), ScalarType::Timestamp) => copy(v.0.to_le_bytes(), out),
        (Cell::Decimal(v), ScalarType::Decimal { .. }) => copy(v.to_le_bytes(), out),
        _ => false,
    }
}

/// Reads a fixed-width value; `None` when the bytes are too few or no value of the type.
#[inline]
pub(super) fn get_fixed(scalar: ScalarType, bytes: &[u8]) -> Option<Cell<'static>> {
    Some(match scalar {
        ScalarType::Bool => match bytes.first()? {
            0 => Cell::Bool(false),
            1 => Cell::Bool(true),
            _ => return None,
        },
        ScalarType::Int32 => Cell::Int32(i32::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Date => Cell::Date(i32::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Float32 => Cell::Float32(f32::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Int64 => Cell::Int64(i64::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Timestamp => Cell::Timestamp(Micros(i64::from_le_bytes(*bytes.first_chunk()?))),
        ScalarType::Float64 => Cell::Float64(f64::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Decimal { .. } => Cell::Decimal(i128::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::String | ScalarType::Bytes => return None,
    })
}

/// The bytes of a text of this type; `None` for everything else.
pub(super) fn text_of(cell: Cell<'_>, scalar: ScalarType) -> Option<&[u8]> {
    match (cell, scalar) {
        (Cell::Str(text), ScalarType::String) => Some(text.as_bytes()),
        (Cell::Bytes(bytes), ScalarType::Bytes) => Some(bytes),
        _ => None,
    }
}

/// A text read back; `None` where a string is not UTF-8.
pub(super) fn text_cell(scalar: ScalarType, bytes: &[u8]) -> Option<Cell<'_>> {
    match scalar {
        ScalarType::String => std::str::from_utf8(bytes).ok().map(Cell::Str),
        _ => Some(Cell::Bytes(bytes)),
    }
}
