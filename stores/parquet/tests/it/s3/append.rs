//! Whether rows appended on S3 are there whole or not at all, whatever happens on the way.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use larder_core::arrow::array::*;
use larder_core::{
    Error, ErrorKind, Micros, OfflineOptions, OfflineStore, RangeRead, Result, Span, ViewScan,
};
use object_store::list::PaginatedListStore;
use serde_json::json;

use super::proxy::{Fault, Proxy, Seen};
use super::world::{Server, built, prefix};
use crate::common::{Rng, micros, scan, source};

fn view(path: &str) -> ViewScan {
    let definition = json!({ "name": "s", "type": "parquet", "path": path, "event_time": "at" });
    scan(
        &source(definition),
        &[("id", "int64")],
        &[("total", "int64"), ("text", "string")],
    )
}

fn rows(scan: &ViewScan, ids: std::ops::Range<i64>, text: usize) -> RecordBatch {
    let n = (ids.end - ids.start) as usize;
    let mut rng = Rng::new(ids.start as u64 + 1);
    // Text that does not compress.
    let text: Vec<String> = (0..n)
        .map(|_| {
            (0..text)
                .map(|_| char::from(b'!' + rng.below(90) as u8))
                .collect()
        })
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        micros(ids.clone()),
        Arc::new(TimestampMicrosecondArray::from(vec![None; n]).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter_values(ids.map(|id| id * 10))),
        Arc::new(StringArray::from(text)),
    ];
    RecordBatch::try_new(scan.schema(), columns).unwrap()
}

async fn append(store: &dyn OfflineStore, scan: &ViewScan, batches: Vec<Result<RecordBatch>>) -> Result<u64> {
    store
        .append(scan, stream::iter(batches).boxed(), &OfflineOptions::default())
        .await
}

async fn ids(store: &dyn OfflineStore, scan: &ViewScan) -> Vec<i64> {
    let request = RangeRead::new(scan.clone(), Micros::MIN, Micros::MAX);
    let options = OfflineOptions::default().with_threads(1);
    let batches: Vec<RecordBatch> = store
        .range(request, &options)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<types::Int64Type>()
                .values()
                .to_vec()
        })
        .collect();
    ids.sort_unstable();
    ids
}

