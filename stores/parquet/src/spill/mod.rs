//! How does a join answer that does not fit in memory?
//!
//! 1. The entity rows are cut into parts by a hash of their keys (`rows`); so are the keys and times of the source, in
//!    one pass that reads it once (`source`).
//! 2. Each part is solved in memory by the kernel (`solve`). A part too large for that, because one key owns much of
//!    it, is solved some entity rows at a time. The winners are written aside by their place in the source.
//! 3. The source is read a second time, in order and only where winners lie; their features are written aside by
//!    entity row (`answers`).
//! 4. Part by part the answers are put in the order of the entity rows and handed out (`emit`).
//!
//! This is the hybrid of a hash join that partitions both sides once and of late materialization, as databases do it
//! (Graefe, "Query evaluation techniques for large databases", 1993). `budget` decides what fits.

mod answers;
mod emit;
mod files;
mod rows;
mod solve;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures::channel::mpsc;
use larder_core::pit::ViewRule;
use larder_core::{
    Error, JoinReport, JoinedBatch, OfflineOptions, Phase, Result, SharedReport, ViewReport, ViewScan,
};

use crate::budget::{self, Budget};
use crate::plan::Context;
use crate::sketch::{SharedRule, SharedScan, Sketch};
use crate::tie::TieBreak;
use crate::work::Cancel;
use emit::{Spilled, Unit, ViewPlaces};
use files::{Folder, Part};

/// A join that spills.
pub(crate) struct Job {
    sketch: Sketch,
    budget: Budget,
    context: Context,
    below: Option<PathBuf>,
}

impl Job {
    pub(crate) fn new(sketch: Sketch, budget: Budget, options: &OfflineOptions, context: Context) -> Self {
        Self {
            sketch,
            budget,
            context,
            below: options.spill_dir.clone(),
        }
    }

    pub(crate) fn cancel(&self) -> Cancel {
        self.context.cancel.clone()
    }

    /// Does everything and sends the batches.
    pub(crate) fn run(
        self,
        options: &OfflineOptions,
        report: &SharedReport,
        send: &mut mpsc::Sender<Result<JoinedBatch>>,
    ) -> Result<()> {
        let mut clock = Clock::new();
        let folder = Folder::new(self.below.as_deref())?;
        let mut found = JoinReport::default();
        let spilled = self.spill(&folder, options, &mut found, &mut clock)?;
        found.read.bytes = self.context.count.bytes();
        found.spilled = folder.written();
        {
            let mut report = report.lock();
            *report = found;
            report.phases = clock.phases.clone();
        }
        let step = match options.batch_rows {
            Some(rows) => rows.max(1),
            None => self.budget.emitted_rows(self.width()) as usize,
        };
        spilled.emit(step, &self.budget, &self.context, send)?;
        clock.end("answers put in order");
        report.lock().phases = clock.phases;
        Ok(())
    }

    fn spill(
        &self,
        folder: &Arc<Folder>,
        options: &OfflineOptions,
        report: &mut JoinReport,
        clock: &mut Clock,
    ) -> Result<Spilled> {
        let (sketch, budget) = (&self.sketch, &self.budget);
        let answered = budget.answered_rows(sketch.rows, self.width());
        let mut views: Vec<Option<(ViewReport, ViewPlaces)>> =
            sketch.request.views.iter().map(|_| None).collect();
        let mut units: Vec<Unit> = Vec::new();
        // Parts of the entity rows serve all sources with the same keys.
        let mut parts: Vec<(Vec<usize>, Vec<Part>)> = Vec::new();
        for (at, shared) in sketch.scans.iter().enumerate() {
            let count = self.partitions(&shared.spine_keys);
            if !parts.iter().any(|(keys, _)| *keys == shared.spine_keys) {
                let name = format!("rows-{}", parts.len());
                let (rows, keys) = (&sketch.request.rows, &shared.spine_keys);
                let (threads, cancel) = (self.context.threads, &self.context.cancel);
                let made = rows::scatter(rows, keys, count, &name, folder, threads, cancel)?;
                parts.push((shared.spine_keys.clone(), made));
                clock.end("entity rows parted");
            }
            let rows = parts.iter().find(|(keys, _)| *keys == shared.spine_keys);
            let rows = rows.map_or(&[][..], |(_, parts)| parts);
            let name = format!("source-{at}");
            let (found, seen) = self.winners(shared, rows, count, &name, folder, options, clock)?;
            for (rule, (shared_rule, found)) in shared.rules.iter().zip(found).enumerate() {
                let name = format!("{name}-{rule}-answers");
                let first = units.len();
                self.answers(
                    shared,
                    shared_rule,
                    &found.winners,
                    &name,
                    folder,
                    answered,
                    &mut units,
                )?;
                let at_once = budget.columns_at_once();
                for member in &shared_rule.members {
                    let view = &sketch.request.views[member.view].scan.view;
                    let places = ViewPlaces {
                        times: first,
                        features: member
                            .features
                            .iter()
                            .map(|feature| (first + feature / at_once, feature % at_once))
                            .collect(),
                    };
                    views[member.view] = Some((ViewReport::new(view, &found.counts, seen), places));
                }
            }
            clock.end("winners' features read");
            report.read.add(&shared.plan.stats);
            shared.plan.list(&mut report.sources);
        }
        let missing = || Error::internal("a view was not answered");
        let views: Vec<_> = views.into_iter().collect::<Option<_>>().ok_or_else(missing)?;
        let (reports, views) = views.into_iter().unzip();
        report.views = reports;
        Ok(Spilled {
            rows: sketch.rows,
            answered,
            units,
            views,
        })
    }

