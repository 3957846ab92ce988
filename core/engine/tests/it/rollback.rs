//! Does a rollback restore definitions, and is retired data freed in time and not before?

use larder_base::{Action, ChangeSet, ErrorKind, OnlineStore, Registry, Span, Version};
use larder_engine::{ApplyOptions, GcOptions};

use crate::support::*;

fn force() -> ApplyOptions {
    ApplyOptions::new()
        .with_offline(true)
        .with_allow_destructive(true)
}

async fn retired(world: &World) -> usize {
    world.store.snapshot().await.unwrap().retired().len()
}

#[tokio::test]
async fn rollback_is_a_new_commit_with_the_old_definitions() {
    let world = World::new();
    world.apply(USERS).await;
    world.apply(&USERS.replace("7d", "8d")).await;
    world
        .store
        .apply(
            &set("risk", "feature_services: [{ name: theirs, features: [stats] }]"),
            &force(),
        )
        .await
        .unwrap();
    let back = world.store.rollback(Version(1), &force()).await.unwrap();
    assert_eq!(back.version, Version(4));
    let commit = world.store.show(Version(4)).await.unwrap();
    assert_eq!(commit.message, "rollback to version 1");
    let actions: Vec<_> = commit
        .changes
        .iter()
        .map(|change| (change.action, change.id.name.as_str()))
        .collect();
    assert_eq!(actions, [(Action::Update, "stats"), (Action::Delete, "theirs")]);
    let first = world.registry_records(Version(1)).await;
    assert_eq!(world.registry_records(Version(4)).await, first);
    // Once more changes nothing.
    assert!(!world.store.rollback(Version(1), &force()).await.unwrap().changed);
    let error = world.store.rollback(Version(99), &force()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_says(world.store.show(Version(99)).await, &["99"]);
}

impl World {
    async fn registry_records(&self, version: Version) -> Vec<(String, String)> {
        let snapshot = self.registry.load_at(&project(), version).await.unwrap();
        snapshot
            .records()
            .values()
            .map(|r| (r.id.to_string(), r.spec.to_string()))
            .collect()
    }
}

#[tokio::test]
async fn rollback_revives_the_retired_generation_with_its_values() {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[(1, START - HOUR, Some(START - HOUR), Some(5))]);
    world.materialize().await;
    let generation = world
        .store
        .snapshot()
        .await
        .unwrap()
        .layout("stats")
        .unwrap()
        .generation();
    let other = USERS.replace("type: int64 }] }]\nsources", "type: string }] }]\nsources");
    assert_ne!(other, USERS);
    world.try_apply(&other, &force()).await.unwrap();
    assert_eq!(retired(&world).await, 1);

    world.store.rollback(Version(1), &force()).await.unwrap();
    let snapshot = world.store.snapshot().await.unwrap();
    assert_eq!(snapshot.layout("stats").unwrap().generation(), generation);
    // The other one is retired now, the revived one is not.
    assert_eq!(snapshot.retired().len(), 1);
    assert_ne!(snapshot.retired()[0].layout.generation(), generation);
    assert_eq!(world.n(1).await, Some(5));
    // Its ledger still counts: only what came since is left to do.
    pass(&world, HOUR);
    world.orders(&[(2, START, Some(START + 1), Some(6))]);
    assert_eq!(world.materialize().await.read, 1);
}

#[tokio::test]
async fn gc_waits_for_the_grace_and_then_frees_the_rows() {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[(1, START - HOUR, None, Some(5)), (2, START - HOUR, None, Some(5))]);
    world.materialize().await;
    let layout = world
        .store
        .snapshot()
        .await
        .unwrap()
        .layout("stats")
        .unwrap()
        .clone();
    world
        .apply(&USERS.replace("ttl: 7d", "ttl: 7d, online: false"))
        .await;
    let rows = async || {
        world
            .online
            .scan()
            .unwrap()
            .page(&layout, None, 10)
            .await
            .unwrap()
            .len()
    };

    let report = world.store.gc(&GcOptions::default()).await.unwrap();
    assert_eq!((report.reclaimed.len(), report.waiting), (0, 1));
    assert_eq!(rows().await, 2);
    pass(&world, HOUR + 1);
    let report = world.store.gc(&GcOptions::default()).await.unwrap();
    assert_eq!(report.reclaimed, [layout.generation()]);
    assert_eq!((report.rows, report.waiting), (2, 0));
    assert_eq!((rows().await, retired(&world).await), (0, 0));
    // Nothing left: nothing is committed.
    let version = world.store.snapshot().await.unwrap().version();
    world.store.gc(&GcOptions::default()).await.unwrap();
    assert_eq!(world.store.snapshot().await.unwrap().version(), version);
    // What was freed is not revived: the rollback begins a new generation.
    world.store.rollback(Version(1), &force()).await.unwrap();
    let fresh = world
        .store
        .snapshot()
        .await
        .unwrap()
        .layout("stats")
        .unwrap()
        .generation();
    assert_ne!(fresh, layout.generation());
    assert_eq!(world.materialize().await.written, 2);
    assert_eq!(world.n(1).await, Some(5));
}

