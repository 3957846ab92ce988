//! Does a whole project live on DynamoDB, and come through kills?

use std::fs;

#[allow(
    dead_code,
    reason = "the kit of the store's own tests; not all of it is needed here"
)]
#[path = "../../../../stores/dynamodb/tests/it/dynamodb/server.rs"]
mod server;

use server::Server;

use crate::backend::{Backend, kills, lives, project};
use crate::world::larder;

impl Backend for Server {
    fn online(&self) -> String {
        let endpoint = self.endpoint();
        format!(
            "{{ type: dynamodb, endpoint: \"{endpoint}\", access_key_id: a, secret_access_key: s, timeout: 1s, write_timeout: 3s }}"
        )
    }

    fn kill(&mut self) {
        Server::kill(self);
    }

    fn run(&mut self) {
        Server::run(self);
    }

    fn empty(&mut self) {
        Server::empty(self);
    }

    /// One request for each row, of which the server does some hundred per second.
    fn users(&self) -> i64 {
        600
    }
}

#[test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
fn a_project_lives_on_dynamodb() {
    lives(&mut Server::durable(), "dynamodb");
}

#[test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
fn kills_lose_nothing_acknowledged() {
    kills(&mut Server::durable());
}

/// The faster way to write, which somebody asked for by name, is one a run takes.
#[test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
fn a_store_that_overwrites_is_filled() {
    let server = Server::start();
    let (_world, dir) = project(&server);
    let file = dir.join("larder.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("type: dynamodb,").unwrap();
    fs::write(
        &file,
        format!("{before}type: dynamodb, write_mode: overwrite,{after}"),
    )
    .unwrap();
    let run = |args: &[&str]| larder(&dir, args).ok();
    let doctor = || run(&["doctor", "--format", "json"]).json().to_string();
    assert!(doctor().contains("`larder apply` makes it"));
    run(&["apply"]);
    run(&["materialize"]);
    run(&["materialize", "--rebuild"]);
    let get = [
        "get",
        "--service",
        "purchase_v1",
        "--format",
        "json",
        "--entity",
        "user_id=7,product_id=3",
    ];
    assert_eq!(run(&get).json()["results"][2]["statuses"][0], "PRESENT");
    assert!(doctor().contains("an older row may replace"));
    assert!(doctor().contains("larder_shop"));
}

/// The table of another name or region is not there, which a read cannot tell from one that is empty.
#[test]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
fn a_table_that_is_not_there_is_told() {
    let server = Server::start();
    let (_world, dir) = project(&server);
    let file = dir.join("larder.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let run = |args: &[&str]| larder(&dir, args);
    run(&["apply"]).ok();
    run(&["materialize"]).ok();
    let get = ["get", "--features", "user_stats", "--entity", "user_id=7"];
    let filled = run(&get).ok().out;
    assert!(!filled.contains("NOT_FOUND"), "{filled}");
    fs::write(
        &file,
        text.replace("type: dynamodb,", "type: dynamodb, table: \"other_{project}\","),
    )
    .unwrap();
    let told = run(&get).ok().out;
    for part in [
        "NOT_FOUND",
        "is not the one that was filled",
        "larder materialize",
    ] {
        assert!(told.contains(part), "no {part}: {told}");
    }
    run(&["status", "--check"]).code(3);
    // What makes the table comes first, and what the history has by then is said.
    let error = run(&[
        "push",
        "user_daily",
        "--file",
        "rows.csv",
        "--to",
        "both",
        "--format",
        "json",
    ]);
    let help = error.code(1).error()["help"].as_str().unwrap().to_owned();
    let places = ["larder apply", "the history has all rows", "--to online"];
    let places = places.map(|part| help.find(part).unwrap_or_else(|| panic!("no {part}: {help}")));
    assert!(places.is_sorted(), "{help}");
    run(&["apply"]).ok();
    run(&["push", "user_daily", "--file", "rows.csv"]).ok();
}
