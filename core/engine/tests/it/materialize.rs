//! Does an incremental run take exactly what is missing, late rows included?

use larder_base::{ErrorKind, Micros, Span};

use crate::support::*;

/// Users without created times: only `lateness` finds what comes late.
const PLAIN: &str = "
entities: [{ name: user, join_keys: [{ name: user_id, type: int64 }] }]
sources: [{ name: orders, type: memory, event_time: at }]
feature_views: [{ name: stats, entities: [user], source: orders, lateness: 2h, features: [{ name: n, type: int64 }] }]
";

fn at(hours: i64) -> i64 {
    START + hours * HOUR
}

/// A row that was known when it happened.
fn row(user: i64, hour: i64, n: i64) -> (i64, i64, Option<i64>, Option<i64>) {
    (user, at(hour), Some(at(hour)), Some(n))
}

#[tokio::test]
async fn an_incremental_run_reads_what_came_since() {
    for yaml in [USERS.to_owned(), USERS.replace("ttl: 7d, ", "")] {
        let world = World::new();
        world.apply(&yaml).await;
        world.orders(&[row(1, -2, 10), row(2, -1, 20), row(1, -1, 11), row(3, 1, 30)]);
        let first = world.materialize().await;
        assert_eq!((first.read, first.written, first.stale), (3, 2, 0));
        assert_eq!(first.until, Some(Micros(START)));
        assert_eq!(first.newest_event, Some(Micros(at(-1))));
        assert_eq!(
            (world.n(1).await, world.n(2).await, world.n(3).await),
            (Some(11), Some(20), None)
        );

        let nothing = world.materialize().await;
        assert_eq!(
            (nothing.slices, nothing.read, nothing.until),
            (0, 0, Some(Micros(START)))
        );

        pass(&world, HOUR);
        let second = world.materialize().await;
        assert_eq!((second.read, second.written), (1, 1));
        assert_eq!(world.n(3).await, Some(30));
    }
}

#[tokio::test]
async fn rows_beyond_the_ttl_are_not_read() {
    let world = World::new();
    world.apply(&USERS.replace("7d", "2h")).await;
    world.orders(&[row(1, -3, 1), row(2, -2, 2), row(3, -1, 3)]);
    // Exactly as old as the ttl is still good, inclusively.
    assert_eq!(world.materialize().await.read, 2);
    assert_eq!(
        (world.n(1).await, world.n(2).await, world.n(3).await),
        (None, Some(2), Some(3))
    );
    pass(&world, 1);
    assert_eq!(world.n(2).await, None, "expired a microsecond later");
}

#[tokio::test]
async fn late_rows_are_found_by_their_created_time() {
    for knowledge in ["tie_break", "as_of"] {
        let world = World::new();
        world
            .apply(&USERS.replace(
                "created_time: created",
                &format!("created_time: created, knowledge: {knowledge}"),
            ))
            .await;
        world.orders(&[row(1, -5, 1)]);
        world.materialize().await;
        pass(&world, HOUR);
        // Events of yesterday that were written half an hour ago.
        let late = at(0) + HOUR / 2;
        world.orders(&[
            (2, at(-30), Some(late), Some(2)),
            (1, at(-30), Some(late), Some(9)),
        ]);
        let second = world.materialize().await;
        assert_eq!((second.read, second.written, second.stale), (2, 1, 1));
        assert_eq!((world.n(1).await, world.n(2).await), (Some(1), Some(2)));
    }
}

/// A push stamps its rows before it appends them: a run in between covers their time and has not seen them.
#[tokio::test]
async fn rows_that_were_stamped_before_a_run_and_appended_after_it_are_found() {
    let world = World::new();
    world.apply(USERS).await;
    let stamped = START;
    pass(&world, 5 * MINUTE);
    world.orders(&[row(1, -5, 1)]);
    world.materialize().await;
    world.orders(&[(2, at(-30), Some(stamped), Some(2))]);
    pass(&world, MINUTE);
    world.materialize().await;
    assert_eq!(world.n(2).await, Some(2));
    // The window is the view's where it has one.
    world
        .apply(&USERS.replace("source: orders,", "source: orders, lateness: 1m,"))
        .await;
    pass(&world, HOUR);
    world.materialize().await;
    world.orders(&[(3, at(-30), Some(at(1) + 4 * MINUTE), Some(3))]);
    pass(&world, MINUTE);
    world.materialize().await;
    assert_eq!(world.n(3).await, None);
}

