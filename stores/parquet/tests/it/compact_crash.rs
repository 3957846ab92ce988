//! Is every row there exactly once when appends and compactions run at once, and when any of them is killed?

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use larder_core::{ByteSize, CompactOptions, ErrorKind, OfflineStore, Span};
use larder_parquet::ParquetStore;

use crate::common::Rng;
use crate::compact::{all, append, at_once, data_files, view};

const ROLE: &str = "LARDER_PARQUET_TEST_CHILD";

fn spawn(role: &str, path: &Path, first: i64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "compact_crash::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, format!("{role}|{}|{first}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn acknowledgements(child: &mut Child) -> impl Iterator<Item = i64> + use<> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines()
        .map_while(Result::ok)
        .filter_map(|line| line.rsplit_once("ack ")?.1.trim().parse().ok())
}

fn acknowledge(number: i64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ack {number}").and_then(|()| out.flush()).unwrap();
}

/// Not a test of its own: what a child process runs. In an ordinary run it only checks that it is none.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(ROLE) else {
        assert!(std::env::var_os(ROLE).is_none(), "the role is readable text");
        return;
    };
    let arguments: Vec<&str> = arguments.split('|').collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = ParquetStore::new(arguments[1]);
    let first: i64 = arguments[2].parse().unwrap();
    match arguments[0] {
        "append" => runtime.block_on(async {
            for number in first.. {
                append(&store, &view("s"), &rows_of(number)).await;
                acknowledge(number);
            }
        }),
        "compact" => runtime.block_on(async {
            for number in first.. {
                // Small targets, so that there is always something to merge again.
                let target = ByteSize(4_000 + 3_000 * (number as u64 % 7));
                match store
                    .compact(&view("s").source, &at_once().with_target(target))
                    .await
                {
                    Ok(_) => {}
                    // A file that another one removed meanwhile.
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    Err(error) => panic!("{error}"),
                }
                acknowledge(number);
            }
        }),
        role => panic!("unknown role {role}"),
    }
}

/// What append number `n` holds.
fn rows_of(n: i64) -> Vec<(i64, i64, i64)> {
    (0..1 + n % 5)
        .map(|at| (n % 17, 1_000 + n * 10 + at, n * 100 + at))
        .collect()
}

fn check(found: &BTreeMap<(i64, i64, i64), usize>, acknowledged: impl Iterator<Item = i64>, maybe: &[i64]) {
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "rows that are there more than once: {twice:?}");
    let mut wanted = 0;
    for number in acknowledged {
        for row in rows_of(number) {
            assert!(found.contains_key(&row), "a row of append {number} is lost");
            wanted += 1;
        }
    }
    let mut extra = 0;
    for number in maybe {
        let there = rows_of(*number)
            .iter()
            .filter(|row| found.contains_key(*row))
            .count();
        assert!(
            there == 0 || there == rows_of(*number).len(),
            "half of append {number}"
        );
        extra += there;
    }
    assert_eq!(found.len(), wanted + extra, "rows that nobody appended");
}

fn wait(rng: &mut Rng, micros: u64) {
    let until = Instant::now() + Duration::from_micros(rng.below(micros));
    while Instant::now() < until {
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn killed_appends_and_compactions_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = ParquetStore::new(dir.path());
    let mut rng = Rng::new(u64::from(std::process::id()));
    let (mut first, mut maybe, mut known) = (0_i64, Vec::new(), Vec::new());
    let mut compactions = 0;
    for round in 0..25 {
        let mut appending = spawn("append", dir.path(), first);
        let mut acknowledged = acknowledgements(&mut appending);
        assert_eq!(
            acknowledged.next(),
            Some(first),
            "round {round}: the child appends"
        );
        let mut compacting = spawn("compact", dir.path(), round);
        let mut done = acknowledgements(&mut compacting);
        if round % 2 == 0 {
            assert_eq!(done.next(), Some(round), "round {round}: the child compacts");
        }
        wait(&mut rng, 60_000);
        // One is killed while the other works, then the other.
        let mut order = [&mut compacting, &mut appending];
        if round % 3 == 0 {
            order.reverse();
        }
        for child in order {
            child.kill().unwrap();
            child.wait().unwrap();
            wait(&mut rng, 5_000);
        }
        compactions += done.count();
        let last = acknowledged.last().unwrap_or(first);
        known.extend(first..=last);
        maybe.push(last + 1);
        first = last + 2;
        let found = runtime.block_on(all(&store, &view("s"))).unwrap();
        check(&found, known.iter().copied(), &maybe);
    }
    // And in the end all of it is few files.
    runtime
        .block_on(store.compact(&view("s").source, &at_once()))
        .unwrap();
    let found = runtime.block_on(all(&store, &view("s"))).unwrap();
    check(&found, known.iter().copied(), &maybe);
    assert_eq!(data_files(&dir.path().join("s")).len(), 1);
    assert!(
        compactions > 0 && known.len() > 50,
        "{compactions} compactions, {} appends",
        known.len()
    );
}

/// Readers look on while two writers append and two compact, with a grace that keeps what readers may be at.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_every_row_once_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let stores: Vec<Arc<ParquetStore>> = (0..5).map(|_| Arc::new(ParquetStore::new(dir.path()))).collect();
    append(&*stores[0], &view("s"), &rows_of(0)).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for (at, store) in stores[..2].iter().cloned().enumerate() {
        tasks.spawn(async move {
            for n in 0..40 {
                append(&*store, &view("s"), &rows_of(1 + n * 2 + at as i64)).await;
            }
        });
    }
    let mut compactions = tokio::task::JoinSet::new();
    for store in &stores[2..4] {
        let store = store.clone();
        let over = over.clone();
        compactions.spawn(async move {
            let (mut made, mut refused) = (0, 0);
            while !over.load(Ordering::Acquire) {
                let options = CompactOptions::default().with_grace(Span::hours(1));
                match store.compact(&view("s").source, &options).await {
                    Ok(report) => made += report.made,
                    Err(error) if error.kind() == ErrorKind::Conflict => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (made, refused)
        });
    }
    let mut looks = 0;
    let mut most = 0;
    while !tasks.is_empty() {
        let found = all(&*stores[4], &view("s")).await.unwrap();
        assert!(found.values().all(|count| *count == 1), "a row is there twice");
        assert!(found.len() >= most, "rows went away");
        most = found.len();
        looks += 1;
        while tasks
            .try_join_next()
            .is_some_and(|done| done.map(|()| true).unwrap())
        {}
    }
    over.store(true, Ordering::Release);
    let made: u64 = compactions.join_all().await.iter().map(|(made, _)| made).sum();
    assert!(made > 0 && looks > 0, "{made} made, {looks} looks");
    let found = all(&*stores[4], &view("s")).await.unwrap();
    check(&found, 0..=80, &[]);
}

#[test]
fn one_compaction_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = ParquetStore::new(dir.path());
    runtime.block_on(async {
        append(&store, &view("s"), &rows_of(0)).await;
        append(&store, &view("s"), &rows_of(1)).await;
        let lock = std::fs::File::create(dir.path().join("s/.larder-compact.lock")).unwrap();
        lock.lock().unwrap();
        let error = store.compact(&view("s").source, &at_once()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        drop(lock);
        assert_eq!(
            store.compact(&view("s").source, &at_once()).await.unwrap().merged,
            2
        );
    });
}
