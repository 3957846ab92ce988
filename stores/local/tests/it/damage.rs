//! Does a damaged, foreign or unusable folder give a clear error instead of a panic or a killed process?

use std::fs;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, EnvOpenOptions};
use larder_base::{Error, ErrorKind};
use larder_local::LocalStore;

use crate::common::{Random, Row, layout, open, read, write};

const ROWS: i64 = 2000;

fn refused(path: &Path) -> Error {
    let error = LocalStore::open(path).map(drop).expect_err("a refusal");
    assert!(error.remedy().is_some(), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

fn filled() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: Vec<Row> = (0..ROWS).map(|n| Row::new(format!("key{n}"), 1, n)).collect();
    // One row that needs pages of its own.
    let large = Row {
        text: "z".repeat(50_000),
        ..Row::new("large", 1, 1)
    };
    let store = open(folder.path());
    write(&store, &layout("p", 1), &rows).expect("a write");
    write(&store, &layout("p", 1), &[large]).expect("a write");
    drop(store);
    let bytes = fs::read(folder.path().join("data.mdb")).expect("the data file");
    (folder, bytes)
}

#[test]
fn a_truncated_file_is_corrupt_or_whole() {
    let (folder, bytes) = filled();
    let data = folder.path().join("data.mdb");
    let mut names: Vec<String> = (0..ROWS).map(|n| format!("key{n}")).collect();
    names.push("large".to_owned());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let pages = bytes.len() / 4096;
    let mut cuts: Vec<usize> = (1..pages).map(|page| page * 4096).collect();
    cuts.extend([1, 100, 4095, 4097, 8191, bytes.len() / 2 + 77, bytes.len() - 1]);
    let mut corrupt = 0;
    for cut in cuts {
        fs::write(&data, &bytes[..cut]).expect("cut");
        match LocalStore::open(folder.path()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}: {error}");
                corrupt += 1;
            }
            // Only free pages were cut off: then nothing may be missing.
            Ok(store) => {
                let found = read(&store, &layout("p", 1), &names).expect("reads");
                assert!(found.iter().all(Option::is_some), "cut at {cut}");
            }
        }
    }
    assert!(corrupt > pages / 2, "{corrupt} of {pages} cuts were found");
    fs::write(&data, &bytes).expect("restored");
    assert!(
        read(&open(folder.path()), &layout("p", 1), &names)
            .expect("reads")
            .iter()
            .all(Option::is_some)
    );
}

#[test]
fn garbage_is_corrupt() {
    let (folder, bytes) = filled();
    let data = folder.path().join("data.mdb");
    let mut random = Random(9);
    let mut garbage = |length: usize| (0..length).map(|_| random.next() as u8).collect::<Vec<u8>>();
    let files = [
        garbage(100),
        garbage(4096),
        garbage(100_000),
        b"this is a text file\n".repeat(1000),
        [&garbage(8192)[..], &bytes[8192..]].concat(),
        [&bytes[..4096], &garbage(4096)[..], &bytes[8192..]].concat(),
        [&bytes[..8192], &garbage(bytes.len() - 8192)[..]].concat(),
    ];
    for (number, file) in files.iter().enumerate() {
        fs::write(&data, file).expect("garbage");
        assert_eq!(refused(folder.path()).kind(), ErrorKind::Corrupt, "file {number}");
    }
}

#[test]
fn another_lmdb_version_and_another_format_are_a_matter_of_configuration() {
    let (folder, mut bytes) = filled();
    let data = folder.path().join("data.mdb");
    for meta in [0, 4096] {
        bytes[meta + 20] = 9;
    }
    fs::write(&data, &bytes).expect("another version");
    assert_eq!(refused(folder.path()).kind(), ErrorKind::Config);

    let put = |key: &[u8], value: &[u8]| {
        let folder = tempfile::tempdir().expect("a folder");
        // SAFETY: the test owns the folder.
        let env = unsafe {
            EnvOpenOptions::new()
                .map_size(1 << 20)
                .open(folder.path())
                .expect("an environment")
        };
        let stored =
            env.create_databases_and_commit(env.write_txn().expect("a transaction"), |opener, txn| {
                let db = opener.create_database::<Bytes, Bytes>(txn, None)?;
                db.put(txn, key, value)?;
                Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(db))
            });
        assert!(stored.is_ok());
        drop(env);
        folder
    };
    let newer = put(b"f", &2_u32.to_be_bytes());
    let error = refused(newer.path());
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("found=2"), "{error}");
    let foreign = put(b"somebody else's key", b"and value");
    assert_eq!(refused(foreign.path()).kind(), ErrorKind::Config);
}

#[test]
fn an_unusable_place_is_a_matter_of_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("a file");
    for path in [
        file.clone(),
        file.join("online"),
        Path::new("/proc/larder/online").to_owned(),
    ] {
        assert_eq!(refused(&path).kind(), ErrorKind::Config, "{}", path.display());
    }
    // An empty data file is what a crash while creating leaves: a new store.
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    fs::write(empty.join("data.mdb"), "").expect("an empty file");
    write(&open(&empty), &layout("p", 1), &[Row::new("a", 1, 1)]).expect("a write");
}
