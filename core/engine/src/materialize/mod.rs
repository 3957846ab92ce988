//! Materialize: offline rows become online values, and the ledger says what is done.
//!
//! Reads top to bottom: coverage minus ledger gives slices (pure); for each slice the offline
//! store's newest rows are shaped and written; when the last row of a slice is acknowledged, the
//! run's record says so. A killed run leaves its record behind, and the next one takes the rest.

mod report;

pub use report::{MaterializeEvent, MaterializeReport, ViewRun};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use larder_base::error::suggest;
use larder_base::model::FeatureView;
use larder_base::{
    Error, Interval, LayoutChanges, Ledger, Micros, OnlineStore, OnlineWrite, Result, RunRecord, RunState,
    Snapshot, Span, StoreIdentity, StoreName, ViewLayout, WriteOptions, WriteReport,
};
use larder_core::{LatestRead, OfflineOptions, OfflineStore, Progress, ViewScan};

use crate::coverage::{self, Claim};
use crate::guard::Deed;
use crate::ingest::Shaper;
use crate::store::FeatureStore;

/// Writes on their way to the online store while the next rows are read.
const IN_FLIGHT: usize = 2;
/// How often a long slice renews the heartbeat of its record.
const HEARTBEAT: Span = Span::seconds(15);
/// Records of a view that are kept before they are merged.
const COMPACT_AFTER: usize = 16;

/// What a run covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// What the ledger lacks, up to an instant.
    Incremental(Option<Micros>),
    /// Rows with events in an interval, whatever the ledger says.
    Range(Micros, Micros),
    /// All of the coverage again, whatever the ledger says.
    Rebuild,
    /// What became visible in the last while, again.
    Repair(Span),
}

type OnEvent = Arc<dyn Fn(&MaterializeEvent) + Send + Sync>;

/// A materialization to be run; see [`FeatureStore::materialize`].
#[must_use = "a materialization is started by `run`"]
#[derive(Clone)]
pub struct Materialize {
    store: FeatureStore,
    views: Option<Vec<String>>,
    mode: Mode,
    slice: Option<Span>,
    on_event: Option<OnEvent>,
    progress: Option<Progress>,
}

impl std::fmt::Debug for Materialize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Materialize")
            .field("views", &self.views)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl FeatureStore {
    /// Starts a materialization: by default incremental, up to now, of all online views.
    pub fn materialize(&self) -> Materialize {
        Materialize {
            store: self.clone(),
            views: None,
            mode: Mode::Incremental(None),
            slice: None,
            on_event: None,
            progress: None,
        }
    }
}

impl Materialize {
    /// Only these views.
    pub fn views<S: Into<String>>(mut self, views: impl IntoIterator<Item = S>) -> Self {
        self.views = Some(views.into_iter().map(Into::into).collect());
        self
    }

    /// What the ledger lacks, up to an instant; up to now where none is given.
    pub fn incremental(mut self, until: Option<Micros>) -> Self {
        self.mode = Mode::Incremental(until);
        self
    }

    /// Rows with events in `[from, until]`, whatever the ledger says. With `knowledge: as_of` only
    /// those that were also created by `until`, as a training join at `until` would see them.
    pub fn range(mut self, from: Micros, until: Micros) -> Self {
        self.mode = Mode::Range(from, until);
        self
    }

    /// The whole coverage again, whatever the ledger says. Newer online values stay.
    pub fn rebuild(mut self) -> Self {
        self.mode = Mode::Rebuild;
        self
    }

    /// What became visible in the last while, again: after a failover that lost writes.
    pub fn repair(mut self, window: Span) -> Self {
        self.mode = Mode::Repair(window);
        self
    }

    /// Sets how much is done between two entries in the ledger.
    pub fn slice(mut self, width: Span) -> Self {
        self.slice = Some(width);
        self
    }

    /// Is told how far the work is.
    pub fn on_event(mut self, tell: impl Fn(&MaterializeEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(tell));
        self
    }

