//! Which source row answers each spine row?

use super::bucket::{Buckets, Part, Slot};
use super::cells::filled;
use super::parallel;
use super::probe::Scanned;
use super::{Knowledge, SpineIndex, ViewRule};
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering as Memory};

/// The answer to every spine row, in the order of the spine's rows.
#[derive(Debug)]
pub struct Winners {
    pub(super) buckets: Buckets,
    /// For each row the position of the bucket whose row has won, or one of the marks above [`LAST`].
    pub(super) winner: Vec<u32>,
    /// The buckets that have won somewhere, each once, ascending.
    pub(super) used: Vec<u32>,
    counts: PitCounts,
}

/// The last number that is a position; those above say why there is none.
pub(super) const LAST: u32 = u32::MAX - 3;
const EXPIRED: u32 = LAST + 1;
const UNMATCHED: u32 = LAST + 2;
const NULL_KEY: u32 = LAST + 3;

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

impl PitCounts {
    /// Adds what was found for other spine rows. What is counted per scan stays: rows probed, and those with nulls.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.null_key += other.null_key;
        self.matched += other.matched;
        self.expired += other.expired;
        self.unmatched += other.unmatched;
        self.full_ties += other.full_ties;
        self.tied_rows += other.tied_rows;
        self.known_later += other.known_later;
    }
}

impl Winners {
    /// The number of spine rows.
    pub fn len(&self) -> usize {
        self.winner.len()
    }

    /// Whether the spine has no rows.
    pub fn is_empty(&self) -> bool {
        self.winner.is_empty()
    }

    /// How a spine row fared; panics unless `row < len()`.
    pub fn outcome(&self, row: usize) -> Outcome {
        match self.winner[row] {
            EXPIRED => Outcome::Expired,
            UNMATCHED => Outcome::Unmatched,
            NULL_KEY => Outcome::NullKey,
            _ => Outcome::Matched,
        }
    }

    /// The source position of the winner of a spine row; panics unless `row < len()`.
    pub fn position(&self, row: usize) -> Option<u64> {
        self.slot(row).map(|slot| slot.position)
    }

    /// The event time of the winner, µs; panics unless `row < len()`.
    pub fn event(&self, row: usize) -> Option<i64> {
        self.slot(row).map(|slot| slot.event)
    }

    /// The created time of the winner, µs, where it has one; panics unless `row < len()`.
    pub fn created(&self, row: usize) -> Option<i64> {
        self.slot(row).and_then(|slot| slot.created())
    }

    /// What the join met.
    pub fn counts(&self) -> &PitCounts {
        &self.counts
    }

    fn slot(&self, row: usize) -> Option<Slot> {
        let at = self.winner[row];
        (at <= LAST).then(|| self.buckets.slot(at as usize))
    }
}

/// What the accumulators of all threads have gathered: the first one's buckets take in those of the others.
pub(super) struct Gathered {
    pub(super) main: Buckets,
    pub(super) main_others: Vec<Buckets>,
    pub(super) early: Option<Buckets>,
    pub(super) early_others: Vec<Buckets>,
    pub(super) expired: Vec<u64>,
    pub(super) scanned: Scanned,
}

/// Merges the buckets, runs a maximum through those of every group, and applies the ttl.
pub(super) fn resolve(index: &SpineIndex, rule: &ViewRule, mut all: Gathered, threads: usize) -> Winners {
    let rows = index.rows();
    let mut counts = PitCounts {
        rows: rows as u64,
        null_key: (rows - index.positions()) as u64,
        source_rows: all.scanned.rows,
        source_nulls: all.scanned.nulls,
        ..PitCounts::default()
    };
    // Tie-break bytes lie in an arena for each accumulator, which threads cannot write together.
    if rule.tie_break {
        for other in all.main_others.drain(..) {
            all.main.merge(&other);
        }
        for other in all.early_others.drain(..) {
            if let Some(early) = &mut all.early {
                early.merge(&other);
            }
        }
    }

    let winner: Vec<AtomicU32> = filled((0..rows).map(|_| AtomicU32::new(NULL_KEY)));
    let shares = index.shares(threads * SHARES_PER_THREAD);
    let lengths = || shares.iter().map(|share| share.positions.len());
    let main = all.main.parts(lengths());
    let early: Vec<Option<Part<'_>>> = match &mut all.early {
        Some(early) => early.parts(lengths()).into_iter().map(Some).collect(),
        None => shares.iter().map(|_| None).collect(),
    };
    let (main_others, early_others) = (&all.main_others, &all.early_others);
    let expired = all.expired.as_slice();
    let tasks: Vec<_> = shares.iter().zip(main).zip(early).collect();
    let done = parallel::each(tasks, threads, |((share, mut main), mut early)| {
        for other in main_others {
            main.merge(other.slots());
        }
        if let Some(early) = &mut early {
            for other in early_others {
                early.merge(other.slots());
            }
        }
        let mut run = Run {
            times: index.times(),
            order: index.order(),
            rule,
            main,
            early,
            expired,
            winner: &winner,
            counts: PitCounts::default(),
            used: Vec::new(),
        };
        for group in share.groups.clone() {
            run.group(index.group(group));
        }
        (run.counts, run.used)
    });
    let mut used = Vec::with_capacity(done.iter().map(|(_, used)| used.len()).sum());
    for (part, part_used) in done {
        counts.add(&part);
        used.extend(part_used);
    }
    Winners {
        buckets: all.main,
        winner: winner.into_iter().map(AtomicU32::into_inner).collect(),
        used,
        counts,
    }
}

