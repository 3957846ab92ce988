//! Is what is served what is trained on? Random histories with late rows, ties, nulls and failures in between.

use larder_base::model::Knowledge;
use larder_base::{Micros, ReadOptions, Span, Value};
use larder_conformance::Rng;
use larder_conformance::history::{History, HistoryRow, HistoryShape, Known};
use larder_core::arrow::array::RecordBatch;
use larder_core::convert::{infer_type, value_at};
use larder_engine::{Reading, Selection};

use crate::support::*;

const SEEDS: u64 = 400;

/// How entities are named in the source and in requests.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Keys {
    Int,
    Text,
    Two,
}

struct Case {
    seed: u64,
    history: History,
    keys: Keys,
    tie_break: bool,
    /// All rows are there from the start, those of later days as well: only knowledge tells them apart.
    replay: bool,
    rng: Rng,
}

/// A row of the source with its number in the order of ties, and what may be null in it.
struct Fact {
    entity: Option<i64>,
    event: Option<Micros>,
    created: Option<Micros>,
    seq: i64,
    values: Vec<Value>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let shape = HistoryShape::varied(seed);
        Self {
            seed,
            history: History::random(seed, &shape),
            keys: *rng.pick(&[Keys::Int, Keys::Text, Keys::Two]),
            tie_break: rng.percent(30),
            replay: rng.percent(30),
            rng,
        }
    }

    fn yaml(&self) -> String {
        let shape = &self.history.shape;
        let keys = match self.keys {
            Keys::Int => "{ name: user, type: int64 }",
            Keys::Text => "{ name: user, type: string }",
            Keys::Two => "{ name: zone, type: string }, { name: number, type: int32 }",
        };
        let mut source = format!(
            "name: history, type: memory, event_time: at, available_after: {}",
            shape.available_after
        );
        if shape.created {
            source += &match self.history.trusted_from {
                Some(at) => format!(", created_time: {{ column: created, trusted_from: \"{at}\" }}"),
                None => ", created_time: created".to_owned(),
            };
        }
        if shape.knowledge == Knowledge::AsOf {
            source += ", knowledge: as_of";
        }
        if self.tie_break {
            source += ", tie_break: [seq]";
        }
        let ttl = shape.ttl.map_or(String::new(), |ttl| format!(", ttl: {ttl}"));
        format!(
            "entities: [{{ name: user, join_keys: [{keys}] }}]\n\
             sources: [{{ {source} }}]\n\
             feature_views:\n  - {{ name: v, entities: [user], source: history, lateness: {}{ttl}, features: [\
             {{ name: n, type: int64 }}, {{ name: x, type: float64 }}, {{ name: s, type: string }}] }}\n",
            shape.lateness
        )
    }

    /// The rows of a step as they arrive: the history's own, repeated ones, twins that only the
    /// tie-break tells apart, rows without key or event.
    fn arrivals(&mut self, step: usize) -> RecordBatch {
        let rows: Vec<HistoryRow> = self.history.steps[step].rows.clone();
        let mut facts = Vec::new();
        for row in rows {
            let fact = |seq, values| Fact {
                entity: Some(row.entity),
                event: Some(row.event),
                created: row.created,
                seq,
                values,
            };
            let twin = || vec![Value::Int64(100), Value::Null, Value::str("twin")];
            match self.rng.below(8) {
                0 if self.tie_break => facts.extend([fact(2, row.values.clone()), fact(1, twin())]),
                1 if self.tie_break => facts.extend([fact(2, twin()), fact(3, row.values.clone())]),
                2 => facts.extend([fact(2, row.values.clone()), fact(2, row.values.clone())]),
                3 => facts.extend([
                    fact(2, row.values.clone()),
                    Fact {
                        entity: None,
                        ..fact(2, twin())
                    },
                    Fact {
                        event: None,
                        ..fact(9, twin())
                    },
                ]),
                _ => facts.push(fact(2, row.values.clone())),
            }
        }
        self.batch(&facts)
    }

    fn batch(&self, facts: &[Fact]) -> RecordBatch {
        let entities: Vec<Option<i64>> = facts.iter().map(|fact| fact.entity).collect();
        let mut columns = self.key_columns(&entities);
        columns.push(("at", times(facts.iter().map(|fact| fact.event.map(|t| t.0)))));
        if self.history.shape.created {
            columns.push((
                "created",
                times(facts.iter().map(|fact| fact.created.map(|t| t.0))),
            ));
        }
        columns.push(("seq", ints(facts.iter().map(|fact| fact.seq))));
        for (index, (name, of)) in larder_conformance::history::FEATURES.iter().enumerate() {
            let values: Vec<Value> = facts.iter().map(|fact| fact.values[index].clone()).collect();
            columns.push((name, larder_core::convert::array_of(&values, *of).unwrap()));
        }
        batch(columns)
    }

    fn key_columns(
        &self,
        entities: &[Option<i64>],
    ) -> Vec<(&'static str, larder_core::arrow::array::ArrayRef)> {
        let named: Vec<Option<String>> = entities.iter().map(|e| e.map(|e| format!("å{e}"))).collect();
        match self.keys {
            Keys::Int => vec![("user", ints(entities.iter().copied()))],
            Keys::Text => vec![("user", texts(named.iter().map(|name| name.as_deref())))],
            Keys::Two => {
                let zones: Vec<Option<String>> = entities
                    .iter()
                    .map(|e| e.map(|e| format!("z{}", e % 3)))
                    .collect();
                vec![
                    ("zone", texts(zones.iter().map(|zone| zone.as_deref()))),
                    (
                        "number",
                        small_ints(entities.iter().map(|e| e.map(|e| (e / 3) as i32))),
                    ),
                ]
            }
        }
    }

    async fn run(mut self) {
        let world = World::new();
        world.apply(&self.yaml()).await;
        let steps = self.history.steps.len();
        if self.replay {
            for step in 0..steps {
                let arrived = self.arrivals(step);
                world.offline.insert("history", arrived);
            }
        }
        for step in 0..steps {
            if !self.replay {
                let arrived = self.arrivals(step);
                world.offline.insert("history", arrived);
            }
            let until = self.history.steps[step].until;
            world.clock.set(until);
            // A run that was skipped is made up for by the next one.
            if self.rng.percent(15) {
                continue;
            }
            self.materialize(&world).await;
            let seen = if self.replay { steps - 1 } else { step };
            self.compare(&world, seen, until).await;
        }
    }

    async fn materialize(&mut self, world: &World) {
        let task = || world.store.materialize();
        let sliced = self.rng.percent(40);
        let width = Span::minutes(*self.rng.pick(&[7, 20, 90]));
        let task = || if sliced { task().slice(width) } else { task() };
        if self.rng.percent(30) {
            world.online.fail_in(self.rng.between(0, 3));
            // It may have had fewer writes to do than it takes to fail.
            let _ = task().run().await;
            world.online.heal();
        }
        task().run().await.unwrap();
        let again = task().run().await.unwrap();
        assert_eq!(
            again.views[0].slices, 0,
            "seed {}: a second run found work",
            self.seed
        );
    }

    /// Everything online now against the training join at `T` = now, and both against the oracle.
    async fn compare(&self, world: &World, step: usize, now: Micros) {
        let entities: Vec<Option<i64>> = (0..self.history.shape.entities + 2)
            .map(Some)
            .chain([None])
            .collect();
        let columns = self.key_columns(&entities);
        let mut spine = columns.clone();
        spine.push(("event_timestamp", times(entities.iter().map(|_| now.0))));
        let select = || Selection::features(["v"]);
        let trained = world
            .store
            .historical(select())
            .entities([batch(spine)])
            .event_times(true);
        let (trained, _) = trained.run().await.unwrap().collect().await.unwrap();
        let plan = world.store.online(select()).await.unwrap();
        let mut session = plan.session();
        for (name, array) in &columns {
            let of = infer_type(array.data_type()).unwrap();
            let values: Vec<Value> = (0..array.len()).map(|row| value_at(array, row, of)).collect();
            session.values(name, &values).unwrap();
        }
        let served = session.read(ReadOptions::new()).await.unwrap();
        let events = column(&trained, "v__event_timestamp");
        for (output, name) in ["n", "x", "s"].into_iter().enumerate() {
            for (row, wanted) in column(&trained, name).into_iter().enumerate() {
                let place = format!(
                    "seed {} step {step} entity {:?} feature {name} ({:?}, {:?}, tie_break {}, replay {})",
                    self.seed, entities[row], self.keys, self.history.shape, self.tie_break, self.replay
                );
                let reading = served.value(row, output);
                let there = matches!(reading, Reading::Present(_) | Reading::Null);
                assert_eq!(there, !events[row].is_null(), "presence: {place}: {reading:?}");
                if there {
                    let event = served
                        .event_time(row, output)
                        .map_or(Value::Null, Value::Timestamp);
                    assert_eq!(event, events[row], "event time: {place}");
                }
                assert_eq!(reading.value().unwrap_or(Value::Null), wanted, "{place}");
                let known = entities[row].map_or(Known::Nothing, |e| self.history.answer(step, e, now));
                let said = match known {
                    Known::Row(row) => row.values[output].clone(),
                    Known::Expired | Known::Nothing => Value::Null,
                };
                assert_eq!(said, wanted, "oracle: {place}");
            }
        }
    }
}

#[test]
fn what_is_served_is_what_is_trained_on() {
    // One case by number: `SEED=17 cargo nextest run -p larder-engine training_serving`.
    let seeds = match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for seed in seeds {
        runtime.block_on(Case::new(seed).run());
    }
}
