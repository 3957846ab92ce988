//! Which rows of an earlier output are others now? Compared row by row while the training set is made again.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use larder::Result;
use larder::historical::{EntityFile, Manifest, ManifestOutput, row_hashes};
use serde::Serialize;

use crate::rows::{Batches, Columns, batches};

/// Row numbers that are told.
const TOLD: usize = 5;

/// Whether an earlier output is still what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Byte for byte.
    Unchanged,
    /// It is another file.
    Changed,
    /// It is not there, or cannot be read.
    Gone,
}

/// How an earlier output compares with the rows of now.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Compared {
    /// The file.
    pub(super) path: PathBuf,
    /// Whether it is still what was written.
    pub(super) state: State,
    /// Rows that differ, are missing or too many; nothing where rows have no order and cannot be paired.
    pub(super) different_rows: Option<u64>,
    /// The first of them, counted from 0.
    pub(super) first: Vec<u64>,
}

/// An earlier output while it is compared.
pub(super) struct Old {
    rows: Option<Batches>,
    hashes: VecDeque<u64>,
    at: u64,
    compared: Compared,
}

impl Old {
    /// Opens an output of a manifest. One that is gone is not compared, nor one whose rows have no order.
    pub(super) fn open(path: PathBuf, output: &ManifestOutput, manifest: &Manifest) -> Self {
        let mut columns = Columns::default();
        // A CSV has no types, so it is read as what was written.
        for column in &manifest.schema {
            if let Ok(of) = column.value_type.parse() {
                columns.declare(&column.name, of);
            }
        }
        columns.timezone = Some("UTC".to_owned());
        let is_ordered = output.content.any_order.is_none();
        Self {
            rows: batches(&path, &columns).ok().filter(|_| is_ordered),
            hashes: VecDeque::new(),
            at: 0,
            compared: Compared {
                state: state(&path, output),
                path,
                different_rows: is_ordered.then_some(0),
                first: Vec::new(),
            },
        }
    }

    /// Compares the next rows of now.
    pub(super) fn compare(&mut self, now: &RecordBatch) -> Result<()> {
        if self.rows.is_none() {
            return Ok(());
        }
        for hash in row_hashes(now)? {
            if self.hashes.is_empty() {
                self.fill();
            }
            if self.hashes.pop_front() != Some(hash) {
                self.differs();
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Counts rows that are left over.
    pub(super) fn finish(mut self) -> Compared {
        loop {
            if self.hashes.is_empty() {
                self.fill();
            }
            if self.hashes.pop_front().is_none() {
                return self.compared;
            }
            self.differs();
            self.at += 1;
        }
    }

    fn differs(&mut self) {
        *self.compared.different_rows.get_or_insert(0) += 1;
        if self.compared.first.len() < TOLD {
            self.compared.first.push(self.at);
        }
    }

    fn fill(&mut self) {
        let Some(rows) = &mut self.rows else { return };
        while self.hashes.is_empty() {
            // A file that is damaged half way has no rows from there on.
            let Some(hashes) = rows.next().and_then(Result::ok).map(|batch| row_hashes(&batch)) else {
                return;
            };
            self.hashes.extend(hashes.unwrap_or_default());
        }
    }
}

fn state(path: &Path, output: &ManifestOutput) -> State {
    match File::open(path).and_then(EntityFile::digest_of) {
        Err(_) => State::Gone,
        Ok((_, digest)) if output.digest.as_ref().is_none_or(|was| *was == digest) => State::Unchanged,
        Ok(_) => State::Changed,
    }
}
