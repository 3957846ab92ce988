//! What can be seen without entity rows: the newest rows, those of an interval, a few values, and why?

use std::fs;

use crate::training::{project, verify};
use crate::world::larder;

#[test]
fn rows_without_entity_rows() {
    let (_world, dir) = project();
    let latest = [
        "historical",
        "--latest",
        "--features",
        "user_stats",
        "--out",
        "l.parquet",
        "--format",
        "json",
    ];
    let made = larder(&dir, &latest).ok().json();
    assert!(made["rows"].as_u64().unwrap() > 100, "{made:#}");
    assert_eq!(made["report"]["views"][0]["matched"], made["rows"]);
    verify(&dir, "l.parquet.manifest.json").ok();
    let error = larder(&dir, &["historical", "--latest", "--service", "purchase_v1"])
        .code(1)
        .err;
    assert!(error.contains("different entities"), "{error}");

    let range = [
        "historical",
        "--from",
        "now-7d",
        "--until",
        "now",
        "--features",
        "user_stats",
        "--out",
        "r.csv",
        "--format",
        "json",
    ];
    let made = larder(&dir, &range).ok().json();
    let rows = made["rows"].as_u64().unwrap();
    assert!(rows > 100, "{made:#}");
    let lines = fs::read_to_string(dir.join("r.csv")).unwrap().lines().count() as u64;
    assert_eq!(lines, rows + 1);
    verify(&dir, "r.csv.manifest.json").ok();
}

#[test]
fn why_and_preview_show_values() {
    let (_world, dir) = project();
    let why = [
        "why",
        "user_stats",
        "--entity",
        "user_id=7",
        "--feature",
        "orders_7d",
        "--format",
        "json",
    ];
    let found = larder(&dir, &why).ok().json();
    assert_eq!(
        found["rows"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|r| r["verdict"] == "winner")
            .count(),
        1
    );
    assert!(found["answer"].as_str().unwrap().contains("answers"), "{found:#}");
    let text = larder(&dir, &why[..4]).ok().out;
    assert!(text.contains("winner") && text.contains("older"), "{text}");
    let error = larder(&dir, &["why", "user_stats", "--entity", "user=7"])
        .code(1)
        .err;
    assert!(error.contains("not a join key"), "{error}");

    let preview = ["preview", "purchase_v1", "--limit", "3", "--format", "json"];
    let found = larder(&dir, &preview).ok().json();
    assert_eq!(found["views"].as_array().unwrap().len(), 2);
    assert_eq!(found["views"][0]["rows"].as_array().unwrap().len(), 3);
    let yaml = dir.join("features/user_stats.yaml");
    let masked = fs::read_to_string(&yaml).unwrap().replacen(
        "name: orders_7d, type: int64",
        "name: orders_7d, type: int64, sensitivity: pii",
        1,
    );
    fs::write(&yaml, masked).unwrap();
    larder(&dir, &["apply"]).ok();
    let found = larder(&dir, &preview).ok().json();
    assert_eq!(found["views"][0]["masked"][0], "orders_7d", "{found:#}");
    assert_eq!(found["views"][0]["rows"][0]["orders_7d"], "***");
    let text = larder(&dir, &["preview", "user_stats"]).ok().out;
    assert!(
        text.contains("--show-sensitive") && text.contains("***"),
        "{text}"
    );
    let text = larder(&dir, &["preview", "user_stats", "--show-sensitive"])
        .ok()
        .out;
    assert!(!text.contains("***"), "{text}");
}