    /// Counts source rows looked at.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Runs, view after view.
    ///
    /// # Errors
    /// `Input` for an `until` in the future; what the stores say. What was done before an error
    /// stays done and recorded; running again completes it.
    pub async fn run(self) -> Result<MaterializeReport> {
        let started = Instant::now();
        let snapshot = self.store.snapshot().await?;
        let views = self.chosen(&snapshot)?;
        let names = views
            .iter()
            .map(|view| format!("feature_view:{}", view.name))
            .collect();
        self.store.allow(Deed::Write, names).await?;
        let mut report = MaterializeReport::default();
        let mut failed: Option<Error> = None;
        for view in views {
            match self.view(&snapshot, &view).await {
                Ok(run) => report.views.push(run),
                Err(error) => {
                    let error = error.with("view", &view.name);
                    // What is wrong with one view must not starve those after it; a store that
                    // cannot be reached now is no better for the next view.
                    let stop = error.is_retryable();
                    tracing::warn!(%error, view = %view.name, "a view could not be materialized");
                    failed.get_or_insert(error);
                    if stop {
                        break;
                    }
                }
            }
        }
        report.seconds = started.elapsed().as_secs_f64();
        failed.map_or(Ok(report), Err)
    }

    fn chosen(&self, snapshot: &Snapshot) -> Result<Vec<Arc<FeatureView>>> {
        let catalog = snapshot.catalog();
        let Some(names) = &self.views else {
            let online = catalog
                .feature_views
                .values()
                .filter(|view| view.online.store().is_some());
            return Ok(online.cloned().collect());
        };
        let choose = |name: &String| {
            let view = catalog.feature_view(name)?;
            if view.online.store().is_none() {
                let online = catalog
                    .feature_views
                    .values()
                    .filter(|v| v.online.store().is_some());
                return Err(Error::input(format!(
                    "feature view `{name}` is not served online (`online: false`)"
                ))
                .help(suggest(name, online.map(|v| v.name.as_str()).collect::<Vec<_>>())));
            }
            Ok(view.clone())
        };
        names.iter().map(choose).collect()
    }

