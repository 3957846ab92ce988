//! Compact: many small appends to a source become few files.
//!
//! What is merged, and how nobody notices, is the store's; here sources are chosen and what was done is told.

use std::sync::Arc;
use std::time::Instant;

use larder_base::error::suggest;
use larder_base::model::Source;
use larder_base::{Error, ErrorKind, Result, Snapshot, SourceName};
use larder_core::{CompactOptions, CompactReport};
use serde::Serialize;

use crate::guard::Deed;
use crate::store::FeatureStore;

/// A compaction to be run; see [`FeatureStore::compact`].
#[derive(Debug, Clone)]
#[must_use = "a compaction is started by `run`"]
pub struct Compact {
    store: FeatureStore,
    sources: Option<Vec<String>>,
    options: CompactOptions,
}

/// What was done for one source.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CompactedSource {
    /// The source.
    pub source: SourceName,
    /// What was done, or would be.
    #[serde(flatten)]
    pub report: CompactReport,
    /// Why nothing could be done, where all sources were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Seconds.
    pub seconds: f64,
}

impl FeatureStore {
    /// Starts a compaction: by default of all sources of the project.
    pub fn compact(&self) -> Compact {
        Compact {
            store: self.clone(),
            sources: None,
            options: CompactOptions::default(),
        }
    }
}

impl Compact {
    /// Only these sources. One that cannot be compacted is then an error.
    pub fn sources<S: Into<String>>(mut self, sources: impl IntoIterator<Item = S>) -> Self {
        self.sources = Some(sources.into_iter().map(Into::into).collect());
        self
    }

    /// Sets target size, grace and the like.
    pub fn options(mut self, options: CompactOptions) -> Self {
        self.options = options;
        self
    }

    /// Runs, source after source.
    ///
    /// # Errors
    /// The first one, as [`Compact::run_each`] has it.
    pub async fn run(self) -> Result<Vec<CompactedSource>> {
        let (done, failed) = self.run_each().await?;
        failed.into_iter().next().map_or(Ok(done), Err)
    }

    /// Runs, source after source, and answers what was done beside what was not: one error for each source that failed.
    /// A failure that passes, such as a store that cannot be reached, ends the run; another compaction at work on a
    /// source does not.
    ///
    /// # Errors
    /// Where nothing could be begun: `NotFound` for an unknown source, `Denied`. Those of sources are
    /// `Conflict` where another compaction is at work on it; `Unsupported` for a source
    /// that was asked for by name and takes no rows; what the stores say. What was done before an error stays done.
    pub async fn run_each(self) -> Result<(Vec<CompactedSource>, Vec<Error>)> {
        let sources = self.chosen(&*self.store.snapshot().await?)?;
        let names = sources.iter().map(|source| format!("source:{}", source.name));
        self.store.allow(Deed::Write, names.collect()).await?;
        let mut done = Vec::new();
        let mut failed = Vec::new();
        for source in sources {
            match self.source(&source).await {
                Ok(compacted) => done.push(compacted),
                Err(error) => {
                    // A store that cannot be reached now is no better for the next source.
                    let stop = error.is_retryable() && error.kind() != ErrorKind::Conflict;
                    failed.push(error.with("source", &source.name));
                    if stop {
                        break;
                    }
                }
            }
        }
        Ok((done, failed))
    }

    fn chosen(&self, snapshot: &Snapshot) -> Result<Vec<Arc<Source>>> {
        let sources = &snapshot.catalog().sources;
        let Some(names) = &self.sources else {
            return Ok(sources.values().cloned().collect());
        };
        let find = |name: &String| {
            sources.get(name.as_str()).cloned().ok_or_else(|| {
                let known = sources.keys().map(AsRef::as_ref);
                Error::not_found(format!("there is no source `{name}`"))
                    .help(suggest(name, known.collect::<Vec<_>>()))
            })
        };
        // Each once, in the order in which they were named.
        let mut chosen: Vec<Arc<Source>> = Vec::new();
        for name in names {
            let source = find(name)?;
            if !chosen.iter().any(|known| known.name == source.name) {
                chosen.push(source);
            }
        }
        Ok(chosen)
    }

    async fn source(&self, source: &Arc<Source>) -> Result<CompactedSource> {
        let began = Instant::now();
        let (report, skipped) = match self.one(source).await {
            Ok(report) => (report, None),
            // Files that are not to be compacted, and sources without data yet, are nothing wrong.
            Err(error)
                if self.sources.is_none()
                    && matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotFound) =>
            {
                (CompactReport::default(), Some(error.message().to_owned()))
            }
            Err(error) => return Err(error),
        };
        if report.made > 0 && !self.options.dry_run {
            tracing::info!(source = %source.name, merged = report.merged, made = report.made, rows = report.rows, "a source is compacted");
        }
        Ok(CompactedSource {
            source: source.name.clone(),
            report,
            skipped,
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    async fn one(&self, source: &Arc<Source>) -> Result<CompactReport> {
        let offline = self.store.store_of(source).await?;
        offline.compact(source, &self.options).await
    }
}
