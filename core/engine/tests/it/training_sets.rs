//! What does a training set tell of itself, and which rows may be asked for?

use larder_base::{ErrorKind, Micros, Value, Version};
use larder_core::OfflineOptions;
use larder_core::arrow::array::RecordBatch;
use larder_engine::historical::{Historical, HistoricalReport};
use larder_engine::{ApplyOptions, Selection};

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
        (3, at(2), Some(at(2)), Some(5)),
    ]);
    world
}

#[tokio::test]
async fn nulls_ages_and_phases_are_told() {
    let world = world().await;
    let rows = [(1, at(0)), (1, at(-5)), (1, at(-6)), (7, at(0))];
    let small = OfflineOptions::default().with_batch_rows(1);
    for options in [OfflineOptions::default(), small] {
        let task = world
            .store
            .historical("svc")
            .entities([spine(&rows)])
            .options(options);
        let (_, report) = collect(task).await;
        let n = &report.features[0];
        assert_eq!((n.column.as_str(), n.reference.as_str()), ("n", "stats:n"));
        // Null in the row of five hours before, and for a user that is not known.
        assert_eq!((n.nulls, n.null_share), (2, 0.5));
        let age = n.age.unwrap();
        let hours = |micros: u64| micros as f64 / HOUR as f64;
        // Three rows have winners: 1 h, 0 h and 4 h old.
        assert!((hours(age.p50_us) - 1.0).abs() < 0.01, "{age:?}");
        assert!((hours(age.p99_us) - 4.0).abs() < 0.04, "{age:?}");
        assert_eq!(age.max_us, 4 * HOUR as u64);
        let names: Vec<&str> = report.phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["entity rows", "join", "assemble", "write"]);
        assert!(report.phases.iter().all(|phase| phase.seconds >= 0.0));
    }
}

#[tokio::test]
async fn defaults_leave_no_nulls() {
    let world = world().await;
    let yaml = USERS.replace(
        "[stats] }",
        "[{ ref: \"stats:n\", default: 7, default_null: true }] }",
    );
    world.apply(&yaml).await;
    let rows = [(1, at(-5)), (7, at(0))];
    let (_, report) = collect(world.store.historical("svc").entities([spine(&rows)])).await;
    assert_eq!(report.features[0].nulls, 0);
    assert_eq!(report.features[0].age.unwrap().max_us, 0);
}

