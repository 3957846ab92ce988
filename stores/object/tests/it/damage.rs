//! What happens when files are stale, torn, missing or not what they should be?

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use larder_base::{ErrorKind, Registry, Version};
use larder_object::ObjectRegistry;

use crate::support::{adds, commit_many, newest, project};

struct Place {
    dir: tempfile::TempDir,
    registry: ObjectRegistry,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = ObjectRegistry::in_folder(dir.path()).unwrap();
        Self { dir, registry }
    }

    fn version(&self, n: u64) -> PathBuf {
        self.dir.path().join(format!("p/v/{n:020}.json"))
    }
}

#[tokio::test]
async fn no_head_gives_a_wrong_answer() {
    let place = Place::new();
    let p = project("p");
    commit_many(&place.registry, &p, 30).await;
    let head = place.dir.path().join("p/head");
    assert_eq!(fs::read_to_string(&head).unwrap(), "30\n");
    let heads: [&[u8]; 12] = [
        b"",
        b"0",
        b"1",
        b"3",
        b"29",
        b"30",
        b"31",
        b"99\n",
        b"18446744073709551615",
        b"-1",
        b"\xff\xfe{",
        b"\0\0\0",
    ];
    for bytes in heads {
        fs::write(&head, bytes).unwrap();
        assert_eq!(
            newest(&place.registry, &p).await.version(),
            Version(30),
            "{bytes:?}"
        );
        assert_eq!(
            place.registry.history(&p, None, 1).await.unwrap()[0].version,
            Version(30),
            "{bytes:?}"
        );
        let late = place
            .registry
            .commit(&p, Version(29), &adds("late"))
            .await
            .unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Conflict, "{bytes:?}");
    }
    fs::remove_file(&head).unwrap();
    assert_eq!(newest(&place.registry, &p).await.version(), Version(30));
    // Not even one that can be neither read nor written.
    fs::create_dir(&head).unwrap();
    commit_many(&place.registry, &p, 1).await;
    assert_eq!(newest(&place.registry, &p).await.version(), Version(31));
    fs::remove_dir(&head).unwrap();
    commit_many(&place.registry, &p, 1).await;
    assert_eq!(fs::read_to_string(&head).unwrap(), "32\n");
}

#[tokio::test]
async fn a_damaged_version_is_corrupt_names_its_file_and_its_remedy_works() {
    let place = Place::new();
    let p = project("p");
    commit_many(&place.registry, &p, 3).await;
    let file = place.version(3);
    let whole = fs::read(&file).unwrap();
    let damages: [&[u8]; 6] = [
        b"",
        b"\n",
        b"\0\0\0\0",
        &whole[..whole.len() / 2],
        b"[1]",
        b"{\"commit\": 1}",
    ];
    for damage in damages {
        fs::write(&file, damage).unwrap();
        for error in [
            place.registry.load(&p, None, Duration::ZERO).await.unwrap_err(),
            place
                .registry
                .load(&p, Some(Version(2)), Duration::ZERO)
                .await
                .unwrap_err(),
            place.registry.load_at(&p, Version(3)).await.unwrap_err(),
            place
                .registry
                .commit(&p, Version(3), &adds("x"))
                .await
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(&file.display().to_string()), "{error}");
            assert!(error.remedy().unwrap().contains("backup"), "{error}");
        }
        assert_eq!(
            place.registry.load_at(&p, Version(2)).await.unwrap().version(),
            Version(2)
        );
        let warnings = place.registry.check().await.unwrap().warnings;
        assert!(
            warnings
                .iter()
                .any(|text| text.contains(&file.display().to_string())),
            "{warnings:?}"
        );
    }
    fs::rename(&file, place.dir.path().join("away")).unwrap();
    assert_eq!(newest(&place.registry, &p).await.version(), Version(2));
    assert_eq!(
        place
            .registry
            .commit(&p, Version(2), &adds("again"))
            .await
            .unwrap(),
        Version(3)
    );
}

#[tokio::test]
async fn a_missing_version_is_missed_by_history_and_check() {
    let place = Place::new();
    let p = project("p");
    commit_many(&place.registry, &p, 3).await;
    fs::remove_file(place.version(2)).unwrap();
    let error = place.registry.history(&p, None, 9).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("missing"), "{error}");
    let warnings = place.registry.check().await.unwrap().warnings;
    assert!(warnings[0].contains("1 of the 3 versions"), "{warnings:?}");
    assert_eq!(newest(&place.registry, &p).await.version(), Version(3));
}

#[tokio::test]
async fn foreign_files_and_leftovers_of_killed_writers_are_nobodys_versions() {
    let place = Place::new();
    let p = project("p");
    commit_many(&place.registry, &p, 2).await;
    let v = place.dir.path().join("p/v");
    for name in [
        ".tmp-00ff",
        "notes.txt",
        "00000000000000000009.json.bak",
        "9.json",
    ] {
        fs::write(v.join(name), "{").unwrap();
    }
    fs::create_dir_all(place.dir.path().join("not a name")).unwrap();
    fs::create_dir_all(place.dir.path().join("empty/v")).unwrap();
    fs::remove_file(place.dir.path().join("p/head")).unwrap();
    assert_eq!(newest(&place.registry, &p).await.version(), Version(2));
    assert_eq!(place.registry.projects().await.unwrap(), std::slice::from_ref(&p));
    // Killed between the link and the removal of its temporary name, and before the head.
    commit_many(&place.registry, &p, 1).await;
    fs::hard_link(place.version(3), v.join(".tmp-0a0b")).unwrap();
    fs::write(place.dir.path().join("p/head"), "2\n").unwrap();
    assert_eq!(newest(&place.registry, &p).await.version(), Version(3));
    commit_many(&place.registry, &p, 1).await;
}

#[tokio::test]
async fn a_path_that_cannot_be_a_folder_is_told_before_or_at_the_first_commit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = ObjectRegistry::in_folder(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("is a file"), "{error}");
    let below = ObjectRegistry::in_folder(file.join("registry")).unwrap();
    let error = below
        .commit(&project("p"), Version(0), &adds("e"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    // Nobody may make folders there, root neither.
    #[cfg(target_os = "linux")]
    {
        let forbidden = ObjectRegistry::in_folder("/proc/larder-registry").unwrap();
        let error = forbidden
            .commit(&project("p"), Version(0), &adds("e"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        let warnings = forbidden.check().await.unwrap().warnings;
        assert!(warnings[0].contains("read-only"), "{warnings:?}");
    }
}
