//! What a store is given when it is built.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::names::{ProjectName, StoreName};

/// What a store is given when it is built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BuildContext {
    /// The only source of wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Relative paths in configurations and sources start here.
    pub project_dir: PathBuf,
    /// The store's name in the configuration, for metrics and messages.
    pub store: StoreName,
    /// The project that the store is built for, where there is one: what a store looks at when it is checked.
    pub project: Option<ProjectName>,
}

impl BuildContext {
    /// A context for a project folder, with the machine's clock.
    pub fn new(project_dir: impl Into<PathBuf>) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            project_dir: project_dir.into(),
            store: StoreName::default_store(),
            project: None,
        }
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the store's name.
    #[must_use]
    pub fn with_store(mut self, store: StoreName) -> Self {
        self.store = store;
        self
    }

    /// Sets the project.
    #[must_use]
    pub fn with_project(mut self, project: ProjectName) -> Self {
        self.project = Some(project);
        self
    }

    /// A configured path, relative to the project folder.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.project_dir.join(path)
    }
}
