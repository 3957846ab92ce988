//! How do I write an online store of my own? This one keeps rows in a sorted map; yours would
//! speak to a server. It has everything a third party's store needs: the store, a typed config,
//! a descriptor, and, in `tests/`, the conformance suite.
//!
//! An application joins it with one line, `use larder_example_custom_store as _;`, and then
//! `online: { type: acme, shards: 4 }` works in its `larder.yaml`.

mod store;

use std::sync::Arc;

use larder_base::plugin::{OnlineStoreConfig, PluginEntry};
use larder_base::typetag;
use larder_base::{BuildContext, Error, OnlineStore, Plugin, Result, Role, async_trait::async_trait};
use serde::Deserialize;

pub use store::AcmeStore;

/// What people see of the store in `larder stores`.
pub static PLUGIN: Plugin = Plugin {
    role: Role::Online,
    name: "acme",
    summary: "An example of a third party's store: sorted maps in memory.",
    example: "online: { type: acme, shards: 4 }",
    capabilities: &["newest_wins", "overwrite", "in_process", "scan"],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "",
    docs: "",
    sources: &[],
};

larder_base::inventory::submit!(PluginEntry(&PLUGIN));

/// `online: { type: acme, shards: 4 }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeConfig {
    /// Maps that rows are spread over, 1 to 256.
    #[serde(default = "one")]
    pub shards: usize,
}

fn one() -> usize {
    1
}

#[typetag::deserialize(name = "acme")]
#[async_trait]
impl OnlineStoreConfig for AcmeConfig {
    async fn build(&self, _cx: &BuildContext) -> Result<Arc<dyn OnlineStore>> {
        if !(1..=256).contains(&self.shards) {
            return Err(Error::config(format!("`shards` is {}", self.shards)).help("use 1 to 256"));
        }
        Ok(Arc::new(AcmeStore::new(self.shards)))
    }
}
