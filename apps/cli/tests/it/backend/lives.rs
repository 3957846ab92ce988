//! Does a whole project live on a server: from apply to get, through a dead server and an emptied one?

use std::path::Path;

use serde_json::Value;

use super::{Backend, project};
use crate::world::{Ran, larder};

fn get(dir: &Path) -> Ran {
    let entity = "user_id=7,product_id=3";
    larder(
        dir,
        &[
            "get",
            "--service",
            "purchase_v1",
            "--entity",
            entity,
            "--format",
            "json",
        ],
    )
}

fn status_of(dir: &Path) -> String {
    get(dir).ok().json()["results"][2]["statuses"][0]
        .as_str()
        .unwrap()
        .to_owned()
}

fn doctor(dir: &Path) -> Value {
    let findings = larder(dir, &["doctor", "--format", "json"]).json();
    let online = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["role"] == "online");
    online.unwrap().clone()
}

/// Walks through the life of a project on a server whose data outlives it; `name` is what the store calls it.
pub(crate) fn lives(server: &mut impl Backend, name: &str) {
    let (_world, dir) = project(server);
    let run = |args: &[&str]| larder(&dir, args);
    run(&["apply"]).ok();
    let done = run(&["materialize", "--format", "json"]).ok().json();
    assert!(done["views"][1]["written"].as_u64().unwrap() >= 300);
    assert_eq!(status_of(&dir), "PRESENT");
    run(&["status", "--check"]).ok();
    let found = doctor(&dir);
    assert_eq!(found["ok"], true, "{found:#}");
    // Valkey may stand in for Redis.
    let backend = found["backend"].as_str().unwrap().replace("valkey", "redis");
    assert!(backend.contains(name), "{found:#}");

    // A dead server is told as such, at once; one that came back is used again.
    server.kill();
    assert_eq!(get(&dir).code(1).error()["kind"], "unavailable");
    let found = doctor(&dir);
    assert!(found["ok"] == false && found["remedy"].is_string(), "{found:#}");
    assert_ne!(run(&["materialize", "--rebuild"]).code, 0);
    server.run();
    assert_eq!(status_of(&dir), "PRESENT");
    run(&["materialize", "--rebuild"]).ok();

    // An emptied one has lost its identity, and is filled again.
    server.empty();
    assert_eq!(status_of(&dir), "NOT_FOUND");
    let prepared = run(&["apply", "--format", "json"]).ok().json();
    assert_eq!(
        (&prepared["changed"], &prepared["prepared"][0]),
        (&false.into(), &"default".into())
    );
    assert_eq!(
        run(&["apply", "--format", "json"]).ok().json()["prepared"],
        serde_json::json!([])
    );
    run(&["materialize", "--incremental"]).ok();
    assert_eq!(status_of(&dir), "PRESENT");
    run(&["delete", "user_stats", "--entity", "user_id=7"]).ok();
    assert_eq!(status_of(&dir), "NOT_FOUND");
}