    async fn view(&self, snapshot: &Snapshot, view: &Arc<FeatureView>) -> Result<ViewRun> {
        let started = Instant::now();
        let store = &self.store;
        let now = store.clock().now();
        let layout = snapshot.layout(view.name.as_str()).ok_or_else(|| {
            Error::internal(format!(
                "feature view `{}` is online and has no layout",
                view.name
            ))
        })?;
        let name = view
            .online
            .store()
            .unwrap_or_else(larder_base::StoreName::default_store);
        let online = store.online_store(&name).await?.clone();
        let identity = identity(&*online, snapshot, &name).await?;
        let ledger = store.registry().await?.ledger();
        let runs = ledger
            .runs(store.project(), &view.name, layout.generation())
            .await?;

        let scan = crate::scan::scan_of(snapshot.catalog(), view, &view.features)?;
        let claim = Claim {
            store: identity,
            fingerprint: crate::fingerprint::of(&scan.source, view),
            slots: layout.active_slots().collect(),
        };
        let slices = self.plan(view, now, &runs, &claim)?;
        let mut report = ViewRun::new(&view.name, slices.len());
        if slices.is_empty() {
            report.until = coverage::watermark(now, view.ttl, &runs, &claim);
            report.seconds = started.elapsed().as_secs_f64();
            return Ok(report);
        }
        let offline = store.store_of(&scan.source).await?.clone();
        let mut run = Run {
            record: new_record(view, layout, &claim, store.principal(), now),
            ledger,
            online,
            offline,
            layout: layout.clone(),
            scan,
            lateness: view.lateness,
            task: self,
        };
        let outcome = run.all(slices, &mut report).await;
        run.close(&outcome).await?;
        outcome?;
        if runs.len() >= COMPACT_AFTER {
            // Everything is done and recorded; tidying up must not make a failure of it.
            let compacted = run
                .ledger
                .compact(store.project(), &view.name, layout.generation());
            if let Err(error) = compacted.await {
                tracing::warn!(%error, view = %view.name, "the ledger was not compacted; the next run tries again");
            }
        }
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Which slices of visibility this run reads; pure but for what it was given.
    fn plan(
        &self,
        view: &FeatureView,
        now: Micros,
        runs: &[RunRecord],
        claim: &Claim,
    ) -> Result<Vec<Interval>> {
        let past = |until: Micros| {
            if until <= now {
                return Ok(until);
            }
            Err(
                Error::input(format!("`until` is {until}, later than now ({now})"))
                    .help("the future has no values yet"),
            )
        };
        let gaps = match self.mode {
            Mode::Incremental(until) => {
                let until = past(until.unwrap_or(now))?;
                let floor = coverage::floor(until, view.ttl);
                let done = coverage::done(runs, claim, floor);
                coverage::gaps(coverage::start(floor), until, floor, &done)
            }
            Mode::Range(from, until) if from > until => {
                return Err(Error::input(format!(
                    "`from` ({from}) is later than `until` ({until})"
                )));
            }
            Mode::Range(from, until) => {
                vec![Interval {
                    after: coverage::start(from),
                    until: past(until)?,
                    floor: from,
                }]
            }
            Mode::Rebuild => {
                let floor = coverage::floor(now, view.ttl);
                vec![Interval {
                    after: coverage::start(floor),
                    until: now,
                    floor,
                }]
            }
            Mode::Repair(window) => {
                vec![Interval {
                    after: now.minus(window),
                    until: now,
                    floor: coverage::floor(now, view.ttl),
                }]
            }
        };
        Ok(gaps
            .into_iter()
            .flat_map(|gap| coverage::slices(gap, self.slice))
            .collect())
    }
}

/// The store's identity; a store that lost its own, because it was flushed, gets a new one, and
/// with it every interval of the old one is void. It is made ready for all of its views at once.
async fn identity(online: &dyn OnlineStore, snapshot: &Snapshot, name: &StoreName) -> Result<StoreIdentity> {
    if let Some(identity) = online.identity(snapshot.project()).await? {
        return Ok(identity);
    }
    let of_store = |view: &&Arc<FeatureView>| view.online.store().as_ref() == Some(name);
    let views = snapshot.catalog().feature_views.values().filter(of_store);
    let layouts = views
        .filter_map(|view| snapshot.layout(view.name.as_str()).cloned())
        .collect();
    let changes = LayoutChanges {
        project: snapshot.project().clone(),
        layouts,
    };
    online.prepare(&changes).await
}

fn new_record(
    view: &FeatureView,
    layout: &ViewLayout,
    claim: &Claim,
    principal: &crate::guard::Principal,
    now: Micros,
) -> RunRecord {
    RunRecord {
        run: format!("{:032x}", larder_base::random::u128()),
        view: view.name.clone(),
        generation: layout.generation(),
        store: claim.store,
        fingerprint: claim.fingerprint.clone(),
        slots: claim.slots.clone(),
        owner: format!("{}:{}", principal.0, std::process::id()),
        started: now,
        heartbeat: now,
        state: RunState::Running,
        done: Vec::new(),
        rows_read: 0,
        rows_written: 0,
        rows_stale: 0,
        newest_event: None,
        error: None,
    }
}

/// One run over one view.
struct Run<'a> {
    record: RunRecord,
    ledger: Arc<dyn Ledger>,
    online: Arc<dyn OnlineStore>,
    offline: Arc<dyn OfflineStore>,
    layout: Arc<ViewLayout>,
    scan: ViewScan,
    lateness: Option<Span>,
    task: &'a Materialize,
}

