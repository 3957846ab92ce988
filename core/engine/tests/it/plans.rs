//! Does a prepared plan keep its promise when the definitions change under it?

use larder_base::{ErrorKind, ReadOptions, Value, Version};
use larder_engine::{ApplyOptions, OnlinePlan, Reading, Selection};

use crate::support::*;

async fn world() -> World {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[(1, START - HOUR, Some(START - HOUR), Some(4))]);
    world.materialize().await;
    world
}

async fn values(plan: &OnlinePlan) -> Vec<Reading<Value>> {
    let mut session = plan.session();
    session.values("user_id", &[Value::Int64(1)]).unwrap();
    let outcome = session.read(ReadOptions::new()).await.unwrap();
    (0..plan.outputs().len())
        .map(|output| outcome.value(0, output))
        .collect()
}

#[tokio::test]
async fn equal_signatures_are_adopted_and_others_are_not() {
    let world = world().await;
    let plan = world.store.online("svc").await.unwrap();
    let signature = plan.signature().digest();
    assert_eq!(plan.version(), Version(1));
    let both = [
        Reading::Present(Value::Int64(4)),
        Reading::Present(Value::Float64(2.0)),
    ];
    assert_eq!(values(&plan).await, both);

    // A ttl is in no signature: the plan serves the new one.
    world.apply(&USERS.replace("7d", "30m")).await;
    plan.refresh().await.unwrap();
    assert_eq!((plan.version(), plan.outdated()), (Version(2), false));
    assert!(matches!(values(&plan).await[0], Reading::Expired { .. }));
    world.apply(USERS).await;
    plan.refresh().await.unwrap();

    // Another output is another signature: the plan goes on as it was.
    let more = USERS.replace(
        "{ name: x, type: float64 }",
        "{ name: x, type: float64 }, { name: y, type: int64 }",
    );
    world.apply(&more).await;
    plan.refresh().await.unwrap();
    assert!(plan.outdated());
    assert_eq!(
        (plan.version(), plan.signature().digest()),
        (Version(3), signature.clone())
    );
    assert_eq!(values(&plan).await, both);
    assert_ne!(
        world.store.online("svc").await.unwrap().signature().digest(),
        signature
    );

    // Back again, it is up to date.
    world
        .try_apply(
            USERS,
            &ApplyOptions::new()
                .with_offline(true)
                .with_allow_destructive(true),
        )
        .await
        .unwrap();
    plan.refresh().await.unwrap();
    assert_eq!((plan.version(), plan.outdated()), (Version(5), false));
    assert_eq!(values(&plan).await, both);
}

#[tokio::test]
async fn a_service_that_goes_is_served_on() {
    let world = world().await;
    let plan = world.store.online("svc").await.unwrap();
    let without = USERS.replace("feature_services: [{ name: svc, features: [stats] }]", "");
    world.apply(&without).await;
    plan.refresh().await.unwrap();
    assert!(plan.outdated());
    assert_eq!(values(&plan).await[0], Reading::Present(Value::Int64(4)));
    assert_eq!(
        world.store.online("svc").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_signature_can_be_demanded() {
    let world = world().await;
    let digest = world.store.online("svc").await.unwrap().signature().digest();
    assert!(world.store.online("svc").expect_signature(&digest).await.is_ok());
    world
        .apply(&USERS.replace("[stats] }", "[{ ref: \"stats:n\", default: 0 }, \"stats:x\"] }"))
        .await;
    let result = world.store.online("svc").expect_signature(&digest).await;
    let error = assert_says(result, &["another signature", &digest]);
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn selections_resolve_or_say_what_is_known() {
    let world = world().await;
    let of = |references: &[&str]| world.store.online(Selection::features(references.to_vec()));
    let plan = of(&["stats:x", "stats"]).await.unwrap();
    let outputs: Vec<_> = plan
        .outputs()
        .into_iter()
        .map(|output| (output.name, output.reference))
        .collect();
    let name = |name: &str| (name.to_owned(), format!("stats:{name}"));
    assert_eq!(
        outputs,
        [name("x"), name("n")],
        "the same feature twice is one column"
    );
    let full = of(&["stats:x"]).full_names(true).await.unwrap();
    assert_eq!(full.outputs()[0].name, "stats__x");
    assert_says(of(&["stats:m"]).await, &["no feature `m`", "n"]);
    assert_says(of(&["stat:n"]).await, &["stat", "stats"]);
    assert_says(of(&[]).await, &["no features"]);
    assert_says(of(&["stats:n:x"]).await, &["`n:x` is not a feature name"]);
    world.apply(&USERS.replace("ttl: 7d", "online: false")).await;
    assert_says(world.store.online("svc").await, &["stats", "online"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_hear_of_news_without_being_asked() {
    let world = world().await;
    let plan = world.store.online("svc").await.unwrap();
    world.apply(&USERS.replace("7d", "8d")).await;
    let heard = async {
        while plan.version() != Version(2) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), heard)
        .await
        .unwrap();
}
