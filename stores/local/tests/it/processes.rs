//! Can one process serve while another writes, and while the map grows under both?

use std::path::Path;
use std::sync::Arc;

use larder_base::{OnlineStore, SystemClock};
use larder_local::{LocalConfig, LocalStore};

use crate::common::{Row, layout, open, read, wait, write};
use crate::crash::{acknowledge, acknowledgements, spawn};

const KEYS: u64 = 50;
const GENERATION: u32 = 77;

fn small(path: &Path) -> LocalStore {
    let config = LocalConfig::new(path).map_size(1 << 20);
    LocalStore::with_config(&config, Arc::new(SystemClock)).expect("the folder opens")
}

/// Child: rewrites the same keys with ever larger rows, far beyond the map that it began with.
pub(crate) fn grow(path: &Path, batches: &str) {
    let store = small(path);
    let layout = layout("p", GENERATION);
    for number in 0..batches.parse().expect("a number") {
        let row = |key| Row {
            text: "x".repeat(200 * (1 + number as usize)),
            ..Row::new(format!("key{key}"), number as i64, number as i64)
        };
        write(&store, &layout, &(0..KEYS).map(row).collect::<Vec<_>>()).expect("the child writes");
        acknowledge(number);
    }
}

/// Child: reads once, then waits for its death with the folder open.
pub(crate) fn hold(path: &Path) {
    let store = open(path);
    read(&store, &layout("p", GENERATION), &["key0"]).expect("the child reads");
    acknowledge(1);
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn reads_go_on_while_another_process_writes_and_the_map_grows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("online");
    let store = small(&path);
    let view = layout("p", GENERATION);
    let (mut child, batches) = (spawn(&["grow", &path.display().to_string(), "200"]), 200);
    let done = std::thread::spawn({
        let acknowledged = acknowledgements(&mut child);
        move || acknowledged.count()
    });
    let names: Vec<String> = (0..KEYS).map(|key| format!("key{key}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut reads, mut newest) = (0_u64, -1);
    while !done.is_finished() {
        let found = read(&store, &view, &names).expect("reads never fail meanwhile");
        let events: Vec<i64> = found.iter().flatten().map(|(event, ..)| *event).collect();
        assert!(
            events.iter().all(|event| *event >= newest),
            "time never runs back"
        );
        for (event, number, text) in found.into_iter().flatten() {
            assert_eq!(
                (number, text.len()),
                (event, 200 * (1 + event as usize)),
                "a row is whole"
            );
        }
        newest = events.into_iter().min().unwrap_or(newest);
        reads += 1;
    }
    assert!(child.wait().expect("the child ends").success());
    assert_eq!(
        done.join().expect("the listener"),
        batches,
        "every batch was acknowledged"
    );
    assert!(reads > 10, "the processes ran side by side ({reads} reads)");
    assert_eq!(
        read(&store, &view, &["key7"]).expect("a read")[0]
            .as_ref()
            .map(|found| found.0),
        Some(199)
    );
    // And the other way round: this process writes after the other one grew the file.
    write(&store, &view, &[Row::new("key7", 1000, 1)]).expect("a write");
    let health = wait(store.check()).expect("a healthy store");
    let map = health
        .details
        .iter()
        .find(|(name, _)| name == "map bytes")
        .map(|(_, value)| value.parse::<u64>());
    assert!(
        matches!(map, Some(Ok(bytes)) if bytes > 1 << 20),
        "the map grew: {map:?}"
    );
}

#[test]
fn killed_readers_and_different_map_sizes_are_no_trouble() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("online");
    let store = small(&path);
    let view = layout("p", GENERATION);
    write(&store, &view, &[Row::new("key0", 1, 1)]).expect("a write");
    for _ in 0..3 {
        let mut child = spawn(&["hold", &path.display().to_string()]);
        assert_eq!(
            acknowledgements(&mut child).next(),
            Some(1),
            "a child with a 64 GiB map reads"
        );
        child.kill().expect("the child is killed");
        child.wait().expect("the child is gone");
    }
    // Larger than the 1 MiB it began with, so that the writer itself has to grow the map.
    for n in 2..40 {
        let row = Row {
            text: "y".repeat(100_000),
            ..Row::new(format!("key{n}"), n, n)
        };
        write(&store, &view, &[row]).expect("a write");
    }
    assert_eq!(
        read(&open(&path), &view, &["key39"]).expect("a read")[0]
            .as_ref()
            .map(|found| found.0),
        Some(39)
    );
}
