//! What a failure of the file system or of the Parquet reader means for the caller.

use std::io;

use larder_core::arrow::datatypes::ArrowError;
use larder_core::{Error, caught, pit};
use parquet::errors::ParquetError;

use crate::object::Chunks;

/// A failed operation on a file or folder.
pub(crate) fn io(error: io::Error, what: &str, path: &str) -> Error {
    let made = match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!("{what}: it does not exist")),
        io::ErrorKind::PermissionDenied => Error::denied(format!("{what}: permission denied"))
            .help("give the user of this process access to it"),
        io::ErrorKind::UnexpectedEof => changed(path),
        _ => Error::unavailable(what.to_owned()),
    };
    made.with("path", path).source(error)
}

/// The file is not what it was when the run began.
pub(crate) fn changed(path: &str) -> Error {
    Error::conflict("a data file changed or disappeared during the run")
        .with("path", path)
        .help(
            "run again; write new files under other names instead of replacing those that are being read, \
             and compact with `--no-readers` only while nothing reads",
        )
}

/// A failure of the Parquet reader on a file.
pub(crate) fn parquet(error: ParquetError, file: &str) -> Error {
    if let ParquetError::External(cause) = error {
        return match cause.downcast::<io::Error>() {
            Ok(cause) => io(*cause, "a data file cannot be read", file),
            Err(cause) => damaged(file).source(cause),
        };
    }
    let needs_feature = matches!(&error, ParquetError::NYI(_))
        || matches!(&error, ParquetError::General(text) if text.starts_with("Disabled feature"));
    if needs_feature {
        return Error::unsupported("a data file uses something that this build cannot read")
            .with("file", file)
            .source(error);
    }
    damaged(file).source(error)
}

/// A failure of the Parquet reader, or of the requests beneath it.
pub(crate) fn reading(chunks: &Chunks, error: ParquetError, file: &str) -> Error {
    chunks.failure().unwrap_or_else(|| parquet(error, file))
}

fn damaged(file: &str) -> Error {
    Error::corrupt("a data file is damaged or not a Parquet file")
        .with("file", file)
        .help("write it again, or move it out of the source's folder")
}

/// A failure while batches of a file are decoded: Arrow's error, or what lies beneath it.
pub(crate) fn decode(error: ArrowError, file: &str) -> Error {
    match error {
        ArrowError::ExternalError(cause) => match cause.downcast::<ParquetError>() {
            Ok(cause) => parquet(*cause, file),
            Err(cause) => damaged(file).source(cause),
        },
        ArrowError::ParquetError(text) => parquet(ParquetError::General(text), file),
        other => damaged(file).source(other),
    }
}

/// A failure of an Arrow kernel on arrays that were read well.
pub(crate) fn arrow(error: ArrowError) -> Error {
    Error::internal("an Arrow kernel failed").source(error)
}

/// A refusal of the point-in-time kernel.
pub(crate) fn kernel(error: pit::PitError) -> Error {
    Error::internal("the point-in-time kernel refused its input").source(error)
}

/// Runs a decoder, which panics on some damage.
pub(crate) fn decoding<T>(decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    caught::caught(decode).unwrap_or_else(|panic| Err(ParquetError::General(panic)))
}

/// A worker that panicked.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    Error::internal("a worker of the parquet store panicked").source(caught::message(panic))
}

#[cfg(test)]
mod tests {
    use larder_core::ErrorKind;

    use super::*;

    #[test]
    fn causes_beneath_the_reader_are_found() {
        let lost = ParquetError::External(Box::new(io::Error::from(io::ErrorKind::NotFound)));
        assert_eq!(parquet(lost, "a.parquet").kind(), ErrorKind::NotFound);
        let inner = ParquetError::External(Box::new(io::Error::from(io::ErrorKind::UnexpectedEof)));
        let error = decode(ArrowError::ExternalError(Box::new(inner)), "a.parquet");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let bad = parquet(ParquetError::General("Invalid Parquet file".into()), "a.parquet");
        assert_eq!(bad.kind(), ErrorKind::Corrupt);
        assert!(bad.to_string().contains("a.parquet"), "{bad}");
        let codec = ParquetError::General("Disabled feature at compile time: brotli".into());
        assert_eq!(parquet(codec, "a.parquet").kind(), ErrorKind::Unsupported);
    }
}
