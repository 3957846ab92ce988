//! The entity rows, reduced to what offline stores need: distinct key columns and times.

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_base::error::suggest;
use larder_base::{Error, JoinKey, Result, ValueType};
use larder_core::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use larder_core::arrow::compute::concat::concat;
use larder_core::arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use larder_core::convert::{UnclearTimes, Zone, align_rows, coerce, concat_rows, unclear_times};
use larder_core::{EntityRows, OfflineOptions};

use futures::TryStreamExt;

use super::aside::{Again, Aside, EntitySource, Writer};
use super::parameters::Parameters;
use crate::selection::Resolved;

/// Entity rows and what offline stores need of them.
#[derive(Debug)]
pub(super) struct Spine {
    place: Place,
    reducer: Reducer,
    /// Wall-clock times among the times that a clock change skips or repeats.
    unclear: UnclearTimes,
}

#[derive(Debug)]
enum Place {
    Held(Held),
    Aside { aside: Aside, again: Again },
}

impl Spine {
    /// Rows that are in memory already.
    pub(super) fn reduce(
        batches: &[RecordBatch],
        resolved: &Resolved,
        parameters: &Parameters,
    ) -> Result<Self> {
        let reducer = Reducer::new(resolved, parameters)?;
        let held = Held::new(batches, &reducer, parameters.limit)?;
        let mut unclear = UnclearTimes::default();
        for (batch, first) in held.batches.iter().zip(&held.starts) {
            unclear.merge(reducer.unclear(batch, *first as u64));
        }
        Ok(Self {
            place: Place::Held(held),
            reducer,
            unclear,
        })
    }

    /// Rows out of a source; those that need more than some bytes are not held.
    pub(super) async fn read(
        source: &Arc<dyn EntitySource>,
        resolved: &Resolved,
        parameters: &Parameters,
        options: &OfflineOptions,
        most: u64,
    ) -> Result<Self> {
        let reducer = Reducer::new(resolved, parameters)?;
        let mut left = parameters.limit.unwrap_or(u64::MAX);
        let (mut held, mut bytes) = (Vec::new(), 0);
        let mut writer: Option<(Writer, SchemaRef)> = None;
        let (mut stream, mut first) = (source.open()?, 0);
        let mut unclear = UnclearTimes::default();
        while left > 0 {
            let Some(batch) = stream.try_next().await? else {
                break;
            };
            let batch = first_rows(batch, Some(left));
            left -= batch.num_rows() as u64;
            match &mut writer {
                None => {
                    bytes += batch.get_array_memory_size() as u64;
                    held.push(batch);
                    if bytes > most {
                        let mut aside = Writer::new(options.spill_dir.as_deref())?;
                        let schema = held[0].schema();
                        for batch in held.drain(..) {
                            unclear.merge(reducer.unclear(&batch, first));
                            first += reducer.write(&batch, first, &schema, &mut aside)?;
                        }
                        writer = Some((aside, schema));
                    }
                }
                Some((aside, schema)) => {
                    unclear.merge(reducer.unclear(&batch, first));
                    first += reducer.write(&batch, first, schema, aside)?;
                }
            }
        }
        let Some((writer, schema)) = writer else {
            return Self::reduce(&held, resolved, parameters);
        };
        let place = Place::Aside {
            aside: writer.finish()?,
            again: Again::new(source.clone(), schema),
        };
        Ok(Self {
            place,
            reducer,
            unclear,
        })
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        match &self.place {
            Place::Held(held) => held.reduced.times.len(),
            Place::Aside { aside, .. } => usize::try_from(aside.files.rows).unwrap_or(usize::MAX),
        }
    }

