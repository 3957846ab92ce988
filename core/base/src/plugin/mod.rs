//! How backends join an application: typed configs, descriptors, and what `build` is given.

mod config;
mod context;
pub mod known;

pub use config::{OnlineStoreConfig, ProviderConfig, ProviderStack, RegistryConfig};
pub use context::BuildContext;

use std::fmt;

/// What a plugin can be. A backend with several roles has one descriptor for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// A registry of definitions.
    Registry,
    /// An online store.
    Online,
    /// An offline store.
    Offline,
    /// A preset that expands to the other three.
    Provider,
}

impl Role {
    /// The key of the block in `larder.yaml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Provider => "provider",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A type of source that an offline store reads, and the options it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceKind {
    /// The source's `type:`.
    pub name: &'static str,
    /// Its options, besides those every source has.
    pub options: &'static [&'static str],
}

/// What people see of a plugin. Each store crate has one static descriptor per role.
///
/// The facade lists the descriptors of the enabled features; a third party's joins with
/// `inventory::submit!(PluginEntry(&PLUGIN))` in its crate and `use acme_store as _;` in the
/// application.
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    /// What it can be.
    pub role: Role,
    /// The `type:` in `larder.yaml`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// A block for `larder.yaml`.
    pub example: &'static str,
    /// Names of what it declares it can do.
    pub capabilities: &'static [&'static str],
    /// The crate.
    pub package: &'static str,
    /// The crate's version.
    pub version: &'static str,
    /// The facade's cargo feature that brings it; empty for a third party's.
    pub feature: &'static str,
    /// What its users read, as Markdown, or nothing. Tables in it under `| key | default | meaning |` list its options;
    /// `larder stores` shows them.
    pub docs: &'static str,
    /// Types of sources it reads, for offline stores.
    pub sources: &'static [SourceKind],
}

/// A descriptor on its way into the process-wide list of third-party plugins.
#[derive(Debug)]
pub struct PluginEntry(pub &'static Plugin);

inventory::collect!(PluginEntry);

/// Descriptors that third-party crates submitted, in no particular order.
pub fn submitted() -> impl Iterator<Item = &'static Plugin> {
    inventory::iter::<PluginEntry>().map(|entry| entry.0)
}
