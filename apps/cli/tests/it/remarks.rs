//! Is what is odd told where it matters, once, with what to do about it?

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::training::{make, project};
use crate::world::{World, larder};

#[test]
fn a_view_that_was_never_filled_is_told_by_get() {
    let (_world, dir) = project();
    let get = [
        "get",
        "--service",
        "purchase_v1",
        "--entity",
        "user_id=7,product_id=3",
    ];
    let text = larder(&dir, &get).ok().out;
    for view in ["user_stats", "product_stats"] {
        let told = format!("never materialized; run `larder materialize --views {view}`");
        assert_eq!(text.matches(&told).count(), 1, "{text}");
    }
    // Not among what programs read, and not where silence was asked for.
    for more in [&["--quiet"][..], &["--format", "csv"], &["--format", "json"]] {
        let text = larder(&dir, &[&get[..], more].concat()).ok().out;
        assert!(!text.contains("larder materialize"), "{text}");
    }
    larder(&dir, &["materialize", "--views", "user_stats"]).ok();
    let text = larder(&dir, &get).ok().out;
    assert!(
        !text.contains("--views user_stats") && text.contains("--views product_stats"),
        "{text}"
    );
    larder(&dir, &["materialize"]).ok();
    let nobody = [
        "get",
        "--service",
        "purchase_v1",
        "--entity",
        "user_id=-1,product_id=-1",
    ];
    let text = larder(&dir, &nobody).ok().out;
    assert!(
        text.contains("NOT_FOUND") && !text.contains("larder materialize"),
        "{text}"
    );
}

#[test]
fn doctor_tells_a_remedy_once() {
    let (_world, dir) = project();
    fs::write(dir.join("broken"), "no folder").unwrap();
    let yaml = fs::read_to_string(dir.join("larder.yaml")).unwrap();
    let yaml = yaml
        .replace("path: .larder/online", "path: broken")
        .replace("root: data/", "root: broken");
    fs::write(dir.join("larder.yaml"), yaml).unwrap();
    let findings = larder(&dir, &["doctor", "--format", "json"]).ok().json();
    let text = larder(&dir, &["doctor"]).ok().out;
    let mut remedies = 0;
    for finding in findings.as_array().unwrap() {
        let Some(remedy) = finding["remedy"].as_str() else {
            continue;
        };
        remedies += 1;
        assert!(
            !finding["error"].as_str().unwrap().contains(remedy),
            "{finding:#}"
        );
        assert!(text.contains(&format!("  help: {remedy}\n")), "{text}");
    }
    assert!(remedies > 0, "{findings:#}");
}

#[test]
fn stores_are_listed_whole_and_one_by_one() {
    let world = World::new();
    let text = world.larder(&["stores"]).ok().out;
    assert!(
        !text.contains('…') && text.contains("larder stores TYPE"),
        "{text}"
    );
    let text = world.larder(&["stores", "local"]).ok().out;
    for part in [
        "online `local`",
        "`map_size`",
        "`64GiB`",
        "path: .larder/online",
        "provider `local`",
    ] {
        assert!(text.contains(part), "no {part}: {text}");
    }
    let found = world
        .larder(&["stores", "parquet", "--format", "json"])
        .ok()
        .json();
    let options = found[0]["options"].as_array().unwrap();
    assert_eq!(options[0]["key"], "`root` (store)");
    // Those of another table of its documentation, too.
    assert!(
        options.iter().any(|option| option["key"] == "`path_style`"),
        "{found:#}"
    );
    let told = world.larder(&["stores", "redshift"]).code(1).err;
    assert!(told.contains("later part"), "{told}");
    let told = world.larder(&["stores", "parket"]).code(1).err;
    assert!(told.contains("did you mean `parquet`?"), "{told}");
}

#[test]
fn compact_goes_on_past_a_source_that_another_one_compacts() {
    let (_world, dir) = project();
    let lock = |source: &str| {
        let path = dir.join("data").join(source).join(".larder-compact.lock");
        let file = File::options().create(true).append(true).open(path).unwrap();
        file.lock().unwrap();
        file
    };
    // The first of them by name.
    let held = lock("product_daily");
    for asked in [&["--all"][..], &["product_daily", "user_daily"]] {
        let ran = larder(&dir, &[&["compact"], asked].concat()).code(1);
        assert!(
            ran.out.contains("user_daily") && !ran.out.contains("product_daily"),
            "{ran:#?}"
        );
        assert!(ran.err.contains("another compaction"), "{ran:#?}");
        assert_eq!(ran.err.matches("source=product_daily").count(), 1, "{ran:#?}");
        assert!(ran.err.contains("help: wait for it to end"), "{ran:#?}");
    }
    let ran = larder(&dir, &["compact", "--all", "--format", "json"]).code(1);
    assert_eq!(ran.json()[0]["source"], "user_daily");
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["kind"], "conflict");

    // Where all are under way, all are told and nothing else is.
    let other = lock("user_daily");
    let ran = larder(&dir, &["compact", "--all"]).code(1);
    assert!(
        ran.out.is_empty() && ran.err.matches("another compaction").count() == 2,
        "{ran:#?}"
    );
    drop((held, other));
    larder(&dir, &["compact", "--all"]).ok();
}

