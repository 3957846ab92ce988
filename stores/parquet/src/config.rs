//! Which options a parquet store has in `larder.yaml`.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
// Named for the code that the macro below writes.
use larder_core::typetag;
use larder_core::{BuildContext, OfflineStore, OfflineStoreConfig, Plugin, Result, Role, plugin::SourceKind};
use serde::Deserialize;

use crate::discover;
use crate::store::ParquetStore;

/// Descriptor of the store.
pub static PLUGIN: Plugin = Plugin {
    role: Role::Offline,
    name: "parquet",
    summary: "Parquet files in folders: point-in-time joins in two passes, without a database.",
    example: "offline: { type: parquet, root: data/ }",
    capabilities: &["ordered_source", "append", "range", "explain", "entity_files"],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "parquet",
    sources: &[SourceKind {
        name: "parquet",
        options: &["path"],
    }],
};

/// `offline: { type: parquet }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ParquetConfig {
    /// Where relative paths of sources start: a folder, relative to the project folder, or `file:///…`.
    #[serde(default = "default_root")]
    pub root: String,
}

impl ParquetConfig {
    /// A store below a folder.
    pub fn new(root: impl Into<String>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    fn folder(&self, cx: &BuildContext) -> Result<PathBuf> {
        Ok(cx.resolve(discover::local(&self.root)?))
    }
}

fn default_root() -> String {
    ".".to_owned()
}

#[typetag::deserialize(name = "parquet")]
#[async_trait]
impl OfflineStoreConfig for ParquetConfig {
    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn OfflineStore>> {
        Ok(Arc::new(ParquetStore::with_clock(
            self.folder(cx)?,
            cx.clock.clone(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use larder_core::ErrorKind;

    use super::*;

    #[test]
    fn the_descriptor_says_what_the_store_says() {
        assert_eq!(PLUGIN.capabilities, crate::store::capabilities().names());
    }

    #[test]
    fn options() {
        let parse = |text: &str| serde_json::from_str::<Box<dyn OfflineStoreConfig>>(text);
        assert!(parse(r#"{ "type": "parquet" }"#).is_ok());
        assert!(parse(r#"{ "type": "parquet", "root": "data/" }"#).is_ok());
        assert!(parse(r#"{ "type": "parquet", "roots": "data/" }"#).is_err());

        let cx = BuildContext::new("/project");
        assert_eq!(
            ParquetConfig::new("data").folder(&cx).unwrap(),
            PathBuf::from("/project/data")
        );
        assert_eq!(
            ParquetConfig::new("file:///data").folder(&cx).unwrap(),
            PathBuf::from("/data")
        );
        let error = ParquetConfig::new("s3://bucket/x").folder(&cx).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("part 2"), "{error}");
    }
}
