//! How are rows read from a file named on the command line?

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::reader::FileReader;
use arrow_schema::{ArrowError, DataType, FieldRef, Schema};
use futures::{StreamExt, stream};
use larder::caught::caught;
use larder::convert::{UnclearTimes, Zone, unclear_times};
use larder::historical::{EntitySource, unclear_times_warning};
use larder::{BatchStream, Error, Result, ValueType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::aside::{Aside, Sifted};
use super::csv;

/// What is known of the columns before a file is opened; needed where files carry no types.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    /// Declared types by column name. Columns that are not here keep what they look like.
    pub(crate) types: BTreeMap<String, ValueType>,
    /// Zone of times without one.
    pub(crate) timezone: Option<String>,
    /// The source whose rows are pushed: none of them, if one has a wrong cell. Other rows are no source's.
    pub(crate) source: Option<String>,
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
/// `NotFound` where there is no such file, `Input` for rows of a CSV that cannot be read, with their line, `Corrupt` for
/// files that cannot be decoded.
pub(crate) fn read(path: &Path, columns: &Columns) -> Result<Vec<RecordBatch>> {
    let rows: Vec<RecordBatch> = batches(path, columns)?.collect::<Result<_>>()?;
    Ok(rows)
}

/// As [`read`], batch by batch.
///
/// # Errors
/// As [`read`], some of them on the way.
pub(crate) fn batches(path: &Path, columns: &Columns) -> Result<Batches> {
    noticing(path, columns, Noticed::default())
}

/// What is noticed on the way, although it is no error.
#[derive(Debug, Clone, Default)]
pub(super) struct Noticed {
    /// Only so many rows count.
    limit: Option<u64>,
    /// Wall-clock times that a clock change skips or repeats, by column.
    unclear: Arc<Mutex<BTreeMap<String, UnclearTimes>>>,
    /// What the columns of a CSV hold that nobody declared.
    guesses: Arc<OnceLock<Vec<DataType>>>,
    /// Rows of a CSV with a wrong cell are left out.
    pub(super) sifted: Option<Sifting>,
}

/// What becomes of rows with a wrong cell.
#[derive(Debug, Clone)]
pub(super) enum Sifting {
    /// They are set aside.
    Aside(Arc<Aside>),
    /// They were set aside before.
    Again,
}

impl Sifting {
    pub(super) fn take(&self, sifted: Sifted) {
        if let Self::Aside(aside) = self {
            aside.read(sifted);
        }
    }
}

impl Noticed {
    /// Looks at wall-clock times of a column, the first of which stand in the given row.
    pub(super) fn times(&self, column: &str, local: &ArrayRef, zone: &Zone, first: usize) {
        let left = self.limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(first)
        });
        let found = unclear_times(&local.slice(0, left.min(local.len())), zone, first as u64);
        if found.count > 0 {
            let mut unclear = self.unclear.lock().unwrap_or_else(PoisonError::into_inner);
            unclear.entry(column.to_owned()).or_default().merge(found);
        }
    }

    /// For another reading of the same file: what was learned stays, and nothing is told twice.
    fn again(&self) -> Self {
        Self {
            guesses: self.guesses.clone(),
            sifted: self.sifted.as_ref().map(|_| Sifting::Again),
            ..Self::default()
        }
    }

    /// What the columns hold, looked at once.
    pub(super) fn guesses<E>(
        &self,
        look: impl FnOnce() -> Result<Vec<DataType>, E>,
    ) -> Result<Vec<DataType>, E> {
        match self.guesses.get() {
            Some(known) => Ok(known.clone()),
            None => look().map(|found| self.guesses.get_or_init(|| found).clone()),
        }
    }

    fn warnings(&self, zone: &str) -> Vec<String> {
        let unclear = self.unclear.lock().unwrap_or_else(PoisonError::into_inner);
        unclear
            .iter()
            .filter_map(|(column, found)| unclear_times_warning(column, zone, *found))
            .collect()
    }
}

fn noticing(path: &Path, columns: &Columns, noticed: Noticed) -> Result<Batches> {
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
    let damaged = move |cause: String| Error::corrupt(format!("`{shown}` cannot be read")).source(cause);
    Ok(match extension.as_str() {
        "csv" => Box::new(csv::batches(path, file, columns, noticed)?),
        "parquet" => {
            let open = || {
                ParquetRecordBatchReaderBuilder::try_new(file)?
                    .with_batch_size(65_536)
                    .build()
            };
            let mut reader = decoded(open).map_err(&damaged)?;
            until_damage(damaged, move || reader.next())
        }
        _ => {
            let mut reader = decoded(|| FileReader::try_new(file, None)).map_err(&damaged)?;
            until_damage(damaged, move || reader.next().map(|batch| plain(&batch?)))
        }
    })
}

/// The batches of a decoder, which is left alone once it failed.
fn until_damage(
    damaged: impl Fn(String) -> Error + Send + 'static,
    mut next: impl FnMut() -> Option<Result<RecordBatch, ArrowError>> + Send + 'static,
) -> Batches {
    let mut failed = false;
    Box::new(std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let batch = decoded(|| next().transpose()).map_err(&damaged);
        failed = batch.is_err();
        batch.transpose()
    }))
}

/// What a decoder answers, which panics on types that it does not know, and on some damage.
fn decoded<T, E: std::fmt::Display>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    let foreign = |panic| format!("it is damaged, or has a column of a type that cannot be read: {panic}");
    caught(decode)
        .map_err(foreign)?
        .map_err(|error| error.to_string())
}

