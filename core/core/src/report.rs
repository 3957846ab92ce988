//! What did a join find and read, and what would it?

use std::sync::Arc;

use larder_base::ViewName;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// A report that the stream writes and the caller reads.
pub type SharedReport = Arc<Mutex<JoinReport>>;

/// What a join found and read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JoinReport {
    /// One entry per view of the request.
    pub views: Vec<ViewReport>,
    /// Files, row groups and bytes.
    pub read: ReadStats,
    /// The files of the sources as they were found, each source once, those left unread included.
    #[serde(default)]
    pub sources: Vec<SourceFiles>,
    /// Where the time went, in the order of the work.
    #[serde(default)]
    pub phases: Vec<Phase>,
    /// Bytes that were written to disk for want of memory.
    #[serde(default)]
    pub spilled: u64,
}

/// The files that a source consisted of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceFiles {
    /// The source.
    pub source: String,
    /// Its files, in the source's order.
    pub files: Vec<SourceFile>,
}

impl SourceFiles {
    /// The files of a source.
    pub fn new(source: impl Into<String>, files: Vec<SourceFile>) -> Self {
        Self {
            source: source.into(),
            files,
        }
    }
}

/// A file, and what tells one content of it from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceFile {
    /// Path or URL.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// The object store's ETag, or the time of the last change, µs UTC, on a disk.
    pub tag: String,
    /// Names of files in the same folder whose rows are in this one since a compaction, as far as it knows; not
    /// written down.
    #[serde(skip)]
    pub replaces: Arc<[String]>,
}

impl SourceFile {
    /// A file.
    pub fn new(path: impl Into<String>, bytes: u64, tag: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            bytes,
            tag: tag.into(),
            replaces: Arc::default(),
        }
    }

    /// Says whose rows a compacted file has.
    #[must_use]
    pub fn with_replaces(mut self, files: Arc<[String]>) -> Self {
        self.replaces = files;
        self
    }
}

/// A part of the work and its time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Phase {
    /// What was done.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

impl Phase {
    /// A part of the work.
    pub fn new(name: impl Into<String>, seconds: f64) -> Self {
        Self {
            name: name.into(),
            seconds,
        }
    }
}

/// What a join found for one view.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ViewReport {
    /// The view.
    pub view: String,
    /// Entity rows with a winner.
    pub matched: u64,
    /// Entity rows whose newest candidate was older than the ttl. A store that skips rows no entity
    /// row can use counts those that had no other as unmatched.
    pub expired: u64,
    /// Entity rows without any candidate.
    pub unmatched: u64,
    /// Entity rows with a null in the key.
    pub null_keys: u64,
    /// Entity rows whose winner was one of several fully tied rows.
    pub full_ties: u64,
    /// Entity rows whose winner was created after `T`; in `as_of` mode, rows where the modes differ.
    pub known_later: u64,
    /// Rows of the source that were looked at.
    pub source_rows: u64,
}

impl ViewReport {
    /// The report of a view from the kernel's counters.
    pub fn new(view: &ViewName, counts: &crate::pit::PitCounts, source_rows: u64) -> Self {
        Self {
            view: view.to_string(),
            matched: counts.matched,
            expired: counts.expired,
            unmatched: counts.unmatched,
            null_keys: counts.null_key,
            full_ties: counts.full_ties,
            known_later: counts.known_later,
            source_rows,
        }
    }
}

/// What a read touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReadStats {
    /// Files of the sources.
    pub files: u64,
    /// Files that were opened for data.
    pub files_read: u64,
    /// Row groups of the opened files.
    pub row_groups: u64,
    /// Row groups that were read.
    pub row_groups_read: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl ReadStats {
    /// Adds another read.
    pub fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.files_read += other.files_read;
        self.row_groups += other.row_groups;
        self.row_groups_read += other.row_groups_read;
        self.bytes += other.bytes;
    }
}

/// What a join would read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// One entry per view of the request.
    pub views: Vec<ViewExplanation>,
    /// The files of the sources as they were found, each source once, as a [`JoinReport`] has them.
    #[serde(default)]
    pub sources: Vec<SourceFiles>,
    /// Bytes of memory that the join is estimated to need; absent where the store cannot tell.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Whether it would spill to disk under the limit that was given.
    #[serde(default)]
    pub spills: bool,
}

/// What a join would read for one view.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ViewExplanation {
    /// The view.
    pub view: String,
    /// What would be read.
    pub read: ReadStats,
    /// Why the rest would not: reason and number of files or row groups.
    pub skipped: Vec<(String, u64)>,
}

impl ViewExplanation {
    /// An explanation.
    pub fn new(view: &ViewName, read: ReadStats, skipped: Vec<(String, u64)>) -> Self {
        Self {
            view: view.to_string(),
            read,
            skipped,
        }
    }
}
