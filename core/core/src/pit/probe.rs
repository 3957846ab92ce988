//! What is known of a view after some batches of its source? Accumulators, which threads fork and merge.

use super::block::{BLOCK, Block, Knowing};
use super::bucket::{Buckets, Slot};
use super::coarse::Coarse;
use super::keys::{KeyBatch, Packed, key_nulls};
use super::resolve::{Gathered, Winners, resolve};
use super::{EventBounds, Knowledge, PitError, SpineIndex, ViewRule};
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_buffer::NullBuffer;
use arrow_row::Rows;
use std::sync::Arc;

/// The state of one view's join: the best source row of every spine position.
///
/// Threads that share a scan each take a [`ViewJoin::fork`] and [`ViewJoin::merge`] them afterwards, in any order.
/// Each source row must be probed once, in one of them.
#[derive(Debug)]
pub struct ViewJoin {
    index: Arc<SpineIndex>,
    rule: ViewRule,
    /// The rows to look at, whether anything can come of them or not.
    window: Option<EventBounds>,
    /// Best rows under the rule.
    main: Buckets,
    /// In as-of mode, the rows that tie-break mode would have known at an earlier position. Together with
    /// `main` they give the winners of tie-break mode; most sources have few, and none costs nothing.
    early: Option<Buckets>,
    /// The spine's times and the events of `main` in small.
    coarse: Coarse,
    /// One bit for each position: whether a row fell there that was already expired. Such a row answers nothing, so
    /// it needs no bucket, only that it be known. Empty without a ttl.
    expired: Vec<u64>,
    scanned: Scanned,
    packed: Vec<Packed>,
    block: Box<Block>,
}

/// What a scan met, whatever it was worth.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scanned {
    pub(super) rows: u64,
    pub(super) nulls: u64,
}

impl Scanned {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.nulls += other.nulls;
    }
}

/// A column of times, µs since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug)]
pub struct Times<'a> {
    /// The values; those of null rows are ignored.
    pub values: &'a [i64],
    /// Which rows have a value; all when `None`.
    pub nulls: Option<&'a NullBuffer>,
}

/// Where the rows of a batch lie in the source; below `u64::MAX`, and greater means later in the source's order.
#[derive(Clone, Copy, Debug)]
pub enum Positions<'a> {
    /// The first row's position; the others follow one by one.
    From(u64),
    /// Each row's position.
    Each(&'a [u64]),
}

/// The columns of a source batch that decide the join.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SourceBatch<'a> {
    /// Key columns, in the order and of the types of the spine's.
    pub keys: &'a [ArrayRef],
    /// When the row happened; a null matches nothing.
    pub event: Times<'a>,
    /// When the row was written; null is absent.
    pub created: Option<Times<'a>>,
    /// The tie-break columns in row format; the greater row wins. One converter's fields for all batches.
    pub tie_break: Option<&'a Rows>,
    /// Where the rows lie in the source.
    pub positions: Positions<'a>,
}

impl<'a> Times<'a> {
    /// Values without nulls.
    pub fn new(values: &'a [i64]) -> Self {
        Self { values, nulls: None }
    }

    fn check(&self, what: &'static str, rows: usize) -> Result<(), PitError> {
        let length = |found| PitError::Length {
            what,
            expected: rows,
            found,
        };
        if self.values.len() != rows {
            return Err(length(self.values.len()));
        }
        match self.nulls {
            Some(nulls) if nulls.len() != rows => Err(length(nulls.len())),
            _ => Ok(()),
        }
    }
}

impl<'a> From<&'a PrimitiveArray<TimestampMicrosecondType>> for Times<'a> {
    fn from(array: &'a PrimitiveArray<TimestampMicrosecondType>) -> Self {
        Self {
            values: array.values(),
            nulls: array.nulls(),
        }
    }
}

impl<'a> SourceBatch<'a> {
    /// A batch without created time and tie-break columns.
    pub fn new(keys: &'a [ArrayRef], event: Times<'a>, positions: Positions<'a>) -> Self {
        Self {
            keys,
            event,
            created: None,
            tie_break: None,
            positions,
        }
    }

    /// Sets the created time.
    #[must_use]
    pub fn with_created(mut self, created: Option<Times<'a>>) -> Self {
        self.created = created;
        self
    }

    /// Sets the tie-break rows.
    #[must_use]
    pub fn with_tie_break(mut self, rows: Option<&'a Rows>) -> Self {
        self.tie_break = rows;
        self
    }

    fn rows(&self) -> usize {
        self.event.values.len()
    }

