//! Entity rows, wherever they are, batch by batch; what they bound; and their parts by key.

use std::path::PathBuf;
use std::sync::Arc;

use larder_core::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt64Array,
};
use larder_core::arrow::buffer::NullBuffer;
use larder_core::arrow::compute::concat::concat;
use larder_core::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use larder_core::convert::null_array;
use larder_core::pit;
use larder_core::{EntityRows, Error, HistoricalRead, Result, ValueType};
use parking_lot::Mutex;

use super::files::{self, Folder, Part, Writers};
use crate::fault;
use crate::keys::Keys;
use crate::work::{self, Cancel};

/// Rows of a batch out of arrays.
const BATCH_ROWS: usize = 65_536;

/// Consecutive entity rows.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Number of the first.
    pub(crate) first: u64,
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) times: TimestampMicrosecondArray,
}

/// The batches of entity rows.
pub(crate) enum Cursor<'a> {
    Arrays {
        keys: &'a [ArrayRef],
        times: &'a TimestampMicrosecondArray,
        next: usize,
    },
    Files {
        paths: std::slice::Iter<'a, PathBuf>,
        open: Option<Box<files::Stream>>,
        next: u64,
        rows: u64,
    },
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(rows: &'a EntityRows) -> Result<Self> {
        match rows {
            EntityRows::Batches { keys, times } => {
                if keys.iter().any(|key| key.len() != times.len()) {
                    return Err(unfit());
                }
                Ok(Self::Arrays { keys, times, next: 0 })
            }
            EntityRows::Files(files) => Ok(Self::Files {
                paths: files.paths.iter(),
                open: None,
                next: 0,
                rows: files.rows,
            }),
            _ => Err(Error::unsupported(
                "the parquet store takes entity rows from memory or from files, not from a query",
            )
            .help("give the entity rows as batches or files")),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Rows>> {
        let rows = match self {
            Self::Arrays { keys, times, next } => {
                let (first, n) = (*next, BATCH_ROWS.min(times.len() - *next));
                if n == 0 {
                    return Ok(None);
                }
                *next += n;
                Rows {
                    first: first as u64,
                    keys: keys.iter().map(|key| key.slice(first, n)).collect(),
                    times: times.slice(first, n),
                }
            }
            Self::Files {
                paths,
                open,
                next,
                rows,
            } => {
                let batch = loop {
                    match open.as_mut().and_then(Iterator::next) {
                        Some(batch) => {
                            let damaged =
                                |error| Error::corrupt("a file of entity rows is damaged").source(error);
                            break batch.map_err(damaged)?;
                        }
                        None => match paths.next() {
                            Some(path) => *open = Some(Box::new(files::open(path)?)),
                            None if next == rows => return Ok(None),
                            None => {
                                return Err(Error::corrupt(format!(
                                    "the files of entity rows hold {next} rows, not {rows}"
                                )));
                            }
                        },
                    }
                };
                let (times, keys) = batch.columns().split_last().ok_or_else(unfit)?;
                let times = times
                    .as_primitive_opt::<TimestampMicrosecondType>()
                    .ok_or_else(unfit)?;
                let first = *next;
                *next += batch.num_rows() as u64;
                Rows {
                    first,
                    keys: keys.to_vec(),
                    times: times.clone(),
                }
            }
        };
        if rows.times.null_count() > 0 {
            return Err(unfit());
        }
        Ok(Some(rows))
    }
}

fn unfit() -> Error {
    Error::internal("entity rows need a time each and keys of the same length")
}

/// How many entity rows there are.
pub(crate) fn count(rows: &EntityRows) -> u64 {
    match rows {
        EntityRows::Batches { times, .. } => times.len() as u64,
        EntityRows::Files(files) => files.rows,
        _ => 0,
    }
}

/// The same request with all entity rows in memory.
pub(crate) fn load(request: HistoricalRead) -> Result<HistoricalRead> {
    if matches!(request.rows, EntityRows::Batches { .. }) {
        return Ok(request);
    }
    let mut columns: Vec<Vec<ArrayRef>> = Vec::new();
    let mut cursor = Cursor::new(&request.rows)?;
    while let Some(rows) = cursor.next()? {
        let all = rows.keys.into_iter().chain([Arc::new(rows.times) as ArrayRef]);
        for (at, array) in all.enumerate() {
            match columns.get_mut(at) {
                Some(column) => column.push(array),
                None => columns.push(vec![array]),
            }
        }
    }
    let whole = |parts: Vec<ArrayRef>| {
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        concat(&parts).map_err(fault::arrow)
    };
    let mut keys = columns.into_iter().map(whole).collect::<Result<Vec<_>>>()?;
    let rows = match keys.pop() {
        Some(times) => EntityRows::batches(keys, times.as_primitive().clone()),
        None => no_rows(&request),
    };
    Ok(HistoricalRead { rows, ..request })
}

/// Without a row, only the views tell which keys there would be.
fn no_rows(request: &HistoricalRead) -> EntityRows {
    let mut keys: Vec<ArrayRef> = Vec::new();
    for view in &request.views {
        for (at, key) in view.spine_keys.iter().zip(&view.scan.keys) {
            keys.resize_with(keys.len().max(at + 1), || null_array(ValueType::BOOL, 0));
            keys[*at] = null_array(key.key.value_type, 0);
        }
    }
    EntityRows::batches(keys, TimestampMicrosecondArray::from(Vec::<i64>::new()))
}

/// What the rows of one set of keys lie between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// First and last time of the rows without a null key; none when there are none.
    pub(crate) times: Option<(i64, i64)>,
    pub(crate) keys: Vec<Keys>,
    /// Bytes of the keys, all rows together.
    pub(crate) bytes: u64,
}

