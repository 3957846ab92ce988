//! Do merges, readers and writers of the ledger leave each other whole?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use larder_base::{ErrorKind, Generation, Ledger, Micros, Registry, RunRecord, RunState, ViewName};
use larder_object::ObjectRegistry;
use object_store::memory::InMemory;

use crate::support::{child, join, project, role, run, runtime};

fn view() -> ViewName {
    "stats".parse().unwrap()
}

async fn runs(ledger: &dyn Ledger) -> Vec<RunRecord> {
    ledger.runs(&project("p"), &view(), Generation(7)).await.unwrap()
}

fn hours(runs: &[RunRecord]) -> BTreeSet<i64> {
    runs.iter()
        .flat_map(|run| &run.done)
        // Merging may join intervals that touch: what counts is what they cover.
        .flat_map(|interval| interval.after.0..interval.until.0)
        .collect()
}

#[tokio::test]
async fn a_record_replaces_only_its_own_runs_and_merging_keeps_coverage() {
    let place = tempfile::tempdir().unwrap();
    for registry in [
        ObjectRegistry::in_folder(place.path()).unwrap(),
        ObjectRegistry::in_store(Arc::new(InMemory::new()), ""),
    ] {
        let ledger = registry.ledger();
        let p = project("p");
        assert!(runs(&*ledger).await.is_empty());
        ledger.compact(&p, &view(), Generation(7)).await.unwrap();
        for hour in (0..5).rev() {
            let working = RunRecord {
                state: RunState::Running,
                done: Vec::new(),
                ..run(&format!("r{hour}"), hour)
            };
            ledger.record(&p, &working).await.unwrap();
            ledger.record(&p, &run(&format!("r{hour}"), hour)).await.unwrap();
        }
        let working = RunRecord {
            state: RunState::Running,
            ..run("Working/../", 9)
        };
        ledger.record(&p, &working).await.unwrap();
        ledger
            .record(
                &p,
                &RunRecord {
                    generation: Generation(8),
                    ..run("other", 50)
                },
            )
            .await
            .unwrap();

        let all = runs(&*ledger).await;
        let started: Vec<Micros> = all.iter().map(|run| run.started).collect();
        assert_eq!(started, [0, 1, 2, 3, 4, 9].map(Micros));
        assert_eq!(all[2], run("r2", 2));
        for _ in 0..2 {
            ledger.compact(&p, &view(), Generation(7)).await.unwrap();
            let merged = runs(&*ledger).await;
            assert_eq!(merged.len(), 3, "one merged, the newest, the working one");
            assert_eq!(hours(&merged), hours(&all));
            assert_eq!(merged.iter().map(|run| run.rows_read).sum::<u64>(), 6);
            assert_eq!(merged[2], working);
        }
        assert!(
            registry.projects().await.unwrap().is_empty(),
            "a ledger alone is no project"
        );
    }
}

#[tokio::test]
async fn a_damaged_record_is_corrupt_and_names_its_file() {
    let place = tempfile::tempdir().unwrap();
    let ledger = ObjectRegistry::in_folder(place.path()).unwrap().ledger();
    ledger.record(&project("p"), &run("r1", 1)).await.unwrap();
    let file = place.path().join("p/ledger/stats/00000007/r1.json");
    std::fs::write(&file, "").unwrap();
    let error = ledger
        .runs(&project("p"), &view(), Generation(7))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
}

const RUNS: i64 = 25;

/// Children record finished runs, others merge all the time, and no reader ever misses what it saw before.
#[test]
fn processes_record_and_merge_at_once_and_nothing_is_lost() {
    if let Some((role, folder)) = role() {
        let ledger = ObjectRegistry::in_folder(&folder).unwrap().ledger();
        return runtime().block_on(async {
            match role.strip_prefix("writer") {
                Some(writer) => {
                    let writer: i64 = writer.parse().unwrap();
                    for i in 0..RUNS {
                        let hour = writer * 1_000 + i;
                        let working = RunRecord {
                            state: RunState::Running,
                            ..run(&format!("{hour}"), hour)
                        };
                        ledger.record(&project("p"), &working).await.unwrap();
                        ledger
                            .record(&project("p"), &run(&format!("{hour}"), hour))
                            .await
                            .unwrap();
                    }
                }
                None => {
                    while !folder.join("stop").exists() {
                        ledger
                            .compact(&project("p"), &view(), Generation(7))
                            .await
                            .unwrap();
                    }
                }
            }
        });
    }

    let place = tempfile::tempdir().unwrap();
    let ledger = ObjectRegistry::in_folder(place.path()).unwrap().ledger();
    let me = "ledger::processes_record_and_merge_at_once_and_nothing_is_lost";
    let spawn = |role: &str| child(me, role, place.path());
    let mergers = vec![spawn("merger1"), spawn("merger2")];
    let writers = vec![spawn("writer1"), spawn("writer2"), spawn("writer3")];
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (ledger, done) = (ledger.clone(), done.clone());
        move || {
            let mut seen = BTreeSet::new();
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let now = hours(&runtime().block_on(runs(&*ledger)));
                assert!(seen.is_subset(&now), "lost {:?}", seen.difference(&now));
                seen = now;
                reads += 1;
            }
            reads
        }
    });
    join(writers);
    std::fs::write(place.path().join("stop"), "").unwrap();
    join(mergers);
    done.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);

    let all = runtime().block_on(async {
        ledger
            .compact(&project("p"), &view(), Generation(7))
            .await
            .unwrap();
        runs(&*ledger).await
    });
    let expected: BTreeSet<i64> = (1..=3)
        .flat_map(|writer| (0..RUNS).map(move |i| writer * 1_000 + i))
        .collect();
    assert_eq!(hours(&all), expected);
    assert!(all.len() <= 3, "{}", all.len());
}
