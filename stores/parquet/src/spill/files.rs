//! How are batches written aside and read back?
//!
//! A folder of its own, removed when the join ends, or by a later run; in it Arrow IPC streams, each removed once it was used.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_ipc::writer::StreamWriter;
use larder_core::arrow::array::{RecordBatch, UInt32Array};
use larder_core::arrow::compute::take::take_record_batch;
use larder_core::arrow::datatypes::{ArrowError, SchemaRef};
use larder_core::{Error, Result, Scratch};
use parking_lot::Mutex;

use crate::ipc;

/// Where a join spills.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: Scratch,
    written: AtomicU64,
}

impl Folder {
    /// A new folder below the given one, or below the system's folder for temporary files.
    pub(crate) fn new(below: Option<&Path>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            dir: Scratch::new("spill", below)?,
            written: AtomicU64::new(0),
        }))
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

fn failed(error: io::Error, what: &str, path: &Path) -> Error {
    let full = error.kind() == io::ErrorKind::StorageFull;
    Error::unavailable(what.to_owned())
        .with("path", path.display())
        .source(error)
        .help(if full {
            "the disk is full: free space, name another folder to spill into, or raise the memory limit"
        } else {
            "name another folder to spill into, or raise the memory limit"
        })
}

fn written(error: ArrowError, path: &Path) -> Error {
    match error {
        ArrowError::IoError(_, error) => failed(error, "what does not fit in memory cannot be written", path),
        other => Error::internal("a batch could not be written aside").source(other),
    }
}

/// Several files of one schema, which any thread writes.
pub(crate) struct Writers {
    folder: Arc<Folder>,
    files: Vec<Mutex<Writer>>,
    schema: SchemaRef,
}

struct Writer {
    path: PathBuf,
    open: Option<StreamWriter<BufWriter<File>>>,
    rows: u64,
}

impl Writers {
    /// For so many files; none is made before it has rows.
    pub(crate) fn new(folder: &Arc<Folder>, name: &str, schema: SchemaRef, count: usize) -> Self {
        let writer = |at| {
            Mutex::new(Writer {
                path: folder.dir.path().join(format!("{name}-{at}")),
                open: None,
                rows: 0,
            })
        };
        Self {
            folder: folder.clone(),
            files: (0..count).map(writer).collect(),
            schema,
        }
    }

    /// Adds rows to one file.
    pub(crate) fn write(&self, at: usize, batch: &RecordBatch) -> Result<()> {
        let mut writer = self.files[at].lock();
        let Writer { path, open, rows } = &mut *writer;
        let stream = match open {
            Some(stream) => stream,
            None => {
                let file = File::create_new(&*path)
                    .map_err(|error| failed(error, "a file to spill into cannot be made", path))?;
                let stream = StreamWriter::try_new(BufWriter::new(file), &self.schema);
                open.insert(stream.map_err(|error| written(error, path))?)
            }
        };
        stream.write(batch).map_err(|error| written(error, path))?;
        *rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Adds every row to the file that is named for it.
    pub(crate) fn scatter(&self, batch: &RecordBatch, files: &[u32]) -> Result<()> {
        let mut ends = vec![0_u32; self.files.len()];
        for file in files {
            ends[*file as usize] += 1;
        }
        if let Some(only) = ends.iter().position(|rows| *rows as usize == batch.num_rows()) {
            return match batch.num_rows() {
                0 => Ok(()),
                _ => self.write(only, batch),
            };
        }
        let mut start = 0;
        let mut cursor: Vec<u32> = ends
            .iter_mut()
            .map(|rows| {
                let own = start;
                start += *rows;
                *rows = start;
                own
            })
            .collect();
        let starts = cursor.clone();
        let mut order = vec![0_u32; files.len()];
        for (row, file) in (0_u32..).zip(files) {
            let place = &mut cursor[*file as usize];
            order[*place as usize] = row;
            *place += 1;
        }
        let sorted = take_record_batch(batch, &UInt32Array::from(order)).map_err(crate::fault::arrow)?;
        for (file, (start, end)) in starts.into_iter().zip(ends).enumerate() {
            if start < end {
                self.write(file, &sorted.slice(start as usize, (end - start) as usize))?;
            }
        }
        Ok(())
    }

    /// The files, complete.
    pub(crate) fn finish(self) -> Result<Vec<Part>> {
        let part = |writer: Mutex<Writer>| {
            let Writer { path, open, rows } = writer.into_inner();
            let Some(mut stream) = open else {
                return Ok(Part::default());
            };
            stream.finish().map_err(|error| written(error, &path))?;
            let file = stream.into_inner().map_err(|error| written(error, &path))?;
            let file = file
                .into_inner()
                .map_err(|error| failed(error.into_error(), "a spilled file cannot be written", &path))?;
            let bytes = file
                .metadata()
                .map_err(|error| failed(error, "a spilled file cannot be examined", &path))?
                .len();
            self.folder.written.fetch_add(bytes, Ordering::Relaxed);
            Ok(Part {
                path: Some(path),
                rows,
                bytes,
            })
        };
        self.files.into_iter().map(part).collect()
    }
}

/// A file of batches; removed when dropped.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Absent where there are no rows.
    path: Option<PathBuf>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Part {
    /// Its batches, in the order in which they were written.
    pub(crate) fn read(&self) -> Result<Batches> {
        self.path
            .as_deref()
            .map(ipc::open)
            .transpose()
            .map(|stream| Batches {
                stream,
                left: self.rows,
            })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The whole folder goes with the join; this one only goes earlier.
            let _ = fs::remove_file(path);
        }
    }
}

