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

#[test]
fn all_rows_with_wrong_cells_are_told_at_once() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    // All of the first batch's last rows, and one of the second.
    file(&dir, 66_000, |n| (65_000..65_500).contains(&n) || n == 65_999);
    let error = push(&dir, &["--to", "both"]).code(1).error();
    let said = error["message"].as_str().unwrap();
    assert!(
        said.contains("66000 rows") && said.contains("501 bad; 20 are told"),
        "{error:#}"
    );
    let told = error["diagnostics"].as_array().unwrap();
    assert_eq!(told.len(), 20);
    let last = told[19]["message"].as_str().unwrap();
    assert!(
        last.contains("line 65021, column `user_id`: not of type int64"),
        "{last}"
    );
    assert!(
        error["help"].as_str().unwrap().contains("--dead-letter"),
        "{error:#}"
    );
    let text = larder(&dir, &["push", "user_daily", "--file", "large.csv"])
        .code(1)
        .err;
    assert!(text.contains("501 bad; 20 are told"), "{text}");
    assert!(!text.contains("x65000"), "a value of the data is told: {text}");
    // A single one is told as ever.
    file(&dir, 10, |n| n == 3);
    let text = larder(&dir, &["push", "user_daily", "--file", "large.csv"])
        .code(1)
        .err;
    assert!(
        text.starts_with("error: `large.csv`, line 5, column `user_id`: not of type int64\n"),
        "{text}"
    );
    assert!(
        text.contains("--dead-letter") && !text.contains("10 rows"),
        "{text}"
    );
}

#[test]
fn the_number_of_bad_rows_with_types_is_told() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    file(&dir, 1_000, |_| false);
    let text = fs::read_to_string(dir.join("large.csv")).unwrap();
    let nulls: String = text
        .lines()
        .enumerate()
        .map(|(n, line)| match line.split_once(',') {
            Some((_, rest)) if n > 0 => format!(",{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(dir.join("large.csv"), nulls).unwrap();
    let told = larder(&dir, &["push", "user_daily", "--file", "large.csv"])
        .code(1)
        .err;
    assert!(
        told.contains("20 problems in the 1000 rows to push (1000 bad; 20 are told); nothing was changed"),
        "{told}"
    );
}

#[test]
fn a_time_without_a_zone_is_mended_where_its_source_is_defined() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    file(&dir, 2, |_| false);
    let text = fs::read_to_string(dir.join("large.csv")).unwrap();
    fs::write(dir.join("large.csv"), text.replace("00Z", "00")).unwrap();
    let told = larder(&dir, &["push", "user_daily", "--file", "large.csv"])
        .code(1)
        .err;
    assert!(
        told.contains("source `user_daily`") && told.contains("`timezone: UTC`"),
        "{told}"
    );
    assert!(!told.contains("--timezone"), "{told}");
    // Such a source takes them.
    let features = dir.join("features/user_stats.yaml");
    let yaml = fs::read_to_string(&features).unwrap();
    let zoned = yaml.replace("path: user_daily/", "path: user_daily/\n    timezone: UTC");
    assert_ne!(yaml, zoned);
    fs::write(features, zoned).unwrap();
    larder(&dir, &["apply"]).ok();
    push(&dir, &[]).ok();
}

#[test]
fn a_ragged_line_is_named() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    for (n, more) in [(3, ",1,2"), (2_000, ",1,2")] {
        file(&dir, 3_000, |_| false);
        let text = fs::read_to_string(dir.join("large.csv")).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[n - 1].push_str(more);
        fs::write(dir.join("large.csv"), lines.join("\n")).unwrap();
        let error = push(&dir, &[]).code(1).error();
        let said = error["message"].as_str().unwrap();
        assert!(
            said.contains(&format!("`large.csv`, line {n}, cannot be read")),
            "{error:#}"
        );
    }
}

#[test]
fn columns_that_nobody_takes_are_told() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    file(&dir, 2, |_| false);
    assert!(push(&dir, &[]).ok().json()["warnings"].is_null());
    let text = fs::read_to_string(dir.join("large.csv")).unwrap();
    let more: Vec<String> = text
        .lines()
        .zip(["zzz,created_timestmp", "1,2021-01-01", "2,2021-01-02"])
        .map(|(line, more)| format!("{line},{more}"))
        .collect();
    fs::write(dir.join("large.csv"), more.join("\n")).unwrap();
    for to in ["online", "offline", "both"] {
        let told = push(&dir, &["--to", to]).ok().json();
        let warnings = told["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{told:#}");
        let said = warnings[0].as_str().unwrap();
        assert!(
            said.starts_with("columns were ignored: `zzz`, `created_timestmp`;"),
            "{said}"
        );
        assert!(said.contains("source `user_daily`"), "{said}");
    }
}

#[test]
fn a_source_without_data_gets_its_first_rows_by_a_push() {
    let (_world, dir) = World::project();
    file(&dir, 2, |_| false);
    fs::remove_dir_all(dir.join("data/user_daily")).unwrap();
    fs::create_dir(dir.join("data/user_daily")).unwrap();
    let told = larder(&dir, &["apply"]).code(1).err;
    assert!(
        told.contains("`--offline` skips looking at the data, such as before the first rows are pushed"),
        "{told}"
    );
    larder(&dir, &["apply", "--offline"]).ok();
    let told = push(&dir, &["--to", "both"]).ok().json();
    assert_eq!(told["appended"], 2, "{told:#}");
    larder(&dir, &["apply"]).ok();
}
