//! How is one view materialized: slices side by side, a ledger that is right whenever the run ends, and an end in order?

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use larder_base::{Error, Interval, Ledger, OnlineStore, Result, RunRecord, RunState, Span, ViewLayout};
use larder_core::{LatestRead, OfflineOptions, OfflineStore, ViewScan};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::pace::Pace;
use super::{Materialize, ViewRun};
use crate::ingest::Shaper;
use crate::writes::{Outlet, Pipe};

/// How often a run renews the heartbeat of its record.
const HEARTBEAT: Span = Span::seconds(15);

/// One run over one view.
pub(super) struct Run<'a> {
    pub(super) record: RunRecord,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) online: Arc<dyn OnlineStore>,
    pub(super) offline: Arc<dyn OfflineStore>,
    pub(super) layout: Arc<ViewLayout>,
    pub(super) scan: ViewScan,
    pub(super) lateness: Span,
    pub(super) pace: Arc<Pace>,
    pub(super) task: &'a Materialize,
}

type Ended = std::result::Result<(usize, Interval, Result<()>), JoinError>;

impl Run<'_> {
    /// Works on all slices. After an error those under way are abandoned, and waited for: what the record says then
    /// is certain.
    pub(super) async fn all(&mut self, slices: Vec<Interval>) -> Result<()> {
        self.save().await?;
        let stop = self.task.stop.clone();
        let mut waiting = slices.into_iter().enumerate();
        let mut running = JoinSet::new();
        let mut outcome = Ok(());
        // Workers that go with this future, because it was dropped, must not outlive it; those that are told end by themselves.
        let (halt, halted) = watch::channel(false);
        loop {
            while outcome.is_ok() && running.len() < self.task.at_once {
                let Some((index, slice)) = waiting.next() else {
                    break;
                };
                match self.may_begin(index).await {
                    Ok(()) => running.spawn(self.slice(index, slice, halted.clone())),
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                };
            }
            if outcome.is_err() {
                halt.send_replace(true);
            }
            let ended = tokio::select! {
                biased;
                () = stop.clone(), if outcome.is_ok() && !running.is_empty() => {
                    outcome = Err(stopped());
                    continue;
                }
                ended = running.join_next() => ended,
                () = tokio::time::sleep(HEARTBEAT.to_std()) => {
                    self.beat().await;
                    continue;
                }
            };
            let Some(ended) = ended else { return outcome };
            let done = self.done(ended).await;
            // The first error is the cause; what it makes of the others says nothing new.
            outcome = outcome.and(done);
        }
    }

    /// An apply may have retired the generation meanwhile; rows written to it after it was reclaimed would be nobody's.
    async fn may_begin(&self, index: usize) -> Result<()> {
        if self.task.stop.clone().now_or_never().is_some() {
            return Err(stopped());
        }
        if index == 0 {
            return Ok(());
        }
        let snapshot = self.task.store.snapshot().await?;
        let current = snapshot.layout(self.layout.view().as_str());
        if current.is_some_and(|layout| layout.generation() == self.layout.generation()) {
            return Ok(());
        }
        Err(
            Error::conflict("the view was changed by an apply while it was materialized")
                .help("run it again"),
        )
    }

    /// Records a slice that ended well: only now is it done, because its last row was acknowledged.
    async fn done(&mut self, ended: Ended) -> Result<()> {
        let (index, slice, result) =
            ended.map_err(|error| Error::internal("a slice panicked").source(error))?;
        result?;
        self.same_store().await?;
        self.pace.end_slice();
        self.record.done.push(slice);
        self.save().await?;
        let event = self.pace.event(index, &self.outlet);
        tracing::info!(
            view = %event.view, slice = index + 1, slices = event.slices, read = event.read, written = event.written,
            stale = event.stale, rows_per_second = event.rows_per_second as u64, "a slice is materialized"
        );
        self.pace.tell(index, &self.outlet);
        Ok(())
    }

    /// What was written to a store that was emptied since is gone, or is not what the record would say it is.
    async fn same_store(&self) -> Result<()> {
        let identity = self.online.identity(self.task.store.project()).await?;
        if identity == Some(self.record.store) {
            return Ok(());
        }
        Err(
            Error::conflict("the online store was flushed or replaced while the view was materialized")
                .help("run it again: the view is filled from the beginning"),
        )
    }

    /// The work on one slice, which needs nothing of this run any more.
    fn slice(
        &self,
        index: usize,
        slice: Interval,
        halted: watch::Receiver<bool>,
    ) -> impl Future<Output = (usize, Interval, Result<()>)> + Send + 'static {
        let work = Slice {
            index,
            request: self.request(slice),
            offline: self.offline.clone(),
            layout: self.layout.clone(),
            outlet: self.outlet.clone(),
            pace: self.pace.clone(),
        };
        async move { (index, slice, work.run(halted).await) }
    }

    fn request(&self, slice: Interval) -> LatestRead {
        // The last while is looked at once more: rows land late, and where there is a created time
        // it may be older than the file that brings it.
        LatestRead {
            scan: self.scan.clone(),
            floor: slice.floor,
            after: slice.after.minus(self.lateness),
            until: slice.until,
        }
    }

    /// Says that the run is alive. One that cannot be written is no reason to end hours of work: the next may be.
    async fn beat(&mut self) {
        if let Err(error) = self.save().await {
            tracing::warn!(%error, view = %self.record.view, "the run's record could not be written; it is tried again");
        }
        let event = self.pace.event(0, &self.outlet);
        tracing::info!(
            view = %event.view, read = event.read, written = event.written, share = event.share,
            rows_per_second = event.rows_per_second as u64, "materializing"
        );
    }

    async fn save(&mut self) -> Result<()> {
        let written = self.outlet.report();
        self.record.rows_read = self.pace.read();
        self.record.rows_written = written.written;
        self.record.rows_stale = written.stale;
        self.record.newest_event = self.pace.newest();
        self.record.heartbeat = self.task.store.clock().now();
        self.ledger.record(self.task.store.project(), &self.record).await
    }

    /// Says how the run ended. The record of a run that was killed stays `running`.
    pub(super) async fn close(&mut self, outcome: &Result<()>) -> Result<()> {
        self.record.state = match outcome {
            Ok(()) => RunState::Done,
            Err(error) => {
                self.record.error = Some(error.chain());
                RunState::Failed
            }
        };
        let saved = self.save().await;
        // The run's own error says more than one about writing it down.
        if outcome.is_err() { Ok(()) } else { saved }
    }

    pub(super) fn count(&self, report: &mut ViewRun) {
        report.read = self.record.rows_read;
        report.written = self.record.rows_written;
        report.stale = self.record.rows_stale;
        report.newest_event = self.record.newest_event;
    }
}