impl Run<'_> {
    async fn all(&mut self, slices: Vec<Interval>, report: &mut ViewRun) -> Result<()> {
        self.save().await?;
        let count = slices.len();
        for (index, slice) in slices.into_iter().enumerate() {
            if index > 0 {
                self.expect_current().await?;
            }
            self.slice(slice, report, index, count).await?;
            // Only now is the slice done: its last row was acknowledged.
            self.record.done.push(slice);
            self.save().await?;
            report.until = Some(slice.until);
        }
        Ok(())
    }

    /// An apply may have retired the generation meanwhile; rows written to it after it was
    /// reclaimed would be nobody's.
    async fn expect_current(&self) -> Result<()> {
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

    async fn slice(
        &mut self,
        slice: Interval,
        report: &mut ViewRun,
        index: usize,
        count: usize,
    ) -> Result<()> {
        let request = self.request(slice);
        let options = OfflineOptions::default().with_progress(self.task.progress.clone());
        let offline = self.offline.clone();
        let mut batches = self.alive(offline.latest(request, &options)).await??;
        let mut shaper = Shaper::new(
            &self.layout,
            &self.scan,
            self.online.capabilities().max_write_rows,
        )?;
        let mut writes = Writes {
            online: self.online.clone(),
            flying: VecDeque::new(),
            report: WriteReport::default(),
        };
        let before = (report.read, report.written, report.stale);
        while let Some(batch) = self.alive(batches.next()).await? {
            for write in shaper.take(&batch?)? {
                self.alive(writes.send(write)).await??;
            }
            self.count(report, before, &shaper, &writes);
            self.tell(report, index, count);
            if self.task.store.clock().now().since(self.record.heartbeat) > HEARTBEAT {
                self.save().await?;
            }
        }
        for write in shaper.finish() {
            self.alive(writes.send(write)).await??;
        }
        self.alive(writes.finish()).await??;
        self.count(report, before, &shaper, &writes);
        self.tell(report, index, count);
        Ok(())
    }

    /// Waits for a store, which may take minutes, and goes on saying that the run is alive.
    async fn alive<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(HEARTBEAT.to_std(), &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) => self.save().await?,
            }
        }
    }

    fn request(&self, slice: Interval) -> LatestRead {
        // The last while is looked at once more: rows land late, and where there is a created time
        // it may be older than the file that brings it.
        let again = self.lateness.unwrap_or(Span::ZERO);
        LatestRead {
            scan: self.scan.clone(),
            floor: slice.floor,
            after: slice.after.minus(again),
            until: slice.until,
        }
    }

    fn count(&mut self, report: &mut ViewRun, before: (u64, u64, u64), shaper: &Shaper, writes: &Writes) {
        report.read = before.0 + shaper.rows();
        report.written = before.1 + writes.report.written;
        report.stale = before.2 + writes.report.stale;
        report.newest_event = report.newest_event.max(shaper.newest());
        self.record.rows_read = report.read;
        self.record.rows_written = report.written;
        self.record.rows_stale = report.stale;
        self.record.newest_event = report.newest_event;
    }

    fn tell(&self, report: &ViewRun, index: usize, count: usize) {
        if let Some(tell) = &self.task.on_event {
            tell(&MaterializeEvent::new(report, index, count));
        }
    }

    async fn save(&mut self) -> Result<()> {
        self.record.heartbeat = self.task.store.clock().now();
        self.ledger.record(self.task.store.project(), &self.record).await
    }

    /// Says how the run ended. The record of a run that was killed stays `running`.
    async fn close(&mut self, outcome: &Result<()>) -> Result<()> {
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
}

/// Writes in flight, bounded: the reader waits when the online store is slower.
struct Writes {
    online: Arc<dyn OnlineStore>,
    flying: VecDeque<BoxFuture<'static, Result<WriteReport>>>,
    report: WriteReport,
}

impl Writes {
    async fn send(&mut self, write: OnlineWrite) -> Result<()> {
        while self.flying.len() >= IN_FLIGHT {
            self.land().await?;
        }
        let online = self.online.clone();
        let task = tokio::spawn(async move { online.write(&write, &WriteOptions::default()).await });
        let landed = task.map(|joined| {
            joined
                .map_err(|error| Error::internal("a write panicked").source(error))
                .and_then(|written| written)
        });
        self.flying.push_back(landed.boxed());
        Ok(())
    }

    async fn land(&mut self) -> Result<()> {
        if let Some(write) = self.flying.pop_front() {
            self.report.add(write.await?);
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        while !self.flying.is_empty() {
            self.land().await?;
        }
        Ok(())
    }
}
