//! Is a training set what SEMANTICS says: right rows, right names, in order, and counted?

use std::sync::Arc;

use larder_base::model::Knowledge;
use larder_base::{ErrorKind, Micros, Value};
use larder_core::arrow::array::RecordBatch;
use larder_engine::{Historical, HistoricalReport, Selection};

use crate::support::*;

fn at(hours: i64) -> i64 {
    START + hours * HOUR
}

fn spine(rows: &[(i64, i64)]) -> RecordBatch {
    batch(vec![
        ("user_id", ints(rows.iter().map(|row| row.0))),
        ("event_timestamp", times(rows.iter().map(|row| row.1))),
        ("label", ints(0..rows.len() as i64)),
    ])
}

async fn collect(task: Historical) -> (RecordBatch, HistoricalReport) {
    task.run().await.unwrap().collect().await.unwrap()
}

async fn world() -> World {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[
        (1, at(-10), Some(at(-10)), Some(1)),
        (1, at(-5), Some(at(-5)), None),
        (1, at(-1), Some(at(3)), Some(3)),
        (2, at(-200), Some(at(-200)), Some(9)),
    ]);
    world
}

#[tokio::test]
async fn rows_come_out_as_they_went_in() {
    let world = world().await;
    let rows = [
        (1, at(0)),
        (3, at(0)),
        (1, at(-10)),
        (1, at(-10) - 1),
        (1, at(0)),
        (2, at(0)),
        (1, at(-5)),
    ];
    let (out, report) = collect(world.store.historical("svc").entities([spine(&rows)])).await;
    let names: Vec<_> = out.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["user_id", "event_timestamp", "label", "n", "x"]);
    assert_eq!(out.columns()[..3], spine(&rows).columns()[..3]);
    // A null of the winner stays null; older rows are not asked.
    assert_eq!(
        numbers(&out, "n"),
        [Some(3), None, Some(1), None, Some(3), None, None]
    );
    assert_eq!((report.rows, report.version.0), (7, 1));
    let view = &report.views[0];
    assert_eq!(view.view, "stats");
    assert_eq!(
        (view.matched, view.unmatched, view.expired, view.null_keys),
        (4, 2, 1, 0)
    );
    // The row of an hour ago was written three hours from now: twice it leaks.
    assert_eq!((view.known_later, view.full_ties, view.source_rows), (2, 0, 4));
}

#[tokio::test]
async fn null_keys_match_nothing_and_null_times_are_an_error() {
    let world = world().await;
    let rows = batch(vec![
        ("user_id", ints([None, Some(1)])),
        ("event_timestamp", times([at(0), at(0)])),
    ]);
    let (out, report) = collect(world.store.historical("svc").entities([rows])).await;
    assert_eq!(numbers(&out, "n"), [None, Some(3)]);
    assert_eq!(report.views[0].null_keys, 1);
    let rows = batch(vec![
        ("user_id", ints([1, 1, 1])),
        ("event_timestamp", times([None, Some(at(0)), None])),
    ]);
    let error = assert_says(
        world.store.historical("svc").entities([rows]).run().await,
        &["2 entity rows have no time", "row 0, 2", "event_timestamp"],
    );
    assert_eq!(error.kind(), ErrorKind::Input);
}

#[tokio::test]
async fn the_knowledge_of_the_source_can_be_overridden() {
    let world = world().await;
    let (out, report) = collect(
        world
            .store
            .historical("svc")
            .knowledge(Knowledge::AsOf)
            .entities([spine(&[(1, at(0)), (1, at(3)), (1, at(-6))])]),
    )
    .await;
    assert_eq!(numbers(&out, "n"), [None, Some(3), Some(1)]);
    assert_eq!(report.views[0].known_later, 1, "the modes differ in one row");
}

#[tokio::test]
async fn no_rows_give_no_rows_with_all_columns() {
    let world = world().await;
    let (out, report) = collect(world.store.historical("svc").entities([spine(&[])])).await;
    assert_eq!((out.num_rows(), out.num_columns(), report.rows), (0, 5, 0));
    assert_eq!(report.views.len(), 1);
    assert_says(world.store.historical("svc").run().await, &["no entity rows"]);
}

