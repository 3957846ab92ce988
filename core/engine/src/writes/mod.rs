//! How do packed rows get to the online store: how many writes at once, how large, and who waits for whom?
//!
//! While one table of rows is written the next one is filled, and no third: so a slow store holds the reader back, and
//! rows of one key never overtake each other. Writes under way are bounded by number and by bytes; their size follows
//! how long they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder_base::{ByteSize, Error, OnlineStore, OnlineWrite, Result, WriteOptions, WriteReport, WriteRule};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::ingest::Table;

/// Bytes are counted in these.
const UNIT: usize = 1 << 10;

/// How much may be on its way to an online store at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteLimits {
    /// Writes under way.
    pub(crate) writes: usize,
    /// Bytes of keys and rows under way; a single row may have more.
    pub(crate) bytes: ByteSize,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self {
            writes: 4,
            bytes: ByteSize(32 << 20),
        }
    }
}

/// The way to one online store, shared by everything that one run writes.
#[derive(Debug)]
pub(crate) struct Outlet {
    online: Arc<dyn OnlineStore>,
    rule: WriteRule,
    writes: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    units: u32,
    piece_bytes: usize,
    size: Mutex<BatchSize>,
    written: AtomicU64,
    stale: AtomicU64,
    made: AtomicU64,
}

impl Outlet {
    pub(crate) fn new(online: Arc<dyn OnlineStore>, limits: WriteLimits) -> Arc<Self> {
        let writes = limits.writes.clamp(1, 1_024);
        let bytes = usize::try_from(limits.bytes.0).unwrap_or(usize::MAX);
        let units = (bytes / UNIT).clamp(1, u32::MAX as usize >> 4);
        let can = online.capabilities();
        // Who configures a store that cannot compare rows gets what it can; a store that can do neither says so itself.
        let rule = match !can.newest_wins && can.overwrite {
            true => WriteRule::Overwrite,
            false => WriteRule::NewestWins,
        };
        let most = can.max_write_rows;
        Arc::new(Self {
            online,
            rule,
            writes: Arc::new(Semaphore::new(writes)),
            bytes: Arc::new(Semaphore::new(units)),
            units: units as u32,
            piece_bytes: (units * UNIT / writes).max(1),
            size: Mutex::new(BatchSize::new(most)),
            written: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            made: AtomicU64::new(0),
        })
    }

    /// The longest packed row that the store takes.
    pub(crate) fn max_row_bytes(&self) -> Option<usize> {
        self.online.capabilities().max_row_bytes.map(|most| most as usize)
    }

    /// What was acknowledged so far.
    pub(crate) fn report(&self) -> WriteReport {
        WriteReport::new(
            self.written.load(Ordering::Acquire),
            self.stale.load(Ordering::Acquire),
        )
    }

    /// Writes that were acknowledged so far.
    pub(crate) fn writes(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// Writes a piece that was cut to be of at most `asked` rows.
    async fn write(&self, write: &OnlineWrite, asked: usize) -> Result<()> {
        let began = Instant::now();
        let report = match self.rule == write.rule {
            true => self.online.write(write, &WriteOptions::default()).await?,
            false => {
                let ruled = write.clone().with_rule(self.rule);
                self.online.write(&ruled, &WriteOptions::default()).await?
            }
        };
        self.size.lock().landed(asked, write.rows.len(), began.elapsed());
        self.written.fetch_add(report.written, Ordering::AcqRel);
        self.stale.fetch_add(report.stale, Ordering::AcqRel);
        self.made.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn units_of(&self, write: &OnlineWrite) -> u32 {
        let keys: usize = write.keys.iter().flatten().map(<[u8]>::len).sum();
        let units = (keys + write.rows.byte_len()).div_ceil(UNIT);
        u32::try_from(units).unwrap_or(u32::MAX).clamp(1, self.units)
    }
}

/// Tables of rows on their way, one after the other. Dropping it gives up what is under way.
pub(crate) struct Pipe {
    outlet: Arc<Outlet>,
    /// At most one task, which writes one table.
    task: JoinSet<Result<()>>,
    abandoned: Arc<AtomicBool>,
}

impl Pipe {
    pub(crate) fn new(outlet: Arc<Outlet>) -> Self {
        Self {
            outlet,
            task: JoinSet::new(),
            abandoned: Arc::default(),
        }
    }

    /// Begins to write a table when the one before it is written.
    pub(crate) async fn send(&mut self, table: Table) -> Result<()> {
        self.finish().await?;
        let outlet = self.outlet.clone();
        self.task.spawn(pour(outlet, table, self.abandoned.clone()));
        Ok(())
    }

    /// Waits until everything sent is acknowledged.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        while let Some(ended) = self.task.join_next().await {
            flatten(ended)?;
        }
        Ok(())
    }