    fn check(&self, index: &SpineIndex, rule: &ViewRule) -> Result<(), PitError> {
        let rows = self.rows();
        index.shape().check(self.keys, rows)?;
        self.event.check("the event time", rows)?;
        if let Some(created) = &self.created {
            created.check("the created time", rows)?;
        }
        if self.tie_break.is_some() != rule.tie_break {
            return Err(PitError::TieBreak {
                expected: rule.tie_break,
            });
        }
        if let Some(found) = self.tie_break.map(Rows::num_rows).filter(|found| *found != rows) {
            return Err(PitError::Length {
                what: "the tie-break rows",
                expected: rows,
                found,
            });
        }
        match self.positions {
            Positions::From(first) => first.checked_add(rows as u64).map(drop).ok_or(PitError::Position),
            Positions::Each(positions) if positions.len() != rows => Err(PitError::Length {
                what: "the positions",
                expected: rows,
                found: positions.len(),
            }),
            Positions::Each(positions) if positions.contains(&u64::MAX) => Err(PitError::Position),
            Positions::Each(_) => Ok(()),
        }
    }

    #[inline(always)]
    pub(super) fn slot(&self, row: usize) -> Slot {
        let created = self.created.and_then(|created| {
            created
                .nulls
                .is_none_or(|nulls| nulls.is_valid(row))
                .then(|| created.values[row])
        });
        let position = match self.positions {
            Positions::From(first) => first + row as u64,
            Positions::Each(positions) => positions[row],
        };
        Slot::new(self.event.values[row], created, position)
    }
}

impl ViewJoin {
    /// An empty accumulator for one view.
    pub fn new(index: Arc<SpineIndex>, rule: ViewRule) -> Result<Self, PitError> {
        rule.check()?;
        let main = Buckets::new(index.positions(), rule.tie_break);
        let window = if rule.within_bounds {
            rule.bounds(&index)
        } else {
            rule.last_known(&index)
                .map(|max| EventBounds { min: i64::MIN, max })
        };
        let block = Box::new(Block::new());
        let (coarse, expired) = (Coarse::new(&index, &rule), marks(&index, &rule));
        let (scanned, packed) = (Scanned::default(), Vec::new());
        Ok(Self {
            index,
            rule,
            window,
            main,
            early: None,
            coarse,
            expired,
            scanned,
            packed,
            block,
        })
    }

    /// Looks at source rows with these event times only, in place of what the rule says for this spine; for a spine
    /// that is a part of a larger one, whose bounds count.
    #[must_use]
    pub fn within(mut self, bounds: Option<EventBounds>) -> Self {
        // What no row of this spine can know stays out: the search for a bucket relies on it.
        let last = self.rule.last_known(&self.index);
        self.window = bounds.zip(last).map(|(bounds, last)| EventBounds {
            min: bounds.min,
            max: bounds.max.min(last),
        });
        self
    }

    /// An empty accumulator of the same index and rule.
    pub fn fork(&self) -> Self {
        Self {
            index: Arc::clone(&self.index),
            rule: self.rule,
            window: self.window,
            main: Buckets::new(self.index.positions(), self.rule.tie_break),
            early: None,
            coarse: self.coarse.fork(),
            expired: marks(&self.index, &self.rule),
            scanned: Scanned::default(),
            packed: Vec::new(),
            block: Box::new(Block::new()),
        }
    }

    /// The index that this join answers for.
    pub fn index(&self) -> &Arc<SpineIndex> {
        &self.index
    }

    /// The rule of the view.
    pub fn rule(&self) -> &ViewRule {
        &self.rule
    }

    /// The event times worth reading; `None` when nothing can match.
    pub fn bounds(&self) -> Option<EventBounds> {
        self.rule.bounds(&self.index)
    }

    /// Takes one batch of source rows, in any order.
    pub fn probe(&mut self, batch: &SourceBatch<'_>) -> Result<(), PitError> {
        batch.check(&self.index, &self.rule)?;
        let keys_valid = key_nulls(batch.keys);
        let valid = NullBuffer::union(keys_valid.as_ref(), batch.event.nulls);
        self.scanned.rows += batch.rows() as u64;
        self.scanned.nulls += valid.as_ref().map_or(0, |valid| valid.null_count() as u64);
        let Some(window) = self.window else {
            return Ok(());
        };
        let mut packed = std::mem::take(&mut self.packed);
        let keys = self.index.shape().columns(batch.keys, &mut packed);
        let rows = u32::try_from(batch.rows()).map_err(|_| PitError::Length {
            what: "a batch",
            expected: u32::MAX as usize,
            found: batch.rows(),
        })?;
        for start in (0..rows).step_by(BLOCK) {
            let end = rows.min(start.saturating_add(BLOCK as u32));
            self.block(batch, &keys, valid.as_ref(), window, start..end);
        }
        self.packed = packed;
        Ok(())
    }

