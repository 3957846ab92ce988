//! What does a stored version look like, and what is wrong with a damaged one?
//!
//! One JSON object in two lines: the commit first, so that a history reads only the beginning of each
//! version, then the whole snapshot.

use bytes::Bytes;
use larder_base::error::{Error, ErrorKind, Result};
use larder_base::snapshot::WRITER;
use larder_base::{Commit, ProjectName, Snapshot, SnapshotDocument, Version};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

const HEADER_START: &[u8] = b"{\"commit\":";

/// A version as it is stored.
pub(crate) fn encode(snapshot: &Snapshot, commit: &Commit) -> Result<Bytes> {
    fn write<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<()> {
        serde_json::to_writer(bytes, value)
            .map_err(|error| Error::internal("a snapshot cannot be written as JSON").source(error))
    }
    let mut bytes = HEADER_START.to_vec();
    write(&mut bytes, commit)?;
    bytes.extend_from_slice(b",\n\"snapshot\":");
    write(&mut bytes, &snapshot.to_document())?;
    bytes.extend_from_slice(b"}\n");
    Ok(bytes.into())
}

/// The snapshot in a stored version, checked to be the one that was asked for.
pub(crate) fn decode(bytes: &[u8], place: &str, project: &ProjectName, version: Version) -> Result<Snapshot> {
    let stored: Stored = match serde_json::from_slice(bytes) {
        Ok(stored) => stored,
        Err(error) => return Err(unreadable(bytes, error, place, version)),
    };
    let found = (
        &stored.snapshot.project,
        stored.snapshot.version,
        stored.commit.version,
    );
    if found != (project, version, version) {
        return Err(damaged(
            format!("`{place}` holds version {} of project `{}`", found.1, found.0),
            version,
        ));
    }
    Snapshot::from_document(stored.snapshot).map_err(|error| match error.kind() {
        ErrorKind::Corrupt => error.with("file", place),
        _ => error,
    })
}

/// The commit in the beginning of a stored version; `None` when it goes on beyond the beginning.
pub(crate) fn decode_start(start: &[u8], version: Version) -> Option<Commit> {
    let line = &start[..start.iter().position(|byte| *byte == b'\n')?];
    let commit = line.strip_prefix(HEADER_START)?.strip_suffix(b",")?;
    let commit: Commit = serde_json::from_slice(commit).ok()?;
    (commit.version == version).then_some(commit)
}

/// The commit in a whole stored version, however it is formatted.
pub(crate) fn decode_commit(bytes: &[u8], place: &str, version: Version) -> Result<Commit> {
    #[derive(Deserialize)]
    struct Header {
        commit: Commit,
        #[serde(rename = "snapshot")]
        _snapshot: IgnoredAny,
    }
    match serde_json::from_slice::<Header>(bytes) {
        Ok(header) if header.commit.version == version => Ok(header.commit),
        Ok(header) => Err(damaged(
            format!("`{place}` holds version {}", header.commit.version),
            version,
        )),
        Err(error) => Err(unreadable(bytes, error, place, version)),
    }
}

/// A version that must be there and is not.
pub(crate) fn missing(place: &str, version: Version) -> Error {
    damaged(format!("`{place}` is missing"), version)
}

fn unreadable(bytes: &[u8], error: serde_json::Error, place: &str, version: Version) -> Error {
    // A later format need not fit our types at all, and then it is not damage.
    #[derive(Deserialize)]
    struct Outer {
        snapshot: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        format: u32,
    }
    if let Ok(outer) = serde_json::from_slice::<Outer>(bytes)
        && outer.snapshot.format > WRITER
    {
        let format = outer.snapshot.format;
        return Error::unsupported(format!(
            "the registry was written in format {format}, this build reads up to {WRITER}"
        ))
        .with("file", place)
        .help("upgrade larder");
    }
    let what = match bytes.iter().all(u8::is_ascii_whitespace) {
        true => format!("`{place}` is empty"),
        false if error.is_eof() => format!("`{place}` is cut off after {} bytes", bytes.len()),
        false => format!("`{place}` is not a version of a registry"),
    };
    damaged(what, version).source(error)
}

fn damaged(what: String, version: Version) -> Error {
    let before = version.0.saturating_sub(1);
    Error::corrupt(what).help(format!(
        "restore this file from a backup; if {version} is the project's newest version, moving the file away \
         returns to version {before}, and `apply` brings the definitions back"
    ))
}

#[derive(Deserialize)]
struct Stored {
    commit: CommitVersion,
    snapshot: SnapshotDocument,
}

