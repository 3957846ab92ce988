//! Where the bytes of a new data file go: it is there whole and durable, or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use larder_core::{Error, Micros, Result, unfinished};
use parking_lot::Mutex;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

use crate::discover::show;
use crate::fault;
use crate::live::EXTENSION;
use crate::root::{Root, Spot};

/// What the files that this store wrote say of their writer, before its version.
pub(crate) const CREATED_BY: &str = "larder-parquet ";

/// What names of files begin with that are being written.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Rows of a row group at most: enough for long runs, few enough for its statistics to leave something out.
const GROUP_ROWS: usize = 128 << 10;

/// Encoded bytes of a row group at most.
const GROUP_BYTES: usize = 64 << 20;

/// Why the sink of a writer failed: the writer tells text only.
pub(crate) type Failure = Arc<Mutex<Option<Error>>>;

/// Where the bytes of a new file go. What is dropped instead of kept leaves nothing behind.
#[derive(Debug)]
pub(crate) enum Sink {
    File {
        temporary: Temporary,
        file: File,
        path: PathBuf,
    },
    #[cfg(feature = "s3")]
    Upload(crate::s3::Upload),
}

impl Sink {
    /// A new file of a folder.
    pub(crate) fn new(folder: &Spot, name: &str, root: &Root, failure: &Failure) -> Result<Self> {
        match folder {
            Spot::Disk(folder) => {
                let _ = (root, failure);
                make_folder(folder)?;
                let temporary = Temporary(folder.join(format!("{TEMPORARY}{name}")));
                let file = File::create_new(&temporary.0).map_err(|error| unwritten(error, &temporary.0))?;
                unfinished::hold(&file);
                let path = folder.join(name);
                Ok(Self::File {
                    temporary,
                    file,
                    path,
                })
            }
            #[cfg(feature = "s3")]
            Spot::Object(url) => {
                crate::s3::Upload::new(root.s3(), url, name, failure.clone()).map(Self::Upload)
            }
            #[cfg(not(feature = "s3"))]
            Spot::Object(_) => Err(Error::internal("an object store that is not in this build")),
        }
    }

    /// Gives the file its name, durably.
    pub(crate) fn keep(self) -> Result<()> {
        let (temporary, file, path) = match self {
            Self::File {
                temporary,
                file,
                path,
            } => (temporary, file, path),
            #[cfg(feature = "s3")]
            Self::Upload(upload) => return upload.finish(),
        };
        file.sync_all().map_err(|error| unwritten(error, &temporary.0))?;
        fs::rename(&temporary.0, &path).map_err(|error| unwritten(error, &path))?;
        // The folder is synced too, or a crash could forget the file's new name.
        if let Some(folder) = path.parent()
            && let Err(error) = sync_folder(folder)
        {
            let _ = fs::remove_file(&path);
            return Err(unwritten(error, &path));
        }
        Ok(())
    }
}

/// Removes what killed writers left in a folder. On object stores they leave nothing that has a name.
pub(crate) fn sweep(folder: &Spot, now: Micros) {
    if let Spot::Disk(folder) = folder {
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(now.0).unwrap_or(0));
        unfinished::sweep(folder, is_temporary, now);
    }
}

/// Whether a name is one of a file that this store writes: all of its names end in 16 hexadecimal digits.
fn is_temporary(name: &str) -> bool {
    let stem = name.strip_prefix(TEMPORARY);
    let stem = stem.and_then(|name| name.strip_suffix(EXTENSION));
    stem.is_some_and(|stem| stem.bytes().rev().take_while(u8::is_ascii_hexdigit).count() >= 16)
}

/// How a file is written; rows of a group and bytes of it are bounded, because they are in memory until it ends.
pub(crate) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(format!("{CREATED_BY}{}", env!("CARGO_PKG_VERSION")))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
}

/// A failure of a writer: what its sink said, or else what the writer says.
pub(crate) fn failed(error: ParquetError, failure: &Failure, shown: &str) -> Error {
    let why = failure.lock().take();
    why.unwrap_or_else(|| fault::parquet(error, shown))
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { file, .. } => file.write(bytes),
            #[cfg(feature = "s3")]
            Self::Upload(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.flush(),
            #[cfg(feature = "s3")]
            Self::Upload(upload) => upload.flush(),
        }
    }
}

pub(crate) fn unwritten(error: io::Error, path: &Path) -> Error {
    fault::io(error, "a data file cannot be written", &show(path))
}

/// Removes its file unless it was renamed.
#[derive(Debug)]
pub(crate) struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes a folder and those above it, durably.
fn make_folder(folder: &Path) -> Result<()> {
    let failed = |error| fault::io(error, "the source's folder cannot be made", &show(folder));
    let mut missing = Vec::new();
    let mut at = folder;
    while !at.exists() {
        missing.push(at);
        match at.parent() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    fs::create_dir_all(folder).map_err(failed)?;
    for made in missing {
        if let Some(parent) = made.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent).map_err(failed)?;
        }
    }
    Ok(())
}

pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
