//! Does what was deleted stay dead until something newer comes?

use larder_base::{ErrorKind, Micros, Value};

use crate::support::*;

fn at(hours: i64) -> i64 {
    START + hours * HOUR
}

fn user(id: i64) -> Vec<(String, Value)> {
    vec![("user_id".to_owned(), Value::Int64(id))]
}

async fn world() -> World {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[
        (1, at(-2), Some(at(-2)), Some(1)),
        (2, at(-2), Some(at(-2)), Some(2)),
    ]);
    world.materialize().await;
    world
}

async fn push(world: &World, id: i64, event: i64, n: i64) -> (u64, u64) {
    let report = world
        .store
        .push("orders")
        .rows([orders(&[(id, event, Some(event), Some(n))])])
        .run()
        .await
        .unwrap();
    (report.views[0].written, report.views[0].stale)
}

#[tokio::test]
async fn an_older_row_stays_dead_and_a_newer_one_lives() {
    let world = world().await;
    let report = world
        .store
        .delete("stats", &[user(1), user(99)], None)
        .await
        .unwrap();
    assert_eq!(report.written, 2);
    assert_eq!((world.n(1).await, world.n(2).await), (None, Some(2)));
    let reading = world.read(&["stats:n"], &[1]).await.remove(0).remove(0);
    assert_eq!(reading, larder_engine::Reading::NotFound);
    // In flight when it was deleted, and a whole coverage again: it stays dead.
    assert_eq!(push(&world, 1, at(-1), 5).await, (0, 1));
    let rebuilt = run(world.store.materialize().rebuild()).await.unwrap();
    assert_eq!((rebuilt.written, rebuilt.stale), (1, 1));
    assert_eq!(world.n(1).await, None);
    pass(&world, HOUR);
    assert_eq!(push(&world, 1, at(0) + 1, 6).await, (1, 0));
    assert_eq!(world.n(1).await, Some(6));
}

#[tokio::test]
async fn a_deletion_as_of_then_spares_what_came_since() {
    let world = world().await;
    let report = world
        .store
        .delete("stats", &[user(1)], Some(Micros(at(-3))))
        .await
        .unwrap();
    assert_eq!((report.written, report.stale), (0, 1));
    assert_eq!(world.n(1).await, Some(1));
    // At the very instant of the event: rows up to it are dead.
    world
        .store
        .delete("stats", &[user(1)], Some(Micros(at(-2))))
        .await
        .unwrap();
    assert_eq!(world.n(1).await, None);
}

#[tokio::test]
async fn mistakes_name_the_row_and_delete_nothing() {
    let world = world().await;
    let error = assert_says(
        world
            .store
            .delete("stats", &[user(1)], Some(Micros(START + 1)))
            .await,
        &["future"],
    );
    assert_eq!(error.kind(), ErrorKind::Input);
    let with = |value| vec![("user_id".to_owned(), value)];
    assert_says(
        world
            .store
            .delete("stats", &[user(1), with(Value::Null)], None)
            .await,
        &["null key", "row=1"],
    );
    assert_says(
        world.store.delete("stats", &[user(1), vec![]], None).await,
        &["`user_id` is missing", "row=1"],
    );
    assert_says(
        world
            .store
            .delete("stats", &[user(1), with(Value::str("1"))], None)
            .await,
        &["user_id", "row"],
    );
    let other = vec![("user".to_owned(), Value::Int64(1))];
    assert_says(
        world.store.delete("stats", &[other], None).await,
        &["`user` is not a join key", "user_id"],
    );
    assert_says(world.store.delete("stat", &[user(1)], None).await, &["stats"]);
    assert_eq!(world.n(1).await, Some(1));
    world.apply(&USERS.replace("ttl: 7d", "online: false")).await;
    assert_says(
        world.store.delete("stats", &[user(1)], None).await,
        &["not served online"],
    );
}

#[tokio::test]
async fn large_batches_are_split_to_what_the_store_takes() {
    let world = World::new().replaced_online(std::sync::Arc::new(Flaky::taking(3)));
    world.apply(USERS).await;
    world.orders(&(0..10).map(|id| (id, at(-1), None, Some(id))).collect::<Vec<_>>());
    assert_eq!(world.materialize().await.written, 10);
    let rows = orders(
        &(0..10)
            .map(|id| (id, at(0), Some(at(0)), Some(-id)))
            .collect::<Vec<_>>(),
    );
    let pushed = world.store.push("orders").rows([rows]).run().await.unwrap();
    assert_eq!(pushed.views[0].written, 10);
    assert_eq!(world.n(9).await, Some(-9));
    let all: Vec<_> = (0..10).map(user).collect();
    let deleted = world.store.delete("stats", &all, None).await.unwrap();
    assert_eq!(deleted.written, 10);
    assert_eq!(world.n(9).await, None);
    assert_eq!(world.store.delete("stats", &[], None).await.unwrap().written, 0);
}
