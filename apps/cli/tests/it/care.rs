//! Is what people have left alone, and is what they mistype understood or refused?

use std::fs;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use parquet::arrow::ArrowWriter;

use crate::world::{World, larder};

#[test]
fn a_project_is_no_demo() {
    let (world, dir) = World::project();
    let yaml = fs::read_to_string(dir.join("larder.yaml")).unwrap();
    let error = world.larder(&["demo", "--dir", "shop"]).code(1).err;
    assert!(error.contains("is no demo") && error.contains("--dir"), "{error}");
    assert_eq!(fs::read_to_string(dir.join("larder.yaml")).unwrap(), yaml);
}

#[test]
fn init_names_every_file_it_would_overwrite() {
    let world = World::new();
    let dir = world.path().join("mine");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("labels.parquet"), "mine").unwrap();
    fs::write(dir.join("rows.csv"), "mine").unwrap();
    let error = world.larder(&["init", "mine"]).code(1).err;
    assert!(
        error.contains("labels.parquet") && error.contains("rows.csv"),
        "{error}"
    );
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
}

#[test]
fn instants_of_any_zone_come_out_as_csv() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    let times = TimestampMillisecondArray::from(vec![1_700_000_000_000]);
    let rows = RecordBatch::try_from_iter([
        ("user_id", Arc::new(Int64Array::from(vec![7])) as ArrayRef),
        ("product_id", Arc::new(Int64Array::from(vec![3]))),
        (
            "event_timestamp",
            Arc::new(times.with_timezone("Europe/Stockholm")),
        ),
    ])
    .unwrap();
    let file = fs::File::create(dir.join("zoned.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let ask = [
        "historical",
        "--entities",
        "zoned.parquet",
        "--service",
        "purchase_v1",
    ];
    for more in [
        &["--out", "x.csv"][..],
        &["--format", "csv"],
        &["--format", "json"],
        &[],
    ] {
        let ran = larder(&dir, &[&ask[..], more].concat()).ok();
        let text = match more.first() {
            Some(&"--out") => fs::read_to_string(dir.join("x.csv")).unwrap(),
            _ => ran.out,
        };
        assert!(text.contains("2023-11-14T22:13:20Z"), "{more:?}: {text}");
    }
    let same = larder(&dir, &[&ask[..], &["--out", "zoned.parquet"]].concat());
    assert!(same.code(1).err.contains("would be replaced"));
}

#[test]
fn cells_that_cannot_be_read_go_to_a_new_dead_letter() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    let good = fs::read_to_string(dir.join("rows.csv")).unwrap();
    let (header, row) = good.split_once('\n').unwrap();
    let row = row.trim();
    let (_, rest) = row.split_once(',').unwrap();
    let rows = [
        format!("abc,{rest}"),
        row.to_owned(),
        format!("99999999999999999999,{rest}"),
        format!(",{rest}"),
    ];
    fs::write(dir.join("mixed.csv"), format!("{header}\n{}\n", rows.join("\n"))).unwrap();
    let push = ["push", "user_daily", "--file", "mixed.csv", "--format", "json"];
    larder(&dir, &push).code(1);
    let push = [&push[..], &["--dead-letter", "dead.csv"]].concat();
    let pushed = larder(&dir, &push).ok().json();
    assert_eq!(pushed["rows"], 4, "{pushed:#}");
    let refused: Vec<u64> = pushed["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bad| bad["row"].as_u64().unwrap())
        .collect();
    assert_eq!(refused, [0, 2, 3], "{pushed:#}");
    assert_eq!(pushed["views"][0]["written"], 1);
    let dead = fs::read_to_string(dir.join("dead.csv")).unwrap();
    assert!(dead.contains("99999999999999999999"), "{dead}");
    assert!(dead.contains("column `user_id`: not of type int64"), "{dead}");
    assert!(dead.contains("join key `user_id` is null"), "{dead}");
    assert_eq!(dead.lines().count(), 4, "{dead}");
    let again = larder(&dir, &push).code(1).error();
    assert_eq!(again["kind"], "conflict", "{again}");
    assert_eq!(fs::read_to_string(dir.join("dead.csv")).unwrap(), dead);
}

