//! How an Arrow IPC stream in a file is read: entity rows in files, and what a join spilled.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use arrow_ipc::reader::StreamReader;
use larder_core::{Error, Result};

/// Bytes of a file that are read ahead.
const READ_AHEAD: usize = 256 << 10;

/// An Arrow IPC stream in a file.
pub(crate) type Stream = StreamReader<BufReader<File>>;

/// Opens an Arrow IPC stream.
pub(crate) fn open(path: &Path) -> Result<Stream> {
    let shown = crate::discover::show(path);
    let file =
        File::open(path).map_err(|error| crate::fault::io(error, "a file of rows cannot be read", &shown))?;
    StreamReader::try_new(BufReader::with_capacity(READ_AHEAD, file), None).map_err(|error| {
        Error::corrupt("a file of rows is not an Arrow IPC stream")
            .with("path", shown)
            .source(error)
    })
}
