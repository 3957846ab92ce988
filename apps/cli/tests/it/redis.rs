//! Does a whole project live on Redis: from apply to get, through a dead server and an emptied one?

use std::fs;
use std::path::Path;

use crate::world::{World, larder};

#[allow(
    dead_code,
    reason = "the kit of the store's own tests; not all of it is needed here"
)]
#[path = "../../../../stores/redis/tests/it/redis/server.rs"]
mod server;

mod drill;

use server::Server;

/// A project of `larder init` whose values are on a server.
fn project(url: &str) -> (World, std::path::PathBuf) {
    let (world, dir) = World::project();
    let file = dir.join("larder.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let own: Vec<String> = text
        .lines()
        .map(|line| match line.starts_with("online:") {
            true => format!("online: {{ type: redis, url: \"{url}\", timeout: 300ms, write_timeout: 1s }}"),
            false => line.to_owned(),
        })
        .collect();
    fs::write(&file, own.join("\n")).unwrap();
    assert!(
        own.iter()
            .any(|line| line.contains("type: redis, url: \"redis://127")),
        "{text}"
    );
    (world, dir)
}

fn status_of(dir: &Path) -> String {
    let got = larder(
        dir,
        &[
            "get",
            "--service",
            "purchase_v1",
            "--entity",
            "user_id=7,product_id=3",
            "--format",
            "json",
        ],
    );
    got.ok().json()["results"][2]["statuses"][0]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
fn a_project_lives_on_redis() {
    let mut server = Server::durable();
    let (_world, dir) = project(&server.url());
    let run = |args: &[&str]| larder(&dir, args);
    run(&["apply"]).ok();
    let done = run(&["materialize", "--format", "json"]).ok().json();
    assert!(done["views"][1]["written"].as_u64().unwrap() >= 300);
    assert_eq!(status_of(&dir), "PRESENT");
    run(&["status", "--check"]).ok();
    let doctor = run(&["doctor", "--format", "json"]).ok().json();
    let online = doctor
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["role"] == "online")
        .unwrap();
    assert_eq!(online["ok"], true);
    assert!(
        online["backend"].as_str().unwrap().contains("redis"),
        "{online:#}"
    );

    // A dead server is told as such, at once; one that came back is used again.
    server.kill();
    let refused = run(&[
        "get",
        "--service",
        "purchase_v1",
        "--entity",
        "user_id=7,product_id=3",
        "--format",
        "json",
    ]);
    assert_eq!(refused.code(1).error()["kind"], "unavailable");
    let doctor = run(&["doctor", "--format", "json"]).json();
    let online = doctor
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["role"] == "online")
        .unwrap();
    assert!(
        online["ok"] == false && online["remedy"].is_string(),
        "{online:#}"
    );
    assert_ne!(run(&["materialize", "--rebuild"]).code, 0);
    server.run();
    assert_eq!(status_of(&dir), "PRESENT");
    run(&["materialize", "--rebuild"]).ok();

    // An emptied one has lost its identity, and is filled again.
    server.cli(&["FLUSHALL", "SYNC"]);
    assert_eq!(status_of(&dir), "NOT_FOUND");
    run(&["apply"]).ok();
    run(&["materialize", "--incremental"]).ok();
    assert_eq!(status_of(&dir), "PRESENT");
    run(&["delete", "user_stats", "--entity", "user_id=7"]).ok();
    assert_eq!(status_of(&dir), "NOT_FOUND");
}
