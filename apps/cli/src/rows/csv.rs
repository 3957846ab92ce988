//! How does text in CSV become typed columns?
//!
//! All cells are read as text first and then turned column by column, so that a wrong cell is
//! named by line and column, and never by its value, which may be sensitive.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_csv::reader::Format;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use larder::convert::{Zone, array_of, arrow_type, coerce};
use larder::{Error, Result, ScalarType, Value, ValueType};

use super::aside::Aside;
use super::read::Columns;

/// Rows that are looked at to tell what an undeclared column holds.
const LOOK_AT: usize = 1_000;

/// Opens a CSV file with a header; its rows come batch by batch.
pub(super) fn batches(path: &Path, file: File, columns: &Columns) -> Result<Rows> {
    Rows::open(path, file, columns)
}

/// Reads a CSV file with a header; rows with a wrong cell are set aside.
pub(super) fn sift(path: &Path, file: File, columns: &Columns) -> Result<(Vec<RecordBatch>, Aside)> {
    let mut aside = Aside::default();
    let mut rows = Rows::open(path, file, columns)?;
    let mut good = Vec::new();
    while let Some(batch) = rows.batch(Some(&mut aside)) {
        good.push(batch?);
    }
    Ok((good, aside))
}

/// Rows of a CSV file, batch by batch.
pub(super) struct Rows {
    path: PathBuf,
    reader: arrow_csv::Reader<File>,
    names: Vec<String>,
    /// For each column the type that is declared for it, or else what its first rows look like.
    types: Vec<Result<ValueType, DataType>>,
    zone: Option<Zone>,
    /// Line of the next row in the file.
    line: usize,
}

impl Rows {
    fn open(path: &Path, mut file: File, columns: &Columns) -> Result<Self> {
        let bad = |cause| no_csv(path, cause);
        let format = Format::default().with_header(true);
        skip_mark(&mut file)?;
        let (looks_like, _) = format.infer_schema(&mut file, Some(LOOK_AT)).map_err(bad)?;
        skip_mark(&mut file)?;
        let fields = looks_like.fields().iter();
        let names: Vec<String> = fields.map(|field| field.name().trim().to_owned()).collect();
        refuse_twice(path, &names)?;
        let texts = names.iter().map(|name| Field::new(name, DataType::Utf8, true));
        let texts = Arc::new(Schema::new(texts.collect::<Vec<_>>()));
        let codes = codes(&file, texts.clone()).map_err(bad)?;
        skip_mark(&mut file)?;
        let reader = arrow_csv::ReaderBuilder::new(texts)
            .with_header(true)
            .with_batch_size(65_536)
            .build(file)
            .map_err(bad)?;
        let types = names.iter().zip(looks_like.fields()).zip(codes);
        let types = types.map(|((name, field), is_code)| match columns.types.get(name) {
            Some(of) => Ok(*of),
            None if is_code => Err(DataType::Utf8),
            None => Err(field.data_type().clone()),
        });
        Ok(Self {
            path: path.to_owned(),
            reader,
            types: types.collect(),
            names,
            zone: columns.timezone.as_deref().map(Zone::new).transpose()?,
            line: 2,
        })
    }

    /// The next rows; those with a wrong cell are set aside where there is a place for them.
    fn batch(&mut self, aside: Option<&mut Aside>) -> Option<Result<RecordBatch>> {
        let texts = self.reader.next()?;
        Some(
            texts
                .map_err(|cause| no_csv(&self.path, cause))
                .and_then(|texts| self.typed(texts, aside)),
        )
    }

    fn typed(&mut self, mut texts: RecordBatch, aside: Option<&mut Aside>) -> Result<RecordBatch> {
        let rows = texts.num_rows();
        let typed = |i: usize, cells: &StringArray| match &self.types[i] {
            Ok(of) => declared(cells, *of, self.zone.as_ref()),
            Err(looks_like) => guessed(cells, looks_like),
        };
        if let Some(aside) = aside {
            texts = aside.sift(texts, &self.names, typed)?;
        }
        let mut arrays = Vec::with_capacity(self.names.len());
        for (i, name) in self.names.iter().enumerate() {
            let array = typed(i, texts.column(i).as_string::<i32>());
            arrays.push(array.map_err(|wrong| wrong.at(&self.path, name, self.line))?);
        }
        self.line += rows;
        let named = self.names.iter().cloned().zip(arrays);
        RecordBatch::try_from_iter_with_nullable(named.map(|(name, array)| (name, array, true)))
            .map_err(|e| Error::internal("rows of a CSV could not be put together").source(e))
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch(None)
    }
}

