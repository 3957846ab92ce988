//! What a failure of storage means to the caller: the one place that translates it.

use std::io::ErrorKind as Io;
use std::path::Path;

use larder_base::error::{Error, ErrorKind};

/// An I/O failure of a local registry at a file or folder.
pub(crate) fn io_error(what: &'static str, place: &Path, error: std::io::Error) -> Error {
    let (kind, help) = match error.kind() {
        Io::PermissionDenied | Io::ReadOnlyFilesystem => (
            ErrorKind::Config,
            "give this user access to the registry's folder (commits and runs write to it) or choose another `path`",
        ),
        Io::NotADirectory
        | Io::IsADirectory
        | Io::AlreadyExists
        | Io::InvalidFilename
        | Io::InvalidInput
        | Io::NotFound => (
            ErrorKind::Config,
            "choose a `path` for the registry that is a folder or can become one",
        ),
        Io::Unsupported | Io::CrossesDevices | Io::TooManyLinks => (
            ErrorKind::Unsupported,
            "the file system has no hard links, which make commits safe; choose a `path` on one that has",
        ),
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => (
            ErrorKind::Unavailable,
            "free space on the disk of the registry and try again",
        ),
        _ => (
            ErrorKind::Unavailable,
            "check the disk or mount of the registry and try again",
        ),
    };
    Error::new(kind, format!("{what} `{}`", place.display()))
        .help(help)
        .source(error)
}

/// A failure of an object store at a path.
pub(crate) fn object_error(what: &'static str, place: &str, error: object_store::Error) -> Error {
    use object_store::Error as Object;
    let (kind, help) = match &error {
        Object::PermissionDenied { .. } | Object::Unauthenticated { .. } => (
            ErrorKind::Denied,
            "give these credentials read, write and list access to the registry's prefix",
        ),
        Object::NotSupported { .. } | Object::NotImplemented { .. } => (
            ErrorKind::Unsupported,
            "the registry needs a store that creates objects conditionally; choose another",
        ),
        Object::InvalidPath { .. } => (ErrorKind::Config, "choose another prefix for the registry"),
        _ => (
            ErrorKind::Unavailable,
            "check that the object store can be reached and try again",
        ),
    };
    Error::new(kind, format!("{what} `{place}`"))
        .help(help)
        .source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_failures_name_the_place_and_the_remedy() {
        for (io, kind, remedy) in [
            (Io::PermissionDenied, ErrorKind::Config, "give this user access"),
            (Io::ReadOnlyFilesystem, ErrorKind::Config, "give this user access"),
            (Io::NotADirectory, ErrorKind::Config, "is a folder"),
            (Io::Unsupported, ErrorKind::Unsupported, "hard links"),
            (Io::StorageFull, ErrorKind::Unavailable, "free space"),
            (Io::TimedOut, ErrorKind::Unavailable, "mount"),
        ] {
            let error = io_error("cannot write", Path::new("/srv/registry/x"), io.into());
            assert_eq!(error.kind(), kind, "{io:?}");
            assert!(
                error.to_string().starts_with("cannot write `/srv/registry/x`; "),
                "{error}"
            );
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }

    #[test]
    fn object_failures_are_told_by_what_to_do() {
        let source = || Box::new(std::io::Error::other("no"));
        let path = || "x".to_owned();
        for (error, kind) in [
            (
                object_store::Error::PermissionDenied {
                    path: path(),
                    source: source(),
                },
                ErrorKind::Denied,
            ),
            (
                object_store::Error::Generic {
                    store: "S3",
                    source: source(),
                },
                ErrorKind::Unavailable,
            ),
            (
                object_store::Error::NotSupported { source: source() },
                ErrorKind::Unsupported,
            ),
        ] {
            assert_eq!(object_error("cannot read", "x", error).kind(), kind);
        }
    }
}
