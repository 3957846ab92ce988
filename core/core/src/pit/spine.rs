//! Which entity rows have a key, in the order of their times?

use super::PitError;
use super::keys::{KeyBatch, KeyShape, Packed, key_nulls};
use super::table::{KeyTable, NO_GROUP, Range};
use arrow_array::{Array, ArrayRef};

/// The entity rows, grouped by key and sorted by time inside each group.
///
/// A *position* is a place in that order: group after group, by time inside a group, equal times in row order.
/// A row with a null in any key has no position. The index is immutable; share it behind an `Arc`.
#[derive(Debug)]
pub struct SpineIndex {
    shape: KeyShape,
    table: KeyTable,
    /// Start of each group and the end of the last.
    offsets: Vec<u32>,
    /// Position to time.
    times: Vec<i64>,
    /// Position to row.
    order: Vec<u32>,
    rows: usize,
    time_bounds: Option<(i64, i64)>,
}

impl SpineIndex {
    /// Indexes rows given by their key columns and their times (µs, UTC).
    ///
    /// Keys are `Boolean`, `Int32`, `Int64`, `Date32`, `Timestamp(µs)`, `Decimal128`, and strings and binaries of
    /// any layout. No key column at all makes one group. At most `u32::MAX` rows.
    pub fn build(keys: &[ArrayRef], times: &[i64]) -> Result<Self, PitError> {
        let rows = times.len();
        if u32::try_from(rows).is_err() {
            return Err(PitError::TooManyRows(rows));
        }
        if let Some(array) = keys.iter().find(|array| array.len() != rows) {
            return Err(PitError::Length {
                what: "a key column",
                expected: rows,
                found: array.len(),
            });
        }
        let shape = KeyShape::of(keys)?;
        let mut packed = Packed::default();
        let batch = shape.read(keys, &mut packed);
        let (mut table, groups) = KeyTable::build(shape.kind(), &batch, key_nulls(keys).as_ref(), rows);

        let mut offsets = vec![0_u32; table.len() + 1];
        for group in groups.iter().filter(|group| **group != NO_GROUP) {
            offsets[*group as usize + 1] += 1;
        }
        for group in 1..offsets.len() {
            offsets[group] += offsets[group - 1];
        }
        table.finish(&offsets);

        let mut sorted = vec![(0_i64, 0_u32); offsets.last().map_or(0, |end| *end as usize)];
        let mut cursor = offsets.clone();
        for (row, group) in groups.iter().enumerate().filter(|(_, group)| **group != NO_GROUP) {
            let at = &mut cursor[*group as usize];
            sorted[*at as usize] = (times[row], row as u32);
            *at += 1;
        }
        for ends in offsets.windows(2) {
            // Rows are distinct and ascending, so the unstable sort of pairs is a stable sort by time.
            let group = &mut sorted[ends[0] as usize..ends[1] as usize];
            if !group.is_sorted() {
                group.sort_unstable();
            }
        }
        let times: Vec<i64> = sorted.iter().map(|(time, _)| *time).collect();
        let order = sorted.iter().map(|(_, row)| *row).collect();
        let time_bounds = times.iter().min().copied().zip(times.iter().max().copied());
        Ok(Self {
            shape,
            table,
            offsets,
            times,
            order,
            rows,
            time_bounds,
        })
    }

    /// The number of rows, those with null keys included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of rows that have a position.
    pub fn positions(&self) -> usize {
        self.order.len()
    }

    /// The number of distinct keys.
    pub fn groups(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The positions of one group; panics unless `group < groups()`.
    pub fn group(&self, group: usize) -> std::ops::Range<usize> {
        self.offsets[group] as usize..self.offsets[group + 1] as usize
    }

    /// The time at each position, µs, ascending inside a group.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// The row at each position.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// The smallest and largest time of a row that has a position; `None` when there is none.
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        self.time_bounds
    }

    /// Heap bytes that the index holds.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
            + size_of_val(self.offsets.as_slice())
            + size_of_val(self.times.as_slice())
            + size_of_val(self.order.as_slice())
    }

    pub(super) fn shape(&self) -> &KeyShape {
        &self.shape
    }

    /// Keeps the rows whose key the spine has, with their groups; returns how many.
    pub(super) fn find(&self, keys: &KeyBatch<'_>, rows: &mut [u32], ranges: &mut [Range]) -> usize {
        self.table.find(keys, rows, ranges)
    }

    /// For each range the first position whose time is `known` or later, or the range's end.
    pub(super) fn first_knowing(&self, ranges: &[Range], known: &[i64], at: &mut [u32]) {
        // Reading both ends of every group first, with nothing that depends on them, lets the misses overlap.
        let mut sum = 0;
        let mut longest = 0;
        for range in ranges.iter().filter(|range| range.len != 0) {
            let start = range.start as usize;
            sum ^= self.times[start] ^ self.times[start + range.len as usize - 1];
            longest = longest.max(range.len as usize);
        }
        std::hint::black_box(sum);
        for ((range, known), at) in ranges.iter().zip(known).zip(&mut *at) {
            let start = range.start as usize;
            let len = if range.len < LONG { range.len as usize } else { 0 };
            *at = range.start + self.times[start..start + len].partition_point(|time| time < known) as u32;
        }
        if longest < LONG as usize {
            return;
        }
        // Every step of a search in a long group misses, so the long searches take each step together.
        let mut step = 1_u32 << longest.ilog2();
        while step != 0 {
            for ((range, known), at) in ranges.iter().zip(known).zip(&mut *at) {
                if range.len >= LONG && range.start + range.len - *at >= step {
                    let next = *at + step;
                    *at = std::hint::select_unpredictable(self.times[next as usize - 1] < *known, next, *at);
                }
            }
            step /= 2;
        }
    }
}

/// The size from which on a group's times fill several cache lines.
const LONG: u32 = 64;
