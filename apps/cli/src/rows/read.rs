//! How are rows read from a file named on the command line?

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use futures::{StreamExt, stream};
use larder::historical::EntitySource;
use larder::{BatchStream, Error, Result, ValueType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::aside::Aside;
use super::csv;

/// What is known of the columns before a file is opened; needed where files carry no types.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    /// Declared types by column name. Columns that are not here keep what they look like.
    pub(crate) types: BTreeMap<String, ValueType>,
    /// Zone of times without one.
    pub(crate) timezone: Option<String>,
}

impl Columns {
    /// Declares a column; the first declaration stays.
    pub(crate) fn declare(&mut self, column: impl Into<String>, of: ValueType) {
        self.types.entry(column.into()).or_insert(of);
    }
}

/// Rows of a file, batch by batch.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Reads all rows of a CSV (`.csv`), Parquet (`.parquet`) or Arrow IPC file (`.arrow`, `.feather`).
///
/// # Errors
/// `NotFound` where there is no such file, `Input` for rows that cannot be read, with their line.
pub(crate) fn read(path: &Path, columns: &Columns) -> Result<Vec<RecordBatch>> {
    let rows: Vec<RecordBatch> = batches(path, columns)?.collect::<Result<_>>()?;
    Ok(rows)
}

/// As [`read`], batch by batch.
///
/// # Errors
/// As [`read`], some of them on the way.
pub(crate) fn batches(path: &Path, columns: &Columns) -> Result<Batches> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
        .to_lowercase();
    if !matches!(
        extension.as_str(),
        "csv" | "parquet" | "arrow" | "feather" | "ipc"
    ) {
        return Err(
            Error::input(format!("`{}` is no file of a known kind", path.display()))
                .help("give rows as .csv, .parquet, .arrow or .feather"),
        );
    }
    let file = open(path)?;
    let shown = path.display().to_string();
    let damaged = move |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::input(format!("`{shown}` cannot be read")).source(cause)
    };
    Ok(match extension.as_str() {
        "csv" => Box::new(csv::batches(path, file, columns)?),
        "parquet" => {
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                .and_then(|builder| builder.with_batch_size(65_536).build())
                .map_err(|e| damaged(e.into()))?;
            Box::new(reader.map(move |batch| batch.map_err(|e| damaged(e.into()))))
        }
        _ => {
            let reader = arrow_ipc::reader::FileReader::try_new(file, None).map_err(|e| damaged(e.into()))?;
            Box::new(reader.map(move |batch| batch.map_err(|e| damaged(e.into()))))
        }
    })
}

/// Entity rows in a file, which is opened as often as they are read.
#[derive(Debug)]
pub(crate) struct FileRows {
    pub(crate) path: PathBuf,
    pub(crate) columns: Columns,
}

impl EntitySource for FileRows {
    fn open(&self) -> Result<BatchStream> {
        Ok(stream::iter(batches(&self.path, &self.columns)?).boxed())
    }
}

/// As [`read`], but rows of a CSV with a wrong cell are set aside; files with types have none.
///
/// # Errors
/// As [`read`].
pub(crate) fn sift(path: &Path, columns: &Columns) -> Result<(Vec<RecordBatch>, Option<Aside>)> {
    let csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    if !csv {
        return Ok((read(path, columns)?, None));
    }
    let (rows, aside) = csv::sift(path, open(path)?, columns)?;
    Ok((rows, Some(aside)))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file `{}`", path.display())),
        _ => Error::unavailable(format!("`{}` cannot be opened", path.display())).source(cause),
    })
}
