//! How the bytes of a data file are read: the one seam between this store and where files live.
//!
//! Everything above asks a [`DataFile`] for [`Chunks`] and knows nothing of disks. Object stores join here: their
//! chunks are served from ranges that were fetched beforehand.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use larder_core::{Error, Result, SourceFile};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::fault;
use crate::work::Cancel;

/// A data file of a source, as it was found.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    /// Where it is; for an object its URL.
    pub(crate) path: PathBuf,
    /// The path as messages show it.
    pub(crate) shown: String,
    /// `k=v` components of its path; `None` is null.
    pub(crate) partitions: Vec<(String, Option<String>)>,
    /// What it looked like when it was found.
    pub(crate) version: Version,
    pub(crate) home: Home,
}

/// What holds a data file.
#[derive(Debug, Clone)]
pub(crate) enum Home {
    Disk,
    #[cfg(feature = "s3")]
    Object(Arc<crate::s3::Object>),
}

/// What tells one content of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) size: u64,
    tag: Tag,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tag {
    Disk {
        modified: Option<SystemTime>,
        inode: u64,
    },
    #[cfg(feature = "s3")]
    Object(Arc<str>),
}

impl Version {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self {
            size: metadata.len(),
            tag: Tag::Disk {
                modified: metadata.modified().ok(),
                inode,
            },
        }
    }

    #[cfg(feature = "s3")]
    pub(crate) fn of_object(size: u64, etag: Arc<str>) -> Self {
        Self {
            size,
            tag: Tag::Object(etag),
        }
    }

    /// As reports tell it: the ETag, or the time of the last change in µs UTC.
    fn tag(&self) -> String {
        match &self.tag {
            Tag::Disk { modified, .. } => {
                let since = modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
                since.map_or_else(String::new, |since| since.as_micros().to_string())
            }
            #[cfg(feature = "s3")]
            Tag::Object(etag) => etag.to_string(),
        }
    }
}

/// What one call reads: how much it was, and what is being fetched ahead of its need.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    bytes: AtomicU64,
    #[cfg(feature = "s3")]
    pub(crate) cancel: Cancel,
    #[cfg(feature = "s3")]
    pub(crate) ahead: crate::s3::Ahead,
}

/// Shared by all that reads for one call.
pub(crate) type ByteCount = Arc<Reads>;

impl Reads {
    /// Waiting ends when the flag is set. With a limit of memory, a part of it is for what is fetched ahead.
    #[cfg_attr(
        not(feature = "s3"),
        expect(unused_variables, reason = "disks are not waited for")
    )]
    pub(crate) fn new(cancel: &Cancel, memory_limit: Option<u64>) -> Self {
        Self {
            #[cfg(feature = "s3")]
            cancel: cancel.clone(),
            #[cfg(feature = "s3")]
            ahead: crate::s3::Ahead::new(memory_limit.map(|limit| limit / 8)),
            ..Self::default()
        }
    }

    /// Bytes that were read, for the report.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl DataFile {
    /// Opens the file, unless it is not the one that was found.
    pub(crate) fn open(&self, count: &ByteCount) -> Result<Chunks> {
        let source = match &self.home {
            Home::Disk => Source::Disk(Arc::new(File::open(&self.path).map_err(
                |error| match error.kind() {
                    io::ErrorKind::NotFound => fault::changed(&self.shown),
                    _ => fault::io(error, "a data file cannot be opened", &self.shown),
                },
            )?)),
            #[cfg(feature = "s3")]
            Home::Object(object) => Source::Object(crate::s3::Held::new(object.clone())),
        };
        let chunks = Chunks {
            source,
            size: self.version.size,
            count: count.clone(),
        };
        self.verify(&chunks)?;
        Ok(chunks)
    }

    /// Refuses what was read from a file that changed meanwhile.
    pub(crate) fn verify(&self, chunks: &Chunks) -> Result<()> {
        let Some(file) = chunks.source.file() else {
            // Every request said which version it wants.
            return Ok(());
        };
        let now = file
            .metadata()
            .map_err(|error| fault::io(error, "a data file cannot be examined", &self.shown))?;
        if Version::of(&now) == self.version {
            Ok(())
        } else {
            Err(fault::changed(&self.shown))
        }
    }

    /// Whether each read is a request over a network.
    pub(crate) fn is_remote(&self) -> bool {
        !matches!(self.home, Home::Disk)
    }

    /// Begins to fetch ranges that will be read; false when there is no room to keep them.
    #[cfg_attr(
        not(feature = "s3"),
        expect(unused_variables, reason = "disks have caches of their own")
    )]
    pub(crate) fn expect(&self, count: &ByteCount, ranges: Vec<Range<u64>>) -> bool {
        match &self.home {
            Home::Disk => true,
            #[cfg(feature = "s3")]
            Home::Object(object) => count.ahead.start(object, ranges),
        }
    }

    /// Removes the file; one that is not there is as good.
    pub(crate) fn remove(&self) -> Result<()> {
        match &self.home {
            Home::Disk => match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(fault::io(error, "a data file cannot be removed", &self.shown))
                }
                _ => Ok(()),
            },
            #[cfg(feature = "s3")]
            Home::Object(object) => crate::s3::remove(object),
        }
    }

    /// As a report tells it.
    pub(crate) fn told(&self) -> SourceFile {
        SourceFile::new(&self.shown, self.version.size, self.version.tag())
    }
}

