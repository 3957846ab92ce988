//! How is the contract of a registry kept, with nothing but objects?
//!
//! `<project>/v/<n>.json` is a whole version and is only ever *created*: of two writers of version `n`
//! one makes the object and the other sees that it exists, which is the compare-and-swap. Versions have
//! no gaps, so the newest is the last that exists; `<project>/head` only says where to begin looking.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use larder_base::{
    ChangeSet, Commit, Error, Health, Ledger, Loaded, ProjectName, Registry, Result, Snapshot, Version,
};
use object_store::ObjectStore;
use tokio::time::Instant;

use crate::backend::{Backend, Creation, Lasting, Objects};
use crate::document;
use crate::folder::Folder;
use crate::ledger::ObjectLedger;

/// How long a waiting load sleeps between looks, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After so many steps from an old hint a listing is cheaper than more steps.
const STEPS: usize = 8;

/// Bytes that hold the commit of nearly every version.
const HEADER: u64 = 16 << 10;

/// Headers that a history reads at the same time.
const HEADERS_AT_ONCE: usize = 8;

/// The registry in a folder or an object store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ObjectRegistry {
    backend: Arc<dyn Backend>,
    ledger: Arc<ObjectLedger>,
}

impl ObjectRegistry {
    /// A registry in a local folder, which the first commit makes; opening it writes nothing.
    ///
    /// # Errors
    /// `Config` when the path is a file.
    pub fn in_folder(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Ok(Self::over(Arc::new(Folder::new(path.as_ref())?)))
    }

    /// A registry under a prefix of an object store that creates objects conditionally.
    ///
    /// Not for `object_store`'s own `LocalFileSystem`, which does not sync: use [`Self::in_folder`].
    pub fn in_store(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self::over(Arc::new(Objects::new(store, prefix)))
    }

    fn over(backend: Arc<dyn Backend>) -> Self {
        let ledger = Arc::new(ObjectLedger::new(backend.clone()));
        Self { backend, ledger }
    }

    async fn exists(&self, project: &ProjectName, version: u64) -> Result<bool> {
        self.backend.exists(&version_path(project, version)).await
    }

    /// The number of the newest version, 0 where there is none.
    async fn newest(&self, project: &ProjectName) -> Result<u64> {
        let hint = match self.backend.get(&head_path(project)).await {
            Ok(Some(bytes)) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            // Whatever ails the hint, the listing below knows better or fails with a better reason.
            Ok(None) | Err(_) => None,
        };
        if let Some(hint) = hint
            && self.exists(project, hint).await?
        {
            return self.newest_from(project, hint).await;
        }
        let listed = self.listed(project).await?;
        self.newest_from(project, listed).await
    }

    /// The newest version, walking on from one that exists.
    async fn newest_from(&self, project: &ProjectName, from: u64) -> Result<u64> {
        let mut newest = from;
        let mut steps = 0;
        while let Some(next) = newest.checked_add(1)
            && self.exists(project, next).await?
        {
            newest = next;
            steps += 1;
            if steps == STEPS {
                newest = newest.max(self.listed(project).await?);
            }
        }
        Ok(newest)
    }

    /// The largest number in a listing of all versions, 0 where there is none.
    async fn listed(&self, project: &ProjectName) -> Result<u64> {
        let listing = self.backend.list(&format!("{project}/v")).await?;
        Ok(listing
            .files
            .iter()
            .filter_map(|name| version_of(name))
            .max()
            .unwrap_or(0))
    }

    /// The snapshot of a version, `None` where there is no such version.
    async fn read(&self, project: &ProjectName, version: u64) -> Result<Option<Arc<Snapshot>>> {
        if version == 0 {
            return Ok(Some(Arc::new(Snapshot::empty(project.clone()))));
        }
        let path = version_path(project, version);
        let Some(bytes) = self.backend.get(&path).await? else {
            return Ok(None);
        };
        let (place, project) = (self.backend.place(&path), project.clone());
        // A large project takes a while to parse, and requests are served on this runtime.
        tokio::task::spawn_blocking(move || document::decode(&bytes, &place, &project, Version(version)))
            .await
            .unwrap_or_else(|error| Err(Error::unavailable("the runtime ended during a load").source(error)))
            .map(|snapshot| Some(Arc::new(snapshot)))
    }

