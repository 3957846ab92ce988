//! Do sessions keep the rules of online reads, whatever keys, stores and deadlines do?

use std::sync::Arc;
use std::time::Duration;

use larder_base::memory::{MemoryOnline, MemoryRegistry};
use larder_base::{
    EntityKeys, ErrorKind, Micros, OnPartial, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions,
    SetName, StoreName, Value, VirtualClock, WriteOptions,
};

use super::*;
use crate::layers::stub::Stub;
use crate::{ApplyOptions, DefinitionSet, FeatureStore, Selection};

const DAY: i64 = 86_400_000_000;
const NOW: i64 = 1_000 * DAY;

const DEFINITIONS: &str = "
entities:
  - { name: user, join_keys: [{ name: user, type: int64 }] }
  - { name: item, join_keys: [{ name: item, type: string }] }
sources:
  - { name: s, type: memory, event_time: at, timezone: UTC }
feature_views:
  - { name: users, entities: [user], source: s, ttl: 7d, features: [{ name: age, type: int64 }, { name: score, type: float64 }] }
  - { name: pairs, entities: [user, item], source: s, features: [{ name: seen, type: int64 }] }
  - { name: world, entities: [], source: s, features: [{ name: rate, type: float64 }] }
  - { name: far, entities: [user], source: s, online: distant, features: [{ name: rank, type: int64 }] }
feature_services:
  - { name: near, features: [users, pairs, world] }
  - { name: filled, features: [{ ref: 'users:age', default: -1 }, { ref: 'users:score', default: 0.5, default_null: true }] }
  - { name: both, features: [users, far] }
";

async fn store(distant: Arc<dyn OnlineStore>) -> FeatureStore {
    let memory = Arc::new(MemoryOnline::new());
    let store = FeatureStore::builder(ProjectName::new("shop").unwrap())
        .registry(Arc::new(MemoryRegistry::new()))
        .online(memory.clone())
        .online_named(StoreName::new("distant").unwrap(), distant)
        .clock(Arc::new(VirtualClock::at(Micros(NOW))))
        .build()
        .unwrap();
    let set = DefinitionSet::from_yaml("f.yaml", DEFINITIONS, SetName::new("t").unwrap()).unwrap();
    store
        .apply(&set, &ApplyOptions::new().with_offline(true))
        .await
        .unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let put = async |view: &str, key: &[Value], event: i64, values: &[Value]| {
        let layout = snapshot.layout(view).unwrap().clone();
        let (mut keys, mut rows) = (EntityKeys::new(), PackedRows::new());
        keys.push_values(layout.join_keys(), key).unwrap();
        rows.push_values(&layout, Micros(event), None, values).unwrap();
        let write = OnlineWrite::new(layout, Arc::new(keys), Arc::new(rows));
        memory.write(&write, &WriteOptions::default()).await.unwrap();
    };
    let int = Value::Int64;
    put("users", &[int(1)], NOW, &[int(30), Value::Float64(0.1)]).await;
    put("users", &[int(2)], NOW - 7 * DAY, &[int(40), Value::Null]).await;
    put(
        "users",
        &[int(3)],
        NOW - 7 * DAY - 1,
        &[int(50), Value::Float64(0.3)],
    )
    .await;
    put("users", &[int(4)], NOW + 1, &[int(60), Value::Float64(0.4)]).await;
    put("pairs", &[Value::str("a"), int(1)], NOW, &[int(7)]).await;
    put("world", &[], NOW, &[Value::Float64(1.5)]).await;
    store
}

async fn near() -> FeatureStore {
    store(Stub::new(true)).await
}

