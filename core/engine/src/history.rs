//! What was committed: who changed what, when, and why.

use larder_base::{Commit, Error, Result, Version};

use crate::guard::Deed;
use crate::store::FeatureStore;

impl FeatureStore {
    /// Commits before `before` (the newest where absent), newest first.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn history(&self, before: Option<Version>, limit: usize) -> Result<Vec<Commit>> {
        self.allow(Deed::Describe, vec!["history".to_owned()]).await?;
        self.registry()
            .await?
            .history(self.project(), before, limit)
            .await
    }

    /// One commit.
    ///
    /// # Errors
    /// `NotFound` when there is no such version.
    pub async fn show(&self, version: Version) -> Result<Commit> {
        let found = self
            .history(Some(Version(version.0.saturating_add(1))), 1)
            .await?;
        found
            .into_iter()
            .find(|commit| commit.version == version)
            .ok_or_else(|| {
                Error::not_found(format!("project `{}` has no version {version}", self.project()))
                    .help("`larder history` lists them")
            })
    }
}
