//! Does each backend answer like the registry in memory?

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_base::memory::MemoryRegistry;
use larder_base::plugin::RegistryConfig;
use larder_base::{BuildContext, Error, ErrorKind, Loaded, Registry, Version};
use larder_object::{FILE_PLUGIN, FileConfig, OBJECT_PLUGIN, ObjectConfig, ObjectRegistry};
use object_store::memory::InMemory;

use crate::support::{adds, commit_many, newest, project};

/// The three registries that must not differ, and the folder one of them lives in.
fn registries() -> (tempfile::TempDir, Vec<Arc<dyn Registry>>) {
    let place = tempfile::tempdir().unwrap();
    let folder = ObjectRegistry::in_folder(place.path().join("registry")).unwrap();
    let objects = ObjectRegistry::in_store(Arc::new(InMemory::new()), "some/prefix");
    (
        place,
        vec![
            Arc::new(MemoryRegistry::new()),
            Arc::new(folder),
            Arc::new(objects),
        ],
    )
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn versions_follow_each_other_and_stay() {
    let (_place, registries) = registries();
    for registry in registries {
        let p = project("team-risk");
        assert_eq!(newest(&*registry, &p).await.version(), Version(0));
        assert!(registry.projects().await.unwrap().is_empty());
        commit_many(&*registry, &p, 12).await;
        commit_many(&*registry, &project("team"), 1).await;
        assert_eq!(
            registry.projects().await.unwrap(),
            [project("team"), project("team-risk")]
        );

        let last = newest(&*registry, &p).await;
        assert_eq!((last.version(), last.catalog().entities.len()), (Version(12), 12));
        for n in 0..=12 {
            let then = registry.load_at(&p, Version(n)).await.unwrap();
            assert_eq!(
                (then.version(), then.catalog().entities.len() as u64),
                (Version(n), n)
            );
        }
        for absent in [13, u64::MAX] {
            assert_eq!(
                kind(registry.load_at(&p, Version(absent)).await),
                ErrorKind::NotFound
            );
        }
        assert!(registry.check().await.unwrap().warnings.is_empty());
    }
}

#[tokio::test]
async fn history_is_newest_first_between_before_and_limit() {
    let (_place, registries) = registries();
    for registry in registries {
        let p = project("p");
        assert!(registry.history(&p, None, 5).await.unwrap().is_empty());
        commit_many(&*registry, &p, 11).await;
        let versions = async |before: Option<u64>, limit| -> Vec<u64> {
            let commits = registry.history(&p, before.map(Version), limit).await.unwrap();
            assert!(
                commits
                    .iter()
                    .all(|commit| commit.message == format!("adds e{}", commit.version))
            );
            commits.iter().map(|commit| commit.version.0).collect()
        };
        assert_eq!(
            versions(None, usize::MAX).await,
            (1..=11).rev().collect::<Vec<_>>()
        );
        assert_eq!(versions(None, 2).await, [11, 10]);
        assert_eq!(versions(Some(4), 2).await, [3, 2]);
        assert_eq!(versions(Some(2), 9).await, [1]);
        assert_eq!(versions(Some(99), 1).await, [11]);
        for before in [0, 1] {
            assert!(versions(Some(before), 9).await.is_empty());
        }
        assert!(versions(None, 0).await.is_empty());
    }
}

#[tokio::test]
async fn a_commit_whose_history_entry_is_large_is_found_again() {
    let (_place, registries) = registries();
    for registry in registries {
        let p = project("p");
        let mut changes = adds("e");
        changes.message = "x".repeat(100_000);
        registry.commit(&p, Version(0), &changes).await.unwrap();
        assert_eq!(
            registry.history(&p, None, 1).await.unwrap(),
            [changes.commit(Version(1))]
        );
        assert_eq!(
            registry.commit(&p, Version(0), &changes).await.unwrap(),
            Version(1)
        );
    }
}

#[tokio::test]
async fn the_same_commit_again_is_success_and_any_other_a_conflict() {
    let (_place, registries) = registries();
    for registry in registries {
        let p = project("p");
        let first = adds("a");
        for _ in 0..3 {
            assert_eq!(registry.commit(&p, Version(0), &first).await.unwrap(), Version(1));
        }
        assert_eq!(
            kind(registry.commit(&p, Version(0), &adds("b")).await),
            ErrorKind::Conflict
        );
        registry.commit(&p, Version(1), &adds("c")).await.unwrap();
        // Also when others went on meanwhile.
        assert_eq!(registry.commit(&p, Version(0), &first).await.unwrap(), Version(1));
        // On another base it is another commit; and there is no base in the future.
        assert_eq!(
            kind(registry.commit(&p, Version(1), &first).await),
            ErrorKind::Conflict
        );
        for future in [3, 99, u64::MAX] {
            assert_eq!(
                kind(registry.commit(&p, Version(future), &first).await),
                ErrorKind::Conflict
            );
        }
        assert_eq!(registry.history(&p, None, 9).await.unwrap().len(), 2);
        let late = registry.commit(&p, Version(0), &adds("b")).await.unwrap_err();
        assert!(late.to_string().contains("is at version 2, not 0"), "{late}");
    }
}

#[tokio::test]
async fn a_known_version_is_unchanged_until_there_is_another() {
    let (_place, registries) = registries();
    for registry in registries {
        let p = project("p");
        let load = async |known| {
            registry
                .load(&p, Some(Version(known)), Duration::ZERO)
                .await
                .unwrap()
        };
        assert!(matches!(load(0).await, Loaded::Unchanged));
        commit_many(&*registry, &p, 20).await;
        assert!(matches!(load(20).await, Loaded::Unchanged));
        // Older ones, and ones of a registry that was replaced.
        for known in [0, 1, 11, 19, 21, 99, u64::MAX] {
            let Loaded::Changed(snapshot) = load(known).await else {
                panic!("{known}")
            };
            assert_eq!(snapshot.version(), Version(20));
        }
    }
}

#[tokio::test]
async fn a_waiting_load_wakes_for_a_commit_and_gives_up_in_time() {
    let (_place, registries) = registries();
    for registry in registries {
        let p = project("p");
        let started = Instant::now();
        let wait = Duration::from_millis(300);
        assert!(matches!(
            registry.load(&p, Some(Version(0)), wait).await.unwrap(),
            Loaded::Unchanged
        ));
        assert!(started.elapsed() >= wait);

        let waiting = tokio::spawn({
            let (registry, p) = (registry.clone(), p.clone());
            // A wait that no instant can hold is one without end.
            async move {
                registry
                    .load(&p, Some(Version(0)), Duration::from_secs(3600))
                    .await
                    .unwrap()
            }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        commit_many(&*registry, &p, 1).await;
        let woken = tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(woken, Loaded::Changed(snapshot) if snapshot.version() == Version(1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_commits_one_wins_each_version() {
    let (_place, registries) = registries();
    for registry in registries {
        let p = project("p");
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (registry, p) = (registry.clone(), p.clone());
                tokio::spawn(async move {
                    for i in 0..5 {
                        let changes = adds(&format!("w{writer}_{i}"));
                        loop {
                            let base = newest(&*registry, &p).await.version();
                            match registry.commit(&p, base, &changes).await {
                                Ok(_) => break,
                                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}"),
                            }
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let last = newest(&*registry, &p).await;
        assert_eq!((last.version(), last.catalog().entities.len()), (Version(40), 40));
    }
}

#[tokio::test]
async fn a_configured_registry_is_where_the_configuration_says() {
    let place = tempfile::tempdir().unwrap();
    let cx = BuildContext::new(place.path());
    let file = FileConfig::new(".larder/registry").build(&cx).await.unwrap();
    assert_eq!(newest(&*file, &project("p")).await.version(), Version(0));
    assert!(file.check().await.unwrap().warnings.is_empty());
    assert_eq!(
        std::fs::read_dir(place.path()).unwrap().count(),
        0,
        "looking makes nothing"
    );
    commit_many(&*file, &project("p"), 1).await;
    let url = format!("file://{}/.larder/registry", place.path().display());
    let object = ObjectConfig::new(url).build(&cx).await.unwrap();
    assert_eq!(newest(&*object, &project("p")).await.version(), Version(1));
    let s3 = ObjectConfig::new("s3://bucket/registry").build(&cx).await;
    assert_eq!(kind(s3), ErrorKind::Unsupported);
    assert_eq!(
        (FILE_PLUGIN.name, OBJECT_PLUGIN.name, FILE_PLUGIN.feature),
        ("file", "object", "object")
    );
}
