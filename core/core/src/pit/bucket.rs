//! Which of the rows that fell on a spine position is the best?

use std::cmp::Ordering;

use super::cells::Cells;

/// A slot as it lies in memory: half a cache line, so that offering a row touches one line. All zeros is no row,
/// so that slots nobody offered a row to cost nothing. Times are stored so that they compare as unsigned numbers.
pub(super) type Words = [u64; 4];

/// The best row of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) event: i64,
    created: i64,
    has_created: bool,
    /// Where the row lies in the source, or `EMPTY`.
    pub(super) position: u64,
    /// How many rows were fully tied with this one and lost by position.
    pub(super) ties: u32,
}

const EMPTY: u64 = u64::MAX;

impl Slot {
    #[inline(always)]
    pub(super) fn new(event: i64, created: Option<i64>, position: u64) -> Self {
        Self {
            event,
            created: created.unwrap_or(i64::MIN),
            has_created: created.is_some(),
            position,
            ties: 0,
        }
    }

    pub(super) fn created(&self) -> Option<i64> {
        self.has_created.then_some(self.created)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.position == EMPTY
    }

    #[inline(always)]
    pub(super) fn read(words: &Words) -> Self {
        Self {
            event: biased(words[0]),
            created: biased(words[1]),
            position: words[2].wrapping_sub(1),
            ties: words[3] as u32,
            has_created: words[3] >> 32 != 0,
        }
    }

    #[inline(always)]
    fn words(&self) -> Words {
        [
            bias(self.event),
            bias(self.created),
            self.position.wrapping_add(1),
            u64::from(self.ties) | u64::from(self.has_created) << 32,
        ]
    }

    /// Event time, then created time with absent as smallest.
    fn rank(&self) -> (i64, bool, i64) {
        (self.event, self.has_created, self.created)
    }

    /// What to keep of this row and a challenger, which brings its own count of ties; `None` is this one as it is.
    #[inline(always)]
    fn against(&self, row: &Self, by_tie: impl FnOnce() -> Ordering) -> Option<(Self, bool)> {
        if row.event < self.event {
            return None;
        }
        if row.event == self.event && !self.is_empty() {
            match row.rank().cmp(&self.rank()).then_with(by_tie) {
                Ordering::Less => return None,
                Ordering::Equal => {
                    let kept = Self {
                        ties: self.ties.saturating_add(row.ties).saturating_add(1),
                        position: self.position.max(row.position),
                        ..*self
                    };
                    return Some((kept, false));
                }
                Ordering::Greater => {}
            }
        }
        Some((*row, true))
    }
}

/// Maps times to unsigned numbers in the same order, the smallest to zero.
#[inline(always)]
fn bias(time: i64) -> u64 {
    (time as u64) ^ (1 << 63)
}

#[inline(always)]
fn biased(word: u64) -> i64 {
    (word ^ (1 << 63)) as i64
}

/// One slot for every spine position.
#[derive(Debug)]
pub(super) struct Buckets {
    slots: Cells<Words>,
    ties: Option<TieBytes>,
}

impl Buckets {
    pub(super) fn new(positions: usize, tie_break: bool) -> Self {
        Self {
            slots: Cells::zeroed(positions),
            ties: tie_break.then(|| TieBytes::new(positions)),
        }
    }

    /// The slots of all positions.
    #[inline(always)]
    pub(super) fn slots(&self) -> &[Words] {
        self.slots.as_slice()
    }

    pub(super) fn slot(&self, at: usize) -> Slot {
        Slot::read(&self.slots()[at])
    }

    /// Keeps the better of the bucket's row and this one, which brings its own count of ties.
    #[inline(always)]
    pub(super) fn offer(&mut self, at: usize, row: Slot, tie: &[u8]) {
        let words = &mut self.slots.as_mut_slice()[at];
        let by_tie = || {
            self.ties
                .as_ref()
                .map_or(Ordering::Equal, |ties| tie.cmp(ties.get(at)))
        };
        let Some((kept, is_new)) = Slot::read(words).against(&row, by_tie) else {
            return;
        };
        *words = kept.words();
        if let Some(ties) = self.ties.as_mut().filter(|_| is_new) {
            ties.set(at, tie);
        }
    }

    /// Takes over every row that is better than what is here.
    pub(super) fn merge(&mut self, other: &Self) {
        for (at, words) in other.slots().iter().enumerate() {
            let slot = Slot::read(words);
            if !slot.is_empty() {
                let tie = other.ties.as_ref().map_or(&[][..], |ties| ties.get(at));
                self.offer(at, slot, tie);
            }
        }
    }

