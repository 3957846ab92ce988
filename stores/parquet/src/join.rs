//! How a point-in-time join runs: index, plan, two passes, and batches in the order of the entity rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::executor::block_on;
use futures::{SinkExt, StreamExt};
use larder_core::arrow::array::{Array, ArrayRef, TimestampMicrosecondArray, UInt32Array};
use larder_core::pit::{PitCounts, SpineIndex, ViewRule, Winners};
use larder_core::{
    EntityRows, Error, Explanation, HistoricalRead, JoinReport, JoinedBatch, JoinedStream, JoinedView,
    OfflineOptions, Phase, ReadStats, Result, ScanFeature, SharedReport, SourceFiles, ViewExplanation,
    ViewJoin, ViewReport, ViewScan,
};
use parking_lot::Mutex;

use crate::fault;
use crate::fetch::{self, Column};
use crate::keys::Keys;
use crate::object::Reads;
use crate::plan::{Context, Plan};
use crate::prune::Filter;
use crate::root::Root;
use crate::scan;
use crate::spill::{self, Sketch};
use crate::store::supported;
use crate::stream;
use crate::work::{self, Cancel};

/// Rows per batch of the answer, unless the caller says.
const BATCH_ROWS: usize = 65_536;

/// Starts a join.
pub(crate) async fn historical(
    root: Root,
    request: HistoricalRead,
    options: OfflineOptions,
    context: Context,
) -> Result<JoinedStream> {
    let guard = context.cancel.guard();
    let report: SharedReport = Arc::new(Mutex::new(JoinReport::default()));
    let job = {
        let options = options.clone();
        work::run(move || Job::new(root, request, &options, context)).await?
    };
    let (send, receive) = mpsc::channel(1);
    let shared = report.clone();
    work::spawn(move || job.run(&options, &shared, send))?;
    let batches = receive.map(move |batch| {
        // The guard lives as long as the stream: dropping the stream stops the work.
        let _ = &guard;
        batch
    });
    Ok(JoinedStream {
        batches: batches.boxed(),
        report,
    })
}

/// What a join would read.
pub(crate) async fn explain(
    root: Root,
    request: HistoricalRead,
    options: OfflineOptions,
    context: Context,
) -> Result<Explanation> {
    work::run(move || {
        let scans: Vec<ViewScan> = request.views.iter().map(|view| view.scan.clone()).collect();
        let sketch = Sketch::new(&root, request, &context)?;
        let mut views: Vec<Option<ViewExplanation>> = vec![None; scans.len()];
        for shared in &sketch.shared {
            let plan = &shared.plan;
            for member in shared.rules.iter().flat_map(|rule| &rule.members) {
                let scan = &scans[member.view];
                let columns = larder_core::convert::SourceColumns::new(scan)?;
                let mut names = columns.probe_names();
                names.extend(columns.feature_names());
                let mut read = plan.stats;
                let bytes = plan.groups.iter();
                read.bytes = bytes
                    .map(|group| plan.files[group.file].bytes(group.row_group, &names))
                    .sum();
                let skipped = plan.skipped.iter();
                let skipped = skipped
                    .map(|(reason, n)| (reason.as_str().to_owned(), *n))
                    .collect();
                views[member.view] = Some(ViewExplanation::new(&scan.view, read, skipped));
            }
        }
        let views: Option<Vec<_>> = views.into_iter().collect();
        let mut explanation = Explanation::default();
        explanation.views = views.ok_or_else(|| Error::internal("a view was not planned"))?;
        explanation.memory = Some(sketch.memory(context.threads));
        explanation.spills = !sketch.fits(spill::budget(&options, &context).as_ref());
        Ok(explanation)
    })
    .await
}

/// A join that is ready to run.
enum Job {
    Memory(Prepared),
    Spill(spill::Job),
}