/// An open data file. Clones share the file; reads have no common cursor, so threads do not disturb one another.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    source: Source,
    size: u64,
    count: ByteCount,
}

#[derive(Debug, Clone)]
enum Source {
    Disk(Arc<File>),
    #[cfg(feature = "s3")]
    Object(crate::s3::Held),
}

impl Source {
    /// The file, where it is one of this machine.
    fn file(&self) -> Option<&File> {
        match self {
            Self::Disk(file) => Some(file),
            #[cfg(feature = "s3")]
            Self::Object(_) => None,
        }
    }
}

impl Chunks {
    /// The same file with these ranges of bytes in memory, if reading them one by one would cost a request each.
    #[cfg_attr(not(feature = "s3"), expect(unused_variables, reason = "disks hold nothing"))]
    pub(crate) fn holding(&self, ranges: impl FnOnce() -> Vec<Range<u64>>) -> Result<Self> {
        match &self.source {
            Source::Disk(_) => Ok(self.clone()),
            #[cfg(feature = "s3")]
            Source::Object(held) => Ok(Self {
                source: Source::Object(held.holding(ranges(), &self.count)?),
                ..self.clone()
            }),
        }
    }

    /// Whether a range is in memory already; never for a disk, which has caches of its own.
    #[cfg_attr(not(feature = "s3"), expect(unused_variables, reason = "disks hold nothing"))]
    pub(crate) fn holds(&self, range: &Range<u64>) -> bool {
        match &self.source {
            Source::Disk(_) => false,
            #[cfg(feature = "s3")]
            Source::Object(held) => held.get(range).is_some(),
        }
    }

    /// How much can be read from a place without a request, up to `most`; `most` where nothing can.
    #[cfg_attr(not(feature = "s3"), expect(unused_variables, reason = "disks hold nothing"))]
    fn at_once(&self, start: u64, most: u64) -> u64 {
        match &self.source {
            Source::Disk(_) => most,
            #[cfg(feature = "s3")]
            Source::Object(held) => held.from(start).map_or(most, |held| held.min(most)),
        }
    }

    /// Why a read failed, where the reader above told its message only.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.source {
            Source::Disk(_) => None,
            #[cfg(feature = "s3")]
            Source::Object(held) => held.failure(),
        }
    }

    fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes> {
        match &self.source {
            Source::Disk(file) => {
                let bytes = read_file(file, start, length)?;
                self.count.add(length as u64);
                Ok(bytes)
            }
            #[cfg(feature = "s3")]
            Source::Object(held) => held
                .read(start..start + length as u64, &self.count)
                .map_err(io::Error::other),
        }
    }
}

fn read_file(file: &File, start: u64, length: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; length];
    #[cfg(unix)]
    std::os::unix::fs::FileExt::read_exact_at(file, &mut buffer, start)?;
    #[cfg(not(unix))]
    {
        use std::io::{Seek, SeekFrom};
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut buffer)?;
    }
    Ok(buffer.into())
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
            buffer: Bytes::new(),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // A damaged footer may ask for more than there is; nothing that large is allocated.
        if start.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF("a range lies outside of the file".to_owned()));
        }
        self.read_at(start, length)
            .map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Reads on from a place in small steps: page headers are short, and what follows them is asked for as a whole.
#[derive(Debug)]
pub(crate) struct Ahead {
    chunks: Chunks,
    next: u64,
    buffer: Bytes,
}

const STEP: u64 = 512;

impl Read for Ahead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffer.is_empty() {
            let step = STEP.min(self.chunks.size.saturating_sub(self.next));
            let step = self.chunks.at_once(self.next, step);
            self.buffer = self.chunks.read_at(self.next, step as usize)?;
            self.next += step;
        }
        let n = out.len().min(self.buffer.len());
        out[..n].copy_from_slice(&self.buffer.split_to(n));
        Ok(n)
    }
}