#[tokio::test]
async fn defaults_fill_what_was_not_found_and_are_counted() {
    let world = world().await;
    let yaml = USERS.replace(
        "[stats] }",
        "[{ ref: \"stats:n\", default: 7 }, { ref: \"stats:x\", default: 0.5, default_null: true }] }",
    );
    world.apply(&yaml).await;
    let rows = [(1, at(0)), (1, at(-5)), (3, at(0)), (2, at(0))];
    let (out, report) = collect(world.store.historical("svc").entities([spine(&rows)])).await;
    assert_eq!(numbers(&out, "n"), [Some(3), None, Some(7), Some(7)]);
    assert_eq!(column(&out, "x"), [1.5, 0.5, 0.5, 0.5].map(Value::Float64),);
    let counts: Vec<_> = report
        .defaults
        .iter()
        .map(|d| (d.column.as_str(), d.filled, d.filled_null))
        .collect();
    assert_eq!(counts, [("n", 2, 0), ("x", 2, 1)]);
    // The same online: at the same instant, from the same rows.
    world.orders(&[(4, at(0), None, None)]);
    world.materialize().await;
    let keys = [("user_id", [1, 3, 2, 4].map(Value::Int64).to_vec())];
    let served = read(&world.store, Selection::service("svc"), &keys).await;
    let values: Vec<Vec<Value>> = served
        .into_iter()
        .map(|row| {
            row.into_iter()
                .map(|r| r.value().unwrap_or(Value::Null))
                .collect()
        })
        .collect();
    let (trained, _) = collect(world.store.historical("svc").entities([spine(&[
        (1, at(0)),
        (3, at(0)),
        (2, at(0)),
        (4, at(0)),
    ])]))
    .await;
    for (row, served) in values.iter().enumerate() {
        assert_eq!(
            [&served[0], &served[1]],
            [&column(&trained, "n")[row], &column(&trained, "x")[row]]
        );
    }
    assert_eq!(values[3], [Value::Null, Value::Float64(0.5)]);
}

#[tokio::test]
async fn names_clash_before_any_data_is_read() {
    let world = world().await;
    let rows = || {
        let mut columns = vec![("user_id", ints([1])), ("event_timestamp", times([at(0)]))];
        columns.push(("N", ints([5])));
        batch(columns)
    };
    let error = assert_says(
        world.store.historical("svc").entities([rows()]).run().await,
        &["`n`", "column `N` of the entity rows", "stats:n", "--full-names"],
    );
    assert_eq!(error.kind(), ErrorKind::Input);
    let (out, _) = collect(world.store.historical("svc").full_names(true).entities([rows()])).await;
    assert_eq!(numbers(&out, "stats__n"), [Some(3)]);
    assert_eq!(numbers(&out, "N"), [Some(5)]);

    let two = USERS.replace("\nfeature_services", "\n  - { name: other, entities: [user], source: orders, features: [{ name: n, type: int64 }] }\nfeature_services");
    world.apply(&two).await;
    let both = Selection::features(["stats:n", "other:n"]);
    assert_says(
        world
            .store
            .historical(both.clone())
            .entities([spine(&[(1, at(0))])])
            .run()
            .await,
        &["stats:n", "other:n"],
    );
    let (out, _) = collect(
        world
            .store
            .historical(both)
            .full_names(true)
            .entities([spine(&[(2, at(0))])]),
    )
    .await;
    assert_eq!(
        (numbers(&out, "stats__n"), numbers(&out, "other__n")),
        (vec![None], vec![Some(9)])
    );
}

#[tokio::test]
async fn event_times_come_on_request() {
    let world = world().await;
    let task = world
        .store
        .historical("svc")
        .event_times(true)
        .entities([spine(&[(1, at(0)), (2, at(0))])]);
    let (out, _) = collect(task).await;
    assert_eq!(
        column(&out, "stats__event_timestamp"),
        [Value::Timestamp(Micros(at(-1))), Value::Null]
    );
}

