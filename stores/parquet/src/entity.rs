//! Entity rows, wherever they are: batch by batch, as a whole, and what they lie between.

use std::path::PathBuf;
use std::sync::Arc;

use larder_core::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use larder_core::arrow::buffer::NullBuffer;
use larder_core::arrow::compute::concat::concat;
use larder_core::arrow::datatypes::{DataType, TimestampMicrosecondType};
use larder_core::convert::null_array;
use larder_core::{EntityRows, Error, HistoricalRead, Result, ValueType};

use crate::fault;
use crate::ipc;
use crate::keys::Keys;
use crate::work::Cancel;

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
        open: Option<Box<ipc::Stream>>,
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
                            Some(path) => *open = Some(Box::new(ipc::open(path)?)),
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

/// The key columns and times of all entity rows of a request, in memory.
pub(crate) fn load(request: &HistoricalRead) -> Result<(Vec<ArrayRef>, TimestampMicrosecondArray)> {
    if let EntityRows::Batches { keys, times } = &request.rows {
        return Ok((keys.clone(), times.clone()));
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
    match keys.pop() {
        Some(times) => Ok((keys, times.as_primitive().clone())),
        None => Ok((
            no_keys(request),
            TimestampMicrosecondArray::from(Vec::<i64>::new()),
        )),
    }
}

/// Without a row, only the views tell which keys there would be.
fn no_keys(request: &HistoricalRead) -> Vec<ArrayRef> {
    let mut keys: Vec<ArrayRef> = Vec::new();
    for view in &request.views {
        for (at, key) in view.spine_keys.iter().zip(&view.scan.keys) {
            keys.resize_with(keys.len().max(at + 1), || null_array(ValueType::BOOL, 0));
            keys[*at] = null_array(key.key.value_type, 0);
        }
    }
    keys
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
            let times = rows.times.values();
            let own = match &valid {
                None => times.iter().min().copied().zip(times.iter().max().copied()),
                Some(valid) => {
                    let times = || valid.valid_indices().map(|row| times[row]);
                    times().min().zip(times().max())
                }
            };
            bounds.times = match (bounds.times, own) {
                (Some((first, last)), Some(own)) => Some((first.min(own.0), last.max(own.1))),
                (known, own) => known.or(own),
            };
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

/// Some of the key columns.
pub(crate) fn pick(keys: &[ArrayRef], set: &[usize]) -> Result<Vec<ArrayRef>> {
    set.iter()
        .map(|at| keys.get(*at).cloned().ok_or_else(unfit))
        .collect()
}
