//! How are rows written to a file, whole or not at all?

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use larder::convert::{arrow_type, coerce, infer_type, value_at};
use larder::{Error, Result, ValueType};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::whole::{Temporary, cannot, folder};

/// Encoded bytes of a Parquet row group: large enough to read well, small enough to be written
/// from memory, of several files at once.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// A file of rows under a temporary name beside its place, until [`RowsFile::finish`].
pub(crate) struct RowsFile {
    temporary: Temporary,
    writer: Writer,
}

enum Writer {
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
    Csv(Box<arrow_csv::Writer<BufWriter<File>>>, SchemaRef),
    Arrow(Box<arrow_ipc::writer::FileWriter<BufWriter<File>>>),
}

/// A file that is complete and durable, and waits for its name.
#[derive(Debug)]
pub(crate) struct Sealed {
    temporary: Temporary,
    bytes: u64,
}

impl Sealed {
    /// Where the file belongs.
    pub(crate) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was written, from its beginning, for one reader at a time.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read.
    pub(crate) fn open(&self) -> Result<File> {
        self.temporary.open()
    }

    /// Gives the file its name; what stood there is replaced at once.
    ///
    /// # Errors
    /// `Unavailable` when that fails; then nothing is left behind.
    pub(crate) fn place(self) -> Result<()> {
        self.temporary.place()
    }
}

impl RowsFile {
    /// Refuses early what could not be written in the end.
    ///
    /// # Errors
    /// `Input` for an unknown kind of file or a folder that does not exist.
    pub(crate) fn check(path: &Path) -> Result<()> {
        kind(path)?;
        let folder = folder(path);
        if !folder.is_dir() {
            return Err(
                Error::input(format!("there is no folder `{}`", folder.display())).help("create it first")
            );
        }
        if path.is_dir() {
            return Err(Error::input(format!("`{}` is a folder", path.display())).help("name a file"));
        }
        Ok(())
    }

    /// Begins a file of the kind its extension names: `.parquet` (zstd), `.csv`, `.arrow`.
    ///
    /// # Errors
    /// As [`RowsFile::check`], and `Unavailable` when it cannot be written.
    pub(crate) fn create(path: &Path, schema: &SchemaRef) -> Result<Self> {
        Self::create_within(path, schema, None)
    }

    /// The same, with about so many bytes of memory for rows that are not written yet.
    ///
    /// # Errors
    /// As [`RowsFile::create`].
    pub(crate) fn create_within(path: &Path, schema: &SchemaRef, memory: Option<u64>) -> Result<Self> {
        Self::check(path)?;
        let kind = kind(path)?;
        let (temporary, file) = Temporary::create(path)?;
        let file = BufWriter::new(file);
        let writer = match kind {
            Kind::Parquet => {
                let level = ZstdLevel::try_new(3).map_err(|cause| cannot(path, cause))?;
                let mut properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(level))
                    .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
                if let Some(memory) = memory {
                    // Half for the row group, half for the pages and dictionaries of all columns.
                    let memory = usize::try_from(memory).unwrap_or(usize::MAX);
                    let page = (memory / 4 / schema.fields().len().max(1)).clamp(16 << 10, 1 << 20);
                    properties = properties
                        .set_max_row_group_bytes(Some((memory / 2).clamp(1 << 20, ROW_GROUP_BYTES)))
                        .set_data_page_size_limit(page)
                        .set_dictionary_page_size_limit(page);
                }
                let properties = properties.build();
                let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties));
                Writer::Parquet(Box::new(writer.map_err(|cause| cannot(path, cause))?))
            }
            Kind::Csv => Writer::Csv(Box::new(arrow_csv::Writer::new(file)), schema.clone()),
            Kind::Arrow => {
                let writer = arrow_ipc::writer::FileWriter::try_new(file, schema);
                Writer::Arrow(Box::new(writer.map_err(|cause| cannot(path, cause))?))
            }
        };
        Ok(Self { temporary, writer })
    }

    /// Adds metadata that Parquet and Arrow files carry; a CSV has no place for it.
    pub(crate) fn note(&mut self, key: &str, value: &str) {
        match &mut self.writer {
            Writer::Parquet(writer) => {
                writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
            }
            Writer::Csv(..) => {}
            Writer::Arrow(writer) => writer.write_metadata(key, value),
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// `Unavailable` when they cannot be written, such as on a full disk.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.temporary.path();
        match &mut self.writer {
            Writer::Parquet(writer) => writer.write(batch).map_err(|cause| cannot(path, cause)),
            Writer::Csv(writer, _) => writer.write(&flat(batch)?).map_err(|cause| cannot(path, cause)),
            Writer::Arrow(writer) => writer.write(batch).map_err(|cause| cannot(path, cause)),
        }
    }

    /// Makes the file durable and gives it its name; what stood there is replaced at once.
    ///
    /// # Errors
    /// `Unavailable` when that fails; then nothing is left behind.
    pub(crate) fn finish(self) -> Result<u64> {
        let sealed = self.seal()?;
        let bytes = sealed.bytes();
        sealed.place()?;
        Ok(bytes)
    }

    /// Makes the file complete and durable.
    ///
    /// # Errors
    /// `Unavailable` when that fails; then nothing is left behind.
    pub(crate) fn seal(self) -> Result<Sealed> {
        let Self { temporary, writer } = self;
        let path = temporary.path();
        let into_file = |buffered: BufWriter<File>| {
            buffered
                .into_inner()
                .map_err(|cause| cannot(path, cause.into_error()))
        };
        let file = match writer {
            Writer::Parquet(writer) => into_file(writer.into_inner().map_err(|cause| cannot(path, cause))?)?,
            Writer::Csv(mut writer, schema) => {
                // Without rows nothing has written the header yet.
                let empty = flat(&RecordBatch::new_empty(schema))?;
                writer.write(&empty).map_err(|cause| cannot(path, cause))?;
                into_file(writer.into_inner())?
            }
            Writer::Arrow(mut writer) => {
                writer.finish().map_err(|cause| cannot(path, cause))?;
                into_file(writer.into_inner().map_err(|cause| cannot(path, cause))?)?
            }
        };
        file.sync_all().map_err(|cause| cannot(path, cause))?;
        let bytes = file.metadata().map_err(|cause| cannot(path, cause))?.len();
        Ok(Sealed { temporary, bytes })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Parquet,
    Csv,
    Arrow,
}

fn kind(path: &Path) -> Result<Kind> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
        .to_lowercase();
    match extension.as_str() {
        "parquet" => Ok(Kind::Parquet),
        "csv" => Ok(Kind::Csv),
        "arrow" | "feather" | "ipc" => Ok(Kind::Arrow),
        _ => Err(
            Error::input(format!("`{}` is no file of a known kind", path.display()))
                .help("write to .parquet, .csv or .arrow"),
        ),
    }
}

