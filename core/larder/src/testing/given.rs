//! Rows of a source from a few lines of CSV.

use std::sync::Arc;

use larder_base::error::suggest;
use larder_base::model::Catalog;
use larder_base::{Error, Result, Value, ValueType};
use larder_core::arrow::array::{ArrayRef, RecordBatch};
use larder_core::convert::{array_of, null_array};

pub(super) fn rows(catalog: &Catalog, name: &str, csv: &str) -> Result<RecordBatch> {
    let columns = columns_of(catalog, name)?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(csv.as_bytes());
    let wrong = |error: csv::Error| Error::input("the rows given are not CSV").source(error);
    let header: Vec<String> = reader
        .headers()
        .map_err(wrong)?
        .iter()
        .map(str::to_owned)
        .collect();
    let records: Vec<csv::StringRecord> = reader
        .records()
        .collect::<std::result::Result<_, _>>()
        .map_err(wrong)?;
    let known = |text: &str| {
        columns
            .iter()
            .position(|column| column.names.iter().any(|name| name == text))
    };
    if let Some(unknown) = header.iter().find(|text| known(text).is_none()) {
        let names = columns
            .iter()
            .flat_map(|column| column.names.iter().map(String::as_str));
        return Err(Error::input(format!("`{name}` has no column `{unknown}`"))
            .help(suggest(unknown, names.collect::<Vec<_>>())));
    }
    let mut arrays: Vec<(String, ArrayRef)> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let place = header.iter().position(|text| known(text) == Some(index));
        let array = match place {
            None if column.optional => continue,
            None => null_array(column.value_type, records.len()),
            Some(place) => {
                let parse = |(row, record): (usize, &csv::StringRecord)| match record.get(place) {
                    None | Some("") => Ok(Value::Null),
                    Some(text) => Value::parse(text, column.value_type)
                        .map_err(|error| error.with("line", row + 2).with("column", &header[place])),
                };
                let values: Vec<Value> = records.iter().enumerate().map(parse).collect::<Result<_>>()?;
                array_of(&values, column.value_type)?
            }
        };
        arrays.push((column.names[0].clone(), array));
    }
    RecordBatch::try_from_iter_with_nullable(
        arrays
            .into_iter()
            .map(|(name, array)| (name, Arc::clone(&array), true)),
    )
    .map_err(|error| Error::input("the rows given make no table").source(error))
}

struct Column {
    /// The source's name first, then the definitions'.
    names: Vec<String>,
    value_type: ValueType,
    /// Left out rather than null when it is not given: pushing stamps it.
    optional: bool,
}

fn columns_of(catalog: &Catalog, name: &str) -> Result<Vec<Column>> {
    let source = match catalog.feature_views.get(name) {
        Some(view) => catalog.source(view.source.as_str())?,
        None => catalog.source(name)?,
    };
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |column: &str, also: Option<&str>, value_type, optional| {
        if columns.iter().any(|known| known.names[0] == column) {
            return;
        }
        let mut names = vec![column.to_owned()];
        names.extend(also.filter(|also| *also != column).map(str::to_owned));
        columns.push(Column {
            names,
            value_type,
            optional,
        });
    };
    for view in catalog
        .feature_views
        .values()
        .filter(|view| view.source == source.name)
    {
        for key in catalog.join_keys(view)? {
            add(
                source.column_of(key.name.as_str()),
                Some(key.name.as_str()),
                key.value_type,
                false,
            );
        }
        for feature in &view.features {
            add(
                source.column_of(feature.name.as_str()),
                Some(feature.name.as_str()),
                feature.value_type,
                false,
            );
        }
    }
    add(&source.event_time, None, ValueType::TIMESTAMP, false);
    if let Some(created) = &source.created_time {
        add(&created.column, None, ValueType::TIMESTAMP, true);
    }
    Ok(columns)
}
