//! Does a whole project live on DynamoDB: from apply to get, through a dead server and an emptied one?

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{Ran, World, larder};

#[allow(
    dead_code,
    reason = "the kit of the store's own tests; not all of it is needed here"
)]
#[path = "../../../../stores/dynamodb/tests/it/dynamodb/server.rs"]
mod server;

use server::Server;

/// Lets the values of a project be on a server.
fn online(dir: &Path, server: &Server, more: &str) {
    let file = dir.join("larder.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let own = format!(
        "online: {{ type: dynamodb, endpoint: \"{}\", access_key_id: a, secret_access_key: s, timeout: 2s, \
         write_timeout: 6s{more} }}",
        server.endpoint()
    );
    let lines = text.lines().map(|line| match line.starts_with("online:") {
        true => own.as_str(),
        false => line,
    });
    fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

fn project(server: &Server) -> (World, PathBuf) {
    let (world, dir) = World::project();
    online(&dir, server, "");
    (world, dir)
}

fn get(dir: &Path) -> Ran {
    let service = ["get", "--service", "purchase_v1"];
    let entity = ["--entity", "user_id=7,product_id=3", "--format", "json"];
    larder(dir, &[service.as_slice(), entity.as_slice()].concat())
}

fn status_of(dir: &Path) -> String {
    let told = get(dir).ok().json();
    told["results"][2]["statuses"][0].as_str().unwrap().to_owned()
}

fn doctor(dir: &Path) -> Value {
    let told = larder(dir, &["doctor", "--format", "json"]).json();
    let findings = told.as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["role"] == "online")
        .unwrap()
        .clone()
}

#[test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
fn a_project_lives_on_dynamodb() {
    let mut server = Server::start();
    let (_world, dir) = project(&server);
    let run = |args: &[&str]| larder(&dir, args);
    let empty = doctor(&dir);
    assert!(
        empty["warnings"].to_string().contains("larder apply"),
        "{empty:#}"
    );
    run(&["apply"]).ok();
    let done = run(&["materialize", "--format", "json"]).ok().json();
    assert!(done["views"][1]["written"].as_u64().unwrap() >= 300);
    assert_eq!(status_of(&dir), "PRESENT");
    run(&["status", "--check"]).ok();
    let fine = doctor(&dir);
    assert!(fine["ok"] == true && fine["backend"] == "dynamodb", "{fine:#}");
    assert!(fine.to_string().contains("larder_shop"), "{fine:#}");

    // A dead server is told as such, at once.
    server.kill();
    assert_eq!(get(&dir).code(1).error()["kind"], "unavailable");
    let dead = doctor(&dir);
    assert!(dead["ok"] == false && dead["remedy"].is_string(), "{dead:#}");
    assert_ne!(run(&["materialize", "--rebuild"]).code, 0);

    // One that came back empty has lost its identity, and is filled again.
    server.run();
    assert_eq!(status_of(&dir), "NOT_FOUND");
    run(&["apply"]).ok();
    run(&["materialize", "--incremental"]).ok();
    assert_eq!(status_of(&dir), "PRESENT");
    run(&["delete", "user_stats", "--entity", "user_id=7"]).ok();
    assert_eq!(status_of(&dir), "NOT_FOUND");
}

/// The faster way to write, which somebody asked for by name, is one a run takes.
#[test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
fn a_store_that_overwrites_is_filled() {
    let server = Server::start();
    let (_world, dir) = project(&server);
    online(&dir, &server, ", write_mode: overwrite");
    larder(&dir, &["apply"]).ok();
    larder(&dir, &["materialize"]).ok();
    assert_eq!(status_of(&dir), "PRESENT");
    larder(&dir, &["materialize", "--rebuild"]).ok();
    assert_eq!(status_of(&dir), "PRESENT");
    assert!(doctor(&dir).to_string().contains("an older row may replace"));
}
