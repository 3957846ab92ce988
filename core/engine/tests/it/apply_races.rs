//! Do applies at the same time all count, and is a lost reply no lost commit?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use larder_base::{ErrorKind, Generation, Snapshot, Version};
use larder_engine::{ApplyOptions, FeatureStore};

use crate::support::*;

fn options() -> ApplyOptions {
    ApplyOptions::new().with_offline(true)
}

fn own_view(number: usize) -> String {
    format!(
        "entities: [{{ name: e{number}, join_keys: [{{ name: k{number}, type: int64 }}] }}]\n\
         sources: [{{ name: s{number}, type: memory, event_time: at, created_time: c }}]\n\
         feature_views: [{{ name: v{number}, entities: [e{number}], source: s{number}, features: [{{ name: f, type: int64 }}] }}]"
    )
}

/// Generations that the online store has places for.
fn generations(world: &World) -> BTreeSet<Generation> {
    world.online.prepared.lock().unwrap().clone()
}

fn in_use(snapshot: &Snapshot) -> BTreeSet<Generation> {
    let layouts = snapshot.layouts().values();
    layouts.map(|layout| layout.generation()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_applies_of_fifty_sets_all_count() {
    let world = World::new();
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let definitions = set(&format!("team{number}"), &own_view(number));
                store.apply(&definitions, &options()).await
            })
        })
        .collect();
    let mut versions = Vec::new();
    for task in tasks {
        let applied = task.await.unwrap().unwrap();
        assert!(applied.changed);
        versions.push(applied.version.0);
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=50).collect::<Vec<_>>());
    let snapshot = world.store.snapshot().await.unwrap();
    assert_eq!(generations(&world), in_use(&snapshot));
    assert_eq!(snapshot.records().len(), 150);
    assert_eq!(snapshot.layouts().len(), 50);
    let history = world.store.history(None, 100).await.unwrap();
    let numbers: Vec<u64> = history.iter().map(|commit| commit.version.0).collect();
    assert_eq!(numbers, (1..=50).rev().collect::<Vec<_>>());
    assert!(history.iter().all(|commit| commit.changes.len() == 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_applies_of_one_set_are_one_change() {
    let world = World::new();
    // Half of them from processes that know nothing of the others.
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let other = world.replaced_online(world.online.clone()).store;
            let store = if number % 2 == 0 {
                world.store.clone()
            } else {
                other
            };
            tokio::spawn(async move { store.apply(&definitions(USERS), &options()).await })
        })
        .collect();
    let mut changed = 0;
    for task in tasks {
        let applied = task.await.unwrap().unwrap();
        changed += usize::from(applied.changed);
        assert_eq!(applied.version, Version(1));
    }
    assert_eq!(changed, 1);
    // What the others prepared in vain is gone.
    assert_eq!(
        generations(&world),
        in_use(&world.store.snapshot().await.unwrap())
    );
    assert_eq!(world.store.history(None, 100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_lost_reply_is_no_lost_commit() {
    let world = World::new();
    let registry = Arc::new(LossyRegistry::default());
    let store = FeatureStore::builder(project())
        .registry(registry.clone())
        .online(world.online.clone())
        .offline(world.offline.clone())
        .build()
        .unwrap();
    registry.lose_reply.store(true, Ordering::SeqCst);
    let error = store.apply(&definitions(USERS), &options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable());
    // It may have been committed, so what was prepared stays.
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(generations(&world), in_use(&snapshot));
    let again = store.apply(&definitions(USERS), &options()).await.unwrap();
    assert!(!again.changed);
    assert_eq!(again.version, Version(1));
    assert_eq!(
        registry.commits.load(Ordering::SeqCst),
        1,
        "an unchanged apply commits nothing"
    );
}