    /// The commit that made a version, `None` where there is no such version.
    async fn header(&self, project: &ProjectName, version: u64) -> Result<Option<Commit>> {
        let path = version_path(project, version);
        let Some(start) = self.backend.get_start(&path, HEADER).await? else {
            return Ok(None);
        };
        if let Some(commit) = document::decode_start(&start, Version(version)) {
            return Ok(Some(commit));
        }
        let Some(bytes) = self.backend.get(&path).await? else {
            return Ok(None);
        };
        document::decode_commit(&bytes, &self.backend.place(&path), Version(version)).map(Some)
    }

    /// What a commit on a taken version is: the same commit again, or too late.
    async fn taken(
        &self,
        project: &ProjectName,
        base: Version,
        theirs: &Commit,
        ours: &ChangeSet,
    ) -> Result<Version> {
        let version = theirs.version;
        if theirs.commit_id == ours.commit_id {
            // It may have been written by a call that died before it was durable.
            self.backend.settle(&version_path(project, version.0)).await?;
            return Ok(version);
        }
        let newest = self.newest_from(project, version.0).await?;
        Err(conflict(project, newest, base))
    }
}

#[async_trait]
impl Registry for ObjectRegistry {
    async fn projects(&self) -> Result<Vec<ProjectName>> {
        let folders = self.backend.list("").await?.folders;
        let mut names: Vec<ProjectName> = folders
            .into_iter()
            .filter_map(|name| ProjectName::new(name).ok())
            .collect();
        names.sort_unstable();
        let mut projects = Vec::with_capacity(names.len());
        for name in names {
            // A ledger alone, or the folder of a commit that never happened, is no project.
            if self.newest(&name).await? > 0 {
                projects.push(name);
            }
        }
        Ok(projects)
    }

