//! What the writer thread can be asked to do: store rows, prepare the folder, free rows.

use std::collections::HashMap;
use std::sync::Arc;

use larder_base::error::Result;
use larder_base::names::ProjectName;
use larder_base::row::RowRef;
use tokio::sync::oneshot;

use crate::fault::Fault;
use crate::key::Place;
use crate::rows::Put;
use crate::transaction::Transaction;
use crate::writer::{Budget, Job};

/// Rows between two looks at the clock.
const ROWS_PER_LOOK: usize = 16;
const REMOVED_PER_LOOK: usize = 256;
const SWEPT_PER_LOOK: usize = 1024;
/// Rows that one sweep looks at; the next one goes on from there.
const SWEPT_PER_CALL: usize = 4 << 20;
/// µs since the epoch.
const YEAR_2000: i64 = 946_684_800_000_000;

/// Keys and packed rows of one view, owned or shared, as the writer thread reads them.
pub(crate) trait Batch: Send {
    /// Where all rows belong.
    fn place(&self) -> Place;
    /// How many rows there are.
    fn len(&self) -> usize;
    /// Canonical key (`None`: it holds a null) and packed row.
    fn row(&self, index: usize) -> (Option<&[u8]>, &[u8]);
}

/// How many rows a write stored, and how many lost to a newer one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) written: u64,
    pub(crate) stale: u64,
}

/// Stores the rows of one batch.
pub(crate) struct Store<B> {
    batch: B,
    always: bool,
    /// Row numbers by key, so that a transaction touches neighbouring pages; rows of one key keep their order.
    order: Vec<u32>,
    at: usize,
    counts: Counts,
    safe: (usize, Counts),
    reply: oneshot::Sender<Result<Counts>>,
}

impl<B: Batch> Store<B> {
    pub(crate) fn new(batch: B, always: bool, reply: oneshot::Sender<Result<Counts>>) -> Self {
        let rows = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let mut order: Vec<u32> = (0..rows)
            .filter(|row| batch.row(*row as usize).0.is_some())
            .collect();
        order.sort_by(|a, b| batch.row(*a as usize).0.cmp(&batch.row(*b as usize).0));
        Self {
            batch,
            always,
            order,
            at: 0,
            counts: Counts::default(),
            safe: (0, Counts::default()),
            reply,
        }
    }
}

impl<B: Batch> Job for Store<B> {
    fn step(&mut self, transaction: &mut Transaction<'_>, budget: Budget) -> Result<bool, Fault> {
        let place = self.batch.place();
        while let Some(row) = self.order.get(self.at) {
            let (Some(key), row) = self.batch.row(*row as usize) else {
                self.at += 1;
                continue;
            };
            match transaction.put(place, key, row, self.always)? {
                Put::Written => self.counts.written += 1,
                Put::Stale => self.counts.stale += 1,
            }
            self.at += 1;
            if self.at.is_multiple_of(ROWS_PER_LOOK) && budget.spent() {
                break;
            }
        }
        Ok(self.at == self.order.len())
    }

    fn committed(&mut self) {
        self.safe = (self.at, self.counts);
    }

    fn rewind(&mut self) {
        (self.at, self.counts) = self.safe;
    }

    fn finish(self: Box<Self>, outcome: Result<()>) {
        // A caller that is gone wants no answer.
        let _ = self.reply.send(outcome.map(|()| self.counts));
    }
}

/// Writes the identity once, and what the sweep must know of the views.
pub(crate) struct Prepare {
    pub(crate) project: ProjectName,
    /// The identity, for a project that has none in this folder yet.
    pub(crate) identity: u128,
    /// After how many µs past their event time rows of a place may be freed; `None` is never.
    pub(crate) retention: Vec<(Place, Option<i64>)>,
    pub(crate) reply: oneshot::Sender<Result<u128>>,
}

impl Job for Prepare {
    fn step(&mut self, transaction: &mut Transaction<'_>, _: Budget) -> Result<bool, Fault> {
        self.identity = transaction.identity(&self.project, self.identity)?;
        let before = transaction.retention()?;
        let mut after = before.clone();
        for (place, span) in &self.retention {
            match span {
                Some(span) => after.insert(*place, *span),
                None => after.remove(place),
            };
        }
        if after != before {
            transaction.set_retention(&after)?;
        }
        Ok(true)
    }

    fn committed(&mut self) {}

    fn rewind(&mut self) {}