impl Job {
    fn new(root: Root, request: HistoricalRead, options: &OfflineOptions, context: Context) -> Result<Self> {
        let budget = spill::budget(options, &context);
        let request = match budget {
            None => request,
            Some(budget) => {
                let sketch = Sketch::new(&root, request.clone(), &context)?;
                if !sketch.fits(Some(&budget)) {
                    return Ok(Self::Spill(spill::Job::new(sketch, budget, options, context)));
                }
                request
            }
        };
        let request = spill::in_memory(request)?;
        Prepared::new(root, &request, context).map(Self::Memory)
    }

    fn run(
        self,
        options: &OfflineOptions,
        report: &SharedReport,
        mut send: mpsc::Sender<Result<JoinedBatch>>,
    ) {
        let cancel = match &self {
            Self::Memory(join) => join.context.cancel.clone(),
            Self::Spill(join) => join.cancel(),
        };
        let done = work::caught(|| match self {
            Self::Memory(join) => join.run(options, report, &mut send),
            Self::Spill(join) => join.run(options, report, &mut send),
        });
        if let Err(error) = done
            && !cancel.is_set()
        {
            // The receiver may be gone by now; then nobody wants to know.
            let _ = block_on(send.send(Err(error)));
        }
    }
}

/// Everything that is decided before data is read.
struct Prepared {
    /// How long that took.
    prepared: Duration,
    rows: usize,
    views: Vec<ViewScan>,
    shared: Vec<SharedScan>,
    context: Context,
}

/// Views that one scan serves: same source, same keys on both sides.
struct SharedScan {
    /// With the features of all views, so that all are checked.
    scan: ViewScan,
    spine_keys: Vec<usize>,
    rules: Vec<SharedRule>,
    index: Arc<SpineIndex>,
    filter: Filter,
    plan: Plan,
}

/// Views with the same winners.
pub(crate) struct SharedRule {
    pub(crate) rule: ViewRule,
    /// The features of its views, each column and type once.
    pub(crate) scan: ViewScan,
    pub(crate) members: Vec<Member>,
}

pub(crate) struct Member {
    /// Index in the request.
    pub(crate) view: usize,
    /// For each feature of the view, its place among those of the shared rule.
    pub(crate) features: Vec<usize>,
}

impl Prepared {
    fn new(root: Root, request: &HistoricalRead, context: Context) -> Result<Self> {
        let began = Instant::now();
        let EntityRows::Batches { keys, times } = &request.rows else {
            return Err(Error::internal("the entity rows were not brought into memory"));
        };
        if times.null_count() > 0 || keys.iter().any(|key| key.len() != times.len()) {
            return Err(Error::internal(
                "entity rows need a time each and keys of the same length",
            ));
        }
        let drafts = drafts(request)?;
        let mut sides: Vec<Side> = Vec::new();
        for (_, spine_keys, _) in &drafts {
            if !sides.iter().any(|side| side.spine_keys == *spine_keys) {
                let keys: Vec<ArrayRef> = spine_keys.iter().map(|key| keys[*key].clone()).collect();
                let index = SpineIndex::build_with(&keys, times.values(), context.threads);
                sides.push(Side {
                    spine_keys: spine_keys.clone(),
                    index: Arc::new(index.map_err(fault::kernel)?),
                    keys: keys.iter().map(Keys::of).collect(),
                });
            }
        }
        let plans = plans(&root, &drafts, &sides, &context)?;
        let scans = drafts.into_iter().zip(plans);
        let shared = scans.map(|((scan, spine_keys, rules), (index, filter, plan))| SharedScan {
            scan,
            spine_keys,
            rules,
            index,
            filter,
            plan,
        });
        let shared = shared.collect();
        Ok(Self {
            prepared: began.elapsed(),
            rows: times.len(),
            views: request.views.iter().map(|view| view.scan.clone()).collect(),
            shared,
            context,
        })
    }