    async fn load(&self, project: &ProjectName, known: Option<Version>, wait: Duration) -> Result<Loaded> {
        // A wait beyond what an instant can hold is one without end.
        let deadline = Instant::now().checked_add(wait);
        let mut pause = FIRST_PAUSE;
        let mut newest = match known {
            None => self.newest(project).await?,
            Some(Version(known)) => {
                let newest = self.newest_from(project, known).await?;
                // A caller that outlived the registry it knew must not wait for a version in the clouds.
                if newest == known && known > 0 && !self.exists(project, known).await? {
                    self.newest(project).await?
                } else {
                    newest
                }
            }
        };
        while known == Some(Version(newest)) {
            let left = deadline.map_or(LONGEST_PAUSE, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(Loaded::Unchanged);
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
            newest = self.newest_from(project, newest).await?;
        }
        match self.read(project, newest).await? {
            Some(snapshot) => Ok(Loaded::Changed(snapshot)),
            None => {
                let place = self.backend.place(&version_path(project, newest));
                Err(document::missing(&place, Version(newest)))
            }
        }
    }

    async fn load_at(&self, project: &ProjectName, version: Version) -> Result<Arc<Snapshot>> {
        match self.read(project, version.0).await? {
            Some(snapshot) => Ok(snapshot),
            None => {
                let newest = self.newest(project).await?;
                Err(
                    Error::not_found(format!("project `{project}` has no version {version}"))
                        .help(format!("the newest is {newest}")),
                )
            }
        }
    }

    async fn history(
        &self,
        project: &ProjectName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<Commit>> {
        let newest = self.newest(project).await?;
        let newest = before.map_or(newest, |before| newest.min(before.0.saturating_sub(1)));
        futures::stream::iter((1..=newest).rev().take(limit))
            .map(|version| async move {
                self.header(project, version).await?.ok_or_else(|| {
                    let place = self.backend.place(&version_path(project, version));
                    document::missing(&place, Version(version))
                })
            })
            .buffered(HEADERS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn commit(&self, project: &ProjectName, base: Version, changes: &ChangeSet) -> Result<Version> {
        let Some(version) = base.0.checked_add(1) else {
            return Err(conflict(project, self.newest(project).await?, base));
        };
        // Losing is cheaper before the work than after it.
        if let Some(theirs) = self.header(project, version).await? {
            return self.taken(project, base, &theirs, changes).await;
        }
        let Some(snapshot) = self.read(project, base.0).await? else {
            return Err(conflict(project, self.newest(project).await?, base));
        };
        let next = snapshot.apply(changes)?;
        let bytes = document::encode(&next, &changes.commit(next.version()))?;
        let path = version_path(project, version);
        match self
            .backend
            .create(&path, bytes)
            .await
            .map_err(|error| error.operation("commit"))?
        {
            Creation::Made => {}
            Creation::Exists => {
                return match self.header(project, version).await? {
                    Some(theirs) => self.taken(project, base, &theirs, changes).await,
                    None => Err(document::missing(&self.backend.place(&path), Version(version))),
                };
            }
        }
        // Only a hint: the commit stands whether this works or not.
        let head = Bytes::from(format!("{version}\n"));
        let _ = self.backend.put(&head_path(project), head, Lasting::Hint).await;
        Ok(next.version())
    }

    fn ledger(&self) -> Arc<dyn Ledger> {
        self.ledger.clone()
    }

    async fn check(&self) -> Result<Health> {
        let projects = self.projects().await?;
        let mut health = Health::new(self.backend.name())
            .detail("at", self.backend.place(""))
            .detail("projects", projects.len());
        for project in &projects {
            let newest = self.newest(project).await?;
            health = health.detail(project.as_str(), format!("version {newest}"));
            let listing = self.backend.list(&format!("{project}/v")).await?;
            let there = listing
                .files
                .iter()
                .filter_map(|name| version_of(name))
                .filter(|n| (1..=newest).contains(n));
            let gaps = newest.saturating_sub(there.count() as u64);
            if gaps > 0 {
                health = health.warning(format!(
                    "{gaps} of the {newest} versions of project `{project}` are missing; restore `{}` from a backup",
                    self.backend.place(&format!("{project}/v"))
                ));
            }
            if let Err(error) = self.read(project, newest).await {
                health = health.warning(format!("version {newest} of project `{project}`: {error}"));
            }
        }
        if let Err(error) = self.backend.writable().await {
            health = health.warning(format!(
                "the registry is read-only here, `apply` will fail: {}",
                error.chain()
            ));
        }
        Ok(health)
    }
}

fn version_path(project: &ProjectName, version: u64) -> String {
    format!("{project}/v/{version:020}.json")
}

fn head_path(project: &ProjectName) -> String {
    format!("{project}/head")
}

/// The number in the name of a version's file.
fn version_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".json")?;
    (number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit())).then(|| number.parse().ok())?
}

fn conflict(project: &ProjectName, newest: u64, base: Version) -> Error {
    Error::conflict(format!("project `{project}` is at version {newest}, not {base}"))
        .help("load it again, plan again and retry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_names_sort_as_numbers_and_nothing_else_is_one() {
        let project = ProjectName::new("p").unwrap();
        let name = |n| {
            version_path(&project, n)
                .rsplit('/')
                .next()
                .map(str::to_owned)
                .unwrap()
        };
        for n in [0, 1, 9, 10, u64::MAX] {
            assert_eq!(version_of(&name(n)), Some(n));
        }
        assert!(name(9) < name(10) && name(10) < name(u64::MAX));
        for wrong in [
            "1.json",
            "head",
            "0000000000000000000a.json",
            "99999999999999999999.json",
            "+0000000000000000001.json",
        ] {
            assert_eq!(version_of(wrong), None, "{wrong}");
        }
    }
}