#[tokio::test]
async fn columns_of_entity_rows_may_have_other_names_zones_and_widths() {
    let world = world().await;
    let rows = batch(vec![
        ("customer", small_ints([1])),
        ("when", naive([at(0) + 2 * HOUR])),
    ]);
    let task = || {
        world
            .store
            .historical("svc")
            .time_column("when")
            .key("user_id", "customer")
            .entities([rows.clone()])
    };
    assert_says(task().run().await, &["when", "zone"]);
    let (out, _) = collect(task().timezone("Europe/Stockholm")).await;
    assert_eq!(numbers(&out, "n"), [Some(3)]);
    assert_says(
        world.store.historical("svc").entities([rows.clone()]).run().await,
        &["event_timestamp", "--time-column"],
    );
    assert_says(
        world
            .store
            .historical("svc")
            .time_column("when")
            .timezone("UTC")
            .entities([rows.clone()])
            .run()
            .await,
        &["user_id", "--keys"],
    );
    assert_says(
        task().key("user", "customer").timezone("UTC").run().await,
        &["`user`", "user_id"],
    );
    assert_says(
        world.store.historical("svcs").entities([rows]).run().await,
        &["svcs", "svc"],
    );
}

#[tokio::test]
async fn wide_columns_serve_narrow_keys() {
    let world = World::new();
    world
        .apply(&USERS.replace("type: int64 }] }]\nsources", "type: int32 }] }]\nsources"))
        .await;
    world.offline.insert(
        "orders",
        batch(vec![
            ("user_id", small_ints([1, -1])),
            ("at", times([at(-1), at(-1)])),
            ("created", times([at(-1), at(-1)])),
            ("n", ints([1, 2])),
            ("x", floats([1.0, 2.0])),
        ]),
    );
    // A value that does not fit is no such key: it must not wrap around to one that exists.
    let rows = spine(&[
        (1, at(0)),
        ((1 << 32) + 1, at(0)),
        (0xffff_ffff, at(0)),
        (-1, at(0)),
    ]);
    let (out, report) = collect(world.store.historical("svc").entities([rows])).await;
    assert_eq!(numbers(&out, "n"), [Some(1), None, None, Some(2)]);
    assert_eq!(numbers(&out, "user_id")[1], Some((1 << 32) + 1));
    assert_eq!(report.rows, 4);
}

#[tokio::test]
async fn batches_of_entity_rows_go_by_column_name() {
    let world = world().await;
    let swapped = batch(vec![
        ("label", ints([1])),
        ("event_timestamp", times([at(-10)])),
        ("user_id", ints([1])),
    ]);
    let task = world
        .store
        .historical("svc")
        .entities([spine(&[(2, at(-200))]), swapped]);
    let (out, _) = collect(task).await;
    assert_eq!(numbers(&out, "n"), [Some(9), Some(1)]);
    assert_eq!(numbers(&out, "user_id"), [Some(2), Some(1)]);
    let fewer = batch(vec![("user_id", ints([1])), ("event_timestamp", times([at(0)]))]);
    assert_says(
        world
            .store
            .historical("svc")
            .entities([spine(&[(1, at(0))]), fewer])
            .run()
            .await,
        &["different columns", "entity rows"],
    );
    let other = batch(vec![
        ("user_id", texts(["1"])),
        ("event_timestamp", times([at(0)])),
        ("label", ints([1])),
    ]);
    let task = world
        .store
        .historical("svc")
        .entities([spine(&[(1, at(0))]), other]);
    assert_says(task.run().await, &["different columns", "user_id"]);
}

#[tokio::test]
async fn ties_are_counted_and_the_last_row_wins() {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[
        (1, at(-1), None, Some(1)),
        (1, at(-1), Some(at(-1)), Some(2)),
        (1, at(-1), Some(at(-1)), Some(3)),
    ]);
    let (out, report) = collect(
        world
            .store
            .historical("svc")
            .entities([spine(&[(1, at(0)), (1, at(-1))])]),
    )
    .await;
    assert_eq!(numbers(&out, "n"), [Some(3), Some(3)]);
    assert_eq!(report.views[0].full_ties, 2);
    let metadata = Arc::new(out.schema());
    assert_eq!(metadata.fields().len(), 5);
}