/// Writes rows as CSV with a header.
///
/// # Errors
/// `Unavailable` when they cannot be written.
pub(crate) fn write_csv(out: impl Write, batch: &RecordBatch) -> Result<()> {
    let failed = |cause: ArrowError| Error::unavailable("rows cannot be written as CSV").source(cause);
    arrow_csv::Writer::new(out).write(&flat(batch)?).map_err(failed)
}

/// The same rows with the zones of instants as offsets, the only ones Arrow's text knows.
///
/// # Errors
/// `Unsupported` for a column that cannot be turned.
pub(crate) fn in_utc(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if let DataType::Timestamp(unit, Some(_)) = column.data_type() {
            // The unit stays: instants before or after what µs can hold are shown, too.
            let offset = DataType::Timestamp(*unit, Some("+00:00".into()));
            let instants = arrow_cast::cast(column, &offset).map_err(|e| {
                Error::unsupported(format!("column `{}` cannot be shown", field.name())).source(e)
            })?;
            fields.push(Arc::new(Field::new(field.name(), offset, true)));
            columns.push(instants);
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| Error::internal("rows could not be put together").source(e))
}

/// The same rows with lists, vectors and bytes as text, since CSV knows no others.
fn flat(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    let batch = in_utc(batch)?;
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let of = infer_type(column.data_type());
        let as_text = of
            .filter(|of| matches!(of, ValueType::List(_) | ValueType::Vector(_)) || *of == ValueType::BYTES);
        match as_text {
            Some(of) => {
                let canonical = match column.data_type() == &arrow_type(of) {
                    true => column.clone(),
                    false => coerce(column, of, None)?,
                };
                let text = (0..canonical.len()).map(|row| match value_at(&canonical, row, of) {
                    larder::Value::Null => None,
                    value => Some(value.to_string()),
                });
                fields.push(Field::new(field.name(), DataType::Utf8, true));
                columns.push(Arc::new(text.collect::<StringArray>()));
            }
            None => {
                fields.push(field.as_ref().clone());
                columns.push(column.clone());
            }
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| Error::internal("rows could not be put together").source(e))
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;

    use super::*;
    use crate::rows::{Columns, read};

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef)])
            .unwrap()
    }

    #[test]
    fn csv_has_instants_and_lists_as_text() {
        let times = arrow_array::TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC");
        let list = larder::convert::array_of(
            &[larder::Value::List(vec![
                larder::Value::Int64(1),
                larder::Value::Null,
            ])],
            "list<int64>".parse().unwrap(),
        );
        let batch =
            RecordBatch::try_from_iter([("at", Arc::new(times) as ArrayRef), ("l", list.unwrap())]).unwrap();
        let mut out = Vec::new();
        write_csv(&mut out, &batch).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "at,l\n1970-01-01T00:00:01.500Z,\"[1,null]\"\n");
    }

    #[test]
    fn any_zone_and_unit_becomes_utc_in_csv() {
        let times = arrow_array::TimestampMillisecondArray::from(vec![1_000]);
        let batch = RecordBatch::try_from_iter([(
            "at",
            Arc::new(times.with_timezone("Europe/Stockholm")) as ArrayRef,
        )])
        .unwrap();
        let mut out = Vec::new();
        write_csv(&mut out, &batch).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "at\n1970-01-01T00:00:01Z\n");
        assert_eq!(
            crate::output::batch_json(&batch).unwrap()[0]["at"],
            "1970-01-01T00:00:01Z"
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.parquet", "a.csv", "a.arrow"] {
            let path = dir.path().join(name);
            std::fs::write(&path, "old").unwrap();
            let mut file = RowsFile::create(&path, &batch().schema()).unwrap();
            file.write(&batch()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "old", "{name}");
            assert!(file.finish().unwrap() > 3);
            let rows = read(&path, &Columns::default()).unwrap();
            assert_eq!(rows[0].column(0), batch().column(0), "{name}");
        }
    }

    #[test]
    fn nothing_is_left_of_work_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let mut file = RowsFile::create(&path, &batch().schema()).unwrap();
        file.write(&batch()).unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(RowsFile::check(&dir.path().join("no/a.parquet")).is_err());
        assert!(RowsFile::check(&dir.path().join("a.xlsx")).is_err());
    }

    #[test]
    fn a_csv_without_rows_has_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        RowsFile::create(&path, &batch().schema())
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "id\n");
    }
}
