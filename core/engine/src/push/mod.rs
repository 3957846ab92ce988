//! Push: rows go to the source's history, to the online values, or to both.
//!
//! Reads top to bottom: find the views; check every row before the first is written; append offline; write online;
//! report each side. The rows are read once for each of these, batch by batch, so that there may be more of them than
//! memory. They pass the same shaping and writing as those of a materialization.

mod buffer;
mod check;
mod history;
mod live;
mod report;

pub use buffer::{Acknowledge, BufferOptions, PushBuffer};
pub use report::{Judged, PushEvent, PushPhase, PushReport, PushedSide, PushedView, RefusedRow};

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt, stream};
use larder_base::error::suggest;
use larder_base::model::{Catalog, FeatureView};
use larder_base::{Error, Micros, Result, Snapshot, Span};
use larder_core::arrow::array::RecordBatch;
use larder_core::arrow::compute::concat::concat_batches;
use larder_core::convert::{SourceColumns, concat_rows};
use larder_core::{BatchStream, OfflineOptions, OfflineStore, ViewScan};
use serde::Serialize;

use crate::guard::Deed;
use crate::historical::EntitySource;
use crate::materialize::lateness;
use crate::outputs;
use crate::store::FeatureStore;
use check::PLACE;
use live::{Feeds, Room};

/// How far ahead of the clock an event may be.
pub const MAX_FUTURE: Span = Span::minutes(5);

/// Refused rows that a report names where they went to a dead letter on the way.
const NAMED: usize = 1_000;

/// Where pushed rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PushTarget {
    /// Only to the online values.
    #[default]
    Online,
    /// Only to the source's history.
    Offline,
    /// First to the history, then to the online values.
    Both,
}