#[tokio::test]
async fn without_created_time_the_lateness_is_looked_at_again() {
    let world = World::new();
    world.apply(PLAIN).await;
    let rows = |rows: &[(i64, i64, i64)]| {
        batch(vec![
            ("user_id", ints(rows.iter().map(|r| r.0))),
            ("at", times(rows.iter().map(|r| r.1))),
            ("n", ints(rows.iter().map(|r| r.2))),
        ])
    };
    world.offline.insert("orders", rows(&[(1, at(-5), 1)]));
    world.materialize().await;
    pass(&world, HOUR);
    // Two hours before the last run at START: the first is too late for what was declared.
    world.offline.insert(
        "orders",
        rows(&[(2, at(-2), 2), (3, at(-2) + 1, 3), (4, at(1), 4)]),
    );
    let second = world.materialize().await;
    assert_eq!(second.read, 2);
    assert_eq!(
        (world.n(2).await, world.n(3).await, world.n(4).await),
        (None, Some(3), Some(4))
    );
    // A run over the range finds it.
    let task = world.store.materialize().range(Micros(at(-3)), Micros(at(-1)));
    assert_eq!(run(task).await.unwrap().written, 2);
    assert_eq!(world.n(2).await, Some(2));
}

#[tokio::test]
async fn lateness_is_missed_with_a_warning() {
    let world = World::new();
    let applied = world.apply(&PLAIN.replace("lateness: 2h, ", "")).await;
    assert_eq!(applied.plan.warnings.len(), 1);
    let warning = applied.plan.warnings[0].to_string();
    assert!(
        warning.contains("features.yaml:4") && warning.contains("lateness"),
        "{warning}"
    );
    assert!(world.apply(PLAIN).await.plan.warnings.is_empty());
}

#[tokio::test]
async fn a_row_is_served_when_it_is_available() {
    let world = World::new();
    world
        .apply(&USERS.replace(
            "created_time: created",
            "created_time: created, available_after: 30m",
        ))
        .await;
    world.orders(&[
        (1, at(0) - HOUR / 2, None, Some(1)),
        (2, at(0) - HOUR / 2 + 1, None, Some(2)),
    ]);
    assert_eq!(world.materialize().await.read, 1);
    assert_eq!((world.n(1).await, world.n(2).await), (Some(1), None));
    pass(&world, 1);
    // The first one stands within the lateness, and is read again.
    assert_eq!(world.materialize().await.read, 2);
    assert_eq!(world.n(2).await, Some(2));
}

#[tokio::test]
async fn as_of_serves_a_row_from_its_created_time_on() {
    let world = World::new();
    world
        .apply(&USERS.replace(
            "created_time: created",
            "created_time: { column: created, trusted_from: 2026-04-01 }, knowledge: as_of",
        ))
        .await;
    let untrusted = START - 60 * DAY;
    world.orders(&[
        (1, at(-2), Some(at(-1)), Some(1)),
        (1, at(-1), Some(at(1)), Some(2)),
        (2, at(-1), Some(untrusted), Some(3)),
        (3, at(-1), None, Some(4)),
    ]);
    world.materialize().await;
    assert_eq!(
        (world.n(1).await, world.n(2).await, world.n(3).await),
        (Some(1), Some(3), Some(4))
    );
    pass(&world, HOUR);
    assert_eq!(world.materialize().await.read, 1);
    assert_eq!(world.n(1).await, Some(2));
}

