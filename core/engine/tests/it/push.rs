//! Is a pushed batch checked whole before the first row is written, and does each side say what it did?

use std::sync::atomic::Ordering;

use larder_base::{ErrorKind, Micros, Span, Value};
use larder_core::arrow::array::RecordBatch;
use larder_engine::PushTarget;

use crate::support::*;

pub(crate) fn at(hours: i64) -> i64 {
    START + hours * HOUR
}

/// Rows without a created column: user, event, n.
pub(crate) fn fresh(rows: &[(Option<i64>, Option<i64>, Option<i64>)]) -> RecordBatch {
    batch(vec![
        ("user_id", ints(rows.iter().map(|row| row.0))),
        ("at", times(rows.iter().map(|row| row.1))),
        ("n", ints(rows.iter().map(|row| row.2))),
        ("x", floats(rows.iter().map(|row| row.2.map(|n| n as f64)))),
    ])
}

pub(crate) async fn world() -> World {
    let world = World::new();
    world.apply(USERS).await;
    world
}

/// The history of the source as (user, event, created, n).
pub(crate) async fn history(world: &World) -> Vec<(Value, Value, Value, Value)> {
    use futures::StreamExt;
    use larder_core::{OfflineOptions, OfflineStore, RangeRead, ViewScan};
    let snapshot = world.store.snapshot().await.unwrap();
    let source = snapshot.catalog().source("orders").unwrap().clone();
    let of = larder_base::ValueType::INT64;
    let key = larder_base::JoinKey {
        name: "user_id".parse().unwrap(),
        value_type: of,
    };
    let scan = ViewScan::new("stats".parse().unwrap(), source)
        .key(key, "user_id")
        .feature("n".parse().unwrap(), of, "n");
    let request = RangeRead::new(scan, Micros::MIN, Micros::MAX);
    let mut batches = world
        .offline
        .range(request, &OfflineOptions::default())
        .await
        .unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = batches.next().await {
        let batch = batch.unwrap();
        let columns = ["user_id", "__event_time", "__created_time", "n"].map(|name| column(&batch, name));
        let [user, event, created, n] = columns;
        let row = |(((user, event), created), n)| (user, event, created, n);
        rows.extend(user.into_iter().zip(event).zip(created).zip(n).map(row));
    }
    rows
}

#[tokio::test]
async fn rows_go_online_newest_per_key() {
    let world = world().await;
    let rows = fresh(&[
        (Some(1), Some(at(-2)), Some(1)),
        (Some(1), Some(at(-1)), Some(2)),
        (Some(2), Some(at(-3)), None),
    ]);
    let report = world.store.push("orders").rows([rows]).run().await.unwrap();
    assert_eq!((report.rows, report.appended, report.views.len()), (3, 0, 1));
    assert_eq!((report.views[0].written, report.views[0].stale), (2, 1));
    assert_eq!(world.n(1).await, Some(2));
    assert_eq!(
        world.read(&["stats:n"], &[2]).await[0][0],
        larder_engine::Reading::Null
    );
    // An older one later is stale, and says so.
    let report = world
        .store
        .push("stats")
        .rows([fresh(&[(Some(1), Some(at(-2)), Some(9))])])
        .run()
        .await
        .unwrap();
    assert_eq!((report.views[0].written, report.views[0].stale), (0, 1));
    assert_eq!(world.n(1).await, Some(2));
    // The same event, created later, is newer.
    pass(&world, 1);
    world
        .store
        .push("orders")
        .rows([fresh(&[(Some(1), Some(at(-1)), Some(3))])])
        .run()
        .await
        .unwrap();
    assert_eq!(world.n(1).await, Some(3));
    assert!(history(&world).await.is_empty());
}

