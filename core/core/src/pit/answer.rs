//! Which source rows have to be fetched, and which of them goes to which spine row?

use super::bucket::Slot;
use super::cells::{filled, zeros};
use super::parallel;
use super::resolve::{LAST, Winners};
use arrow_array::types::{ArrowPrimitiveType, TimestampMicrosecondType, UInt32Type};
use arrow_array::{PrimitiveArray, TimestampMicrosecondArray, UInt32Array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use std::sync::atomic::{AtomicU64, Ordering};

/// The source rows to fetch, and which spine row takes which.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Distinct {
    /// Ascending positions of all winners, each once.
    pub positions: Vec<u64>,
    /// For each spine row the place of its winner in `positions`, null without one: an index for `take`.
    pub index: UInt32Array,
}

/// The winners of one join as columns, one row for each spine row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The place of the winner among the positions to fetch, null without one: an index for `take`.
    pub index: UInt32Array,
    /// The event times of the winners, in UTC.
    pub event: TimestampMicrosecondArray,
    /// Their created times, in UTC; null where a winner has none.
    pub created: TimestampMicrosecondArray,
}

impl Winners {
    /// The event times of all winners as a column in UTC.
    pub fn event_array(&self) -> TimestampMicrosecondArray {
        let events = (0..self.len()).map(|row| self.event(row));
        events.collect::<TimestampMicrosecondArray>().with_timezone_utc()
    }

    /// The created times of all winners as a column in UTC, all null where the source has none.
    pub fn created_array(&self) -> TimestampMicrosecondArray {
        let created = (0..self.len()).map(|row| self.created(row));
        created.collect::<TimestampMicrosecondArray>().with_timezone_utc()
    }

    /// The source rows to fetch, for a second, sparse read.
    pub fn distinct(&self) -> Distinct {
        let (positions, places) = sorted(std::slice::from_ref(self));
        let index = (0..self.len()).map(|row| places[0].get(self.winner[row] as usize).copied());
        let index = index
            .enumerate()
            .map(|(row, place)| place.filter(|_| self.winner[row] <= LAST));
        Distinct {
            index: index.collect(),
            positions,
        }
    }

    /// The positions of the winners of several joins of one source, ascending and each once, and the winners of each
    /// join as columns; made by up to so many threads.
    ///
    /// All positions lie below `source_rows`, which may be too large, but not too small: where the winners are dense,
    /// they are marked in a bitmap rather than sorted.
    pub fn together(all: &[Self], source_rows: u64, threads: usize) -> (Vec<u64>, Vec<Answer>) {
        let threads = threads.max(1);
        let used: usize = all.iter().map(|winners| winners.used.len()).sum();
        let words = usize::try_from(source_rows / 64 + 1).unwrap_or(usize::MAX);
        if words / 4 > used {
            let (positions, places) = sorted(all);
            let answers = all.iter().zip(&places);
            let answers = answers.map(|(winners, places)| winners.answer(|at, _| places[at], threads));
            return (positions, answers.collect());
        }
        let marks = marked(all, words, threads);
        let (positions, before) = counted(&marks, threads);
        let place = |_, position: u64| {
            let (word, bit) = ((position / 64) as usize, position % 64);
            before[word] + (marks[word] & ((1 << bit) - 1)).count_ones()
        };
        let answers = all.iter().map(|winners| winners.answer(place, threads)).collect();
        (positions, answers)
    }

    /// Columns, with the places that `place` gives for each bucket and position.
    fn answer(&self, place: impl Fn(usize, u64) -> u32 + Sync, threads: usize) -> Answer {
        let rows = self.len();
        let (mut index, mut event, mut created) = (Values::new(rows), Values::new(rows), Values::new(rows));
        let shares = parallel::ranges(rows, threads, 64);
        let lengths = || shares.iter().map(|share| share.len());
        let parts = index.parts(lengths()).into_iter();
        let parts = parts.zip(event.parts(lengths())).zip(created.parts(lengths()));
        let tasks: Vec<_> = shares.iter().cloned().zip(parts).collect();
        let slots = self.buckets.slots();
        parallel::each(
            tasks,
            threads,
            |(share, ((mut index, mut event), mut created))| {
                for (first, winners) in (0..).step_by(BLOCK).zip(self.winner[share].chunks(BLOCK)) {
                    // The slots are read with nothing that depends on them, so that the misses overlap.
                    let slot = |at: &u32| slots.get(*at as usize).filter(|_| *at <= LAST);
                    let mut block = [[0; 4]; BLOCK];
                    for (words, at) in block.iter_mut().zip(winners) {
                        *words = slot(at).copied().unwrap_or_default();
                    }
                    for (row, (words, at)) in (first..).zip(block.iter().zip(winners)) {
                        if *at > LAST {
                            continue;
                        }
                        let slot = Slot::read(words);
                        index.set(row, place(*at as usize, slot.position));
                        event.set(row, slot.event);
                        if let Some(written) = slot.created() {
                            created.set(row, written);
                        }
                    }
                }
            },
        );
        Answer {
            index: index.finish::<UInt32Type>(),
            event: event.finish::<TimestampMicrosecondType>().with_timezone_utc(),
            created: created.finish::<TimestampMicrosecondType>().with_timezone_utc(),
        }
    }
}

