//! Do several teams share one project without stepping on each other?

use std::sync::Arc;

use larder_base::model::ObjectId;
use larder_base::{ChangeSet, ErrorKind, Micros, Record, Registry, Version};
use larder_core::convert::array_of;
use larder_engine::ApplyOptions;

use crate::support::*;

const SERVICE: &str = "feature_services: [{ name: theirs, features: [\"stats:n\"] }]";

fn options() -> ApplyOptions {
    ApplyOptions::new().with_offline(true)
}

#[tokio::test]
async fn sets_refer_to_each_other_and_keep_what_is_theirs() {
    let world = World::new();
    world.apply(USERS).await;
    world
        .store
        .apply(&set("risk", SERVICE), &options())
        .await
        .unwrap();
    // An apply of one set leaves the other's objects alone.
    world.apply(&USERS.replace("7d", "8d")).await;
    let snapshot = world.store.snapshot().await.unwrap();
    assert!(snapshot.catalog().feature_service("theirs").is_ok());
    assert_eq!(snapshot.version(), Version(3));
    // An object of another set is not taken over.
    let stolen = "entities: [{ name: user, join_keys: [{ name: user_id, type: int64 }] }]";
    let error = assert_says(
        world.store.apply(&set("risk", stolen), &options()).await,
        &[
            "features.yaml:1",
            "entity `user` belongs to definition set `default`",
        ],
    );
    assert_eq!(error.kind(), ErrorKind::Definition);
}

#[tokio::test]
async fn what_another_set_uses_goes_only_on_purpose() {
    let world = World::new();
    world.apply(USERS).await;
    world
        .store
        .apply(&set("risk", SERVICE), &options())
        .await
        .unwrap();
    let error = assert_says(
        world.try_apply("entities: []", &options()).await,
        &["feature view `stats` goes", "feature service `theirs`"],
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let without = USERS.replace("{ name: n, type: int64 }, ", "");
    assert_says(
        world.try_apply(&without, &options()).await,
        &["`stats:n` goes", "`theirs`"],
    );
    world
        .try_apply("entities: []", &options().with_allow_destructive(true))
        .await
        .unwrap();
    assert!(world.store.online("theirs").await.is_err());
}

#[tokio::test]
async fn entities_and_sources_of_other_sets_views_go_only_on_purpose() {
    let world = World::new();
    let shared = "
entities: [{ name: user, join_keys: [{ name: user_id, type: int64 }] }]
sources: [{ name: orders, type: memory, event_time: at, created_time: created }]
";
    let views = "feature_views: [{ name: stats, entities: [user], source: orders, features: [{ name: n, type: int64 }] }]";
    world.apply(shared).await;
    world.store.apply(&set("risk", views), &options()).await.unwrap();
    let error = assert_says(
        world.try_apply("entities: []", &options()).await,
        &[
            "entity `user` goes",
            "source `orders` goes",
            "feature view `stats`",
        ],
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.diagnostics().len(), 2);
    let forced = world
        .try_apply("entities: []", &options().with_allow_destructive(true))
        .await
        .unwrap();
    assert!(forced.changed);
    // The view is there, says what it lacks, and works again when that is back.
    assert_says(world.store.materialize().run().await, &["orders"]);
    world.apply(shared).await;
    world.orders(&[(1, START, None, Some(3))]);
    world.materialize().await;
    assert_eq!(world.n(1).await, Some(3));
}

#[tokio::test]
async fn a_key_changed_by_one_set_moves_the_views_of_the_other() {
    let world = World::new();
    world
        .apply("entities: [{ name: user, join_keys: [{ name: user_id, type: int64 }] }]")
        .await;
    let views = "
sources: [{ name: orders, type: memory, event_time: at }]
feature_views: [{ name: stats, entities: [user], source: orders, lateness: 1d, features: [{ name: n, type: int64 }] }]";
    world.store.apply(&set("risk", views), &options()).await.unwrap();
    let before = world
        .store
        .snapshot()
        .await
        .unwrap()
        .layout("stats")
        .unwrap()
        .generation();
    let changed = "entities: [{ name: user, join_keys: [{ name: user_id, type: string }] }]";
    assert_says(
        world.try_apply(changed, &options()).await,
        &["feature view `stats`", "keys"],
    );
    world
        .try_apply(changed, &options().with_allow_destructive(true))
        .await
        .unwrap();
    let after = world
        .store
        .snapshot()
        .await
        .unwrap()
        .layout("stats")
        .unwrap()
        .clone();
    assert_ne!(after.generation(), before);
    assert_eq!(after.join_keys()[0].value_type, larder_base::ValueType::STRING);
    let keys = array_of(&[larder_base::Value::str("a")], larder_base::ValueType::STRING).unwrap();
    world.offline.insert(
        "orders",
        batch(vec![("user_id", keys), ("at", times([START])), ("n", ints([1]))]),
    );
    assert_eq!(world.materialize().await.written, 1);
}

#[tokio::test]
async fn what_this_build_does_not_know_survives_and_what_is_newer_is_not_changed() {
    let world = World::new();
    world.apply(USERS).await;
    let record = |kind: &str, name: &str, min_writer, spec| Record {
        id: ObjectId {
            kind: kind.to_owned(),
            name: name.to_owned(),
        },
        set: "default".parse().unwrap(),
        revision: 1,
        min_writer,
        spec: Arc::new(spec),
    };
    let mut changes = ChangeSet::new(Micros(START), "future", "from tomorrow");
    let hologram = record("hologram", "h", 9, serde_json::json!({ "name": "h", "depth": 3 }));
    let newer = serde_json::json!({ "name": "item", "join_keys": [{ "name": "item_id", "type": "int64" }], "sparkle": true });
    changes.puts = vec![hologram.clone(), record("entity", "item", 9, newer)];
    world
        .registry
        .commit(&project(), Version(1), &changes)
        .await
        .unwrap();

    let mine = "entities: [{ name: item, join_keys: [{ name: item_id, type: int64 }], description: mine }, ";
    let with_item = USERS.replacen("entities: [", mine, 1);
    for yaml in [USERS, &with_item] {
        // It would be deleted, or changed.
        let error = assert_says(
            world.try_apply(yaml, &options()).await,
            &["entity `item`", "newer", "upgrade"],
        );
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    // What does not touch it goes through, and both survive.
    world
        .store
        .apply(&set("risk", SERVICE), &options())
        .await
        .unwrap();
    let snapshot = world.store.snapshot().await.unwrap();
    assert_eq!(snapshot.records()[&hologram.id], hologram);
    assert_eq!(
        snapshot.records()[&ObjectId {
            kind: "entity".to_owned(),
            name: "item".to_owned()
        }]
            .spec["sparkle"],
        true
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_sets_gets_a_name_that_both_want() {
    let world = World::new();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let store = world.store.clone();
            tokio::spawn(async move {
                store
                    .apply(&set(&format!("team{number}"), USERS), &options())
                    .await
            })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(applied) => winners += usize::from(applied.changed),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Definition, "{error}"),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(world.store.history(None, 10).await.unwrap().len(), 1);
    // Names are unique without regard to case, across sets as well.
    let shouting = "entities: [{ name: USER, join_keys: [{ name: user_id, type: int64 }] }]";
    assert_says(
        world.store.apply(&set("other", shouting), &options()).await,
        &["USER", "user"],
    );
}