/// Several shares for each thread even out what differs between them.
const SHARES_PER_THREAD: usize = 4;

/// Some groups that follow one another, and the positions they have together.
pub(super) struct Share {
    pub(super) groups: Range<usize>,
    pub(super) positions: Range<usize>,
}

/// The state of a walk through some groups.
struct Run<'a> {
    times: &'a [i64],
    order: &'a [u32],
    rule: &'a ViewRule,
    main: Part<'a>,
    early: Option<Part<'a>>,
    expired: &'a [u64],
    /// Every row is written by one thread only, so any order of memory will do.
    winner: &'a [AtomicU32],
    counts: PitCounts,
    used: Vec<u32>,
}

impl Run<'_> {
    fn group(&mut self, positions: Range<usize>) {
        let mut best: Option<(usize, Slot)> = None;
        let mut best_early: Option<(usize, Slot)> = None;
        let mut last_used = None;
        let mut none = UNMATCHED;
        for at in positions {
            let time = self.times[at];
            best = newer(&self.main, best, at);
            if self
                .expired
                .get(at / 64)
                .is_some_and(|word| word >> (at % 64) & 1 != 0)
            {
                none = EXPIRED;
            }
            let outcome = match best {
                None => none,
                Some((_, slot)) if !self.rule.is_fresh(slot.event, time) => EXPIRED,
                Some((winner, slot)) => {
                    self.count(&slot, time);
                    // A winner's spine rows follow one another, so it is counted once.
                    if last_used != Some(winner) {
                        last_used = Some(winner);
                        self.used.push(winner as u32);
                        self.counts.tied_rows += u64::from(slot.ties);
                    }
                    winner as u32
                }
            };
            match outcome {
                UNMATCHED => self.counts.unmatched += 1,
                EXPIRED => self.counts.expired += 1,
                _ => {}
            }
            self.winner[self.order[at] as usize].store(outcome, Memory::Relaxed);
            if let Some(early) = &self.early {
                best_early = newer(early, best_early, at);
                // What as-of mode knows, tie-break mode knew at this position too, so its winner is the better
                // of both; it differs exactly when the early one is better, unless both are expired.
                let better = match (best_early, best) {
                    (Some((one, _)), Some((two, _))) => {
                        early.compare(one, &self.main, two) == Ordering::Greater
                    }
                    (one, _) => one.is_some(),
                };
                let fresh = best_early.is_some_and(|(_, slot)| self.rule.is_fresh(slot.event, time));
                self.counts.known_later += u64::from(better && fresh);
            }
        }
    }

    fn count(&mut self, winner: &Slot, time: i64) {
        let rule = self.rule;
        let late = |written| rule.knowledge == Knowledge::TieBreak && written > time && rule.trusts(written);
        self.counts.matched += 1;
        self.counts.known_later += u64::from(winner.created().is_some_and(late));
        self.counts.full_ties += u64::from(winner.ties != 0);
    }
}

/// The better of the best bucket so far and the next.
#[inline(always)]
fn newer(buckets: &Part<'_>, best: Option<(usize, Slot)>, at: usize) -> Option<(usize, Slot)> {
    let slot = buckets.slot(at);
    if slot.is_empty() {
        return best;
    }
    match best {
        Some((_, known)) if known.event > slot.event => best,
        Some((known_at, known))
            if known.event == slot.event && buckets.compare(known_at, buckets, at) != Ordering::Less =>
        {
            best
        }
        _ => Some((at, slot)),
    }
}
