//! What the tests of this crate share: how a store is opened, and rows of one number.

use larder_base::{BuildContext, LayoutChanges, OnlineStore, Secret, ViewLayout};
use larder_dynamodb::{DynamoDbConfig, DynamoDbStore};

pub(crate) use larder_conformance::numbers::*;

/// A store's options for an endpoint.
pub(crate) fn config(endpoint: impl Into<String>) -> DynamoDbConfig {
    let mut config = DynamoDbConfig::new("eu-west-1");
    config.endpoint = Some(endpoint.into());
    config.access_key_id = Some("test".to_owned());
    config.secret_access_key = Some(Secret::new("test".to_owned()));
    config
}

pub(crate) async fn open(config: &DynamoDbConfig) -> DynamoDbStore {
    DynamoDbStore::new(config, &BuildContext::new("/nowhere"))
        .await
        .expect("a store")
}

/// Makes the table of a view's project.
pub(crate) async fn prepare(store: &dyn OnlineStore, layout: &ViewLayout) {
    let changes = LayoutChanges {
        project: layout.project().clone(),
        layouts: Vec::new(),
    };
    store.prepare(&changes).await.expect("a table");
}
