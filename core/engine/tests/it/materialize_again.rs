//! Is work done again exactly when what was done no longer counts?

use std::sync::Arc;

use larder_base::{Micros, Span};
use larder_engine::ApplyOptions;

use crate::support::*;

fn at(hours: i64) -> i64 {
    START + hours * HOUR
}

fn row(user: i64, hour: i64, n: i64) -> (i64, i64, Option<i64>, Option<i64>) {
    (user, at(hour), Some(at(hour)), Some(n))
}

async fn backfill_reason(world: &World) -> Option<String> {
    world.store.status().await.unwrap().remove(0).needs_backfill
}

async fn filled() -> World {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[row(1, -200, 1), row(2, -100, 2), row(3, -1, 3)]);
    assert_eq!(world.materialize().await.read, 2);
    assert_eq!(world.materialize().await.slices, 0);
    world
}

#[tokio::test]
async fn a_flushed_store_is_filled_again() {
    let world = filled().await;
    let world = world.replaced_online(Arc::default());
    assert!(
        backfill_reason(&world)
            .await
            .unwrap()
            .contains("flushed or replaced")
    );
    assert_eq!(world.n(3).await, None);
    assert_eq!(world.materialize().await.written, 2);
    assert_eq!(world.n(3).await, Some(3));
    assert_eq!(backfill_reason(&world).await, None);
}

#[tokio::test]
async fn an_added_feature_reopens_coverage() {
    let world = filled().await;
    let more = USERS.replace(
        "{ name: x, type: float64 }",
        "{ name: x, type: float64 }, { name: created, type: timestamp }",
    );
    let applied = world.apply(&more).await;
    assert_eq!(applied.plan.backfills[0].reason, "feature `created` is new");
    assert!(backfill_reason(&world).await.unwrap().contains("new features"));
    let unread = world.read(&["stats:created", "stats:n"], &[3]).await;
    assert_eq!(
        unread[0][0],
        larder_engine::Reading::NotFound,
        "a slot beyond the row is not found, not null"
    );
    assert_eq!(world.materialize().await.written, 2);
    let read = world.read(&["stats:created"], &[3]).await;
    assert_eq!(
        read[0][0],
        larder_engine::Reading::Present(larder_base::Value::Timestamp(Micros(at(-1))))
    );
    // A removed feature needs nothing.
    world
        .try_apply(
            USERS,
            &ApplyOptions::new()
                .with_offline(true)
                .with_allow_destructive(true),
        )
        .await
        .unwrap();
    assert_eq!(world.materialize().await.slices, 0);
}

#[tokio::test]
async fn a_raised_ttl_reopens_coverage_and_a_lowered_one_does_not() {
    let world = filled().await;
    world.apply(&USERS.replace("7d", "3d")).await;
    assert_eq!(world.materialize().await.slices, 0);
    assert_eq!(world.n(2).await, None);
    let applied = world.apply(&USERS.replace("7d", "10d")).await;
    assert_eq!(applied.plan.backfills[0].reason, "its ttl was raised");
    assert!(backfill_reason(&world).await.unwrap().contains("coverage grew"));
    assert_eq!(world.materialize().await.read, 3);
    assert_eq!(world.n(1).await, Some(1));
}

#[tokio::test]
async fn another_source_reopens_coverage() {
    let world = filled().await;
    let applied = world
        .apply(&USERS.replace(
            "created_time: created",
            "created_time: created, columns: { n: user_id }",
        ))
        .await;
    assert_eq!(applied.plan.backfills[0].reason, "its source changed");
    assert!(backfill_reason(&world).await.unwrap().contains("source changed"));
    assert_eq!(world.materialize().await.written, 2);
    assert_eq!(world.n(3).await, Some(3));
    assert_eq!(world.n(2).await, Some(2));
    // What decides nothing about the rows reopens nothing.
    let world = filled().await;
    let applied = world
        .apply(&USERS.replace(
            "created_time: created",
            "created_time: created, description: orders",
        ))
        .await;
    assert!(applied.plan.backfills.is_empty());
    assert_eq!(world.materialize().await.slices, 0);
    // Another source of the same view, by name.
    let world = filled().await;
    let both = USERS.replace(
        "sources: [",
        "sources: [{ name: other, type: memory, event_time: at }, ",
    );
    world.apply(&both).await;
    let applied = world
        .apply(&both.replace("source: orders", "source: other"))
        .await;
    assert_eq!(applied.plan.backfills.len(), 1, "{:?}", applied.plan.backfills);
    assert_eq!(world.materialize().await.slices, 4);
}

#[tokio::test]
async fn rebuild_and_repair_write_again_what_was_done() {
    let world = filled().await;
    let writes = run(world.store.materialize().rebuild()).await.unwrap();
    assert_eq!((writes.read, writes.written), (2, 2));
    pass(&world, HOUR);
    world.orders(&[row(4, 0, 4)]);
    world.materialize().await;
    let repaired = run(world.store.materialize().repair(Span::hours(3)))
        .await
        .unwrap();
    assert_eq!((repaired.read, repaired.written), (2, 2));
    let range = run(world.store.materialize().range(Micros(at(-101)), Micros(at(-99))))
        .await
        .unwrap();
    assert_eq!((range.read, range.written), (1, 1));
    assert_eq!(world.materialize().await.slices, 0);
}

#[tokio::test]
async fn a_range_counts_as_done() {
    let world = World::new();
    world.apply(&USERS.replace("ttl: 7d, ", "")).await;
    world.orders(&[row(1, -3, 1), row(1, -2, 2)]);
    // Without a ttl everything from the first event on must be covered: a range is not enough.
    run(world.store.materialize().range(Micros(at(-3)), Micros(START)))
        .await
        .unwrap();
    assert!(backfill_reason(&world).await.is_some());
    assert_eq!(world.materialize().await.slices, 1);
    // With one, a range over the whole of it is.
    let world = World::new();
    world.apply(&USERS.replace("7d", "2h")).await;
    world.orders(&[row(1, -3, 1), row(1, -2, 2)]);
    run(world.store.materialize().range(Micros(at(-2)), Micros(START)))
        .await
        .unwrap();
    assert_eq!(backfill_reason(&world).await, None);
    assert_eq!(world.materialize().await.slices, 0);
}

#[tokio::test]
async fn many_runs_are_merged_in_the_ledger_and_still_count() {
    use larder_base::Registry;
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[row(1, -1, 1)]);
    for step in 0..60 {
        pass(&world, HOUR);
        // Of the last half of the hour, so that no later run looks at it again.
        world.orders(&[(1, at(step + 1) - HOUR / 2, None, Some(step))]);
        assert_eq!(world.materialize().await.read, if step == 0 { 2 } else { 1 });
    }
    let generation = world
        .store
        .snapshot()
        .await
        .unwrap()
        .layout("stats")
        .unwrap()
        .generation();
    let runs = world
        .registry
        .ledger()
        .runs(&project(), &"stats".parse().unwrap(), generation)
        .await
        .unwrap();
    assert!(runs.len() <= 17, "{} records", runs.len());
    assert_eq!(world.materialize().await.slices, 0);
    assert_eq!(world.n(1).await, Some(59));
    let status = world.store.status().await.unwrap().remove(0);
    assert_eq!(status.watermark, Some(world.now()));
}
