//! Does a project live its whole life: init, apply, train, serve, push, delete, roll back?

use std::fs;

use crate::world::{World, larder};

#[test]
fn a_project_from_init_to_rollback() {
    let (_world, dir) = World::project();
    let run = |args: &[&str]| larder(&dir, args);

    run(&["validate"]).ok();
    run(&["plan", "--exit-code"]).code(3);
    let applied = run(&["apply", "-m", "first", "--format", "json"]).ok().json();
    assert_eq!(
        (applied["version"].as_u64(), applied["changed"].as_bool()),
        (Some(1), Some(true))
    );
    run(&["plan", "--exit-code"]).ok();
    let again = run(&["apply", "--format", "json"]).ok().json();
    assert_eq!(
        (again["version"].as_u64(), again["changed"].as_bool()),
        (Some(1), Some(false))
    );

    // Training: rows out = rows in, in three kinds of files.
    for out in ["training.parquet", "training.csv", "training.arrow"] {
        let made = run(&[
            "historical",
            "--entities",
            "labels.parquet",
            "--service",
            "purchase_v1",
            "--out",
            out,
            "--format",
            "json",
        ])
        .ok()
        .json();
        assert_eq!(made["rows"], 500, "{out}");
        assert_eq!(made["columns"], 15, "{out}");
        assert_eq!(made["report"]["views"][0]["view"], "user_stats");
        assert_eq!(made["knowledge"], serde_json::json!(["tie_break", "tie_break"]));
    }
    let lines = fs::read_to_string(dir.join("training.csv")).unwrap();
    assert_eq!(lines.lines().count(), 501);
    assert!(
        lines.starts_with("user_id,product_id,event_timestamp,bought,orders_7d,"),
        "{}",
        &lines[..80]
    );

    // Serving.
    let done = run(&["materialize", "--format", "json"]).ok().json();
    assert_eq!(done["views"].as_array().unwrap().len(), 2);
    assert!(done["views"][1]["written"].as_u64().unwrap() >= 300);
    for view in done["views"].as_array().unwrap() {
        assert!(view["read"].as_u64() >= view["written"].as_u64() && view["stale"] == 0);
        assert!(view["seconds"].as_f64().unwrap() > 0.0 && view["rows_per_second"].as_f64().unwrap() > 0.0);
    }
    let table = run(&["materialize", "--rebuild"]).ok().out;
    for column in ["view", "read", "written", "stale", "seconds", "rows/s"] {
        assert!(table.lines().next().unwrap().contains(column), "{table}");
    }
    run(&["status", "--check"]).ok();
    let get = [
        "get",
        "--service",
        "purchase_v1",
        "--entity",
        "user_id=7,product_id=3",
        "--format",
        "json",
    ];
    let got = run(&get).ok().json();
    let names = got["metadata"]["feature_names"].as_array().unwrap();
    assert_eq!(names[0], "user_id");
    assert_eq!(names[2], "orders_7d");
    assert_eq!(got["results"][0]["values"][0], 7);
    assert_eq!(got["results"][2]["statuses"][0], "PRESENT");

    // A newer row wins, an older one is stale, both are counted.
    let pushed = run(&[
        "push",
        "user_daily",
        "--file",
        "rows.csv",
        "--to",
        "both",
        "--format",
        "json",
    ])
    .ok()
    .json();
    assert_eq!(
        (
            pushed["appended"].as_u64(),
            pushed["views"][0]["written"].as_u64()
        ),
        (Some(1), Some(1))
    );
    let older = fs::read_to_string(dir.join("rows.csv")).unwrap();
    let (header, row) = older.split_once('\n').unwrap();
    let mut cells: Vec<&str> = row.trim().split(',').collect();
    cells[1] = "2020-01-01T00:00:00Z";
    fs::write(dir.join("older.csv"), format!("{header}\n{}\n", cells.join(","))).unwrap();
    let pushed = run(&["push", "user_stats", "--file", "older.csv", "--format", "json"])
        .ok()
        .json();
    assert_eq!(
        (
            pushed["views"][0]["written"].as_u64(),
            pushed["views"][0]["stale"].as_u64()
        ),
        (Some(0), Some(1))
    );
    let csv_value: i64 = row.split(',').nth(3).unwrap().parse().unwrap();
    assert_eq!(run(&get).ok().json()["results"][2]["values"][0], csv_value);

    let deleted = run(&[
        "delete",
        "user_stats",
        "--entity",
        "user_id=7",
        "--format",
        "json",
    ])
    .ok()
    .json();
    assert_eq!(deleted["written"], 1);
    let got = run(&get).ok().json();
    assert_eq!(got["results"][2]["statuses"][0], "NOT_FOUND");
    assert_eq!(got["results"][8]["statuses"][0], "PRESENT");

    // History and back.
    let file = dir.join("features/user_stats.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("ttl: 14d", "ttl: 7d")).unwrap();
    let plan = run(&["plan", "--format", "json"]).ok().json();
    assert_eq!(plan["changes"][0]["action"], "update");
    run(&["apply", "-m", "shorter"]).ok();
    run(&["rollback", "1", "-m", "back"]).ok();
    let history = run(&["history", "--format", "json"]).ok().json();
    let versions: Vec<u64> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, [3, 2, 1]);
    assert_eq!(history[1]["message"], "shorter");
    assert_eq!(
        run(&["show", "2", "--format", "json"]).ok().json()["changes"][0]["name"],
        "user_stats"
    );
    let view = run(&["describe", "view", "user_stats", "--format", "json"])
        .ok()
        .json();
    assert_eq!(view["spec"]["ttl"], "14d");
    assert_eq!(view["used_by"][0]["name"], "purchase_v1");
    run(&["gc"]).ok();
    run(&["doctor", "--check"]).ok();
}