    /// Cuts the slots into runs of some lengths, for threads.
    pub(super) fn parts(&mut self, lengths: impl IntoIterator<Item = usize>) -> Vec<Part<'_>> {
        let mut start = 0;
        let ties = self.ties.as_ref();
        super::parallel::split(self.slots.as_mut_slice(), lengths)
            .into_iter()
            .map(|slots| {
                let part = Part { start, slots, ties };
                start += part.slots.len();
                part
            })
            .collect()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(self.slots()) + self.ties.as_ref().map_or(0, TieBytes::memory_bytes)
    }
}

/// The buckets of a run of positions.
pub(super) struct Part<'a> {
    /// Position of the first.
    pub(super) start: usize,
    slots: &'a mut [Words],
    ties: Option<&'a TieBytes>,
}

impl Part<'_> {
    pub(super) fn slot(&self, at: usize) -> Slot {
        Slot::read(&self.slots[at - self.start])
    }

    fn tie(&self, at: usize) -> &[u8] {
        self.ties.map_or(&[], |ties| ties.get(at))
    }

    /// Takes over what is better in the buckets of the same positions in another accumulator. Not for rules with
    /// tie-break columns, whose bytes lie elsewhere: those are merged as a whole.
    pub(super) fn merge(&mut self, other: &[Words]) {
        for (words, other) in self.slots.iter_mut().zip(&other[self.start..]) {
            let row = Slot::read(other);
            if row.is_empty() {
                continue;
            }
            if let Some((kept, _)) = Slot::read(words).against(&row, || Ordering::Equal) {
                *words = kept.words();
            }
        }
    }

    /// Compares the rows of two buckets, by everything that makes a winner.
    pub(super) fn compare(&self, at: usize, other: &Self, other_at: usize) -> Ordering {
        let (one, two) = (self.slot(at), other.slot(other_at));
        one.rank()
            .cmp(&two.rank())
            .then_with(|| self.tie(at).cmp(other.tie(other_at)))
            .then_with(|| one.position.cmp(&two.position))
    }
}
/// The tie-break bytes of each bucket's row.
///
/// They lie in one arena; a new row overwrites the old one's bytes where they fit (always, for fixed-width
/// columns), else it is appended, and the arena is rewritten once more than half of it is waste.
#[derive(Debug)]
struct TieBytes {
    places: Vec<Place>,
    arena: Vec<u8>,
    wasted: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: usize,
    len: u32,
    room: u32,
}

impl TieBytes {
    fn new(positions: usize) -> Self {
        Self {
            places: vec![Place::default(); positions],
            arena: Vec::new(),
            wasted: 0,
        }
    }

    fn get(&self, at: usize) -> &[u8] {
        let place = self.places[at];
        &self.arena[place.start..place.start + place.len as usize]
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        let place = &mut self.places[at];
        if bytes.len() <= place.room as usize {
            self.arena[place.start..place.start + bytes.len()].copy_from_slice(bytes);
            place.len = bytes.len() as u32;
            return;
        }
        self.wasted += place.room as usize;
        // A row of the row format is far below 4 GiB: Arrow's own offsets bound a value, and so a batch.
        *place = Place {
            start: self.arena.len(),
            len: bytes.len() as u32,
            room: bytes.len() as u32,
        };
        self.arena.extend_from_slice(bytes);
        if self.wasted > 1 << 20 && self.wasted > self.arena.len() / 2 {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.wasted);
        for place in &mut self.places {
            let start = arena.len();
            arena.extend_from_slice(&self.arena[place.start..place.start + place.len as usize]);
            *place = Place {
                start,
                len: place.len,
                room: place.len,
            };
        }
        self.arena = arena;
        self.wasted = 0;
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(self.places.as_slice()) + self.arena.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tie_bytes_survive_growth_and_compaction() {
        let mut ties = TieBytes::new(3);
        let long = vec![7; 5000];
        for round in 0..2000_usize {
            ties.set(round % 2, &long[..round + 1]);
            assert_eq!(ties.get(round % 2), &long[..round + 1]);
            assert_eq!(ties.get(2), b"");
        }
        assert!(ties.arena.len() < 3 << 20, "the arena is compacted");
        ties.set(0, b"short");
        assert_eq!(ties.get(0), b"short");
        assert_eq!(ties.get(1), &long[..2000]);
    }

    #[test]
    fn the_smallest_real_row_beats_nothing() {
        let mut buckets = Buckets::new(1, false);
        buckets.offer(0, Slot::new(i64::MIN, None, 0), b"");
        assert!(!buckets.slot(0).is_empty());
        assert_eq!(buckets.slot(0).ties, 0);
        buckets.offer(0, Slot::new(i64::MIN, None, 4), b"");
        buckets.offer(0, Slot::new(i64::MIN, None, 2), b"");
        assert_eq!((buckets.slot(0).position, buckets.slot(0).ties), (4, 2));
        buckets.offer(0, Slot::new(i64::MIN, Some(i64::MIN), 1), b"");
        assert_eq!((buckets.slot(0).position, buckets.slot(0).ties), (1, 0));
    }
}
