//! The point-in-time cases that people wrote down: `cases/*.case`, on the oracle and on the store.

use larder_core::{Micros, Value};

use super::support::{Cx, scenario, source_row};
use crate::case::{Case, Verdict};
use crate::check::{ensure, same, same_value, short};
use crate::oracle::{self, Answer};
use crate::table::{Expected, Scenario};

macro_rules! files {
    ($($name:literal,)*) => {
        pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
            vec![$(Case {
                id: concat!("offline.pit.", $name),
                about: about(include_str!(concat!("../../cases/", $name, ".case"))),
                run: |cx| Box::pin(run(cx, include_str!(concat!("../../cases/", $name, ".case")))),
            }),*]
        }
    };
}

files! {
    "newest-not-after",
    "future-is-unseen",
    "ttl-inclusive",
    "ttl-zero",
    "ttl-expired-newest",
    "available-after",
    "available-after-own-spine",
    "available-after-and-ttl",
    "ttl-shorter-than-delay",
    "tie-created",
    "tie-created-absent",
    "tie-event-before-created",
    "tie-break-column",
    "tie-break-after-created",
    "tie-order",
    "whole-row",
    "tie-break-mode-sees-later-created",
    "as-of",
    "as-of-correction",
    "as-of-absent-created",
    "as-of-and-delay",
    "as-of-without-created",
    "trusted-from",
    "trusted-from-still-breaks-ties",
    "backfill",
    "knowledge-override",
    "null-keys",
    "null-event",
    "null-feature",
    "duplicates",
    "input-order",
    "several-keys",
    "several-views",
    "roles",
    "no-entity",
    "empty-source",
    "empty-files",
    "out-of-order-files",
    "extreme-times",
    "extreme-delay-and-ttl",
    "before-1970",
    "naive-utc",
    "naive-zone",
    "time-units",
    "narrow-columns",
    "text-encodings",
    "renamed-columns",
    "key-types",
    "value-types",
    "key-is-feature",
    "own-ttl",
}

/// The `about:` line of a case.
fn about(text: &'static str) -> &'static str {
    text.lines()
        .find_map(|line| line.strip_prefix("about:"))
        .unwrap_or("a case that says nothing about itself")
        .trim()
}

async fn run(cx: &Cx<'_>, text: &str) -> Verdict {
    let scenario = scenario(text)?;
    ensure!(!scenario.expected.is_empty(), "the case expects nothing");
    for expected in &scenario.expected {
        // The oracle must say what people wrote before it may judge a store.
        check_oracle(&scenario, expected).map_err(|stop| stop.during("the case contradicts the oracle"))?;
    }
    cx.check(&scenario).await
}

fn check_oracle(scenario: &Scenario, expected: &Expected) -> Verdict {
    let view = &scenario.views[expected.view];
    let facts = &scenario.tables[view.table];
    let joined = oracle::join(scenario, view)?;
    same(
        expected.rows.len(),
        joined.answers.len(),
        "rows expected, against entity rows",
    )?;
    for (row, (answer, want)) in joined.answers.iter().zip(&expected.rows).enumerate() {
        let (values, event, created) = match answer {
            Answer::Winner(tied) => source_row(facts, view, tied.last().copied().unwrap_or(0))?,
            _ => (vec![Value::Null; view.features.len()], None, None),
        };
        let time = |time: Option<i64>| time.map_or(Value::Null, |t| Value::Timestamp(Micros(t)));
        for (name, want) in expected.columns.iter().zip(want) {
            let got = match name.as_str() {
                "event" => time(event),
                "created" => time(created),
                feature => {
                    let at = view.features.iter().position(|name| name == feature);
                    ensure!(at.is_some(), "the view has no feature `{feature}`");
                    at.map_or(Value::Null, |at| values[at].clone())
                }
            };
            ensure!(
                same_value(&got, want),
                "row {row}, `{name}`: the case expects {}, the oracle answers {} ({answer:?})",
                short(want),
                short(&got)
            );
        }
    }
    let [matched, expired, unmatched, null_keys] = joined.counts();
    for (name, want) in &expected.counts {
        let got = match name.as_str() {
            "matched" => matched,
            "expired" => expired,
            "unmatched" => unmatched,
            "null_keys" => null_keys,
            "full_ties" => joined.full_ties,
            "known_later" => joined.known_later,
            other => {
                ensure!(false, "there is no counter `{other}`");
                0
            }
        };
        same(got, *want, &format!("the counter `{name}`"))?;
    }
    Ok(())
}
