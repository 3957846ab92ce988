//! Which options a local store has in `larder.yaml`, and how it joins an application.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use larder_base::error::Result;
use larder_base::online::OnlineStore;
use larder_base::plugin::{BuildContext, OnlineStoreConfig, Plugin, Role};
// Named for the code that the macro below writes.
use larder_base::typetag;
use serde::{Deserialize, Deserializer, de};

use crate::store::LocalStore;

/// Descriptor of the embedded online store.
pub static PLUGIN: Plugin = Plugin {
    role: Role::Online,
    name: "local",
    summary: "Embedded and durable: one folder on a local disk, no server; many processes at once.",
    example: "online: { type: local, path: .larder/online }",
    capabilities: &[
        "newest_wins",
        "overwrite",
        "durable",
        "shared",
        "in_process",
        "scan",
    ],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "local",
    docs: include_str!("../docs.md"),
    sources: &[],
};

#[typetag::deserialize(name = "local")]
#[async_trait]
impl OnlineStoreConfig for LocalConfig {
    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn OnlineStore>> {
        let config = Self {
            path: cx.resolve(&self.path),
            ..self.clone()
        };
        Ok(Arc::new(LocalStore::with_config(&config, cx.clock.clone())?))
    }
}

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Durability {
    /// Every commit reaches the disk before it is acknowledged: it survives a power failure.
    #[default]
    Disk,
    /// A commit reaches the operating system: it survives the death of this process (`kill -9`), but a crash of the
    /// machine can lose it or damage the folder, which then has to be materialized again. Synced after a second
    /// without writes and on closing.
    Os,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Os => "os",
        })
    }
}

/// Address space of the map unless set: 64 GiB, sparse, so it costs neither memory nor disk.
pub const DEFAULT_MAP_SIZE: u64 = 64 << 30;

/// `type: local`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LocalConfig {
    /// The folder, absolute or relative to the project folder; created if it is missing.
    pub path: PathBuf,
    /// What an acknowledged write survives.
    #[serde(default)]
    pub durability: Durability,
    /// Bytes of address space to begin with, such as `64GiB`; doubled when the data outgrows it.
    #[serde(default = "default_map_size", deserialize_with = "bytes")]
    pub map_size: u64,
}

impl LocalConfig {
    /// A folder with the default options.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::default(),
            map_size: DEFAULT_MAP_SIZE,
        }
    }

    /// Sets what an acknowledged write survives.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the bytes of address space to begin with.
    #[must_use]
    pub fn map_size(mut self, bytes: u64) -> Self {
        self.map_size = bytes;
        self
    }
}

fn default_map_size() -> u64 {
    DEFAULT_MAP_SIZE
}

/// A number of bytes, plain or with a binary unit.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Size;
    impl de::Visitor<'_> for Size {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of bytes such as 1073741824, 512MiB or 64GiB")
        }

        fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }

        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            parse_bytes(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Size)
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("64GiB"), Some(DEFAULT_MAP_SIZE));
        assert_eq!(parse_bytes("1 MiB"), Some(1 << 20));
        assert_eq!(parse_bytes("123"), Some(123));
        for wrong in ["", "GiB", "1GB", "-1", "1.5GiB", "99999999999TiB"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_descriptor_says_what_the_store_says() {
        assert_eq!(PLUGIN.capabilities, crate::store::capabilities().names());
    }

    #[test]
    fn options_are_parsed_and_unknown_ones_refused() {
        let config: LocalConfig =
            serde_json::from_str(r#"{"path": "x", "durability": "os", "map_size": "1GiB"}"#)
                .expect("all options");
        assert_eq!((config.durability, config.map_size), (Durability::Os, 1 << 30));
        let config: LocalConfig = serde_json::from_str(r#"{"path": "x"}"#).expect("the defaults");
        assert_eq!(
            (config.durability, config.map_size),
            (Durability::Disk, DEFAULT_MAP_SIZE)
        );
        for wrong in [
            r"{}",
            r#"{"path": "x", "mapsize": 1}"#,
            r#"{"path": "x", "durability": "none"}"#,
        ] {
            assert!(serde_json::from_str::<LocalConfig>(wrong).is_err(), "{wrong}");
        }
    }
}
