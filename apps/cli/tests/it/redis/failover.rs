//! The primary of a Redis dies while larder materializes: does the run wait the failover out, or stop so that the next
//! one ends it, and does no row that was acknowledged get lost?

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use larder::{ReadOptions, Reading, Selection, Value};

use super::server::until;
use super::watched::Watched;
use crate::backend::{Backend, CLICKS, project};
use crate::world::{LARDER, Ran, larder};

const USERS: i64 = 50_000;

impl Backend for Watched {
    fn online(&self) -> String {
        let nodes = self.addresses().join("\", \"");
        format!(
            "{{ type: redis, sentinel: {{ master: features, nodes: [\"{nodes}\"] }}, timeout: 300ms, \
             write_timeout: 20s, wait: {{ replicas: 1, timeout: 1s }} }}"
        )
    }

    fn kill(&mut self) {
        self.primary.kill();
    }

    fn run(&mut self) {
        self.primary.run();
    }

    fn empty(&mut self) {
        self.primary.cli(&["FLUSHALL", "SYNC"]);
    }
}

#[test]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
fn a_run_outlives_a_failover() {
    let mut watched = Watched::start();
    let (_world, dir) = project(&watched);
    std::fs::write(dir.join("features").join("clicks.yaml"), CLICKS).unwrap();
    larder(&dir, &["apply", "--offline"]).ok();
    let mut rows = "user_id,at,number\n".to_owned();
    for user in 1..=USERS {
        writeln!(rows, "{user},2026-01-01T00:00:00Z,{user}").unwrap();
    }
    std::fs::write(dir.join("rows.csv"), rows).unwrap();
    larder(&dir, &["push", "clicks", "--file", "rows.csv", "--to", "offline"]).ok();

    let size = |server: &super::server::Server| server.cli(&["DBSIZE"]).parse::<i64>().unwrap();
    let child = Command::new(LARDER)
        .current_dir(&dir)
        .args(["materialize", "--views", "clicks", "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("a part of the rows is there", || {
        size(&watched.primary) > USERS / 10
    });
    watched.kill();
    // It comes back with nothing, and must not be the primary again; writes wait for a replica to have them.
    until("the replica took over", || {
        watched.replica.info("role") == "master"
    });
    watched.run();
    let began = Instant::now();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert!(began.elapsed() < Duration::from_secs(60), "{ran:?}");
    let done = ran.ok().json();
    assert_eq!(done["views"][0]["read"], USERS, "{done:#}");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = larder::serving(dir.join("larder.yaml")).open().await.unwrap();
        let plan = store.online(Selection::features(["clicks"])).await.unwrap();
        let mut session = plan.session();
        let users: Vec<Value> = (1..=USERS).map(Value::Int64).collect();
        session.values("user_id", &users).unwrap();
        let found = session.read(ReadOptions::new()).await.unwrap();
        for row in 0..found.rows() {
            let expected = Reading::Present(Value::Int64(row as i64 + 1));
            assert_eq!(found.value(row, 0), expected);
        }
    });
}
