//! What does a command know of how it was called?

use std::path::PathBuf;

use larder::{DefinitionSet, Error, FeatureStore, Project, Result};

use crate::args::Global;
use crate::interrupt::Asked;
use crate::output::{Bars, Format};

/// What all commands share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The project's folder.
    pub(crate) dir: PathBuf,
    /// The environment.
    pub(crate) env: Option<String>,
    /// The form of what is printed.
    pub(crate) format: Format,
    /// Only what was asked for.
    pub(crate) quiet: bool,
    /// More about errors.
    pub(crate) verbose: bool,
    /// Progress on the terminal.
    pub(crate) bars: Bars,
    /// Whether the process was asked to end, for work that ends in order.
    pub(crate) asked: Asked,
}

impl Context {
    /// The context of a call.
    pub(crate) fn new(global: &Global) -> Self {
        let env = global.env.clone().or_else(|| std::env::var("LARDER_ENV").ok());
        Self {
            dir: global.project_dir.clone(),
            env: env.filter(|name| !name.is_empty()),
            format: global.format,
            quiet: global.quiet,
            verbose: global.verbose,
            bars: Bars::new(global.quiet),
            asked: Asked::new(),
        }
    }

    /// The project in the folder.
    ///
    /// # Errors
    /// `Config` with places.
    pub(crate) fn project(&self) -> Result<Project> {
        if !self.dir.exists() {
            return Err(
                Error::config(format!("there is no folder `{}`", self.dir.display()))
                    .help("--project-dir names the folder with the project's larder.yaml"),
            );
        }
        larder::project(&self.dir, self.env.as_deref())
    }

    /// The feature store of the project; nothing is opened yet.
    ///
    /// # Errors
    /// As [`Context::project`].
    pub(crate) fn store(&self) -> Result<FeatureStore> {
        FeatureStore::from_project(&self.project()?)
    }

    /// Project, feature store and the definitions in its folder.
    ///
    /// # Errors
    /// `Config` or `Definition` with places.
    pub(crate) fn with_definitions(&self) -> Result<(Project, FeatureStore, DefinitionSet)> {
        let project = self.project()?;
        let definitions = DefinitionSet::load(&project.definitions.path, project.definitions.set.clone())?;
        let store = FeatureStore::from_project(&project)?;
        Ok((project, store, definitions))
    }
}
