//! Which entity rows have a key, in the order of their times?

use super::PitError;
use super::build::{self, Grouped};
use super::coarse::LONG;
use super::keys::{KeyBatch, KeyShape, key_nulls};
use super::resolve::{LAST, Share};
use super::table::Range;
use arrow_array::{Array, ArrayRef};

/// The entity rows, grouped by key and sorted by time inside each group.
///
/// A *position* is a place in that order: group after group, by time inside a group, equal times in row order.
/// A row with a null in any key has no position. The index is immutable; share it behind an `Arc`.
#[derive(Debug)]
pub struct SpineIndex {
    shape: KeyShape,
    grouped: Grouped,
    rows: usize,
}

impl SpineIndex {
    /// Indexes rows given by their key columns and their times (µs, UTC).
    ///
    /// Keys are `Boolean`, `Int32`, `Int64`, `Date32`, `Timestamp(µs)`, `Decimal128`, and strings and binaries of
    /// any layout. No key column at all makes one group. At most some 4.29 billion rows.
    pub fn build(keys: &[ArrayRef], times: &[i64]) -> Result<Self, PitError> {
        Self::build_with(keys, times, 1)
    }

    /// [`SpineIndex::build`] on up to so many threads, which do not show in what the index answers.
    pub fn build_with(keys: &[ArrayRef], times: &[i64], threads: usize) -> Result<Self, PitError> {
        let rows = times.len();
        if rows > LAST as usize {
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
        let mut packed = Vec::new();
        let columns = shape.columns(keys, &mut packed);
        let nulls = key_nulls(keys);
        let spine = build::Rows {
            times,
            nulls: nulls.as_ref(),
            threads: threads.max(1),
            numbered: false,
        };
        let grouped = build::group(&columns, spine);
        Ok(Self { shape, grouped, rows })
    }

    /// The number of rows, those with null keys included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of rows that have a position.
    pub fn positions(&self) -> usize {
        self.order().len()
    }

    /// The number of distinct keys.
    pub fn groups(&self) -> usize {
        self.grouped.offsets.len() - 1
    }

    /// The positions of one group; panics unless `group < groups()`.
    pub fn group(&self, group: usize) -> std::ops::Range<usize> {
        self.grouped.offsets[group] as usize..self.grouped.offsets[group + 1] as usize
    }

    /// The time at each position, µs, ascending inside a group.
    pub fn times(&self) -> &[i64] {
        &self.grouped.times
    }

    /// The row at each position.
    pub fn order(&self) -> &[u32] {
        &self.grouped.order
    }

    /// The smallest and largest time of a row that has a position; `None` when there is none.
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        self.grouped.time_bounds
    }

    /// Heap bytes that the index holds.
    pub fn memory_bytes(&self) -> usize {
        self.grouped.table.memory_bytes()
            + size_of_val(self.grouped.offsets.as_slice())
            + size_of_val(self.times())
            + size_of_val(self.order())
    }

    /// Cuts the groups into at most so many shares with about the same number of positions each.
    pub(super) fn shares(&self, parts: usize) -> Vec<Share> {
        let offsets = &self.grouped.offsets;
        let at = |group: usize| offsets[group] as usize;
        let mut shares = Vec::new();
        let mut first = 0;
        for part in 1..=parts {
            let wanted = self.positions() * part / parts;
            let end = offsets
                .partition_point(|offset| (*offset as usize) < wanted)
                .min(self.groups());
            if end > first {
                shares.push(Share {
                    groups: first..end,
                    positions: at(first)..at(end),
                });
                first = end;
            }
        }
        shares
    }

    pub(super) fn shape(&self) -> &KeyShape {
        &self.shape
    }

    /// Keeps the rows whose key the spine has, with their groups; returns how many.
    pub(super) fn find(&self, keys: &[KeyBatch<'_>], rows: &mut [u32], ranges: &mut [Range]) -> usize {
        self.grouped.table.find(keys, rows, ranges)
    }

    /// For each range of [`LONG`] positions or more the first whose time is `known` or later, or its end; each begins
    /// at its start.
    pub(super) fn search_long(&self, ranges: &[Range], known: &[i64], at: &mut [u32]) {
        let times = self.times();
        let longest = ranges.iter().map(|range| range.len).max().unwrap_or(0).max(1);
        // Every step of a search in a long group misses, so the long searches take each step together.
        let mut step = 1_u32 << longest.ilog2();
        while step != 0 {
            for ((range, known), at) in ranges.iter().zip(known).zip(&mut *at) {
                if range.len >= LONG && range.start + range.len - *at >= step {
                    let next = *at + step;
                    *at = std::hint::select_unpredictable(times[next as usize - 1] < *known, next, *at);
                }
            }
            step /= 2;
        }
    }
}