#[tokio::test]
async fn one_bad_row_refuses_all_and_every_bad_row_is_named() {
    let world = world().await;
    let future = START + 5 * MINUTE + 1;
    let rows = fresh(&[
        (Some(1), Some(at(-1)), Some(1)),
        (None, Some(at(-1)), Some(2)),
        (Some(3), None, Some(3)),
        (Some(4), Some(future), Some(4)),
        (Some(5), Some(future - 1), Some(5)),
    ]);
    let push = || {
        world
            .store
            .push("orders")
            .to(PushTarget::Both)
            .rows([rows.clone()])
    };
    let error = assert_says(
        push().run().await,
        &[
            "row 1: join key `user_id` is null",
            "row 2: event time `at` is null",
            "row 3: event time",
            "future",
            "3 problems",
        ],
    );
    assert_eq!((error.kind(), error.diagnostics().len()), (ErrorKind::Input, 3));
    assert!(history(&world).await.is_empty());
    assert_eq!(world.online.writes.load(Ordering::SeqCst), 0);

    let report = push().dead_letter(true).run().await.unwrap();
    assert_eq!((report.rows, report.appended, report.views[0].written), (5, 2, 2));
    assert_eq!(
        report.refused.iter().map(|bad| bad.row).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let dead = report.dead.unwrap();
    assert_eq!(numbers(&dead, "n"), [Some(2), Some(3), Some(4)]);
    let Value::String(reason) = &column(&dead, "reason")[2] else {
        panic!("no reason")
    };
    assert!(reason.contains("future"), "{reason}");
    // An event ahead of the clock is stored and not served before its time.
    assert_eq!((world.n(1).await, world.n(5).await), (Some(1), None));
    pass(&world, 6 * MINUTE);
    assert_eq!(world.n(5).await, Some(5));
    let wide = world
        .store
        .push("orders")
        .max_future(Span::days(1))
        .rows([fresh(&[(Some(6), Some(at(20)), Some(6))])]);
    assert_eq!(wide.run().await.unwrap().views[0].written, 1);
}

#[tokio::test]
async fn a_created_time_of_the_future_is_refused() {
    let world = world().await;
    let rows = batch(vec![
        ("user_id", ints([1, 2, 3])),
        ("at", times([at(-1); 3])),
        (
            "created",
            times([Some(START + 5 * MINUTE), Some(START + 5 * MINUTE + 1), None]),
        ),
        ("n", ints([1, 2, 3])),
        ("x", floats([1.0, 2.0, 3.0])),
    ]);
    let push = world.store.push("orders").to(PushTarget::Both).rows([rows]);
    assert_says(push.clone().run().await, &["row 1: created time", "future"]);
    let report = push.dead_letter(true).run().await.unwrap();
    assert_eq!((report.bad, report.refused[0].row, report.appended), (1, 1, 2));
    assert_eq!((world.n(2).await, world.n(3).await), (None, Some(3)));
}

#[tokio::test]
async fn a_row_that_the_online_store_cannot_take_is_refused_before_the_first_is_written() {
    const NOTES: &str = "\
entities: [{ name: user, join_keys: [{ name: user_id, type: int64 }] }]
sources: [{ name: notes, type: memory, event_time: at, timezone: UTC }]
feature_views: [{ name: texts, entities: [user], source: notes, lateness: 1h, features: [{ name: text, type: string }] }]
";
    let world = World::new();
    world.apply(NOTES).await;
    world.online.hold(100);
    let long = "x".repeat(100);
    let rows = batch(vec![
        ("user_id", ints([Some(1), None, Some(3), Some(4)])),
        ("at", times([at(-1); 4])),
        (
            "text",
            texts([Some("short"), Some("short"), Some(&long), Some("short")]),
        ),
    ]);
    for target in [PushTarget::Online, PushTarget::Both] {
        let push = world.store.push("notes").to(target).rows([rows.clone()]);
        let error = push.clone().run().await;
        assert_says(
            error,
            &[
                "row 1: join key",
                "row 2: a row of",
                "too long",
                "`texts`",
                "takes 100",
            ],
        );
        let report = push.dead_letter(true).run().await.unwrap();
        let refused: Vec<usize> = report.refused.iter().map(|bad| bad.row).collect();
        assert_eq!((refused, report.views[0].written), (vec![1, 2], 2));
    }
    // The history takes rows of any length.
    let offline = world
        .store
        .push("notes")
        .to(PushTarget::Offline)
        .rows([rows.slice(2, 1)]);
    assert_eq!(offline.run().await.unwrap().appended, 1);
}

#[tokio::test]
async fn columns_must_be_there_and_fit() {
    let world = world().await;
    let without = batch(vec![
        ("user_id", ints([1])),
        ("at", times([START])),
        ("n", ints([1])),
    ]);
    assert_says(
        world.store.push("orders").rows([without]).run().await,
        &["no column `x`", "rows to push"],
    );
    let wrong = batch(vec![
        ("user_id", ints([1])),
        ("at", times([START])),
        ("n", floats([1.5])),
        ("x", floats([1.0])),
    ]);
    assert_says(
        world.store.push("orders").rows([wrong]).run().await,
        &["column=n", "int64"],
    );
    let naive_ = batch(vec![
        ("user_id", ints([1])),
        ("at", naive([START])),
        ("n", ints([1])),
        ("x", floats([1.0])),
    ]);
    assert_says(
        world.store.push("orders").rows([naive_]).run().await,
        &["at", "zone"],
    );
    assert_says(
        world.store.push("order").rows([fresh(&[])]).run().await,
        &["`order`", "orders"],
    );
    assert_says(world.store.push("orders").run().await, &["no rows"]);
    let nothing = world
        .store
        .push("orders")
        .to(PushTarget::Both)
        .rows([fresh(&[])])
        .run()
        .await
        .unwrap();
    assert_eq!(
        (nothing.rows, nothing.appended, nothing.views[0].written),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_key_too_long_is_a_bad_row_before_anything_is_written() {
    let world = World::new();
    let yaml = USERS.replace("type: int64 }] }]\nsources", "type: string }] }]\nsources");
    world.apply(&yaml).await;
    let long = "k".repeat(2_000);
    let rows = batch(vec![
        ("user_id", texts(["a", &long])),
        ("at", times([at(-1), at(-1)])),
        ("n", ints([1, 2])),
        ("x", floats([1.0, 2.0])),
    ]);
    let push = || {
        world
            .store
            .push("orders")
            .to(PushTarget::Both)
            .rows([rows.clone()])
    };
    let error = assert_says(push().run().await, &["row 1", "1024"]);
    assert!(!error.to_string().contains("kkk"), "keys may be sensitive");
    assert_eq!(world.online.writes.load(Ordering::SeqCst), 0);
    let report = push().dead_letter(true).run().await.unwrap();
    assert_eq!((report.appended, report.views[0].written), (1, 1));
}

#[tokio::test]
async fn batches_go_by_column_name() {
    let world = world().await;
    let swapped = batch(vec![
        ("n", ints([7])),
        ("at", times([at(-1)])),
        ("user_id", ints([8])),
        ("x", floats([1.0])),
    ]);
    world
        .store
        .push("orders")
        .rows([fresh(&[(Some(1), Some(at(-1)), Some(2))]), swapped])
        .run()
        .await
        .unwrap();
    assert_eq!(
        (world.n(1).await, world.n(8).await, world.n(7).await),
        (Some(2), Some(7), None)
    );
}
