//! Is the explanation of a value the join's own answer, and does it say the right thing?

use larder_base::model::Knowledge;
use larder_base::{ErrorKind, Micros, Span, Value};
use larder_core::arrow::array::RecordBatch;
use larder_engine::{Selection, Sensitive, ShownValue, Verdict};
use proptest::prelude::*;

use crate::support::*;

fn user(id: i64) -> Vec<(String, Value)> {
    vec![("user_id".to_owned(), Value::Int64(id))]
}

fn at(hours: i64) -> Micros {
    Micros(START + hours * HOUR)
}

/// A row of a small history: user, event, created, place among ties, value.
type Row = (i64, i64, Option<i64>, i64, Option<i64>);

fn row() -> impl Strategy<Value = Row> {
    (
        0_i64..3,
        0_i64..8,
        proptest::option::of(0_i64..12),
        0_i64..2,
        proptest::option::of(0_i64..5),
    )
}

fn table(rows: &[Row]) -> RecordBatch {
    batch(vec![
        ("user_id", ints(rows.iter().map(|row| row.0))),
        ("at", times(rows.iter().map(|row| START + row.1 * HOUR))),
        (
            "created",
            times(rows.iter().map(|row| row.2.map(|hour| START + hour * HOUR))),
        ),
        ("seq", ints(rows.iter().map(|row| row.3))),
        ("n", ints(rows.iter().map(|row| row.4))),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_winner_is_the_joins(
        rows in proptest::collection::vec(row(), 0..14),
        as_of in any::<bool>(),
        tie_break in any::<bool>(),
        available_after in 0_i64..3,
        ttl in proptest::option::of(1_i64..6),
        trusted_from in proptest::option::of(0_i64..8),
        known_until in proptest::option::of(0_i64..12),
        asked in proptest::collection::vec((0_i64..4, -1_i64..12), 1..6),
    ) {
        let trusted = trusted_from.map_or(String::new(), |hour| format!(", trusted_from: \"{}\"", at(hour)));
        let yaml = format!(
            "
entities: [{{ name: user, join_keys: [{{ name: user_id, type: int64 }}] }}]
sources: [{{ name: s, type: memory, event_time: at, created_time: {{ column: created{trusted} }}, available_after: {available_after}h{}{} }}]
feature_views: [{{ name: v, entities: [user], source: s{}, features: [{{ name: n, type: int64 }}] }}]
",
            if as_of { ", knowledge: as_of" } else { "" },
            if tie_break { ", tie_break: [seq]" } else { "" },
            ttl.map_or(String::new(), |ttl| format!(", ttl: {ttl}h")),
        );
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let world = World::new();
            world.apply(&yaml).await;
            world.offline.insert("s", table(&rows));
            let spine = batch(vec![
                ("user_id", ints(asked.iter().map(|row| row.0))),
                ("event_timestamp", times(asked.iter().map(|row| START + row.1 * HOUR))),
            ]);
            let mut task = world
                .store
                .historical(Selection::features(["v"]))
                .event_times(true)
                .entities([spine]);
            if let Some(hour) = known_until {
                task = task.known_until(at(hour));
            }
            let (joined, _) = task.run().await.unwrap().collect().await.unwrap();
            let (values, events) = (column(&joined, "n"), column(&joined, "v__event_timestamp"));
            for (index, (id, hour)) in asked.iter().enumerate() {
                let mut why = world.store.why("v").entity(user(*id)).at(at(*hour)).rows(100);
                if let Some(hour) = known_until {
                    why = why.known_until(at(hour));
                }
                let report = why.run().await.unwrap();
                prop_assert_eq!(report.rows.len(), rows.iter().filter(|row| row.0 == *id).count());
                let winners: Vec<_> = report.rows.iter().filter(|row| row.verdict == Verdict::Winner).collect();
                prop_assert!(winners.len() <= 1);
                let event = winners.first().map_or(Value::Null, |winner| Value::Timestamp(winner.event));
                prop_assert_eq!(&event, &events[index], "{:?}", report);
                let value = report.values.map_or(ShownValue::Value(Value::Null), |values| values["n"].clone());
                prop_assert_eq!(&value, &ShownValue::Value(values[index].clone()));
                if let Some(winner) = winners.first() {
                    prop_assert_eq!(&winner.values["n"], &value);
                    prop_assert!(report.answer.contains("answers"));
                } else {
                    prop_assert!(report.answer.starts_with("no row answers"), "{}", report.answer);
                }
            }
            Ok(())
        })?;
    }
}

async fn world() -> World {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[
        (1, at(-10).0, Some(at(-10).0), Some(1)),
        (1, at(-5).0, Some(at(-5).0), None),
        (1, at(-1).0, Some(at(3).0), Some(3)),
        (1, at(2).0, Some(at(2).0), Some(4)),
        (2, at(-200).0, Some(at(-200).0), Some(9)),
    ]);
    world
}