/// Rows whose slots are read together.
const BLOCK: usize = 64;

/// The positions of all winners, and for each join and bucket that has won its place among them.
fn sorted(all: &[Winners]) -> (Vec<u64>, Vec<Vec<u32>>) {
    let mut slots: Vec<(u64, u32, u32)> = Vec::new();
    for (join, winners) in (0_u32..).zip(all) {
        let position = |at: &u32| winners.buckets.slot(*at as usize).position;
        slots.extend(winners.used.iter().map(|at| (position(at), join, *at)));
    }
    slots.sort_unstable();
    let mut positions: Vec<u64> = Vec::new();
    let mut places: Vec<Vec<u32>> = all
        .iter()
        .map(|winners| zeros(winners.buckets.slots().len()))
        .collect();
    for (position, join, at) in slots {
        if positions.last() != Some(&position) {
            positions.push(position);
        }
        // There are at most as many as spine rows for each of a few joins, or `take` could not address them.
        places[join as usize][at as usize] = positions.len() as u32 - 1;
    }
    (positions, places)
}

/// A bitmap of the positions of all winners.
fn marked(all: &[Winners], words: usize, threads: usize) -> Vec<u64> {
    let marks: Vec<AtomicU64> = filled((0..words).map(|_| AtomicU64::new(0)));
    for winners in all {
        let shares = parallel::ranges(winners.used.len(), threads, 1);
        parallel::each(shares, threads, |share| {
            for at in &winners.used[share] {
                let position = winners.buckets.slot(*at as usize).position;
                let (mark, bit) = (&marks[(position / 64) as usize], 1 << (position % 64));
                if threads == 1 {
                    mark.store(mark.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
                } else {
                    mark.fetch_or(bit, Ordering::Relaxed);
                }
            }
        });
    }
    marks.into_iter().map(AtomicU64::into_inner).collect()
}

/// The places of all marks in order, and how many there are before each word.
fn counted(marks: &[u64], threads: usize) -> (Vec<u64>, Vec<u32>) {
    let mut before = Vec::with_capacity(marks.len());
    let mut count = 0;
    for word in marks {
        before.push(count);
        count += word.count_ones();
    }
    let mut positions = zeros(count as usize);
    let shares = parallel::ranges(marks.len(), threads, 1);
    let from = |word: usize| before.get(word).copied().unwrap_or(count) as usize;
    let lengths = shares.iter().map(|share| from(share.end) - from(share.start));
    let parts = parallel::split(&mut positions, lengths);
    let tasks: Vec<_> = shares.iter().cloned().zip(parts).collect();
    parallel::each(tasks, threads, |(share, part)| {
        let mut out = part.iter_mut();
        for at in share {
            let mut word = marks[at];
            while word != 0 {
                if let Some(out) = out.next() {
                    *out = at as u64 * 64 + u64::from(word.trailing_zeros());
                }
                word &= word - 1;
            }
        }
    });
    (positions, before)
}

/// A column that several threads fill.
struct Values<T> {
    values: Vec<T>,
    valid: Vec<u64>,
}

/// A run of its rows, from a multiple of 64 on.
struct ValuesPart<'a, T> {
    values: &'a mut [T],
    valid: &'a mut [u64],
}

impl<T: ArrowNativeType> Values<T> {
    fn new(rows: usize) -> Self {
        Self {
            values: zeros(rows),
            valid: zeros(rows.div_ceil(64)),
        }
    }

    fn parts(&mut self, lengths: impl Iterator<Item = usize> + Clone) -> Vec<ValuesPart<'_, T>> {
        let words = lengths.clone().map(|length| length.div_ceil(64));
        parallel::split(&mut self.values, lengths)
            .into_iter()
            .zip(parallel::split(&mut self.valid, words))
            .map(|(values, valid)| ValuesPart { values, valid })
            .collect()
    }

    fn finish<A: ArrowPrimitiveType<Native = T>>(self) -> PrimitiveArray<A> {
        let rows = self.values.len();
        // Arrow's bitmaps have the first row in the lowest bit of the first byte.
        let words = self.valid.into_iter().map(u64::to_le).collect::<Vec<_>>();
        let valid = BooleanBuffer::new(Buffer::from_vec(words), 0, rows);
        PrimitiveArray::new(ScalarBuffer::from(self.values), Some(NullBuffer::new(valid)))
    }
}

impl<T> ValuesPart<'_, T> {
    #[inline(always)]
    fn set(&mut self, row: usize, value: T) {
        self.values[row] = value;
        self.valid[row / 64] |= 1 << (row % 64);
    }
}
