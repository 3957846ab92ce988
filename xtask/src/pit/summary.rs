//! What do all the runs say together? Medians, ratios to larder, and in words where answers differ.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::process::Outcome;
use crate::shell::{Failure, Result};

/// An engine's line of the report.
pub(crate) fn entry(engine: &str, outcomes: &[Outcome], agreement: Value) -> Value {
    let done: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Done(done) => Some(done),
            _ => None,
        })
        .collect();
    let mut entry = json!({ "engine": engine, "repetitions": done.len(), "agreement": agreement });
    match outcomes.last() {
        Some(Outcome::Killed { reason, wall, peak }) => {
            entry["killed"] = json!({ "reason": reason, "seconds": wall, "peak_bytes": peak });
        }
        Some(Outcome::Failed { reason, .. }) => entry["failed"] = json!(reason),
        _ => {}
    }
    if !done.is_empty() {
        let seconds: Vec<f64> = done.iter().map(|done| done.seconds).collect();
        entry["seconds"] = json!(median(&seconds));
        entry["process_seconds"] = json!(median(&done.iter().map(|done| done.wall).collect::<Vec<_>>()));
        entry["peak_bytes"] = json!(median(
            &done.iter().map(|done| done.peak as f64).collect::<Vec<_>>()
        ));
        entry["base_bytes"] = json!(median(
            &done.iter().map(|done| done.base as f64).collect::<Vec<_>>()
        ));
        entry["all_seconds"] = json!(seconds);
        entry["rows"] = done[0].told["rows"].clone();
        entry["versions"] = done[0].told["versions"].clone();
    }
    entry
}

/// The line of an engine that could not do a smaller shape of the same kind.
pub(crate) fn not_tried(engine: &str, smaller: &str) -> Value {
    json!({ "engine": engine, "repetitions": 0, "not_tried": format!("killed on {smaller}") })
}

