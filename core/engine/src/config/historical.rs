//! How much memory may training sets take, and where do they spill what does not fit?

use std::path::{Path, PathBuf};

use larder_base::{ByteSize, Diagnostic};
use serde::Deserialize;

use super::expand::Variables;
use super::project::scalar;
use crate::yaml::Node;

/// The block `historical:` of a project file; options of a single run go before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct HistoricalConfig {
    /// Memory that making a training set may take; without, as much as it needs.
    pub memory_limit: Option<ByteSize>,
    /// The folder to spill into, relative to the project's; the system's for temporary files
    /// where absent.
    pub spill_dir: Option<PathBuf>,
}

impl HistoricalConfig {
    /// Sets the memory that making a training set may take.
    #[must_use]
    pub fn with_memory_limit(mut self, limit: Option<ByteSize>) -> Self {
        self.memory_limit = limit;
        self
    }

    /// Sets the folder to spill into.
    #[must_use]
    pub fn with_spill_dir(mut self, folder: Option<PathBuf>) -> Self {
        self.spill_dir = folder;
        self
    }

    /// Reads the block; nothing where it is wrong, which is then among what was found.
    pub(super) fn read(
        file: &str,
        dir: &Path,
        node: Option<&Node>,
        variables: &Variables,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let Some(node) = node.filter(|node| !node.is_null()) else {
            return Some(Self::default());
        };
        let read: Self = scalar(file, node, variables, found)?;
        let folder = read.spill_dir.as_ref().map(|folder| dir.join(folder));
        Some(read.with_spill_dir(folder))
    }
}