/// Dictionaries of view types, which some tools write and few programs take, as what they stand for.
fn plain(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields: Vec<FieldRef> = batch.schema_ref().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for (field, column) in fields.iter_mut().zip(&mut columns) {
        let to = match field.data_type() {
            DataType::Dictionary(_, of) if **of == DataType::Utf8View => DataType::Utf8,
            DataType::Dictionary(_, of) if **of == DataType::BinaryView => DataType::Binary,
            _ => continue,
        };
        let DataType::Dictionary(_, of) = field.data_type() else {
            continue;
        };
        let views = arrow_cast::cast(column, of)?;
        *column = arrow_cast::cast(&views, &to)?;
        *field = Arc::new(field.as_ref().clone().with_data_type(to));
    }
    let schema = Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns)
}

/// Rows in a file, which is opened as often as they are read.
#[derive(Debug)]
pub(crate) struct FileRows {
    path: PathBuf,
    columns: Columns,
    /// What the file was when it was opened first.
    first: Mutex<Option<Version>>,
    /// What was noticed when it was read first.
    noticed: Noticed,
}

/// Length and time of the last change.
type Version = (u64, Option<SystemTime>);

impl FileRows {
    /// The rows of a file, of which so many will be taken.
    pub(crate) fn new(path: PathBuf, columns: Columns, limit: Option<u64>) -> Self {
        Self {
            path,
            columns,
            first: Mutex::new(None),
            noticed: Noticed {
                limit,
                ..Noticed::default()
            },
        }
    }
}

impl FileRows {
    /// Rows of a CSV with a wrong cell are set aside; files with types have none.
    pub(crate) fn sifting(mut self, aside: Arc<Aside>) -> Self {
        self.noticed.sifted = Some(Sifting::Aside(aside));
        self
    }
}

impl EntitySource for FileRows {
    fn open(&self) -> Result<BatchStream> {
        let version = version(&self.path)?;
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        // What is read a second time was noticed before.
        let noticed = match *first {
            None => self.noticed.clone(),
            Some(_) => self.noticed.again(),
        };
        if *first.get_or_insert(version) != version {
            return Err(changed(&self.path));
        }
        let path = self.path.clone();
        // After every batch, because nobody may read on to the end.
        let same = move |batch: RecordBatch| match self::version(&path) {
            Ok(now) if now == version => Ok(batch),
            _ => Err(changed(&path)),
        };
        let batches = noticing(&self.path, &self.columns, noticed)?;
        let batches = stream::iter(batches.map(move |batch| batch.and_then(&same)));
        // A file is never waited for, so without this nothing else would get its turn, an interrupt neither.
        let batches = batches.then(|batch| async {
            tokio::task::yield_now().await;
            batch
        });
        Ok(batches.boxed())
    }

    fn warnings(&self) -> Vec<String> {
        let zone = self.columns.timezone.as_deref();
        zone.map_or_else(Vec::new, |zone| self.noticed.warnings(zone))
    }
}

fn version(path: &Path) -> Result<Version> {
    let metadata = open(path)?.metadata();
    let metadata = metadata.map_err(|cause| {
        Error::unavailable(format!("`{}` cannot be examined", path.display())).source(cause)
    })?;
    Ok((metadata.len(), metadata.modified().ok()))
}

fn changed(path: &Path) -> Error {
    Error::conflict(format!("`{}` changed while it was read", path.display()))
        .help("run again, and leave the file as it is meanwhile")
}

/// Opens a regular file. One that is none could be read but once, and opening a pipe waits for a writer.
pub(crate) fn open(path: &Path) -> Result<File> {
    let failed = |cause: std::io::Error| match cause.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file `{}`", path.display())),
        _ => Error::unavailable(format!("`{}` cannot be opened", path.display())).source(cause),
    };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::input(format!("`{}` is no regular file", path.display()))
            .help("write the rows to a file first; a folder, a pipe or a device is none"));
    }
    File::open(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, DictionaryArray, Int32Array, StringArray, StringViewArray, cast::AsArray};
    use futures::{TryStreamExt, executor::block_on};
    use larder::ErrorKind;

    use super::*;

    #[test]
    fn a_file_that_changes_between_readings_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csv");
        std::fs::write(&path, "user_id\n1\n2\n").unwrap();
        let rows = FileRows::new(path.clone(), Columns::default(), None);
        let read = |rows: &FileRows| block_on(rows.open()?.try_collect::<Vec<_>>());
        assert_eq!(read(&rows).unwrap()[0].num_rows(), 2);
        assert_eq!(read(&rows).unwrap()[0].num_rows(), 2);
        let open = rows.open().unwrap();
        std::fs::write(&path, "user_id\n1\n2\n3\n").unwrap();
        let error = block_on(open.try_collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(read(&rows).unwrap_err().kind(), ErrorKind::Conflict);
    }

    #[test]
    fn codes_in_a_csv_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csv");
        std::fs::write(
            &path,
            "\u{feff}zip,n,at\n02134,10,2026-01-02\n94110,0,2026-01-03\n",
        )
        .unwrap();
        let rows = read(&path, &Columns::default()).unwrap();
        assert_eq!(rows[0].column(0).as_string::<i32>().value(0), "02134");
        assert_eq!(*rows[0].column(1).data_type(), DataType::Int64);
    }

    #[test]
    fn dictionaries_of_views_become_plain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.arrow");
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b"]));
        let keys = Int32Array::from(vec![Some(1), None, Some(0)]);
        let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
        let batch = RecordBatch::try_from_iter([("seg", dictionary)]).unwrap();
        let file = File::create(&path).unwrap();
        let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let rows = read(&path, &Columns::default()).unwrap();
        let want = StringArray::from(vec![Some("b"), None, Some("a")]);
        assert_eq!(rows[0].column(0).as_string::<i32>(), &want);
    }
}
