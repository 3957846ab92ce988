//! Does an apply do what its plan says, and only that?

use larder_base::{Action, ErrorKind, Version};
use larder_engine::ApplyOptions;

use crate::support::*;

fn options() -> ApplyOptions {
    ApplyOptions::new().with_offline(true)
}

fn slots(world: &World) -> Vec<(String, bool)> {
    let layout = layout(world, "stats");
    layout
        .slots()
        .iter()
        .map(|slot| (slot.name.to_string(), slot.removed))
        .collect()
}

fn layout(world: &World, view: &str) -> larder_base::ViewLayout {
    let snapshot = futures::executor::block_on(world.store.snapshot()).unwrap();
    (**snapshot.layout(view).unwrap()).clone()
}

#[tokio::test]
async fn creates_then_says_unchanged() {
    let world = World::new();
    let applied = world.apply(USERS).await;
    assert!(applied.changed);
    assert_eq!(applied.version, Version(1));
    assert_eq!(applied.plan.summary(), "4 to create, 0 to update, 0 to delete");
    assert_eq!(applied.plan.backfills.len(), 1);

    let again = world.apply(USERS).await;
    assert!(!again.changed);
    assert_eq!(again.version, Version(1));
    assert!(again.plan.is_empty());
    assert_eq!(world.store.history(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_plan_lists_fields_and_what_they_touch_and_writes_nothing() {
    let world = World::new();
    let yaml = format!("{USERS}models: [{{ name: xgb, service: svc, stage: prod }}]\n");
    world.apply(&yaml).await;
    let changed = yaml
        .replace("ttl: 7d", "ttl: 14d")
        .replace("{ name: x, type: float64 }", "{ name: y, type: string }");
    // `x` is used by the service through the whole view.
    let plan = world
        .store
        .plan(&definitions(&changed), &options())
        .await
        .unwrap();
    let update = plan
        .changes
        .iter()
        .find(|change| change.id.name == "stats")
        .unwrap();
    assert_eq!(update.action, Action::Update);
    assert_eq!(
        update.details,
        [
            "features[x]: x float64 -> (none)",
            "features[y]: (none) -> y string",
            "ttl: 7d -> 14d"
        ]
    );
    assert_eq!(
        plan.impacts,
        ["feature service `svc`, used by model `xgb` (prod)"]
    );
    let reasons: Vec<&str> = plan.backfills.iter().map(|b| b.reason.as_str()).collect();
    assert_eq!(reasons, ["feature `y` is new", "its ttl was raised"]);
    assert_eq!(
        plan.destructive,
        ["feature `stats:x` goes; it is used by feature service `svc`"]
    );
    assert_eq!(world.store.snapshot().await.unwrap().version(), Version(1));

    let error = assert_says(
        world.try_apply(&changed, &options()).await,
        &["stats:x", "--allow-destructive"],
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(world.store.snapshot().await.unwrap().version(), Version(1));
    let applied = world
        .try_apply(&changed, &options().with_allow_destructive(true))
        .await
        .unwrap();
    assert_eq!(applied.version, Version(2));
}

#[tokio::test]
async fn a_removed_feature_leaves_a_hole_and_comes_back_in_a_new_slot() {
    let world = World::new();
    world.apply(USERS).await;
    let generation = layout(&world, "stats").generation();
    let without = USERS.replace("{ name: n, type: int64 }, ", "");
    world
        .try_apply(&without, &options().with_allow_destructive(true))
        .await
        .unwrap();
    assert_eq!(slots(&world), [("n".to_owned(), true), ("x".to_owned(), false)]);
    world.apply(USERS).await;
    assert_eq!(
        slots(&world),
        [
            ("n".to_owned(), true),
            ("x".to_owned(), false),
            ("n".to_owned(), false)
        ]
    );
    assert_eq!(layout(&world, "stats").generation(), generation);
}

#[tokio::test]
async fn a_changed_type_is_refused_or_takes_a_new_slot() {
    let world = World::new();
    world.apply(USERS).await;
    let other = USERS.replace("{ name: n, type: int64 }", "{ name: n, type: string }");
    let error = assert_says(
        world.try_apply(&other, &options()).await,
        &[
            "features.yaml:5",
            "`stats:n`",
            "int64",
            "string",
            "--allow-destructive",
        ],
    );
    assert_eq!(error.kind(), ErrorKind::Definition);
    world
        .try_apply(&other, &options().with_allow_destructive(true))
        .await
        .unwrap();
    assert_eq!(
        slots(&world),
        [
            ("n".to_owned(), true),
            ("x".to_owned(), false),
            ("n".to_owned(), false)
        ]
    );
}

#[tokio::test]
async fn other_keys_begin_a_new_generation_and_retire_the_old() {
    let world = World::new();
    world.apply(USERS).await;
    let before = layout(&world, "stats");
    let other = USERS.replace(
        "{ name: user_id, type: int64 }",
        "{ name: user_id, type: string }",
    );
    assert_says(
        world.try_apply(&other, &options()).await,
        &["stats", "keys", "anew"],
    );
    world
        .try_apply(&other, &options().with_allow_destructive(true))
        .await
        .unwrap();
    let snapshot = world.store.snapshot().await.unwrap();
    assert_ne!(
        snapshot.layout("stats").unwrap().generation(),
        before.generation()
    );
    assert_eq!(snapshot.retired().len(), 1);
    assert_eq!(snapshot.retired()[0].layout, before);
}

#[tokio::test]
async fn a_view_taken_offline_loses_its_layout() {
    let world = World::new();
    world.apply(USERS).await;
    let before = layout(&world, "stats");
    world
        .apply(&USERS.replace("ttl: 7d", "ttl: 7d, online: false"))
        .await;
    let snapshot = world.store.snapshot().await.unwrap();
    assert!(snapshot.layout("stats").is_none());
    assert_eq!(snapshot.retired()[0].layout, before);
    // Back again it begins anew: what was written meanwhile is not in the old rows.
    world.apply(USERS).await;
    assert_ne!(layout(&world, "stats").generation(), before.generation());
}

#[tokio::test]
async fn deleting_a_view_that_a_service_of_the_set_uses_is_a_wrong_definition() {
    let world = World::new();
    world.apply(USERS).await;
    let broken = "feature_services: [{ name: svc, features: [stats] }]";
    assert_says(
        world.try_apply(broken, &options()).await,
        &["features.yaml:1", "no view `stats`"],
    );
    let all_gone = world.apply("entities: []").await;
    assert_eq!(all_gone.plan.summary(), "0 to create, 0 to update, 4 to delete");
    let snapshot = world.store.snapshot().await.unwrap();
    assert!(snapshot.records().is_empty() && snapshot.layouts().is_empty());
    assert_eq!(snapshot.retired().len(), 1);
}

#[tokio::test]
async fn a_saved_plan_is_applied_exactly_or_not_at_all() {
    let world = World::new();
    let saved = world
        .store
        .plan(&definitions(USERS), &options())
        .await
        .unwrap()
        .save("shop");
    let definitions_ = definitions(USERS);
    let applied = world
        .store
        .apply_plan(&definitions_, &saved, &options())
        .await
        .unwrap();
    assert!(applied.changed);

    // Once more, as after a lost reply: there is nothing left to do.
    let again = world
        .store
        .apply_plan(&definitions_, &saved, &options())
        .await
        .unwrap();
    assert!(!again.changed);

    let longer = definitions(&USERS.replace("7d", "8d"));
    let saved = world.store.plan(&longer, &options()).await.unwrap().save("shop");
    world.apply(&USERS.replace("7d", "9d")).await;
    let error = assert_says(
        world.store.apply_plan(&longer, &saved, &options()).await,
        &["version 1", "version 2", "plan again"],
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let foreign = world.store.plan(&longer, &options()).await.unwrap().save("other");
    assert_says(
        world.store.apply_plan(&longer, &foreign, &options()).await,
        &["project `other`"],
    );
    let mut newer = world.store.plan(&longer, &options()).await.unwrap().save("shop");
    newer.format = 2;
    assert_says(
        world.store.apply_plan(&longer, &newer, &options()).await,
        &["format 2"],
    );
}

#[tokio::test]
async fn the_data_is_looked_at_and_mistakes_name_the_place() {
    let world = World::new();
    let looking = ApplyOptions::new();
    // No rows at all.
    assert_says(
        world.try_apply(USERS, &looking).await,
        &["features.yaml:5", "stats", "orders"],
    );
    world.offline.insert(
        "orders",
        batch(vec![
            ("user_id", ints([1])),
            ("at", times([START])),
            ("created", times([START])),
            ("n", texts(["1"])),
            ("y", floats([1.0])),
        ]),
    );
    let error = assert_says(
        world.try_apply(USERS, &looking).await,
        &["features.yaml:5", "column"],
    );
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_says(
        world
            .try_apply(&USERS.replace(", { name: x, type: float64 }", ""), &looking)
            .await,
        &["features.yaml:5", "`stats`", "n", "int64"],
    );
    let missing = USERS.replace("{ name: n, type: int64 }, ", "");
    assert_says(
        world.try_apply(&missing, &looking).await,
        &["no column `x`", "orders"],
    );
    let right = USERS
        .replace("{ name: n, type: int64 }", "{ name: n, type: string }")
        .replace("{ name: x", "{ name: y");
    assert!(world.try_apply(&right, &looking).await.unwrap().changed);
}

#[tokio::test]
async fn naive_times_need_a_zone() {
    let world = World::new();
    let rows = batch(vec![
        ("user_id", ints([1])),
        ("at", naive([START])),
        ("created", naive([START])),
        ("n", ints([1])),
        ("x", floats([1.0])),
    ]);
    world.offline.insert("orders", rows);
    let looking = ApplyOptions::new();
    assert_says(world.try_apply(USERS, &looking).await, &["at", "zone"]);
    assert!(world.store.snapshot().await.unwrap().records().is_empty());
    let zoned = USERS.replace("event_time: at,", "event_time: at, timezone: UTC,");
    assert!(world.try_apply(&zoned, &looking).await.unwrap().changed);
    assert!(
        world
            .try_apply(USERS, &looking.with_offline(true))
            .await
            .unwrap()
            .changed
    );
}
