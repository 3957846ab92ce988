//! What is in a training set, whatever the file it stands in? Digests per column and of the whole.
//!
//! Defined in docs/spec/manifest.md: values in canonical bytes, hashed in the order of the rows.
//! Neither the format of a file, nor where batches end, nor who wrote it makes a difference.

use std::sync::Arc;

use larder_base::{Error, Result};
use larder_core::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use larder_core::arrow::buffer::NullBuffer;
use larder_core::arrow::cast::cast;
use larder_core::arrow::cast::display::{ArrayFormatter, FormatOptions};
use larder_core::arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
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
    /// Digest of the same rows in whatever order, where none is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_order: Option<String>,
    /// The columns in their order.
    pub columns: Vec<ColumnContent>,
}

impl Content {
    /// Whether the rows are the same; in the same order, unless both say that there is none.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.any_order, &other.any_order) {
            (Some(rows), Some(others)) => rows == others,
            _ => self.digest == other.digest,
        }
    }
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
    /// The sum of the rows' hashes, where rows have no order.
    sum: Option<u128>,
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
            sum: None,
            buffer: Vec::new(),
        }
    }

    /// Tells rows that come in no defined order, besides the order in which they come.
    #[must_use]
    pub fn in_any_order(mut self) -> Self {
        self.sum = Some(0);
        self
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
            append(column, &mut self.buffer)?;
            hash.update(&self.buffer);
        }
        if let Some(sum) = &mut self.sum {
            let hashes = row_hashes(batch)?;
            *sum = hashes.into_iter().map(u128::from).fold(*sum, u128::wrapping_add);
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// What the rows so far amount to.
    pub fn content(&self) -> Content {
        let mut whole = self.rows.to_le_bytes().to_vec();
        let mut any_order = whole.clone();
        let mut columns = Vec::with_capacity(self.columns.len());
        for (field, (kind, hash)) in self.schema.fields().iter().zip(&self.columns) {
            let digest = hash.digest128();
            for text in [field.name(), kind] {
                for digested in [&mut whole, &mut any_order] {
                    digested.extend((text.len() as u64).to_le_bytes());
                    digested.extend(text.as_bytes());
                }
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
            any_order: self.sum.map(|sum| {
                any_order.extend(sum.to_le_bytes());
                format!("{:032x}", xxh3_128(&any_order))
            }),
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
        each_value(column, &mut buffer, &mut |row, bytes: &[u8]| {
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

/// Appends the canonical bytes of every value.
fn append(column: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
    fn nobody(_: usize, _: &[u8]) {}
    each_value(column, out, &mut nobody)
}

/// Appends the canonical bytes of every value, and tells those of each: 0 for a null, else 1 and
/// the value. One loop per type, because this is done for every value of a training set.
fn each_value(column: &ArrayRef, out: &mut Vec<u8>, told: &mut impl FnMut(usize, &[u8])) -> Result<()> {
    let column = &plain(column)?;
    let nulls = column.logical_nulls();
    let mut rows = Rows {
        rows: column.len(),
        nulls: nulls.as_ref(),
        out,
        told,
    };
    macro_rules! primitive {
        ($type:ty, $bytes:expr) => {{
            let values = column.as_primitive::<$type>().values();
            let bytes = $bytes;
            rows.write(|row, out| put(out, &bytes(values[row])))
        }};
    }
    match column.data_type() {
        DataType::Null => rows.write(|_, _| Ok(())),
        DataType::Boolean => {
            let column = column.as_boolean();
            rows.write(|row, out| put(out, &[u8::from(column.value(row))]))
        }
        DataType::Int8 => primitive!(Int8Type, |value: i8| i64::from(value).to_le_bytes()),
        DataType::Int16 => primitive!(Int16Type, |value: i16| i64::from(value).to_le_bytes()),
        DataType::Int32 => primitive!(Int32Type, |value: i32| i64::from(value).to_le_bytes()),
        DataType::Int64 => primitive!(Int64Type, i64::to_le_bytes),
        DataType::UInt8 => primitive!(UInt8Type, |value: u8| i64::from(value).to_le_bytes()),
        DataType::UInt16 => primitive!(UInt16Type, |value: u16| i64::from(value).to_le_bytes()),
        DataType::UInt32 => primitive!(UInt32Type, |value: u32| i64::from(value).to_le_bytes()),
        DataType::UInt64 => primitive!(UInt64Type, u64::to_le_bytes),
        DataType::Date32 => primitive!(Date32Type, |value: i32| i64::from(value).to_le_bytes()),
        // All that is not a number is one.
        DataType::Float32 => primitive!(Float32Type, |value: f32| match value.is_nan() {
            true => f32::NAN.to_le_bytes(),
            false => value.to_le_bytes(),
        }),
        DataType::Float64 => primitive!(Float64Type, |value: f64| match value.is_nan() {
            true => f64::NAN.to_le_bytes(),
            false => value.to_le_bytes(),
        }),
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            rows.write(|row, out| sized(out, column.value(row).as_bytes()))
        }
        DataType::Binary => {
            let column = column.as_binary::<i32>();
            rows.write(|row, out| sized(out, column.value(row)))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            primitive!(TimestampSecondType, |value| nanoseconds(value, 1_000_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            primitive!(TimestampMillisecondType, |value| nanoseconds(value, 1_000_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitive!(TimestampMicrosecondType, |value| nanoseconds(value, 1_000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            primitive!(TimestampNanosecondType, |value| nanoseconds(value, 1))
        }
        DataType::Date64 => primitive!(Date64Type, |value| nanoseconds(value, 1_000_000)),
        DataType::Decimal128(..) => primitive!(Decimal128Type, i128::to_le_bytes),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            rows.write(|row, out| items(&list.value(row), out))
        }
        DataType::FixedSizeList(..) => {
            let list = column.as_fixed_size_list();
            rows.write(|row, out| items(&list.value(row), out))
        }
        // Types without canonical bytes of their own count by Arrow's text.
        _ => {
            const OPTIONS: FormatOptions<'static> = FormatOptions::new();
            let formatter = ArrayFormatter::try_new(column, &OPTIONS).map_err(cannot)?;
            rows.write(|row, out| sized(out, formatter.value(row).to_string().as_bytes()))
        }
    }
}

/// The rows of one column on their way into a buffer.
struct Rows<'a, T> {
    rows: usize,
    nulls: Option<&'a NullBuffer>,
    out: &'a mut Vec<u8>,
    told: &'a mut T,
}

impl<T: FnMut(usize, &[u8])> Rows<'_, T> {
    fn write(&mut self, mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<()>) -> Result<()> {
        for row in 0..self.rows {
            let start = self.out.len();
            if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
                self.out.push(0);
            } else {
                self.out.push(1);
                write(row, self.out)?;
            }
            (self.told)(row, &self.out[start..]);
        }
        Ok(())
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

/// In 128 bits, where every unit fits.
fn nanoseconds(value: i64, factor: i64) -> [u8; 16] {
    (i128::from(value) * i128::from(factor)).to_le_bytes()
}

fn items(list: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
    put(out, &(list.len() as u64).to_le_bytes())?;
    append(list, out)
}
