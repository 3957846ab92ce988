//! Pass 2: what do the winning rows hold? Reads the wanted features of the winners only, sparsely where they are few.

use std::ops::Range;

use larder_core::arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use larder_core::arrow::compute::concat::concat;
use larder_core::arrow::compute::interleave::interleave;
use larder_core::arrow::compute::take::{take, take_record_batch};
use larder_core::convert::{SourceColumns, null_array};
use larder_core::{Error, Result, ValueType, ViewScan};
use parking_lot::Mutex;

use crate::ahead::{Part, Upcoming};
use crate::fault;
use crate::plan::{Context, Group, Plan};
use crate::work;

/// Rows per batch while decoding.
const BATCH_ROWS: usize = 16_384;

/// Rows between two winners that are cheaper to decode than to skip.
const GAP: u32 = 128;

/// Bytes up to which pieces of a column are joined: string offsets are 32 bits wide.
const JOINED_BYTES: usize = 1 << 30;

/// Bytes of a value from which on joining pieces costs more than finding the piece of every row does later.
const LONG_VALUE: usize = 256;

/// Bytes up to which pieces are joined: as much as can be, except where values are long.
fn joined_bytes(pieces: &[ArrayRef]) -> usize {
    let rows: usize = pieces.iter().map(|piece| piece.len()).sum();
    let bytes: usize = pieces.iter().map(|piece| piece.get_array_memory_size()).sum();
    if bytes / rows.max(1) < LONG_VALUE {
        JOINED_BYTES
    } else {
        0
    }
}

/// A feature's values at the distinct winners, in the source's order.
#[derive(Debug)]
pub(crate) struct Column {
    of: ValueType,
    chunks: Vec<ArrayRef>,
    /// First row of each chunk.
    starts: Vec<u32>,
}

impl Column {
    pub(crate) fn new(of: ValueType, pieces: Vec<ArrayRef>) -> Result<Self> {
        let mut column = Self {
            of,
            chunks: Vec::new(),
            starts: Vec::new(),
        };
        let mut rows = 0_u32;
        let mut open: Vec<ArrayRef> = Vec::new();
        let mut bytes = 0;
        let limit = joined_bytes(&pieces);
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
            let size = piece.get_array_memory_size();
            if bytes + size > limit {
                column.push(&mut open, &mut rows)?;
                bytes = 0;
            }
            bytes += size;
            open.push(piece);
        }
        column.push(&mut open, &mut rows)?;
        Ok(column)
    }

    fn push(&mut self, open: &mut Vec<ArrayRef>, rows: &mut u32) -> Result<()> {
        let chunk = match open.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => {
                let parts: Vec<&dyn Array> = many.iter().map(AsRef::as_ref).collect();
                concat(&parts).map_err(fault::arrow)?
            }
        };
        self.starts.push(*rows);
        // There are at most as many distinct winners as entity rows, which fit.
        *rows += chunk.len() as u32;
        self.chunks.push(chunk);
        open.clear();
        Ok(())
    }

    /// The values at some places, null where there is none.
    pub(crate) fn pick(&self, places: &UInt32Array) -> Result<ArrayRef> {
        match self.chunks.as_slice() {
            [] => Ok(null_array(self.of, places.len())),
            [one] => take(one, places, None).map_err(fault::arrow),
            [first, ..] => {
                let none = new_null_array(first.data_type(), 1);
                let mut chunks: Vec<&dyn Array> = self.chunks.iter().map(AsRef::as_ref).collect();
                chunks.push(&none);
                let place = |place: Option<u32>| match place {
                    None => (chunks.len() - 1, 0),
                    Some(place) => {
                        let chunk = self.starts.partition_point(|start| *start <= place) - 1;
                        (chunk, (place - self.starts[chunk]) as usize)
                    }
                };
                let indices: Vec<(usize, usize)> = places.iter().map(place).collect();
                interleave(&chunks, &indices).map_err(fault::arrow)
            }
        }
    }
}

