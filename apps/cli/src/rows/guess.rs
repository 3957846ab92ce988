//! What does a column of a CSV hold that nobody declared? Told from all of its rows, because one that comes late counts
//! as much as the first.

use std::fs::File;
use std::sync::Arc;

use arrow_array::StringArray;
use arrow_array::cast::AsArray;
use arrow_schema::{ArrowError, DataType, Schema};

use super::csv::cast;

/// Rows whose looks are the first guess.
pub(super) const LOOK_AT: usize = 1_000;

/// What columns hold, given what their first rows look like; `texts` has all columns as text. Columns that nobody needs
/// a guess for are `settled`. Rows are read from where the file stands, and no further than until nothing is open.
pub(super) fn settle(
    file: &File,
    texts: &Arc<Schema>,
    first: &Schema,
    settled: &[bool],
) -> Result<Vec<DataType>, ArrowError> {
    let guesses = first.fields().iter().map(|field| match field.data_type() {
        of @ (DataType::Int64 | DataType::Float64 | DataType::Boolean | DataType::Date32) => of.clone(),
        _ => DataType::Utf8,
    });
    let mut guesses: Vec<DataType> = guesses.collect();
    let is_open = |at: &usize, guesses: &[DataType]| !settled[*at] && guesses[*at] != DataType::Utf8;
    let open: Vec<usize> = (0..guesses.len()).filter(|at| is_open(at, &guesses)).collect();
    if open.is_empty() {
        return Ok(guesses);
    }
    let reader = arrow_csv::ReaderBuilder::new(texts.clone())
        .with_header(true)
        .with_batch_size(8_192)
        .with_projection(open.clone())
        .build(file)?;
    for batch in reader {
        let batch = batch?;
        for (at, column) in open.iter().zip(batch.columns()) {
            while guesses[*at] != DataType::Utf8 && !holds(column.as_string::<i32>(), &guesses[*at]) {
                guesses[*at] = match guesses[*at] {
                    DataType::Int64 => DataType::Float64,
                    _ => DataType::Utf8,
                };
            }
        }
        if !open.iter().any(|at| is_open(at, &guesses)) {
            break;
        }
    }
    Ok(guesses)
}

/// Whether all cells are of a type, and would come out as they went in.
fn holds(cells: &StringArray, of: &DataType) -> bool {
    let looks_right = |cell: &str| match of {
        DataType::Boolean => cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false"),
        // Anything longer has a time of day.
        DataType::Date32 => cell.len() == 10,
        _ => !is_code(cell),
    };
    cells.iter().flatten().all(looks_right) && cast(cells, of).is_ok()
}

/// Whether a cell has digits that are no number, such as the postal code `02134`.
fn is_code(cell: &str) -> bool {
    let digits = cell.strip_prefix(['+', '-']).unwrap_or(cell).as_bytes();
    matches!(digits, [b'0', b'0'..=b'9', ..])
}