    fn finish(self: Box<Self>, outcome: Result<()>) {
        let _ = self.reply.send(outcome.map(|()| self.identity));
    }
}

/// Frees all rows of retired generations.
pub(crate) struct Reclaim {
    retired: Vec<Place>,
    at: usize,
    rows: u64,
    safe: (usize, u64),
    reply: oneshot::Sender<Result<u64>>,
}

impl Reclaim {
    pub(crate) fn new(retired: Vec<Place>, reply: oneshot::Sender<Result<u64>>) -> Self {
        Self {
            retired,
            at: 0,
            rows: 0,
            safe: (0, 0),
            reply,
        }
    }
}

impl Job for Reclaim {
    fn step(&mut self, transaction: &mut Transaction<'_>, budget: Budget) -> Result<bool, Fault> {
        while let Some(place) = self.retired.get(self.at) {
            let removed = transaction.remove(*place, REMOVED_PER_LOOK)?;
            self.rows += removed as u64;
            if removed < REMOVED_PER_LOOK {
                self.at += 1;
            }
            if budget.spent() {
                break;
            }
        }
        let done = self.at == self.retired.len();
        if done {
            let before = transaction.retention()?;
            let mut after = before.clone();
            after.retain(|place, _| !self.retired.contains(place));
            if after != before {
                transaction.set_retention(&after)?;
            }
        }
        Ok(done)
    }

    fn committed(&mut self) {
        self.safe = (self.at, self.rows);
    }

    fn rewind(&mut self) {
        (self.at, self.rows) = self.safe;
    }

    fn finish(self: Box<Self>, outcome: Result<()>) {
        let _ = self.reply.send(outcome.map(|()| self.rows));
    }
}

/// Where the last sweep of a folder stopped.
pub(crate) type Cursor = Arc<parking_lot::Mutex<Option<Vec<u8>>>>;

/// Frees old tombstones and rows past their view's retention, some millions of rows at a time.
pub(crate) struct Sweep {
    /// µs since the epoch.
    now: i64,
    /// µs that a tombstone is kept after it was written.
    tombstone_retention: i64,
    shared: Cursor,
    cursor: Option<Vec<u8>>,
    retention: Option<HashMap<Place, i64>>,
    seen: usize,
    rows: u64,
    safe: (Option<Vec<u8>>, usize, u64),
    reply: oneshot::Sender<Result<u64>>,
}

impl Sweep {
    pub(crate) fn new(
        now: i64,
        tombstone_retention: i64,
        shared: Cursor,
        reply: oneshot::Sender<Result<u64>>,
    ) -> Self {
        let cursor = shared.lock().clone();
        let safe = (cursor.clone(), 0, 0);
        Self {
            now,
            tombstone_retention,
            shared,
            cursor,
            retention: None,
            seen: 0,
            rows: 0,
            safe,
            reply,
        }
    }
}

impl Job for Sweep {
    fn step(&mut self, transaction: &mut Transaction<'_>, budget: Budget) -> Result<bool, Fault> {
        if self.retention.is_none() {
            self.retention = Some(transaction.retention()?);
        }
        let retention = self.retention.as_ref();
        let (now, kept) = (self.now, self.tombstone_retention);
        let doomed = |place: Place, row: &[u8]| {
            let Ok(row) = RowRef::parse(row) else { return false };
            if row.is_tombstone() {
                // A tombstone from before 2000 comes from a clock whose time cannot be compared with ours.
                let written = row.created().unwrap_or(row.event()).0;
                return written > YEAR_2000 && now.saturating_sub(written) > kept;
            }
            let span = retention.and_then(|all| all.get(&place));
            span.is_some_and(|span| now.saturating_sub(row.event().0) > *span)
        };
        loop {
            let (seen, freed) = transaction.sweep(&mut self.cursor, SWEPT_PER_LOOK, doomed)?;
            self.seen += seen;
            self.rows += freed as u64;
            if self.cursor.is_none() || self.seen >= SWEPT_PER_CALL {
                return Ok(true);
            }
            if budget.spent() {
                return Ok(false);
            }
        }
    }

    fn committed(&mut self) {
        self.safe = (self.cursor.clone(), self.seen, self.rows);
    }

    fn rewind(&mut self) {
        (self.cursor, self.seen, self.rows) = self.safe.clone();
    }

    fn finish(self: Box<Self>, outcome: Result<()>) {
        *self.shared.lock() = self.cursor.clone();
        let _ = self.reply.send(outcome.map(|()| self.rows));
    }
}