    fn block(
        &mut self,
        batch: &SourceBatch<'_>,
        keys: &[KeyBatch<'_>],
        valid: Option<&NullBuffer>,
        bounds: EventBounds,
        rows: std::ops::Range<u32>,
    ) {
        let block = &mut *self.block;
        let n = block.select(rows, batch.event.values, valid, bounds);
        let n = match batch.created.filter(|_| self.rule.known_until.is_some()) {
            None => n,
            Some(created) => block.select_written(n, &self.rule, created),
        };
        let n = self
            .index
            .find(keys, &mut block.rows[..n], &mut block.ranges[..n]);
        let known = Knowing {
            index: &self.index,
            rule: &self.rule,
            coarse: &self.coarse,
        };
        let event = batch.event.values;
        match batch.created.filter(|_| self.rule.knowledge == Knowledge::AsOf) {
            None => {
                let n = block.place(n, known, event, &mut self.expired);
                block.offer(n, batch, &mut self.main, &mut self.coarse);
            }
            Some(created) => {
                let (n, early) = block.place_as_of(n, known, event, created, &mut self.expired);
                block.offer(n, batch, &mut self.main, &mut self.coarse);
                if early != 0 {
                    let early_buckets = self
                        .early
                        .get_or_insert_with(|| Buckets::new(self.index.positions(), self.rule.tie_break));
                    block.offer_early(early, batch, early_buckets);
                }
            }
        }
    }

    /// Takes over what another accumulator of the same index and rule has seen.
    pub fn merge(&mut self, other: Self) -> Result<(), PitError> {
        if !Arc::ptr_eq(&self.index, &other.index) || self.rule != other.rule {
            return Err(PitError::Merge);
        }
        self.main.merge(&other.main);
        match (&mut self.early, other.early) {
            (Some(early), Some(other)) => early.merge(&other),
            (None, other) => self.early = other,
            (Some(_), None) => {}
        }
        unite(&mut self.expired, &other.expired);
        self.scanned.add(other.scanned);
        Ok(())
    }

    /// Answers every spine row.
    pub fn resolve(self) -> Winners {
        let (index, rule) = (Arc::clone(&self.index), self.rule);
        resolve(&index, &rule, self.gathered(), 1)
    }

    /// Merges the accumulators of all threads, which have the same index and rule, and answers every spine row, on
    /// up to so many threads. The same as merging one after the other and resolving, but quicker.
    pub fn resolve_all(joins: Vec<Self>, threads: usize) -> Result<Winners, PitError> {
        let mut joins = joins.into_iter();
        let first = joins.next().ok_or(PitError::Merge)?;
        let (index, rule) = (Arc::clone(&first.index), first.rule);
        let mut all = first.gathered();
        for join in joins {
            if !Arc::ptr_eq(&index, &join.index) || rule != join.rule {
                return Err(PitError::Merge);
            }
            all.scanned.add(join.scanned);
            unite(&mut all.expired, &join.expired);
            all.main_others.push(join.main);
            match &all.early {
                Some(_) => all.early_others.extend(join.early),
                None => all.early = join.early,
            }
        }
        Ok(resolve(&index, &rule, all, threads.max(1)))
    }

    fn gathered(self) -> Gathered {
        Gathered {
            main: self.main,
            main_others: Vec::new(),
            early: self.early,
            early_others: Vec::new(),
            expired: self.expired,
            scanned: self.scanned,
        }
    }

    /// Heap bytes that this accumulator holds, without the shared index.
    pub fn memory_bytes(&self) -> usize {
        let early = self.early.as_ref().map_or(0, Buckets::memory_bytes);
        self.main.memory_bytes() + early + self.coarse.memory_bytes() + size_of::<Block>()
    }
}

/// A bit for each position, where the rule has a ttl.
fn marks(index: &SpineIndex, rule: &ViewRule) -> Vec<u64> {
    let words = rule.ttl.map_or(0, |_| index.positions().div_ceil(64));
    super::cells::zeros(words)
}

fn unite(all: &mut [u64], some: &[u64]) {
    for (all, some) in all.iter_mut().zip(some) {
        *all |= some;
    }
}
