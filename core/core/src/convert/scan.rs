//! The columns a scan wants, out of the columns a source has.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, TimestampMicrosecondArray, cast::AsArray};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{DataType, Schema};
use arrow_select::concat::concat_batches;
use larder_base::{Error, Result, ValueType, error::suggest};

use super::{Zone, accepts, coerce, null_array};
use crate::offline::ViewScan;

/// Marks, in a field's metadata, a column whose values are text outside of the data (the `k=v` folders of a path) and
/// are read as whatever scalar type a view declares. The field's own type is only what the values look like.
pub const PARTITION: &str = "larder.partition";

/// Name of the last column in batches of a scan whose source has `tie_break` columns: their row
/// format, which compares as bytes like the columns do.
pub const TIE_BREAK_COLUMN: &str = "__tie_break";

/// The row format of tie-break columns; `None` where there are none. Nulls are smallest.
///
/// # Errors
/// `Definition` for a column of a type that has no order.
pub fn tie_rows(columns: &[ArrayRef]) -> Result<Option<Rows>> {
    if columns.is_empty() {
        return Ok(None);
    }
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()))
        .collect();
    let converter = RowConverter::new(fields).map_err(|error| {
        Error::definition("a `tie_break` column is of a type that has no order").source(error)
    })?;
    let rows = converter.convert_columns(columns);
    rows.map(Some)
        .map_err(|error| Error::internal("tie-break columns could not be compared").source(error))
}

/// Several batches of the same rows as one; columns as in [`align_rows`].
///
/// # Errors
/// `Input` when there is no batch, or when one has other columns or types than the first.
pub fn concat_rows(batches: &[RecordBatch]) -> Result<RecordBatch> {
    if let [one] = batches {
        return Ok(one.clone());
    }
    let same = align_rows(batches)?;
    let schema = same.first().map(RecordBatch::schema);
    concat_batches(&schema.ok_or_else(no_rows)?, &same)
        .map_err(|error| Error::input("the batches are too large together").source(error))
}

fn no_rows() -> Error {
    Error::input("there are no rows")
}

/// Batches of the same rows with the columns of the first, in its order. Columns are matched by name, because what
/// Arrow itself does with several batches goes by position and mixes up columns that only stand in another order.
///
/// # Errors
/// `Input` when there is no batch, or when one has other columns or types than the first.
pub fn align_rows(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let [first, rest @ ..] = batches else {
        return Err(no_rows());
    };
    if rest.is_empty() {
        return Ok(vec![first.clone()]);
    }
    let other = |what: String| Error::input(format!("the batches have different columns: {what}"));
    let schema = first.schema_ref();
    let fields = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new_with_metadata(
        fields.collect::<Vec<_>>(),
        schema.metadata().clone(),
    ));
    let names = |schema: &Schema| {
        schema
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect::<Vec<_>>()
    };
    let mut same = Vec::with_capacity(batches.len());
    for (number, batch) in batches.iter().enumerate() {
        let in_order = names(batch.schema_ref()) == names(&schema);
        if !in_order && batch.num_columns() != schema.fields().len() {
            let counts = (batch.num_columns(), schema.fields().len());
            return Err(other(format!(
                "batch {number} has {} columns, the first has {}",
                counts.0, counts.1
            )));
        }
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (index, field) in schema.fields().iter().enumerate() {
            let column = match in_order {
                true => batch.column(index),
                false => batch
                    .column_by_name(field.name())
                    .ok_or_else(|| other(format!("batch {number} has no `{}`", field.name())))?,
            };
            if column.data_type() != field.data_type() {
                let types = (column.data_type(), field.data_type());
                return Err(other(format!(
                    "`{}` is {} in batch {number} and {} in the first",
                    field.name(),
                    types.0,
                    types.1
                )));
            }
            columns.push(column.clone());
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let aligned = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
        same.push(
            aligned.map_err(|error| Error::internal("columns could not be put in order").source(error))?,
        );
    }
    Ok(same)
}