/// Of the commit a load needs only its number.
#[derive(Deserialize)]
struct CommitVersion {
    version: Version,
}

#[cfg(test)]
mod tests {
    use larder_base::model::ObjectId;
    use larder_base::{ChangeSet, Generation, Micros, Record, Retired, Slot, ValueType, ViewLayout};
    use serde_json::json;

    use super::*;

    fn snapshot() -> (Snapshot, Commit) {
        let project = ProjectName::new("team-risk").unwrap();
        let set = project.default_set();
        let mut changes = ChangeSet::new(Micros(5), "ada", "line\nbreak");
        let record = |kind: &str, name: &str, spec: serde_json::Value| Record {
            id: ObjectId {
                kind: kind.into(),
                name: name.into(),
            },
            set: set.clone(),
            revision: 3,
            min_writer: 1,
            spec: spec.into(),
        };
        let entity = json!({"name": "user", "join_keys": [{"name": "user", "type": "int64"}]});
        changes.puts = vec![
            record("entity", "user", entity),
            Record {
                min_writer: 7,
                ..record("hologram", "h", json!({"any": [1, 2.5, null, "ü"]}))
            },
        ];
        let layout = ViewLayout::new(
            project.clone(),
            "stats".parse().unwrap(),
            Generation(9),
            Vec::new(),
            vec![Slot::new(
                "f".parse().unwrap(),
                "float32".parse::<ValueType>().unwrap(),
            )],
        );
        changes.retired = vec![Retired {
            layout: layout.clone(),
            store: "default".into(),
            at: Micros(1),
            reclaiming: false,
        }];
        changes.layouts = vec![layout];
        let snapshot = Snapshot::empty(project).apply(&changes).unwrap();
        (snapshot, changes.commit(Version(1)))
    }

    #[test]
    fn what_is_written_is_read_and_the_contracts_own_type_reads_the_same() {
        let (snapshot, commit) = snapshot();
        let bytes = encode(&snapshot, &commit).unwrap();
        let read = decode(&bytes, "f", snapshot.project(), Version(1)).unwrap();
        assert_eq!(read.to_document(), snapshot.to_document());
        assert_eq!(read.catalog().entities.len(), 1);
        assert_eq!(decode_start(&bytes, Version(1)), Some(commit.clone()));
        assert_eq!(decode_commit(&bytes, "f", Version(1)).unwrap(), commit);

        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let document: SnapshotDocument = serde_json::from_value(value["snapshot"].clone()).unwrap();
        assert_eq!(document, snapshot.to_document());
        // Somebody's editor may have formatted it.
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        assert_eq!(decode_start(&pretty, Version(1)), None);
        assert_eq!(decode_commit(&pretty, "f", Version(1)).unwrap(), commit);
        assert!(decode(&pretty, "f", snapshot.project(), Version(1)).is_ok());
    }

    #[test]
    fn every_truncation_is_corrupt_and_never_an_answer() {
        let (snapshot, commit) = snapshot();
        let bytes = encode(&snapshot, &commit).unwrap();
        for end in 0..bytes.len() - 2 {
            let cut = &bytes[..end];
            let error = decode(cut, "v/1.json", snapshot.project(), Version(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{end}");
            assert!(
                error.to_string().contains("v/1.json") && error.remedy().is_some(),
                "{error}"
            );
            assert!(decode_commit(cut, "v/1.json", Version(1)).is_err(), "{end}");
            assert!(
                decode_start(cut, Version(1)).is_none_or(|found| found == commit),
                "{end}"
            );
        }
    }

    #[test]
    fn another_projects_or_versions_file_is_corrupt() {
        let (snapshot, commit) = snapshot();
        let bytes = encode(&snapshot, &commit).unwrap();
        let other = ProjectName::new("other").unwrap();
        let error = decode(&bytes, "f", &other, Version(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error
                .to_string()
                .contains("holds version 1 of project `team-risk`"),
            "{error}"
        );
        assert!(decode(&bytes, "f", snapshot.project(), Version(2)).is_err());
        assert!(decode_commit(&bytes, "f", Version(2)).is_err());
        assert!(decode_start(&bytes, Version(2)).is_none());
    }

    #[test]
    fn a_newer_format_asks_for_an_upgrade_even_when_nothing_else_fits() {
        let bytes = br#"{"commit": "new", "snapshot": {"format": 2, "records": 5}}"#;
        let error = decode(bytes, "f", &ProjectName::new("p").unwrap(), Version(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("upgrade larder"), "{error}");
    }
}
