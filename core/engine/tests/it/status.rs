//! Does the status say how fresh a view is, and why it is not?

use larder_base::{Micros, Span};

use crate::support::*;

#[tokio::test]
async fn watermark_lag_and_freshness() {
    let world = World::new();
    world
        .apply(&USERS.replace("ttl: 7d", "ttl: 7d, freshness: 1h"))
        .await;
    let status = async || world.store.status().await.unwrap().remove(0);
    let never = status().await;
    assert_eq!(
        (never.watermark, never.fresh, never.lag_seconds),
        (None, Some(false), None)
    );
    assert!(never.needs_backfill.unwrap().contains("never materialized"));

    world.orders(&[(1, START - HOUR, None, Some(1))]);
    world.materialize().await;
    let fresh = status().await;
    assert_eq!(fresh.watermark, Some(Micros(START)));
    assert_eq!((fresh.fresh, fresh.lag_seconds), (Some(true), Some(0.0)));
    assert_eq!(fresh.newest_event, Some(Micros(START - HOUR)));
    assert!(!fresh.needs_attention());
    let last = fresh.last_run.unwrap();
    assert_eq!((last.state, last.rows_read, last.rows_written), ("done", 1, 1));

    pass(&world, HOUR);
    assert_eq!(
        status().await.fresh,
        Some(true),
        "an hour is not more than an hour"
    );
    pass(&world, 1);
    let old = status().await;
    assert_eq!((old.fresh, old.watermark), (Some(false), Some(Micros(START))));
    assert!(old.needs_attention() && old.needs_backfill.is_none());
    // Long after its ttl it still says up to when it was covered.
    pass(&world, 30 * DAY);
    assert_eq!(status().await.watermark, Some(Micros(START)));
}

#[tokio::test]
async fn a_view_that_is_not_served_has_nothing_to_say() {
    let world = World::new();
    world.apply(&USERS.replace("ttl: 7d", "online: false")).await;
    let status = world.store.status().await.unwrap().remove(0);
    assert!(status.store.is_none() && status.generation.is_none() && status.needs_backfill.is_none());
    assert!(!status.needs_attention());
}

#[tokio::test]
async fn doctor_finds_what_works_and_what_is_empty() {
    let world = World::new();
    let findings = world.store.doctor().await;
    let roles: Vec<_> = findings
        .iter()
        .map(|finding| (finding.role, finding.ok))
        .collect();
    assert_eq!(roles, [("registry", true), ("online", true), ("offline", true)]);
    assert_eq!(findings[1].warnings.len(), 1);
    world.apply(USERS).await;
    let findings = world.store.doctor().await;
    assert!(findings[1].warnings.is_empty());
    assert!(findings[1].details.iter().any(|(name, _)| name == "identity"));
}

#[tokio::test]
async fn a_gap_in_the_past_holds_the_watermark_back() {
    let world = World::new();
    world.apply(&USERS.replace("7d", "10h")).await;
    world.orders(&[(1, START - HOUR, None, Some(1))]);
    world.materialize().await;
    pass(&world, 5 * HOUR);
    let now = world.now();
    run(world.store.materialize().range(now.minus(Span::hours(2)), now))
        .await
        .unwrap();
    let status = world.store.status().await.unwrap().remove(0);
    assert_eq!(
        status.watermark,
        Some(Micros(START)),
        "three hours in between are not covered"
    );
    let filled = world.materialize().await;
    assert_eq!(filled.slices, 1);
    assert_eq!(world.store.status().await.unwrap().remove(0).watermark, Some(now));
}