    fn run(
        self,
        options: &OfflineOptions,
        report: &SharedReport,
        send: &mut mpsc::Sender<Result<JoinedBatch>>,
    ) -> Result<()> {
        let answers = self.answer(options, report)?;
        let step = options.batch_rows.unwrap_or(BATCH_ROWS).max(1);
        let make = |start, rows| batch(&answers, start, rows);
        stream::send(self.rows, step, &self.context, send, make)
    }

    fn answer(&self, options: &OfflineOptions, report: &SharedReport) -> Result<Vec<Answer>> {
        let (threads, context) = self.context.abreast(self.shared.len());
        let done = work::each(
            (0..threads).map(|_| Done::default()).collect(),
            self.shared.len(),
            &self.context.cancel,
            |done, at| self.source(&self.shared[at], options, &context, done),
        )?;
        let mut all = Done::default();
        for done in done {
            all.views.extend(done.views);
            all.times.add(&done.times);
        }
        let mut read = ReadStats::default();
        let mut sources: Vec<SourceFiles> = Vec::new();
        for shared in &self.shared {
            read.add(&shared.plan.stats);
            shared.plan.list(&mut sources);
        }
        read.bytes = self.context.count.bytes();
        all.views.sort_by_key(|(view, ..)| *view);
        if !all.views.iter().map(|(view, ..)| *view).eq(0..self.views.len()) {
            return Err(Error::internal("a view was not answered"));
        }
        let (answers, reports) = all
            .views
            .into_iter()
            .map(|(_, answer, report)| (answer, report))
            .unzip();
        let mut report = report.lock();
        report.views = reports;
        report.read = read;
        report.sources = sources;
        report.phases = all.times.phases(self.prepared, threads);
        Ok(answers)
    }

    /// Answers the views of one source.
    fn source(
        &self,
        shared: &SharedScan,
        options: &OfflineOptions,
        context: &Context,
        done: &mut Done,
    ) -> Result<()> {
        let began = Instant::now();
        let rules: Vec<ViewRule> = shared.rules.iter().map(|rule| rule.rule).collect();
        let (winners, seen) = scan::winners(
            &shared.plan,
            &shared.scan,
            &shared.filter,
            &shared.index,
            &rules,
            context,
            options.progress.as_ref(),
        )?;
        tracing::debug!(keys = shared.spine_keys.len(), rows = seen, "scanned a source");
        let counts: Vec<PitCounts> = winners.iter().map(|winners| *winners.counts()).collect();
        let found = Instant::now();
        let mut answers: Vec<Option<Answer>> = self.views.iter().map(|_| None).collect();
        shared.answer(winners, context, &mut answers)?;
        done.times.winners += found - began;
        done.times.features += found.elapsed();
        for (rule, counts) in shared.rules.iter().zip(counts) {
            for member in &rule.members {
                let missing = || Error::internal("a view was not answered");
                let answer = answers[member.view].take().ok_or_else(missing)?;
                let report = ViewReport::new(&self.views[member.view].view, &counts, seen);
                done.views.push((member.view, answer, report));
            }
        }
        Ok(())
    }
}

/// What one thread has done.
#[derive(Default)]
struct Done {
    /// Number in the request, answer, report.
    views: Vec<(usize, Answer, ViewReport)>,
    times: Times,
}

/// Where the time went.
#[derive(Default)]
struct Times {
    winners: Duration,
    features: Duration,
}

impl Times {
    fn add(&mut self, other: &Self) {
        self.winners += other.winners;
        self.features += other.features;
    }

    /// The parts of the work; those that threads did side by side are shared out.
    fn phases(&self, prepared: Duration, threads: usize) -> Vec<Phase> {
        let share = |time: Duration| time.as_secs_f64() / threads as f64;
        vec![
            Phase::new("entity rows indexed, files chosen", prepared.as_secs_f64()),
            Phase::new("winners found", share(self.winners)),
            Phase::new("winners' features read", share(self.features)),
        ]
    }
}

/// The entity rows by one set of their keys.
struct Side {
    spine_keys: Vec<usize>,
    index: Arc<SpineIndex>,
    keys: Vec<Keys>,
}