/// The bounds for each set of key columns.
pub(crate) fn bounds(rows: &EntityRows, sets: &[Vec<usize>], cancel: &Cancel) -> Result<Vec<Bounds>> {
    let mut all: Vec<Bounds> = sets
        .iter()
        .map(|set| Bounds {
            times: None,
            keys: vec![Keys::none(); set.len()],
            bytes: 0,
        })
        .collect();
    let mut cursor = Cursor::new(rows)?;
    while let Some(rows) = cursor.next()? {
        cancel.check()?;
        for (bounds, set) in all.iter_mut().zip(sets) {
            let keys = pick(&rows.keys, set)?;
            for (range, key) in bounds.keys.iter_mut().zip(&keys) {
                *range = std::mem::replace(range, Keys::none()).or(Keys::of(key));
                bounds.bytes += key_bytes(key);
            }
            let valid = keys
                .iter()
                .fold(None, |nulls, key| NullBuffer::union(nulls.as_ref(), key.nulls()));
            let times = rows.times.values().iter().enumerate();
            for (_, time) in times.filter(|(row, _)| valid.as_ref().is_none_or(|valid| valid.is_valid(*row)))
            {
                let (first, last) = bounds.times.unwrap_or((*time, *time));
                bounds.times = Some((first.min(*time), last.max(*time)));
            }
        }
    }
    Ok(all)
}

/// Bytes of a key column's values, those of a slice only.
fn key_bytes(key: &ArrayRef) -> u64 {
    let between = |offsets: &[i32]| match offsets {
        [first, .., last] => u64::from(last.abs_diff(*first)),
        _ => 0,
    };
    match key.data_type() {
        DataType::Utf8 => between(key.as_string::<i32>().value_offsets()),
        DataType::Binary => between(key.as_binary::<i32>().value_offsets()),
        of => of.primitive_width().unwrap_or(1) as u64 * key.len() as u64,
    }
}

fn pick(keys: &[ArrayRef], set: &[usize]) -> Result<Vec<ArrayRef>> {
    set.iter()
        .map(|at| keys.get(*at).cloned().ok_or_else(unfit))
        .collect()
}

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
    let mut fields: Vec<Field> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| Field::new(format!("key{at}"), key.data_type().clone(), true))
        .collect();
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    fields.push(Field::new("time", time, false));
    fields.push(Field::new("row", DataType::UInt64, false));
    Arc::new(Schema::new(fields))
}
