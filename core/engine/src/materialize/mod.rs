//! Materialize: offline rows become online values, and the ledger says what is done.
//!
//! Reads top to bottom: coverage minus ledger gives slices (pure); for each slice the offline
//! store's newest rows are shaped and written (`run.rs`); when the last row of a slice is acknowledged,
//! the run's record says so. A killed run leaves its record behind, and the next one takes the rest.

mod pace;
mod report;
mod run;

pub use report::{MaterializeEvent, MaterializeReport, ViewRun};

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use larder_base::error::suggest;
use larder_base::model::FeatureView;
use larder_base::{
    ByteSize, Error, Interval, Micros, Result, RunRecord, RunState, Snapshot, Span, ViewLayout,
};
use larder_core::Progress;

use crate::coverage::{self, Claim};
use crate::guard::Deed;
use crate::ready;
use crate::store::FeatureStore;
use crate::writes::{Outlet, WriteLimits};

use pace::Pace;
use run::Run;

/// Records of a view that are kept before they are merged.
const COMPACT_AFTER: usize = 16;

/// How much before the end of the last run is looked at once more, where a view does not say.
///
/// Rows get their created time, or their event, before they can be seen: a push stamps them before it appends them, and
/// a run in between has not seen what its interval holds.
const LATENESS: Span = Span::minutes(10);

/// How late rows of a view may become visible and still be found by the next run.
pub(crate) fn lateness(view: &FeatureView) -> Span {
    view.lateness.unwrap_or(LATENESS)
}

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
/// Is done when the run is to end early.
type Stop = Shared<BoxFuture<'static, ()>>;

/// A materialization to be run; see [`FeatureStore::materialize`].
#[must_use = "a materialization is started by `run`"]
#[derive(Clone)]
pub struct Materialize {
    store: FeatureStore,
    views: Option<Vec<String>>,
    mode: Mode,
    slice: Option<Span>,
    at_once: usize,
    limits: WriteLimits,
    stop: Stop,
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
            at_once: 1,
            limits: WriteLimits::default(),
            stop: std::future::pending().boxed().shared(),
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

    /// The whole coverage again, whatever the ledger says, which is void from then on: where this run is interrupted, an
    /// incremental one goes on with it. Newer online values stay.
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

    /// Sets how many slices of a view are worked on at once; one by default. Each holds two tables of rows, 64 MiB at
    /// most; more of them help where reading waits for a network.
    pub fn slices_at_once(mut self, slices: usize) -> Self {
        self.at_once = slices.max(1);
        self
    }

    /// Sets how many writes are under way at once, for all slices together; four by default.
    pub fn writes_at_once(mut self, writes: usize) -> Self {
        self.limits.writes = writes.max(1);
        self
    }

    /// Sets how many bytes of keys and rows are under way at once, for all slices together; 32 MiB by default. A single
    /// row may have more.
    pub fn bytes_in_flight(mut self, bytes: ByteSize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Ends the run early, and in order, when a future is done: no more rows are read and no more writes begun, the
    /// answers to those under way are waited for, and the ledger says which slices are done.
    pub fn stop_when(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = stop.boxed().shared();
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

    /// Runs, view after view. What is wrong with one view does not starve those after it.
    ///
    /// # Errors
    /// The first one, as [`Materialize::run_each`] has it.
    pub async fn run(self) -> Result<MaterializeReport> {
        let (report, failed) = self.run_each().await?;
        failed.into_iter().next().map_or(Ok(report), Err)
    }

    /// Runs, view after view, and answers what was done beside what was not: one error for each view that failed. A
    /// failure that passes, such as a store that cannot be reached, ends the run.
    ///
    /// # Errors
    /// Where nothing could be begun. Those of views are
    /// `Input` for an `until` in the future; `Conflict` where the view or the online store became another one meanwhile;
    /// `Unavailable` where the run was stopped; what the stores say. What was done before an error stays done and recorded;
    /// running again completes it.
    pub async fn run_each(self) -> Result<(MaterializeReport, Vec<Error>)> {
        let started = Instant::now();
        let snapshot = self.store.snapshot().await?;
        let views = self.chosen(&snapshot)?;
        let names = views
            .iter()
            .map(|view| format!("feature_view:{}", view.name))
            .collect();
        self.store.allow(Deed::Write, names).await?;
        let mut report = MaterializeReport::default();
        let mut failed = Vec::new();
        for view in views {
            match self.view(&snapshot, &view).await {
                Ok(run) => report.views.push(run),
                Err(error) => {
                    let error = error.with("view", &view.name);
                    // A store that cannot be reached now is no better for the next view.
                    let stop = error.is_retryable();
                    failed.push(error);
                    if stop {
                        break;
                    }
                }
            }
        }
        report.seconds = started.elapsed().as_secs_f64();
        Ok((report, failed))
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
        let identity = ready::identity(&*online, snapshot, &name).await?;
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
        let until = slices.iter().map(|slice| slice.until).max();
        if slices.is_empty() {
            report.until = coverage::watermark(now, view.ttl, &runs, &claim);
            report.seconds = started.elapsed().as_secs_f64();
            return Ok(report);
        }
        let offline = store.store_of(&scan.source).await?.clone();
        let progress = self.progress.clone().unwrap_or_default();
        let mut record = new_record(view, layout, &claim, store.principal(), now);
        record.afresh = matches!(self.mode, Mode::Rebuild);
        let mut run = Run {
            record,
            ledger,
            outlet: Outlet::new(online.clone(), self.limits),
            online,
            offline,
            layout: layout.clone(),
            scan,
            lateness: lateness(view),
            pace: Arc::new(Pace::new(
                &view.name,
                slices.len(),
                progress,
                self.on_event.clone(),
            )),
            task: self,
        };
        let outcome = run.all(slices).await;
        run.close(&outcome).await?;
        outcome?;
        run.count(&mut report);
        report.until = until;
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
        report.rows_per_second = pace::rate(report.read, report.seconds);
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
        afresh: false,
        state: RunState::Running,
        done: Vec::new(),
        rows_read: 0,
        rows_written: 0,
        rows_stale: 0,
        newest_event: None,
        error: None,
    }
}
