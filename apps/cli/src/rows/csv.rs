//! How does text in CSV become typed columns?
//!
//! All cells are read as text first and then turned column by column, so that a wrong cell is
//! named by line and column, and never by its value, which may be sensitive.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_csv::reader::Format;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use larder::convert::{Zone, array_of, arrow_type, coerce};
use larder::{Diagnostic, Error, ErrorKind, Result, ScalarType, Value, ValueType};

use super::aside;
use super::guess::{LOOK_AT, settle};
use super::read::{Columns, Noticed};

/// Bad rows that an error shows.
const SHOWN: usize = 20;

/// What to do about a time without a zone; those of a source have it where the source is defined.
const NAME_ITS_ZONE: &str =
    "give its zone with --timezone, such as --timezone UTC, or write 2026-05-01T00:00:00Z";

/// Opens a CSV file with a header; its rows come batch by batch.
pub(super) fn batches(path: &Path, file: File, columns: &Columns, noticed: Noticed) -> Result<Rows> {
    Rows::open(path, file, columns, noticed)
}

/// Rows of a CSV file, batch by batch.
pub(super) struct Rows {
    path: PathBuf,
    reader: arrow_csv::Reader<File>,
    names: Vec<String>,
    /// For each column the type that is declared for it, or else what its rows look like.
    types: Vec<Result<ValueType, DataType>>,
    zone: Option<Zone>,
    /// The source whose rows they are, if they are pushed.
    source: Option<String>,
    /// Those of them that were found to have a wrong cell.
    refused: Refused,
    /// Line of the next row in the file.
    line: usize,
    noticed: Noticed,
}

impl Rows {
    fn open(path: &Path, mut file: File, columns: &Columns, noticed: Noticed) -> Result<Self> {
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
        let declared: Vec<bool> = names
            .iter()
            .map(|name| columns.types.contains_key(name))
            .collect();
        let look = || settle(&file, &texts, &looks_like, &declared);
        let guesses = noticed.guesses(look).map_err(bad)?;
        skip_mark(&mut file)?;
        let reader = arrow_csv::ReaderBuilder::new(texts)
            .with_header(true)
            .with_batch_size(65_536)
            .build(file)
            .map_err(bad)?;
        let types = names.iter().zip(guesses);
        let types = types.map(|(name, guess)| columns.types.get(name).copied().ok_or(guess));
        Ok(Self {
            path: path.to_owned(),
            reader,
            types: types.collect(),
            names,
            zone: columns.timezone.as_deref().map(Zone::new).transpose()?,
            source: columns.source.clone(),
            refused: Refused::default(),
            line: 2,
            noticed,
        })
    }

    fn typed(&mut self, texts: RecordBatch) -> Result<RecordBatch> {
        let rows = texts.num_rows();
        let typed = match &self.noticed.sifted {
            Some(tell) => {
                let (good, sifted) = self.sift(texts)?;
                tell.take(sifted);
                self.columns(&good)
            }
            None => match self.columns(&texts) {
                Err(first) if self.source.is_some() => self.refuse(texts, first),
                typed => typed,
            },
        };
        self.line += rows;
        typed
    }

    /// All columns of rows of which each cell can be typed; otherwise the first that cannot.
    fn columns(&self, texts: &RecordBatch) -> Result<RecordBatch> {
        let mut named = Vec::with_capacity(self.names.len());
        for (i, name) in self.names.iter().enumerate() {
            let mut notice = |local: &ArrayRef| {
                if let Some(zone) = &self.zone {
                    // The header is the first line.
                    self.noticed.times(name, local, zone, self.line - 2);
                }
            };
            let array = self.column(i, texts.column(i).as_string(), &mut notice);
            named.push((name, array.map_err(|wrong| wrong.at(self, name))?, true));
        }
        RecordBatch::try_from_iter_with_nullable(named)
            .map_err(|e| Error::internal("rows of a CSV could not be put together").source(e))
    }

    fn column(
        &self,
        i: usize,
        cells: &StringArray,
        notice: &mut dyn FnMut(&ArrayRef),
    ) -> Result<ArrayRef, Wrong> {
        match &self.types[i] {
            Ok(of) => declared(cells, *of, self.zone.as_ref(), notice),
            Err(looks_like) => guessed(cells, looks_like),
        }
    }

