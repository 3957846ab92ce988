//! Reclaim: frees what applies retired, a grace period later, so that servers on the previous
//! snapshot and rollbacks keep working.

use std::collections::{BTreeMap, BTreeSet};

use larder_base::{ChangeSet, Error, ErrorKind, Generation, Result, Retired, Snapshot, Span, StoreName};
use serde::Serialize;

use crate::guard::Deed;
use crate::store::FeatureStore;

/// How long after retirement a generation is kept.
const GRACE: Span = Span::hours(1);

/// Options of [`FeatureStore::gc`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GcOptions {
    /// How long after retirement a generation is kept.
    pub grace: Span,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { grace: GRACE }
    }
}

impl GcOptions {
    /// Sets how long after retirement a generation is kept.
    #[must_use]
    pub fn with_grace(mut self, grace: Span) -> Self {
        self.grace = grace;
        self
    }
}

/// What [`FeatureStore::gc`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GcReport {
    /// Generations freed.
    pub reclaimed: Vec<Generation>,
    /// Rows freed.
    pub rows: u64,
    /// Generations still within the grace period.
    pub waiting: usize,
}

impl FeatureStore {
    /// Frees what was retired longer ago than the grace period.
    ///
    /// First the registry says which generations are being reclaimed, so that no rollback revives
    /// them; then their rows go; then the registry forgets them. Killed in between, the next run
    /// goes on.
    ///
    /// # Errors
    /// What registry and stores say.
    pub async fn gc(&self, options: &GcOptions) -> Result<GcReport> {
        self.allow(Deed::Apply, vec!["project".to_owned()]).await?;
        let mut report = GcReport::default();
        let due = self.mark_due(options.grace).await?;
        let mut by_store: BTreeMap<&str, Vec<Generation>> = BTreeMap::new();
        for retired in &due {
            by_store
                .entry(&retired.store)
                .or_default()
                .push(retired.layout.generation());
        }
        // Stores without anything retired still sweep tombstones and rows past their retention.
        let snapshot = self.snapshot().await?;
        let serving: BTreeSet<String> = snapshot
            .catalog()
            .feature_views
            .values()
            .filter_map(|view| view.online.store().map(|store| store.to_string()))
            .collect();
        for store in &serving {
            by_store.entry(store).or_default();
        }
        // A store that is down, or no longer configured, must not keep the others from being freed.
        let mut failed: Option<Error> = None;
        for (store, generations) in by_store {
            let freed = async {
                let online = self.online_store(&store.parse::<StoreName>()?).await?;
                online.reclaim(self.project(), &generations).await
            };
            match freed.await {
                Ok(freed) => {
                    report.rows += freed.rows;
                    report.reclaimed.extend(generations);
                }
                Err(error) => {
                    failed.get_or_insert(error.with("store", store));
                }
            }
        }
        if !report.reclaimed.is_empty() {
            let done = report.reclaimed.clone();
            self.edit_retired("reclaimed what was retired", |_, changes| {
                changes.reclaimed.clone_from(&done)
            })
            .await?;
        }
        if let Some(error) = failed {
            return Err(error.operation("gc"));
        }
        report.waiting = self.snapshot().await?.retired().len();
        Ok(report)
    }

    /// After an apply: reclaims what is due; a failure is told and changes nothing.
    pub(crate) async fn reclaim_quietly(&self) {
        let now = self.clock().now();
        let due = |snapshot: &Snapshot| {
            snapshot
                .retired()
                .iter()
                .any(|r| r.reclaiming || now.since(r.at) > GRACE)
        };
        let result = match self.snapshot().await {
            Ok(snapshot) if due(&snapshot) => self.gc(&GcOptions::default()).await.map(drop),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "retired values were not reclaimed; `larder gc` tries again");
        }
    }

    async fn mark_due(&self, grace: Span) -> Result<Vec<Retired>> {
        let now = self.clock().now();
        let mut due = Vec::new();
        self.edit_retired("reclaiming what was retired", |snapshot, changes| {
            due.clear();
            for retired in snapshot
                .retired()
                .iter()
                .filter(|r| r.reclaiming || now.since(r.at) >= grace)
            {
                let marked = Retired {
                    reclaiming: true,
                    ..retired.clone()
                };
                if !retired.reclaiming {
                    changes.reclaimed.push(retired.layout.generation());
                    changes.retired.push(marked.clone());
                }
                due.push(marked);
            }
        })
        .await?;
        Ok(due)
    }

    /// Commits an edit of the retired list; tries again when others commit meanwhile.
    async fn edit_retired(
        &self,
        message: &str,
        mut edit: impl FnMut(&Snapshot, &mut ChangeSet),
    ) -> Result<()> {
        for _ in 0..100 {
            let snapshot = self.snapshot().await?;
            let mut changes = ChangeSet::new(self.clock().now(), self.principal().0.clone(), message);
            edit(&snapshot, &mut changes);
            if changes.is_empty() {
                return Ok(());
            }
            match self
                .registry()
                .await?
                .commit(self.project(), snapshot.version(), &changes)
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    tokio::time::sleep(std::time::Duration::from_millis(
                        1 + larder_base::random::u64() % 50,
                    ))
                    .await;
                }
                Err(error) => return Err(error.operation("gc")),
            }
        }
        Err(Error::conflict("others kept committing while retired values were reclaimed").help("try again"))
    }
}