#[tokio::test]
async fn until_may_lie_in_the_past_and_never_in_the_future() {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[row(1, -3, 1), row(1, -1, 2)]);
    let past = run(world.store.materialize().incremental(Some(Micros(at(-2)))))
        .await
        .unwrap();
    assert_eq!((past.read, past.until), (1, Some(Micros(at(-2)))));
    assert_eq!(world.n(1).await, Some(1));
    for task in [
        world.store.materialize().incremental(Some(Micros(START + 1))),
        world.store.materialize().range(Micros(START), Micros(START + 1)),
    ] {
        let error = assert_says(task.run().await, &["until", "later than now"]);
        assert_eq!(error.kind(), ErrorKind::Input);
    }
    assert_says(
        world.store.materialize().range(Micros(2), Micros(1)).run().await,
        &["from"],
    );
    assert_eq!(world.materialize().await.read, 1);
    assert_eq!(world.n(1).await, Some(2));
}

#[tokio::test]
async fn views_are_chosen_by_name_and_unserved_ones_left_out() {
    let world = World::new();
    let two = USERS.replace(
        "feature_views:\n",
        "feature_views:\n  - { name: quiet, entities: [user], source: orders, online: false, features: [{ name: n, type: int64 }] }\n",
    );
    world.apply(&two).await;
    world.orders(&[row(1, -1, 1)]);
    assert_eq!(world.store.materialize().run().await.unwrap().views.len(), 1);
    assert_says(
        world.store.materialize().views(["quiet"]).run().await,
        &["quiet", "online: false"],
    );
    assert_says(
        world.store.materialize().views(["stat"]).run().await,
        &["stat", "stats"],
    );
}

#[tokio::test]
async fn among_equal_times_the_tie_break_decides() {
    let world = World::new();
    world
        .apply(&USERS.replace(
            "created_time: created",
            "created_time: created, tie_break: [rank, n]",
        ))
        .await;
    let tied = |ranks: &[Option<i64>], values: &[i64]| {
        batch(vec![
            ("user_id", ints(ranks.iter().map(|_| 1))),
            ("at", times(ranks.iter().map(|_| at(-1)))),
            ("created", times(ranks.iter().map(|_| at(-1)))),
            ("rank", ints(ranks.iter().copied())),
            ("n", ints(values.iter().copied())),
            ("x", floats(values.iter().map(|n| *n as f64))),
        ])
    };
    world.offline.insert(
        "orders",
        tied(&[Some(2), Some(3), Some(3), Some(1), None], &[9, 4, 5, 8, 7]),
    );
    let ran = world.materialize().await;
    assert_eq!((ran.read, ran.written), (5, 1));
    assert_eq!(world.n(1).await, Some(5));
}

#[tokio::test]
async fn a_view_without_entities_has_one_row() {
    let world = World::new();
    let yaml = "
sources: [{ name: orders, type: memory, event_time: at, created_time: created }]
feature_views: [{ name: stats, entities: [], source: orders, features: [{ name: n, type: int64 }] }]";
    world.apply(yaml).await;
    world.orders(&[row(1, -2, 1), row(2, -1, 2)]);
    assert_eq!(world.materialize().await.written, 1);
    let read = read(&world.store, larder_engine::Selection::features(["stats"]), &[]).await;
    assert_eq!(
        read,
        [[larder_engine::Reading::Present(larder_base::Value::Int64(2))]]
    );
    let spine = batch(vec![("event_timestamp", times([at(-1) - 1, at(-1), START]))]);
    let trained = world
        .store
        .historical(larder_engine::Selection::features(["stats"]))
        .entities([spine]);
    let (rows, _) = trained.run().await.unwrap().collect().await.unwrap();
    assert_eq!(numbers(&rows, "n"), [Some(1), Some(2), Some(2)]);
    let gone = world.store.delete("stats", &[vec![]], None).await.unwrap();
    assert_eq!(gone.written, 1);
}

#[tokio::test]
async fn long_coverage_is_cut_into_slices() {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[row(1, -100, 1), row(2, -50, 2), row(3, -1, 3)]);
    let ran = run(world.store.materialize().slice(Span::days(1))).await.unwrap();
    assert_eq!((ran.slices, ran.read, ran.written), (8, 3, 3));
}