/// Reads the features of a scan at some positions of the source, which ascend and are distinct.
pub(crate) fn columns(
    plan: &Plan,
    scan: &ViewScan,
    positions: &[u64],
    context: &Context,
) -> Result<Vec<Column>> {
    let features = scan.features.len();
    let shares = by_group(&plan.groups, positions);
    if features == 0 {
        return Ok(Vec::new());
    }
    // Where there are few row groups, threads share their columns. Neighbouring columns of a remote file come with one
    // request, so that dividing them costs requests.
    let remote = plan.files.iter().any(|file| file.file.is_remote());
    let wanted_tasks = if remote { 1 } else { 8 } * context.threads;
    let sets = wanted_tasks.div_ceil(shares.len().max(1)).clamp(1, features);
    let sets = if context.threads == 1 { 1 } else { sets };
    let subsets: Vec<ViewScan> = (0..sets)
        .map(|set| {
            let mut subset = scan.clone();
            subset.features = scan.features.iter().skip(set).step_by(sets).cloned().collect();
            subset
        })
        .collect();

    let tasks = shares.len() * sets;
    let pieces: Vec<Mutex<Vec<Vec<ArrayRef>>>> = (0..tasks).map(|_| Mutex::new(Vec::new())).collect();
    let threads = context.threads.min(tasks).max(1);
    let all: Vec<SourceColumns<'_>> = subsets.iter().map(SourceColumns::new).collect::<Result<_>>()?;
    let upcoming = Upcoming::new(plan, &context.count, tasks, |task| {
        let share = &shares[task / sets];
        Part {
            file: &plan.files[share.group.file],
            row_group: share.group.row_group,
            ranges: Way::to(share).ranges,
            names: all[task % sets].feature_names(),
        }
    });
    work::each(vec![(); threads], tasks, &context.cancel, |(), task| {
        upcoming.begun(task);
        let (share, set) = (&shares[task / sets], task % sets);
        let found = gather(plan, &subsets[set], share, context)?;
        *pieces[task].lock() = found;
        Ok(())
    })?;

    let joined: Vec<Mutex<Option<Column>>> = (0..features).map(|_| Mutex::new(None)).collect();
    let threads = context.threads.min(features).max(1);
    work::each(vec![(); threads], features, &context.cancel, |(), feature| {
        let (set, at) = (feature % sets, feature / sets);
        let parts = (0..shares.len()).flat_map(|share| {
            let mut found = pieces[share * sets + set].lock();
            found.get_mut(at).map(std::mem::take).unwrap_or_default()
        });
        let column = Column::new(scan.features[feature].value_type, parts.collect())?;
        *joined[feature].lock() = Some(column);
        Ok(())
    })?;
    let column = |cell: Mutex<Option<Column>>| {
        cell.into_inner()
            .ok_or_else(|| Error::internal("a column is missing"))
    };
    joined.into_iter().map(column).collect()
}

/// The winners of one row group.
struct Share<'a> {
    group: &'a Group,
    positions: &'a [u64],
}

fn by_group<'a>(groups: &'a [Group], positions: &'a [u64]) -> Vec<Share<'a>> {
    let mut shares = Vec::new();
    let mut rest = positions;
    for group in groups {
        let n = rest.partition_point(|position| *position < group.base + group.rows);
        let (own, after) = rest.split_at(n);
        if !own.is_empty() {
            shares.push(Share {
                group,
                positions: own,
            });
        }
        rest = after;
    }
    shares
}

/// The features of a scan at the winners of one row group: for each feature its pieces.
fn gather(plan: &Plan, scan: &ViewScan, share: &Share<'_>, context: &Context) -> Result<Vec<Vec<ArrayRef>>> {
    let columns = SourceColumns::new(scan)?;
    let group = share.group;
    let file = &plan.files[group.file];
    let place = file.file.shown.as_str();
    let Way {
        rows,
        ranges,
        expected,
    } = Way::to(share);

    let chunks = file.file.open(&context.count)?;
    let names = columns.feature_names();
    let mut pieces = vec![Vec::new(); scan.features.len()];
    let (mut start, mut done) = (0, 0);
    for batch in file.read(&chunks, group.row_group, ranges.as_deref(), &names, BATCH_ROWS)? {
        context.cancel.check()?;
        let batch = batch?;
        let end = start + batch.num_rows();
        let n = rows[done..].partition_point(|row| (*row as usize) < end);
        if let Some(found) = select(batch, &rows[done..done + n], start as u32)? {
            for (pieces, found) in pieces.iter_mut().zip(columns.features(&found, place)?) {
                pieces.push(found);
            }
        }
        done += n;
        start = end;
    }
    file.file.verify(&chunks)?;
    if start != expected || done != rows.len() {
        return Err(
            Error::corrupt("a row group has another number of rows than its footer says").with("file", place),
        );
    }
    Ok(pieces)
}

