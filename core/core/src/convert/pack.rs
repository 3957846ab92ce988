//! Packed rows from columns.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, TimestampMicrosecondArray};
use larder_base::row::{ListCell, encode_list};
use larder_base::{Cell, Error, Micros, PackedRows, Result, ScalarType, ValueType, ViewLayout};

/// Appends one packed row per row of the columns.
///
/// `columns` name the slot each one fills and are in canonical Arrow types; slots without a
/// column stay null. `event` has no nulls.
///
/// # Errors
/// `Internal` for columns of other types.
pub fn pack_rows(
    layout: &ViewLayout,
    event: &TimestampMicrosecondArray,
    created: &TimestampMicrosecondArray,
    columns: &[(u16, ArrayRef)],
    out: &mut PackedRows,
) -> Result<()> {
    let mut readers = Vec::with_capacity(columns.len());
    for (slot, column) in columns {
        let value_type = layout.slots()[usize::from(*slot)].value_type;
        if *column.data_type() != super::arrow_type(value_type) {
            return Err(Error::internal(format!(
                "the column of `{}` is of type {}",
                layout.slots()[usize::from(*slot)].name,
                column.data_type()
            )));
        }
        readers.push((*slot, Reader::new(column, value_type)));
    }
    let mut scratch = Vec::new();
    for row in 0..event.len() {
        let created = created.is_valid(row).then(|| Micros(created.value(row)));
        let mut writer = out.begin(layout, Micros(event.value(row)), created);
        for (slot, reader) in &readers {
            writer.put(*slot, reader.cell(row, &mut scratch));
        }
        writer.finish()?;
    }
    Ok(())
}

/// A column, downcast once.
struct Reader<'a> {
    column: &'a ArrayRef,
    of: ReaderOf<'a>,
}

enum ReaderOf<'a> {
    Bool(&'a arrow_array::BooleanArray),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Str(&'a arrow_array::StringArray),
    Bytes(&'a arrow_array::BinaryArray),
    Timestamp(&'a [i64]),
    Date(&'a [i32]),
    Decimal(&'a [i128]),
    List(&'a arrow_array::ListArray, Box<Reader<'a>>, ScalarType),
    Vector(&'a [f32], usize),
}

impl<'a> Reader<'a> {
    fn new(column: &'a ArrayRef, of: ValueType) -> Self {
        let of = match of {
            ValueType::Scalar(scalar) => match scalar {
                ScalarType::Bool => ReaderOf::Bool(column.as_boolean()),
                ScalarType::Int32 => ReaderOf::Int32(column.as_primitive::<Int32Type>().values()),
                ScalarType::Int64 => ReaderOf::Int64(column.as_primitive::<Int64Type>().values()),
                ScalarType::Float32 => ReaderOf::Float32(column.as_primitive::<Float32Type>().values()),
                ScalarType::Float64 => ReaderOf::Float64(column.as_primitive::<Float64Type>().values()),
                ScalarType::String => ReaderOf::Str(column.as_string()),
                ScalarType::Timestamp => {
                    ReaderOf::Timestamp(column.as_primitive::<TimestampMicrosecondType>().values())
                }
                ScalarType::Date => ReaderOf::Date(column.as_primitive::<Date32Type>().values()),
                ScalarType::Decimal { .. } => {
                    ReaderOf::Decimal(column.as_primitive::<Decimal128Type>().values())
                }
                _ => ReaderOf::Bytes(column.as_binary()),
            },
            ValueType::List(item) => {
                let list = column.as_list::<i32>();
                let items = Reader::new(list.values(), ValueType::Scalar(item));
                ReaderOf::List(list, Box::new(items), item)
            }
            ValueType::Vector(n) => {
                let list = column.as_fixed_size_list();
                ReaderOf::Vector(list.values().as_primitive::<Float32Type>().values(), n as usize)
            }
            _ => ReaderOf::Bytes(column.as_binary()),
        };
        Self { column, of }
    }

    fn cell<'s>(&'s self, row: usize, scratch: &'s mut Vec<u8>) -> Cell<'s> {
        if self.column.is_null(row) {
            return Cell::Null;
        }
        match &self.of {
            ReaderOf::List(list, items, item) => {
                scratch.clear();
                let ends = list.value_offsets();
                let range = ends[row] as usize..ends[row + 1] as usize;
                encode_list(range.map(|i| items.scalar(i)), *item, scratch);
                Cell::List(ListCell::new(*item, scratch))
            }
            ReaderOf::Vector(floats, width) => {
                scratch.clear();
                let start = row * width;
                scratch.extend(floats[start..start + width].iter().flat_map(|x| x.to_le_bytes()));
                Cell::Vector(scratch)
            }
            _ => self.scalar(row),
        }
    }

    fn scalar(&self, row: usize) -> Cell<'_> {
        if self.column.is_null(row) {
            return Cell::Null;
        }
        match &self.of {
            ReaderOf::Bool(column) => Cell::Bool(column.value(row)),
            ReaderOf::Int32(values) => Cell::Int32(values[row]),
            ReaderOf::Int64(values) => Cell::Int64(values[row]),
            ReaderOf::Float32(values) => Cell::Float32(values[row]),
            ReaderOf::Float64(values) => Cell::Float64(values[row]),
            ReaderOf::Str(column) => Cell::Str(column.value(row)),
            ReaderOf::Bytes(column) => Cell::Bytes(column.value(row)),
            ReaderOf::Timestamp(values) => Cell::Timestamp(Micros(values[row])),
            ReaderOf::Date(values) => Cell::Date(values[row]),
            ReaderOf::Decimal(values) => Cell::Decimal(values[row]),
            ReaderOf::List(..) | ReaderOf::Vector(..) => Cell::Null,
        }
    }
}
