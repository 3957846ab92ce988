//! What is in a training set, whatever the file it stands in? Digests per column and of the whole.
//!
//! Defined in docs/spec/manifest.md: values in canonical bytes, hashed in the order of the rows.
//! Neither the format of a file, nor where batches end, nor who wrote it makes a difference.

use std::sync::Arc;

use larder_base::{Error, Result};
use larder_core::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use larder_core::arrow::cast::cast;
use larder_core::arrow::cast::display::{ArrayFormatter, FormatOptions};
use larder_core::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Field, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed, xxh3_128};

/// The digests of a training set or a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Content {
    /// Rows.
    pub rows: u64,
    /// Digest of the names, kinds and digests of all columns, and of the number of rows.
    pub digest: String,
    /// The columns in their order.
    pub columns: Vec<ColumnContent>,
}

/// The digest of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ColumnContent {
    /// Name.
    pub name: String,
    /// What kind of values it has, such as `int` or `text`; see docs/spec/manifest.md.
    pub kind: String,
    /// Digest of its values, 32 hex digits.
    pub digest: String,
}

/// Takes the rows of a training set, batch by batch, and tells what was in them.
pub struct ContentHash {
    schema: SchemaRef,
    columns: Vec<(String, Xxh3)>,
    rows: u64,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentHash")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ContentHash {
    /// For rows of a schema.
    pub fn new(schema: &SchemaRef) -> Self {
        let column = |field: &Arc<Field>| (kind(field.data_type()), Xxh3::new());
        Self {
            schema: schema.clone(),
            columns: schema.fields().iter().map(column).collect(),
            rows: 0,
            buffer: Vec::new(),
        }
    }

    /// Adds the next rows.
    ///
    /// # Errors
    /// `Internal` for rows of another schema, `Unsupported` for a type that cannot be told apart.
    pub fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() != self.columns.len() {
            return Err(Error::internal("rows of another schema than the training set's"));
        }
        for (column, (_, hash)) in batch.columns().iter().zip(&mut self.columns) {
            self.buffer.clear();
            each_value(column, &mut self.buffer, |_, _| {})?;
            hash.update(&self.buffer);
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// What the rows so far amount to.
    pub fn content(&self) -> Content {
        let mut whole = Vec::new();
        let mut columns = Vec::with_capacity(self.columns.len());
        whole.extend(self.rows.to_le_bytes());
        for (field, (kind, hash)) in self.schema.fields().iter().zip(&self.columns) {
            let digest = hash.digest128();
            for text in [field.name(), kind] {
                whole.extend((text.len() as u64).to_le_bytes());
                whole.extend(text.as_bytes());
            }
            whole.extend(digest.to_le_bytes());
            columns.push(ColumnContent {
                name: field.name().clone(),
                kind: kind.clone(),
                digest: format!("{digest:032x}"),
            });
        }
        Content {
            rows: self.rows,
            digest: format!("{:032x}", xxh3_128(&whole)),
            columns,
        }
    }
}

/// One hash per row over all columns: rows that differ have, but for chance, different ones.
///
/// # Errors
/// As [`ContentHash::update`].
pub fn row_hashes(batch: &RecordBatch) -> Result<Vec<u64>> {
    let mut hashes = vec![0_u64; batch.num_rows()];
    let mut buffer = Vec::new();
    for column in batch.columns() {
        buffer.clear();
        each_value(column, &mut buffer, |row, bytes| {
            hashes[row] = xxh3_64_with_seed(bytes, hashes[row]);
        })?;
    }
    Ok(hashes)
}

/// The kind of values of a type; types of one kind with equal values have equal bytes.
fn kind(of: &DataType) -> String {
    match of {
        DataType::Null => "null".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => "int".to_owned(),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => "int".to_owned(),
        DataType::UInt64 => "uint64".to_owned(),
        DataType::Float16 | DataType::Float32 => "float32".to_owned(),
        DataType::Float64 => "float64".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytes".to_owned()
        }
        DataType::Timestamp(_, Some(_)) => "timestamp".to_owned(),
        DataType::Timestamp(_, None) | DataType::Date64 => "datetime".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            format!("decimal({scale})")
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => format!("list<{}>", kind(item.data_type())),
        DataType::Dictionary(_, values) => kind(values),
        DataType::RunEndEncoded(_, values) => kind(values.data_type()),
        _ => "shown".to_owned(),
    }
}

/// Appends the canonical bytes of every value, and tells those of each: 0 for a null, else 1 and
/// the value.
fn each_value(column: &ArrayRef, out: &mut Vec<u8>, mut told: impl FnMut(usize, &[u8])) -> Result<()> {
    let plain = plain(column)?;
    let writer = Writer::new(&plain)?;
    for row in 0..plain.len() {
        let start = out.len();
        if writer.is_null(row) {
            out.push(0);
        } else {
            out.push(1);
            writer.write(row, out)?;
        }
        told(row, &out[start..]);
    }
    Ok(())
}

type WriteValue<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<()> + 'a>;

/// Writes single values of one column.
struct Writer<'a> {
    nulls: Option<larder_core::arrow::buffer::NullBuffer>,
    write: WriteValue<'a>,
}

