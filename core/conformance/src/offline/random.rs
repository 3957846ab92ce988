//! Whether the store answers like the oracle on tables that nobody wrote by hand.

use larder_core::model::{CreatedTime, Knowledge, Source};
use larder_core::{Micros, Span, Value, ValueType};
use serde_json::json;

use super::support::Cx;
use crate::case::{Case, Stop, Verdict, cases};
use crate::rng::Rng;
use crate::table::{Column, Facts, Scenario, Spine, Stored, View};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "offline.random.small": "generated tables with ties, nulls, late rows, duplicates and extreme times join like the oracle says" => small,
        "offline.random.many-views": "several views, roles and key sets in one join do not disturb each other" => many_views,
        "offline.random.large": "a table of 1,500 rows in many batches joins like the oracle says" => large,
    ]
}

/// How large a generated scenario is.
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) spine: usize,
    pub(crate) times: i64,
    pub(crate) keys: i64,
    pub(crate) views: usize,
}

async fn small(cx: &Cx<'_>) -> Verdict {
    let size = Size {
        rows: 40,
        spine: 30,
        times: 12,
        keys: 3,
        views: 1,
    };
    for seed in 0..cx.options.seeds * 4 {
        one(cx, seed, &size).await?;
    }
    Ok(())
}

async fn many_views(cx: &Cx<'_>) -> Verdict {
    let size = Size {
        rows: 30,
        spine: 25,
        times: 15,
        keys: 3,
        views: 5,
    };
    for seed in 1_000..1_000 + cx.options.seeds {
        one(cx, seed, &size).await?;
    }
    Ok(())
}

async fn large(cx: &Cx<'_>) -> Verdict {
    let size = Size {
        rows: 1_500,
        spine: 400,
        times: 5_000,
        keys: 60,
        views: 2,
    };
    for seed in 2_000..2_000 + cx.options.seeds.min(3) {
        one(cx, seed, &size).await?;
    }
    Ok(())
}

async fn one(cx: &Cx<'_>, seed: u64, size: &Size) -> Verdict {
    let wrong = |stop: Stop| stop.during(format!("seed {seed}"));
    let scenario = scenario(seed, size).map_err(wrong)?;
    cx.check(&scenario).await.map_err(wrong)
}

/// Columns that may be keys, in the spine and in every source.
const KEYS: [(&str, ValueType); 4] = [
    ("city", ValueType::STRING),
    ("day", ValueType::DATE),
    ("user", ValueType::INT64),
    ("vip", ValueType::BOOL),
];

pub(crate) fn scenario(seed: u64, size: &Size) -> Verdict<Scenario> {
    let mut rng = Rng::new(seed);
    let mut scenario = Scenario::default();
    for number in 0..size.views {
        let facts = table(&mut rng, number, size)?;
        scenario.tables.push(facts);
    }
    // Each key twice, so that a view can be joined in another role.
    let mut columns: Vec<(String, ValueType)> = Vec::new();
    for (name, of) in KEYS {
        columns.push((name.to_owned(), of));
        columns.push((format!("other_{name}"), of));
    }
    let mut spine = Spine {
        columns,
        ..Spine::default()
    };
    for _ in 0..size.spine {
        let keys = spine
            .columns
            .iter()
            .map(|(_, of)| key(&mut rng, *of, size, 6))
            .collect();
        spine.rows.push(keys);
        spine.times.push(time(&mut rng, size, 4));
    }
    for _ in 0..size.spine / 6 {
        let again = rng.below(spine.rows.len());
        spine.rows.push(spine.rows[again].clone());
        spine.times.push(spine.times[again]);
    }
    scenario.spine = spine;
    for number in 0..size.views {
        let view = view(&mut rng, number, &scenario, size);
        scenario.views.push(view);
        if rng.percent(30) {
            let mut role = scenario.views[scenario.views.len() - 1].clone();
            role.name = format!("{}_role", role.name);
            for (_, column) in &mut role.keys {
                *column ^= 1;
            }
            scenario.views.push(role);
        }
    }
    Ok(scenario)
}

fn view(rng: &mut Rng, number: usize, scenario: &Scenario, size: &Size) -> View {
    let mut keys = Vec::new();
    for (at, (name, _)) in KEYS.iter().enumerate() {
        // Mostly one or two keys; sometimes none at all.
        if rng.percent(35) || (keys.is_empty() && at == 2 && rng.percent(85)) {
            keys.push(((*name).to_owned(), 2 * at));
        }
    }
    let features = ["n", "x", "s"].iter().filter(|_| rng.percent(80));
    let features = features.map(|name| (*name).to_owned()).collect();
    let mut view = View::new(
        format!("view_{number}"),
        number % scenario.tables.len(),
        keys,
        features,
    );
    view.ttl = match rng.below(5) {
        0 | 1 => None,
        2 => Some(0),
        3 => Some(rng.between(1, size.times)),
        _ => Some(i64::MAX),
    };
    view.knowledge = match rng.below(4) {
        0 => Some(Knowledge::AsOf),
        1 => Some(Knowledge::TieBreak),
        _ => None,
    };
    view
}

