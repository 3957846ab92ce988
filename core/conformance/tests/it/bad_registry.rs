//! Registries and ledgers that each break one rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use larder_core::async_trait::async_trait;
use larder_core::ledger::compact_runs;
use larder_core::memory::MemoryRegistry;
use larder_core::{
    ChangeSet, Commit, CommitId, Error, ErrorKind, Generation, Health, Ledger, Loaded, ProjectName, Registry,
    Result, RunRecord, RunState, Snapshot, StoreIdentity, Version, ViewName,
};
use parking_lot::Mutex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    CommitsOnAnyBase,
    ChecksThenCommits,
    LostReplyIsConflict,
    LostReplyCommitsTwice,
    ConflictsAsInput,
    KeepsThreeCommits,
    OldestFirst,
    BeforeIsInclusive,
    IgnoresLimit,
    ForgetsMessages,
    DropsUnknownKinds,
    DropsDeletes,
    DropsReclaimed,
    RoundsNumbers,
    IgnoresMinWriter,
    CommitsHalf,
    NeverWakes,
    IgnoresKnown,
    KnownIsAFloor,
    LoadsNewestForAny,
    EmptyForUnknownVersion,
    OneProject,
    ListsReadProjects,
    RecordsMakeVersions,
    LedgerAppends,
    LedgerForgetsFailed,
    LedgerIgnoresGeneration,
    LedgerIgnoresProject,
    LedgerNewestFirst,
    CompactLosesIntervals,
    CompactTakesRunning,
    CompactMergesStores,
    CompactLosesCounts,
    CompactHidesNewest,
    NamelessBackend,
}

#[derive(Debug)]
pub(crate) struct Bad {
    inner: Arc<MemoryRegistry>,
    how: How,
    asked: Mutex<BTreeSet<ProjectName>>,
    ledger: Arc<BadLedger>,
}

impl Bad {
    pub(crate) fn new(inner: Arc<MemoryRegistry>, how: How) -> Self {
        let ledger = BadLedger {
            registry: inner.clone(),
            how,
            runs: Mutex::default(),
        };
        Self {
            inner,
            how,
            asked: Mutex::default(),
            ledger: Arc::new(ledger),
        }
    }

    fn project(&self, project: &ProjectName) -> Result<ProjectName> {
        if self.how == How::OneProject {
            ProjectName::new("all")
        } else {
            Ok(project.clone())
        }
    }

    async fn newest(&self, project: &ProjectName) -> Result<Arc<Snapshot>> {
        match self.inner.load(project, None, Duration::ZERO).await? {
            Loaded::Changed(snapshot) => Ok(snapshot),
            Loaded::Unchanged => Err(Error::internal("unreachable")),
        }
    }

    fn changed(&self, changes: &ChangeSet) -> ChangeSet {
        let mut changes = changes.clone();
        match self.how {
            How::DropsUnknownKinds => changes.puts.retain(|record| record.id.known_kind().is_some()),
            How::DropsDeletes => changes.deletes.clear(),
            How::DropsReclaimed => changes.reclaimed.clear(),
            How::ForgetsMessages => changes.message.clear(),
            How::IgnoresMinWriter => changes.puts.iter_mut().for_each(|record| record.min_writer = 1),
            How::RoundsNumbers => {
                for record in &mut changes.puts {
                    record.spec = Arc::new(rounded(&record.spec));
                }
            }
            _ => {}
        }
        changes
    }
}