    /// The caller's columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        match &self.place {
            Place::Held(held) => held.batches[0].schema_ref(),
            Place::Aside { again, .. } => again.schema(),
        }
    }

    /// What deserves a look.
    pub(super) fn warnings(&self) -> Option<String> {
        let zone = self.reducer.zone.as_ref()?;
        unclear_times_warning(&self.reducer.time_column, zone.name(), self.unclear)
    }

    /// For each key of a view in canonical order, which of the key columns it is.
    pub(super) fn keys_of(&self, view: usize) -> Vec<usize> {
        self.reducer.key_indexes[view].clone()
    }

    /// What stores are asked with.
    pub(super) fn entity_rows(&self) -> EntityRows {
        match &self.place {
            Place::Held(held) => EntityRows::batches(held.reduced.keys.clone(), held.reduced.times.clone()),
            Place::Aside { aside, .. } => EntityRows::Files(aside.files.clone()),
        }
    }

    /// How many rows from `start` on come without being copied together.
    pub(super) fn at_hand(&self, start: usize) -> usize {
        match &self.place {
            Place::Held(held) => held.at_hand(start),
            Place::Aside { .. } => usize::MAX,
        }
    }

    /// Consecutive rows as the caller gave them, no more than are [`at_hand`](Self::at_hand), and their times. Windows
    /// follow one another.
    pub(super) async fn window(
        &mut self,
        start: usize,
        rows: usize,
    ) -> Result<(RecordBatch, TimestampMicrosecondArray)> {
        match &mut self.place {
            Place::Held(held) => Ok((held.slice(start, rows), held.reduced.times.slice(start, rows))),
            Place::Aside { again, .. } => {
                let batch = again.take(rows).await?;
                let times = self.reducer.times(&batch, start as u64)?;
                Ok((batch, times))
            }
        }
    }
}

/// Entity rows in memory.
#[derive(Debug)]
struct Held {
    /// The caller's rows, untouched; at least one batch.
    batches: Vec<RecordBatch>,
    /// The first row of each batch.
    starts: Vec<usize>,
    reduced: Reduced,
}

/// Rows from which on a batch is worth an output batch of its own; smaller neighbours are joined.
const ENOUGH_ROWS: usize = 16_384;

impl Held {
    fn new(batches: &[RecordBatch], reducer: &Reducer, limit: Option<u64>) -> Result<Self> {
        let batches = joined(batches, limit)?;
        let (mut starts, mut keys, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut rows = 0;
        for batch in &batches {
            let reduced = reducer.reduce(batch, rows as u64)?;
            starts.push(rows);
            keys.push(reduced.keys);
            times.push(reduced.times);
            rows += batch.num_rows();
        }
        let reduced = Reduced::together(&keys, &times)?;
        Ok(Self {
            batches,
            starts,
            reduced,
        })
    }

    /// The last batch that begins at or before a row; empty ones hold no row.
    fn batch_of(&self, row: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= row)
            .saturating_sub(1)
    }

    fn at_hand(&self, start: usize) -> usize {
        let batch = self.batch_of(start);
        self.starts[batch] + self.batches[batch].num_rows() - start
    }

    fn slice(&self, start: usize, rows: usize) -> RecordBatch {
        let batch = self.batch_of(start);
        self.batches[batch].slice(start - self.starts[batch], rows)
    }
}

/// Batches of one schema, of a good size, and no more rows than the limit.
fn joined(batches: &[RecordBatch], limit: Option<u64>) -> Result<Vec<RecordBatch>> {
    let wrong = |error: Error| Error::input(format!("the entity rows: {}", error.message()));
    if batches.is_empty() {
        return Err(
            Error::input("there are no entity rows").help("give at least one row with keys and a time")
        );
    }
    let mut left = limit.unwrap_or(u64::MAX);
    let (mut large, mut small, mut rows) = (Vec::new(), Vec::new(), 0);
    for batch in align_rows(batches).map_err(wrong)? {
        let batch = first_rows(batch, Some(left));
        left -= batch.num_rows() as u64;
        if rows > 0 && (rows >= ENOUGH_ROWS || batch.num_rows() >= ENOUGH_ROWS) {
            large.push(concat_rows(&small).map_err(wrong)?);
            (small, rows) = (Vec::new(), 0);
        }
        rows += batch.num_rows();
        // Empty ones only say what columns there are.
        if batch.num_rows() > 0 || small.is_empty() && large.is_empty() {
            small.push(batch);
        }
    }
    if !small.is_empty() {
        large.push(concat_rows(&small).map_err(wrong)?);
    }
    Ok(large)
}

