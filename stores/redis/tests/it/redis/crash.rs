//! Is every acknowledged row there when the writer, the server, or both are killed with `kill -9`?

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use larder_conformance::eventually;
use larder_redis::RedisConfig;

use super::cluster_kit::Configured;
use super::common::{layout, open, read, write};
use super::server::Server;

const ROLE: &str = "LARDER_REDIS_TEST_CHILD";
const KEYS: i64 = 50;

/// Not a test of its own: what a writing process runs. In an ordinary run it only checks that it is none.
#[tokio::test]
async fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        assert!(std::env::var_os(ROLE).is_none(), "the role is readable text");
        return;
    };
    let (url, first) = role.rsplit_once('|').expect("a role");
    let store = open(&RedisConfig::new(url));
    let view = layout("shop", "crash", 3);
    let first: i64 = first.parse().expect("a number");
    for event in first.. {
        let rows: Vec<_> = (0..KEYS).map(|key| (key, event, event)).collect();
        if write(&store, &view, &rows).await.is_err() {
            return;
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {event}")
            .and_then(|()| out.flush())
            .expect("the parent listens");
    }
}

/// Starts this test binary again as a process that writes.
fn spawn(url: &str, first: i64) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args([
            "--exact",
            "redis::crash::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, format!("{url}|{first}"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn acknowledged_rows_outlive_writer_and_server() {
    let mut server = Server::durable();
    let store = open(&server.config());
    let view = layout("shop", "crash", 3);
    let names: Vec<i64> = (0..KEYS).collect();
    let mut last = 0;
    for round in 0..6 {
        let mut child = spawn(&server.url(), last + 1);
        let out = BufReader::new(child.stdout.take().expect("the child's output"));
        let mut acknowledged = 0;
        for line in out.lines().map_while(Result::ok) {
            let Some(event) = line
                .rsplit_once("ack ")
                .and_then(|(_, event)| event.trim().parse::<i64>().ok())
            else {
                continue;
            };
            last = event;
            acknowledged += 1;
            if acknowledged == 15 {
                match round % 3 {
                    0 => child.kill().expect("a child"),
                    1 => server.kill(),
                    _ => {
                        server.kill();
                        child.kill().expect("a child");
                    }
                }
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        assert!(acknowledged >= 15, "round {round}: {acknowledged}");
        if round % 3 != 0 {
            server.run();
        }
        let found = eventually(|| read(&store, &view, &names)).await;
        for (key, found) in found.into_iter().enumerate() {
            let (event, number) = found.expect("a row");
            assert!(
                event >= last && event == number,
                "round {round}, key {key}: {event} after {last} was acknowledged"
            );
        }
        // An older batch in flight changes nothing.
        let older: Vec<_> = (0..KEYS).map(|key| (key, last - 1, 0)).collect();
        let report = eventually(|| write(&store, &view, &older)).await;
        assert_eq!((report.written, report.stale), (0, KEYS as u64));
    }
}