/// For each column, whether its first rows have digits that are no number, such as the postal code `02134`: as numbers
/// they would not come out as they went in.
fn codes(file: &File, texts: Arc<Schema>) -> std::result::Result<Vec<bool>, arrow_schema::ArrowError> {
    let columns = texts.fields().len();
    let reader = arrow_csv::ReaderBuilder::new(texts)
        .with_header(true)
        .with_batch_size(LOOK_AT)
        .build(file)?;
    let Some(first) = reader.into_iter().next().transpose()? else {
        return Ok(vec![false; columns]);
    };
    let is_code = |cell: &str| {
        let digits = cell.strip_prefix(['+', '-']).unwrap_or(cell).as_bytes();
        matches!(digits, [b'0', b'0'..=b'9', ..]) && !cell.contains([':', '-', 'T'])
    };
    let columns = first.columns().iter();
    Ok(columns
        .map(|column| column.as_string::<i32>().iter().flatten().any(is_code))
        .collect())
}

fn no_csv(path: &Path, cause: arrow_schema::ArrowError) -> Error {
    Error::input(format!("`{}` is no CSV with a header", path.display()))
        .help("the first line names the columns; every line has as many cells")
        .source(cause)
}

fn refuse_twice(path: &Path, names: &[String]) -> Result<()> {
    match names
        .iter()
        .enumerate()
        .find(|(i, name)| names[..*i].contains(name))
    {
        Some((_, name)) => Err(Error::input(format!(
            "`{}` has two columns `{name}`",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// Goes to the first name; spreadsheets put a byte-order mark before it.
fn skip_mark(file: &mut File) -> Result<()> {
    let mut mark = [0_u8; 3];
    let failed = |cause| Error::unavailable("a CSV file cannot be read").source(cause);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let read = file.read(&mut mark).map_err(failed)?;
    if read < 3 || mark != *b"\xef\xbb\xbf" {
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
    }
    Ok(())
}

/// What is wrong with a cell: the row within its batch and what was expected.
pub(super) struct Wrong {
    row: usize,
    pub(super) what: String,
    help: Option<&'static str>,
}

impl Wrong {
    fn at(self, path: &Path, column: &str, first_line: usize) -> Error {
        let error = Error::input(format!(
            "`{}`, line {}, column `{column}`: {}",
            path.display(),
            first_line + self.row,
            self.what
        ));
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

fn guessed(cells: &StringArray, looks_like: &DataType) -> Result<ArrayRef, Wrong> {
    match looks_like {
        DataType::Int64 | DataType::Float64 | DataType::Boolean | DataType::Date32 => {
            // The guess comes from the first rows; where a later one disagrees it stays text.
            Ok(cast(cells, looks_like).unwrap_or_else(|_| Arc::new(cells.clone())))
        }
        _ => Ok(Arc::new(cells.clone())),
    }
}

fn declared(cells: &StringArray, of: ValueType, zone: Option<&Zone>) -> Result<ArrayRef, Wrong> {
    match of {
        ValueType::STRING => Ok(Arc::new(cells.clone())),
        ValueType::TIMESTAMP => timestamps(cells, zone),
        ValueType::Scalar(
            ScalarType::Bool
            | ScalarType::Int32
            | ScalarType::Int64
            | ScalarType::Float32
            | ScalarType::Float64
            | ScalarType::Date,
        ) => cast(cells, &arrow_type(of)).map_err(|row| Wrong {
            row,
            what: format!("not of type {of}"),
            help: None,
        }),
        _ => {
            let mut values = Vec::with_capacity(cells.len());
            for (row, cell) in cells.iter().enumerate() {
                values.push(match cell {
                    None => Value::Null,
                    Some(text) => Value::parse(text.trim(), of).map_err(|_| Wrong {
                        row,
                        what: format!("not of type {of}"),
                        help: None,
                    })?,
                });
            }
            array_of(&values, of).map_err(|_| Wrong {
                row: 0,
                what: format!("not of type {of}"),
                help: None,
            })
        }
    }
}

/// Casts text; the error is the first row that had a value and got none.
fn cast(cells: &StringArray, to: &DataType) -> Result<ArrayRef, usize> {
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let array = cast_with_options(cells, to, &options).map_err(|_| 0_usize)?;
    if array.null_count() > cells.null_count() {
        let lost = (0..cells.len()).find(|row| cells.is_valid(*row) && array.is_null(*row));
        return Err(lost.unwrap_or(0));
    }
    Ok(array)
}

fn timestamps(cells: &StringArray, zone: Option<&Zone>) -> Result<ArrayRef, Wrong> {
    let not_an_instant = |row| Wrong {
        row,
        what: "not an instant".to_owned(),
        help: Some("write RFC 3339 such as 2026-05-01T00:00:00Z"),
    };
    let zoned: BooleanArray = cells.iter().map(|cell| Some(cell.is_none_or(has_zone))).collect();
    // Arrow knows offsets only; the values are the same, the name of the zone is ours.
    let offset = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let utc = |cells: &StringArray| {
        let instants = cast(cells, &offset).map_err(not_an_instant)?;
        coerce(&instants, ValueType::TIMESTAMP, None).map_err(|_| not_an_instant(0))
    };
    if zoned.false_count() == 0 {
        return utc(cells);
    }
    let naive = DataType::Timestamp(TimeUnit::Microsecond, None);
    let Some(zone) = zone else {
        let row = (0..zoned.len()).find(|row| !zoned.value(*row)).unwrap_or(0);
        // A zone would not make a time of what is none.
        cast(&cells.slice(row, 1), &naive).map_err(|_| not_an_instant(row))?;
        return Err(Wrong {
            row,
            what: "the time has no zone".to_owned(),
            help: Some(
                "give its zone with --timezone, such as --timezone UTC, or write 2026-05-01T00:00:00Z",
            ),
        });
    };
    let internal = |_| not_an_instant(0);
    let only = |keep: bool| -> StringArray {
        let pairs = cells.iter().zip(zoned.values().iter());
        pairs
            .map(|(cell, zoned)| cell.filter(|_| zoned == keep))
            .collect()
    };
    let with_zone = utc(&only(true))?;
    let local = cast(&only(false), &naive).map_err(not_an_instant)?;
    let local = coerce(&local, ValueType::TIMESTAMP, Some(zone)).map_err(|_| not_an_instant(0))?;
    arrow_select::zip::zip(&zoned, &with_zone, &local).map_err(internal)
}

/// Whether a written time ends in `Z` or an offset; the date's own hyphens do not count.
fn has_zone(text: &str) -> bool {
    let text = text.trim();
    let Some(clock) = text.get(10..) else {
        return false;
    };
    clock.ends_with(['Z', 'z']) || clock.contains(['+', '-'])
}

#[cfg(test)]
mod tests {
    use arrow_array::types::{Int64Type, TimestampMicrosecondType};

    use super::*;

    fn read_text(text: &str, columns: &[(&str, &str)], zone: Option<&str>) -> Result<Vec<RecordBatch>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csv");
        std::fs::write(&path, text).unwrap();
        let types = columns
            .iter()
            .map(|(name, of)| ((*name).to_owned(), of.parse().unwrap()))
            .collect();
        super::super::read(
            &path,
            &Columns {
                types,
                timezone: zone.map(str::to_owned),
            },
        )
    }

    #[test]
    fn declared_types_win_and_others_are_guessed() {
        let text = "\u{feff}id,at,n,label,tags\n007,2026-05-01T00:00:00+02:00,1,x,\"[1,2]\"\n,,2,,\n";
        let batches = read_text(
            text,
            &[("id", "string"), ("at", "timestamp"), ("tags", "list<int32>")],
            None,
        )
        .unwrap();
        let batch = &batches[0];
        assert_eq!(batch.column(0).as_string::<i32>().value(0), "007");
        assert!(batch.column(0).is_null(1));
        let at = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(
            at.value(0),
            "2026-04-30T22:00:00Z".parse::<larder::Micros>().unwrap().0
        );
        assert_eq!(batch.column(2).as_primitive::<Int64Type>().value(1), 2);
        assert_eq!(batch.column(4).as_list::<i32>().value_length(0), 2);
    }

    #[test]
    fn times_without_a_zone_need_one_to_be_named() {
        let text = "at\n2026-05-01T12:00:00Z\n2026-05-01 12:00:00\n";
        let error = read_text(text, &[("at", "timestamp")], None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 3, column `at`") && error.contains("--timezone"),
            "{error}"
        );
        let error = read_text("at\n20/11/2026\n", &[("at", "timestamp")], None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("not an instant") && !error.contains("zone"),
            "{error}"
        );
        let batches = read_text(text, &[("at", "timestamp")], Some("+02:00")).unwrap();
        let at = batches[0].column(0).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(at.value(0) - at.value(1), 2 * 3_600_000_000);
    }

    #[test]
    fn a_wrong_cell_is_named_by_its_place_only() {
        let error = read_text("id\n1\nsecret\n", &[("id", "int64")], None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 3, column `id`: not of type int64"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
        let error = read_text("id,id\n1,2\n", &[], None).unwrap_err().to_string();
        assert!(error.contains("two columns `id`"), "{error}");
        assert!(read_text("id,b\n1\n", &[], None).is_err());
    }
}
