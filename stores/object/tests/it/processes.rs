//! Does every acknowledged commit stand when processes race and are killed?

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use larder_base::{ChangeSet, ErrorKind, ProjectName, Registry, Version};
use larder_object::ObjectRegistry;

use crate::support::{adds, child, commit_many, join, newest, project, role, runtime};

const WRITERS: usize = 5;
const COMMITS: usize = 40;
const KILLS: u64 = 30;

/// Loads and commits until it wins, like any caller does.
async fn commit(registry: &ObjectRegistry, p: &ProjectName, changes: &ChangeSet) -> Version {
    loop {
        let base = newest(registry, p).await.version();
        match registry.commit(p, base, changes).await {
            Ok(version) => return version,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}"),
        }
    }
}

/// Commits and writes down each acknowledgement: `version id entity`.
async fn write_down(registry: &ObjectRegistry, p: &ProjectName, entity: String, acks: &mut File) {
    let changes = adds(&entity);
    let version = commit(registry, p, &changes).await;
    // One write, so that a kill leaves the whole line or none.
    acks.write_all(format!("{version} {} {entity}\n", changes.commit_id.0).as_bytes())
        .unwrap();
}

fn acks(folder: &Path, role: &str) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join(format!("acks-{role}")))
        .unwrap()
}

/// Version → commit id and entity of all that was acknowledged.
fn acknowledged(folder: &Path) -> BTreeMap<u64, (String, String)> {
    let mut all = BTreeMap::new();
    for file in std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if !file.file_name().unwrap().to_string_lossy().starts_with("acks-") {
            continue;
        }
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let [version, id, entity] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let before = all.insert(version.parse().unwrap(), (id.to_owned(), entity.to_owned()));
            assert_eq!(before, None, "version {version} was acknowledged twice");
        }
    }
    all
}

#[test]
fn two_hundred_commits_of_racing_processes_all_stand_in_order() {
    let p = project("p");
    if let Some((role, folder)) = role() {
        let registry = ObjectRegistry::in_folder(folder.join("registry")).unwrap();
        return runtime().block_on(async {
            let mut acks = acks(&folder, &role);
            for i in 0..COMMITS {
                write_down(&registry, &p, format!("{role}_{i}"), &mut acks).await;
            }
        });
    }

    let place = tempfile::tempdir().unwrap();
    let me = "processes::two_hundred_commits_of_racing_processes_all_stand_in_order";
    join(
        (0..WRITERS)
            .map(|i| child(me, &format!("w{i}"), place.path()))
            .collect(),
    );

    let total = (WRITERS * COMMITS) as u64;
    let acknowledged = acknowledged(place.path());
    assert!(
        acknowledged.keys().copied().eq(1..=total),
        "a version is missing or from nowhere"
    );
    runtime().block_on(async {
        let registry = ObjectRegistry::in_folder(place.path().join("registry")).unwrap();
        let history = registry.history(&p, None, usize::MAX).await.unwrap();
        assert_eq!(history.len() as u64, total);
        for (commit, (version, (id, _))) in history.iter().rev().zip(&acknowledged) {
            assert_eq!((commit.version.0, &commit.commit_id.0), (*version, id));
        }
        // No lost update: each version holds what all before it added.
        for n in [total / 2, total] {
            let snapshot = registry.load_at(&p, Version(n)).await.unwrap();
            assert_eq!(snapshot.catalog().entities.len() as u64, n);
            for (_, entity) in acknowledged.range(..=n).map(|(_, ack)| ack) {
                assert!(
                    snapshot.catalog().entities.contains_key(entity.as_str()),
                    "{entity}"
                );
            }
        }
        assert_no_leftovers(place.path());
    });
}

fn assert_no_leftovers(folder: &Path) {
    let v = std::fs::read_dir(folder.join("registry/p/v")).unwrap();
    let hidden = v.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with('.')
    });
    assert_eq!(hidden.count(), 0);
}

#[test]
fn a_killed_committer_loses_nothing_it_acknowledged_and_blocks_nobody() {
    let p = project("p");
    if let Some((role, folder)) = role() {
        let registry = ObjectRegistry::in_folder(folder.join("registry")).unwrap();
        return runtime().block_on(async {
            let mut acks = acks(&folder, &role);
            for i in 0_u64.. {
                write_down(&registry, &p, format!("{role}_{i}"), &mut acks).await;
            }
        });
    }

    let place = tempfile::tempdir().unwrap();
    let me = "processes::a_killed_committer_loses_nothing_it_acknowledged_and_blocks_nobody";
    let runtime = runtime();
    let registry = ObjectRegistry::in_folder(place.path().join("registry")).unwrap();
    let mut kills_at_work = 0;
    for round in 0..KILLS {
        let before = runtime.block_on(newest(&registry, &p)).version();
        let mut children = vec![
            child(me, &format!("k{round}a"), place.path()),
            child(me, &format!("k{round}b"), place.path()),
        ];
        // Kill them at work: after the first new version, at a random moment of the next ones.
        let patience = Instant::now() + Duration::from_secs(60);
        while runtime.block_on(newest(&registry, &p)).version() == before {
            assert!(Instant::now() < patience, "the children never commit");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(larder_base::random::u64() % 15_000));
        for child in &mut children {
            kills_at_work += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }

        runtime.block_on(async {
            let snapshot = newest(&registry, &p).await;
            let history = registry.history(&p, None, usize::MAX).await.unwrap();
            assert_eq!(history.len() as u64, snapshot.version().0);
            let acknowledged = acknowledged(place.path());
            for (version, (id, entity)) in &acknowledged {
                let commit = &history[history.len() - usize::try_from(*version).unwrap()];
                assert_eq!((commit.version.0, &commit.commit_id.0), (*version, id));
                assert!(
                    snapshot.catalog().entities.contains_key(entity.as_str()),
                    "{entity}"
                );
            }
            // Of each kill at most one commit stands whose acknowledgement was not written down any more.
            let ours = round;
            let unacknowledged = snapshot.version().0 - acknowledged.len() as u64 - ours;
            assert!(unacknowledged <= 2 * (round + 1), "{unacknowledged}");
            commit_many(&registry, &p, 1).await;
        });
    }
    assert_eq!(kills_at_work as u64, 2 * KILLS);
}
