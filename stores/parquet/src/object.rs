//! How the bytes of a data file are read: the one seam between this store and where files live.
//!
//! Everything above asks a [`DataFile`] for [`Chunks`] and knows nothing of disks. Object stores join here: their
//! chunks are served from ranges that were fetched beforehand.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use larder_core::Result;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::fault;

/// A data file of a source, as it was found.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// The path as messages show it.
    pub(crate) shown: String,
    /// `k=v` components of its path; `None` is null.
    pub(crate) partitions: Vec<(String, Option<String>)>,
    /// What it looked like when it was found.
    pub(crate) version: Version,
}

/// What tells one content of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) size: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Version {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            inode,
        }
    }
}

/// Counts bytes that were read, for the report.
pub(crate) type ByteCount = Arc<AtomicU64>;

impl DataFile {
    /// Opens the file, unless it is not the one that was found.
    pub(crate) fn open(&self, count: &ByteCount) -> Result<Chunks> {
        let file = File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => fault::changed(&self.shown),
            _ => fault::io(error, "a data file cannot be opened", &self.shown),
        })?;
        let chunks = Chunks {
            file: Arc::new(file),
            size: self.version.size,
            count: count.clone(),
        };
        self.verify(&chunks)?;
        Ok(chunks)
    }

    /// Refuses what was read from a file that changed meanwhile.
    pub(crate) fn verify(&self, chunks: &Chunks) -> Result<()> {
        let now = chunks
            .file
            .metadata()
            .map_err(|error| fault::io(error, "a data file cannot be examined", &self.shown))?;
        if Version::of(&now) == self.version {
            Ok(())
        } else {
            Err(fault::changed(&self.shown))
        }
    }
}

/// An open data file. Clones share the file; reads have no common cursor, so threads do not disturb one another.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    file: Arc<File>,
    size: u64,
    count: ByteCount,
}

impl Chunks {
    fn read_at(&self, buffer: &mut [u8], start: u64) -> io::Result<()> {
        #[cfg(unix)]
        std::os::unix::fs::FileExt::read_exact_at(&*self.file, buffer, start)?;
        #[cfg(not(unix))]
        {
            use std::io::{Seek, SeekFrom};
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(start))?;
            file.read_exact(buffer)?;
        }
        self.count.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Chunks {
    type T = Ahead;

    fn get_read(&self, start: u64) -> Result<Ahead, ParquetError> {
        Ok(Ahead {
            chunks: self.clone(),
            next: start,
            buffer: Vec::new(),
            used: 0,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // A damaged footer may ask for more than there is; nothing that large is allocated.
        if start.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF("a range lies outside of the file".to_owned()));
        }
        let mut buffer = vec![0; length];
        self.read_at(&mut buffer, start)
            .map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(buffer.into())
    }
}

/// Reads on from a place in small steps: page headers are short, and what follows them is asked for as a whole.
#[derive(Debug)]
pub(crate) struct Ahead {
    chunks: Chunks,
    next: u64,
    buffer: Vec<u8>,
    used: usize,
}

const STEP: u64 = 512;

impl Read for Ahead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.used == self.buffer.len() {
            let step = STEP.min(self.chunks.size.saturating_sub(self.next));
            self.buffer.resize(step as usize, 0);
            self.chunks.read_at(&mut self.buffer, self.next)?;
            self.next += step;
            self.used = 0;
        }
        let n = out.len().min(self.buffer.len() - self.used);
        out[..n].copy_from_slice(&self.buffer[self.used..self.used + n]);
        self.used += n;
        Ok(n)
    }
}