#[test]
fn what_a_killed_run_left_goes_with_the_next_one_to_the_same_file() {
    let (_world, dir) = project();
    let file = |name: &str, hours: u64| {
        let file = File::create_new(dir.join(name)).unwrap();
        let age = Duration::from_secs(hours * 3_600);
        file.set_modified(SystemTime::now() - age).unwrap();
        file
    };
    let gone = [
        ".t.parquet.4711.tmp",
        ".t.parquet.0123456789abcdef.tmp",
        ".t.parquet.manifest.json.00000000000000aa.tmp",
    ];
    for name in gone {
        file(name, 2);
    }
    // Of another file, not ours, too young, and of a process that lives.
    let kept = [
        (".u.parquet.4711.tmp", 2),
        (".t.parquet.mine.tmp", 2),
        (".t.parquet.00000000000000bb.tmp", 0),
        (".t.parquet.00000000000000cc.tmp", 2),
    ];
    let files: Vec<File> = kept.iter().map(|(name, hours)| file(name, *hours)).collect();
    files[3].lock().unwrap();
    make(&dir, &["--out", "t.parquet"]).ok();
    let temporary = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut left: Vec<String> = temporary
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    left.sort();
    let mut kept = kept.map(|(name, _)| name);
    kept.sort_unstable();
    assert_eq!(left, kept);
}

#[test]
fn a_failed_run_is_a_finding_and_old_data_is_seen() {
    let (_world, dir) = project();
    larder(&dir, &["materialize"]).ok();
    let status = |more: &[&str], code: i32| larder(&dir, &[&["status", "--check"], more].concat()).code(code);
    // What the objective measures is the run; how old the data is stands beside it.
    let found = status(&["--format", "json"], 0).json();
    let newest = found[0]["newest_event"].as_str().unwrap().to_owned();
    assert!(found[0]["fresh"] == true && found[0]["findings"][0].is_null());
    let text = status(&[], 0).out;
    assert!(text.contains("newest event") && text.contains(&newest), "{text}");

    // A file of a source that cannot be read ends the run.
    fs::write(dir.join("data/user_daily/0-broken.parquet"), "no parquet").unwrap();
    larder(&dir, &["materialize", "--views", "user_stats", "--repair", "1h"]).code(1);
    let found = status(&["--views", "user_stats", "--format", "json"], 3).json();
    let findings = found[0]["findings"].to_string();
    assert!(findings.contains("its last run failed"), "{found:#}");
    let text = status(&["--views", "user_stats"], 3).out;
    assert!(text.contains("its last run failed"), "{text}");
    status(&["--views", "product_stats"], 0);
}

#[test]
fn a_text_that_looks_like_a_status_is_told_apart_in_csv() {
    let (_world, dir) = project();
    larder(&dir, &["materialize"]).ok();
    let yaml = dir.join("features/product_stats.yaml");
    let text = fs::read_to_string(&yaml).unwrap();
    assert!(text.contains("name: price"), "{text}");
    let get = [
        "get",
        "--features",
        "product_stats:price,user_stats:orders_7d",
        "--entity",
        "user_id=7,product_id=3",
        "--entity",
        "user_id=-1,product_id=3",
        "--format",
        "csv",
    ];
    let text = larder(&dir, &get).ok().out;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let header = [
        "user_id",
        "product_id",
        "feature",
        "value",
        "status",
        "event_timestamp",
    ];
    assert_eq!(rows[0], header, "{text}");
    assert_eq!(rows.len(), 5, "{text}");
    assert_eq!(rows[1][..3], ["7", "3", "price"], "{text}");
    assert!(!rows[1][3].is_empty() && rows[1][4] == "PRESENT", "{text}");
    assert_eq!(rows[4], ["-1", "3", "orders_7d", "", "NOT_FOUND", ""], "{text}");
}

#[test]
fn a_source_that_is_named_twice_is_compacted_once() {
    let (_world, dir) = project();
    let done = larder(&dir, &["compact", "user_daily", "user_daily", "--format", "json"]);
    assert_eq!(done.ok().json().as_array().unwrap().len(), 1);
}

#[cfg(feature = "redis")]
#[test]
fn an_option_without_a_remedy_ends_in_no_semicolon() {
    let (_world, dir) = World::project();
    let yaml = fs::read_to_string(dir.join("larder.yaml")).unwrap();
    let local = "type: local, path: .larder/online";
    let wrong = "type: redis, url: \"redis://127.0.0.1:1\", timeout: 0s";
    fs::write(dir.join("larder.yaml"), yaml.replace(local, wrong)).unwrap();
    let error = larder(&dir, &["doctor", "--format", "json"])
        .ok()
        .json()
        .to_string();
    assert!(
        error.contains("must be at least 1ms") && !error.contains("1ms;"),
        "{error}"
    );
}
