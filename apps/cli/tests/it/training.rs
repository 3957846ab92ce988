//! Can a training set be split, proved, repeated and explained from the command line?

use std::fs;
use std::path::Path;

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::world::{Ran, World, larder};

/// A project with its definitions applied.
pub(crate) fn project() -> (World, std::path::PathBuf) {
    let (world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    (world, dir)
}

/// `larder historical` over the project's entity rows, in JSON.
pub(crate) fn make(dir: &Path, more: &[&str]) -> Ran {
    let base = [
        "historical",
        "--entities",
        "labels.parquet",
        "--service",
        "purchase_v1",
        "--format",
        "json",
    ];
    larder(dir, &[&base[..], more].concat())
}

pub(crate) fn verify(dir: &Path, manifest: &str) -> Ran {
    larder(dir, &["historical", "--verify", manifest, "--format", "json"])
}

/// Differences of a kind as one text.
pub(crate) fn told(found: &Value, what: &str) -> String {
    let all = found["differences"].as_array().unwrap().iter();
    let lines = all
        .filter(|difference| difference["what"] == what)
        .map(|d| format!("{} {}", d["name"].as_str().unwrap(), d["how"].as_str().unwrap()));
    lines.collect::<Vec<_>>().join("; ")
}

pub(crate) fn rows_of(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_manifest_proves_its_training_set_whatever_the_file() {
    let (_world, dir) = project();
    let mut digests = Vec::new();
    for out in ["t.parquet", "t.arrow", "t.csv"] {
        let made = make(&dir, &["--out", out, "--label", "bought"]).ok().json();
        assert_eq!(made["rows"], 500);
        assert_eq!(made["manifest"], format!("{out}.manifest.json"));
        digests.push(made["outputs"][0]["digest"].clone());
        let manifest: Value =
            serde_json::from_str(&fs::read_to_string(dir.join(format!("{out}.manifest.json"))).unwrap())
                .unwrap();
        assert_eq!(manifest["format"], 1);
        assert_eq!(manifest["parameters"]["labels"][0], "bought");
        assert_eq!(manifest["entities"]["path"], "labels.parquet");
        assert_eq!(manifest["outputs"][0]["path"], out);
        assert_eq!(manifest["schema"][0]["type"], "int64");
        let found = verify(&dir, &format!("{out}.manifest.json")).ok().json();
        assert_eq!(
            (&found["same"], &found["rows"]),
            (&Value::Bool(true), &Value::from(500)),
            "{found:#}"
        );
        assert_eq!(found["files"][0]["state"], "unchanged", "{found:#}");
        assert_eq!(found["differences"], Value::Array(vec![]));
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");

    // The Parquet file tells what it is, should it lose its manifest.
    let file = fs::File::open(dir.join("t.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let notes = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let note = notes
        .iter()
        .find(|note| note.key == "larder.training_set")
        .unwrap();
    let note: Value = serde_json::from_str(note.value.as_ref().unwrap()).unwrap();
    assert_eq!(note["digest"], digests[0]);
    // Nothing temporary is left.
    let left = fs::read_dir(&dir).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".tmp")
    });
    assert_eq!(left.count(), 0);
    let text = larder(&dir, &["historical", "--verify", "t.parquet.manifest.json"])
        .ok()
        .out;
    assert!(text.contains("equal: 500 rows made again"), "{text}");
}

#[test]
fn verify_names_what_changed() {
    let (_world, dir) = project();
    make(&dir, &["--out", "t.parquet"]).ok();
    let manifest = "t.parquet.manifest.json";

    // A definition: which object, which field, which columns, how many rows.
    let yaml = dir.join("features/user_stats.yaml");
    let before = fs::read_to_string(&yaml).unwrap();
    let ttl = before
        .lines()
        .find(|line| line.trim_start().starts_with("ttl:"))
        .unwrap()
        .trim()
        .to_owned();
    fs::write(&yaml, before.replace(&ttl, "ttl: 1h")).unwrap();
    larder(&dir, &["apply"]).ok();
    let found = verify(&dir, manifest).code(3).json();
    assert_eq!(found["same"], false);
    let definition = told(&found, "definition");
    assert!(
        definition.contains("feature view `user_stats` ttl:") && definition.contains("-> 1h"),
        "{definition}"
    );
    assert!(
        told(&found, "content").contains("t.parquet columns orders_7d"),
        "{found:#}"
    );
    let differ = found["files"][0]["different_rows"].as_u64().unwrap();
    assert!(
        differ > 0 && !found["files"][0]["first"].as_array().unwrap().is_empty(),
        "{found:#}"
    );
    let text = larder(&dir, &["historical", "--verify", manifest]).code(3).out;
    assert!(
        text.contains("rows differ, the first: row ") && text.contains("different"),
        "{text}"
    );

    // With the definitions of its time it is made again.
    let repeat = ["historical", "--repeat", manifest, "--out", "again.arrow"];
    let text = larder(&dir, &repeat).ok().out;
    assert!(
        text.contains("equal to the training set of t.parquet.manifest.json"),
        "{text}"
    );
    verify(&dir, "again.arrow.manifest.json").ok();

    // A view that is gone: named, though nothing can be made any more.
    fs::write(&yaml, before.replace("name: orders_7d", "name: orders_8d")).unwrap();
    fs::write(
        dir.join("features/services.yaml"),
        fs::read_to_string(dir.join("features/services.yaml"))
            .unwrap()
            .replace("orders_7d", "orders_8d"),
    )
    .unwrap();
    larder(&dir, &["apply", "--offline", "--allow-destructive"]).ok();
    let found = verify(&dir, manifest).code(3).json();
    assert!(
        told(&found, "definition").contains("features[orders_7d]"),
        "{found:#}"
    );
}

#[test]
fn verify_names_changed_entity_rows_and_outputs() {
    let (_world, dir) = project();
    make(&dir, &["--out", "t.parquet"]).ok();
    let manifest = "t.parquet.manifest.json";
    let entities = fs::read(dir.join("labels.parquet")).unwrap();

    make(&dir, &["--limit", "400", "--out", "few.parquet"]).ok();
    fs::copy(dir.join("few.parquet"), dir.join("labels.parquet")).unwrap();
    let found = verify(&dir, manifest).code(3).json();
    assert!(
        told(&found, "entity_rows").starts_with("labels.parquet the file changed"),
        "{found:#}"
    );
    fs::remove_file(dir.join("labels.parquet")).unwrap();
    let found = verify(&dir, manifest).code(3).json();
    assert_eq!(told(&found, "entity_rows"), "labels.parquet is gone");
    assert!(told(&found, "run").contains("there is no file"), "{found:#}");

    // The training set itself was changed: it can be made again, but the file is another one.
    fs::write(dir.join("labels.parquet"), entities).unwrap();
    fs::copy(dir.join("few.parquet"), dir.join("t.parquet")).unwrap();
    let found = verify(&dir, manifest).code(3).json();
    assert_eq!(found["files"][0]["different_rows"], 100, "{found:#}");
    assert_eq!(found["files"][0]["first"][0], 400);
    assert_eq!(
        (&found["same"], &found["made_again_equal"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    assert_eq!(
        told(&found, "output"),
        "t.parquet the file was changed since it was written"
    );
    fs::remove_file(dir.join("t.parquet")).unwrap();
    let found = verify(&dir, manifest).ok().json();
    assert_eq!(found["files"][0]["state"], "gone");
}

#[test]
fn verify_names_changed_source_files() {
    let (world, dir) = project();
    make(&dir, &["--out", "t.parquet"]).ok();
    let manifest = "t.parquet.manifest.json";
    // The same files have the same names from whatever folder they are looked at.
    let elsewhere = [
        "--project-dir",
        "shop",
        "historical",
        "--verify",
        "shop/t.parquet.manifest.json",
        "--format",
        "json",
    ];
    let found = larder(world.path(), &elsewhere).ok().json();
    assert_eq!(found["differences"], Value::Array(vec![]), "{found:#}");
    let json: Value = serde_json::from_str(&fs::read_to_string(dir.join(manifest)).unwrap()).unwrap();
    let path = json["sources"][0]["files"][0]["path"].as_str().unwrap();
    assert!(path.starts_with("data/"), "{path}");
    // A row of each user's past arrives late.
    let rows = fs::read_to_string(dir.join("rows.csv")).unwrap();
    let (header, row) = rows.split_once('\n').unwrap();
    let cells: Vec<&str> = row.trim().split(',').collect();
    let mut late = format!("{header}\n");
    for batch in rows_of(&dir.join("labels.parquet")) {
        let users = batch.column_by_name("user_id").unwrap();
        let users = arrow_cast::cast(users, &arrow_schema::DataType::Utf8).unwrap();
        let users = arrow_array::cast::AsArray::as_string::<i32>(&users);
        for user in users.iter().flatten() {
            let mut cells = cells.clone();
            cells[0] = user;
            cells[1] = "2020-01-01T00:00:00Z";
            late += &format!("{}\n", cells.join(","));
        }
    }
    fs::write(dir.join("late.csv"), late).unwrap();
    larder(
        &dir,
        &["push", "user_daily", "--file", "late.csv", "--to", "offline"],
    )
    .ok();
    let found = verify(&dir, manifest).ok().json();
    let files = told(&found, "source_file");
    assert!(
        files.contains("is new") && files.contains("(source `user_daily`)"),
        "{found:#}"
    );
    assert!(found["made_again_equal"] == true, "{found:#}");

    // A file that held answers is gone.
    let folder = dir.join("data/user_daily");
    let mut parts: Vec<_> = walk(&folder);
    parts.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    fs::remove_file(&parts[0]).unwrap();
    let found = verify(&dir, manifest).code(3).json();
    assert!(told(&found, "source_file").contains("is gone"), "{found:#}");
    assert!(!told(&found, "content").is_empty(), "{found:#}");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn splits_are_files_with_one_manifest() {
    let (_world, dir) = project();
    let split = [
        "--split",
        "hash:user_id:80,10,10",
        "--seed",
        "7",
        "--out",
        "h.parquet",
    ];
    let made = make(&dir, &split).ok().json();
    let outputs = made["outputs"].as_array().unwrap();
    let names: Vec<_> = outputs
        .iter()
        .map(|output| output["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["h.train.parquet", "h.validation.parquet", "h.test.parquet"]
    );
    let rows: Vec<u64> = outputs
        .iter()
        .map(|output| output["rows"].as_u64().unwrap())
        .collect();
    assert_eq!(rows.iter().sum::<u64>(), 500);
    assert!(rows[0] > 300 && rows.iter().all(|rows| *rows > 0), "{rows:?}");
    for (name, rows) in names.iter().zip(&rows) {
        let there: usize = rows_of(&dir.join(name)).iter().map(RecordBatch::num_rows).sum();
        assert_eq!(there as u64, *rows);
    }
    assert!(!dir.join("h.parquet").exists());
    verify(&dir, "h.parquet.manifest.json").ok();
    let again = make(
        &dir,
        &[
            "--split",
            "hash:user_id:80,10,10",
            "--seed",
            "8",
            "--out",
            "i.parquet",
        ],
    );
    assert_ne!(again.ok().json()["outputs"][0]["digest"], outputs[0]["digest"]);

    // By time: a gap and an embargo are told.
    let at = |days: i64| {
        let now = std::time::SystemTime::now();
        let seconds = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64 - days * 86_400;
        larder_micros(seconds)
    };
    let text = format!("time:train<{},test>={}", at(8), at(6));
    let made = make(&dir, &["--split", &text, "--embargo", "3d", "--out", "t.csv"])
        .ok()
        .json();
    let count = |name: &str| made[name].as_u64().unwrap();
    let rows: u64 = made["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["rows"].as_u64().unwrap())
        .sum();
    assert_eq!(rows + count("outside") + count("embargoed"), 500);
    assert!(count("outside") > 0 && count("embargoed") > 0, "{made:#}");
    let shared = format!("time:train<={0},test>={0}", at(6));
    let error = make(&dir, &["--split", &shared, "--out", "t.csv"])
        .code(1)
        .error();
    assert!(
        error["message"].as_str().unwrap().contains("share times"),
        "{error:#}"
    );
}

/// An instant as text.
fn larder_micros(seconds: i64) -> String {
    larder::Micros(seconds * 1_000_000).to_string()
}

#[test]
fn an_explanation_tells_files_and_writes_none() {
    let (_world, dir) = project();
    let explained = make(&dir, &["--explain", "--memory-limit", "512MiB"]).ok().json();
    assert_eq!(explained["rows"], 500);
    assert_eq!(explained["memory_limit"], 512 << 20);
    let view = &explained["views"][0];
    assert_eq!(view["view"], "user_stats");
    assert!(view["read"]["files"].as_u64().unwrap() > 0, "{explained:#}");
    let args = [
        "historical",
        "--entities",
        "labels.parquet",
        "--service",
        "purchase_v1",
        "--explain",
    ];
    let text = larder(&dir, &args).ok().out;
    assert!(text.contains("500 entity rows would read"), "{text}");
}

#[test]
fn a_report_tells_features_and_labels_are_checked() {
    let (_world, dir) = project();
    let made = make(
        &dir,
        &["--out", "t.parquet", "--memory-limit", "1GiB", "--spill-dir", "."],
    )
    .ok()
    .json();
    let feature = &made["report"]["features"][0];
    assert_eq!(feature["column"], "orders_7d");
    assert!(feature["age"]["p50_us"].as_u64().unwrap() > 0, "{made:#}");
    assert!(feature["null_share"].as_f64().unwrap() < 1.0);
    assert_eq!(made["report"]["phases"][0]["name"], "entity rows");
    let error = make(&dir, &["--label", "orders_7d"]).code(1).error();
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("feature `user_stats:orders_7d`"),
        "{error:#}"
    );
    let args = [
        "historical",
        "--entities",
        "labels.parquet",
        "--service",
        "purchase_v1",
        "--out",
        "t.csv",
    ];
    let text = larder(&dir, &args).ok().out;
    assert!(
        text.contains("age p50") && text.contains("t.csv.manifest.json: what it was made from"),
        "{text}"
    );
    // The entity rows are never replaced, not even by a part of a split.
    let error = make(&dir, &["--out", "labels.parquet"]).code(1).error();
    assert!(
        error["message"].as_str().unwrap().contains("would be replaced"),
        "{error:#}"
    );
    fs::copy(dir.join("labels.parquet"), dir.join("t.train.parquet")).unwrap();
    let args = [
        "historical",
        "--entities",
        "t.train.parquet",
        "--service",
        "purchase_v1",
        "--out",
        "t.parquet",
        "--split",
        "hash:user_id:80,20",
    ];
    larder(&dir, &args).code(1);
}

#[test]
fn work_that_fails_leaves_the_old_training_set_and_its_manifest() {
    let (_world, dir) = project();
    make(&dir, &["--out", "t.parquet"]).ok();
    let old = fs::read(dir.join("t.parquet")).unwrap();
    let manifest = fs::read(dir.join("t.parquet.manifest.json")).unwrap();
    // The files of a source are damaged: found out while rows are on their way.
    for path in walk(&dir.join("data/product_daily")) {
        let bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        let damaged: Vec<u8> = bytes
            .iter()
            .enumerate()
            .map(|(at, byte)| if at > 4 && at < middle { !byte } else { *byte })
            .collect();
        fs::write(&path, damaged).unwrap();
    }
    make(&dir, &["--out", "t.parquet"]).code(1);
    assert_eq!(fs::read(dir.join("t.parquet")).unwrap(), old);
    assert_eq!(fs::read(dir.join("t.parquet.manifest.json")).unwrap(), manifest);
    let temporary = fs::read_dir(&dir).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".tmp")
    });
    assert_eq!(temporary.count(), 0);
}

#[test]
fn rows_that_were_not_visible_then_can_be_left_out() {
    let (_world, dir) = project();
    let made = make(&dir, &["--known-until", "now", "--out", "then.parquet"])
        .ok()
        .json();
    // A correction of an old row arrives, written now.
    let rows = fs::read_to_string(dir.join("rows.csv")).unwrap();
    let (header, row) = rows.split_once('\n').unwrap();
    let batches = rows_of(&dir.join("labels.parquet"));
    let users = arrow_cast::cast(
        batches[0].column_by_name("user_id").unwrap(),
        &arrow_schema::DataType::Utf8,
    )
    .unwrap();
    let users = arrow_array::cast::AsArray::as_string::<i32>(&users);
    let times = arrow_cast::cast(
        batches[0].column_by_name("event_timestamp").unwrap(),
        &arrow_schema::DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("+00:00".into())),
    )
    .unwrap();
    let times: &arrow_array::TimestampMicrosecondArray = arrow_array::cast::AsArray::as_primitive(&times);
    let mut cells: Vec<String> = row.trim().split(',').map(str::to_owned).collect();
    cells[0] = users.value(0).to_owned();
    cells[1] = larder::Micros(times.value(0)).to_string();
    cells[2] = larder::Micros(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_micros() as i64,
    )
    .to_string();
    fs::write(dir.join("late.csv"), format!("{header}\n{}\n", cells.join(","))).unwrap();
    larder(
        &dir,
        &["push", "user_daily", "--file", "late.csv", "--to", "offline"],
    )
    .ok();
    let now = make(&dir, &["--out", "now.parquet"]).ok().json();
    assert_ne!(now["outputs"][0]["digest"], made["outputs"][0]["digest"]);
    // The manifest keeps the instant, so both of these make it again.
    verify(&dir, "then.parquet.manifest.json").ok();
    let repeat = [
        "historical",
        "--repeat",
        "then.parquet.manifest.json",
        "--out",
        "again.csv",
        "--format",
        "json",
    ];
    assert_eq!(larder(&dir, &repeat).ok().json()["same"], true);
}

#[test]
fn entity_rows_need_not_fit_in_memory() {
    let (_world, dir) = project();
    let plain = make(&dir, &["--out", "plain.parquet"]).ok().json();
    // A limit far below what anything needs: entity rows are read twice, and the join spills.
    let spilled = make(
        &dir,
        &[
            "--out",
            "small.parquet",
            "--memory-limit",
            "64KiB",
            "--spill-dir",
            "spill",
        ],
    )
    .ok()
    .json();
    assert_eq!(spilled["outputs"][0]["digest"], plain["outputs"][0]["digest"]);
    assert_eq!(
        fs::read_dir(dir.join("spill")).unwrap().count(),
        0,
        "what was spilled is gone"
    );
    let phases = spilled["report"]["phases"].to_string();
    assert!(phases.contains("source parted"), "{phases}");
    // With the limit from the project's file.
    let yaml = fs::read_to_string(dir.join("larder.yaml")).unwrap();
    fs::write(
        dir.join("larder.yaml"),
        format!("{yaml}\nhistorical: {{ memory_limit: 64KiB, spill_dir: tmp/aside }}\n"),
    )
    .unwrap();
    let configured = make(&dir, &["--out", "configured.parquet"]).ok().json();
    assert_eq!(configured["outputs"][0]["digest"], plain["outputs"][0]["digest"]);
    assert!(dir.join("tmp/aside").is_dir());
    let explained = make(&dir, &["--explain"]).ok().json();
    assert_eq!(explained["spills"], true);
    fs::write(
        dir.join("larder.yaml"),
        format!("{yaml}\nhistorical: {{ memory: 64KiB }}\n"),
    )
    .unwrap();
    make(&dir, &["--out", "x.parquet"]).code(1);
}

#[test]
fn data_that_was_read_is_not_written_over() {
    let (_world, dir) = project();
    let files = make(&dir, &["--out", "t.parquet"]).ok();
    drop(files);
    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.join("t.parquet.manifest.json")).unwrap()).unwrap();
    let path = manifest["sources"][0]["files"][0]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    let source = dir.join(path);
    let before = fs::read(&source).unwrap();
    let error = make(&dir, &["--out", source.to_str().unwrap()]).code(1).error();
    assert!(
        error["message"].as_str().unwrap().contains("data file of source"),
        "{error}"
    );
    assert_eq!(fs::read(&source).unwrap(), before);
    assert!(!source.with_extension("parquet.manifest.json").exists());
}
