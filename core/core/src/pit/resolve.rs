//! Which source row answers each spine row?

use super::bucket::Buckets;
use super::probe::Scanned;
use super::{Knowledge, SpineIndex, ViewRule};
use arrow_array::UInt32Array;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{PrimitiveArray, TimestampMicrosecondArray};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use std::cmp::Ordering;

/// The answer to every spine row, in the order of the spine's rows.
#[derive(Clone, Debug)]
pub struct Winners {
    outcomes: Vec<Outcome>,
    /// Meaningless where there is no winner; so are the times.
    positions: Vec<u64>,
    events: Vec<i64>,
    created: Option<Created>,
    counts: PitCounts,
}

#[derive(Clone, Debug)]
struct Created {
    values: Vec<i64>,
    has: Vec<bool>,
}

/// How a spine row fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// It has a winner.
    Matched,
    /// Rows were known, but the newest was older than the ttl.
    Expired,
    /// No row was known.
    #[default]
    Unmatched,
    /// One of its keys is null.
    NullKey,
}

/// What one view's join met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PitCounts {
    /// Spine rows; the next four add up to it.
    pub rows: u64,
    /// Spine rows with a winner.
    pub matched: u64,
    /// Spine rows whose newest known row was older than the ttl.
    pub expired: u64,
    /// Spine rows for which no row was known.
    pub unmatched: u64,
    /// Spine rows with a null key.
    pub null_key: u64,
    /// Spine rows whose winner was chosen by position alone, among rows otherwise equal.
    pub full_ties: u64,
    /// Source rows that lost to a winner by position alone.
    pub tied_rows: u64,
    /// In tie-break mode, spine rows whose winner was created (as far as that is trusted) after their time;
    /// in as-of mode, spine rows for which tie-break mode has another answer.
    pub known_later: u64,
    /// Source rows probed.
    pub source_rows: u64,
    /// Source rows with a null key or a null event time, which match nothing.
    pub source_nulls: u64,
}

/// The source rows to fetch, and which spine row takes which.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Distinct {
    /// Ascending positions of all winners, each once.
    pub positions: Vec<u64>,
    /// For each spine row the place of its winner in `positions`, null without one: an index for `take`.
    pub index: UInt32Array,
}

impl Winners {
    /// The number of spine rows.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Whether the spine has no rows.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// How each spine row fared.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The source position of the winner of a spine row; panics unless `row < len()`.
    pub fn position(&self, row: usize) -> Option<u64> {
        self.has(row).then(|| self.positions[row])
    }

    /// The event time of the winner, µs; panics unless `row < len()`.
    pub fn event(&self, row: usize) -> Option<i64> {
        self.has(row).then(|| self.events[row])
    }

    /// The created time of the winner, µs, where it has one; panics unless `row < len()`.
    pub fn created(&self, row: usize) -> Option<i64> {
        let created = self.created.as_ref().filter(|created| created.has[row])?;
        Some(created.values[row])
    }

    /// The event times of all winners as a column in UTC.
    pub fn event_array(&self) -> TimestampMicrosecondArray {
        times(&self.events, self.matches())
    }

    /// The created times of all winners as a column in UTC, all null where the source has none.
    pub fn created_array(&self) -> TimestampMicrosecondArray {
        match &self.created {
            None => TimestampMicrosecondArray::new_null(self.len()).with_timezone_utc(),
            Some(created) => times(&created.values, BooleanBuffer::from(created.has.as_slice())),
        }
    }

    /// What the join met.
    pub fn counts(&self) -> &PitCounts {
        &self.counts
    }

    /// The source rows to fetch, for a second, sparse read.
    pub fn distinct(&self) -> Distinct {
        let mut pairs: Vec<(u64, u32)> = (0..self.len())
            .filter_map(|row| Some((self.position(row)?, row as u32)))
            .collect();
        pairs.sort_unstable();
        let mut positions = Vec::new();
        let mut index = vec![0_u32; self.len()];
        for (position, row) in pairs {
            if positions.last() != Some(&position) {
                positions.push(position);
            }
            index[row as usize] = positions.len() as u32 - 1;
        }
        let index = UInt32Array::new(ScalarBuffer::from(index), Some(NullBuffer::new(self.matches())));
        Distinct { positions, index }
    }

