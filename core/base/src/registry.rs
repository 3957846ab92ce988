//! What a registry must do: keep a project's versions, each committed whole or not at all.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::ledger::Ledger;
use crate::names::ProjectName;
use crate::online::Health;
use crate::snapshot::{ChangeSet, Commit, Snapshot, Version};

/// Keeps the definitions of projects, version by version.
///
/// # Example
/// ```
/// # use larder_base::{*, memory::MemoryRegistry};
/// # use std::time::Duration;
/// # futures::executor::block_on(async {
/// let registry = MemoryRegistry::new();
/// let project = ProjectName::new("shop")?;
/// let changes = ChangeSet::new(Micros(0), "ada", "first");
/// let version = registry.commit(&project, Version(0), &changes).await?;
/// assert_eq!(version, Version(1));
/// let other = ChangeSet::new(Micros(0), "bob", "too late");
/// let lost = registry.commit(&project, Version(0), &other).await.unwrap_err();
/// assert_eq!(lost.kind(), ErrorKind::Conflict);
/// # Ok::<(), Error>(()) }).unwrap();
/// ```
#[async_trait]
pub trait Registry: Debug + Send + Sync + 'static {
    /// Projects with at least one commit, sorted.
    async fn projects(&self) -> Result<Vec<ProjectName>>;

    /// The newest version, unless it is `known`; then waits up to `wait` for a newer one.
    ///
    /// **Contract**: a project nobody committed to is the empty snapshot of version 0. With
    /// `known` given and nothing newer after `wait`, the answer is [`Loaded::Unchanged`].
    async fn load(&self, project: &ProjectName, known: Option<Version>, wait: Duration) -> Result<Loaded>;

    /// A past version.
    ///
    /// **Errors**: `NotFound` when there is no such version.
    async fn load_at(&self, project: &ProjectName, version: Version) -> Result<Arc<Snapshot>>;

    /// Commits before `before` (the newest where absent), newest first, at most `limit`.
    async fn history(
        &self,
        project: &ProjectName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<Commit>>;

    /// Commits changes on top of `base`, whole or not at all, and returns the new version.
    ///
    /// **Contract**: when this returns, the commit is durable. The new state is exactly
    /// [`Snapshot::apply`] of the changes to the state of `base`. Committing the same
    /// `commit_id` again on the same base answers like the first time: a lost reply is success.
    ///
    /// **Errors**: `Conflict` when the newest version is not `base`.
    async fn commit(&self, project: &ProjectName, base: Version, changes: &ChangeSet) -> Result<Version>;

    /// Where runs are recorded: outside of the versioned state.
    fn ledger(&self) -> Arc<dyn Ledger>;

    /// Whether the registry can be reached and used now.
    async fn check(&self) -> Result<Health>;
}

/// The answer of [`Registry::load`].
#[derive(Debug, Clone)]
pub enum Loaded {
    /// The version the caller knows is the newest.
    Unchanged,
    /// A newer version.
    Changed(Arc<Snapshot>),
}
