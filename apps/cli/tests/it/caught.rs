//! Is what would go wrong in a training set refused before, or told after?

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::training::{make, project, told, verify};
use crate::world::larder;

fn message(error: &Value) -> &str {
    error["message"].as_str().unwrap()
}

fn warnings(made: &Value) -> Vec<&str> {
    let warnings = made["report"]["warnings"].as_array().unwrap().iter();
    warnings.map(|warning| warning.as_str().unwrap()).collect()
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn outputs_among_the_data_of_a_source_are_refused_before_anything_is_read() {
    let (_world, dir) = project();
    let folder = dir.join("data/user_daily");
    // Whoever reads these finds out that they are no Parquet files.
    for name in files(&folder) {
        fs::write(folder.join(name), "damaged").unwrap();
    }
    let old = files(&folder)
        .into_iter()
        .find(|name| name.ends_with(".parquet"))
        .unwrap();
    let old = format!("data/user_daily/{old}");
    let error = make(&dir, &["--out", &old]).code(1).error();
    assert!(
        message(&error).contains("is a data file of source `user_daily`"),
        "{error:#}"
    );
    let new = ["--out", "data/user_daily/t.parquet"];
    let error = make(&dir, &new).code(1).error();
    assert!(
        message(&error).contains("would become a data file of source `user_daily`"),
        "{error:#}"
    );
    let split = [&new[..], &["--split", "hash:user_id:80,20"]].concat();
    let error = make(&dir, &split).code(1).error();
    assert!(message(&error).contains("t.train.parquet"), "{error:#}");
    // A source whose pattern takes everything takes the manifest, too.
    let yaml = dir.join("features/user_stats.yaml");
    let text = fs::read_to_string(&yaml).unwrap();
    let pattern = text.replace("path: user_daily/", "path: user_daily/*.*");
    assert_ne!(pattern, text);
    fs::write(&yaml, pattern).unwrap();
    larder(&dir, &["apply", "--offline"]).ok();
    let error = make(&dir, &["--out", "data/user_daily/t.csv"]).code(1).error();
    assert!(message(&error).contains("t.csv"), "{error:#}");
    // Only then is data read.
    let error = make(&dir, &["--out", "t.parquet"]).code(1).error();
    assert!(!message(&error).contains("data file of source"), "{error:#}");
    assert!(files(&folder).iter().all(|name| !name.starts_with("t.")));
}

#[test]
fn parts_of_the_training_set_that_is_replaced_go() {
    let (_world, dir) = project();
    let split = |parts: &str| {
        let made = make(&dir, &["--split", parts, "--out", "t.parquet"]);
        made.ok().json()
    };
    split("hash:user_id:train=60,validation=20,test=20");
    assert!(dir.join("t.validation.parquet").exists());
    fs::write(dir.join("t.other.parquet"), "somebody else's").unwrap();
    let made = split("hash:user_id:train=80,test=20");
    assert_eq!(made["removed"], serde_json::json!(["t.validation.parquet"]));
    assert!(!dir.join("t.validation.parquet").exists());
    assert!(dir.join("t.other.parquet").exists());
    verify(&dir, "t.parquet.manifest.json").ok();

    // A part that was changed since is somebody's, and stays.
    fs::write(dir.join("t.test.parquet"), "mine now").unwrap();
    // So does one that the new training set is made from.
    let args = [
        "historical",
        "--entities",
        "t.train.parquet",
        "--features",
        "product_stats",
        "--full-names",
        "--out",
        "t.parquet",
        "--format",
        "json",
    ];
    let made = larder(&dir, &args).ok().json();
    let told = warnings(&made).join("\n");
    assert!(
        told.contains(
            "`t.test.parquet` is of the training set that was replaced, and was left because it was changed"
        ),
        "{told}"
    );
    assert!(
        told.contains("`t.train.parquet`") && told.contains("this one is made from it"),
        "{told}"
    );
    assert_eq!(made["removed"], serde_json::json!([]));
    assert_eq!(
        fs::read_to_string(dir.join("t.test.parquet")).unwrap(),
        "mine now"
    );
    assert!(dir.join("t.train.parquet").exists());

    // And back to parts: the file without parts goes.
    let made = split("hash:user_id:80,20");
    assert_eq!(made["removed"], serde_json::json!(["t.parquet"]));
    // A run that fails removes nothing.
    make(&dir, &["--label", "no_such_column", "--out", "t.parquet"]).code(1);
    assert!(dir.join("t.train.parquet").exists());
}

#[test]
fn a_source_without_data_files_is_told() {
    let (_world, dir) = project();
    let made = make(&dir, &["--out", "t.parquet"]).ok().json();
    assert_eq!(warnings(&made), Vec::<&str>::new());
    fs::remove_dir_all(dir.join("data/product_daily")).unwrap();
    fs::create_dir(dir.join("data/product_daily")).unwrap();
    let made = make(&dir, &["--out", "t.parquet"]).ok().json();
    let told = warnings(&made);
    assert!(
        told.len() == 1 && told[0].starts_with("source `product_daily` has no data files"),
        "{told:?}"
    );
    let args = [
        "historical",
        "--entities",
        "labels.parquet",
        "--service",
        "purchase_v1",
    ];
    let text = larder(&dir, &args).ok().out;
    assert!(
        text.contains("warning: source `product_daily` has no data files"),
        "{text}"
    );
    let text = larder(&dir, &[&args[..], &["--explain"]].concat()).ok().out;
    assert!(
        text.contains("warning: source `product_daily` has no data files"),
        "{text}"
    );
    let args = [
        "historical",
        "--from",
        "now-7d",
        "--until",
        "now",
        "--features",
        "product_stats",
        "--out",
        "r.parquet",
        "--format",
        "json",
    ];
    let made = larder(&dir, &args).ok().json();
    assert!(warnings(&made)[0].contains("no data files"), "{made:#}");
}

#[test]
fn times_that_a_clock_change_skips_or_repeats_are_told() {
    let (_world, dir) = project();
    let rows = "user_id,event_timestamp\n\
        1,2026-03-29 01:30:00\n\
        2,2026-03-29 02:30:00\n\
        3,2026-03-29T02:30:00Z\n\
        4,2026-10-25 02:30:00\n\
        5,2026-10-25 03:30:00\n";
    fs::write(dir.join("local.csv"), rows).unwrap();
    let run = |file: &str, more: &[&str]| {
        let base = [
            "historical",
            "--entities",
            file,
            "--features",
            "user_stats",
            "--timezone",
            "Europe/Stockholm",
            "--out",
            "t.csv",
            "--format",
            "json",
        ];
        larder(&dir, &[&base[..], more].concat()).ok().json()
    };
    let made = run("local.csv", &[]);
    let told = warnings(&made);
    assert!(
        told.len() == 1
            && told[0].starts_with("2 of the times in `event_timestamp` are skipped or repeated")
            && told[0].contains("Europe/Stockholm, the first in row 1,"),
        "{told:?}"
    );
    // Read twice, told once; and rows that are not taken are not looked at.
    let limit = ["--memory-limit", "1KiB", "--spill-dir", "spill"];
    assert_eq!(warnings(&run("local.csv", &limit)), told);
    assert_eq!(warnings(&run("local.csv", &["--limit", "1"])), Vec::<&str>::new());
    let out = fs::read_to_string(dir.join("t.csv")).unwrap();
    assert!(out.contains("2026-03-29T00:30:00Z"), "{out}");

    // The same of a file with types.
    let local = ["01:30", "02:30", "02:45"].map(|clock| {
        let at: larder::Micros = format!("2026-03-29T{clock}:00Z").parse().unwrap();
        at.0
    });
    let times = arrow_array::TimestampMicrosecondArray::from(local.to_vec());
    let users = arrow_array::Int64Array::from(vec![1, 2, 3]);
    let batch = arrow_array::RecordBatch::try_from_iter([
        ("user_id", std::sync::Arc::new(users) as arrow_array::ArrayRef),
        ("event_timestamp", std::sync::Arc::new(times)),
    ])
    .unwrap();
    let file = fs::File::create(dir.join("local.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    for more in [&[][..], &limit] {
        let made = run("local.parquet", more);
        let told = warnings(&made);
        assert!(
            told.len() == 1 && told[0].starts_with("2 of the times") && told[0].contains("row 1,"),
            "{told:?}"
        );
    }
}

#[test]
fn what_is_no_manifest_is_named() {
    let (_world, dir) = project();
    make(&dir, &["--out", "t.parquet"]).ok();
    fs::write(dir.join("some.json"), "{\"a\": 1}").unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    fs::write(dir.join("bytes"), [0xff, 0xfe, 0, 1, 2, 3, 4]).unwrap();
    for (file, what) in [
        ("t.parquet", "it is a Parquet file"),
        ("some.json", "it is text of another kind"),
        ("rows.csv", "it is text of another kind"),
        ("data", "it is a folder"),
        ("empty", "it is empty"),
        ("bytes", "it is not even text"),
    ] {
        let error = verify(&dir, file).code(1).error();
        let expected = format!("`{file}` is no manifest of a training set: {what}");
        assert!(message(&error).starts_with(&expected), "{error:#}");
        assert!(error["help"].as_str().unwrap().contains("manifest"), "{error:#}");
    }
    let error = verify(&dir, "t.parquet").code(1).error();
    assert_eq!(error["help"], "its manifest is `t.parquet.manifest.json`");
    let error = make(&dir, &["--limit", "0"]).code(1).error();
    assert!(message(&error).contains("limit of 0 rows"), "{error:#}");
    let found = verify(&dir, "t.parquet.manifest.json").ok().json();
    assert_eq!(told(&found, "content"), "");
}

#[test]
fn tables_of_get_mask_sensitive_features() {
    let (_world, dir) = project();
    let yaml = dir.join("features/user_stats.yaml");
    let text = fs::read_to_string(&yaml).unwrap();
    let marked = text.replace("{ name: orders_7d,", "{ name: orders_7d, sensitivity: pii,");
    assert_ne!(marked, text);
    fs::write(&yaml, marked).unwrap();
    larder(&dir, &["apply"]).ok();
    larder(&dir, &["materialize"]).ok();
    let get = |more: &[&str]| {
        let base = ["get", "--features", "user_stats", "--entity", "user_id=7"];
        larder(&dir, &[&base[..], more].concat()).ok()
    };
    let line = |text: &str| {
        let line = text.lines().find(|line| line.contains("orders_7d")).unwrap();
        line.to_owned()
    };
    let masked = get(&[]).out;
    assert!(line(&masked).contains("***"), "{masked}");
    assert!(
        masked.contains("masked, because sensitive: orders_7d"),
        "{masked}"
    );
    let shown = get(&["--show-sensitive"]).out;
    assert!(!shown.contains("***") && !shown.contains("masked"), "{shown}");
    // Programs have what is there.
    let json = get(&["--format", "json"]).json();
    let value = json["results"][1]["values"][0].to_string();
    assert!(line(&shown).contains(&value), "{json:#}");
    assert!(!get(&["--format", "csv"]).out.contains("***"));
}