impl<'a> Writer<'a> {
    fn new(column: &'a ArrayRef) -> Result<Self> {
        let write: WriteValue<'a> = match column.data_type() {
            DataType::Null => Box::new(|_, _| Ok(())),
            DataType::Boolean => {
                let column = column.as_boolean();
                Box::new(|row, out| put(out, &[u8::from(column.value(row))]))
            }
            DataType::Int8 => integers::<Int8Type>(column),
            DataType::Int16 => integers::<Int16Type>(column),
            DataType::Int32 => integers::<Int32Type>(column),
            DataType::Int64 => integers::<Int64Type>(column),
            DataType::UInt8 => integers::<UInt8Type>(column),
            DataType::UInt16 => integers::<UInt16Type>(column),
            DataType::UInt32 => integers::<UInt32Type>(column),
            DataType::UInt64 => {
                let values = column.as_primitive::<UInt64Type>().values();
                Box::new(|row, out| put(out, &values[row].to_le_bytes()))
            }
            DataType::Date32 => integers::<Date32Type>(column),
            DataType::Float32 => {
                let values = column.as_primitive::<Float32Type>().values();
                Box::new(|row, out| {
                    // All that is not a number is one.
                    let value = if values[row].is_nan() {
                        f32::NAN
                    } else {
                        values[row]
                    };
                    put(out, &value.to_le_bytes())
                })
            }
            DataType::Float64 => {
                let values = column.as_primitive::<Float64Type>().values();
                Box::new(|row, out| {
                    let value = if values[row].is_nan() {
                        f64::NAN
                    } else {
                        values[row]
                    };
                    put(out, &value.to_le_bytes())
                })
            }
            DataType::Utf8 => {
                let column = column.as_string::<i32>();
                Box::new(|row, out| sized(out, column.value(row).as_bytes()))
            }
            DataType::Binary => {
                let column = column.as_binary::<i32>();
                Box::new(|row, out| sized(out, column.value(row)))
            }
            DataType::Timestamp(unit, _) => match unit {
                TimeUnit::Second => instants::<TimestampSecondType>(column, 1_000_000_000),
                TimeUnit::Millisecond => instants::<TimestampMillisecondType>(column, 1_000_000),
                TimeUnit::Microsecond => instants::<TimestampMicrosecondType>(column, 1_000),
                TimeUnit::Nanosecond => instants::<TimestampNanosecondType>(column, 1),
            },
            DataType::Date64 => instants::<Date64Type>(column, 1_000_000),
            DataType::Decimal128(..) => {
                let values = column.as_primitive::<Decimal128Type>().values();
                Box::new(|row, out| put(out, &values[row].to_le_bytes()))
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                let items = list.values().clone();
                let offsets = list.offsets().clone();
                lists(items, move |row| {
                    (offsets[row] as usize, offsets[row + 1] as usize)
                })
            }
            DataType::FixedSizeList(_, length) => {
                let length = usize::try_from(*length).unwrap_or(0);
                let items = column.as_fixed_size_list().values().clone();
                lists(items, move |row| (row * length, (row + 1) * length))
            }
            _ => shown(column)?,
        };
        Ok(Self {
            nulls: column.logical_nulls(),
            write,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        (self.write)(row, out)
    }
}

/// The column in the one encoding of its values that is written.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    let mut column = column.clone();
    while let Some(plain) = plainer(column.data_type()) {
        column = cast(&column, &plain).map_err(cannot)?;
    }
    Ok(column)
}

/// The type with the same values that is written, for types that have several encodings.
fn plainer(of: &DataType) -> Option<DataType> {
    Some(match of {
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(item.clone())
        }
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        _ => return None,
    })
}

fn cannot(cause: larder_core::arrow::datatypes::ArrowError) -> Error {
    Error::unsupported("a column has values that cannot be told apart").source(cause)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    out.extend_from_slice(bytes);
    Ok(())
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    put(out, bytes)
}

fn integers<T: ArrowPrimitiveType>(column: &ArrayRef) -> WriteValue<'_>
where
    T::Native: Into<i64>,
{
    let values = column.as_primitive::<T>().values();
    Box::new(|row, out| {
        let wide: i64 = values[row].into();
        put(out, &wide.to_le_bytes())
    })
}

/// Nanoseconds in 128 bits, where every unit fits.
fn instants<T: ArrowPrimitiveType<Native = i64>>(column: &ArrayRef, factor: i64) -> WriteValue<'_> {
    let values = column.as_primitive::<T>().values();
    Box::new(move |row, out| put(out, &(i128::from(values[row]) * i128::from(factor)).to_le_bytes()))
}

fn lists<'a>(items: ArrayRef, bounds: impl Fn(usize) -> (usize, usize) + 'a) -> WriteValue<'a> {
    Box::new(move |row, out| {
        let (start, end) = bounds(row);
        put(out, &((end - start) as u64).to_le_bytes())?;
        each_value(&items.slice(start, end - start), out, |_, _| {})
    })
}

/// Types without canonical bytes of their own count by Arrow's text.
fn shown(column: &ArrayRef) -> Result<WriteValue<'_>> {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(column, &OPTIONS).map_err(cannot)?;
    Ok(Box::new(move |row, out| {
        sized(out, formatter.value(row).to_string().as_bytes())
    }))
}
