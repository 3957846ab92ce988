//! The registry and ledger in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::layout::Generation;
use crate::ledger::{Ledger, RunRecord, compact_runs};
use crate::names::{ProjectName, ViewName};
use crate::online::Health;
use crate::plugin::{BuildContext, Plugin, RegistryConfig, Role};
use crate::registry::{Loaded, Registry};
use crate::snapshot::{ChangeSet, Commit, Snapshot, Version};

#[derive(Debug, Default)]
struct Project {
    /// Versions from 1 on.
    versions: Vec<(Arc<Snapshot>, Commit)>,
}

impl Project {
    fn version(&self) -> Version {
        Version(self.versions.len() as u64)
    }
}

/// The registry in memory.
#[derive(Debug)]
pub struct MemoryRegistry {
    projects: Mutex<BTreeMap<ProjectName, Project>>,
    ledger: Arc<MemoryLedger>,
    changed: watch::Sender<u64>,
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self {
            projects: Mutex::default(),
            ledger: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    fn newest(&self, project: &ProjectName) -> Arc<Snapshot> {
        let projects = self.projects.lock();
        match projects.get(project).and_then(|p| p.versions.last()) {
            Some((snapshot, _)) => snapshot.clone(),
            None => Arc::new(Snapshot::empty(project.clone())),
        }
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn projects(&self) -> Result<Vec<ProjectName>> {
        Ok(self.projects.lock().keys().cloned().collect())
    }

    async fn load(&self, project: &ProjectName, known: Option<Version>, wait: Duration) -> Result<Loaded> {
        let mut changed = self.changed.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let snapshot = self.newest(project);
            if known != Some(snapshot.version()) {
                return Ok(Loaded::Changed(snapshot));
            }
            if wait.is_zero()
                || tokio::time::timeout_at(deadline, changed.changed())
                    .await
                    .is_err()
            {
                return Ok(Loaded::Unchanged);
            }
        }
    }

    async fn load_at(&self, project: &ProjectName, version: Version) -> Result<Arc<Snapshot>> {
        if version == Version(0) {
            return Ok(Arc::new(Snapshot::empty(project.clone())));
        }
        let projects = self.projects.lock();
        let newest = projects.get(project).map_or(Version(0), Project::version);
        projects
            .get(project)
            .and_then(|p| p.versions.get(usize::try_from(version.0).ok()? - 1))
            .map(|(snapshot, _)| snapshot.clone())
            .ok_or_else(|| {
                Error::not_found(format!("project `{project}` has no version {version}"))
                    .help(format!("the newest is {newest}"))
            })
    }

    async fn history(
        &self,
        project: &ProjectName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<Commit>> {
        let projects = self.projects.lock();
        let Some(found) = projects.get(project) else {
            return Ok(Vec::new());
        };
        let older = |commit: &&Commit| before.is_none_or(|before| commit.version < before);
        Ok(found
            .versions
            .iter()
            .rev()
            .map(|(_, commit)| commit)
            .filter(older)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn commit(&self, project: &ProjectName, base: Version, changes: &ChangeSet) -> Result<Version> {
        let mut projects = self.projects.lock();
        let found = projects.get(project);
        let newest = found.map_or(Version(0), Project::version);
        if newest != base {
            let next = found.and_then(|p| p.versions.get(usize::try_from(base.0).ok()?));
            if next.is_some_and(|(_, commit)| commit.commit_id == changes.commit_id) {
                return Ok(Version(base.0 + 1));
            }
            return Err(Error::conflict(format!(
                "project `{project}` is at version {newest}, not {base}"
            )));
        }
        let before = match found.and_then(|p| p.versions.last()) {
            Some((snapshot, _)) => snapshot.clone(),
            None => Arc::new(Snapshot::empty(project.clone())),
        };
        let next = before.apply(changes)?;
        let version = next.version();
        let entry = (Arc::new(next), changes.commit(version));
        projects.entry(project.clone()).or_default().versions.push(entry);
        self.changed.send_modify(|count| *count += 1);
        Ok(version)
    }

    fn ledger(&self) -> Arc<dyn Ledger> {
        self.ledger.clone()
    }

    async fn check(&self) -> Result<Health> {
        Ok(Health::new("memory").detail("projects", self.projects.lock().len()))
    }
}

/// The ledger in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    runs: Mutex<BTreeMap<(ProjectName, ViewName, Generation), Vec<RunRecord>>>,
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn runs(
        &self,
        project: &ProjectName,
        view: &ViewName,
        generation: Generation,
    ) -> Result<Vec<RunRecord>> {
        let id = (project.clone(), view.clone(), generation);
        let mut runs = self.runs.lock().get(&id).cloned().unwrap_or_default();
        runs.sort_by(|a, b| (a.started, &a.run).cmp(&(b.started, &b.run)));
        Ok(runs)
    }

    async fn record(&self, project: &ProjectName, run: &RunRecord) -> Result<()> {
        let mut runs = self.runs.lock();
        let of_view = runs
            .entry((project.clone(), run.view.clone(), run.generation))
            .or_default();
        match of_view.iter_mut().find(|known| known.run == run.run) {
            Some(known) => *known = run.clone(),
            None => of_view.push(run.clone()),
        }
        Ok(())
    }

    async fn compact(&self, project: &ProjectName, view: &ViewName, generation: Generation) -> Result<()> {
        let mut runs = self.runs.lock();
        if let Some(of_view) = runs.get_mut(&(project.clone(), view.clone(), generation)) {
            of_view.sort_by(|a, b| (a.started, &a.run).cmp(&(b.started, &b.run)));
            let compaction = compact_runs(of_view);
            of_view.retain(|run| !compaction.remove.contains(&run.run));
            of_view.extend(compaction.add);
        }
        Ok(())
    }
}

/// Descriptor of the registry in memory.
pub static REGISTRY_PLUGIN: Plugin = Plugin {
    role: Role::Registry,
    name: "memory",
    summary: "Definitions in the memory of one process; gone when it ends. For tests.",
    example: "registry: { type: memory }",
    capabilities: &["history", "ledger", "wait"],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "",
    docs: "",
    sources: &[],
};

/// `registry: { type: memory }`
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryRegistryConfig {}

#[typetag::deserialize(name = "memory")]
#[async_trait]
impl RegistryConfig for MemoryRegistryConfig {
    async fn build(&self, _cx: &BuildContext) -> Result<Arc<dyn Registry>> {
        Ok(Arc::new(MemoryRegistry::new()))
    }
}