#[test]
fn validate_reads_the_blocks_of_all_stores() {
    let (_world, dir) = World::project();
    let file = dir.join("larder.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    let (local, parquet) = ("type: local, path: .larder/online", "type: parquet, root: data/");
    for (one, other, line, code) in [
        (local, "type: local, pth: x", 6, 1),
        (local, "type: locl, path: x", 6, 1),
        (parquet, "type: redshift, workgroup: x", 7, 0),
        (local, "type: local, path: \"${SURELY_NOT_SET}\"", 6, 0),
    ] {
        fs::write(&file, yaml.replacen(one, other, 1)).unwrap();
        let ran = larder(&dir, &["validate", "--format", "json"]).code(code);
        let found = match code {
            0 => ran.json()["warnings"][0].clone(),
            _ => ran.error()["diagnostics"][0].clone(),
        };
        assert_eq!(found["line"], line, "{other}: {found:#}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_among_the_definitions_is_refused() {
    let (_world, dir) = World::project();
    let pipe = dir.join("features/pipe.yaml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let error = larder(&dir, &["validate"]).code(1).err;
    assert!(error.contains("no regular file"), "{error}");
}

#[test]
fn inferred_yaml_is_read_whatever_the_types_and_names() {
    let (world, dir) = World::project();
    let keys = arrow_array::Decimal128Array::from(vec![1])
        .with_precision_and_scale(10, 2)
        .unwrap();
    let times = TimestampMillisecondArray::from(vec![0]).with_timezone("UTC");
    let rows = RecordBatch::try_from_iter([
        ("null", Arc::new(keys.clone()) as ArrayRef),
        ("at", Arc::new(times)),
        ("yes", Arc::new(keys)),
        ("a # b: {c}", Arc::new(Int64Array::from(vec![1]))),
    ])
    .unwrap();
    let path = world.path().join("odd.parquet");
    for (columns, views) in [(4, 1), (2, 0)] {
        let rows = rows.project(&(0..columns).collect::<Vec<_>>()).unwrap();
        let mut writer = ArrowWriter::try_new(fs::File::create(&path).unwrap(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let infer = ["infer", "../odd.parquet", "--entity", "null", "--time", "at"];
        let yaml = larder(&dir, &infer).ok().out;
        assert!(yaml.contains("1 row in 1 Parquet file."), "{yaml}");
        assert!(yaml.contains("odd.parquet\"   # absolute"), "{yaml}");
        fs::remove_dir_all(dir.join("features")).unwrap();
        fs::create_dir(dir.join("features")).unwrap();
        fs::write(dir.join("features/odd.yaml"), &yaml).unwrap();
        let found = larder(&dir, &["validate", "--format", "json"]).ok().json();
        assert_eq!(found["objects"]["feature_views"], views, "{yaml}");
        larder(&dir, &["plan"]).ok();
    }
}

#[test]
fn of_two_columns_with_one_name_the_second_is_commented_out() {
    let world = World::new();
    let times = TimestampMillisecondArray::from(vec![0]).with_timezone("UTC");
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let rows = RecordBatch::try_from_iter([
        ("id", number.clone()),
        ("at", Arc::new(times) as ArrayRef),
        ("n", number.clone()),
        ("n", number),
    ])
    .unwrap();
    let file = fs::File::create(world.path().join("two.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let infer = ["infer", "two.parquet", "--entity", "id", "--time", "at"];
    let yaml = world.larder(&infer).ok().out;
    assert!(yaml.contains("{ name: \"n\", type: int64 }"), "{yaml}");
    assert!(yaml.contains("# - \"n\": another column"), "{yaml}");
}

#[test]
fn a_view_without_entities_is_read_without_one() {
    let (_world, dir) = World::project();
    fs::copy(dir.join("labels.parquet"), dir.join("data/all.parquet")).unwrap();
    fs::write(
        dir.join("features/all.yaml"),
        "sources:\n  - { name: all, type: parquet, path: all.parquet, event_time: event_timestamp }\n\
         feature_views:\n  - { name: all, entities: [], source: all, features: [{ name: bought, type: int64 }] }\n",
    )
    .unwrap();
    larder(&dir, &["apply"]).ok();
    larder(&dir, &["materialize", "--views", "all,all"]).ok();
    let got = larder(&dir, &["get", "--features", "all:bought", "--format", "json"])
        .ok()
        .json();
    assert_eq!(got["results"][0]["statuses"][0], "PRESENT", "{got:#}");
    larder(&dir, &["get", "--features", "all"]).ok();
    let error = larder(&dir, &["get", "--features", "user_stats"]).code(1).err;
    assert!(error.contains("--entity user_id="), "{error}");
}

#[test]
fn a_lag_beyond_the_limit_is_named() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    larder(&dir, &["materialize", "--views", "user_stats,user_stats"]).ok();
    let status = ["status", "--views", "user_stats", "--max-lag", "1us", "--check"];
    let table = larder(&dir, &status).code(3).out;
    assert!(table.contains("lags by more than 1us"), "{table}");
    let json = larder(&dir, &[&status[..], &["--format", "json"]].concat())
        .code(3)
        .json();
    assert_eq!(json[0]["findings"][0], "lags by more than 1us", "{json:#}");
}

#[test]
fn what_is_mistyped_is_answered_in_the_form_that_was_asked() {
    let world = World::new();
    for args in [["aply", "--format", "json"], ["serve", "--format=json", "x"]] {
        let error = world.larder(&args).code(2).error();
        assert!(error["message"].is_string());
    }
    let error = world.larder(&["--project-dir", "nowhere", "status"]).code(1).err;
    assert!(error.contains("there is no folder `nowhere`"), "{error}");
}

#[test]
fn what_was_materialized_is_told_beside_what_failed() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    let folder = dir.join("data/user_daily");
    for entry in fs::read_dir(&folder).unwrap() {
        fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    let ran = larder(&dir, &["materialize"]).code(1);
    assert!(
        ran.out.contains("product_stats") && !ran.out.contains("user_stats"),
        "{ran:?}"
    );
    assert!(
        ran.err.contains("error: ") && ran.err.contains("view=user_stats"),
        "{ran:?}"
    );
    let ran = larder(&dir, &["materialize", "--rebuild", "--format", "json"]).code(1);
    let views = ran.json()["views"].as_array().unwrap().len();
    assert!(views >= 1 && ran.err.contains("user_stats"), "{ran:?}");
    let remarks = larder(
        &dir,
        &[
            "materialize",
            "--views",
            "product_stats",
            "--rebuild",
            "--verbose",
        ],
    );
    assert!(
        remarks.code == 0 && remarks.err.contains("a slice is materialized"),
        "{remarks:?}"
    );
}