async fn keys(server: &Server, prefix: &str) -> Vec<String> {
    let page = server
        .client()
        .list_paginated(Some(prefix), Default::default())
        .await
        .unwrap();
    page.result
        .objects
        .into_iter()
        .map(|object| object.location.into())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn rows_come_back_and_files_come_last() {
    let (server, at) = (Server::of_environment(), prefix());
    let store = built(&server.config(&at)).await;
    let scan = view("pushed/");
    assert_eq!(
        append(
            &*store,
            &scan,
            vec![Ok(rows(&scan, 0..5, 3)), Ok(rows(&scan, 5..9, 3))]
        )
        .await
        .unwrap(),
        9
    );
    assert_eq!(
        append(&*store, &scan, vec![Ok(rows(&scan, 9..12, 3))])
            .await
            .unwrap(),
        3
    );
    assert_eq!(append(&*store, &scan, Vec::new()).await.unwrap(), 0);
    assert_eq!(ids(&*store, &scan).await, (0..12).collect::<Vec<_>>());
    let keys = keys(&server, &at).await;
    assert_eq!(keys.len(), 2);
    assert!(
        keys.iter()
            .all(|key| key.starts_with(&format!("{at}pushed/part-"))),
        "{keys:?}"
    );

    // A stream that fails leaves nothing.
    let failing = vec![Ok(rows(&scan, 20..25, 3)), Err(Error::input("the caller's own"))];
    assert_eq!(
        append(&*store, &scan, failing).await.unwrap_err().kind(),
        ErrorKind::Input
    );
    assert_eq!(super::append::keys(&server, &at).await.len(), 2);

    for (path, what) in [("pushed/*.parquet", "pattern"), ("one.parquet", "single file")] {
        let scan = view(path);
        let error = append(&*store, &scan, vec![Ok(rows(&scan, 0..1, 1))])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn what_is_large_goes_in_parts() {
    let (server, at) = (Server::of_environment(), prefix());
    let refusing = |n: usize| {
        let mut parts = 0;
        move |seen: &Seen| {
            if seen.method == "PUT" && seen.target.contains("partNumber") {
                parts += 1;
                return if parts == n { Fault::SlowDown } else { Fault::Pass };
            }
            Fault::Pass
        }
    };
    let proxy = Proxy::new(&server.endpoint, std::time::Duration::ZERO, refusing(2));
    let mut config = server.config(&at);
    config.endpoint = Some(proxy.endpoint());
    let store = built(&config).await;
    let scan = view("big/");
    // Row groups of a million rows would stay in memory until the end: bytes decide here.
    let batches = (0..60)
        .map(|n| Ok(rows(&scan, n * 100..n * 100 + 100, 8_000)))
        .collect();
    assert_eq!(append(&*store, &scan, batches).await.unwrap(), 6_000);
    let parts = |seen: &Seen| seen.method == "PUT" && seen.target.contains("partNumber");
    assert!(proxy.seen().iter().filter(|seen| parts(seen)).count() >= 3);
    assert_eq!(ids(&*store, &scan).await, (0..6_000).collect::<Vec<_>>());

    // Parts that are refused for good leave no object.
    let proxy = Proxy::new(
        &server.endpoint,
        std::time::Duration::ZERO,
        move |seen| match parts(seen) {
            true => Fault::Status(403, "AccessDenied"),
            false => Fault::Pass,
        },
    );
    config.endpoint = Some(proxy.endpoint());
    let store = built(&config).await;
    let scan = view("denied/");
    let batches = (0..60)
        .map(|n| Ok(rows(&scan, n * 100..n * 100 + 100, 8_000)))
        .collect();
    let error = append(&*store, &scan, batches).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert_eq!(keys(&server, &format!("{at}denied/")).await, Vec::<String>::new());
    assert!(
        proxy.seen().iter().any(|seen| seen.method == "DELETE"),
        "the upload was aborted"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn an_answer_that_was_lost_is_no_second_file() {
    let (server, at) = (Server::of_environment(), prefix());
    let mut first = true;
    // The object is written, and its answer is cut off.
    let proxy = Proxy::new(&server.endpoint, std::time::Duration::ZERO, move |seen| {
        match seen.method == "PUT" && std::mem::take(&mut first) {
            true => Fault::Lost,
            false => Fault::Pass,
        }
    });
    let mut config = server.config(&at);
    config.endpoint = Some(proxy.endpoint());
    let store = built(&config).await;
    let scan = view("pushed/");
    assert_eq!(
        append(&*store, &scan, vec![Ok(rows(&scan, 0..5, 3))])
            .await
            .unwrap(),
        5
    );
    assert_eq!(keys(&server, &at).await.len(), 1);
    assert_eq!(ids(&*store, &scan).await, (0..5).collect::<Vec<_>>());
    assert_eq!(proxy.seen().iter().filter(|seen| seen.method == "PUT").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn throttled_for_good_is_overloaded_and_leaves_nothing() {
    let (server, at) = (Server::of_environment(), prefix());
    let proxy = Proxy::new(&server.endpoint, std::time::Duration::ZERO, |seen| {
        match seen.method.as_str() {
            "PUT" => Fault::SlowDown,
            _ => Fault::Pass,
        }
    });
    let mut config = server.config(&at);
    config.endpoint = Some(proxy.endpoint());
    config.retries = Some(2);
    config.retry_timeout = Some(Span::seconds(3));
    let store = built(&config).await;
    let scan = view("pushed/");
    let error = append(&*store, &scan, vec![Ok(rows(&scan, 0..5, 3))])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error:?}");
    assert!(error.to_string().contains("pushed/part-"), "{error}");
    assert_eq!(keys(&server, &at).await, Vec::<String>::new());
}
