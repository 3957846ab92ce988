//! What would making a training set read, and does it fit into memory? Answered without reading features.

use larder_base::model::Knowledge;
use larder_base::{Error, Result, Span, Version};
use larder_core::ReadStats;
use serde::Serialize;

use super::parameters::RowsFrom;
use super::report::{empty_sources, merge_sources};
use super::{Historical, Prepared};

/// What making a training set would read.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct HistoricalExplanation {
    /// Version of the definitions.
    pub version: Version,
    /// Entity rows.
    pub rows: u64,
    /// One entry per view and role.
    pub views: Vec<ViewPlan>,
    /// All views together.
    pub read: ReadStats,
    /// Bytes of memory that the joins are estimated to need; absent where no store can tell.
    pub memory: Option<u64>,
    /// The limit that was given.
    pub memory_limit: Option<u64>,
    /// Whether a join would spill to disk.
    pub spills: bool,
    /// What somebody should look at before training on this.
    pub warnings: Vec<String>,
}

/// What would be read for one view.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct ViewPlan {
    /// The view, or `role=view`.
    pub view: String,
    /// Its source.
    pub source: String,
    /// The offline store that reads it.
    pub store: String,
    /// Its time to live.
    pub ttl: Option<Span>,
    /// What created time decides.
    pub knowledge: Knowledge,
    /// Features wanted.
    pub features: usize,
    /// What would be read; absent where the store cannot tell.
    pub read: Option<ReadStats>,
    /// Why the rest would not be read, and how many files or row groups that concerns.
    pub skipped: Vec<Skipped>,
}

/// Something that would not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Why.
    pub reason: String,
    /// How many files or row groups.
    pub count: u64,
}

impl Historical {
    /// What [`Historical::run`] would read, and why it would not read the rest. Feature data
    /// stays unread.
    ///
    /// # Errors
    /// As [`Historical::run`], as far as that is known before reading; `Unsupported` without
    /// entity rows.
    pub async fn explain(self) -> Result<HistoricalExplanation> {
        self.configured().explained().await
    }

    async fn explained(self) -> Result<HistoricalExplanation> {
        if self.parameters.rows != RowsFrom::Entities {
            return Err(
                Error::unsupported("only a training set with entity rows can be explained")
                    .help("give entity rows"),
            );
        }
        let prepared = self.prepare().await?;
        let (spine, warnings) = self.spine(&prepared).await?;
        let mut explanation = HistoricalExplanation {
            version: prepared.snapshot.version(),
            rows: spine.len() as u64,
            views: self.plans(&prepared),
            memory_limit: self.options.memory_limit,
            warnings,
            ..HistoricalExplanation::default()
        };
        let mut sources = Vec::new();
        for (name, views) in prepared.by_store(&self.store) {
            let offline = self.store.offline_store(&name).await?;
            if !offline.capabilities().explain {
                continue;
            }
            let request = self.request(&prepared, &spine, &views)?;
            let told = offline.explain(&request, &self.options).await?;
            // Stores work at the same time, so what they need adds up.
            explanation.memory = match (explanation.memory, told.memory) {
                (Some(a), Some(b)) => Some(a.saturating_add(b)),
                (a, b) => a.or(b),
            };
            explanation.spills |= told.spills;
            merge_sources(&mut sources, told.sources);
            for (index, view) in views.into_iter().zip(told.views) {
                explanation.read.add(&view.read);
                let plan = &mut explanation.views[index];
                plan.read = Some(view.read);
                let skipped = view.skipped.into_iter();
                plan.skipped = skipped.map(|(reason, count)| Skipped { reason, count }).collect();
            }
        }
        explanation.warnings.extend(empty_sources(&sources));
        Ok(explanation)
    }

    fn plans(&self, prepared: &Prepared) -> Vec<ViewPlan> {
        let plan = |view: &crate::selection::ResolvedView| ViewPlan {
            view: view.shown_name(),
            source: view.source.name.to_string(),
            store: self.store.offline_name(view.source.store.clone()).to_string(),
            ttl: view.view.ttl,
            knowledge: self.parameters.knowledge.unwrap_or(view.source.knowledge),
            features: view.features.len(),
            read: None,
            skipped: Vec::new(),
        };
        prepared.resolved.views.iter().map(plan).collect()
    }
}