/// Distinct (column, type) pairs in canonical Arrow types, and `T` without nulls.
#[derive(Debug)]
struct Reduced {
    keys: Vec<ArrayRef>,
    times: TimestampMicrosecondArray,
}

impl Reduced {
    fn together(keys: &[Vec<ArrayRef>], times: &[TimestampMicrosecondArray]) -> Result<Self> {
        let joined = |parts: &[&dyn Array]| {
            concat(parts)
                .map_err(|error| Error::input("the entity rows are too large together").source(error))
        };
        let column = |at: usize| joined(&keys.iter().map(|keys| keys[at].as_ref()).collect::<Vec<_>>());
        let columns = keys.first().map_or(0, Vec::len);
        let all = joined(&times.iter().map(|times| times as &dyn Array).collect::<Vec<_>>())?;
        Ok(Self {
            keys: (0..columns).map(column).collect::<Result<_>>()?,
            times: all.as_primitive::<TimestampMicrosecondType>().clone(),
        })
    }
}

/// What is taken of entity rows.
#[derive(Debug)]
struct Reducer {
    time_column: String,
    zone: Option<Zone>,
    /// Column and key of each key column.
    columns: Vec<(String, JoinKey)>,
    key_indexes: Vec<Vec<usize>>,
}

impl Reducer {
    fn new(resolved: &Resolved, parameters: &Parameters) -> Result<Self> {
        let zone = parameters
            .timezone
            .as_deref()
            .map(Zone::new)
            .transpose()
            .map_err(|error| Error::input(error.to_string()))?;
        refuse_unknown_renames(resolved, &parameters.keys)?;
        let mut columns: Vec<(String, JoinKey)> = Vec::new();
        let mut key_indexes = Vec::new();
        for view in &resolved.views {
            let mut indexes = Vec::with_capacity(view.keys.len());
            for role in &view.keys {
                let column = parameters.column_of(role.column.as_str());
                let of = role.key.value_type;
                let known = |(name, key): &(String, JoinKey)| name == column && key.value_type == of;
                indexes.push(columns.iter().position(known).unwrap_or_else(|| {
                    columns.push((column.to_owned(), role.key.clone()));
                    columns.len() - 1
                }));
            }
            key_indexes.push(indexes);
        }
        Ok(Self {
            time_column: parameters.time_column.clone(),
            zone,
            columns,
            key_indexes,
        })
    }

    fn reduce(&self, rows: &RecordBatch, first: u64) -> Result<Reduced> {
        let times = self.times(rows, first)?;
        let columns = self.columns.iter();
        let keys = columns
            .map(|(column, key)| key_column(rows, column, key, self.zone.as_ref()))
            .collect::<Result<_>>()?;
        Ok(Reduced { keys, times })
    }

    /// Writes aside what stores need; returns how many rows these were.
    fn write(&self, rows: &RecordBatch, first: u64, schema: &SchemaRef, aside: &mut Writer) -> Result<u64> {
        if rows.schema_ref().fields() != schema.fields() {
            return Err(Error::input(format!(
                "the entity rows have other columns from row {first} on than before"
            )));
        }
        let reduced = self.reduce(rows, first)?;
        aside.write(reduced.keys, reduced.times)?;
        Ok(rows.num_rows() as u64)
    }

    fn unclear(&self, rows: &RecordBatch, first: u64) -> UnclearTimes {
        match (&self.zone, rows.column_by_name(&self.time_column)) {
            (Some(zone), Some(times)) => unclear_times(times, zone, first),
            _ => UnclearTimes::default(),
        }
    }

