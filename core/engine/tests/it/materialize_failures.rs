//! Does a run that fails say what is certain, and does the next one do the rest only?

use std::sync::Arc;
use std::sync::atomic::Ordering;

use larder_base::{Interval, Micros, Registry, RunRecord, RunState, Span};

use crate::support::*;

fn row(user: i64, day: i64, n: i64) -> (i64, i64, Option<i64>, Option<i64>) {
    let at = START - day * DAY + HOUR;
    (user, at, Some(at), Some(n))
}

async fn runs(world: &World) -> Vec<RunRecord> {
    let generation = world
        .store
        .snapshot()
        .await
        .unwrap()
        .layout("stats")
        .unwrap()
        .generation();
    world
        .registry
        .ledger()
        .runs(&project(), &"stats".parse().unwrap(), generation)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_failure_in_the_middle_keeps_what_was_acknowledged() {
    let world = World::new();
    world.apply(USERS).await;
    // One row per day of the week that is covered: one write per slice of a day.
    world.orders(&(1..=7).map(|day| row(day, day, day)).collect::<Vec<_>>());
    world.online.fail_in(3);
    let task = || world.store.materialize().slice(Span::days(1));
    let error = assert_says(run(task()).await, &["pulled the plug", "view=stats"]);
    assert!(error.is_retryable());
    world.online.heal();

    let records = runs(&world).await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record.state, RunState::Failed);
    assert!(record.error.as_ref().unwrap().contains("pulled the plug"));
    let floor = Micros(START - 7 * DAY);
    let first = Micros(START - 7 * DAY - 1);
    let day = |n: i64| Micros(first.0 + n * DAY);
    let done: Vec<Interval> = (0..3)
        .map(|n| Interval {
            after: day(n),
            until: day(n + 1),
            floor,
        })
        .collect();
    assert_eq!(record.done, done);
    assert_eq!(record.rows_written, 3);
    assert_eq!((world.n(5).await, world.n(4).await), (Some(5), None));
    let status = world.store.status().await.unwrap().remove(0);
    assert_eq!(status.last_run.as_ref().unwrap().state, "failed");
    assert_eq!(status.watermark, None);
    assert!(status.needs_attention());

    let rest = run(task()).await.unwrap();
    assert_eq!((rest.read, rest.written, rest.slices), (4, 4, 5));
    for user in 1..=7 {
        assert_eq!(world.n(user).await, Some(user));
    }
    assert_eq!(world.materialize().await.slices, 0);
    let states: Vec<RunState> = runs(&world).await.iter().map(|run| run.state).collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&RunState::Done));
    assert!(
        world
            .store
            .status()
            .await
            .unwrap()
            .remove(0)
            .needs_backfill
            .is_none()
    );
}

#[tokio::test]
async fn a_killed_run_is_dead_after_a_while_and_resumed() {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&(1..=7).map(|day| row(day, day, day)).collect::<Vec<_>>());
    // Dropping the future is being killed: nobody says how the run ended.
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let task = world.store.materialize().slice(Span::days(1));
    let task = task.on_event(move |event| {
        let _ = tell.send((event.slice, event.read));
    });
    let mut running = Box::pin(task.run());
    while let Some((slice, _)) = {
        tokio::select! {
            biased;
            event = told.recv() => event,
            ended = &mut running => panic!("it ended: {ended:?}"),
        }
    } {
        if slice >= 3 {
            break;
        }
    }
    drop(running);
    let records = runs(&world).await;
    assert_eq!(records[0].state, RunState::Running);
    let done = records[0].done.len();
    assert!((1..7).contains(&done), "{done}");
    let state = async || {
        world
            .store
            .status()
            .await
            .unwrap()
            .remove(0)
            .last_run
            .unwrap()
            .state
    };
    assert_eq!(state().await, "running");
    pass(&world, 3 * MINUTE);
    assert_eq!(state().await, "dead");
    let rest = run(world.store.materialize().slice(Span::days(1))).await.unwrap();
    assert!(rest.read as usize <= 7 - done + 1, "{rest:?}");
    for user in 1..=7 {
        assert_eq!(world.n(user).await, Some(user));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_at_once_are_safe_and_both_on_record() {
    let world = World::new();
    world.apply(USERS).await;
    let rows: Vec<_> = (0..5_000)
        .map(|i| {
            let at = START - (i * 7_919 % 600) * MINUTE;
            (i % 500, at, Some(at), Some(at))
        })
        .collect();
    world.orders(&rows);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let task = world.store.materialize().slice(Span::hours(9));
            tokio::spawn(async move { task.run().await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    for user in [0, 1, 250, 499] {
        let newest = rows.iter().filter(|row| row.0 == user).map(|row| row.1).max();
        assert_eq!(world.n(user).await, newest);
    }
    assert!(runs(&world).await.iter().all(|run| run.state == RunState::Done));
    assert_eq!(world.materialize().await.slices, 0);
}

#[tokio::test]
async fn a_store_that_fails_at_once_leaves_a_record() {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[row(1, 1, 1)]);
    world.online.fail_in(0);
    assert!(world.store.materialize().run().await.is_err());
    assert_eq!(world.online.writes.load(Ordering::SeqCst), 0);
    let record = runs(&world).await.remove(0);
    assert!(record.done.len() < 4 && record.state == RunState::Failed);
    // Another online store in its place: nothing of that counts.
    let world = world.replaced_online(Arc::default());
    assert_eq!(world.materialize().await.written, 1);
}

#[tokio::test]
async fn a_broken_view_does_not_starve_the_others() {
    let world = World::new();
    let two = USERS.replace(
        "feature_views:\n",
        "feature_views:\n  - { name: broken, entities: [user], source: orders, lateness: 1d, features: [{ name: absent, type: int64 }] }\n",
    );
    world.apply(&two).await;
    world.orders(&[row(1, 1, 1)]);
    assert_says(world.store.materialize().run().await, &["view=broken", "absent"]);
    assert_eq!(world.n(1).await, Some(1));
    // A store that cannot be reached ends it at once.
    let world = world.replaced_online(Arc::default());
    world.online.fail_in(0);
    assert!(world.store.materialize().run().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_long_for_a_store_is_not_dead() {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[row(1, 1, 1)]);
    world.online.slow(std::time::Duration::from_secs(600));
    let task = tokio::spawn(world.store.materialize().run());
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_secs(25)).await;
        world.clock.advance(Span::seconds(25));
        let state = world
            .store
            .status()
            .await
            .unwrap()
            .remove(0)
            .last_run
            .unwrap()
            .state;
        assert_eq!(state, "running");
    }
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(task.await.unwrap().unwrap().views[0].written, 1);
}