fn table(rng: &mut Rng, number: usize, size: &Size) -> Verdict<Facts> {
    let mut source: Source = serde_json::from_value(json!({
        "name": format!("source_{number}"), "type": "memory", "event_time": "at",
    }))
    .map_err(|error| Stop::Failed(format!("the case's own source: {error}")))?;
    if rng.percent(70) {
        source.created_time = Some(CreatedTime {
            column: "created".to_owned(),
            trusted_from: rng.percent(40).then(|| Micros(rng.between(0, size.times))),
        });
        if rng.percent(50) {
            source.knowledge = Knowledge::AsOf;
        }
    }
    if rng.percent(40) {
        source.available_after = Span(rng.between(1, size.times / 3));
    }
    if rng.percent(40) {
        source.tie_break = vec!["seq".to_owned()];
        if rng.percent(50) {
            source.tie_break.push("s".to_owned());
        }
    }
    let mut columns: Vec<Column> = KEYS.iter().map(|(name, of)| Column::new(*name, *of)).collect();
    columns.push(Column::new("at", ValueType::TIMESTAMP));
    columns.push(Column::new("created", ValueType::TIMESTAMP));
    columns.push(Column::new("seq", ValueType::INT64));
    columns.push(Column::new("n", ValueType::INT64));
    columns.push(Column::new("x", ValueType::FLOAT64));
    columns.push(Column::new("s", ValueType::STRING));
    if rng.percent(30) {
        columns[4].stored = Stored::Naive(0);
        columns[5].stored = Stored::Naive(0);
        source.timezone = Some("UTC".to_owned());
    }
    let mut facts = Facts::new(source, columns);
    for at in 0..size.rows {
        let mut row: Vec<Value> = KEYS.iter().map(|(_, of)| key(rng, *of, size, 5)).collect();
        let event = time(rng, size, 6);
        row.push(if rng.percent(5) {
            Value::Null
        } else {
            Value::Timestamp(Micros(event))
        });
        let created = match rng.below(5) {
            0 => Value::Null,
            1 => Value::Timestamp(Micros(event.saturating_add(rng.between(0, size.times)))),
            _ => Value::Timestamp(Micros(time(rng, size, 3))),
        };
        row.push(created);
        row.push(if rng.percent(20) {
            Value::Null
        } else {
            Value::Int64(rng.between(0, 2))
        });
        row.push(if rng.percent(20) {
            Value::Null
        } else {
            Value::Int64(at as i64)
        });
        row.push(match rng.below(6) {
            0 => Value::Null,
            1 => Value::Float64(f64::NAN),
            2 => Value::Float64(-0.0),
            _ => Value::Float64(at as f64 / 8.0),
        });
        row.push(match rng.below(4) {
            0 => Value::Null,
            1 => Value::str(""),
            _ => Value::str(&format!("s{}", rng.below(3))),
        });
        facts.rows.push(row);
        if rng.percent(10) {
            // A full duplicate apart from one feature.
            let mut again = facts.rows[rng.below(facts.rows.len())].clone();
            again[7] = Value::Int64(-(at as i64));
            facts.rows.push(again);
        }
    }
    for _ in 0..rng.below(5) {
        facts.cuts.push(rng.below(facts.rows.len() + 1));
    }
    facts.cuts.sort_unstable();
    Ok(facts)
}

fn key(rng: &mut Rng, of: ValueType, size: &Size, null_percent: u64) -> Value {
    if rng.percent(null_percent) {
        return Value::Null;
    }
    let number = rng.between(0, size.keys - 1);
    match of {
        ValueType::INT64 => Value::Int64(if number == 0 { i64::MIN } else { number }),
        ValueType::STRING => Value::str(["", "a", "ab", "å", "b"][(number % 5) as usize]),
        ValueType::DATE => Value::Date((number % 3) as i32 - 1),
        _ => Value::Bool(number % 2 == 0),
    }
}

fn time(rng: &mut Rng, size: &Size, extreme_percent: u64) -> i64 {
    if rng.percent(extreme_percent) {
        return *rng.pick(&[i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX]);
    }
    rng.between(0, size.times)
}
