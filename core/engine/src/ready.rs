//! Is an online store ready for a project? One that is new, or was emptied, is made so.

use std::collections::BTreeSet;
use std::sync::Arc;

use larder_base::model::FeatureView;
use larder_base::{LayoutChanges, OnlineStore, Result, Snapshot, StoreIdentity, StoreName};

use crate::store::FeatureStore;

/// The store's identity; a store that lost its own, because it was flushed, gets a new one, and
/// with it every interval of the old one is void. It is made ready for all of its views at once.
pub(crate) async fn identity(
    online: &dyn OnlineStore,
    snapshot: &Snapshot,
    name: &StoreName,
) -> Result<StoreIdentity> {
    if let Some(identity) = online.identity(snapshot.project()).await? {
        return Ok(identity);
    }
    let of_store = |view: &&Arc<FeatureView>| view.online.store().as_ref() == Some(name);
    let views = snapshot.catalog().feature_views.values().filter(of_store);
    let layouts = views
        .filter_map(|view| snapshot.layout(view.name.as_str()).cloned())
        .collect();
    let changes = LayoutChanges {
        project: snapshot.project().clone(),
        layouts,
    };
    online.prepare(&changes).await
}

impl FeatureStore {
    /// Prepares the online stores of a project that have no identity, and names them. One that cannot be asked is
    /// left for whoever needs it.
    pub(crate) async fn make_ready(&self, snapshot: &Snapshot) -> Vec<StoreName> {
        let views = snapshot.catalog().feature_views.values();
        let names: BTreeSet<StoreName> = views.filter_map(|view| view.online.store()).collect();
        let mut made = Vec::new();
        for name in names {
            match self.make_one_ready(snapshot, &name).await {
                Ok(true) => made.push(name),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, store = %name, "the online store could not be prepared"),
            }
        }
        made
    }

    async fn make_one_ready(&self, snapshot: &Snapshot, name: &StoreName) -> Result<bool> {
        let online = self.online_store(name).await?;
        if online.identity(snapshot.project()).await?.is_some() {
            return Ok(false);
        }
        identity(&**online, snapshot, name).await?;
        Ok(true)
    }
}