#[test]
fn a_saved_plan_is_applied_exactly_or_not_at_all() {
    let (_world, dir) = World::project();
    larder(&dir, &["plan", "--out", "plan.json"]).ok();
    larder(&dir, &["apply", "plan.json"]).ok();
    let file = dir.join("features/user_stats.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("ttl: 14d", "ttl: 7d")).unwrap();
    let stale = larder(&dir, &["apply", "plan.json", "--format", "json"])
        .code(1)
        .error();
    assert_eq!(stale["kind"], "conflict");
    let history = larder(&dir, &["history", "--format", "json"]).ok().json();
    assert_eq!(history.as_array().unwrap().len(), 1);
    let markdown = larder(&dir, &["plan", "--format", "markdown"]).ok().out;
    assert!(
        markdown.starts_with("### larder plan:") && markdown.contains("| update |"),
        "{markdown}"
    );
}

#[test]
fn what_others_use_goes_only_when_that_is_allowed() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    let file = dir.join("features/user_stats.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("name: newsletter"))
        .collect();
    fs::write(&file, kept.join("\n")).unwrap();
    let plan = larder(&dir, &["plan", "--format", "json"]).ok().json();
    assert!(!plan["destructive"].as_array().unwrap().is_empty(), "{plan:#}");
    larder(&dir, &["apply"]).code(1);
    larder(&dir, &["apply", "--allow-destructive"]).ok();
}

#[test]
fn entity_rows_from_csv_with_names_and_zones_of_their_own() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    fs::write(
        dir.join("rows.csv"),
        "customer,when,label\n7,2030-01-01 12:00:00,x\n,2030-01-01 12:00:00,y\n",
    )
    .unwrap();
    let base = [
        "historical",
        "--entities",
        "rows.csv",
        "--features",
        "user_stats:orders_7d,user_stats:country",
    ];
    let with = |more: &[&str]| larder(&dir, &[&base[..], more].concat());
    let error = with(&["--time-column", "when", "--keys", "user_id=customer"])
        .code(1)
        .err;
    assert!(
        error.contains("line 2, column `when`") && error.contains("--timezone"),
        "{error}"
    );
    let made = with(&[
        "--time-column",
        "when",
        "--keys",
        "user_id=customer",
        "--timezone",
        "Europe/Stockholm",
        "--full-names",
        "--format",
        "json",
    ])
    .ok()
    .json();
    assert_eq!(made.as_array().unwrap().len(), 2);
    assert_eq!(made[0]["customer"], 7);
    assert_eq!(made[1]["label"], "y");
    // Long after the data: everything is older than the ttl, and says so by being absent.
    assert!(made[0]["user_stats__orders_7d"].is_null());
    let error = with(&["--keys", "user_id=customer"]).code(1).err;
    assert!(error.contains("event_timestamp"), "{error}");
}

