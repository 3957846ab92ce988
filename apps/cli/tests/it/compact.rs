//! Do many small pushes become few files, and does nobody notice: training sets, their manifests, online values?

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::training::project;
use crate::world::{World, larder};

fn own_files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("data/user_daily"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("part-0000"))
        .collect();
    names.sort();
    names
}

/// Pushes the project's row to the history, again and again with later times.
fn push(dir: &Path, times: usize) {
    let rows = fs::read_to_string(dir.join("rows.csv")).unwrap();
    let (header, row) = rows.split_once('\n').unwrap();
    let cells: Vec<&str> = row.trim().split(',').collect();
    for n in 0..times {
        let mut cells = cells.clone();
        let at = format!("2021-01-01T00:00:{n:02}Z");
        cells[1] = &at;
        fs::write(dir.join("one.csv"), format!("{header}\n{}\n", cells.join(","))).unwrap();
        larder(
            dir,
            &["push", "user_daily", "--file", "one.csv", "--to", "offline"],
        )
        .ok();
    }
}

fn json(dir: &Path, args: &[&str]) -> Value {
    larder(dir, &[args, &["--format", "json"]].concat()).ok().json()
}

#[test]
fn small_pushes_become_few_files() {
    let (_world, dir) = project();
    push(&dir, 6);
    let before = own_files(&dir);
    assert_eq!(before.len(), 6);
    let make = [
        "historical",
        "--entities",
        "labels.parquet",
        "--service",
        "purchase_v1",
        "--out",
        "t.parquet",
    ];
    larder(&dir, &make).ok();

    let told = json(&dir, &["compact", "user_daily", "--dry-run"]);
    assert_eq!(
        (&told[0]["merged"], &told[0]["made"]),
        (&6.into(), &1.into()),
        "{told:#}"
    );
    assert_eq!(own_files(&dir), before);
    let told = json(&dir, &["compact", "user_daily"]);
    assert_eq!(
        (&told[0]["merged"], &told[0]["rows"], &told[0]["waiting"]),
        (&6.into(), &6.into(), &6.into())
    );
    // The old ones wait for their grace, and count no more.
    assert_eq!(own_files(&dir).len(), 7);
    let ran = larder(&dir, &["compact", "--all"]).ok();
    assert!(
        ran.out.contains("user_daily") && ran.out.contains("later run"),
        "{ran:#?}"
    );
    let told = json(&dir, &["compact", "user_daily", "--no-readers"]);
    assert_eq!(
        (&told[0]["merged"], &told[0]["removed"], &told[0]["waiting"]),
        (&0.into(), &6.into(), &0.into())
    );
    assert_eq!(own_files(&dir).len(), 1);

    // The training set is the same, and its manifest tells where the files went.
    let verify = ["historical", "--verify", "t.parquet.manifest.json"];
    let told = json(&dir, &verify);
    assert!(
        told["same"] == true || told["made_again_equal"] == true,
        "{told:#}"
    );
    let text = told["differences"].to_string();
    assert!(
        text.contains("was compacted into") && text.contains("6 files that were compacted"),
        "{text}"
    );
    assert!(!text.contains("is gone"), "{text}");
    larder(&dir, &["materialize"]).ok();

    // More comes, and is merged with what was made before.
    push(&dir, 2);
    json(&dir, &["compact", "user_daily", "--no-readers"]);
    assert_eq!(own_files(&dir).len(), 1);
    assert_eq!(json(&dir, &verify)["made_again_equal"], true);
}

#[test]
fn what_compact_is_asked_wrongly() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    larder(&dir, &["compact"]).code(2);
    larder(&dir, &["compact", "--all", "user_daily"]).code(2);
    let ran = larder(&dir, &["compact", "user_dayly"]).code(1);
    assert!(ran.err.contains("user_daily"), "{ran:#?}");
    for grace in ["0s", "5m"] {
        let ran = larder(&dir, &["compact", "--all", "--grace", grace]).code(1);
        assert!(ran.err.contains("grace"), "{ran:#?}");
    }
    // Nothing to do is no error.
    larder(&dir, &["compact", "--all"]).ok();
}