#[tokio::test]
async fn every_status_in_request_order() {
    let plan = near().await.online(Selection::features(["users"])).await.unwrap();
    let user = plan.key::<i64>("user").unwrap();
    let (age, score) = (
        plan.feature::<i64>("users:age").unwrap(),
        plan.feature::<f64>("score").unwrap(),
    );
    let mut session = plan.session();
    let keys = [
        Some(3),
        Some(1),
        None,
        Some(2),
        Some(1),
        Some(4),
        None,
        Some(99),
        Some(3),
    ];
    let answer = session
        .nullable(user, &keys)
        .read(ReadOptions::new())
        .await
        .unwrap();
    let expired = Reading::Expired {
        age: larder_base::Span(7 * DAY + 1),
        value: None,
    };
    let ages: Vec<_> = (0..answer.rows()).map(|row| answer.get(row, age)).collect();
    let expected = [
        expired.clone(),
        Reading::Present(30),
        Reading::NotFound,
        Reading::Present(40),
        Reading::Present(30),
        Reading::NotFound,
        Reading::NotFound,
        Reading::NotFound,
        expired,
    ];
    assert_eq!(ages, expected);
    assert_eq!(answer.get(3, score), Reading::Null);
    let info = answer.info();
    assert_eq!((info.present, info.expired, info.not_found), (3, 2, 4));
    assert_eq!((info.rows, info.store_calls), (9, 1));
    assert_eq!(
        answer.session_keys(),
        7,
        "duplicates are read once, nulls stay apart"
    );

    let all = Selection::features(["users"]);
    let keep = near().await.online(all).keep_expired(true).await.unwrap();
    let mut session = keep.session();
    session.column(user, &[3]);
    let answer = session.read(ReadOptions::new()).await.unwrap();
    // The value is given out, and the status stays what it is.
    let kept = answer.get(0, age);
    assert_eq!((kept.status(), kept.value()), ("expired", Some(50)));

    // A new request must give all keys again, or none.
    session.column(user, &[1]).read(ReadOptions::new()).await.unwrap();
    assert!(session.read(ReadOptions::new()).await.is_ok());
}

#[tokio::test]
async fn tensors_of_duplicates_defaults_and_nothing() {
    let store = near().await;
    let nan = f32::NAN;
    for (service, expected) in [
        ("users", [30.0, 0.1, nan, nan, 40.0, nan, 30.0, 0.1, nan, nan]),
        ("filled", [30.0, 0.1, -1.0, 0.5, 40.0, 0.5, 30.0, 0.1, -1.0, 0.5]),
    ] {
        let select = if service == "users" {
            Selection::features(["users"])
        } else {
            Selection::service(service)
        };
        let plan = store.online(select).await.unwrap();
        let tensor = plan.tensor_f32(TensorSpec::service_order()).unwrap();
        let (mut matrix, mut mask) = (vec![9.0; 3], Vec::new());
        let user = plan.key("user").unwrap();
        let mut session = plan.session();
        // With a duplicate, then all distinct: two ways through the same block.
        for (keys, cells) in [(&[1_i64, 3, 2, 1, 99][..], 10), (&[1, 3, 2], 6), (&[], 0)] {
            let answer = session.column(user, keys).read(ReadOptions::new()).await.unwrap();
            answer.fill_f32(&tensor, &mut matrix, &mut mask);
            let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&matrix), bits(&expected[..cells]), "{service} {keys:?}");
            let there: Vec<bool> = matrix.iter().map(|x| !x.is_nan()).collect();
            assert_eq!(mask, there);
        }
    }
}

#[tokio::test]
async fn key_sets_of_every_kind() {
    let plan = near().await.online("near").await.unwrap();
    let (user, item) = (
        plan.key::<i64>("user").unwrap(),
        plan.key::<&str>("item").unwrap(),
    );
    let (seen, rate) = (
        plan.feature::<i64>("pairs:seen").unwrap(),
        plan.feature::<f64>("world:rate").unwrap(),
    );
    let mut session = plan.session();
    for _ in 0..2 {
        session.column(user, &[1, 2]).broadcast(item, "a");
        let answer = session.read(ReadOptions::new()).await.unwrap();
        assert_eq!(
            (answer.get(0, seen), answer.get(1, seen)),
            (Reading::Present(7), Reading::NotFound)
        );
        assert_eq!(
            (answer.get(0, rate), answer.get(1, rate)),
            (Reading::Present(1.5), Reading::Present(1.5))
        );
        // Only broadcast keys are one row.
        session.broadcast(user, 1).broadcast(item, "b");
        let answer = session.read(ReadOptions::new()).await.unwrap();
        assert_eq!((answer.rows(), answer.get(0, seen)), (1, Reading::NotFound));
        // No rows are no rows, also where a key is given for all of them.
        session.column(user, &[]).broadcast(item, "a");
        assert_eq!(session.read(ReadOptions::new()).await.unwrap().rows(), 0);
    }
    // A view without an entity alone.
    let plan = near().await.online(Selection::features(["world"])).await.unwrap();
    let rate = plan.feature::<f64>("rate").unwrap();
    let mut session = plan.session();
    assert_eq!(
        session.read(ReadOptions::new()).await.unwrap().get(0, rate),
        Reading::Present(1.5)
    );
}

