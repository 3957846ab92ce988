//! What did making a training set find? Counted while it streams, in bounded memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_base::Version;
use larder_core::arrow::array::{Array, ArrayRef, TimestampMicrosecondArray};
use larder_core::{JoinReport, Phase, ReadStats, SourceFiles, ViewReport};
use serde::Serialize;

use super::ages::{AgeReport, Ages};
use super::zip::{Zip, Zipped};
use crate::selection::Resolved;

/// What making a training set found.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct HistoricalReport {
    /// Version of the definitions.
    pub version: Version,
    /// Rows handed out.
    pub rows: u64,
    /// One entry per view and role.
    pub views: Vec<ViewReport>,
    /// One entry per feature, in the order of the columns.
    pub features: Vec<FeatureReport>,
    /// Defaults that were filled in, per output column that has one.
    pub defaults: Vec<DefaultCount>,
    /// Files, row groups and bytes.
    pub read: ReadStats,
    /// Bytes that were written to disk for want of memory.
    pub spilled: u64,
    /// Where the time went. `join: …` are parts of `join`, told by the store.
    pub phases: Vec<Phase>,
    /// What somebody should look at before training on this.
    pub warnings: Vec<String>,
    /// Files of the sources as they were found; a manifest has them.
    #[serde(skip)]
    pub sources: Vec<SourceFiles>,
    /// Seconds from the call to the last batch.
    pub seconds: f64,
}

/// How often a default was filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DefaultCount {
    /// The output column.
    pub column: String,
    /// Rows that were not found or expired.
    pub filled: u64,
    /// Nulls that were filled, too.
    pub filled_null: u64,
}

/// What a feature's column looks like.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FeatureReport {
    /// The output column.
    pub column: String,
    /// How it was asked for: `view:feature`, or `role=view:feature`.
    pub reference: String,
    /// Nulls in the column, after defaults were filled in.
    pub nulls: u64,
    /// Their share of all rows, 0 to 1.
    pub null_share: f64,
    /// How old the rows were that its values come from; the same for all features of one view.
    pub age: Option<AgeReport>,
}

/// Counts while batches go by.
#[derive(Debug)]
pub(super) struct Tally {
    resolved: Arc<Resolved>,
    ages: Vec<Ages>,
    nulls: Vec<u64>,
    started: Instant,
    /// Time to reduce the entity rows, to wait for stores, to put batches together, and that the
    /// caller took between two batches.
    entity_rows: Duration,
    join: Duration,
    assemble: Duration,
    write: Duration,
    handed_out: Option<Instant>,
}

impl Tally {
    /// `started` is when the work began; everything until now went into the entity rows.
    pub(super) fn new(resolved: &Arc<Resolved>, started: Instant) -> Self {
        Self {
            resolved: resolved.clone(),
            ages: vec![Ages::default(); resolved.views.len()],
            nulls: vec![0; resolved.outputs.len()],
            started,
            entity_rows: Duration::ZERO,
            join: Duration::ZERO,
            assemble: Duration::ZERO,
            write: Duration::ZERO,
            handed_out: None,
        }
    }

    /// The entity rows are reduced.
    pub(super) fn reduced(&mut self) {
        self.entity_rows = self.started.elapsed();
    }

    /// The stores have been asked; they may do all of their work before the first batch.
    pub(super) fn asked(&mut self) {
        self.join = self.started.elapsed().saturating_sub(self.entity_rows);
    }

    /// The caller wants the next batch.
    pub(super) fn polled(&mut self) {
        if let Some(at) = self.handed_out.take() {
            self.write += at.elapsed();
        }
    }

    /// Rows came from the stores after a wait.
    pub(super) fn joined(&mut self, waited: Duration) {
        self.join += waited;
    }

    /// Counts the ages of one batch.
    pub(super) fn ages(&mut self, times: &TimestampMicrosecondArray, zipped: &Zipped) {
        for (ages, view) in self.ages.iter_mut().zip(&zipped.views) {
            for (row, time) in times.values().iter().enumerate() {
                if view.event.is_valid(row) {
                    // A winner is never after T; in two's complement the difference fits u64.
                    ages.add(time.wrapping_sub(view.event.value(row)) as u64);
                }
            }
        }
    }

    /// Counts the nulls of one output's column.
    pub(super) fn nulls(&mut self, output: usize, column: &ArrayRef) {
        self.nulls[output] += column.null_count() as u64;
    }

    /// A batch that took so long to put together goes out.
    pub(super) fn assembled(&mut self, took: Duration) {
        self.assemble += took;
        self.handed_out = Some(Instant::now());
    }

    /// Brings everything into the report when the stream has ended.
    pub(super) fn finish(&self, zip: &Zip, report: &mut HistoricalReport) {
        let mut views = vec![ViewReport::default(); self.resolved.views.len()];
        let mut inner = Vec::new();
        for (indexes, part) in zip.reports() {
            let part: JoinReport = part.lock().clone();
            report.read.add(&part.read);
            report.spilled += part.spilled;
            merge_sources(&mut report.sources, part.sources);
            inner.extend(
                part.phases
                    .into_iter()
                    .map(|phase| Phase::new(format!("join: {}", phase.name), phase.seconds)),
            );
            for (index, view) in indexes.into_iter().zip(&part.views) {
                views[index] = view.clone();
                if let Some(alias) = &self.resolved.views[index].alias {
                    views[index].view = format!("{alias}={}", view.view);
                }
            }
        }
        report.views = views;
        report.warnings.extend(empty_sources(&report.sources));
        report.features = self.features(report.rows);
        report.seconds = self.started.elapsed().as_secs_f64();
        let phase = |name: &str, time: Duration| Phase::new(name, time.as_secs_f64());
        report.phases.push(phase("entity rows", self.entity_rows));
        report.phases.push(phase("join", self.join));
        report.phases.extend(inner);
        report.phases.push(phase("assemble", self.assemble));
        report.phases.push(phase("write", self.write));
    }

    fn features(&self, rows: u64) -> Vec<FeatureReport> {
        let outputs = self.resolved.outputs.iter().zip(&self.nulls);
        outputs
            .map(|(output, nulls)| FeatureReport {
                column: output.name.clone(),
                reference: self.resolved.reference_of(output),
                nulls: *nulls,
                null_share: if rows == 0 {
                    0.0
                } else {
                    *nulls as f64 / rows as f64
                },
                age: self.ages[output.view].report(),
            })
            .collect()
    }
}

/// A warning for each source that has nothing to read: its features are null for other reasons than its rows.
pub(super) fn empty_sources(sources: &[SourceFiles]) -> impl Iterator<Item = String> {
    let empty = sources.iter().filter(|source| source.files.is_empty());
    empty.map(|source| {
        format!(
            "source `{}` has no data files, so all features from it are null; write data there, or correct its path",
            source.source
        )
    })
}

/// Two stores never read one source, but one store may be asked twice.
pub(super) fn merge_sources(all: &mut Vec<SourceFiles>, more: Vec<SourceFiles>) {
    for source in more {
        if !all.iter().any(|known| known.source == source.source) {
            all.push(source);
        }
    }
    all.sort_by(|a, b| a.source.cmp(&b.source));
}
