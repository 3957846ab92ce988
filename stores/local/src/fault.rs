//! What an LMDB failure means to the caller: the one place that translates it.

use std::io::ErrorKind as Io;
use std::path::Path;

use heed::MdbError;
use larder_base::error::{Error, ErrorKind, Result};

/// A failure inside a transaction, before anybody decided whether to grow, retry or report.
#[derive(Debug)]
pub(crate) enum Fault {
    /// LMDB or the operating system said no.
    Lmdb(heed::Error),
    /// Ours, ready for the caller.
    Own(Error),
}

impl From<heed::Error> for Fault {
    fn from(error: heed::Error) -> Self {
        Self::Lmdb(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl Fault {
    pub(crate) fn is_map_full(&self) -> bool {
        matches!(self, Self::Lmdb(heed::Error::Mdb(MdbError::MapFull)))
    }

    pub(crate) fn is_map_resized(&self) -> bool {
        matches!(self, Self::Lmdb(heed::Error::Mdb(MdbError::MapResized)))
    }

    pub(crate) fn is_readers_full(&self) -> bool {
        matches!(self, Self::Lmdb(heed::Error::Mdb(MdbError::ReadersFull)))
    }

    /// The caller's error about a folder.
    pub(crate) fn into_error(self, folder: &Path) -> Error {
        match self {
            Self::Own(error) => error,
            Self::Lmdb(error) => translate(error, folder),
        }
    }
}

/// An I/O failure about a folder or a file in it.
pub(crate) fn io_error(what: &'static str, error: std::io::Error, folder: &Path) -> Error {
    let (kind, help) = match error.kind() {
        Io::PermissionDenied | Io::ReadOnlyFilesystem => (
            ErrorKind::Config,
            "give this user write access to the folder (readers need it too, for the lock file) or choose another `path`",
        ),
        Io::NotFound | Io::NotADirectory | Io::AlreadyExists | Io::IsADirectory | Io::InvalidFilename => (
            ErrorKind::Config,
            "choose a `path` that is a folder or can become one",
        ),
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
            (ErrorKind::Unavailable, "free disk space, then run again")
        }
        Io::OutOfMemory => (
            ErrorKind::Config,
            "set a smaller `map_size`, or raise the address space limit (ulimit -v)",
        ),
        _ => (
            ErrorKind::Unavailable,
            "check the disk and that it is a local file system",
        ),
    };
    Error::new(kind, what)
        .with("folder", folder.display())
        .help(help)
        .source(error)
}

/// What the caller is told about an LMDB failure.
pub(crate) fn translate(error: heed::Error, folder: &Path) -> Error {
    let mdb = match error {
        heed::Error::Io(error) => return io_error("the online store's folder cannot be used", error, folder),
        heed::Error::Mdb(mdb) => mdb,
        other => {
            return Error::internal("the online store's folder cannot be used")
                .with("folder", folder.display())
                .source(other);
        }
    };
    let (kind, what, help) = match mdb {
        MdbError::Corrupted | MdbError::PageNotFound | MdbError::Invalid => (
            ErrorKind::Corrupt,
            "the online store's data file is damaged",
            "move the folder away and materialize again",
        ),
        MdbError::VersionMismatch => (
            ErrorKind::Config,
            "the online store's folder was written in another format",
            "use the version of larder that wrote it, or move the folder away and materialize again",
        ),
        MdbError::Panic => (
            ErrorKind::Unavailable,
            "an earlier disk error stopped the online store",
            "check the disk, then restart this process",
        ),
        MdbError::MapFull => (
            ErrorKind::Unavailable,
            "the online store's map is full and could not grow",
            "set a larger `map_size`, or free rows with `larder gc`",
        ),
        MdbError::MapResized => (
            ErrorKind::Unavailable,
            "another process keeps growing the online store",
            "set the same, larger `map_size` in every process",
        ),
        MdbError::ReadersFull => (
            ErrorKind::Overloaded,
            "too many reads of the online store at once",
            "read from fewer threads and processes",
        ),
        MdbError::BadValSize => (
            ErrorKind::Input,
            "a row is too large for the online store",
            "keep rows below 4 GiB",
        ),
        _ => (
            ErrorKind::Internal,
            "the online store failed",
            "report it with this message",
        ),
    };
    Error::new(kind, what)
        .with("folder", folder.display())
        .help(help)
        .source(mdb)
}

/// The same error once more, for every request that shared a failed transaction.
pub(crate) fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.chain_message());
    match error.remedy() {
        Some(help) => copy.help(help),
        None => copy,
    }
}

trait ChainMessage {
    fn chain_message(&self) -> String;
}

impl ChainMessage for Error {
    /// Message and causes in one line, without the remedy.
    fn chain_message(&self) -> String {
        let mut text = self.message().to_owned();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

/// A result of the transaction layer as the caller sees it.
pub(crate) fn settle<T>(result: Result<T, Fault>, folder: &Path) -> Result<T> {
    result.map_err(|fault| fault.into_error(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_tell_what_to_do_next() {
        let folder = Path::new("x");
        let kind = |error: heed::Error| translate(error, folder).kind();
        assert_eq!(kind(MdbError::Invalid.into()), ErrorKind::Corrupt);
        assert_eq!(kind(MdbError::VersionMismatch.into()), ErrorKind::Config);
        assert_eq!(kind(MdbError::ReadersFull.into()), ErrorKind::Overloaded);
        assert_eq!(kind(MdbError::Panic.into()), ErrorKind::Unavailable);
        assert_eq!(
            kind(std::io::Error::from(Io::PermissionDenied).into()),
            ErrorKind::Config
        );
        assert_eq!(
            kind(std::io::Error::from(Io::StorageFull).into()),
            ErrorKind::Unavailable
        );
        assert_eq!(
            kind(std::io::Error::from(Io::OutOfMemory).into()),
            ErrorKind::Config
        );
    }

    #[test]
    fn a_copy_says_the_same() {
        let first = translate(MdbError::MapFull.into(), Path::new("x"));
        let copy = again(&first);
        assert_eq!(copy.kind(), first.kind());
        assert_eq!(copy.remedy(), first.remedy());
        assert!(copy.message().starts_with(first.message()));
        assert!(copy.message().contains("MDB_MAP_FULL"));
    }
}