#[tokio::test]
async fn mistakes_in_keys_are_errors_and_pass() {
    let plan = near().await.online("near").await.unwrap();
    let (user, item) = (
        plan.key::<i64>("user").unwrap(),
        plan.key::<String>("item").unwrap(),
    );
    let mut session = plan.session();
    let missing = session
        .column(user, &[1])
        .read(ReadOptions::new())
        .await
        .unwrap_err();
    assert!(
        missing.to_string().contains("key column `item` is missing"),
        "{missing}"
    );

    session
        .column(user, &[1])
        .column(item, &["a".to_owned(), "b".to_owned()]);
    let lengths = session.read(ReadOptions::new()).await.unwrap_err();
    assert_eq!(lengths.kind(), ErrorKind::Input);

    // Too long a key: the column counts as not given until it is given again.
    session.broadcast(item, "x".repeat(2_000));
    session.read(ReadOptions::new()).await.unwrap_err();
    let missing = session.read(ReadOptions::new()).await.unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
    // Each part fits, both together do not; the row is the caller's, after a duplicate.
    let long = "x".repeat(1_015);
    session
        .column(user, &[1, 1, 2])
        .column(item, &["a".into(), "a".into(), long]);
    let joined = session.read(ReadOptions::new()).await.unwrap_err();
    assert!(joined.to_string().contains("row=2"), "{joined}");

    let wrong = session
        .values("user", &[Value::Int64(1), Value::str("one")])
        .unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Input);
    session.values("usr", &[]).unwrap_err();
    session.column(user, &[1]).broadcast(item, "a".to_owned());
    session.read(ReadOptions::new()).await.unwrap();

    // The handle of a string column where this plan has integers.
    let users = near().await.online(Selection::features(["users"])).await.unwrap();
    let foreign = users
        .session()
        .column(item, &["a".to_owned()])
        .read(ReadOptions::new())
        .await
        .err();
    assert!(foreign.is_some_and(|error| error.to_string().contains("another plan")));
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_is_an_error_or_a_part() {
    let distant = Stub::new(false).failing(ErrorKind::Unavailable, 2);
    let plan = store(distant.clone()).await.online("both").await.unwrap();
    let (user, age, rank) = (
        plan.key::<i64>("user").unwrap(),
        plan.feature::<i64>("age").unwrap(),
        plan.feature::<i64>("rank").unwrap(),
    );
    let mut session = plan.session();
    let error = session
        .column(user, &[1, 2])
        .read(ReadOptions::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let partial = ReadOptions::new().on_partial(OnPartial::Return);
    let answer = session.read(partial).await.unwrap();
    assert_eq!(
        (answer.get(1, age), answer.get(1, rank)),
        (Reading::Present(40), Reading::Unavailable)
    );
    assert_eq!((answer.info().unavailable, answer.info().store_calls), (2, 2));
    // Healthy again: nothing of the failure is left.
    let answer = session.read(partial).await.unwrap();
    assert_eq!(
        (answer.get(0, age), answer.get(0, rank)),
        (Reading::Present(30), Reading::NotFound)
    );

    // Damage is never a part of an answer.
    let plan = store(Stub::new(false).failing(ErrorKind::Corrupt, 1))
        .await
        .online("both")
        .await
        .unwrap();
    let mut session = plan.session();
    let error = session.column(user, &[1]).read(partial).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test(start_paused = true)]
async fn deadlines_and_dropped_reads_leave_the_session_usable() {
    let distant = Stub::new(false).taking(Duration::from_millis(50));
    let plan = store(distant.clone()).await.online("both").await.unwrap();
    let (user, age, rank) = (
        plan.key::<i64>("user").unwrap(),
        plan.feature::<i64>("age").unwrap(),
        plan.feature::<i64>("rank").unwrap(),
    );
    let mut session = plan.session();
    let short = ReadOptions::new().timeout(Duration::from_millis(20));
    let error = session.column(user, &[1, 2, 1]).read(short).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let answer = session.read(short.on_partial(OnPartial::Return)).await.unwrap();
    assert_eq!(
        (answer.get(2, age), answer.get(2, rank)),
        (Reading::Present(30), Reading::Unavailable)
    );

    let dropped = tokio::time::timeout(Duration::from_millis(10), session.read(ReadOptions::new())).await;
    assert!(dropped.is_err(), "the read was dropped half-way");
    let answer = session.column(user, &[2]).read(ReadOptions::new()).await.unwrap();
    assert_eq!(
        (answer.rows(), answer.get(0, age), answer.get(0, rank)),
        (1, Reading::Present(40), Reading::NotFound)
    );
}