    /// Bytes of an answered row.
    fn width(&self) -> u64 {
        let shared = self.sketch.scans.iter();
        shared
            .map(|shared| shared.load.width + 24 * shared.load.rules)
            .sum()
    }

    /// Parts by key: as many as the most demanding source with these keys needs.
    fn partitions(&self, spine_keys: &[usize]) -> usize {
        let same = self
            .sketch
            .scans
            .iter()
            .filter(|shared| shared.spine_keys == spine_keys);
        same.map(|shared| self.budget.partitions(&shared.load))
            .max()
            .unwrap_or(1)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one flow")]
    fn winners(
        &self,
        shared: &SharedScan,
        rows: &[Part],
        parts: usize,
        name: &str,
        folder: &Arc<Folder>,
        options: &OfflineOptions,
        clock: &mut Clock,
    ) -> Result<(Vec<solve::Found>, u64)> {
        let (plan, context) = (&shared.plan, &self.context);
        let tie = TieBreak::new(&shared.scan.source, plan)?;
        let pieces = match shared.filter.is_nothing() {
            true => Vec::new(),
            false => plan.pieces(&shared.filter, context)?,
        };
        if let Some(progress) = &options.progress {
            progress.expect(pieces.iter().map(|piece| plan.rows_of(piece)).sum());
        }
        let pass = source::Pass {
            plan,
            scan: &shared.scan,
            tie: &tie,
            pieces: &pieces,
            window: shared.window,
            parts,
            batch_rows: self.budget.batch_rows(32 + shared.load.key_bytes),
            context,
            progress: options.progress.as_ref(),
        };
        let (source, seen) = pass.run(name, folder)?;
        clock.end("source parted");
        let rules: Vec<ViewRule> = shared.rules.iter().map(|rule| rule.rule).collect();
        let solving = solve::Parts {
            scan: &shared.scan,
            rules: &rules,
            windows: &shared.windows,
            tie: &tie,
            rows: self.budget.solved_rows(&shared.load),
            buckets: self.budget.buckets(shared.load.rows),
            positions: plan.rows(),
            context,
        };
        let found = solving.solve(rows, source, name, folder)?;
        clock.end("winners found");
        Ok((found, seen))
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one flow")]
    fn answers(
        &self,
        shared: &SharedScan,
        rule: &SharedRule,
        winners: &[Part],
        name: &str,
        folder: &Arc<Folder>,
        answered: u64,
        units: &mut Vec<Unit>,
    ) -> Result<()> {
        let at_once = self.budget.columns_at_once();
        // Without features the times are wanted all the same.
        let subsets = rule.scan.features.len().div_ceil(at_once).max(1);
        for subset in 0..subsets {
            let features = rule.scan.features.iter().skip(subset * at_once).take(at_once);
            let scan = ViewScan {
                features: features.cloned().collect(),
                ..rule.scan.clone()
            };
            let reading = answers::Reading {
                plan: &shared.plan,
                scan: &scan,
                sorted: self.budget.sorted_winners(),
                batch_rows: self.budget.batch_rows(budget::width(&shared.plan, &scan) + 32),
                answered,
                parts: self.sketch.rows.div_ceil(answered.max(1)) as usize,
                context: &self.context,
            };
            units.push(Unit {
                parts: reading.run(winners, &format!("{name}-{subset}"), folder)?,
                features: scan.features.iter().map(|feature| feature.value_type).collect(),
            });
        }
        Ok(())
    }
}

/// Where the time goes.
struct Clock {
    since: Instant,
    phases: Vec<Phase>,
}

impl Clock {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            phases: Vec::new(),
        }
    }

    /// Ends a part of the work; the times of parts of one name add up.
    fn end(&mut self, name: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        match self.phases.iter_mut().find(|phase| phase.name == name) {
            Some(phase) => phase.seconds += seconds,
            None => self.phases.push(Phase::new(name, seconds)),
        }
    }
}
