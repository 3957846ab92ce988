//! Which rows of an earlier output are others now? Compared row by row while the training set is made again.

use std::collections::VecDeque;
use std::path::Path;

use arrow_array::RecordBatch;
use larder::Result;
use larder::historical::{ManifestColumn, row_hashes};
use serde::Serialize;

use crate::rows::{Batches, Columns, batches};

/// Row numbers that are told.
const TOLD: usize = 5;

/// How an earlier output compares with the rows of now.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Compared {
    /// Whether the file is still there and could be read.
    pub(super) found: bool,
    /// Rows that differ, are missing or too many.
    pub(super) rows: u64,
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
    /// Opens an earlier output; one that is gone or cannot be read is not compared.
    pub(super) fn open(path: &Path, schema: &[ManifestColumn]) -> Self {
        let mut columns = Columns::default();
        // A CSV has no types, so it is read as what was written.
        for column in schema {
            if let Ok(of) = column.value_type.parse() {
                columns.declare(&column.name, of);
            }
        }
        columns.timezone = Some("UTC".to_owned());
        let rows = batches(path, &columns).ok();
        Self {
            compared: Compared {
                found: rows.is_some(),
                ..Compared::default()
            },
            rows,
            hashes: VecDeque::new(),
            at: 0,
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
        self.compared.rows += 1;
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
