//! Which of the rows that fell on a spine position is the best?

use std::cmp::Ordering;

/// The best row of one bucket; half a cache line, so that offering a row touches one line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Slot {
    pub(super) event: i64,
    created: i64,
    /// Where the row lies in the source, or `EMPTY`.
    pub(super) position: u64,
    /// How many rows were fully tied with this one and lost by position.
    pub(super) ties: u32,
    has_created: u32,
}

const EMPTY: u64 = u64::MAX;

/// No real row is below this one, and nothing but its position tells it from the smallest real row.
const NOTHING: Slot = Slot {
    event: i64::MIN,
    created: i64::MIN,
    position: EMPTY,
    ties: 0,
    has_created: 0,
};

impl Slot {
    #[inline(always)]
    pub(super) fn new(event: i64, created: Option<i64>, position: u64) -> Self {
        let has_created = u32::from(created.is_some());
        Self {
            event,
            created: created.unwrap_or(i64::MIN),
            position,
            ties: 0,
            has_created,
        }
    }

    pub(super) fn created(&self) -> Option<i64> {
        (self.has_created != 0).then_some(self.created)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.position == EMPTY
    }

    /// Event time, then created time with absent as smallest.
    fn rank(&self) -> (i64, u32, i64) {
        (self.event, self.has_created, self.created)
    }
}

/// One slot for every spine position.
#[derive(Debug)]
pub(super) struct Buckets {
    slots: Vec<Slot>,
    ties: Option<TieBytes>,
}

impl Buckets {
    pub(super) fn new(positions: usize, tie_break: bool) -> Self {
        Self {
            slots: vec![NOTHING; positions],
            ties: tie_break.then(|| TieBytes::new(positions)),
        }
    }

    #[inline(always)]
    pub(super) fn slot(&self, at: usize) -> &Slot {
        &self.slots[at]
    }

    fn tie(&self, at: usize) -> &[u8] {
        self.ties.as_ref().map_or(&[], |ties| ties.get(at))
    }

    /// Keeps the better of the bucket's row and this one, which brings its own count of ties.
    #[inline(always)]
    pub(super) fn offer(&mut self, at: usize, row: Slot, tie: &[u8]) {
        let slot = &mut self.slots[at];
        if row.event < slot.event {
            return;
        }
        if row.event == slot.event && !slot.is_empty() {
            let by_tie = || {
                self.ties
                    .as_ref()
                    .map_or(Ordering::Equal, |ties| tie.cmp(ties.get(at)))
            };
            match row.rank().cmp(&slot.rank()).then_with(by_tie) {
                Ordering::Less => return,
                Ordering::Equal => {
                    slot.ties = slot.ties.saturating_add(row.ties).saturating_add(1);
                    slot.position = slot.position.max(row.position);
                    return;
                }
                Ordering::Greater => {}
            }
        }
        *slot = row;
        if let Some(ties) = &mut self.ties {
            ties.set(at, tie);
        }
    }

    /// Takes over every row that is better than what is here.
    pub(super) fn merge(&mut self, other: &Self) {
        for (at, slot) in other
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| !slot.is_empty())
        {
            self.offer(at, *slot, other.tie(at));
        }
    }

    /// Compares the rows of two buckets, by everything that makes a winner.
    pub(super) fn compare(&self, at: usize, other: &Self, other_at: usize) -> Ordering {
        let (one, two) = (&self.slots[at], &other.slots[other_at]);
        one.rank()
            .cmp(&two.rank())
            .then_with(|| self.tie(at).cmp(other.tie(other_at)))
            .then_with(|| one.position.cmp(&two.position))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(self.slots.as_slice()) + self.ties.as_ref().map_or(0, TieBytes::memory_bytes)
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