#[test]
fn a_training_set_that_fails_leaves_the_old_file_and_nothing_else() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    fs::write(dir.join("out.parquet"), "old").unwrap();
    fs::write(dir.join("bad.csv"), "user_id,product_id,event_timestamp\n1,2,\n").unwrap();
    let before = names(&dir);
    let args = [
        "historical",
        "--entities",
        "bad.csv",
        "--service",
        "purchase_v1",
        "--out",
        "out.parquet",
    ];
    larder(&dir, &args).code(1);
    // Damaged history is found while rows are written.
    let data = dir.join("data/user_daily/part-000.parquet");
    let mut bytes = fs::read(&data).unwrap();
    for byte in &mut bytes[200..4_000] {
        *byte = 0xff;
    }
    fs::write(&data, bytes).unwrap();
    let args = [
        "historical",
        "--entities",
        "labels.parquet",
        "--service",
        "purchase_v1",
        "--out",
        "out.parquet",
    ];
    larder(&dir, &args).code(1);
    assert_eq!(fs::read_to_string(dir.join("out.parquet")).unwrap(), "old");
    assert_eq!(names(&dir), before);
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn bad_rows_are_refused_whole_or_go_to_the_dead_letter() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    let good = fs::read_to_string(dir.join("rows.csv")).unwrap();
    let (header, row) = good.split_once('\n').unwrap();
    let mut future: Vec<&str> = row.trim().split(',').collect();
    future[1] = "2999-01-01T00:00:00Z";
    fs::write(
        dir.join("mixed.csv"),
        format!("{header}\n{}\n{}\n", row.trim(), future.join(",")),
    )
    .unwrap();
    let push = ["push", "user_daily", "--file", "mixed.csv", "--to", "both"];
    let error = larder(&dir, &push).code(1).err;
    assert!(error.contains('1'), "{error}");
    let get = [
        "get",
        "--features",
        "user_stats:orders_7d",
        "--entity",
        "user_id=7",
        "--format",
        "json",
    ];
    assert_eq!(
        larder(&dir, &get).ok().json()["results"][1]["statuses"][0],
        "NOT_FOUND"
    );
    let pushed = larder(
        &dir,
        &[&push[..], &["--dead-letter", "dead.csv", "--format", "json"]].concat(),
    )
    .ok()
    .json();
    assert_eq!(pushed["refused"].as_array().unwrap().len(), 1);
    assert_eq!(pushed["views"][0]["written"], 1);
    assert!(
        fs::read_to_string(dir.join("dead.csv"))
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .contains("reason")
    );
}

#[test]
fn init_overwrites_nothing() {
    let (world, dir) = World::project();
    let before = fs::read_to_string(dir.join("README.md")).unwrap();
    fs::write(dir.join("larder.yaml"), "mine").unwrap();
    world.larder(&["init", "shop"]).code(1);
    assert_eq!(fs::read_to_string(dir.join("larder.yaml")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(dir.join("README.md")).unwrap(), before);
    world.larder(&["init", "other", "--template", "aws"]).code(1);
    assert!(!world.path().join("other").exists());
}

#[test]
fn inferred_definitions_validate_and_apply() {
    let (_world, dir) = World::project();
    let yaml = larder(
        &dir,
        &[
            "infer",
            "data/user_daily/",
            "--entity",
            "user_id:int64",
            "--time",
            "event_timestamp",
            "--created",
            "created_timestamp",
            "--name",
            "guessed",
        ],
    )
    .ok()
    .out;
    assert!(yaml.contains("% null"), "{yaml}");
    fs::remove_dir_all(dir.join("features")).unwrap();
    fs::create_dir(dir.join("features")).unwrap();
    fs::write(dir.join("features/guessed.yaml"), yaml).unwrap();
    larder(&dir, &["validate"]).ok();
    larder(&dir, &["apply"]).ok();
    larder(&dir, &["status", "--check"]).code(3);
    larder(&dir, &["materialize", "--views", "guessed"]).ok();
    larder(&dir, &["status", "--check"]).ok();
    let file = larder(
        &dir,
        &[
            "infer",
            "data/user_daily/part-000.parquet",
            "--entity",
            "user_id",
            "--time",
            "event_timestamp",
        ],
    );
    assert!(file.ok().out.contains("path: user_daily/part-000.parquet "));
    larder(
        &dir,
        &[
            "infer",
            "data/none/",
            "--entity",
            "user_id",
            "--time",
            "event_timestamp",
        ],
    )
    .code(1);
    let wrong = larder(
        &dir,
        &[
            "infer",
            "data/user_daily/",
            "--entity",
            "user",
            "--time",
            "event_timestamp",
        ],
    )
    .code(1)
    .err;
    assert!(wrong.contains("no column `user`"), "{wrong}");
}
