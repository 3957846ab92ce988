//! What one transaction sees and changes besides rows: the folder's own entries (format, identity, retention).

use std::collections::HashMap;
use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{RoTxn, RwTxn, WithoutTls};
use larder_base::error::{Error, Result};
use larder_base::layout::Generation;
use larder_base::names::ProjectName;

use crate::env::Db;
use crate::fault::{self, Fault};
use crate::key::{Digest, Place};

const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"f";
const IDENTITY_KEY: u8 = b'i';
const RETENTION_KEY: &[u8] = b"r";

/// One consistent state of a folder, for reading.
pub(crate) struct Snapshot<'e> {
    pub(crate) db: Db,
    pub(crate) txn: RoTxn<'e, WithoutTls>,
    pub(crate) digest: Digest,
    pub(crate) path: &'e Path,
}

impl Snapshot<'_> {
    /// One of the folder's own entries or a stored row, by stored key.
    pub(crate) fn get(&self, stored: &[u8]) -> Result<Option<&[u8]>> {
        self.db.get(&self.txn, stored).map_err(|error| self.error(error))
    }

    /// All entries from a stored key on, in order.
    pub(crate) fn range(&self, from: Bound<&[u8]>) -> Result<heed::RoRange<'_, Bytes, Bytes>> {
        self.db
            .range(&self.txn, &(from, Bound::Unbounded))
            .map_err(|error| self.error(error))
    }

    /// How many entries the folder holds: rows, tombstones, and a few of its own.
    pub(crate) fn entries(&self) -> u64 {
        self.db.len(&self.txn).unwrap_or(0)
    }

    /// What a failure on this snapshot means to the caller.
    pub(crate) fn error(&self, error: heed::Error) -> Error {
        fault::translate(error, self.path)
    }

    /// The random value that `prepare` wrote for a project.
    pub(crate) fn identity(&self, project: &ProjectName) -> Result<Option<u128>> {
        match self.get(&identity_key(project))? {
            None => Ok(None),
            Some(bytes) => match bytes.try_into() {
                Ok(identity) => Ok(Some(u128::from_be_bytes(identity))),
                Err(_) => Err(
                    Error::corrupt("the identity of the online store's folder is damaged")
                        .with("folder", self.path.display())
                        .help("move the folder away and materialize again"),
                ),
            },
        }
    }
}

/// A write transaction on the writer thread.
pub(crate) struct Transaction<'e> {
    pub(crate) db: Db,
    pub(crate) txn: RwTxn<'e>,
    pub(crate) digest: Digest,
    /// Reused for values of long keys.
    pub(crate) scratch: Vec<u8>,
}

impl Transaction<'_> {
    /// Marks the folder as ours before the first row or identity is written.
    pub(crate) fn claim(&mut self) -> Result<(), Fault> {
        if self.db.get(&self.txn, FORMAT_KEY)?.is_none() {
            self.db.put(&mut self.txn, FORMAT_KEY, &FORMAT.to_be_bytes())?;
        }
        Ok(())
    }

    /// The identity of a project in this folder, created from `fresh` if there is none.
    pub(crate) fn identity(&mut self, project: &ProjectName, fresh: u128) -> Result<u128, Fault> {
        let key = identity_key(project);
        if let Some(bytes) = self.db.get(&self.txn, &key)?
            && let Ok(identity) = bytes.try_into()
        {
            return Ok(u128::from_be_bytes(identity));
        }
        self.db.put(&mut self.txn, &key, &fresh.to_be_bytes())?;
        Ok(fresh)
    }

    /// After how many µs past their event time rows of a place may be freed.
    pub(crate) fn retention(&self) -> Result<HashMap<Place, i64>, Fault> {
        let bytes = self.db.get(&self.txn, RETENTION_KEY)?.unwrap_or_default();
        let entry = |entry: &[u8]| Some((Place::stored(entry)?, i64::from_be_bytes(*entry.last_chunk()?)));
        Ok(bytes.chunks_exact(16).filter_map(entry).collect())
    }

    /// Remembers the retention of places, beside the rows, for whichever process sweeps.
    pub(crate) fn set_retention(&mut self, all: &HashMap<Place, i64>) -> Result<(), Fault> {
        let mut entries: Vec<_> = all.iter().collect();
        entries.sort_unstable();
        let bytes: Vec<u8> = entries
            .into_iter()
            .flat_map(|(place, span)| place.0.into_iter().chain(span.to_be_bytes()))
            .collect();
        Ok(self.db.put(&mut self.txn, RETENTION_KEY, &bytes)?)
    }
}

/// Five bytes, so that it is no row's.
fn identity_key(project: &ProjectName) -> [u8; 5] {
    let place = Place::new(project, Generation(0)).0;
    [IDENTITY_KEY, place[4], place[5], place[6], place[7]]
}

/// Refuses folders that larder did not write, or wrote in another format.
pub(crate) fn check_format(view: &Snapshot<'_>, path: &Path) -> Result<()> {
    let found = match view.get(FORMAT_KEY)? {
        Some(bytes) => bytes.try_into().map(u32::from_be_bytes).unwrap_or(0),
        None => {
            let entries = view
                .db
                .len(&view.txn)
                .map_err(|error| fault::translate(error, path))?;
            if entries == 0 {
                return Ok(());
            }
            return Err(
                Error::config("the folder holds an LMDB database that larder did not write")
                    .with("folder", path.display())
                    .help("choose another `path`"),
            );
        }
    };
    if found == FORMAT {
        return Ok(());
    }
    Err(
        Error::config("the online store's folder was written in another format")
            .with("folder", path.display())
            .with("found", found)
            .with("known", FORMAT)
            .help("use the version of larder that wrote it, or move the folder away and materialize again"),
    )
}