#[tokio::test]
async fn a_later_apply_reclaims_what_is_due() {
    let world = World::new();
    world.apply(USERS).await;
    world
        .apply(&USERS.replace("ttl: 7d", "ttl: 7d, online: false"))
        .await;
    assert_eq!(retired(&world).await, 1);
    world
        .apply(&USERS.replace("ttl: 7d", "ttl: 6d, online: false"))
        .await;
    assert_eq!(retired(&world).await, 1, "the grace is not over");
    pass(&world, 2 * HOUR);
    world
        .apply(&USERS.replace("ttl: 7d", "ttl: 5d, online: false"))
        .await;
    assert_eq!(retired(&world).await, 0);
}

#[tokio::test]
async fn a_generation_being_reclaimed_is_not_revived() {
    let world = World::new();
    world.apply(USERS).await;
    let first = world
        .store
        .snapshot()
        .await
        .unwrap()
        .layout("stats")
        .unwrap()
        .generation();
    world
        .apply(&USERS.replace("ttl: 7d", "ttl: 7d, online: false"))
        .await;
    mark(&world).await;
    world.store.rollback(Version(1), &force()).await.unwrap();
    let snapshot = world.store.snapshot().await.unwrap();
    let second = snapshot.layout("stats").unwrap().generation();
    assert_ne!(second, first);
    // What was begun is ended by whoever comes next, whatever the grace: here by the rollback itself.
    assert!(snapshot.retired().is_empty());
    world
        .apply(&USERS.replace("ttl: 7d", "ttl: 7d, online: false"))
        .await;
    mark(&world).await;
    let report = world
        .store
        .gc(&GcOptions::default().with_grace(Span::days(9)))
        .await
        .unwrap();
    assert_eq!(report.reclaimed, [second]);
}

/// As if a gc was killed between its mark and its end.
async fn mark(world: &World) {
    let snapshot = world.store.snapshot().await.unwrap();
    let mut changes = ChangeSet::new(world.now(), "gc", "marked");
    let mut marked = snapshot.retired()[0].clone();
    marked.reclaiming = true;
    changes.reclaimed = vec![marked.layout.generation()];
    changes.retired = vec![marked];
    world
        .registry
        .commit(&project(), snapshot.version(), &changes)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_store_that_is_gone_does_not_keep_others_from_being_freed() {
    let name: larder_base::StoreName = "aaa".parse().unwrap();
    let world = World::with(|builder| builder.online_named(name, std::sync::Arc::new(Flaky::default())));
    let two = USERS.replace(
        "feature_views:\n",
        "feature_views:\n  - { name: far, entities: [user], source: orders, online: aaa, features: [{ name: n, type: int64 }] }\n",
    );
    world.apply(&two).await;
    world.apply("entities: []").await;
    assert_eq!(retired(&world).await, 2);
    pass(&world, 2 * HOUR);
    let without = world.replaced_online(world.online.clone());
    assert_says(without.store.gc(&GcOptions::default()).await, &["aaa"]);
    let left = world.store.snapshot().await.unwrap();
    assert_eq!(left.retired().len(), 1);
    assert_eq!(left.retired()[0].store, "aaa");
    assert_eq!(
        world
            .store
            .gc(&GcOptions::default())
            .await
            .unwrap()
            .reclaimed
            .len(),
        1
    );
    assert_eq!(retired(&world).await, 0);
}