/// What each scan reads; many small sources are looked at side by side.
fn plans(
    root: &Root,
    drafts: &[Draft],
    sides: &[Side],
    context: &Context,
) -> Result<Vec<(Arc<SpineIndex>, Filter, Plan)>> {
    let (threads, context) = context.abreast(drafts.len());
    let states = (0..threads).map(|_| Vec::new()).collect();
    let planned = work::each(states, drafts.len(), &context.cancel, |planned, at| {
        let (scan, spine_keys, rules) = &drafts[at];
        let side = sides.iter().find(|side| side.spine_keys == *spine_keys);
        let side = side.ok_or_else(|| Error::internal("entity rows without an index"))?;
        let windows = rules.iter().filter_map(|rule| rule.rule.bounds(&side.index));
        let window = windows
            .map(|bounds| (bounds.min, bounds.max))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let filter = Filter::new(scan, window)?.with_keys(scan, &side.keys);
        let plan = Plan::new(root, scan, &filter, &context)?;
        tracing::debug!(
            source = scan.source.name.as_str(),
            path = plan.shown,
            files = plan.stats.files,
            row_groups = plan.groups.len(),
            "planned a scan"
        );
        planned.push((at, (side.index.clone(), filter, plan)));
        Ok(())
    })?;
    let mut planned: Vec<_> = planned.into_iter().flatten().collect();
    planned.sort_by_key(|(at, _)| *at);
    Ok(planned.into_iter().map(|(_, plan)| plan).collect())
}

/// A scan, the key columns of the entity rows, and the rules that share them.
type Draft = (ViewScan, Vec<usize>, Vec<SharedRule>);

/// The scans that serve the views of a request.
pub(crate) fn drafts(request: &HistoricalRead) -> Result<Vec<Draft>> {
    let columns = match &request.rows {
        EntityRows::Batches { keys, .. } => Some(keys.len()),
        _ => None,
    };
    let mut drafts = Vec::new();
    for (at, view) in request.views.iter().enumerate() {
        supported(&view.scan)?;
        let known = |key: &usize| columns.is_none_or(|columns| *key < columns);
        if view.spine_keys.len() != view.scan.keys.len() || !view.spine_keys.iter().all(known) {
            return Err(
                Error::internal("a view's keys do not fit the entity rows").with("view", &view.scan.view)
            );
        }
        join_draft(&mut drafts, at, view);
    }
    Ok(drafts)
}

/// Puts a view to the scan and the rule that it shares with others, or starts new ones.
fn join_draft(drafts: &mut Vec<Draft>, at: usize, view: &ViewJoin) {
    let scan = &view.scan;
    let found = drafts.iter().position(|(other, spine_keys, _)| {
        other.source == scan.source && other.keys == scan.keys && *spine_keys == view.spine_keys
    });
    let draft = found.unwrap_or_else(|| {
        let empty = ViewScan {
            features: Vec::new(),
            ..scan.clone()
        };
        drafts.push((empty, view.spine_keys.clone(), Vec::new()));
        drafts.len() - 1
    });
    let (all, _, rules) = &mut drafts[draft];
    share_features(&mut all.features, &scan.features);
    // What is pruned must not show in the counts, or they would depend on how rows are spread over files.
    let rule = view.rule().with_within_bounds(true);
    let place = rules
        .iter()
        .position(|known| known.rule == rule)
        .unwrap_or_else(|| {
            let empty = ViewScan {
                features: Vec::new(),
                ..scan.clone()
            };
            rules.push(SharedRule {
                rule,
                scan: empty,
                members: Vec::new(),
            });
            rules.len() - 1
        });
    let shared = &mut rules[place];
    let features = share_features(&mut shared.scan.features, &scan.features);
    shared.members.push(Member { view: at, features });
}

