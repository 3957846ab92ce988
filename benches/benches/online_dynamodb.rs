//! What do reads and writes over DynamoDB cost beyond the bare client moving the same bytes?
//!
//! A service of 50 `float64` features in three views (17, 17, 16) on an emulator on loopback, which this program starts and
//! stops. It is slower than DynamoDB and closer by, so only ratios say something. Reads: 1, 10 and 100 rows of 10,000
//! entities at random.
//!
//! - `bare`: the same number of keys by `BatchGetItem`, a hundred keys a request, all at once, by the same client;
//! - `read`: keys as `i64` in, `Session::read`, statuses decided;
//! - `tensor`: the same and `fill_f32` of all 50 features.
//!
//! Writes: 20,000 rows of one view of 10 features: `first`, `again` and `newer` are `OnlineStore::write` into nothing, of the
//! same rows, of newer rows. Newest-wins next to `PutItem` without a condition, as many at once; then `overwrite` next to
//! `BatchWriteItem`.
//!
//! Bytes are those that DynamoDB bills (names and values of attributes), next to those of Feast's items.

#![allow(missing_docs, reason = "a program, not a library")]

#[allow(
    dead_code,
    reason = "the kit of the store's own tests; not all of it is needed here"
)]
#[path = "../../stores/dynamodb/tests/it/dynamodb/server.rs"]
mod server;
#[allow(dead_code, reason = "what only the bench of Redis counts")]
#[path = "online/service.rs"]
mod service;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, PutRequest, WriteRequest};
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use larder_base::{BuildContext, OnlineWrite, Secret};
use larder_dynamodb::{DynamoDbConfig, DynamoDbStore, WriteMode};
use server::Server;
use service::{Bare, Dice, Service, WIDTHS};
use std::collections::HashMap;
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZES: [usize; 3] = [1, 10, 100];
const ENTITIES: u64 = 10_000;
const WRITTEN: u64 = 20_000;
const TABLE: &str = "larder_bench";
/// Keys and items of one request, and requests that write at once, as DynamoDB and the store have them.
const KEYS: usize = 100;
const ITEMS: usize = 25;
const UNDER_WAY: usize = 64;

type Item = HashMap<String, AttributeValue>;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "a bench tells what it measured")]
async fn main() {
    let server = Server::start();
    let mut report = String::new();

    let service = Service::new(store(&server, WriteMode::Overwrite).await, ENTITIES).await;
    service.write(&service.filling()).await;
    let mut bare = Requests::new(&server, Puts::Batches).await;
    let bytes = bare.items.iter().map(size).sum::<usize>() as f64 / ENTITIES as f64;
    let feast: usize = WIDTHS.iter().map(|width| size(&feast_item(*width))).sum();
    writeln!(
        report,
        "50 features in 3 views: {bytes:.0} bytes of DynamoDB per entity, in Feast's layout {feast} ({:.2}x)",
        bytes / feast as f64
    )
    .expect("a string grows");
    service.reads(&SIZES, &mut bare, &mut report).await;
    report += "\noverwrite, next to BatchWriteItem";
    service.writes(WRITTEN, &mut bare, &mut report).await;

    let server = Server::start();
    let service = Service::new(store(&server, WriteMode::NewestWins).await, ENTITIES).await;
    let mut bare = Requests::new(&server, Puts::Single).await;
    report += "\nnewest_wins, next to PutItem";
    service.writes(WRITTEN, &mut bare, &mut report).await;
    eprintln!("{report}");
}

async fn store(server: &Server, mode: WriteMode) -> Arc<DynamoDbStore> {
    let mut config = DynamoDbConfig::new("eu-west-1");
    config.endpoint = Some(server.endpoint());
    config.access_key_id = Some("test".to_owned());
    config.secret_access_key = Some(Secret::new("test".to_owned()));
    config.write_mode = mode;
    let store = DynamoDbStore::new(&config, &BuildContext::new(".")).await;
    Arc::new(store.expect("a store"))
}

/// How the bare client writes.
#[derive(Clone, Copy)]
enum Puts {
    Single,
    Batches,
}

/// The client that larder uses, with nothing around it.
struct Requests {
    client: Client,
    puts: Puts,
    /// What the store wrote.
    items: Vec<Item>,
}

impl Requests {
    async fn new(server: &Server, puts: Puts) -> Self {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
            .endpoint_url(server.endpoint())
            .build();
        let client = Client::from_conf(config);
        let mut items = Vec::new();
        let mut pages = client.scan().table_name(TABLE).into_paginator().items().send();
        while let Some(item) = pages.next().await {
            items.push(item.expect("an item"));
        }
        // Not the store's own marks, which have fewer attributes.
        items.retain(|item| item.contains_key("o"));
        Self { client, puts, items }
    }

