//! What does one chosen row look like, for a push that can be repeated by hand?

use arrow_array::RecordBatch;
use larder::{Micros, Result};

use super::generate::{RowSeeds, internal};
use super::table::{Feature, SampleView};

/// One row of a view.
///
/// # Errors
/// `Internal` when the row cannot be built.
pub(crate) fn single_row(
    view: &SampleView,
    key: (i64, Option<i64>),
    event: Micros,
    created: Micros,
) -> Result<RecordBatch> {
    let seeds = RowSeeds::single(key, event, created);
    let mut columns = seeds.fixed_columns(view);
    for feature in &view.features {
        // A pushed row shows all its values, also those that are sometimes null.
        columns.push((feature.name, seeds.column(&Feature { nulls: 0, ..*feature })?));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .map_err(internal)
}

/// The same as CSV with a header.
///
/// # Errors
/// `Internal` when the row cannot be built.
pub(crate) fn single_row_csv(
    view: &SampleView,
    key: (i64, Option<i64>),
    event: Micros,
    created: Micros,
) -> Result<String> {
    let batch = single_row(view, key, event, created)?;
    let mut bytes = Vec::new();
    crate::rows::write_csv(&mut bytes, &batch)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
