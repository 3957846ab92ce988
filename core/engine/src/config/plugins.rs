//! Which backends this build contains.

use std::collections::BTreeMap;

use larder_base::error::nearest;
use larder_base::plugin::{SourceKind, known};
use larder_base::{Error, Plugin, Result, Role};

/// The descriptors of the backends of a build, by role and name. A value, not a global list.
#[derive(Debug, Clone, Default)]
pub struct Plugins(BTreeMap<(Role, &'static str), &'static Plugin>);

impl Plugins {
    /// A list of descriptors; one that stands in it twice counts once.
    ///
    /// # Errors
    /// `Config` when two crates bring the same type for the same role.
    pub fn new(plugins: &[&'static Plugin]) -> Result<Self> {
        let mut list = Self::default();
        for plugin in plugins {
            let old = list.0.insert((plugin.role, plugin.name), plugin);
            if let Some(old) = old
                && (old.package, old.version) != (plugin.package, plugin.version)
            {
                return Err(Error::config(format!(
                    "{} {} and {} {} both bring the {} type `{}`",
                    old.package, old.version, plugin.package, plugin.version, plugin.role, plugin.name
                ))
                .help("link only one of them"));
            }
        }
        Ok(list)
    }

    /// The descriptor of a type.
    pub fn get(&self, role: Role, name: &str) -> Option<&'static Plugin> {
        self.of(role).find(|plugin| plugin.name == name)
    }

    /// All descriptors, by role and name.
    pub fn iter(&self) -> impl Iterator<Item = &'static Plugin> + '_ {
        self.0.values().copied()
    }

    /// The types of sources that the offline stores of this build read.
    pub fn source_kinds(&self) -> Vec<SourceKind> {
        let mut kinds: Vec<SourceKind> = self.iter().flat_map(|plugin| plugin.sources).copied().collect();
        kinds.sort_by_key(|kind| kind.name);
        kinds
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &'static Plugin> + '_ {
        self.iter().filter(move |plugin| plugin.role == role)
    }

    /// Why there is no such type: misspelt, not compiled in, or still to come.
    pub(super) fn unknown(&self, role: Role, name: &str) -> Error {
        let here: Vec<&str> = self.of(role).map(|plugin| plugin.name).collect();
        let has = match here.as_slice() {
            [] => format!("this build has no {role} types"),
            names => format!("this build has: {}", names.join(", ")),
        };
        let known = known::KNOWN
            .iter()
            .find(|(known_role, known_name, _)| *known_role == role && *known_name == name);
        match known {
            Some((_, _, Some(feature))) if !feature.is_empty() => {
                Error::unsupported(format!("the {role} type `{name}` is not in this build"))
                    .help(format!("build larder with the cargo feature `{feature}`; {has}"))
            }
            Some((_, _, None)) => Error::unsupported(format!(
                "the {role} type `{name}` comes in a later part of larder"
            ))
            .help(has),
            _ => {
                let names = here.iter().copied().chain(
                    known::KNOWN
                        .iter()
                        .filter(|(known_role, ..)| *known_role == role)
                        .map(|(_, name, _)| *name),
                );
                let meant = nearest(name, names).map(|meant| format!("did you mean `{meant}`? "));
                Error::config(format!("there is no {role} type `{name}`")).help(format!(
                    "{}{has}; a crate of your own joins by `use acme_store as _;`",
                    meant.unwrap_or_default()
                ))
            }
        }
    }
}
