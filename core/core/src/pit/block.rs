//! On which spine position does a source row fall, and is it the best there?
//!
//! Rows pass through in blocks, and every step of a block is a short loop of its own: the cache misses of one
//! step (key table, times, buckets) then overlap across rows instead of following one another.

use super::bucket::Buckets;
use super::coarse::Coarse;
use super::probe::{SourceBatch, Times};
use super::table::Range;
use super::{EventBounds, SpineIndex, ViewRule};
use arrow_buffer::NullBuffer;

/// What says which rows are known where.
#[derive(Clone, Copy)]
pub(super) struct Knowing<'a> {
    pub(super) index: &'a SpineIndex,
    pub(super) rule: &'a ViewRule,
    pub(super) coarse: &'a Coarse,
}

/// Rows of a block: enough for misses to overlap, few enough for their cache lines to stay in the first level.
pub(super) const BLOCK: usize = 128;

/// The rows of a block that are still in play, compacted after every step.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) rows: [u32; BLOCK],
    pub(super) ranges: [Range; BLOCK],
    known: [i64; BLOCK],
    at: [u32; BLOCK],
    ends: [u32; BLOCK],
    early_rows: [u32; BLOCK],
    early_at: [u32; BLOCK],
    old_at: [u32; BLOCK],
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            rows: [0; BLOCK],
            ranges: [Range::default(); BLOCK],
            known: [0; BLOCK],
            at: [0; BLOCK],
            ends: [0; BLOCK],
            early_rows: [0; BLOCK],
            early_at: [0; BLOCK],
            old_at: [0; BLOCK],
        }
    }

    /// Keeps the rows with keys and an event time within the bounds.
    pub(super) fn select(
        &mut self,
        rows: std::ops::Range<u32>,
        event: &[i64],
        valid: Option<&NullBuffer>,
        bounds: EventBounds,
    ) -> usize {
        let mut kept = 0;
        match valid {
            None => {
                for row in rows {
                    let event = event[row as usize];
                    self.rows[kept] = row;
                    kept += usize::from((event >= bounds.min) & (event <= bounds.max));
                }
            }
            Some(valid) => {
                for row in rows {
                    let event = event[row as usize];
                    self.rows[kept] = row;
                    let valid = valid.is_valid(row as usize);
                    kept += usize::from(valid & (event >= bounds.min) & (event <= bounds.max));
                }
            }
        }
        kept
    }

    /// Keeps the rows that were written in time, of those selected.
    pub(super) fn select_written(&mut self, n: usize, rule: &ViewRule, created: Times<'_>) -> usize {
        let mut kept = 0;
        for i in 0..n {
            let row = self.rows[i];
            let absent = created.nulls.is_some_and(|nulls| nulls.is_null(row as usize));
            self.rows[kept] = row;
            kept += usize::from(absent || rule.was_written(created.values[row as usize]));
        }
        kept
    }

    /// Finds each row's bucket by its event time alone, and marks where a row is expired already.
    pub(super) fn place(
        &mut self,
        n: usize,
        known: Knowing<'_>,
        event: &[i64],
        expired: &mut [u64],
    ) -> usize {
        let Knowing { index, rule, coarse } = known;
        self.search(n, known, event);
        let last = index.positions().saturating_sub(1);
        let (mut kept, mut old) = (0, 0);
        for i in 0..n {
            let (row, range, at) = (self.rows[i], self.ranges[i], self.at[i]);
            let known = at < range.start + range.len;
            // One position beyond the last group is none, so its time does not matter.
            let fresh = known & coarse.is_fresh(index, rule, event[row as usize], (at as usize).min(last));
            self.rows[kept] = row;
            self.at[kept] = at;
            kept += usize::from(fresh);
            self.old_at[old] = at;
            old += usize::from(known & !fresh);
        }
        self.mark(old, expired);
        kept
    }

    fn mark(&self, old: usize, expired: &mut [u64]) {
        for at in &self.old_at[..old] {
            expired[*at as usize / 64] |= 1 << (at % 64);
        }
    }

    fn search(&mut self, n: usize, of: Knowing<'_>, event: &[i64]) {
        for (known, row) in self.known.iter_mut().zip(&self.rows[..n]) {
            // Cannot overflow: rows beyond the bounds, hence known after the largest time, are gone.
            *known = event[*row as usize] + of.rule.available_after;
        }
        of.coarse
            .first_knowing(of.index, &self.ranges[..n], &self.known[..n], &mut self.at[..n]);
    }

    /// Finds each row's bucket by event and created time, and the earlier one where the event time alone gives
    /// another; returns how many there are of each.
    pub(super) fn place_as_of(
        &mut self,
        n: usize,
        known: Knowing<'_>,
        event: &[i64],
        created: Times<'_>,
        expired: &mut [u64],
    ) -> (usize, usize) {
        let Knowing { index, rule, coarse } = known;
        self.search(n, known, event);
        for i in 0..n {
            let (row, range, first) = (self.rows[i] as usize, self.ranges[i], self.at[i]);
            let written = created.values[row];
            let later = written > self.known[i]
                && rule.trusts(written)
                && created.nulls.is_none_or(|nulls| nulls.is_valid(row));
            // What is left of the group is searched again, or nothing of it.
            let len = if later { range.start + range.len - first } else { 0 };
            self.ends[i] = range.start + range.len;
            self.ranges[i] = Range { start: first, len };
            self.known[i] = written;
        }
        coarse.first_knowing(index, &self.ranges[..n], &self.known[..n], &mut self.at[..n]);
        let times = index.times();
        let (mut kept, mut early, mut old) = (0, 0, 0);
        for i in 0..n {
            let (row, at, first) = (self.rows[i], self.at[i], self.ranges[i].start);
            let event = event[row as usize];
            let known = at < self.ends[i];
            let fresh = known && rule.is_fresh(event, times[at as usize]);
            self.early_rows[early] = row;
            self.early_at[early] = first;
            // Where they differ, `first` is a position of the group.
            early += usize::from(at != first && rule.is_fresh(event, times[first as usize]));
            self.rows[kept] = row;
            self.at[kept] = at;
            kept += usize::from(fresh);
            self.old_at[old] = at;
            old += usize::from(known & !fresh);
        }
        self.mark(old, expired);
        (kept, early)
    }

    /// Offers each row to its bucket.
    pub(super) fn offer(
        &mut self,
        n: usize,
        batch: &SourceBatch<'_>,
        buckets: &mut Buckets,
        coarse: &mut Coarse,
    ) {
        // A bucket's event time only grows, so a row below it has lost whatever else the block holds. Most rows go
        // here, without a branch to mispredict.
        let mut kept = 0;
        for i in 0..n {
            let (row, at) = (self.rows[i], self.at[i]);
            self.rows[kept] = row;
            self.at[kept] = at;
            kept += usize::from(coarse.may_win(at as usize, batch.event.values[row as usize]));
        }
        // The slots of the others are read with nothing that depends on them, so that the misses overlap.
        let (rows, at, slots) = (&self.rows[..kept], &self.at[..kept], buckets.slots());
        std::hint::black_box(at.iter().fold(0, |sum, at| sum ^ slots[*at as usize][0]));
        for (row, at) in rows.iter().zip(at) {
            offer(*row as usize, *at as usize, batch, buckets);
            coarse.offered(*at as usize, batch.event.values[*row as usize]);
        }
    }

    pub(super) fn offer_early(&mut self, n: usize, batch: &SourceBatch<'_>, buckets: &mut Buckets) {
        for (row, at) in self.early_rows[..n].iter().zip(&self.early_at[..n]) {
            offer(*row as usize, *at as usize, batch, buckets);
        }
    }
}

#[inline(always)]
fn offer(row: usize, at: usize, batch: &SourceBatch<'_>, buckets: &mut Buckets) {
    let slot = batch.slot(row);
    match batch.tie_break {
        None => buckets.offer(at, slot, &[]),
        Some(ties) => buckets.offer(at, slot, ties.row(row).as_ref()),
    }
}