    fn sift(&self, texts: RecordBatch) -> Result<(RecordBatch, aside::Sifted)> {
        aside::sift(texts, &self.names, |i, cells| self.column(i, cells, &mut |_| {}))
    }

    /// Goes on without the rows that have a wrong cell: at the end of the file they are told, all at once.
    fn refuse(&mut self, texts: RecordBatch, first: Error) -> Result<RecordBatch> {
        let (good, sifted) = self.sift(texts)?;
        if sifted.wrong().is_empty() {
            return Err(first);
        }
        self.refused.rows += sifted.wrong().len();
        let room = SHOWN - self.refused.shown.len();
        let shown = sifted.wrong().iter().take(room);
        let shown = shown.map(|(row, why)| {
            Diagnostic::new(format!(
                "`{}`, line {}, {why}",
                self.path.display(),
                self.line + row
            ))
        });
        self.refused.shown.extend(shown);
        let help = first.remedy().map(str::to_owned);
        self.refused.help = self.refused.help.take().or(help);
        self.columns(&good)
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(texts) = self.reader.next() else {
            let refused = std::mem::take(&mut self.refused);
            return (refused.rows > 0).then(|| Err(refused.error(&self.path, self.line - 2)));
        };
        let texts = texts.map_err(|cause| no_csv(&self.path, cause));
        Some(texts.and_then(|texts| self.typed(texts)))
    }
}

/// Rows to push that have a wrong cell, for each of which none is pushed.
#[derive(Default)]
struct Refused {
    rows: usize,
    shown: Vec<Diagnostic>,
    help: Option<String>,
}

impl Refused {
    fn error(self, path: &Path, rows: usize) -> Error {
        let (path, bad, shown) = (path.display(), self.rows, self.shown.len());
        let more = if bad > shown {
            format!("; {shown} are told")
        } else {
            String::new()
        };
        let what = format!("the {rows} rows of `{path}` ({bad} bad{more})");
        let help = self.help.map(|help| format!("{help}; ")).unwrap_or_default();
        Error::from_diagnostics(ErrorKind::Input, &what, self.shown).help(format!(
            "{help}nothing was written; mend the rows, or set them aside with `--dead-letter FILE`"
        ))
    }
}

fn no_csv(path: &Path, cause: arrow_schema::ArrowError) -> Error {
    let path = path.display();
    // Arrow tells the line in words only.
    let text = cause.to_string();
    let line = text.rsplit_once(" line ").map(|(_, rest)| rest);
    let line = line.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let what = match line.filter(|digits| !digits.is_empty()) {
        Some(line) => format!("`{path}`, line {line}, cannot be read as CSV"),
        None => format!("`{path}` is no CSV with a header"),
    };
    Error::input(what)
        .help("the first line names the columns; every line has as many cells, in UTF-8")
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
    fn at(self, rows: &Rows, column: &str) -> Error {
        let error = Error::input(format!(
            "`{}`, line {}, column `{column}`: {}",
            rows.path.display(),
            rows.line + self.row,
            self.what
        ));
        match (self.help, &rows.source) {
            (Some(NAME_ITS_ZONE), Some(source)) => error.help(format!(
                "name its zone where source `{source}` is defined, such as `timezone: UTC`, or write 2026-05-01T00:00:00Z"
            )),
            (Some(help), _) => error.help(help),
            (None, _) => error,
        }
    }
}

fn guessed(cells: &StringArray, looks_like: &DataType) -> Result<ArrayRef, Wrong> {
    match looks_like {
        DataType::Int64 | DataType::Float64 | DataType::Boolean | DataType::Date32 => {
            // All rows were looked at, so this one has come or changed since.
            cast(cells, looks_like).map_err(|row| Wrong {
                row,
                what: format!("not of type {looks_like}, as the other rows are"),
                help: Some("leave the file as it is while it is read"),
            })
        }
        _ => Ok(Arc::new(cells.clone())),
    }
}