/// How the winners of a row group are read.
struct Way {
    /// Their numbers among the rows that are read.
    rows: Vec<u32>,
    /// What is read; all rows when absent.
    ranges: Option<Vec<Range<usize>>>,
    /// How many rows are read.
    expected: usize,
}

impl Way {
    fn to(share: &Share<'_>) -> Self {
        let group = share.group;
        let rows: Vec<u32> = share
            .positions
            .iter()
            .map(|position| (position - group.base) as u32)
            .collect();
        let runs = runs(&rows);
        let read: usize = runs.iter().map(Range::len).sum();
        if read as u64 * 10 >= group.rows * 8 {
            return Self {
                rows,
                ranges: None,
                expected: group.rows as usize,
            };
        }
        Self {
            rows: renumber(&rows, &runs),
            ranges: Some(runs),
            expected: read,
        }
    }
}

/// The wanted rows of a batch that begins at row `start`.
fn select(batch: RecordBatch, rows: &[u32], start: u32) -> Result<Option<RecordBatch>> {
    if rows.is_empty() {
        return Ok(None);
    }
    if rows.len() == batch.num_rows() {
        return Ok(Some(batch));
    }
    let local: UInt32Array = rows.iter().map(|row| row - start).collect::<Vec<u32>>().into();
    take_record_batch(&batch, &local).map(Some).map_err(fault::arrow)
}

/// Ranges that hold all rows, and skip what is worth skipping.
pub(crate) fn runs(rows: &[u32]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for row in rows {
        let row = *row as usize;
        match runs.last_mut() {
            Some(run) if row < run.end + GAP as usize => run.end = row + 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

pub(crate) fn renumber(rows: &[u32], runs: &[Range<usize>]) -> Vec<u32> {
    let (mut run, mut before) = (0, 0);
    rows.iter()
        .map(|row| {
            let row = *row as usize;
            while row >= runs[run].end {
                before += runs[run].len();
                run += 1;
            }
            (before + row - runs[run].start) as u32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use larder_core::arrow::array::{AsArray, Int64Array, StringArray};

    use super::*;

    #[test]
    fn rows_keep_their_places_among_runs() {
        let rows = [3, 5, 5 + GAP, 1000, 1001];
        let runs = runs(&rows);
        assert_eq!(runs, [3..5 + GAP as usize + 1, 1000..1002]);
        assert_eq!(renumber(&rows, &runs), [0, 2, 2 + GAP, 3 + GAP, 4 + GAP]);
    }

    #[test]
    fn long_values_stay_in_pieces() {
        let text =
            |letter: &str, n: usize| Arc::new(StringArray::from(vec![letter.repeat(n); 2])) as ArrayRef;
        let pieces = |n| vec![text("a", n), text("b", n), text("c", n)];
        let column = |n| Column::new(ValueType::STRING, pieces(n)).unwrap();
        assert_eq!((column(5).chunks.len(), column(5000).chunks.len()), (1, 3));
        let places = UInt32Array::from(vec![Some(5), None, Some(2), Some(0), Some(3), Some(2)]);
        for n in [5, 5000] {
            let picked = column(n).pick(&places).unwrap();
            let first = |text: &str| text[..1].to_owned();
            let letters: Vec<_> = picked
                .as_string::<i32>()
                .iter()
                .map(|text| text.map(first))
                .collect();
            let want = [Some("c"), None, Some("b"), Some("a"), Some("b"), Some("b")];
            assert_eq!(letters, want.map(|letter| letter.map(str::to_owned)));
        }
    }

    #[test]
    fn a_column_of_several_chunks_is_picked_like_one() {
        let parts: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(Int64Array::from(vec![3])),
        ];
        let joined = Column::new(ValueType::INT64, parts.clone()).unwrap();
        let split = Column {
            of: ValueType::INT64,
            chunks: parts,
            starts: vec![0, 2],
        };
        let places = UInt32Array::from(vec![Some(2), None, Some(0), Some(1)]);
        let want = Int64Array::from(vec![Some(3), None, Some(1), Some(2)]);
        for column in [joined, split] {
            let picked = column.pick(&places).unwrap();
            assert_eq!(
                picked.as_primitive::<larder_core::arrow::datatypes::Int64Type>(),
                &want
            );
        }
    }
}
