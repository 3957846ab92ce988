//! Where in its group does a source row fall, and may it win there? Asked of two bytes per time.
//!
//! A probe waits for memory more than for anything else, and a group's times and best events are what it reads at
//! random. Mapped to 16 bits in the same order they take a quarter of the room, and the short groups of most spines
//! lie in a cache line or two. What equal numbers leave open is asked of the times themselves.

use super::cells::filled;
use super::table::Range;
use super::{SpineIndex, ViewRule};

/// A map from times to small numbers that keeps their order: a later time never has a smaller number.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// What is not later has the number 0.
    base: i64,
    shift: u32,
}

/// The number of what is later than the spine.
const BEYOND: u16 = u16::MAX;

/// Without a ttl, how far before the spine numbers still tell event times apart, µs; more where the spine is longer.
const REACH: i64 = 90 * 86_400 * 1_000_000;

impl Scale {
    /// For a spine between two times, whose own numbers are below `BEYOND`.
    fn new(ttl: Option<i64>, (first, last): (i64, i64)) -> Self {
        let reach = ttl.unwrap_or_else(|| REACH.max(last.saturating_sub(first)));
        let base = first.saturating_sub(reach);
        let span = last.abs_diff(base);
        let mut shift = 0;
        while span >> shift >= u64::from(BEYOND) {
            shift += 1;
        }
        Self { base, shift }
    }

    #[inline(always)]
    fn number(self, time: i64) -> u16 {
        let above = (time.max(self.base) as u64).wrapping_sub(self.base as u64) >> self.shift;
        above.min(u64::from(BEYOND)) as u16
    }
}

/// The time of a position, and the newest event that was offered to its bucket.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    time: u16,
    newest: u16,
}

/// The positions of a spine as one accumulator sees them.
#[derive(Debug)]
pub(super) struct Coarse {
    scale: Scale,
    cells: Vec<Cell>,
}

impl Coarse {
    pub(super) fn new(index: &SpineIndex, rule: &ViewRule) -> Self {
        let scale = Scale::new(rule.ttl, index.time_bounds().unwrap_or_default());
        let cell = |time: &i64| Cell {
            time: scale.number(*time),
            newest: 0,
        };
        Self {
            scale,
            cells: filled(index.times().iter().map(cell)),
        }
    }

    /// The same positions, to which nothing was offered yet.
    pub(super) fn fork(&self) -> Self {
        let cell = |cell: &Cell| Cell { newest: 0, ..*cell };
        Self {
            scale: self.scale,
            cells: filled(self.cells.iter().map(cell)),
        }
    }

    /// For each range the first position whose time is `known` or later, or the range's end.
    pub(super) fn first_knowing(&self, index: &SpineIndex, ranges: &[Range], known: &[i64], at: &mut [u32]) {
        let cells = self.cells.as_slice();
        // Reading both ends of every group first, with nothing that depends on them, lets the misses overlap.
        let mut sum = 0;
        let mut longest = 0;
        for range in ranges.iter().filter(|range| range.len != 0) {
            let start = range.start as usize;
            sum ^= cells[start].time ^ cells[start + range.len as usize - 1].time;
            longest = longest.max(range.len);
        }
        std::hint::black_box(sum);
        for ((range, known), at) in ranges.iter().zip(known).zip(&mut *at) {
            let len = if range.len < LONG { range.len as usize } else { 0 };
            let group = range.start as usize..range.start as usize + len;
            let number = self.scale.number(*known);
            let mut found = cells[group.clone()].partition_point(|cell| cell.time < number);
            if found < len && cells[group.start + found].time == number {
                found = index.times()[group].partition_point(|time| time < known);
            }
            *at = range.start + found as u32;
        }
        if longest >= LONG {
            index.search_long(ranges, known, at);
        }
    }

    /// Whether the winner at a position may be a row with this event time, which is known there.
    #[inline(always)]
    pub(super) fn is_fresh(&self, index: &SpineIndex, rule: &ViewRule, event: i64, at: usize) -> bool {
        let time = self.cells[at].time;
        let last = match rule.ttl {
            None => BEYOND,
            Some(ttl) => self.scale.number(event.saturating_add(ttl)),
        };
        if time == last {
            return rule.is_fresh(event, index.times()[at]);
        }
        time < last
    }

    /// Whether a row with this event time may be better than what was offered to a bucket.
    #[inline(always)]
    pub(super) fn may_win(&self, at: usize, event: i64) -> bool {
        self.scale.number(event) >= self.cells[at].newest
    }

    /// Notes that a row with this event time was offered to a bucket.
    #[inline(always)]
    pub(super) fn offered(&mut self, at: usize, event: i64) {
        let newest = &mut self.cells[at].newest;
        *newest = self.scale.number(event).max(*newest);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(self.cells.as_slice())
    }
}

/// The size from which on a group is searched together with other long ones.
pub(super) const LONG: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_order_of_all_times() {
        let ends = [i64::MIN, i64::MIN + 1, -7, 0, 1, 1_700_000_000_000_000, i64::MAX];
        let bounds = ends.iter().flat_map(|first| ends.map(|last| (*first, last)));
        for (first, last) in bounds.filter(|(first, last)| first <= last) {
            for ttl in [None, Some(0), Some(7), Some(604_800_000_000), Some(i64::MAX)] {
                let scale = Scale::new(ttl, (first, last));
                assert!(scale.number(last) < BEYOND, "{first} {last} {ttl:?}");
                assert_eq!(scale.number(i64::MIN), 0);
                let mut times = ends.to_vec();
                times.extend([first, last].map(|time| time.saturating_add(1)));
                times.extend([first, last].map(|time| time.saturating_sub(1)));
                times.extend((0..63).map(|bit| first.saturating_add(1 << bit)));
                times.sort_unstable();
                let numbers: Vec<u16> = times.iter().map(|time| scale.number(*time)).collect();
                assert!(numbers.is_sorted(), "{first} {last} {ttl:?}");
            }
        }
    }

    #[test]
    fn a_spine_is_told_apart_by_half_of_the_numbers() {
        let scale = Scale::new(None, (0, 8 * REACH));
        let distinct = |of: std::ops::Range<i64>| scale.number(of.end) - scale.number(of.start);
        assert!(distinct(0..8 * REACH) > 1 << 14 && distinct(-8 * REACH..0) > 1 << 14);
    }
}
