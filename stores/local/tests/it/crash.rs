//! Is every acknowledged row there after `kill -9`, and did the newest win?

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_base::SystemClock;
use larder_local::{Durability, LocalConfig, LocalStore};

use crate::common::{Random, Row, layout, open, read, write};

const ROLE: &str = "LARDER_LOCAL_TEST_CHILD";
const KEYS: u64 = 300;
const GENERATION: u32 = 0x0c0f_fee0;

/// Starts this test binary again as another process that runs [`child`] with arguments.
pub(crate) fn spawn(arguments: &[&str]) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(ROLE, arguments.join("|"))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a child process")
}

/// The acknowledgements that a child has printed: everything after `ack `.
pub(crate) fn acknowledgements(child: &mut Child) -> impl Iterator<Item = u64> + use<> {
    let out = BufReader::new(child.stdout.take().expect("the child's output"));
    // libtest may print before the first acknowledgement on the same line.
    out.lines()
        .map_while(Result::ok)
        .filter_map(|line| line.rsplit_once("ack ")?.1.trim().parse().ok())
}

/// Not a test of its own: what a child process runs. In an ordinary run it only checks that it is none.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(ROLE) else {
        assert!(std::env::var_os(ROLE).is_none(), "the role is readable text");
        return;
    };
    let arguments: Vec<&str> = arguments.split('|').collect();
    match arguments[..] {
        ["write", path, durability, first] => write_batches(Path::new(path), durability, first),
        ["grow", path, batches] => crate::processes::grow(Path::new(path), batches),
        ["hold", path] => crate::processes::hold(Path::new(path)),
        _ => panic!("unknown role {arguments:?}"),
    }
}

pub(crate) fn acknowledge(number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ack {number}")
        .and_then(|()| out.flush())
        .expect("the parent listens");
}

/// What batch number `n` holds: a few keys, or many, with times that run back and forth.
fn batch(n: u64) -> Vec<Row> {
    let mut random = Random(n);
    let rows = if n % 16 == 7 { 20_000 } else { 1 + random.below(60) };
    (0..rows)
        .map(|_| {
            let (key, event) = (random.below(KEYS), (n / 4 * 1000 + random.below(20_000)) as i64);
            let key = if key % 10 == 0 {
                format!("{key}{}", "x".repeat(700))
            } else {
                key.to_string()
            };
            let number = event * 7 + i64::try_from(key.len()).unwrap_or(0);
            Row::new(key, event, number)
        })
        .collect()
}

fn write_batches(path: &Path, durability: &str, first: &str) {
    let durability = if durability == "os" {
        Durability::Os
    } else {
        Durability::Disk
    };
    let config = LocalConfig::new(path).durability(durability);
    let store = LocalStore::with_config(&config, Arc::new(SystemClock)).expect("the child opens");
    let layout = layout("p", GENERATION);
    for number in first.parse().expect("a number").. {
        write(&store, &layout, &batch(number)).expect("the child writes");
        acknowledge(number);
    }
}

#[test]
fn acknowledged_rows_survive_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("online");
    let view = layout("p", GENERATION);
    let mut expected: HashMap<String, i64> = HashMap::new();
    let mut possible: HashMap<String, Vec<i64>> = HashMap::new();
    let mut random = Random(u64::from(std::process::id()));
    let mut first = 0;
    let mut held = None;
    for round in 0..20 {
        // Every other round this process has the folder open too, so that the lock's owner dies beside us.
        held = if round % 2 == 0 {
            None
        } else {
            Some(held.unwrap_or_else(|| open(&path)))
        };
        let durability = if round % 4 < 2 { "disk" } else { "os" };
        let mut child = spawn(&[
            "write",
            &path.display().to_string(),
            durability,
            &first.to_string(),
        ]);
        let mut acknowledged = acknowledgements(&mut child);
        assert_eq!(acknowledged.next(), Some(first), "the child works");
        let until = Instant::now() + Duration::from_micros(random.below(40_000));
        while Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().expect("the child is killed");
        child.wait().expect("the child is gone");
        let last = acknowledged.last().unwrap_or(first);
        for row in (first..=last).flat_map(batch) {
            let newest = expected.entry(row.key).or_insert(row.event);
            *newest = row.event.max(*newest);
        }
        // The batch that was under way may be there, in part or whole. It may also appear only when the next writer
        // repairs the lock: its commit reached the file, but the dead process could not announce it any more.
        for row in batch(last + 1) {
            possible.entry(row.key).or_default().push(row.event);
        }
        let store = held.clone().unwrap_or_else(|| open(&path));
        let names: Vec<&str> = expected.keys().map(String::as_str).collect();
        let found = read(&store, &view, &names).expect("every row can be read");
        let mut seen = Vec::new();
        for (name, found) in names.iter().zip(found) {
            let (event, number, _) =
                found.unwrap_or_else(|| panic!("round {round}: an acknowledged row is missing"));
            let newest = expected[*name];
            let in_flight = possible
                .get(*name)
                .is_some_and(|events| events.contains(&event) && event > newest);
            assert!(
                event == newest || in_flight,
                "round {round}: {event} is there, {newest} is newest"
            );
            assert_eq!(number, event * 7 + name.len() as i64, "round {round}: a torn row");
            seen.push((name.to_string(), event));
        }
        // What was seen once stays.
        expected.extend(seen);
        first = last + 2;
    }
    assert!(
        first > 40,
        "the children were killed in the middle of work, after {first} batches"
    );
}
