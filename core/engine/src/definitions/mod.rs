//! What a definition set defines: loading its YAML, checking it, and the schema for editors.

mod check;
mod load;
mod origins;
mod schema;

use std::path::Path;

use larder_base::model::{Definitions, ObjectId};
use larder_base::{Place, Result, SetName};

pub use check::check;
pub(crate) use load::shown;
pub use origins::Origins;
pub use schema::{json_schema, project_schema};

/// The objects of one definition set, and where each stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DefinitionSet {
    /// The set.
    pub set: SetName,
    /// Its objects, in the order of the files.
    pub definitions: Definitions,
    origins: Origins,
}

impl DefinitionSet {
    /// Loads all `*.yaml` and `*.yml` files below a folder in the order of their paths; a path to
    /// one file loads that.
    ///
    /// # Errors
    /// `Definition` with every mistake of every file, each at its place.
    pub fn load(dir: &Path, set: SetName) -> Result<Self> {
        let files = load::files(dir)?;
        load::load(files, set)
    }

    /// Reads one text as if it were a file.
    ///
    /// # Errors
    /// `Definition` with every mistake, each at its place.
    pub fn from_yaml(file_name: &str, text: &str, set: SetName) -> Result<Self> {
        load::load(vec![(file_name.to_owned(), Ok(text.to_owned()))], set)
    }

    /// Objects that a program made; they have no places.
    pub fn new(set: SetName, definitions: Definitions) -> Self {
        Self {
            set,
            definitions,
            origins: Origins::default(),
        }
    }

    /// Where an object, or something inside of it, stands.
    ///
    /// A step of the path is a key, the number of an item, or the `name` of an item:
    /// `["features", "avg_basket", "type"]`. What is not in the file has the place of what
    /// encloses it.
    pub fn place(&self, id: &ObjectId, path: &[&str]) -> Option<Place> {
        self.origins.place(id, path)
    }

    /// Where a key inside of an object stands; else like [`DefinitionSet::place`].
    pub fn key_place(&self, id: &ObjectId, path: &[&str]) -> Option<Place> {
        self.origins.key_place(id, path)
    }

    /// Where an item of a list inside of an object stands.
    pub(crate) fn item_place(&self, id: &ObjectId, list: &[&str], index: usize) -> Option<Place> {
        self.origins.item_place(id, list, index)
    }
}

#[cfg(test)]
mod tests;