/// Finds and coerces the columns of one source for one scan; shared by all stores that read
/// columns themselves.
#[derive(Debug, Clone)]
pub struct SourceColumns<'a> {
    scan: &'a ViewScan,
    zone: Option<Zone>,
}

impl<'a> SourceColumns<'a> {
    /// For a scan; parses the source's `timezone`.
    ///
    /// # Errors
    /// `Definition` for a time zone that does not exist.
    pub fn new(scan: &'a ViewScan) -> Result<Self> {
        let zone = scan.source.timezone.as_deref().map(Zone::new).transpose()?;
        Ok(Self { scan, zone })
    }

    /// Names of the source's columns that decide which row wins: keys, times, tie-breaks.
    /// Each name once, in that order.
    pub fn probe_names(&self) -> Vec<&'a str> {
        let source = &*self.scan.source;
        let mut names: Vec<&str> = self.scan.keys.iter().map(|key| key.column.as_str()).collect();
        names.push(&source.event_time);
        names.extend(source.created_time.iter().map(|created| created.column.as_str()));
        names.extend(source.tie_break.iter().map(String::as_str));
        dedup(names)
    }

    /// Names of the source's columns that hold the wanted features, each name once.
    pub fn feature_names(&self) -> Vec<&'a str> {
        dedup(
            self.scan
                .features
                .iter()
                .map(|feature| feature.column.as_str())
                .collect(),
        )
    }

    /// Checks that a source of this schema has every column in an acceptable type.
    ///
    /// # Errors
    /// `Input` naming `place` (a file), the column, and what would help.
    pub fn check(&self, schema: &Schema, place: &str) -> Result<()> {
        for (name, value_type) in self.wanted() {
            let from = self.type_of(schema, name, place)?;
            let marked = |name| {
                schema
                    .field_with_name(name)
                    .is_ok_and(|f| f.metadata().contains_key(PARTITION))
            };
            if marked(name) && matches!(value_type, ValueType::Scalar(_)) {
                continue;
            }
            accepts(from, value_type, self.zone.is_some())
                .map_err(|error| self.locate(error, name, place))?;
        }
        for name in &self.scan.source.tie_break {
            self.type_of(schema, name, place)?;
        }
        Ok(())
    }

    fn wanted(&self) -> impl Iterator<Item = (&'a str, ValueType)> {
        let source = &*self.scan.source;
        let keys = self
            .scan
            .keys
            .iter()
            .map(|key| (key.column.as_str(), key.key.value_type));
        let event = std::iter::once((source.event_time.as_str(), ValueType::TIMESTAMP));
        let created = source
            .created_time
            .iter()
            .map(|c| (c.column.as_str(), ValueType::TIMESTAMP));
        let features = self
            .scan
            .features
            .iter()
            .map(|f| (f.column.as_str(), f.value_type));
        keys.chain(event).chain(created).chain(features)
    }

    fn type_of<'s>(&self, schema: &'s Schema, name: &str, place: &str) -> Result<&'s DataType> {
        schema
            .field_with_name(name)
            .map(|field| field.data_type())
            .map_err(|_| {
                let known = schema.fields().iter().map(|field| field.name().as_str());
                self.locate(
                    Error::input(format!("there is no column `{name}`")).help(suggest(name, known)),
                    name,
                    place,
                )
            })
    }

    fn locate(&self, error: Error, column: &str, place: &str) -> Error {
        error
            .with("source", &self.scan.source.name)
            .with("in", place)
            .with("column", column)
    }

    fn column(&self, batch: &RecordBatch, name: &str, of: ValueType, place: &str) -> Result<ArrayRef> {
        self.type_of(batch.schema_ref(), name, place)?;
        let column = batch
            .column_by_name(name)
            .ok_or_else(|| Error::internal("a column of the schema is missing"))?;
        coerce(column, of, self.zone.as_ref()).map_err(|error| self.locate(error, name, place))
    }

    /// The key columns in canonical order and types.
    ///
    /// # Errors
    /// `Input` naming source, file and column.
    pub fn keys(&self, batch: &RecordBatch, place: &str) -> Result<Vec<ArrayRef>> {
        self.scan
            .keys
            .iter()
            .map(|key| self.column(batch, &key.column, key.key.value_type, place))
            .collect()
    }

    /// The key columns as the point-in-time kernel takes them: as [`SourceColumns::keys`], but text and bytes in
    /// whatever layout they have.
    ///
    /// # Errors
    /// As [`SourceColumns::keys`].
    pub fn probe_keys(&self, batch: &RecordBatch, place: &str) -> Result<Vec<ArrayRef>> {
        let key = |key: &crate::offline::ScanKey| {
            let column = batch.column_by_name(&key.column);
            let of = key.key.value_type;
            match column.map(|column| (column, column.data_type())) {
                Some((column, DataType::Utf8View)) if of == ValueType::STRING => Ok(column.clone()),
                Some((column, DataType::BinaryView)) if of == ValueType::BYTES => Ok(column.clone()),
                _ => self.column(batch, &key.column, of, place),
            }
        };
        self.scan.keys.iter().map(key).collect()
    }

    /// The event times.
    ///
    /// # Errors
    /// As [`SourceColumns::keys`].
    pub fn event(&self, batch: &RecordBatch, place: &str) -> Result<TimestampMicrosecondArray> {
        let column = self.column(batch, &self.scan.source.event_time, ValueType::TIMESTAMP, place)?;
        Ok(column.as_primitive().clone())
    }

    /// The created times; `None` where the source has no such column.
    ///
    /// # Errors
    /// As [`SourceColumns::keys`].
    pub fn created(&self, batch: &RecordBatch, place: &str) -> Result<Option<TimestampMicrosecondArray>> {
        let Some(created) = &self.scan.source.created_time else {
            return Ok(None);
        };
        let column = self.column(batch, &created.column, ValueType::TIMESTAMP, place)?;
        Ok(Some(column.as_primitive().clone()))
    }

    /// The tie-break columns as they are.
    ///
    /// # Errors
    /// `Input` when one is missing.
    pub fn tie_break(&self, batch: &RecordBatch, place: &str) -> Result<Vec<ArrayRef>> {
        let column = |name: &String| {
            self.type_of(batch.schema_ref(), name, place)?;
            Ok(batch
                .column_by_name(name)
                .cloned()
                .unwrap_or_else(|| null_array(ValueType::BOOL, batch.num_rows())))
        };
        self.scan.source.tie_break.iter().map(column).collect()
    }

    /// The features in the order of the scan.
    ///
    /// # Errors
    /// As [`SourceColumns::keys`].
    pub fn features(&self, batch: &RecordBatch, place: &str) -> Result<Vec<ArrayRef>> {
        self.scan
            .features
            .iter()
            .map(|f| self.column(batch, &f.column, f.value_type, place))
            .collect()
    }

    /// Everything as one batch of [`ViewScan::schema`].
    ///
    /// # Errors
    /// As [`SourceColumns::keys`].
    pub fn batch(&self, batch: &RecordBatch, place: &str) -> Result<RecordBatch> {
        let mut columns = self.keys(batch, place)?;
        columns.push(std::sync::Arc::new(
            self.event(batch, place)?.with_timezone("UTC"),
        ));
        columns.push(match self.created(batch, place)? {
            Some(created) => std::sync::Arc::new(created.with_timezone("UTC")),
            None => null_array(ValueType::TIMESTAMP, batch.num_rows()),
        });
        columns.extend(self.features(batch, place)?);
        if let Some(rows) = tie_rows(&self.tie_break(batch, place)?)? {
            let bytes: BinaryArray = rows.iter().map(|row| Some(row.data().to_vec())).collect();
            columns.push(std::sync::Arc::new(bytes));
        }
        RecordBatch::try_new(self.scan.schema(), columns)
            .map_err(|error| Error::internal("the columns of a scan do not fit its schema").source(error))
    }
}

fn dedup(names: Vec<&str>) -> Vec<&str> {
    let mut seen = Vec::with_capacity(names.len());
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}
