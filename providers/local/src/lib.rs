//! What does `provider: { type: local }` stand for?
//!
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

use std::path::Path;

use larder_base::plugin::{ProviderConfig, ProviderStack};
use larder_base::{Plugin, Role, typetag};
use serde::Deserialize;
use serde_json::json;

/// `provider: { type: local }`: everything on the local disk, nothing to run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LocalProvider {
    /// The folder of the registry and of the online store, relative to the project folder.
    #[serde(default = "default_dir")]
    pub dir: String,
    /// The folder that paths of sources start from, relative to the project folder.
    #[serde(default = "default_data")]
    pub data: String,
}

fn default_dir() -> String {
    ".larder".to_owned()
}

fn default_data() -> String {
    "data/".to_owned()
}

impl Default for LocalProvider {
    fn default() -> Self {
        Self {
            dir: default_dir(),
            data: default_data(),
        }
    }
}

/// Descriptor of `provider: { type: local }`.
pub static PLUGIN: Plugin = Plugin {
    role: Role::Provider,
    name: "local",
    summary: "Everything on the local disk: registry files, embedded online store, Parquet files.",
    example: "provider: { type: local, dir: .larder, data: data/ }",
    capabilities: &[],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "local",
    docs: include_str!("../README.md"),
    sources: &[],
};

#[typetag::deserialize(name = "local")]
impl ProviderConfig for LocalProvider {
    fn expand(&self) -> ProviderStack {
        let below = |name: &str| Path::new(&self.dir).join(name).display().to_string();
        ProviderStack {
            registry: json!({ "type": "file", "path": below("registry") }),
            online: json!({ "type": "local", "path": below("online") }),
            offline: json!({ "type": "parquet", "root": self.data }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> serde_json::Result<Box<dyn ProviderConfig>> {
        serde_json::from_str(text)
    }

    #[test]
    fn the_defaults_are_those_of_the_examples() {
        let stack = parse(r#"{ "type": "local" }"#).expect("the defaults").expand();
        assert_eq!(stack, LocalProvider::default().expand());
        assert_eq!(
            stack.registry,
            json!({ "type": "file", "path": ".larder/registry" })
        );
        assert_eq!(stack.online, json!({ "type": "local", "path": ".larder/online" }));
        assert_eq!(stack.offline, json!({ "type": "parquet", "root": "data/" }));
    }

    #[test]
    fn folders_may_be_anywhere() {
        let text = r#"{ "type": "local", "dir": "/var/lib/larder/", "data": "/srv/data" }"#;
        let stack = parse(text).expect("both folders").expand();
        assert_eq!(stack.registry["path"], "/var/lib/larder/registry");
        assert_eq!(stack.online["path"], "/var/lib/larder/online");
        assert_eq!(stack.offline["root"], "/srv/data");
    }

    #[test]
    fn unknown_keys_are_refused() {
        for wrong in [
            r#"{ "type": "local", "path": "x" }"#,
            r#"{ "type": "lokal" }"#,
            "{}",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
