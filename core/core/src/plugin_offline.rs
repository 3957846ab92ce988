//! The configuration of an offline store, chosen by its `type:`.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use larder_base::{BuildContext, Result};

use crate::offline::OfflineStore;

/// The configuration of an offline store, chosen by its `type:`.
#[typetag::deserialize(tag = "type")]
#[async_trait]
pub trait OfflineStoreConfig: Debug + Send + Sync {
    /// Builds the store.
    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn OfflineStore>>;
}
