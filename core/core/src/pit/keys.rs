//! How do key columns of any type become integers or canonical bytes that a table can look up?

use super::PitError;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    BinaryType, BinaryViewType, ByteArrayType, ByteViewType, Date32Type, Decimal128Type, Int32Type,
    Int64Type, LargeBinaryType, LargeUtf8Type, StringViewType, TimestampMicrosecondType, Utf8Type,
};
use arrow_array::{Array, ArrayRef, GenericByteArray, GenericByteViewArray};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, TimeUnit};

/// The types of the key columns, which must be the same on both sides of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyShape {
    parts: Vec<Part>,
}

/// One key column's type, without what does not matter for equality (offsets, views, zones, precision).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Bool,
    Int32,
    Int64,
    Date,
    Timestamp,
    Decimal(i8),
    Utf8,
    Binary,
}

/// The keys of one batch, in the form that the table wants.
pub(super) enum KeyBatch<'a> {
    Unit,
    Bool(&'a BooleanBuffer),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Bytes32(&'a [i32], &'a [u8]),
    Bytes64(&'a [i64], &'a [u8]),
    Utf8View(&'a GenericByteViewArray<StringViewType>),
    BinaryView(&'a GenericByteViewArray<BinaryViewType>),
    Packed(&'a Packed),
}

impl<'a> KeyBatch<'a> {
    /// Whether the keys are integers, rather than bytes.
    pub(super) fn is_int(&self) -> bool {
        matches!(self, Self::Bool(_) | Self::Int32(_) | Self::Int64(_))
    }

    /// The key of a row, of a shape with integers.
    pub(super) fn int(&self, row: usize) -> i64 {
        match self {
            KeyBatch::Int64(values) => values[row],
            KeyBatch::Int32(values) => i64::from(values[row]),
            KeyBatch::Bool(values) => i64::from(values.value(row)),
            _ => unreachable!("the shape was checked: the keys are integers"),
        }
    }

    /// The key of a row, of a shape with bytes.
    pub(super) fn bytes(&self, row: usize) -> &'a [u8] {
        match self {
            KeyBatch::Bytes32(ends, bytes) => &bytes[ends[row] as usize..ends[row + 1] as usize],
            KeyBatch::Bytes64(ends, bytes) => &bytes[ends[row] as usize..ends[row + 1] as usize],
            KeyBatch::Utf8View(array) => array.value(row).as_bytes(),
            KeyBatch::BinaryView(array) => array.value(row),
            KeyBatch::Packed(packed) => packed.row(row),
            _ => unreachable!("the shape was checked: the keys are bytes"),
        }
    }
}

/// Canonical bytes of composite keys, one run per row; reused from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
    cursor: Vec<usize>,
}

impl KeyShape {
    pub(super) fn of(keys: &[ArrayRef]) -> Result<Self, PitError> {
        let parts = keys
            .iter()
            .enumerate()
            .map(|(column, array)| {
                Part::of(array.data_type()).ok_or_else(|| PitError::KeyType {
                    column,
                    found: array.data_type().clone(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { parts })
    }

    /// Refuses columns that cannot be compared with this shape.
    pub(super) fn check(&self, keys: &[ArrayRef], rows: usize) -> Result<(), PitError> {
        if keys.len() != self.parts.len() {
            return Err(PitError::KeyCount {
                expected: self.parts.len(),
                found: keys.len(),
            });
        }
        for (column, (array, part)) in keys.iter().zip(&self.parts).enumerate() {
            if Part::of(array.data_type()) != Some(*part) {
                return Err(PitError::KeyMismatch {
                    column,
                    found: array.data_type().clone(),
                });
            }
            if array.len() != rows {
                return Err(PitError::Length {
                    what: "a key column",
                    expected: rows,
                    found: array.len(),
                });
            }
        }
        Ok(())
    }

    /// Reads columns that passed [`KeyShape::check`], each by itself.
    pub(super) fn columns<'a>(&self, keys: &'a [ArrayRef], packed: &'a mut Vec<Packed>) -> Vec<KeyBatch<'a>> {
        packed.resize_with(self.parts.len(), Packed::default);
        let columns = self.parts.iter().zip(keys).zip(packed);
        columns
            .map(|((part, array), packed)| part.read(array, packed))
            .collect()
    }

    /// Reads columns that passed [`KeyShape::check`].
    pub(super) fn read<'a>(&self, keys: &'a [ArrayRef], packed: &'a mut Packed) -> KeyBatch<'a> {
        match (self.parts.as_slice(), keys) {
            ([], _) => KeyBatch::Unit,
            ([part], [array]) => part.read(array, packed),
            (parts, keys) => {
                packed.fill(parts, keys);
                KeyBatch::Packed(packed)
            }
        }
    }
}

impl Part {
    fn read<'a>(self, array: &'a ArrayRef, packed: &'a mut Packed) -> KeyBatch<'a> {
        match self {
            Self::Bool => KeyBatch::Bool(array.as_boolean().values()),
            Self::Int32 => KeyBatch::Int32(array.as_primitive::<Int32Type>().values()),
            Self::Date => KeyBatch::Int32(array.as_primitive::<Date32Type>().values()),
            Self::Int64 => KeyBatch::Int64(array.as_primitive::<Int64Type>().values()),
            Self::Timestamp => KeyBatch::Int64(array.as_primitive::<TimestampMicrosecondType>().values()),
            Self::Decimal(_) => {
                packed.fill(&[self], std::slice::from_ref(array));
                KeyBatch::Packed(packed)
            }
            Self::Utf8 | Self::Binary => match array.data_type() {
                DataType::Utf8 => bytes32(array.as_bytes::<Utf8Type>()),
                DataType::Binary => bytes32(array.as_bytes::<BinaryType>()),
                DataType::LargeUtf8 => bytes64(array.as_bytes::<LargeUtf8Type>()),
                DataType::LargeBinary => bytes64(array.as_bytes::<LargeBinaryType>()),
                DataType::Utf8View => KeyBatch::Utf8View(array.as_string_view()),
                _ => KeyBatch::BinaryView(array.as_binary_view()),
            },
        }
    }
}

/// The rows in which every key column has a value; `None` when all have.
pub(super) fn key_nulls(keys: &[ArrayRef]) -> Option<NullBuffer> {
    keys.iter().fold(None, |nulls, array| {
        NullBuffer::union(nulls.as_ref(), array.nulls())
    })
}

impl Part {
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Timestamp,
            DataType::Decimal128(_, scale) => Self::Decimal(*scale),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Utf8,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Binary,
            _ => return None,
        })
    }

    /// Bytes of every value, or `None` where they differ.
    fn width(self) -> Option<usize> {
        match self {
            Self::Bool => Some(1),
            Self::Int32 | Self::Date => Some(4),
            Self::Int64 | Self::Timestamp => Some(8),
            Self::Decimal(_) => Some(16),
            Self::Utf8 | Self::Binary => None,
        }
    }
}

impl Packed {
    /// Packs every row: fixed widths as they are, variable ones after their length. The last variable column
    /// needs no length, because the whole run's length gives it; so short composite keys stay short.
    fn fill(&mut self, parts: &[Part], keys: &[ArrayRef]) {
        let rows = keys.first().map_or(0, |array| array.len());
        let fixed: usize = parts.iter().filter_map(|part| part.width()).sum();
        let last = parts.iter().rposition(|part| part.width().is_none());

        self.offsets.clear();
        self.offsets.push(0);
        self.offsets.resize(rows + 1, fixed);
        for (column, (array, part)) in keys.iter().zip(parts).enumerate() {
            if part.width().is_none() {
                each_bytes(array, |row, bytes| {
                    let prefix = if Some(column) == last {
                        0
                    } else {
                        varint(bytes.len()).1
                    };
                    self.offsets[row + 1] += prefix + bytes.len();
                });
            }
        }
        let mut end = 0;
        for offset in &mut self.offsets {
            end += *offset;
            *offset = end;
        }
        self.bytes.resize(end, 0);
        self.cursor.clear();
        self.cursor.extend_from_slice(&self.offsets[..rows]);

        for (column, (array, part)) in keys.iter().zip(parts).enumerate() {
            match part {
                Part::Bool => {
                    for (row, value) in array.as_boolean().values().iter().enumerate() {
                        self.put(row, &[u8::from(value)]);
                    }
                }
                Part::Int32 => self.put_all(array.as_primitive::<Int32Type>().values(), i32::to_le_bytes),
                Part::Date => self.put_all(array.as_primitive::<Date32Type>().values(), i32::to_le_bytes),
                Part::Int64 => self.put_all(array.as_primitive::<Int64Type>().values(), i64::to_le_bytes),
                Part::Timestamp => {
                    self.put_all(
                        array.as_primitive::<TimestampMicrosecondType>().values(),
                        i64::to_le_bytes,
                    );
                }
                Part::Decimal(_) => {
                    self.put_all(array.as_primitive::<Decimal128Type>().values(), i128::to_le_bytes);
                }
                Part::Utf8 | Part::Binary if Some(column) == last => {
                    each_bytes(array, |row, bytes| self.put(row, bytes));
                }
                Part::Utf8 | Part::Binary => each_bytes(array, |row, bytes| {
                    let (length, width) = varint(bytes.len());
                    self.put(row, &length[..width]);
                    self.put(row, bytes);
                }),
            }
        }
    }

    fn put_all<T: Copy, const N: usize>(&mut self, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
        for (row, value) in values.iter().enumerate() {
            self.put(row, &bytes(*value));
        }
    }

    fn put(&mut self, row: usize, bytes: &[u8]) {
        let at = self.cursor[row];
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.cursor[row] = at + bytes.len();
    }

    pub(super) fn row(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row]..self.offsets[row + 1]]
    }
}

