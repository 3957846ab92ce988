//! How an LMDB environment is opened, read, resized and recognised.
//!
//! Its map is large and sparse; when another process, or our own writer, outgrows it, it is remapped while no
//! transaction of this process is alive, which the `gate` guarantees: every transaction holds it shared, remapping
//! holds it alone.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use heed::types::Bytes;
use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions, FlagSetMode, WithoutTls};
use larder_base::error::{Error, Result};
use parking_lot::RwLock;

use crate::fault::{self, Fault};
use crate::key::{self, Digest};
use crate::transaction::{Snapshot, Transaction, check_format};
use crate::verify;

/// The one tree of a folder: rows, and the folder's own few entries under keys shorter than eight bytes.
pub(crate) type Db = heed::Database<'static, Bytes, Bytes>;

const DATA: &str = "data.mdb";
const LOCK: &str = "lock.mdb";
const MAX_READERS: u32 = 2048;
/// The map never grows beyond this many bytes (64 TiB, half of what x86-64 can address).
const MAX_MAP: usize = 1 << 46;

/// An open environment: reads, resizing, and the folder's own entries.
pub(crate) struct Env {
    env: heed::Env<WithoutTls>,
    db: Db,
    gate: RwLock<()>,
    /// Why nothing can be done any more, once that is so.
    lost: OnceLock<String>,
    path: PathBuf,
    files: [Option<FileId>; 2],
    digest: Digest,
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Env {
    /// Opens a folder that exists and that this process has not open.
    pub(crate) fn open(path: PathBuf, map_size: u64) -> Result<Self> {
        verify::check(&path.join(DATA), &path)?;
        let env = open_lmdb(&path, page_multiple(map_size))?;
        let outcome = || -> Result<Db, Fault> {
            env.clear_stale_readers()?;
            let shortest =
                (env.info().last_page_number as u64 + 1) * u64::from(env.unnamed_database_stat().page_size);
            if env.real_disk_size()? < shortest {
                let alone = env.write_txn()?;
                verify::lengthen(&path.join(DATA), &path)?;
                drop(alone);
            }
            let opened = env.open_databases_and_commit(env.read_txn()?, |opener, txn| {
                let db = opener.open_database::<Bytes, Bytes>(txn, None)?;
                Ok::<_, Fault>(match db {
                    Some(db) => CommitOrAbort::Commit(db),
                    None => CommitOrAbort::Abort(()),
                })
            })?;
            match opened {
                CommitOrAbort::Commit(db) => Ok(db),
                CommitOrAbort::Abort(()) => {
                    Err(Error::internal("the main tree of the folder is missing").into())
                }
            }
        };
        let db = fault::settle(outcome(), &path)?;
        let files = [FileId::of(&path.join(DATA)), FileId::of(&path.join(LOCK))];
        let env = Self {
            env,
            db,
            gate: RwLock::new(()),
            lost: OnceLock::new(),
            path,
            files,
            digest: key::xxh3,
        };
        env.read(|view| check_format(view, &env.path))?;
        Ok(env)
    }

    /// Where the folder is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `f` on a fresh snapshot. Cheap, from any thread, never across an await.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&Snapshot<'_>) -> Result<R>) -> Result<R> {
        let mut tries = 0;
        loop {
            let gate = self.gate.read();
            self.usable()?;
            let fault = match self.env.read_txn() {
                Ok(txn) => {
                    return f(&Snapshot {
                        db: self.db,
                        txn,
                        digest: self.digest,
                        path: &self.path,
                    });
                }
                Err(error) => Fault::from(error),
            };
            drop(gate);
            tries += 1;
            if fault.is_map_resized() && tries < 64 {
                self.resize(0)?;
            } else if fault.is_readers_full() && tries < 8 {
                // Slots of killed processes are freed; those of live threads are short-lived.
                self.clear_stale_readers();
                std::thread::sleep(Duration::from_micros(200));
            } else {
                return Err(fault.into_error(&self.path));
            }
        }
    }

