//! Typed configurations: what a block of `larder.yaml` is parsed into, and what it builds.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::BuildContext;
use crate::error::Result;
use crate::online::OnlineStore;
use crate::registry::Registry;

/// The configuration of an online store, chosen by its `type:`.
#[typetag::deserialize(tag = "type")]
#[async_trait]
pub trait OnlineStoreConfig: Debug + Send + Sync {
    /// Whether the options fit each other and are of the right form, which can be said without opening anything:
    /// `larder validate` asks, and errors then name the place in the file.
    ///
    /// # Errors
    /// `Config` with a remedy.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Builds the store. Opens files and makes clients; connects lazily where that can fail later.
    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn OnlineStore>>;
}

/// The configuration of a registry, chosen by its `type:`.
#[typetag::deserialize(tag = "type")]
#[async_trait]
pub trait RegistryConfig: Debug + Send + Sync {
    /// Builds the registry.
    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn Registry>>;
}

/// The configuration of a provider: a few keys that expand to a whole stack. Pure, no I/O.
#[typetag::deserialize(tag = "type")]
pub trait ProviderConfig: Debug + Send + Sync {
    /// The blocks it stands for.
    fn expand(&self) -> ProviderStack;
}

/// The blocks a provider expands to, as they would stand in `larder.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderStack {
    /// `registry:`
    pub registry: serde_json::Value,
    /// `online:`
    pub online: serde_json::Value,
    /// `offline:`
    pub offline: serde_json::Value,
}