/// Adds features that are not there yet, by column and type; returns the places of all.
fn share_features(all: &mut Vec<ScanFeature>, wanted: &[ScanFeature]) -> Vec<usize> {
    let place = |feature: &ScanFeature| {
        let known = all
            .iter()
            .position(|known| known.column == feature.column && known.value_type == feature.value_type);
        known.unwrap_or_else(|| {
            all.push(feature.clone());
            all.len() - 1
        })
    };
    wanted.iter().map(place).collect()
}

/// One view's answer to all entity rows.
struct Answer {
    columns: Arc<Vec<Column>>,
    features: Vec<usize>,
    places: UInt32Array,
    event: TimestampMicrosecondArray,
    created: TimestampMicrosecondArray,
}

impl SharedScan {
    /// Fetches what the winners hold: for all rules together where they want some of the same features, so that those
    /// are decoded once, and for each rule by itself where they do not.
    fn answer(&self, winners: Vec<Winners>, context: &Context, answers: &mut [Option<Answer>]) -> Result<()> {
        let wanted: usize = self.rules.iter().map(|rule| rule.scan.features.len()).sum();
        if wanted > self.scan.features.len() {
            return self.fetch(&self.rules, winners, &self.scan, context, answers);
        }
        for (rule, winners) in self.rules.iter().zip(winners) {
            self.fetch(
                std::slice::from_ref(rule),
                vec![winners],
                &rule.scan,
                context,
                answers,
            )?;
        }
        Ok(())
    }

    /// Answers the views of some rules, all of whose features `scan` has.
    fn fetch(
        &self,
        rules: &[SharedRule],
        winners: Vec<Winners>,
        scan: &ViewScan,
        context: &Context,
        answers: &mut [Option<Answer>],
    ) -> Result<()> {
        let rows = self.plan.groups.last().map_or(0, |group| group.base + group.rows);
        let (positions, found) = Winners::together(&winners, rows, context.threads);
        drop(winners);
        let columns = Arc::new(fetch::columns(&self.plan, scan, &positions, context)?);
        let place = |feature: &ScanFeature| {
            let same = |known: &ScanFeature| {
                known.column == feature.column && known.value_type == feature.value_type
            };
            let place = scan.features.iter().position(same);
            place.ok_or_else(|| Error::internal("a feature was not fetched"))
        };
        for (rule, found) in rules.iter().zip(found) {
            for member in &rule.members {
                let features = member.features.iter();
                let features = features.map(|feature| place(&rule.scan.features[*feature]));
                answers[member.view] = Some(Answer {
                    columns: columns.clone(),
                    features: features.collect::<Result<_>>()?,
                    places: found.index.clone(),
                    event: found.event.clone(),
                    created: found.created.clone(),
                });
            }
        }
        Ok(())
    }
}

fn batch(answers: &[Answer], start: usize, rows: usize) -> Result<JoinedBatch> {
    let view = |answer: &Answer| {
        let places = answer.places.slice(start, rows);
        let features = answer.features.iter();
        Ok(JoinedView {
            features: features
                .map(|feature| answer.columns[*feature].pick(&places))
                .collect::<Result<_>>()?,
            event: answer.event.slice(start, rows),
            created: answer.created.slice(start, rows),
        })
    };
    let views = answers.iter().map(view).collect::<Result<_>>()?;
    Ok(JoinedBatch { rows, views })
}

impl Context {
    /// How many sources are read at a time, and what each is read with. Many are faster one thread each than all threads
    /// on one after the other: nothing is forked and merged, and nobody waits for the others at the end of each.
    fn abreast(&self, sources: usize) -> (usize, Self) {
        if sources < 2 * self.threads {
            return (1, self.clone());
        }
        let alone = Self {
            threads: 1,
            ..self.clone()
        };
        (self.threads, alone)
    }

    /// A context for one call.
    pub(crate) fn new(footers: Arc<crate::footer::Footers>, options: &OfflineOptions) -> Self {
        let cancel = Cancel::default();
        Self {
            footers,
            count: Arc::new(Reads::new(&cancel, options.memory_limit)),
            threads: work::threads(options),
            cancel,
        }
    }
}
