//! What is asked of a compaction, and what does it tell?

use larder_base::{ByteSize, Span};
use serde::Serialize;

use crate::progress::Progress;

/// Options of [`crate::OfflineStore::compact`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CompactOptions {
    /// Bytes that a new file has at most; files of half of it and more are left alone. 128 MiB by default.
    pub target: ByteSize,
    /// Bytes of rows in memory at once, which also bounds a new file. 256 MiB by default.
    pub memory: ByteSize,
    /// How long what was replaced is kept for reads that have begun; one hour by default. Zero only where nothing
    /// reads the source meanwhile; anything else is at least [`CompactOptions::LEAST_GRACE`].
    pub grace: Span,
    /// Only tells what would be done.
    pub dry_run: bool,
    /// Where the work tells how many rows it has merged.
    pub progress: Option<Progress>,
}

impl CompactOptions {
    /// Less is too short for a listing of many files to come to its end.
    pub const LEAST_GRACE: Span = Span::minutes(10);

    /// Sets the bytes that a new file has at most.
    #[must_use]
    pub fn with_target(mut self, target: ByteSize) -> Self {
        self.target = target;
        self
    }

    /// Sets the bytes of rows in memory at once.
    #[must_use]
    pub fn with_memory(mut self, memory: ByteSize) -> Self {
        self.memory = memory;
        self
    }

    /// Sets how long what was replaced is kept.
    #[must_use]
    pub fn with_grace(mut self, grace: Span) -> Self {
        self.grace = grace;
        self
    }

    /// Only tells what would be done.
    #[must_use]
    pub fn with_dry_run(mut self, dry: bool) -> Self {
        self.dry_run = dry;
        self
    }

    /// Sets where the work tells how far it is.
    #[must_use]
    pub fn with_progress(mut self, progress: Option<Progress>) -> Self {
        self.progress = progress;
        self
    }
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            target: ByteSize(128 << 20),
            memory: ByteSize(256 << 20),
            grace: Span::hours(1),
            dry_run: false,
            progress: None,
        }
    }
}

/// What a compaction did, or would do. Stores that keep no files count what they have instead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// Files of the source before it, without those that were replaced already.
    pub files: u64,
    /// Files that were merged.
    pub merged: u64,
    /// Files that were made of them.
    pub made: u64,
    /// Rows in these.
    pub rows: u64,
    /// Bytes of the files that were merged.
    pub bytes_merged: u64,
    /// Bytes of the files that were made; not known in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_made: Option<u64>,
    /// Replaced files that were removed, their grace being over.
    pub removed: u64,
    /// Replaced files that are still there; a later run removes them.
    pub waiting: u64,
}