/// The work on one slice.
struct Slice {
    index: usize,
    request: LatestRead,
    offline: Arc<dyn OfflineStore>,
    layout: Arc<ViewLayout>,
    outlet: Arc<Outlet>,
    pace: Arc<Pace>,
}

impl Slice {
    /// Reads, shapes and writes, until the last row is acknowledged, or until it is halted.
    async fn run(self, mut halted: watch::Receiver<bool>) -> Result<()> {
        let mut pipe = Pipe::new(self.outlet.clone());
        let outcome = tokio::select! {
            biased;
            Ok(_) = halted.wait_for(|halted| *halted) => Err(stopped()),
            outcome = self.pour(&mut pipe) => outcome,
        };
        if outcome.is_err() {
            pipe.abandon().await;
        }
        outcome
    }

    async fn pour(&self, pipe: &mut Pipe) -> Result<()> {
        self.pace.begin_slice();
        let options = OfflineOptions::default().with_progress(Some(self.pace.progress()));
        let mut batches = self.offline.latest(self.request.clone(), &options).await?;
        let mut shaper = Shaper::new(&self.layout, &self.request.scan)?;
        loop {
            let batch = tokio::select! {
                biased;
                error = pipe.trouble() => return Err(error),
                batch = batches.next() => batch,
            };
            let Some(batch) = batch.transpose()? else { break };
            let table = shaper.take(&batch)?;
            self.pace.take(batch.num_rows() as u64, shaper.newest());
            if let Some(table) = table {
                pipe.send(table).await?;
            }
            self.pace.tell(self.index, &self.outlet);
        }
        if let Some(table) = shaper.finish() {
            pipe.send(table).await?;
        }
        pipe.finish().await
    }
}

fn stopped() -> Error {
    Error::unavailable("the run was stopped")
        .help("what was finished stays; run the same command again to go on")
}
