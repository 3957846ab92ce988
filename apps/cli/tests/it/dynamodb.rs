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