/// JSON as those read it for whom every number is a double.
fn rounded(json: &serde_json::Value) -> serde_json::Value {
    match json {
        serde_json::Value::Number(n) if n.is_u64() && n.as_u64() > Some(1 << 53) => {
            serde_json::json!(n.as_f64())
        }
        serde_json::Value::Array(items) => items.iter().map(rounded).collect(),
        serde_json::Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), rounded(v))).collect(),
        other => other.clone(),
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for Bad {
    async fn projects(&self) -> Result<Vec<ProjectName>> {
        let mut projects = self.inner.projects().await?;
        if self.how == How::ListsReadProjects {
            projects.extend(self.asked.lock().iter().cloned());
            projects.sort();
            projects.dedup();
        }
        Ok(projects)
    }

    async fn load(&self, project: &ProjectName, known: Option<Version>, wait: Duration) -> Result<Loaded> {
        let project = &self.project(project)?;
        self.asked.lock().insert(project.clone());
        match (self.how, known) {
            (How::NeverWakes, Some(_)) if !wait.is_zero() => {
                tokio::time::sleep(wait.min(Duration::from_millis(100))).await;
                Ok(Loaded::Unchanged)
            }
            (How::IgnoresKnown, _) => self.inner.load(project, None, wait).await,
            (How::KnownIsAFloor, Some(known)) => {
                let newest = self.newest(project).await?.version();
                self.inner.load(project, Some(known.min(newest)), wait).await
            }
            _ => self.inner.load(project, known, wait).await,
        }
    }

    async fn load_at(&self, project: &ProjectName, version: Version) -> Result<Arc<Snapshot>> {
        let project = &self.project(project)?;
        match self.how {
            How::LoadsNewestForAny if version > Version(0) => {
                let newest = self.newest(project).await?;
                self.inner.load_at(project, version).await.map(|_| newest)
            }
            How::EmptyForUnknownVersion => match self.inner.load_at(project, version).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Ok(Arc::new(Snapshot::empty(project.clone())))
                }
                other => other,
            },
            _ => self.inner.load_at(project, version).await,
        }
    }

    async fn history(
        &self,
        project: &ProjectName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<Commit>> {
        let project = &self.project(project)?;
        let before = match (self.how, before) {
            (How::BeforeIsInclusive, Some(before)) => Some(Version(before.0 + 1)),
            (_, before) => before,
        };
        let limit = if self.how == How::IgnoresLimit {
            usize::MAX
        } else {
            limit
        };
        let mut history = self.inner.history(project, before, limit).await?;
        match self.how {
            How::KeepsThreeCommits => {
                let newest = self.newest(project).await?.version().0;
                history.retain(|commit| commit.version.0 + 3 > newest);
            }
            How::OldestFirst => history.reverse(),
            _ => {}
        }
        Ok(history)
    }

    async fn commit(&self, project: &ProjectName, base: Version, changes: &ChangeSet) -> Result<Version> {
        let project = &self.project(project)?;
        let changes = &self.changed(changes);
        let known = self.inner.history(project, None, usize::MAX).await?;
        let known = known.iter().any(|commit| commit.commit_id == changes.commit_id);
        match self.how {
            How::CommitsOnAnyBase => {
                let newest = self.newest(project).await?.version();
                self.inner.commit(project, newest, changes).await
            }
            How::ChecksThenCommits => {
                if self.newest(project).await?.version() != base && !known {
                    return Err(Error::conflict("another version is the newest"));
                }
                tokio::task::yield_now().await;
                loop {
                    let newest = self.newest(project).await?.version();
                    match self
                        .inner
                        .commit(project, if known { base } else { newest }, changes)
                        .await
                    {
                        Err(error) if error.kind() == ErrorKind::Conflict => {}
                        Ok(_) => return Ok(Version(base.0 + 1)),
                        Err(error) => return Err(error),
                    }
                }
            }
            How::LostReplyIsConflict if known => Err(Error::conflict("another version is the newest")),
            How::LostReplyCommitsTwice if known => {
                let mut again = changes.clone();
                again.commit_id = CommitId::random();
                let newest = self.newest(project).await?.version();
                self.inner.commit(project, newest, &again).await?;
                Ok(Version(base.0 + 1))
            }
            How::ConflictsAsInput => match self.inner.commit(project, base, changes).await {
                Err(error) if error.kind() == ErrorKind::Conflict => Err(Error::input("wrong version")),
                other => other,
            },
            How::CommitsHalf => match self.inner.commit(project, base, changes).await {
                Err(error) if error.kind() != ErrorKind::Conflict && changes.puts.len() > 1 => {
                    let mut half = changes.clone();
                    half.puts.truncate(1);
                    let _ = self.inner.commit(project, base, &half).await;
                    Err(error)
                }
                other => other,
            },
            _ => self.inner.commit(project, base, changes).await,
        }
    }

    fn ledger(&self) -> Arc<dyn Ledger> {
        self.ledger.clone()
    }

    async fn check(&self) -> Result<Health> {
        let mut health = self.inner.check().await?;
        if self.how == How::NamelessBackend {
            health.backend.clear();
        }
        Ok(health)
    }
}

