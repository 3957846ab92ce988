//! Is a large file pushed whole or refused whole, and told of each side?

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::world::{World, larder};

/// A CSV of so many rows for the project's source; those that `bad` picks have a key that is no number.
fn file(dir: &Path, rows: usize, bad: impl Fn(usize) -> bool) {
    let sample = fs::read_to_string(dir.join("rows.csv")).unwrap();
    let (header, row) = sample.split_once('\n').unwrap();
    let cells: Vec<&str> = row.trim().splitn(3, ',').collect();
    let mut text = format!("{header}\n");
    for n in 0..rows {
        let key = if bad(n) {
            format!("x{n}")
        } else {
            (n % 1_000).to_string()
        };
        let at = format!(
            "2021-01-01T{:02}:{:02}:{:02}Z",
            n / 3_600 % 24,
            n / 60 % 60,
            n % 60
        );
        writeln!(text, "{key},{at},{}", cells[2]).unwrap();
    }
    fs::write(dir.join("large.csv"), text).unwrap();
}

fn push(dir: &Path, more: &[&str]) -> crate::world::Ran {
    let args = ["push", "user_daily", "--file", "large.csv", "--format", "json"];
    larder(dir, &[&args[..], more].concat())
}

#[test]
fn a_file_of_several_batches_goes_to_both_sides() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    file(&dir, 70_000, |_| false);
    let told = push(&dir, &["--to", "both"]).ok().json();
    assert_eq!(
        (&told["rows"], &told["appended"]),
        (&70_000.into(), &70_000.into()),
        "{told:#}"
    );
    assert_eq!(
        told["views"][0]["written"].as_u64().unwrap() + told["views"][0]["stale"].as_u64().unwrap(),
        70_000
    );
    for side in ["offline", "online"] {
        assert_eq!(told[side]["rows"], 70_000, "{told:#}");
        assert!(told[side]["rows_per_second"].as_f64().unwrap() > 0.0);
    }
    let text = larder(
        &dir,
        &["push", "user_daily", "--file", "large.csv", "--to", "both"],
    )
    .ok()
    .out;
    assert!(
        text.contains("appended 70,000 rows") && text.contains("rows/s"),
        "{text}"
    );
}

#[test]
fn bad_rows_of_any_batch_refuse_all_or_go_to_the_dead_letter() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    // The first, one in the first batch, and the last, which is in the second.
    file(&dir, 66_000, |n| n == 0 || n == 777 || n == 65_999);
    let refused = push(&dir, &["--to", "both"]).code(1).error();
    assert_eq!(refused["kind"], "input", "{refused:#}");
    let own = |dir: &Path| {
        let entries = fs::read_dir(dir.join("data/user_daily")).unwrap();
        entries
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .contains("part-0000")
            })
            .count()
    };
    assert_eq!(own(&dir), 0);
    let told = push(&dir, &["--to", "both", "--dead-letter", "dead.csv"])
        .ok()
        .json();
    assert_eq!(
        (&told["rows"], &told["bad"], &told["appended"]),
        (&66_000.into(), &3.into(), &65_997.into())
    );
    let rows: Vec<&Value> = told["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bad| &bad["row"])
        .collect();
    assert_eq!(rows, [&Value::from(0), &777.into(), &65_999.into()]);
    let dead = fs::read_to_string(dir.join("dead.csv")).unwrap();
    assert_eq!(dead.lines().count(), 4, "{dead}");
    assert!(dead.contains("x777") && dead.contains("x65999"), "{dead}");
    assert_eq!(own(&dir), 1);
    // A push that fails leaves no dead letter in the way of the next.
    file(&dir, 10, |n| n == 3);
    fs::write(dir.join("data/user_daily/0-broken.parquet"), "no parquet").unwrap();
    push(&dir, &["--to", "both", "--dead-letter", "later.csv"]).code(1);
    assert!(!dir.join("later.csv").exists());
    let left = fs::read_dir(&dir).unwrap();
    let left: Vec<_> = left
        .map(|entry| entry.unwrap().file_name())
        .filter(|n| n.to_string_lossy().ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_dead_letter_is_no_data_of_the_source() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    file(&dir, 10, |n| n == 3);
    let inside = ["--to", "both", "--dead-letter", "data/user_daily/dead.parquet"];
    let error = push(&dir, &inside).code(1).error();
    let said = error["message"].as_str().unwrap();
    assert!(
        said.contains("would become a data file of source `user_daily`"),
        "{error:#}"
    );
    let names = fs::read_dir(dir.join("data/user_daily")).unwrap();
    let names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("dead"))
        .collect();
    assert_eq!(names, Vec::<String>::new());
}

/// The history has the good rows by then: whoever fills the online store later learns here which are missing.
#[cfg(feature = "redis")]
#[test]
fn a_dead_letter_stays_when_only_the_online_side_fails() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    file(&dir, 10, |n| n == 3);
    let yaml = fs::read_to_string(dir.join("larder.yaml")).unwrap();
    let (before, rest) = yaml.split_once("\nonline:").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    // Nobody listens there.
    let online = "online: { type: redis, url: \"redis://127.0.0.1:1\", write_timeout: 100ms }";
    fs::write(dir.join("larder.yaml"), format!("{before}\n{online}\n{after}")).unwrap();
    let error = push(&dir, &["--to", "both", "--dead-letter", "dead.csv"])
        .code(1)
        .error();
    let said = error["message"].as_str().unwrap();
    for part in ["appended_offline=9", "refused=1", "dead.csv"] {
        assert!(said.contains(part), "{part}: {error:#}");
    }
    let dead = fs::read_to_string(dir.join("dead.csv")).unwrap();
    assert_eq!(dead.lines().count(), 2, "{dead}");
}