    /// Waits for an error of what is being written; for ever if there is none.
    pub(crate) async fn trouble(&mut self) -> Error {
        match self.finish().await {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }

    /// Begins no more writes, and waits for the answers to those that are under way.
    pub(crate) async fn abandon(mut self) {
        self.abandoned.store(true, Ordering::Release);
        // Why it was abandoned says more than what else went wrong.
        let _ = self.finish().await;
    }
}

/// Writes one table, some pieces at once. After an error no piece is begun; those under way are waited for.
async fn pour(outlet: Arc<Outlet>, mut table: Table, abandoned: Arc<AtomicBool>) -> Result<()> {
    table.sort();
    let mut flight = Flight {
        flying: JoinSet::new(),
        outcome: Ok(()),
        abandoned,
    };
    while let Some(place) = flight.enter(&outlet.writes, 1).await {
        let asked = outlet.size.lock().rows;
        let Some(write) = table.piece(asked, outlet.piece_bytes) else {
            break;
        };
        let Some(room) = flight.enter(&outlet.bytes, outlet.units_of(&write)).await else {
            break;
        };
        let outlet = outlet.clone();
        flight.flying.spawn(async move {
            let result = outlet.write(&write, asked).await;
            (result, [place, room])
        });
    }
    while let Some(landed) = flight.flying.join_next().await {
        flight.land(landed);
    }
    flight.outcome
}

/// Writes under way.
struct Flight {
    flying: JoinSet<Landed>,
    outcome: Result<()>,
    abandoned: Arc<AtomicBool>,
}

/// What came of a write, and the places it held: they are free once the outcome is known.
type Landed = (Result<()>, [OwnedSemaphorePermit; 2]);

impl Flight {
    /// Waits for places; `None` where no further write may begin.
    async fn enter(&mut self, gate: &Arc<Semaphore>, places: u32) -> Option<OwnedSemaphorePermit> {
        loop {
            let entered = tokio::select! {
                biased;
                Some(landed) = self.flying.join_next() => {
                    self.land(landed);
                    None
                }
                entered = gate.clone().acquire_many_owned(places) => Some(entered),
            };
            if self.outcome.is_err() || self.abandoned.load(Ordering::Acquire) {
                return None;
            }
            if let Some(entered) = entered {
                // The gates are never closed.
                return entered.ok();
            }
        }
    }

    fn land(&mut self, landed: Result<Landed, JoinError>) {
        let result = flatten(landed.map(|(result, _)| result));
        if self.outcome.is_ok() {
            self.outcome = result;
        }
    }
}

fn flatten(ended: Result<Result<()>, JoinError>) -> Result<()> {
    ended.unwrap_or_else(|error| Err(Error::internal("a write panicked").source(error)))
}

/// How many rows a write has: more while writes are fast, fewer when they become slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BatchSize {
    rows: usize,
    most: usize,
}

impl BatchSize {
    const FIRST: usize = 4_096;
    const LEAST: usize = 64;
    const MOST: usize = 16_384;
    /// Faster writes may grow: what a round trip costs is then a small part.
    const FAST: Duration = Duration::from_millis(40);
    /// Slower ones shrink: a failure repeats less, and readers of the store wait less behind them.
    const SLOW: Duration = Duration::from_millis(250);

    fn new(most: Option<u32>) -> Self {
        let most = most
            .map_or(Self::MOST, |most| Self::MOST.min(most as usize))
            .max(1);
        Self {
            rows: Self::FIRST.min(most),
            most,
        }
    }

    /// Learns from a write. One that was cut before the last change tells nothing; one that was shorter than asked,
    /// because of its bytes or because the table ended, does not make the next ones longer.
    fn landed(&mut self, asked: usize, rows: usize, took: Duration) {
        if asked != self.rows {
            return;
        }
        if took > Self::SLOW {
            self.rows = (self.rows / 2).max(Self::LEAST.min(self.most));
        } else if took < Self::FAST && rows == asked {
            self.rows = (self.rows * 2).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests;
