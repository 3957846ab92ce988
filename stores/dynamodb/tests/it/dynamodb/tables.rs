//! How do tables come to be, whatever is there already, and what is in them?

use std::sync::Arc;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use larder_base::{
    ErrorKind, FeatureName, LayoutChanges, Micros, OnlineDelete, OnlineStore, OnlineWrite, PackedRows,
    ReadOptions, RowStatus, Slot, Span, Value, ValueType, ViewLayout, WriteOptions,
};
use larder_dynamodb::Billing;

use super::common::{client, config, keys, layout, open, plain_layout, prepare, read, read_with, write};
use super::server::Server;

#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn a_table_is_made_as_it_was_asked_for() {
    let server = Server::start();
    let mut config = config(server.endpoint());
    config.table = "f.{project}".to_owned();
    config.billing = Billing::Provisioned { read: 5, write: 7 };
    config.tags.insert("team".to_owned(), "risk".to_owned());
    prepare(&open(&config).await, &layout("my-shop", "v", 1)).await;
    let client = super::common::client(&server);
    let told = client.describe_table().table_name("f.my-shop").send().await;
    let table = told.expect("a table").table.expect("a description");
    let units = table.provisioned_throughput().expect("units");
    assert_eq!(
        (units.read_capacity_units, units.write_capacity_units),
        (Some(5), Some(7))
    );
    let told = client
        .describe_time_to_live()
        .table_name("f.my-shop")
        .send()
        .await;
    let expiry = told
        .expect("an answer")
        .time_to_live_description
        .expect("a description");
    assert_eq!(expiry.attribute_name(), Some("x"));
    let arn = table.table_arn().expect("a name");
    let tags = client.list_tags_of_resource().resource_arn(arn).send().await;
    assert_eq!(tags.expect("tags").tags()[0].value(), "risk");
}

#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn a_table_is_billed_per_request_where_nothing_is_said() {
    let server = Server::start();
    prepare(&open(&config(server.endpoint())).await, &layout("shop", "v", 1)).await;
    let told = client(&server)
        .describe_table()
        .table_name("larder_shop")
        .send()
        .await;
    let table = told.expect("a table").table.expect("a description");
    let billing = table
        .billing_mode_summary()
        .and_then(|summary| summary.billing_mode());
    assert_eq!(billing, Some(&BillingMode::PayPerRequest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn many_may_prepare_at_once() {
    let server = Server::start();
    let layout = layout("shop", "v", 1);
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let (config, project) = (config(server.endpoint()), layout.project().clone());
            tokio::spawn(async move {
                let layouts = Vec::new();
                open(&config)
                    .await
                    .prepare(&LayoutChanges { project, layouts })
                    .await
            })
        })
        .collect();
    let mut identities = Vec::new();
    for task in tasks {
        identities.push(task.await.expect("no panic").expect("a table"));
    }
    identities.dedup();
    assert_eq!(identities.len(), 1);
}

#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn a_foreign_table_is_refused() {
    let server = Server::start();
    let (client, layout) = (super::common::client(&server), layout("shop", "v", 1));
    let key = KeySchemaElement::builder()
        .attribute_name("id")
        .key_type(KeyType::Hash);
    let attribute = AttributeDefinition::builder()
        .attribute_name("id")
        .attribute_type(ScalarAttributeType::S);
    client
        .create_table()
        .table_name("larder_shop")
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key.build().expect("a key"))
        .attribute_definitions(attribute.build().expect("an attribute"))
        .send()
        .await
        .expect("a table");
    let store = open(&config(server.endpoint())).await;
    let changes = LayoutChanges {
        project: layout.project().clone(),
        layouts: Vec::new(),
    };
    for error in [
        store.prepare(&changes).await.expect_err("a foreign table"),
        write(&store, &layout, &[(1, 1, 1)])
            .await
            .expect_err("a foreign table"),
        read(&store, &layout, &[1]).await.expect_err("a foreign table"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
        assert!(error.chain().contains("table:"), "{}", error.chain());
    }
}

#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn without_a_table_reads_find_nothing_and_writes_say_what_to_do() {
    let server = Server::start();
    let store = open(&config(server.endpoint())).await;
    let layout = layout("shop", "v", 1);
    assert_eq!(read(&store, &layout, &[1]).await.expect("a read"), [None]);
    let error = write(&store, &layout, &[(1, 1, 1)]).await.expect_err("no table");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.chain().contains("larder apply"), "{}", error.chain());
    let gone = store.reclaim(layout.project(), &[layout.generation()]).await;
    assert_eq!(gone.expect("nothing to do").rows, 0);
}

#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn rows_say_when_they_may_go() {
    let server = Server::start();
    let store = open(&config(server.endpoint())).await;
    let now = i64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs(),
    )
    .expect("a while yet");
    let kept = layout("shop", "kept", 1);
    let plain = plain_layout("shop", "leaves", 2).with_retention(Some(Span::days(2)));
    let leaves = Arc::new(plain.with_ttl(Some(Span::days(3))));
    prepare(&store, &kept).await;
    let event = now * 1_000_000;
    for view in [&kept, &leaves] {
        write(&store, view, &[(1, event, 1)]).await.expect("a write");
    }
    write(&store, &leaves, &[(2, 5, 1)]).await.expect("an old row");
    let delete = OnlineDelete {
        layout: kept.clone(),
        keys: keys(&kept, &[2]),
        at: Micros(event),
        now: Micros(event),
    };
    store
        .delete(&delete, &WriteOptions::default())
        .await
        .expect("a deletion");
    let items = client(&server).scan().table_name("larder_shop").send().await;
    let mut found: Vec<(u8, Option<i64>)> = items
        .expect("items")
        .items()
        .iter()
        .filter_map(|item| {
            let AttributeValue::B(key) = &item["k"] else {
                panic!("another key")
            };
            let at = item
                .get("x")
                .map(|at| at.as_n().expect("a number").parse().expect("seconds"));
            (key.as_ref()[0] == 1).then(|| (key.as_ref()[4], at))
        })
        .collect();
    found.sort();
    let [(1, None), (1, Some(tombstone)), (2, Some(old)), (2, Some(new))] = found[..] else {
        panic!("{found:?}");
    };
    let about = |at: i64, days: i64, hours: i64| {
        let expected = now + days * 86_400 + hours * 3_600;
        assert!((at - expected).abs() < 60, "{at} is not about {expected}");
    };
    about(tombstone, 7, 0);
    about(new, 3, 1);
    about(old, -365, 0);
}

