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

/// Compacted rows are sorted by time, and the rows of an interval come as they lie in the files.
#[test]
fn the_rows_of_an_interval_are_the_same_afterwards() {
    let (_world, dir) = project();
    let rows = fs::read_to_string(dir.join("rows.csv")).unwrap();
    let (header, row) = rows.split_once('\n').unwrap();
    let (user, rest) = row.trim().split_once(',').unwrap();
    let (_, values) = rest.split_once(',').unwrap();
    // The later, the earlier.
    for n in 0..6 {
        let row = format!("{user},2021-01-01T00:00:{:02}Z,{values}", 30 - n);
        fs::write(dir.join("one.csv"), format!("{header}\n{row}\n")).unwrap();
        let push = ["push", "user_daily", "--file", "one.csv", "--to", "offline"];
        larder(&dir, &push).ok();
    }
    let interval = [
        "--from",
        "2021-01-01T00:00:00Z",
        "--until",
        "2021-01-02T00:00:00Z",
    ];
    let make = ["historical", "--features", "user_stats"];
    let split = ["--out", "s.parquet", "--split", "hash:user_id:50,50"];
    larder(&dir, &[&make[..], &interval, &["--out", "t.parquet"]].concat()).ok();
    larder(&dir, &[&make[..], &interval, &split].concat()).ok();
    let rows = crate::training::rows_of(&dir.join("t.parquet"));
    json(&dir, &["compact", "user_daily", "--no-readers"]);
    assert_eq!(own_files(&dir).len(), 1);

    let repeat = ["--repeat", "t.parquet.manifest.json", "--out", "again.parquet"];
    let again = json(&dir, &[&["historical"][..], &repeat].concat());
    assert_eq!(again["same"], true, "{again:#}");
    assert_ne!(rows, crate::training::rows_of(&dir.join("again.parquet")));
    for manifest in ["t.parquet.manifest.json", "s.parquet.manifest.json"] {
        let told = json(&dir, &["historical", "--verify", manifest]);
        assert_eq!(
            (&told["same"], &told["made_again_equal"]),
            (&true.into(), &true.into()),
            "{told:#}"
        );
        assert_eq!(told["was"], told["now"], "{told:#}");
        let text = told["differences"].to_string();
        assert!(
            text.contains("was compacted into") && !text.contains("content"),
            "{text}"
        );
    }
    // One row more is still told.
    push(&dir, 1);
    let verify = [
        "historical",
        "--verify",
        "t.parquet.manifest.json",
        "--format",
        "json",
    ];
    let told = larder(&dir, &verify).code(3).json();
    assert!(
        told["differences"].to_string().contains("6 -> 7 rows"),
        "{told:#}"
    );
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