    async fn put(&self, items: Vec<Item>) {
        match self.puts {
            Puts::Single => {
                for item in items {
                    let put = self.client.put_item().table_name("bare").set_item(Some(item));
                    put.send().await.expect("written");
                }
            }
            Puts::Batches => {
                let requests = items.into_iter().map(|item| {
                    let put = PutRequest::builder().set_item(Some(item)).build();
                    WriteRequest::builder().put_request(put.expect("an item")).build()
                });
                let batch = self.client.batch_write_item();
                let answer = batch.request_items("bare", requests.collect()).send().await;
                let left = answer.expect("written").unprocessed_items;
                assert!(left.is_none_or(|left| left.is_empty()));
            }
        }
    }
}

impl Bare for Requests {
    async fn read(&mut self, keys: usize, dice: &mut Dice) -> Duration {
        // A request names a key once; so few of so many are hardly ever the same.
        let mut chosen: Vec<usize> = (0..keys).map(|_| dice.below(self.items.len())).collect();
        chosen.sort_unstable();
        chosen.dedup();
        let requests = chosen.chunks(KEYS).map(|chosen| {
            let keys = chosen
                .iter()
                .map(|at| HashMap::from([("k".to_owned(), self.items[*at]["k"].clone())]));
            let keys = KeysAndAttributes::builder().set_keys(Some(keys.collect()));
            let keys = keys.projection_expression("k, v").build().expect("keys");
            self.client.batch_get_item().request_items(TABLE, keys)
        });
        let requests: Vec<_> = requests.collect();
        let began = Instant::now();
        let answers = join_all(requests.into_iter().map(|request| request.send())).await;
        for answer in answers {
            black_box(answer.expect("items"));
        }
        began.elapsed()
    }

    async fn write(&mut self, batches: &[OnlineWrite]) -> Duration {
        make(&self.client).await;
        let items: Vec<Item> = batches.iter().flat_map(items_of).collect();
        let at_once = match self.puts {
            Puts::Single => 1,
            Puts::Batches => ITEMS,
        };
        let chunks: Vec<Vec<Item>> = items.chunks(at_once).map(<[Item]>::to_vec).collect();
        let began = Instant::now();
        stream::iter(chunks)
            .for_each_concurrent(UNDER_WAY, |items| self.put(items))
            .await;
        began.elapsed()
    }
}

/// A table like the store's.
async fn make(client: &Client) {
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    };
    let key = KeySchemaElement::builder()
        .attribute_name("k")
        .key_type(KeyType::Hash);
    let attribute = AttributeDefinition::builder()
        .attribute_name("k")
        .attribute_type(ScalarAttributeType::B);
    client
        .create_table()
        .table_name("bare")
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key.build().expect("a key"))
        .attribute_definitions(attribute.build().expect("an attribute"))
        .send()
        .await
        .expect("a table");
}

/// The rows of a batch as the store's items.
fn items_of(write: &OnlineWrite) -> Vec<Item> {
    let generation = write.layout.generation().0.to_be_bytes();
    let rows = write.keys.iter().flatten().zip(write.rows.iter());
    rows.map(|(key, row)| {
        Item::from([
            ("k".to_owned(), binary([&[1], &generation[..], key].concat())),
            ("o".to_owned(), binary(row[8..24].to_vec())),
            ("v".to_owned(), binary(row.to_vec())),
        ])
    })
    .collect()
}

fn binary(bytes: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// What Feast stores of a view with so many `float64` features.
fn feast_item(width: usize) -> Item {
    let value = || binary(vec![0x29, 0, 0, 0, 0, 0, 0, 0xd0, 0x3f]);
    let values = (0..width).map(|feature| (format!("v0_f{feature}"), value()));
    Item::from([
        ("entity_id".to_owned(), AttributeValue::S("0".repeat(32))),
        (
            "event_ts".to_owned(),
            AttributeValue::S("2023-11-14 22:13:20.123456+00:00".to_owned()),
        ),
        ("values".to_owned(), AttributeValue::M(values.collect())),
    ])
}

/// The bytes of an item by the rules of DynamoDB's documentation.
fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size_of(value)).sum()
}

fn size_of(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        // Three for a map, and one for each of its members.
        AttributeValue::M(map) => 3 + map.len() + size(map),
        other => panic!("no item here has {other:?}"),
    }
}