type OnEvent = Arc<dyn Fn(&PushEvent) + Send + Sync>;
type OnJudged = Arc<dyn Fn(&Judged<'_>) -> Result<()> + Send + Sync>;
/// Is done when the push is to end early.
type Stop = Shared<BoxFuture<'static, ()>>;

/// Rows to be pushed; see [`FeatureStore::push`].
#[derive(Clone)]
#[must_use = "rows are pushed by `run`"]
pub struct Push {
    store: FeatureStore,
    source: String,
    rows: Vec<RecordBatch>,
    from: Option<Arc<dyn EntitySource>>,
    target: PushTarget,
    dead_letter: bool,
    max_future: Span,
    buffer: Option<PushBuffer>,
    outputs: Vec<PathBuf>,
    on_judged: Option<OnJudged>,
    on_event: Option<OnEvent>,
    stop: Stop,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push")
            .field("source", &self.source)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl FeatureStore {
    /// Starts a push of rows of a source, named by itself or by one of its views.
    pub fn push(&self, source: impl Into<String>) -> Push {
        Push {
            store: self.clone(),
            source: source.into(),
            rows: Vec::new(),
            from: None,
            target: PushTarget::default(),
            dead_letter: false,
            max_future: MAX_FUTURE,
            buffer: None,
            outputs: Vec::new(),
            on_judged: None,
            on_event: None,
            stop: std::future::pending().boxed().shared(),
        }
    }
}

impl Push {
    /// Adds rows with the columns of the source.
    pub fn rows(mut self, rows: impl IntoIterator<Item = RecordBatch>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Takes the rows from where they can be read several times, such as a file, in place of rows in memory. One batch
    /// of them is in memory at a time, and per view the two tables of a materialization, 64 MiB at most.
    pub fn read_from(mut self, rows: Arc<dyn EntitySource>) -> Self {
        self.from = Some(rows);
        self
    }

    /// Sets where the rows go; only online where nothing is said.
    pub fn to(mut self, target: PushTarget) -> Self {
        self.target = target;
        self
    }

    /// Pushes the good rows and hands the bad ones back, instead of refusing all.
    pub fn dead_letter(mut self, wanted: bool) -> Self {
        self.dead_letter = wanted;
        self
    }

    /// Pushes the good rows; the bad ones are told as they are found, batch after batch, before any row is written.
    /// The report then names the first of them only, and holds none.
    pub fn dead_letter_to(
        mut self,
        judged: impl Fn(&Judged<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.dead_letter = true;
        self.on_judged = Some(Arc::new(judged));
        self
    }

    /// Names a file that refused rows will be written to. One that is or would become data of the source is refused
    /// before anything is read.
    pub fn writes_to(mut self, file: PathBuf) -> Self {
        self.outputs.push(file);
        self
    }

    /// Sets how far ahead of the clock an event may be.
    pub fn max_future(mut self, span: Span) -> Self {
        self.max_future = span;
        self
    }

    /// Lets the history's rows wait for others in a buffer, so that small pushes do not become a file each. Rows that
    /// are read from elsewhere are many, and go past it.
    pub fn through(mut self, buffer: &PushBuffer) -> Self {
        self.buffer = Some(buffer.clone());
        self
    }

    /// Is told how far the work is.
    pub fn on_event(mut self, tell: impl Fn(&PushEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(tell));
        self
    }

    /// Ends the push early, and in order, when a future is done: until the history has all rows it has none, and after
    /// that no more writes are begun and the answers to those under way are waited for.
    pub fn stop_when(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = stop.boxed().shared();
        self
    }

    /// Pushes.
    ///
    /// # Errors
    /// `Input` naming rows and reasons when a row is bad and no dead letter was asked for: then
    /// nothing was written. With [`PushTarget::Both`] an error of the online side says that the
    /// history has the rows already.
    pub async fn run(self) -> Result<PushReport> {
        let began = Instant::now();
        let (mut job, snapshot) = self.job().await?;
        let source = [&job.scans[0].source];
        outputs::check(&self.store, source, &self.outputs, "refused rows").await?;
        let stop = self.stop.clone();
        let online = self.target != PushTarget::Offline;
        let mut feeds = match online {
            true => Feeds::new(&self.store, &snapshot, &job).await?,
            false => Feeds::default(),
        };
        job.rooms = feeds.rooms();
        let job = Arc::new(job);
        let offline = match self.target {
            PushTarget::Online => None,
            _ => Some(self.store.store_of(&job.scans[0].source).await?.clone()),
        };
        // Everything that can be wrong with the rows comes to light before the first is written.
        let (mut report, whole) = tokio::select! {
            biased;
            () = stop.clone() => return Err(stopped().help("nothing was written")),
            checked = self.check(&job, offline.as_ref(), &feeds) => checked?,
        };
        let good = report.rows - report.bad;
        if let (Some(offline), Some(whole)) = (offline, whole) {
            let began = Instant::now();
            job.begin(PushPhase::Append, good);
            report.appended = tokio::select! {
                biased;
                () = stop.clone() => return Err(stopped().help("nothing was written")),
                appended = self.append(&job, &offline, whole, good) => appended?,
            };
            report.offline = Some(PushedSide::new(report.appended, 1, began.elapsed()));
            if !online {
                report.warnings.extend(job.late(self.store.clock().now()));
            }
        }
        if online {
            let began = Instant::now();
            job.begin(PushPhase::Online, good);
            let written = tokio::select! {
                biased;
                () = stop => Err(stopped().help("what was written stays")),
                written = feeds.pour(&job, self.open()?) => written,
            };
            if let Err(error) = written {
                feeds.abandon().await;
                return Err(match self.target {
                    PushTarget::Both => half(error, report.appended, job.late(self.store.clock().now())),
                    _ => error,
                });
            }
            report.views = feeds.report(&job, good);
            report.online = Some(PushedSide::new(good, feeds.writes(), began.elapsed()));
        }
        report.seconds = began.elapsed().as_secs_f64();
        tracing::info!(
            source = %job.scans[0].source.name, rows = report.rows, bad = report.bad, appended = report.appended,
            seconds = report.seconds, "rows were pushed"
        );
        Ok(report)
    }

    /// What is to be done: which views, and by which rules.
    async fn job(&self) -> Result<(Job, Arc<Snapshot>)> {
        let store = &self.store;
        let snapshot = store.snapshot().await?;
        let views = views_of(snapshot.catalog(), &self.source)?;
        let names = views
            .iter()
            .map(|view| format!("feature_view:{}", view.name))
            .collect();
        store.allow(Deed::Write, names).await?;
        if self.target != PushTarget::Offline && views.iter().all(|view| view.online.store().is_none()) {
            return Err(
                Error::input(format!("no feature view of `{}` is served online", self.source))
                    .help("push `--to offline`, or set `online: true` on the view and apply"),
            );
        }
        let scans: Vec<ViewScan> = views
            .iter()
            .map(|view| crate::scan::scan_of(snapshot.catalog(), view, &view.features))
            .collect::<Result<_>>()?;
        // A view's rows may have columns of its source's other views.
        let others = views_of(snapshot.catalog(), views[0].source.as_str())?;
        let others = others
            .iter()
            .map(|view| crate::scan::scan_of(snapshot.catalog(), view, &view.features));
        let known = check::columns(&others.collect::<Result<Vec<_>>>()?);
        let now = store.clock().now();
        let job = Job {
            views,
            scans,
            known,
            now,
            latest: now.plus(self.max_future),
            sifts: self.dead_letter,
            rooms: Vec::new(),
            done: AtomicU64::new(0),
            phase: parking_lot::Mutex::new((PushPhase::Check, None, Instant::now())),
            on_event: self.on_event.clone(),
        };
        Ok((job, snapshot))
    }

    /// The rows from the first on.
    fn open(&self) -> Result<BatchStream> {
        match &self.from {
            Some(from) => from.open(),
            None => Ok(stream::iter(self.rows.clone().into_iter().map(Ok)).boxed()),
        }
    }

    /// Looks at every row, as if it were written; answers what to append of the history's columns.
    async fn check(
        &self,
        job: &Job,
        offline: Option<&Arc<dyn OfflineStore>>,
        feeds: &Feeds,
    ) -> Result<(PushReport, Option<ViewScan>)> {
        let began = Instant::now();
        let mut report = PushReport::default();
        let mut dead: Vec<RecordBatch> = Vec::new();
        let mut whole: Option<ViewScan> = None;
        let mut ignored: Option<String> = None;
        let mut any = false;
        let mut rows = self.open()?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let (good, mut refused) = job.judge(&batch)?;
            if let (None, Some(offline)) = (&whole, offline) {
                whole = Some(history::scan(offline, &job.scans, good.schema_ref()).await?);
            }
            if let Some(whole) = &whole {
                SourceColumns::new(whole)?.batch(&good, PLACE)?;
            }
            feeds.check(job, &good)?;
            if !any {
                any = true;
                ignored = check::ignored(batch.schema_ref(), job, whole.as_ref());
            }
            let bad = match refused.is_empty() || !self.dead_letter {
                true => None,
                false => Some(check::dead(&batch, &refused)?),
            };
            refused.iter_mut().for_each(|bad| bad.row += report.rows as usize);
            if let Some(tell) = &self.on_judged {
                tell(&Judged {
                    first_row: report.rows,
                    rows: batch.num_rows() as u64,
                    refused: &refused,
                    dead: bad.as_ref(),
                })?;
            } else {
                dead.extend(bad);
            }
            report.rows += batch.num_rows() as u64;
            report.bad += refused.len() as u64;
            let most = match (self.dead_letter, &self.on_judged) {
                (true, None) => usize::MAX,
                (true, Some(_)) => NAMED,
                (false, _) => check::SHOWN,
            };
            let room = most.saturating_sub(report.refused.len());
            report.refused.extend(refused.into_iter().take(room));
            job.advance(batch.num_rows());
        }
        if !any {
            return Err(Error::input("there are no rows to push"));
        }
        if report.bad > 0 && !self.dead_letter {
            return Err(check::refusal(&report.refused, report.bad, report.rows));
        }
        if let [first, ..] = dead.as_slice() {
            let whole =
                concat_rows(&dead).or_else(|_| concat_batches(&first.schema(), &dead).map_err(broken));
            report.dead = Some(whole?);
        }
        report.warnings = self.from.as_ref().map(|from| from.warnings()).unwrap_or_default();
        report.warnings.extend(ignored);
        report.check_seconds = began.elapsed().as_secs_f64();
        Ok((report, whole))
    }

    /// Appends the good rows, all or none of them.
    async fn append(
        &self,
        job: &Arc<Job>,
        offline: &Arc<dyn OfflineStore>,
        whole: ViewScan,
        good: u64,
    ) -> Result<u64> {
        let rows = history::stream(job.clone(), whole.clone(), self.open()?, good);
        if let (Some(buffer), None) = (&self.buffer, &self.from) {
            return buffer.append(offline, whole, rows).await;
        }
        offline.append(&whole, rows, &OfflineOptions::default()).await
    }
}

/// What all batches of a push are judged by, and how far they are.
struct Job {
    views: Vec<Arc<FeatureView>>,
    scans: Vec<ViewScan>,
    /// Columns that the source or any of its views has.
    known: BTreeSet<String>,
    now: Micros,
    latest: Micros,
    /// Whether bad rows are left out; otherwise there are none when rows are written.
    sifts: bool,
    /// Online stores that do not take rows of any length.
    rooms: Vec<Room>,
    done: AtomicU64,
    phase: parking_lot::Mutex<(PushPhase, Option<u64>, Instant)>,
    on_event: Option<OnEvent>,
}

impl Job {
    /// The good rows of a batch, with created times, and the bad ones by their place in it.
    fn judge(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<RefusedRow>)> {
        let rows = check::stamp_created(batch, &self.scans[0], self.now)?;
        let mut refused = check::refuse(&rows, &self.scans, self.latest)?;
        let mut good = check::keep(&rows, &refused)?;
        for room in &self.rooms {
            let long = room.too_long(&self.scans[room.view], &good)?;
            if !long.is_empty() {
                refused = check::besides(refused, long, rows.num_rows());
                good = check::keep(&rows, &refused)?;
            }
        }
        Ok((good, refused))
    }

    /// What to say where rows were to be seen so long after they were stamped that a run between may have missed them.
    fn late(&self, now: Micros) -> Option<String> {
        let served = self.views.iter().filter(|view| view.online.store().is_some());
        let view = served.min_by_key(|view| lateness(view))?;
        let took = Span::seconds(now.since(self.now).0 / 1_000_000);
        (took > lateness(view)).then(|| {
            let minutes = took.0 / 60_000_000 + 5;
            format!(
                "appending took {took}, longer than the lateness of feature view `{}` ({}): a materialization that ended meanwhile \
                 has not seen all rows; run `larder materialize --repair {minutes}m` once",
                view.name,
                lateness(view)
            )
        })
    }

    /// The good rows of a batch that was judged before.
    fn good(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match self.sifts {
            true => self.judge(batch).map(|(good, _)| good),
            false => check::stamp_created(batch, &self.scans[0], self.now),
        }
    }

    fn begin(&self, phase: PushPhase, rows: u64) {
        self.done.store(0, Ordering::Release);
        *self.phase.lock() = (phase, Some(rows), Instant::now());
        self.advance(0);
    }

    /// Whether as many rows were written as were good.
    fn is_complete(&self) -> bool {
        let (_, total, _) = *self.phase.lock();
        total == Some(self.done.load(Ordering::Acquire))
    }

    /// Counts rows, and tells whoever asked.
    fn advance(&self, rows: usize) {
        let done = self.done.fetch_add(rows as u64, Ordering::AcqRel) + rows as u64;
        if let Some(tell) = &self.on_event {
            let (phase, total, began) = *self.phase.lock();
            tell(&PushEvent::new(phase, done, total, began.elapsed()));
        }
    }
}

/// The views that a source feeds; or one view, by its own name.
fn views_of(catalog: &Catalog, name: &str) -> Result<Vec<Arc<FeatureView>>> {
    if let Some(source) = catalog.sources.get(name) {
        let views: Vec<_> = catalog
            .feature_views
            .values()
            .filter(|v| v.source == source.name)
            .cloned()
            .collect();
        if views.is_empty() {
            return Err(Error::input(format!("no feature view uses source `{name}`")));
        }
        return Ok(views);
    }
    if let Some(view) = catalog.feature_views.get(name) {
        return Ok(vec![view.clone()]);
    }
    let known = catalog
        .sources
        .keys()
        .map(AsRef::as_ref)
        .chain(catalog.feature_views.keys().map(AsRef::as_ref));
    Err(
        Error::not_found(format!("there is no source or feature view `{name}`"))
            .help(suggest(name, known.collect::<Vec<_>>())),
    )
}

/// An error of the online side, after the history took the rows.
fn half(error: Error, appended: u64, late: Option<String>) -> Error {
    let first = error.remedy().map(|help| format!("{help}; "));
    let again = "the history has all rows; push them again `--to online`, or materialize";
    let late = late.map(|late| format!(" ({late})"));
    let help = format!("{}{again}{}", first.unwrap_or_default(), late.unwrap_or_default());
    error.with("appended_offline", appended).help(help)
}

fn stopped() -> Error {
    Error::unavailable("the push was stopped")
}

fn broken(cause: larder_core::arrow::datatypes::ArrowError) -> Error {
    Error::internal("bad rows could not be put together").source(cause)
}
