//! How a point-in-time join runs: index, plan, two passes, and batches in the order of the entity rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::executor::block_on;
use futures::{SinkExt, StreamExt};
use larder_core::arrow::array::{TimestampMicrosecondArray, UInt32Array};
use larder_core::pit::{PitCounts, SpineIndex, ViewRule, Winners};
use larder_core::{
    Error, Explanation, HistoricalRead, JoinReport, JoinedBatch, JoinedStream, JoinedView, OfflineOptions,
    Phase, ReadStats, Result, ScanFeature, SharedReport, SourceFiles, ViewExplanation, ViewReport, ViewScan,
};
use parking_lot::Mutex;

use crate::budget::Budget;
use crate::entity;
use crate::fault;
use crate::fetch::{self, Column};
use crate::plan::Context;
use crate::root::Root;
use crate::scan;
use crate::sketch::{SharedRule, SharedScan, Sketch};
use crate::spill;
use crate::stream;
use crate::work;

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
        let sketch = Sketch::new(&root, request, &context)?;
        let asked = &sketch.request.views;
        let mut views: Vec<Option<ViewExplanation>> = vec![None; asked.len()];
        for shared in &sketch.scans {
            let plan = &shared.plan;
            for member in shared.rules.iter().flat_map(|rule| &rule.members) {
                let scan = &asked[member.view].scan;
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
        for shared in &sketch.scans {
            shared.plan.list(&mut explanation.sources);
        }
        explanation.memory = Some(sketch.memory(context.threads));
        let budget = Budget::new(&options, context.threads);
        explanation.spills = budget.is_some_and(|budget| !sketch.fits(&budget));
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
        let began = Instant::now();
        let sketch = Sketch::new(&root, request, &context)?;
        match Budget::new(options, context.threads) {
            Some(budget) if !sketch.fits(&budget) => {
                Ok(Self::Spill(spill::Job::new(sketch, budget, options, context)))
            }
            _ => Prepared::new(sketch, began, context).map(Self::Memory),
        }
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
    scans: Vec<SharedScan>,
    /// The entity rows by the keys of each scan.
    indexes: Vec<Arc<SpineIndex>>,
    context: Context,
}

impl Prepared {
    /// Brings the entity rows into memory, where they are not, and indexes them once for each set of keys.
    fn new(sketch: Sketch, began: Instant, context: Context) -> Result<Self> {
        let Sketch { request, scans, .. } = sketch;
        let (keys, times) = entity::load(&request)?;
        let mut indexes: Vec<Arc<SpineIndex>> = Vec::with_capacity(scans.len());
        for scan in &scans {
            let same = scans
                .iter()
                .zip(&indexes)
                .find(|(known, _)| known.spine_keys == scan.spine_keys);
            let index = match same {
                Some((_, index)) => index.clone(),
                None => {
                    let keys = entity::pick(&keys, &scan.spine_keys)?;
                    let index = SpineIndex::build_with(&keys, times.values(), context.threads);
                    Arc::new(index.map_err(fault::kernel)?)
                }
            };
            indexes.push(index);
        }
        Ok(Self {
            prepared: began.elapsed(),
            rows: times.len(),
            views: request.views.into_iter().map(|view| view.scan).collect(),
            scans,
            indexes,
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
        let (threads, context) = self.context.abreast(self.scans.len());
        let done = work::each(
            (0..threads).map(|_| Done::default()).collect(),
            self.scans.len(),
            &self.context.cancel,
            |done, at| self.source(at, options, &context, done),
        )?;
        let mut all = Done::default();
        for done in done {
            all.views.extend(done.views);
            all.times.add(&done.times);
        }
        let mut read = ReadStats::default();
        let mut sources: Vec<SourceFiles> = Vec::new();
        for shared in &self.scans {
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
    fn source(&self, at: usize, options: &OfflineOptions, context: &Context, done: &mut Done) -> Result<()> {
        let shared = &self.scans[at];
        let began = Instant::now();
        let rules: Vec<ViewRule> = shared.rules.iter().map(|rule| rule.rule).collect();
        let (winners, seen) = scan::winners(
            &shared.plan,
            &shared.scan,
            &shared.filter,
            &self.indexes[at],
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
        let (positions, found) = Winners::together(&winners, self.plan.rows(), context.threads);
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
