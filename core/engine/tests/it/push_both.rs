//! Do pushed rows arrive in the history as they do online?

use larder_base::{Micros, Value};
use larder_engine::{PushTarget, Selection};

use crate::push::{at, fresh, history, world};
use crate::support::*;

#[tokio::test]
async fn both_sides_get_the_same_stamped_rows() {
    let world = world().await;
    let created = batch(vec![
        ("user_id", ints([1, 2])),
        ("at", times([at(-1), at(-1)])),
        ("created", times([Some(at(-1)), None])),
        ("n", ints([1, 2])),
        ("x", floats([1.0, 2.0])),
    ]);
    let report = world
        .store
        .push("orders")
        .to(PushTarget::Both)
        .rows([created])
        .run()
        .await
        .unwrap();
    assert_eq!((report.appended, report.views[0].written), (2, 2));
    let time = |at| Value::Timestamp(Micros(at));
    let stored = history(&world).await;
    assert_eq!(
        stored,
        [
            (Value::Int64(1), time(at(-1)), time(at(-1)), Value::Int64(1)),
            (Value::Int64(2), time(at(-1)), time(START), Value::Int64(2)),
        ]
    );
    // What was pushed is what a run would write: all of it is equal, nothing is stale.
    let ran = world.materialize().await;
    assert_eq!((ran.written, ran.stale), (2, 0));
    let offline =
        world
            .store
            .push("orders")
            .to(PushTarget::Offline)
            .rows([fresh(&[(Some(3), Some(at(0)), Some(3))])]);
    let report = offline.run().await.unwrap();
    assert_eq!((report.appended, report.views.len()), (1, 0));
    assert_eq!(world.n(3).await, None);
}

#[tokio::test]
async fn when_online_fails_the_history_has_the_rows_and_the_error_says_so() {
    let world = world().await;
    world.online.fail_in(0);
    let push = || {
        world
            .store
            .push("orders")
            .to(PushTarget::Both)
            .rows([fresh(&[(Some(1), Some(at(-1)), Some(1))])])
    };
    let error = assert_says(
        push().run().await,
        &["pulled the plug", "appended_offline=1", "stats"],
    );
    assert!(error.is_retryable());
    assert_eq!(history(&world).await.len(), 1);
    world.online.heal();
    assert_eq!(world.materialize().await.written, 1);
    assert_eq!(world.n(1).await, Some(1));
}

#[tokio::test]
async fn all_views_of_a_source_get_their_columns() {
    let world = World::new();
    let yaml = USERS.replace(
        "\nfeature_services",
        "\n  - { name: quiet, entities: [user], source: orders, online: false, features: [{ name: q, type: string }] }\nfeature_services",
    );
    world
        .apply(&yaml.replace("created_time: created", "created_time: created, tie_break: [seq]"))
        .await;
    let rows = |seqs: [i64; 2]| {
        batch(vec![
            ("user_id", ints([1, 1])),
            ("at", times([at(-1), at(-1)])),
            ("created", times([at(-1), at(-1)])),
            ("seq", ints(seqs)),
            ("n", ints([1, 2])),
            ("x", floats([1.0, 2.0])),
            ("q", texts(["a", "b"])),
        ])
    };
    let report = world
        .store
        .push("orders")
        .to(PushTarget::Both)
        .rows([rows([2, 1])])
        .run()
        .await
        .unwrap();
    assert_eq!(
        (report.appended, report.views.len(), report.views[0].written),
        (2, 1, 1)
    );
    assert_eq!(world.n(1).await, Some(1), "the tie-break decides within a batch");
    // The history kept what decides, so training says the same.
    let spine = || batch(vec![("user_id", ints([1])), ("event_timestamp", times([START]))]);
    let select = Selection::features(["stats:n", "quiet:q"]);
    let (out, report) = world
        .store
        .historical(select)
        .entities([spine()])
        .run()
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(numbers(&out, "n"), [Some(1)]);
    assert_eq!(column(&out, "q"), [Value::str("a")]);
    assert_eq!(report.views[0].full_ties, 0);
}

#[tokio::test]
async fn an_appended_column_that_the_table_lacks_is_added() {
    let world = world().await;
    world.orders(&[(1, at(-1), Some(at(-1)), Some(1))]);
    let more = USERS.replace(
        "{ name: x, type: float64 }",
        "{ name: x, type: float64 }, { name: y, type: int64 }",
    );
    world.apply(&more).await;
    let rows = batch(vec![
        ("user_id", ints([2])),
        ("at", times([at(-1)])),
        ("n", ints([2])),
        ("x", floats([2.0])),
        ("y", ints([22])),
    ]);
    world
        .store
        .push("orders")
        .to(PushTarget::Offline)
        .rows([rows])
        .run()
        .await
        .unwrap();
    let spine = batch(vec![
        ("user_id", ints([1, 2])),
        ("event_timestamp", times([START, START])),
    ]);
    let task = world
        .store
        .historical(Selection::features(["stats"]))
        .entities([spine]);
    let (out, _) = task.run().await.unwrap().collect().await.unwrap();
    assert_eq!(
        (numbers(&out, "n"), numbers(&out, "y")),
        (vec![Some(1), Some(2)], vec![None, Some(22)])
    );
}

#[tokio::test]
async fn a_backfill_reaches_rows_that_were_pushed_to_both() {
    for created in ["", ", created_time: created"] {
        let world = World::new();
        let yaml = USERS.replace(", created_time: created", created);
        world.apply(&yaml).await;
        let rows = batch(vec![
            ("user_id", ints([1])),
            ("at", times([at(-1)])),
            ("n", ints([1])),
            ("x", floats([1.0])),
            ("y", ints([11])),
        ]);
        let push = world
            .store
            .push("orders")
            .to(PushTarget::Online)
            .rows([rows.clone()]);
        push.run().await.unwrap();
        world.offline.insert("orders", {
            let mut columns: Vec<_> = ["user_id", "at", "n", "x", "y"]
                .into_iter()
                .map(|name| (name, rows.column_by_name(name).unwrap().clone()))
                .collect();
            columns.push(("created", times([START])));
            batch(columns)
        });
        world.materialize().await;
        let more = yaml.replace(
            "{ name: x, type: float64 }",
            "{ name: x, type: float64 }, { name: y, type: int64 }",
        );
        world.apply(&more).await;
        world.materialize().await;
        let read = world.read(&["stats:n", "stats:y"], &[1]).await.remove(0);
        assert_eq!(
            read,
            [1, 11].map(|n| larder_engine::Reading::Present(Value::Int64(n))),
            "created: {created:?}"
        );
    }
}