/// The middle one, or the mean of the two in the middle; 0 of none.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The report as Markdown: head, and one table per shape.
pub(crate) fn markdown(report: &Value) -> String {
    let mut text = String::new();
    let machine = &report["machine"];
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let _ = writeln!(
        text,
        "{}, {} cores of {}, {} GiB, {}, load before {}; {}",
        word(&report["date"]),
        machine["cores"],
        word(&machine["processor"]),
        machine["memory_gib"],
        word(&machine["system"]),
        machine["load_before"],
        word(&report["rustc"]),
    );
    let versions = report["versions"].as_object().into_iter().flatten();
    let versions: Vec<String> = versions.map(|(name, v)| format!("{name} {}", word(v))).collect();
    let _ = writeln!(
        text,
        "{}; medians of at most {} runs{}",
        versions.join(", "),
        report["repetitions"],
        if report["quick"] == true {
            "; a tenth of the rows"
        } else {
            ""
        },
    );
    if let Some(reason) = report["peers_missing"].as_str() {
        let _ = writeln!(text, "\n**No peers**: {reason}");
    }
    for shape in list(&report["shapes"]) {
        let _ = writeln!(
            text,
            "\n### {}: {}\n",
            word(&shape["name"]),
            word(&shape["question"])
        );
        text.push_str("| engine | time | to larder | whole process | peak memory | to larder | answer |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        let entries = list(&shape["engines"]);
        for entry in entries {
            let _ = writeln!(text, "{}", line(entry, &entries[0]));
        }
    }
    text
}

fn line(entry: &Value, larder: &Value) -> String {
    let engine = entry["engine"].as_str().unwrap_or("?");
    let ratio = |field: &str| match (entry[field].as_f64(), larder[field].as_f64()) {
        (Some(other), Some(ours)) if ours > 0.0 => format!("{:.1}x", other / ours),
        _ => String::new(),
    };
    if let Some(seconds) = entry["seconds"].as_f64() {
        return format!(
            "| {engine} | {seconds:.2} s | {} | {:.2} s | {} | {} | {} |",
            ratio("seconds"),
            entry["process_seconds"].as_f64().unwrap_or(0.0),
            mib(&entry["peak_bytes"]),
            ratio("peak_bytes"),
            answer(engine, &entry["agreement"]),
        );
    }
    if let Some(reason) = entry["not_tried"].as_str() {
        return format!("| {engine} | not tried | | | | | {reason} |");
    }
    let killed = &entry["killed"];
    if let Some(reason) = killed["reason"].as_str() {
        return format!(
            "| {engine} | killed | | {:.0} s | {} | | {reason} |",
            killed["seconds"].as_f64().unwrap_or(0.0),
            mib(&killed["peak_bytes"]),
        );
    }
    format!(
        "| {engine} | failed | | | | | {} |",
        entry["failed"].as_str().unwrap_or("?")
    )
}

fn mib(bytes: &Value) -> String {
    format!("{:.0} MiB", bytes.as_f64().unwrap_or(0.0) / f64::from(1 << 20))
}

/// How an engine's answer compares, in words.
fn answer(engine: &str, agreement: &Value) -> String {
    if let Some(error) = agreement["error"].as_str() {
        return format!("not compared: {error}");
    }
    let count = |field: &str| agreement[field].as_u64().unwrap_or(0);
    if engine == "larder" {
        return format!(
            "{} of {} cells checked by a plain search, {} wrong",
            count("checked"),
            count("cells"),
            count("larder_wrong")
        );
    }
    let mut words = Vec::new();
    let mut say = |field: &str, what: &str| {
        if count(field) > 0 {
            words.push(format!("{} {what}", count(field)));
        }
    };
    say("tie", "ties decided otherwise");
    say("dropped", "rows dropped");
    say("repeated_rows", "rows twice");
    say("nothing", "null where a row matches");
    say("other_row", "from another row (older, expired, future)");
    say("other", "OTHER");
    say("larder_wrong", "LARDER WRONG");
    if words.is_empty() {
        words.push("the same".to_owned());
    }
    if count("features_left_out") > 0 {
        words.push(format!("{} features left out", count("features_left_out")));
    }
    words.join(", ")
}

/// Fails where larder was wrong, failed, or differs from the engine that decides ties as it does.
pub(crate) fn wrong(report: &Value) -> Result<()> {
    let mut found = Vec::new();
    for shape in list(&report["shapes"]) {
        let name = shape["name"].as_str().unwrap_or("?");
        for entry in list(&shape["engines"]) {
            let engine = entry["engine"].as_str().unwrap_or("?");
            let count = |field: &str| entry["agreement"][field].as_u64().unwrap_or(0);
            if count("larder_wrong") > 0 {
                found.push(format!(
                    "{name}: larder is wrong in {} cells",
                    count("larder_wrong")
                ));
            }
            let strict = engine == "polars-ties" && count("differ") > 0;
            if strict || (engine == "polars" && count("differ") > count("tie")) {
                found.push(format!("{name}: {engine} and larder differ, not only in ties"));
            }
            if engine == "larder" && entry["seconds"].is_null() {
                found.push(format!("{name}: larder did not answer"));
            }
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(found.join("; ")))
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::super::process::Done;
    use super::*;

    fn done(seconds: f64, peak: u64) -> Outcome {
        Outcome::Done(Done {
            seconds,
            wall: seconds + 1.0,
            peak,
            base: 0,
            told: json!({ "rows": 5 }),
        })
    }

    fn report(engine: &str, agreement: Value) -> Value {
        let ours = json!({ "cells": 10, "checked": 10, "larder_wrong": 0 });
        let larder = entry("larder", &[done(1.0, 1 << 20)], ours);
        let runs = [done(6.0, 4 << 20), done(4.0, 4 << 20), done(5.0, 4 << 20)];
        let peer = entry(engine, &runs, agreement);
        json!({ "shapes": [{ "name": "s", "question": "q", "engines": [larder, peer] }] })
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_table_shows_medians_ratios_and_differences() {
        let report = report("duckdb", json!({ "tie": 3, "differ": 3 }));
        let text = markdown(&report);
        let expected = "| duckdb | 5.00 s | 5.0x | 6.00 s | 4 MiB | 4.0x | 3 ties decided otherwise |";
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("10 of 10 cells checked by a plain search, 0 wrong"),
            "{text}"
        );
        wrong(&report).expect("ties of DuckDB are no mistake of ours");
    }

    #[test]
    fn a_run_that_was_stopped_is_shown_as_such() {
        let killed = Outcome::Killed {
            reason: "more than 12 GiB".to_owned(),
            wall: 20.0,
            peak: 12 << 30,
        };
        let entry = entry("feast-dask", &[killed], Value::Null);
        let expected = "| feast-dask | killed | | 20 s | 12288 MiB | | more than 12 GiB |";
        assert_eq!(line(&entry, &Value::Null), expected);
        let expected = "| feast-dask | not tried | | | | | killed on s |";
        assert_eq!(line(&not_tried("feast-dask", "s"), &Value::Null), expected);
    }

    #[test]
    fn differences_that_must_not_be_fail_the_bench() {
        for (engine, agreement) in [
            ("polars-ties", json!({ "differ": 1, "tie": 1 })),
            ("polars", json!({ "differ": 2, "tie": 1, "other": 1 })),
            ("duckdb", json!({ "differ": 1, "larder_wrong": 1 })),
        ] {
            wrong(&report(engine, agreement)).expect_err(engine);
        }
        wrong(&report("polars", json!({ "differ": 2, "tie": 2 }))).expect("only ties");
        let silent = entry("larder", &[], Value::Null);
        wrong(&json!({ "shapes": [{ "name": "s", "engines": [silent] }] })).expect_err("no answer");
    }
}
