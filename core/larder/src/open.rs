//! From a project file to a feature store.

use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use larder_base::memory::{MemoryOnline, MemoryRegistry};
use larder_base::{Clock, ProjectName, Result};
use larder_engine::{FeatureStore, FeatureStoreBuilder, Project};

/// Reads a project file (or the one in a folder) with the backends of this build. Opens nothing.
///
/// Without `env`, the variable `LARDER_ENV` chooses the environment, if it is set.
///
/// # Errors
/// `Config` with file, line and column.
pub fn project(path: impl AsRef<Path>, env: Option<&str>) -> Result<Project> {
    let variable = std::env::var("LARDER_ENV").ok().filter(|name| !name.is_empty());
    Project::load(path.as_ref(), env.or(variable.as_deref()), &crate::plugins()?)
}

/// Opens the feature store of a project file; await it.
///
/// ```no_run
/// # async fn f() -> larder::Result<()> {
/// let store = larder::open("larder.yaml").env("prod").await?;
/// # Ok(()) }
/// ```
pub fn open(path: impl Into<PathBuf>) -> Open {
    Open {
        path: path.into(),
        env: None,
        clock: None,
    }
}

/// A feature store about to be opened; await it.
#[derive(Debug, Clone)]
#[must_use = "a feature store is opened by awaiting it"]
pub struct Open {
    path: PathBuf,
    env: Option<String>,
    clock: Option<Arc<dyn Clock>>,
}

impl Open {
    /// Chooses an environment.
    pub fn env(mut self, name: impl Into<String>) -> Self {
        self.env = Some(name.into());
        self
    }

    /// Sets the clock of the engine.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }
}

impl IntoFuture for Open {
    type Output = Result<FeatureStore>;
    type IntoFuture = BoxFuture<'static, Result<FeatureStore>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let project = project(&self.path, self.env.as_deref())?;
            let mut builder = FeatureStoreBuilder::from_project(&project);
            if let Some(clock) = self.clock {
                builder = builder.clock(clock);
            }
            let store = builder.build()?;
            // A registry that cannot be read is better learnt of now than by the first request.
            store.snapshot().await?;
            Ok(store)
        })
    }
}

/// Opens a feature store for serving: it touches the registry (to read) and online stores only.
///
/// ```no_run
/// # async fn f() -> larder::Result<()> {
/// let store = larder::serving("larder.yaml").env("prod").open().await?;
/// # Ok(()) }
/// ```
pub fn serving(path: impl Into<PathBuf>) -> Serving {
    Serving(open(path))
}

/// A feature store about to be opened for serving.
#[derive(Debug, Clone)]
#[must_use = "call `open` and await it"]
pub struct Serving(Open);

impl Serving {
    /// Chooses an environment.
    pub fn env(self, name: impl Into<String>) -> Self {
        Self(self.0.env(name))
    }

    /// Opens it.
    ///
    /// # Errors
    /// `Config` with file, line and column; what the registry says.
    pub async fn open(self) -> Result<FeatureStore> {
        self.0.await
    }
}

/// An empty feature store in memory, project `memory`.
pub fn memory() -> FeatureStore {
    let project = ProjectName::new("memory").unwrap_or_else(|_| unreachable!("`memory` is a legal name"));
    let builder = FeatureStore::builder(project)
        .registry(Arc::new(MemoryRegistry::new()))
        .online(Arc::new(MemoryOnline::new()));
    #[cfg(feature = "offline")]
    let builder = builder.offline(Arc::new(larder_core::memory::MemoryOffline::new()));
    builder
        .build()
        .unwrap_or_else(|_| unreachable!("a registry was given"))
}