#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn a_retired_view_leaves_and_nothing_else() {
    let server = Server::start();
    let mut config = config(server.endpoint());
    config.reclaim_rate = 1_000_000;
    let store = open(&config).await;
    let views: Vec<_> = (1..=3_u32).map(|n| layout("shop", &format!("v{n}"), n)).collect();
    prepare(&store, &views[0]).await;
    let rows: Vec<_> = (0..130).map(|key| (key, 1, key)).collect();
    for view in &views {
        write(&store, view, &rows).await.expect("a write");
    }
    let retired = [views[0].generation(), views[2].generation()];
    let gone = store.reclaim(views[0].project(), &retired).await.expect("room");
    assert_eq!(gone.rows, 260);
    assert_eq!(
        store
            .reclaim(views[0].project(), &retired)
            .await
            .expect("again")
            .rows,
        0
    );
    let names: Vec<i64> = (0..130).collect();
    for (view, stays) in views.iter().zip([false, true, false]) {
        let found = read(&store, view, &names).await.expect("a read");
        assert!(found.iter().all(|row| row.is_some() == stays));
    }
    assert!(
        store
            .identity(views[0].project())
            .await
            .expect("an answer")
            .is_some()
    );
}

/// The limit is DynamoDB's own, and what it takes comes back.
#[tokio::test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn longer_rows_than_an_item_may_have_are_refused_clearly() {
    let server = Server::start();
    let store = open(&config(server.endpoint())).await;
    let layout = text_layout(4);
    prepare(&store, &layout).await;
    let row = |bytes| text(&layout, 1, bytes);
    store
        .write(&row(400_000), &WriteOptions::default())
        .await
        .expect("a long row");
    let error = store
        .write(&row(1 << 20), &WriteOptions::default())
        .await
        .expect_err("1 MB");
    assert_eq!(error.kind(), ErrorKind::Input);
    for part in ["400 KB", "view=long", "row=0"] {
        assert!(error.chain().contains(part), "{}", error.chain());
    }
}

/// A table of several pages, of which one is walked over per second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn a_removal_that_was_broken_off_goes_on_where_it_was() {
    let server = Server::start();
    let mut config = config(server.endpoint());
    config.reclaim_rate = 100;
    let (gone, kept) = (text_layout(5), text_layout(6));
    let store = open(&config).await;
    prepare(&store, &gone).await;
    for view in [&gone, &kept] {
        for key in 0..20 {
            let done = store
                .write(&text(view, key, 150_000), &WriteOptions::default())
                .await;
            done.expect("a long row");
        }
    }
    let client = client(&server);
    let mark = async || {
        let key = AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new(*b"\0reclaim"));
        let told = client
            .get_item()
            .table_name("larder_shop")
            .key("k", key)
            .send()
            .await;
        told.expect("an answer").item.is_some()
    };
    let project = gone.project().clone();
    let left = async || {
        let told = client.scan().table_name("larder_shop").projection_expression("k");
        let told = told.send().await.expect("a page");
        (told.count(), told.last_evaluated_key.is_some())
    };
    let before = left().await;
    assert!(before.1, "the table has one page only: {before:?}");
    {
        let retired = [gone.generation()];
        let broken_off = store.reclaim(&project, &retired);
        let marked = async {
            while !mark().await {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            report = broken_off => panic!("it was not broken off: {report:?}"),
            () = marked => {}
        }
    }
    config.reclaim_rate = 1_000_000;
    let store = open(&config).await;
    let report = store
        .reclaim(&project, &[gone.generation()])
        .await
        .expect("the rest");
    assert!((1..20).contains(&report.rows), "{report:?}");
    assert!(!mark().await);
    assert_eq!(
        store
            .reclaim(&project, &[gone.generation()])
            .await
            .expect("all")
            .rows,
        0
    );
    let names: Vec<i64> = (0..20).collect();
    for (view, status) in [(&gone, RowStatus::NotFound), (&kept, RowStatus::Present)] {
        let found = read_with(&store, view, &names, ReadOptions::new())
            .await
            .expect("a read");
        assert!(found.iter().all(|row| row.0 == status), "{found:?}");
    }
}

/// A view whose rows can be long.
fn text_layout(generation: u32) -> Arc<ViewLayout> {
    let base = plain_layout("shop", "long", generation);
    Arc::new(ViewLayout::new(
        base.project().clone(),
        base.view().clone(),
        base.generation(),
        base.join_keys().to_vec(),
        vec![Slot::new(
            FeatureName::new("text").expect("a name"),
            ValueType::BYTES,
        )],
    ))
}

/// One long row.
fn text(layout: &Arc<ViewLayout>, key: i64, bytes: usize) -> OnlineWrite {
    let mut rows = PackedRows::new();
    rows.push_values(layout, Micros(1), None, &[Value::Bytes(vec![7; bytes].into())])
        .expect("a row");
    OnlineWrite::new(layout.clone(), keys(layout, &[key]), Arc::new(rows))
}
