//! Entity rows that do not fit in memory: what stores need of them is written aside, the rest is read again.

use std::fmt::Debug;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use arrow_ipc::writer::StreamWriter;
use futures::TryStreamExt;
use larder_base::{Error, Result};
use larder_core::arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use larder_core::arrow::datatypes::SchemaRef;
use larder_core::convert::concat_rows;
use larder_core::{BatchStream, Scratch, SpineFiles};

/// Entity rows, or rows to push, that can be read more than once.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use futures::{StreamExt, stream};
/// # use larder_base::Result;
/// # use larder_core::{BatchStream, arrow::array::RecordBatch};
/// # use larder_engine::historical::EntitySource;
/// #[derive(Debug)]
/// struct Held(Vec<RecordBatch>);
///
/// impl EntitySource for Held {
///     fn open(&self) -> Result<BatchStream> {
///         Ok(stream::iter(self.0.clone().into_iter().map(Ok)).boxed())
///     }
/// }
/// ```
pub trait EntitySource: Debug + Send + Sync + 'static {
    /// The rows from the first on; every time the same, in the same order, in batches of one schema.
    ///
    /// # Errors
    /// What keeps them from being read.
    fn open(&self) -> Result<BatchStream>;

    /// What is to be told of the rows besides, after they were read for the first time.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Keys and times of entity rows, written aside while they come.
pub(super) struct Writer {
    folder: Scratch,
    open: Option<StreamWriter<BufWriter<File>>>,
    rows: u64,
}

const FILE: &str = "rows";

impl Writer {
    /// Below a folder, or below the system's folder for temporary files.
    pub(super) fn new(below: Option<&Path>) -> Result<Self> {
        Ok(Self {
            folder: Scratch::new("rows", below)?,
            open: None,
            rows: 0,
        })
    }

    pub(super) fn write(&mut self, keys: Vec<ArrayRef>, times: TimestampMicrosecondArray) -> Result<()> {
        let rows = times.len() as u64;
        let batch = SpineFiles::batch(keys, times)?;
        let path = self.folder.path().join(FILE);
        let failed = || failed(&path);
        let stream = match &mut self.open {
            Some(stream) => stream,
            None => {
                let file = File::create_new(&path).map_err(|error| failed().source(error))?;
                let stream = StreamWriter::try_new(BufWriter::new(file), batch.schema_ref());
                self.open.insert(stream.map_err(|error| failed().source(error))?)
            }
        };
        stream.write(&batch).map_err(|error| failed().source(error))?;
        self.rows += rows;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Aside> {
        let path = self.folder.path().join(FILE);
        let mut paths = Vec::new();
        if let Some(mut stream) = self.open {
            stream.finish().map_err(|error| failed(&path).source(error))?;
            let written = stream.into_inner().map_err(|error| failed(&path).source(error))?;
            written
                .into_inner()
                .map_err(|error| failed(&path).source(error.into_error()))?;
            paths.push(path);
        }
        Ok(Aside {
            files: SpineFiles::new(paths, self.rows),
            _folder: self.folder,
        })
    }
}

fn failed(path: &Path) -> Error {
    Error::unavailable("entity rows that do not fit in memory cannot be written aside")
        .with("path", path.display())
        .help("name another folder to spill into, or raise the memory limit")
}

/// Keys and times in a file, which is removed with this.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) files: SpineFiles,
    _folder: Scratch,
}

/// The caller's rows, read a second time.
pub(super) struct Again {
    source: Arc<dyn EntitySource>,
    schema: SchemaRef,
    open: Option<BatchStream>,
    /// What was read and not taken yet.
    rest: Option<RecordBatch>,
}

impl Debug for Again {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Again")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Again {
    pub(super) fn new(source: Arc<dyn EntitySource>, schema: SchemaRef) -> Self {
        Self {
            source,
            schema,
            open: None,
            rest: None,
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows, exactly so many.
    pub(super) async fn take(&mut self, rows: usize) -> Result<RecordBatch> {
        let mut taken: Vec<RecordBatch> = Vec::new();
        let mut missing = rows;
        while missing > 0 {
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None => self.read().await?,
            };
            let n = missing.min(batch.num_rows());
            taken.push(batch.slice(0, n));
            missing -= n;
            if n < batch.num_rows() {
                self.rest = Some(batch.slice(n, batch.num_rows() - n));
            }
        }
        match taken.as_slice() {
            [] => Ok(RecordBatch::new_empty(self.schema.clone())),
            [one] => Ok(one.clone()),
            many => {
                let whole = concat_rows(many)?;
                RecordBatch::try_new(self.schema.clone(), whole.columns().to_vec()).map_err(|_| changed())
            }
        }
    }

    async fn read(&mut self) -> Result<RecordBatch> {
        let stream = match &mut self.open {
            Some(stream) => stream,
            None => self.open.insert(self.source.open()?),
        };
        let batch = stream.try_next().await?.ok_or_else(changed)?;
        match batch.schema_ref().fields() == self.schema.fields() {
            true => Ok(batch),
            false => Err(changed()),
        }
    }
}

fn changed() -> Error {
    Error::conflict("the entity rows changed while they were used")
        .help("run again, and leave their file as it is meanwhile")
}