type Place = (ProjectName, ViewName, Generation);

#[derive(Debug)]
struct BadLedger {
    registry: Arc<MemoryRegistry>,
    how: How,
    runs: Mutex<BTreeMap<Place, Vec<RunRecord>>>,
}

impl BadLedger {
    fn place(&self, project: &ProjectName, view: &ViewName, generation: Generation) -> Result<Place> {
        Ok(match self.how {
            How::LedgerIgnoresGeneration => (project.clone(), view.clone(), Generation(0)),
            How::LedgerIgnoresProject => (ProjectName::new("all")?, view.clone(), generation),
            _ => (project.clone(), view.clone(), generation),
        })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Ledger for BadLedger {
    async fn runs(
        &self,
        project: &ProjectName,
        view: &ViewName,
        generation: Generation,
    ) -> Result<Vec<RunRecord>> {
        let place = self.place(project, view, generation)?;
        let mut runs = self.runs.lock().get(&place).cloned().unwrap_or_default();
        runs.sort_by(|a, b| (a.started, &a.run).cmp(&(b.started, &b.run)));
        if self.how == How::LedgerNewestFirst {
            runs.reverse();
        }
        Ok(runs)
    }

    async fn record(&self, project: &ProjectName, run: &RunRecord) -> Result<()> {
        if self.how == How::RecordsMakeVersions {
            let Loaded::Changed(newest) = self.registry.load(project, None, Duration::ZERO).await? else {
                return Ok(());
            };
            let changes = ChangeSet::new(run.started, "ledger", "");
            let _ = self.registry.commit(project, newest.version(), &changes).await;
        }
        if self.how == How::LedgerForgetsFailed && run.state == RunState::Failed {
            return Ok(());
        }
        let place = self.place(project, &run.view, run.generation)?;
        let mut runs = self.runs.lock();
        let of_view = runs.entry(place).or_default();
        match of_view.iter_mut().find(|known| known.run == run.run) {
            Some(known) if self.how != How::LedgerAppends => *known = run.clone(),
            _ => of_view.push(run.clone()),
        }
        Ok(())
    }

    async fn compact(&self, project: &ProjectName, view: &ViewName, generation: Generation) -> Result<()> {
        let place = self.place(project, view, generation)?;
        let mut runs = self.runs.lock();
        let Some(of_view) = runs.get_mut(&place) else {
            return Ok(());
        };
        of_view.sort_by(|a, b| (a.started, &a.run).cmp(&(b.started, &b.run)));
        match self.how {
            How::CompactTakesRunning => of_view.iter_mut().for_each(|run| run.state = RunState::Done),
            How::CompactMergesStores => of_view.iter_mut().for_each(|run| run.store = StoreIdentity(1)),
            _ => {}
        }
        let mut compaction = compact_runs(of_view);
        if self.how == How::CompactHidesNewest && !compaction.add.is_empty() {
            let newest = of_view
                .iter()
                .rfind(|run| run.state != RunState::Running)
                .cloned();
            if let Some(newest) = newest {
                compaction.remove.push(newest.run.clone());
                compaction.add.push(RunRecord {
                    run: format!("{:032x}", larder_core::random::u128()),
                    ..newest
                });
            }
        }
        for run in &mut compaction.add {
            match self.how {
                How::CompactLosesIntervals => run.done.truncate(1),
                How::CompactLosesCounts => run.rows_written = 0,
                _ => {}
            }
        }
        of_view.retain(|run| !compaction.remove.contains(&run.run));
        of_view.extend(compaction.add);
        Ok(())
    }
}
