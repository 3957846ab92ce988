//! Does a check tell what is wrong, without changing anything?

use aws_sdk_dynamodb::types::TimeToLiveSpecification;
use larder_base::{BuildContext, ErrorKind, Health, OnlineStore, ProjectName};
use larder_dynamodb::{Billing, DynamoDbConfig, DynamoDbStore};

use super::common::{config, layout, open, prepare};
use super::server::Server;
use super::stub::{Stub, Trick, refused};

async fn checked(config: &DynamoDbConfig) -> larder_base::Result<Health> {
    let context = BuildContext::new("/nowhere").with_project(ProjectName::new("shop").expect("a name"));
    DynamoDbStore::new(config, &context)
        .await
        .expect("a store")
        .check()
        .await
}

#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn a_check_tells_what_will_hurt() {
    let server = Server::start();
    let config = config(server.endpoint());
    let told = |health: &Health| health.warnings.join("\n");
    let health = checked(&config).await.expect("a server");
    assert!(told(&health).contains("larder apply"), "{health:?}");
    prepare(&open(&config).await, &layout("shop", "v", 1)).await;
    let client = super::common::client(&server);
    let items = async || {
        let told = client.scan().table_name("larder_shop").send().await;
        told.expect("items").count()
    };
    let before = items().await;
    let health = checked(&config).await.expect("a server");
    assert_eq!(health.warnings, Vec::<String>::new());
    let detail = |name: &str| {
        let found = health.details.iter().find(|(of, _)| of == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (detail("status"), detail("billing")),
        (Some("active"), Some("on demand"))
    );
    assert_eq!(
        (detail("time to live"), detail("table")),
        (Some("on"), Some("larder_shop"))
    );
    assert_eq!(items().await, before);
    let off = TimeToLiveSpecification::builder()
        .enabled(false)
        .attribute_name("x");
    client
        .update_time_to_live()
        .table_name("larder_shop")
        .time_to_live_specification(off.build().expect("a specification"))
        .send()
        .await
        .expect("off");
    let mut other = config.clone();
    other.billing = Billing::Provisioned { read: 1, write: 1 };
    let health = checked(&other).await.expect("a server");
    let warnings = told(&health);
    assert!(
        warnings.contains("time to live") && warnings.contains("billed"),
        "{warnings}"
    );
    // Whoever builds a store by itself has no project.
    open(&config).await.check().await.expect("a server");
}

#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn rights_that_are_missing_are_told() {
    let server = Server::start();
    prepare(&open(&config(server.endpoint())).await, &layout("shop", "v", 1)).await;
    let stub = Stub::start(server.address()).await;
    stub.play(refused(
        1,
        400,
        "AccessDeniedException",
        "User: x is not authorized",
    ));
    let error = checked(&config(stub.endpoint()))
        .await
        .expect_err("not even to read");
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.chain());
    for (operation, code) in [
        ("PutItem", "dynamodb:PutItem"),
        ("BatchWriteItem", "dynamodb:BatchWriteItem"),
    ] {
        stub.play(Trick::Deny(operation));
        let health = checked(&config(stub.endpoint()))
            .await
            .expect("fine for who reads");
        assert!(
            health.warnings.iter().any(|text| text.contains(code)),
            "{health:?}"
        );
    }
}
