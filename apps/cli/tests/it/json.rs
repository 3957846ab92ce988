//! Does every command print exactly one JSON document with `--format json`, and tables as CSV?

use crate::world::{World, larder};

#[test]
fn every_command_prints_one_document() {
    let (world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    larder(&dir, &["materialize"]).ok();
    for (args, shape) in [
        (&["validate"][..], "object"),
        (&["plan"], "object"),
        (&["apply"], "object"),
        (&["history"], "array"),
        (&["show", "1"], "object"),
        (&["list", "entities"], "array"),
        (&["list", "sources"], "array"),
        (&["list", "views"], "array"),
        (&["list", "on-demand-views"], "array"),
        (&["list", "features"], "array"),
        (&["list", "services"], "array"),
        (&["list", "models"], "array"),
        (&["describe", "service", "purchase_v1"], "object"),
        (
            &[
                "historical",
                "--entities",
                "labels.parquet",
                "--features",
                "user_stats",
            ],
            "array",
        ),
        (&["materialize"], "object"),
        (
            &[
                "get",
                "--service",
                "purchase_v1",
                "--entity",
                "user_id=1,product_id=1",
            ],
            "object",
        ),
        (&["status"], "array"),
        (&["stores"], "array"),
        (&["doctor"], "array"),
        (&["schema"], "object"),
        (&["schema", "project"], "object"),
        (&["gc"], "object"),
        (
            &[
                "infer",
                "data/user_daily/",
                "--entity",
                "user_id",
                "--time",
                "event_timestamp",
            ],
            "object",
        ),
    ] {
        let document = larder(&dir, &[args, &["--format", "json"]].concat()).ok().json();
        assert!(
            if shape == "array" {
                document.is_array()
            } else {
                document.is_object()
            },
            "{args:?}: {document}"
        );
    }
    let made = world.larder(&["init", "second", "--format", "json"]).ok().json();
    assert_eq!(made["project"], "second");
}

#[test]
fn history_status_and_get_have_the_promised_fields() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply", "-m", "why"]).ok();
    larder(&dir, &["materialize"]).ok();
    let commit = larder(&dir, &["history", "--format", "json"]).ok().json()[0].clone();
    for field in ["version", "time", "author", "message", "changes"] {
        assert!(!commit[field].is_null(), "{field}: {commit:#}");
    }
    assert_eq!(commit.as_object().unwrap().len(), 5);
    let status = larder(&dir, &["status", "--format", "json"]).ok().json();
    for field in [
        "view",
        "store",
        "watermark",
        "lag_seconds",
        "freshness",
        "fresh",
        "last_run",
    ] {
        assert!(!status[0][field].is_null(), "{field}: {status:#}");
    }
    let got = larder(
        &dir,
        &[
            "get",
            "--features",
            "product_stats:price,user_stats:orders_7d",
            "--entity",
            "user_id=1,product_id=2",
            "--entity",
            "product_id=3,user_id=99999",
            "--format",
            "json",
        ],
    )
    .ok()
    .json();
    assert_eq!(
        got["metadata"]["feature_names"],
        serde_json::json!(["user_id", "product_id", "price", "orders_7d"])
    );
    let results = got["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    for column in results {
        for list in ["values", "statuses", "event_timestamps"] {
            assert_eq!(column[list].as_array().unwrap().len(), 2, "{column:#}");
        }
    }
    assert_eq!(results[1]["values"], serde_json::json!([2, 3]));
    assert_eq!(results[3]["statuses"][1], "NOT_FOUND");
    assert!(results[3]["values"][1].is_null());
    assert_eq!(results[3]["event_timestamps"][1], "1970-01-01T00:00:00Z");
}

#[test]
fn tables_are_csv_where_asked() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    let views = larder(&dir, &["list", "views", "--format", "csv"]).ok().out;
    assert!(
        views.starts_with("name,what,owner,set,revision,description\n"),
        "{views}"
    );
    assert_eq!(views.lines().count(), 3);
    let rows = larder(
        &dir,
        &[
            "historical",
            "--entities",
            "labels.parquet",
            "--features",
            "user_stats:orders_7d",
            "--format",
            "csv",
        ],
    )
    .ok()
    .out;
    assert_eq!(rows.lines().count(), 501);
    assert!(larder(&dir, &["history", "--quiet"]).ok().out.contains("version"));
}

#[test]
fn a_project_elsewhere_and_its_environments() {
    let (world, dir) = World::project();
    let yaml = std::fs::read_to_string(dir.join("larder.yaml")).unwrap();
    let more = "environments:\n  test:\n    registry: { type: file, path: .larder/test }\n    online: { type: memory }\n";
    std::fs::write(dir.join("larder.yaml"), format!("{yaml}\n{more}")).unwrap();
    world
        .larder(&["--project-dir", "shop", "apply", "-m", "default"])
        .ok();
    let test = world
        .larder(&[
            "--project-dir",
            "shop",
            "--env",
            "test",
            "history",
            "--format",
            "json",
        ])
        .ok()
        .json();
    assert_eq!(test, serde_json::json!([]));
    let error = world
        .larder(&[
            "--project-dir",
            "shop",
            "--env",
            "tset",
            "history",
            "--format",
            "json",
        ])
        .code(1)
        .error();
    assert!(error["message"].as_str().unwrap().contains("tset"), "{error:#}");
}