    /// Runs `f` in one write transaction and commits it. Only the writer thread calls this.
    pub(crate) fn write<R>(
        &self,
        sync: bool,
        f: impl FnOnce(&mut Transaction<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let _shared = self.gate.read();
        self.usable()?;
        self.set_sync(sync)?;
        let mut transaction = Transaction {
            db: self.db,
            txn: self.env.write_txn()?,
            digest: self.digest,
            scratch: Vec::new(),
        };
        let answer = f(&mut transaction)?;
        transaction.txn.commit()?;
        Ok(answer)
    }

    fn set_sync(&self, sync: bool) -> Result<(), Fault> {
        let now = self.env.get_flags()? & EnvFlags::NO_SYNC.bits() == 0;
        if now != sync {
            let mode = if sync {
                FlagSetMode::Disable
            } else {
                FlagSetMode::Enable
            };
            // SAFETY: only the writer thread changes flags, between its transactions; reads do not look at this one.
            unsafe { self.env.set_flags(EnvFlags::NO_SYNC, mode)? };
        }
        Ok(())
    }

    /// Writes everything committed to the disk.
    pub(crate) fn force_sync(&self) -> Result<()> {
        let _shared = self.gate.read();
        self.usable()?;
        self.env
            .force_sync()
            .map_err(|error| fault::translate(error, &self.path))
    }

    /// Frees reader slots of killed processes, so that they do not keep old pages alive.
    pub(crate) fn clear_stale_readers(&self) {
        match self.env.clear_stale_readers() {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "cleared reader slots of dead processes"),
            Err(error) => tracing::debug!(%error, "cannot clear reader slots"),
        }
    }

    /// Bytes of address space that the map has.
    pub(crate) fn map_size(&self) -> usize {
        self.env.info().map_size
    }

    /// Bytes of the data file.
    pub(crate) fn disk_size(&self) -> Result<u64> {
        self.env
            .real_disk_size()
            .map_err(|error| fault::translate(error, &self.path))
    }

    /// Doubles the map.
    pub(crate) fn grow(&self) -> Result<()> {
        let now = self.map_size();
        if now >= MAX_MAP {
            return Err(fault::translate(heed::MdbError::MapFull.into(), &self.path));
        }
        self.resize(now.saturating_mul(2).min(MAX_MAP))
    }

    /// Remaps with a new size, or with the size that another process chose (0).
    pub(crate) fn resize(&self, size: usize) -> Result<()> {
        let _alone = self.gate.write();
        self.usable()?;
        if size != 0 && self.map_size() >= size {
            return Ok(());
        }
        // SAFETY: every transaction of this process holds the gate shared, so none is alive here.
        if let Err(error) = unsafe { self.env.resize(size) } {
            // The old mapping is gone, so this environment must never be touched again.
            let _ = self
                .lost
                .set("it could not be mapped with a larger size".to_owned());
            return Err(fault::translate(error, &self.path));
        }
        Ok(())
    }

    fn usable(&self) -> Result<()> {
        match self.lost.get() {
            None => Ok(()),
            Some(why) => Err(
                Error::unavailable(format!("the online store's folder is lost: {why}"))
                    .with("folder", self.path.display())
                    .help("restart this process, or drop every handle of the store and open it again"),
            ),
        }
    }

    /// Fails when the files in the folder are not the ones that are open.
    pub(crate) fn attached(&self) -> Result<()> {
        let now = [
            FileId::of(&self.path.join(DATA)),
            FileId::of(&self.path.join(LOCK)),
        ];
        if now != self.files {
            let _ = self
                .lost
                .set("its files were deleted or replaced while they were open".to_owned());
        }
        self.usable()
    }

    #[cfg(test)]
    pub(crate) fn set_digest(&mut self, digest: Digest) {
        self.digest = digest;
    }
}

fn open_lmdb(path: &Path, map_size: usize) -> Result<heed::Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_size).max_readers(MAX_READERS);
    let mut tries = 0;
    loop {
        // SAFETY: the file is only changed through LMDB's own locking (other processes), and was looked at before.
        match unsafe { options.open(path) } {
            Ok(env) => return Ok(env),
            // The last handle of this folder is just being dropped on another thread.
            Err(heed::Error::EnvAlreadyOpened) if tries < 100 => {
                tries += 1;
                if let Some(closing) = heed::env_closing_event(path) {
                    closing.wait_timeout(Duration::from_millis(100));
                }
            }
            Err(heed::Error::EnvAlreadyOpened) => {
                return Err(
                    Error::unavailable("another component of this process has the folder open")
                        .with("folder", path.display())
                        .help("close it, or open the folder through larder only"),
                );
            }
            Err(error) => return Err(fault::translate(error, path)),
        }
    }
}

/// The next multiple of 64 KiB, which is a multiple of every page size in use.
pub(crate) fn page_multiple(map_size: u64) -> usize {
    let size = usize::try_from(map_size)
        .unwrap_or(MAX_MAP)
        .clamp(1 << 20, MAX_MAP);
    size.next_multiple_of(1 << 16)
}

/// Which file a path leads to, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path)
            .ok()
            .map(|file| Self(file.dev(), file.ino()))
    }

    /// Open files cannot be replaced here, so whether it exists is all there is to know.
    #[cfg(not(unix))]
    fn of(path: &Path) -> Option<Self> {
        path.exists().then_some(Self(0, 0))
    }
}