    fn times(&self, rows: &RecordBatch, first: u64) -> Result<TimestampMicrosecondArray> {
        times(rows, &self.time_column, self.zone.as_ref(), first)
    }
}

/// The warning about wall-clock times of a column of entity rows that a clock change skips or repeats.
pub fn unclear_times_warning(column: &str, zone: &str, found: UnclearTimes) -> Option<String> {
    let first = found.first?;
    Some(format!(
        "{} of the times in `{column}` are skipped or repeated by a clock change of {zone}, the first in row {first}, \
         counted from 0; skipped ones are read with the offset before the change, of two instants the first is taken",
        found.count
    ))
}

fn first_rows(rows: RecordBatch, limit: Option<u64>) -> RecordBatch {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    match rows.num_rows() > limit {
        true => rows.slice(0, limit),
        false => rows,
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str, what: &str, remedy: &str) -> Result<&'a ArrayRef> {
    rows.column_by_name(name).ok_or_else(|| {
        let schema: &Schema = rows.schema_ref();
        let known = schema.fields().iter().map(|field| field.name().as_str());
        Error::input(format!(
            "the entity rows have no column `{name}`, which is {what}"
        ))
        .help(format!("{}; {remedy}", suggest(name, known)))
    })
}

/// The times, without nulls; `first` is the number of the first row, for messages.
fn times(
    rows: &RecordBatch,
    name: &str,
    zone: Option<&Zone>,
    first: u64,
) -> Result<TimestampMicrosecondArray> {
    let found = column(rows, name, "their time", "name it with `--time-column`")?;
    let times = coerce(found, ValueType::TIMESTAMP, zone).map_err(|error| error.with("column", name))?;
    if times.null_count() > 0 {
        let rows: Vec<String> = (0..times.len())
            .filter(|row| times.is_null(*row))
            .take(10)
            .map(|row| (first + row as u64).to_string())
            .collect();
        return Err(Error::input(format!(
            "{} entity rows have no time: row {}{}",
            times.null_count(),
            rows.join(", "),
            if times.null_count() > rows.len() {
                ", …"
            } else {
                ""
            }
        ))
        .with("column", name)
        .help("rows are counted from 0; give each a time or leave it out"));
    }
    Ok(times.as_primitive().clone())
}

fn key_column(rows: &RecordBatch, name: &str, key: &JoinKey, zone: Option<&Zone>) -> Result<ArrayRef> {
    let what = format!("join key `{}`", key.name);
    let found = column(rows, name, &what, "map it with `--keys KEY=COLUMN`")?;
    match narrowed(found, key.value_type) {
        Some(column) => Ok(column),
        None => coerce(found, key.value_type, zone)
            .map_err(|error| error.with("column", name).with("join_key", &key.name)),
    }
}

/// An int64 column for an int32 key: tools write ids as int64 whatever they were. A value that
/// does not fit is no key of that type, so it matches nothing.
fn narrowed(column: &ArrayRef, of: ValueType) -> Option<ArrayRef> {
    use larder_core::arrow::array::Int32Array;
    use larder_core::arrow::datatypes::Int64Type;
    if of != ValueType::INT32 {
        return None;
    }
    let wide = column.as_primitive_opt::<Int64Type>()?;
    let narrow: Int32Array = wide
        .iter()
        .map(|value| value.and_then(|v| i32::try_from(v).ok()))
        .collect();
    Some(Arc::new(narrow))
}

/// Refuses renamed keys that no view has.
pub(super) fn refuse_unknown_renames(resolved: &Resolved, renames: &BTreeMap<String, String>) -> Result<()> {
    let columns = resolved.key_columns();
    match renames.keys().find(|name| !columns.contains_key(name.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Error::input(format!(
            "`{unknown}` is not a join key of the features asked for"
        ))
        .help(suggest(unknown, columns.keys().map(AsRef::as_ref)))),
    }
}