    fn has(&self, row: usize) -> bool {
        self.outcomes[row] == Outcome::Matched
    }

    fn matches(&self) -> BooleanBuffer {
        BooleanBuffer::collect_bool(self.len(), |row| self.has(row))
    }
}

fn times(values: &[i64], valid: BooleanBuffer) -> TimestampMicrosecondArray {
    let values = ScalarBuffer::from(values.to_vec());
    PrimitiveArray::<TimestampMicrosecondType>::new(values, Some(NullBuffer::new(valid))).with_timezone_utc()
}

/// Runs a maximum through every group's buckets and applies the ttl.
pub(super) fn resolve(
    index: &SpineIndex,
    rule: &ViewRule,
    main: &Buckets,
    early: Option<&Buckets>,
    scanned: Scanned,
) -> Winners {
    let rows = index.rows();
    let mut counts = PitCounts {
        rows: rows as u64,
        null_key: (rows - index.positions()) as u64,
        source_rows: scanned.rows,
        source_nulls: scanned.nulls,
        ..PitCounts::default()
    };
    let mut outcomes = vec![Outcome::NullKey; rows];
    let mut positions = vec![0; rows];
    let mut events = vec![0; rows];
    let mut created = scanned.has_created.then(|| Created {
        values: vec![0; rows],
        has: vec![false; rows],
    });

    for group in 0..index.groups() {
        let mut best: Option<usize> = None;
        let mut best_early: Option<usize> = None;
        let mut tied_from = None;
        for at in index.group(group) {
            let time = index.times()[at];
            let row = index.order()[at] as usize;
            best = newer(main, best, at);
            let winner = best.filter(|best| rule.is_fresh(main.slot(*best).event, time));
            outcomes[row] = match (winner, best) {
                (Some(_), _) => Outcome::Matched,
                (None, Some(_)) => Outcome::Expired,
                (None, None) => Outcome::Unmatched,
            };
            match outcomes[row] {
                Outcome::Matched => counts.matched += 1,
                Outcome::Expired => counts.expired += 1,
                _ => counts.unmatched += 1,
            }
            if let Some(winner) = winner {
                let slot = main.slot(winner);
                positions[row] = slot.position;
                events[row] = slot.event;
                if let (Some(created), Some(written)) = (&mut created, slot.created()) {
                    created.values[row] = written;
                    created.has[row] = true;
                    let late =
                        rule.knowledge == Knowledge::TieBreak && written > time && rule.trusts(written);
                    counts.known_later += u64::from(late);
                }
                counts.full_ties += u64::from(slot.ties != 0);
                // A winner's spine rows follow one another, so it is counted once.
                if tied_from != Some(winner) {
                    tied_from = Some(winner);
                    counts.tied_rows += u64::from(slot.ties);
                }
            }
            if let Some(early) = early {
                best_early = newer(early, best_early, at);
                // What as-of mode knows, tie-break mode knew at this position too, so its winner is the better
                // of both; it differs exactly when the early one is better, unless both are expired.
                let better = match (best_early, best) {
                    (Some(one), Some(two)) => early.compare(one, main, two) == Ordering::Greater,
                    (one, _) => one.is_some(),
                };
                let fresh = best_early.is_some_and(|best| rule.is_fresh(early.slot(best).event, time));
                counts.known_later += u64::from(better && fresh);
            }
        }
    }
    Winners {
        outcomes,
        positions,
        events,
        created,
        counts,
    }
}

/// The better of the best bucket so far and the next.
fn newer(buckets: &Buckets, best: Option<usize>, at: usize) -> Option<usize> {
    if buckets.slot(at).is_empty() {
        return best;
    }
    match best {
        Some(best) if buckets.compare(best, buckets, at) != Ordering::Less => Some(best),
        _ => Some(at),
    }
}
