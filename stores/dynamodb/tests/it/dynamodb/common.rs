//! What the tests of this crate share: how a store is opened, and rows of one number.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use larder_base::{BuildContext, LayoutChanges, OnlineStore, Secret, ViewLayout};
use larder_dynamodb::{DynamoDbConfig, DynamoDbStore};

use super::server::Server;

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

/// A client of the tests' own.
pub(crate) fn client(server: &Server) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(server.endpoint())
        .build();
    Client::from_conf(config)
}
