//! How does a file get its name: at once, when all of it is durable, or never?

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use larder::{Error, Result, random, unfinished};

/// What temporary names end in.
const SUFFIX: &str = ".tmp";

/// The temporary files of this process.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes all temporary files of this process, which is about to end whatever its threads do.
pub(crate) fn remove_unfinished() {
    for path in UNFINISHED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
    {
        let _ = std::fs::remove_file(path);
    }
}

/// A file under a temporary name beside its place; removed when dropped, unless it was placed.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    temporary: Option<PathBuf>,
    /// Keeps other processes from removing the file, also when all is written.
    held: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.temporary.take() {
            // A file that cannot be removed is no reason to hide why the work failed.
            let _ = std::fs::remove_file(&path);
            finished(&path);
        }
    }
}

impl Temporary {
    /// Makes the file; its place stays as it is. What killed processes left of the same file is removed.
    pub(super) fn create(path: &Path) -> Result<(Self, File)> {
        let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
        let temporary = folder(path).join(format!("{prefix}{:016x}{SUFFIX}", random::u64()));
        let (file, held) = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&temporary)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(|cause| cannot(path, cause))?;
        unfinished::hold(&held);
        UNFINISHED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(temporary.clone());
        // The clock of the file system, which the times of the others are from.
        if let Ok(now) = file.metadata().and_then(|metadata| metadata.modified()) {
            unfinished::sweep(&folder(path), |name| is_temporary(name, &prefix), now);
        }
        let temporary = Self {
            path: path.to_owned(),
            temporary: Some(temporary),
            held,
        };
        Ok((temporary, file))
    }

    /// Where the file belongs.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file from its beginning, to be read once it is written. It is not opened anew: on network disks a lock may
    /// keep all other handles out.
    pub(super) fn open(&self) -> Result<File> {
        let file = self.held.try_clone();
        let rewound = file.and_then(|mut file| file.rewind().map(|()| file));
        rewound.map_err(|cause| cannot(&self.path, cause))
    }

    /// Gives the file its name; what stood there is replaced at once.
    pub(super) fn place(mut self) -> Result<()> {
        if let Some(temporary) = self.temporary.as_ref() {
            std::fs::rename(temporary, &self.path).map_err(|cause| cannot(&self.path, cause))?;
        }
        if let Some(temporary) = self.temporary.take() {
            finished(&temporary);
        }
        // The folder is synced too, or a crash could forget the file's new name. Not every file
        // system can; the name stands all the same.
        if let Ok(folder) = File::open(folder(&self.path)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

/// Whether a name is a temporary one of the file whose names begin like this.
fn is_temporary(name: &str, prefix: &str) -> bool {
    let middle = name.strip_prefix(prefix);
    let middle = middle.and_then(|name| name.strip_suffix(SUFFIX));
    middle.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn finished(temporary: &Path) {
    let mut all = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|path| path != temporary);
}

/// A whole file of text that waits for its name.
#[derive(Debug)]
pub(crate) struct WholeFile(Temporary);

impl WholeFile {
    /// Writes the text, durable and under a temporary name.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be written.
    pub(crate) fn write(path: &Path, text: &str) -> Result<Self> {
        let (temporary, mut file) = Temporary::create(path)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|cause| cannot(path, cause))?;
        Ok(Self(temporary))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// `Unavailable` when that fails; then nothing is left behind.
    pub(crate) fn place(self) -> Result<()> {
        self.0.place()
    }
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The error for a file that cannot be written.
pub(super) fn cannot(path: &Path, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable(format!("`{}` cannot be written", path.display())).source(cause)
}