/// Batches of a spilled file.
#[derive(Debug)]
pub(crate) struct Batches {
    stream: Option<ipc::Stream>,
    left: u64,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let damaged = || Error::corrupt("a spilled file is shorter than it was written");
        match self.stream.as_mut().and_then(Iterator::next) {
            Some(Ok(batch)) => {
                self.left = self.left.saturating_sub(batch.num_rows() as u64);
                Some(Ok(batch))
            }
            Some(Err(error)) => Some(Err(damaged().source(error))),
            None if self.left > 0 => {
                self.left = 0;
                Some(Err(damaged()))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use larder_core::arrow::array::{ArrayRef, AsArray, StringArray};
    use larder_core::arrow::datatypes::UInt32Type;

    use super::*;

    #[test]
    fn rows_come_back_from_the_files_they_were_sent_to() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(Some(&dir.path().join("new"))).unwrap();
        let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..1000));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..1000).map(|n| format!("text {n}")),
        ));
        let batch = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
        let writers = Writers::new(&folder, "test", batch.schema(), 7);
        // Part 5 gets none of the first batch and all of the second.
        let parts: Vec<u32> = (0..1000).map(|n| n % 5).collect();
        writers.scatter(&batch, &parts).unwrap();
        writers.scatter(&batch.slice(10, 30), &[5; 30]).unwrap();
        writers.scatter(&batch.slice(0, 0), &[]).unwrap();
        let parts = writers.finish().unwrap();
        let mut seen = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            for batch in part.read().unwrap() {
                let batch = batch.unwrap();
                for (n, t) in batch
                    .column(0)
                    .as_primitive::<UInt32Type>()
                    .values()
                    .iter()
                    .zip(batch.column(1).as_string::<i32>())
                {
                    assert_eq!(t, Some(format!("text {n}").as_str()));
                    assert!(at == 5 || at == *n as usize % 5);
                    seen.push(*n);
                }
            }
        }
        assert_eq!(seen.len(), 1030);
        assert_eq!((parts[5].rows, parts[6].rows), (30, 0));
        assert!(folder.written() > 10_000);
        drop(parts);
        let inside = |path: &Path| fs::read_dir(path).unwrap().count();
        // The lock only.
        assert_eq!(inside(folder.dir.path()), 1);
        drop(folder);
        assert_eq!(inside(&dir.path().join("new")), 0);
    }
}