#[tokio::test]
async fn the_answer_is_one_sentence() {
    let world = world().await;
    let ask = |id, hour| world.store.why("stats").entity(user(id)).at(at(hour));
    let report = ask(1, 0).run().await.unwrap();
    let verdicts: Vec<Verdict> = report.rows.iter().map(|row| row.verdict).collect();
    use Verdict::*;
    assert_eq!(verdicts, [Future, Winner, Older, Older]);
    assert!(report.answer.contains("1.0 h old"), "{}", report.answer);
    assert!(report.answer.contains("written later"), "{}", report.answer);
    assert_eq!(report.counts[&Older], 2);

    let report = ask(1, 0)
        .knowledge(Knowledge::AsOf)
        .feature("n")
        .run()
        .await
        .unwrap();
    let verdicts: Vec<Verdict> = report.rows.iter().map(|row| row.verdict).collect();
    assert_eq!(verdicts, [Future, CreatedLater, Winner, Older]);
    assert_eq!(report.features, ["n"]);
    assert!(report.answer.contains("`n` is null in it"), "{}", report.answer);

    let report = ask(2, 0).run().await.unwrap();
    assert!(report.answer.contains("the ttl is 7d"), "{}", report.answer);
    assert_eq!((report.rows[0].verdict, report.values), (Expired, None));
    let report = ask(3, 0).run().await.unwrap();
    assert!(report.answer.contains("none of this entity"), "{}", report.answer);
    let report = ask(1, -11).run().await.unwrap();
    assert!(
        report.answer.contains("4 rows had not happened yet"),
        "{}",
        report.answer
    );
    let report = ask(1, 0).rows(1).run().await.unwrap();
    assert_eq!(
        (report.rows.len(), report.rows[0].verdict, report.left_out),
        (1, Winner, (1, 2))
    );
}

#[tokio::test]
async fn wrong_questions_are_refused() {
    let world = world().await;
    assert_says(
        world.store.why("stat").entity(user(1)).run().await,
        &["did you mean `stats`"],
    );
    assert_says(
        world.store.why("stats").run().await,
        &["join key `user_id` is missing"],
    );
    let wrong = vec![("user".to_owned(), Value::Int64(1))];
    assert_says(
        world.store.why("stats").entity(wrong).run().await,
        &["`user` is not a join key", "user_id"],
    );
    let wrong = vec![("user_id".to_owned(), Value::str("secret"))];
    let error = assert_says(
        world.store.why("stats").entity(wrong).run().await,
        &["not a int64"],
    );
    assert!(!error.to_string().contains("secret"));
    let error = world
        .store
        .why("stats")
        .entity(user(1))
        .feature("m")
        .run()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn sensitive_values_are_masked_for_those_who_only_look() {
    let world = World::new();
    let yaml = USERS
        .replace(
            "{ name: n, type: int64 }",
            "{ name: n, type: int64, sensitivity: phi }",
        )
        .replace("type: int64 }] }]", "type: int64, sensitivity: pii }] }]");
    world.apply(&yaml).await;
    world.orders(&[(1, at(-1).0, None, Some(42)), (2, at(-1).0, None, None)]);
    let report = world.store.why("stats").entity(user(1)).run().await.unwrap();
    assert_eq!(report.masked, ["n"]);
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains("***") && !json.contains("42"), "{json}");
    assert!(json.contains("21.0"), "x is not sensitive: {json}");
    let shown = world
        .store
        .why("stats")
        .entity(user(1))
        .sensitive(Sensitive::Shown)
        .run()
        .await
        .unwrap();
    assert_eq!(shown.rows[0].values["n"], ShownValue::Value(Value::Int64(42)));

    let preview = world.store.preview("svc").run().await.unwrap();
    let view = &preview.views[0];
    assert_eq!(view.masked, ["user_id", "n"]);
    assert_eq!(column(&view.rows, "n"), [Value::str("***"), Value::Null]);
    assert_eq!(
        column(&view.rows, "user_id"),
        [Value::str("***"), Value::str("***")]
    );
    let preview = world
        .store
        .preview("stats")
        .sensitive(Sensitive::Shown)
        .run()
        .await
        .unwrap();
    let rows = &preview.views[0].rows;
    assert_eq!(numbers(rows, "user_id"), [Some(1), Some(2)]);
    assert_eq!(column(rows, "event_timestamp")[0], Value::Timestamp(at(-1)));
}

#[tokio::test]
async fn a_preview_shows_a_few_entities_at_a_time() {
    let world = world().await;
    let preview = world
        .store
        .preview("stats")
        .at(at(0))
        .entities(1)
        .run()
        .await
        .unwrap();
    assert_eq!(preview.at, at(0));
    assert_eq!(numbers(&preview.views[0].rows, "n"), [Some(3)]);
    let past = at(0).minus(Span::days(8));
    let preview = world.store.preview("stats").at(past).run().await.unwrap();
    assert_eq!(numbers(&preview.views[0].rows, "n"), [Some(9)]);
    let none = world
        .store
        .preview("svc")
        .at(past.minus(Span::days(90)))
        .run()
        .await
        .unwrap();
    assert_eq!(none.views[0].rows.num_rows(), 0);
    assert_says(
        world.store.preview("statz").run().await,
        &["did you mean `stats`"],
    );
}