/// Cells as a declared type; `notice` is shown the wall-clock times among them.
fn declared(
    cells: &StringArray,
    of: ValueType,
    zone: Option<&Zone>,
    notice: &mut dyn FnMut(&ArrayRef),
) -> Result<ArrayRef, Wrong> {
    match of {
        ValueType::STRING => Ok(Arc::new(cells.clone())),
        ValueType::TIMESTAMP => timestamps(cells, zone, notice),
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
pub(super) fn cast(cells: &StringArray, to: &DataType) -> Result<ArrayRef, usize> {
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let array = cast_with_options(cells, to, &options).map_err(|_| 0_usize)?;
    let is_lost = |row: &usize| {
        cells.is_valid(*row) && (array.is_null(*row) || is_too_large(cells.value(*row), &array, *row))
    };
    match (0..cells.len()).find(is_lost) {
        Some(row) => Err(row),
        None => Ok(array),
    }
}

/// Whether a number that its type cannot hold was made an infinity; `inf` is one.
fn is_too_large(cell: &str, array: &ArrayRef, row: usize) -> bool {
    let is_infinite = match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).is_infinite(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).is_infinite(),
        _ => false,
    };
    is_infinite && cell.bytes().any(|byte| byte.is_ascii_digit())
}

fn timestamps(
    cells: &StringArray,
    zone: Option<&Zone>,
    notice: &mut dyn FnMut(&ArrayRef),
) -> Result<ArrayRef, Wrong> {
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
            help: Some(NAME_ITS_ZONE),
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
    notice(&local);
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
                source: None,
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

    #[test]
    fn a_number_too_large_for_its_type_is_no_infinity() {
        for (of, cell) in [
            ("float32", "1e300"),
            ("float32", "-3.5e38"),
            ("float64", "1e400"),
            ("list<float32>", "\"[1, 1e300]\""),
            ("vector(float32, 1)", "[1e300]"),
        ] {
            let text = format!("id,x\n1,\n2,{cell}\n");
            let error = read_text(&text, &[("x", of)], None).unwrap_err().to_string();
            let place = format!("line 3, column `x`: not of type {}", of.replace(", ", ","));
            assert!(error.replace(", 1)", ",1)").contains(&place), "{error}");
        }
        let written = read_text("x\ninf\n-Infinity\n", &[("x", "float64")], None).unwrap();
        let written = written[0].column(0).as_primitive::<Float64Type>();
        assert_eq!(written.values(), &[f64::INFINITY, f64::NEG_INFINITY]);
        // What no number can hold stays the text it is.
        let guessed = read_text("x\n1.5\n1e400\n", &[], None).unwrap();
        assert_eq!(guessed[0].column(0).as_string::<i32>().value(1), "1e400");
    }

    #[test]
    fn all_rows_tell_what_a_column_holds() {
        // What the last rows show decides for all, whatever the first thousand look like.
        let mut text = "zip,n,share,flag,day,plain\n".to_owned();
        for n in 0..70_000 {
            text.push_str(&format!("{},{n},{n},true,2026-01-02,{n}\n", 10_000 + n));
        }
        text.push_str("02134,,0.5,1,2026-01-02T10:00:00,7\n");
        let batches = read_text(&text, &[], None).unwrap();
        assert!(batches.len() > 1);
        let types = |batch: &RecordBatch| -> Vec<DataType> {
            let fields = batch.schema_ref().fields().iter();
            fields.map(|field| field.data_type().clone()).collect()
        };
        for batch in &batches {
            let expected = [
                DataType::Utf8,
                DataType::Int64,
                DataType::Float64,
                DataType::Utf8,
                DataType::Utf8,
                DataType::Int64,
            ];
            assert_eq!(types(batch), expected);
        }
        let last = batches.last().unwrap();
        let row = last.num_rows() - 1;
        assert_eq!(last.column(0).as_string::<i32>().value(row), "02134");
        assert_eq!(batches[0].column(0).as_string::<i32>().value(0), "10000");
        assert_eq!(
            last.column(4).as_string::<i32>().value(row),
            "2026-01-02T10:00:00"
        );
        // Declared columns are what they are declared as.
        let declared = read_text(&text, &[("zip", "int64")], None).unwrap();
        assert_eq!(*declared[0].column(0).data_type(), DataType::Int64);
    }
}