#[tokio::test]
async fn an_explanation_tells_views_and_reads_nothing() {
    let world = world().await;
    let task = world
        .store
        .historical("svc")
        .entities([spine(&[(1, at(0))])])
        .knowledge(larder_base::model::Knowledge::AsOf);
    let explanation = task.explain().await.unwrap();
    assert_eq!((explanation.rows, explanation.version), (1, Version(1)));
    let view = &explanation.views[0];
    assert_eq!(
        (view.view.as_str(), view.source.as_str(), view.features),
        ("stats", "orders", 2)
    );
    assert_eq!(view.knowledge.as_str(), "as_of");
    assert_eq!(view.ttl.unwrap().to_string(), "7d");
    assert!(view.read.is_some());
    let error = world
        .store
        .historical("svc")
        .latest(None)
        .explain()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_limit_takes_the_first_rows() {
    let world = world().await;
    let rows = [(1, at(0)), (3, at(0)), (1, at(-10))];
    for (limit, expected) in [(0, 0), (2, 2), (9, 3)] {
        let task = world
            .store
            .historical("svc")
            .entities([spine(&rows)])
            .limit(limit);
        let (out, report) = collect(task).await;
        assert_eq!((out.num_rows(), report.rows), (expected, expected as u64));
        assert_eq!(
            numbers(&out, "label"),
            (0..expected as i64).map(Some).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn labels_are_columns_and_no_features() {
    let world = world().await;
    let with = |labels: &[&str]| {
        world
            .store
            .historical("svc")
            .entities([spine(&[(1, at(0))])])
            .labels(labels.to_vec())
    };
    let (_, report) = collect(with(&["label"])).await;
    assert!(report.warnings.is_empty());
    assert_says(
        with(&["lable"]).run().await,
        &["no label column `lable`", "did you mean `label`"],
    );
    assert_says(with(&["n"]).run().await, &["label `n`", "feature `stats:n`"]);
    assert_says(with(&["N"]).full_names(true).run().await, &["feature `stats:n`"]);
    assert_says(with(&["user_id"]).run().await, &["is a key"]);
    assert_says(with(&["event_timestamp"]).run().await, &["is the time"]);
    assert_says(with(&["label", "label"]).run().await, &["twice"]);
    let latest = world.store.historical("svc").latest(None).labels(["label"]);
    assert_says(latest.run().await, &["needs entity rows"]);

    // The label is the very column that a feature is read from.
    let yaml = USERS.replace(
        "created_time: created",
        "created_time: created, columns: { n: label }",
    );
    world.apply(&yaml).await;
    world.offline.insert(
        "orders",
        batch(vec![
            ("user_id", ints([1])),
            ("at", times([at(0)])),
            ("created", times([at(0)])),
            ("label", ints([1])),
            ("x", floats([1.0])),
        ]),
    );
    let explained = with(&["label"]).explain().await.unwrap();
    assert!(
        explained.warnings[0].contains("feature `stats:n`"),
        "{explained:?}"
    );
}

#[tokio::test]
async fn a_training_set_of_that_day_can_be_made_again() {
    let world = world().await;
    let rows = [(1, at(0)), (1, at(-6))];
    let before = world
        .store
        .historical("svc")
        .entities([spine(&rows)])
        .known_until(Micros(at(1)));
    let (before, _) = collect(before).await;
    assert_eq!(
        numbers(&before, "n"),
        [None, Some(1)],
        "the row written at 3 h is not seen"
    );
    // What arrives later changes nothing.
    world.orders(&[
        (1, at(-4), Some(at(2)), Some(8)),
        (1, at(-7), Some(at(4)), Some(6)),
    ]);
    let again = world
        .store
        .historical("svc")
        .entities([spine(&rows)])
        .known_until(Micros(at(1)));
    assert_eq!(collect(again).await.0, before);
    let (now, _) = collect(world.store.historical("svc").entities([spine(&rows)])).await;
    assert_eq!(numbers(&now, "n"), [Some(3), Some(6)]);
}

#[tokio::test]
async fn definitions_of_an_earlier_version_can_be_asked_for() {
    let world = world().await;
    let options = ApplyOptions::new()
        .with_offline(true)
        .with_allow_destructive(true);
    let yaml = USERS
        .replace("ttl: 7d", "ttl: 1h")
        .replace(", { name: x, type: float64 }", "");
    world.try_apply(&yaml, &options).await.unwrap();
    let task = || world.store.historical("svc").entities([spine(&[(1, at(2))])]);
    let (now, report) = collect(task()).await;
    assert_eq!((now.num_columns(), report.version), (4, Version(2)));
    assert_eq!(numbers(&now, "n"), [None]);
    let (then, report) = collect(task().at_version(Version(1))).await;
    assert_eq!((then.num_columns(), report.version), (5, Version(1)));
    assert_eq!(numbers(&then, "n"), [Some(3)]);
    assert!(task().at_version(Version(9)).run().await.is_err());
}

#[tokio::test]
async fn the_latest_rows_need_no_entity_rows() {
    let world = world().await;
    let (out, report) = collect(world.store.historical("svc").latest(None)).await;
    assert_eq!(
        numbers(&out, "user_id"),
        [Some(1)],
        "2 is expired, 3 lies in the future"
    );
    assert_eq!(numbers(&out, "n"), [Some(3)]);
    assert_eq!(column(&out, "event_timestamp"), [Value::Timestamp(Micros(START))]);
    assert_eq!(report.rows, 1);

    let (out, _) = collect(world.store.historical("svc").latest(Some(Micros(at(2))))).await;
    assert_eq!(numbers(&out, "user_id"), [Some(1), Some(3)]);
    assert_eq!(numbers(&out, "n"), [Some(3), Some(5)]);
    // Only what was visible at that instant, to the known entities too.
    let then = world
        .store
        .historical("svc")
        .latest(Some(Micros(at(2))))
        .known_until(Micros(at(1)));
    let (out, _) = collect(then).await;
    assert_eq!(
        (numbers(&out, "user_id"), numbers(&out, "n")),
        (vec![Some(1)], vec![None])
    );
    let as_of = world
        .store
        .historical("svc")
        .latest(Some(Micros(at(2))))
        .knowledge(larder_base::model::Knowledge::AsOf)
        .limit(1);
    let (out, _) = collect(as_of).await;
    assert_eq!(
        (numbers(&out, "user_id"), numbers(&out, "n")),
        (vec![Some(1)], vec![None])
    );
}

#[tokio::test]
async fn latest_wants_one_entity() {
    let world = World::new();
    world
        .apply(
            "
entities: [{ name: a, join_keys: [{ name: a, type: int64 }] }, { name: b, join_keys: [{ name: b, type: int64 }] }]
sources: [{ name: s, type: memory, event_time: at }]
feature_views:
  - { name: v, entities: [a], source: s, features: [{ name: x, type: int64 }] }
  - { name: w, entities: [b], source: s, features: [{ name: y, type: int64 }] }
  - { name: g, entities: [], source: s, features: [{ name: z, type: int64 }] }
",
        )
        .await;
    world.offline.insert(
        "s",
        batch(vec![
            ("a", ints([1, 2, 1])),
            ("b", ints([7, 8, 9])),
            ("at", times([at(-3), at(-2), at(-1)])),
            ("x", ints([10, 20, 30])),
            ("y", ints([1, 2, 3])),
            ("z", ints([4, 5, 6])),
        ]),
    );
    let latest = |features: &[&str]| {
        world
            .store
            .historical(Selection::features(features.to_vec()))
            .latest(None)
    };
    assert_says(
        latest(&["v", "w"]).run().await,
        &["`v` and `w`", "different entities"],
    );
    let (out, _) = collect(latest(&["v", "g"])).await;
    assert_eq!(numbers(&out, "a"), [Some(1), Some(2)]);
    assert_eq!(numbers(&out, "x"), [Some(30), Some(20)]);
    assert_eq!(numbers(&out, "z"), [Some(6), Some(6)]);
    let (out, _) = collect(latest(&["g"])).await;
    assert_eq!(numbers(&out, "z"), [Some(6)]);
}

#[tokio::test]
async fn all_rows_of_an_interval_come_as_they_are() {
    let world = world().await;
    let range = |from, until| {
        world
            .store
            .historical(Selection::features(["stats:n"]))
            .range(Micros(from), Micros(until))
    };
    let (out, report) = collect(range(at(-10), at(-1))).await;
    let names: Vec<_> = out.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["user_id", "event_timestamp", "created_timestamp", "n"]);
    assert_eq!(numbers(&out, "n"), [Some(1), None, Some(3)]);
    assert_eq!((report.rows, report.features[0].nulls), (3, 1));
    let (out, _) = collect(range(at(-10), at(-1)).known_until(Micros(at(1)))).await;
    assert_eq!(numbers(&out, "n"), [Some(1), None]);
    let (out, report) = collect(range(at(-300), at(9)).limit(2)).await;
    assert_eq!((out.num_rows(), report.rows), (2, 2));
    assert_says(range(at(1), at(0)).run().await, &["ends before it begins"]);
    let renamed = range(at(0), at(1)).key("user", "customer");
    assert_says(renamed.run().await, &["`user` is not a join key"]);
    let (out, _) = collect(range(at(-1), at(-1)).key("user_id", "customer")).await;
    assert_eq!(numbers(&out, "customer"), [Some(1)]);
    let (out, _) = collect(range(at(100), at(101))).await;
    assert_eq!((out.num_rows(), out.num_columns()), (0, 4));
}