/// A length in seven-bit groups, and how many bytes that takes.
fn varint(mut length: usize) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut width = 0;
    while length >= 0x80 {
        bytes[width] = (length as u8) | 0x80;
        length >>= 7;
        width += 1;
    }
    bytes[width] = length as u8;
    (bytes, width + 1)
}

fn bytes32<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> KeyBatch<'_> {
    KeyBatch::Bytes32(array.value_offsets(), array.values().as_slice())
}

fn bytes64<T: ByteArrayType<Offset = i64>>(array: &GenericByteArray<T>) -> KeyBatch<'_> {
    KeyBatch::Bytes64(array.value_offsets(), array.values().as_slice())
}

/// Calls `visit` with the bytes of every row of a string or binary column; null rows give what lies there.
fn each_bytes(array: &ArrayRef, visit: impl FnMut(usize, &[u8])) {
    fn flat<T: ByteArrayType>(array: &GenericByteArray<T>, mut visit: impl FnMut(usize, &[u8])) {
        let values = array.values().as_slice();
        for (row, ends) in array.value_offsets().windows(2).enumerate() {
            visit(row, &values[ends[0].as_usize()..ends[1].as_usize()]);
        }
    }
    fn views<T: ByteViewType>(array: &GenericByteViewArray<T>, mut visit: impl FnMut(usize, &[u8])) {
        for row in 0..array.len() {
            let bytes: &[u8] = array.value(row).as_ref();
            visit(row, bytes);
        }
    }
    match array.data_type() {
        DataType::Utf8 => flat(array.as_bytes::<Utf8Type>(), visit),
        DataType::Binary => flat(array.as_bytes::<BinaryType>(), visit),
        DataType::LargeUtf8 => flat(array.as_bytes::<LargeUtf8Type>(), visit),
        DataType::LargeBinary => flat(array.as_bytes::<LargeBinaryType>(), visit),
        DataType::Utf8View => views(array.as_string_view(), visit),
        _ => views(array.as_binary_view(), visit),
    }
}
