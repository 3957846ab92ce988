//! How do pushed rows get to the history: which of their columns, as one append?

use std::sync::Arc;

use futures::{StreamExt, stream};
use larder_base::{Error, FeatureName, Result};
use larder_core::arrow::datatypes::{Schema, SchemaRef};
use larder_core::convert::{SourceColumns, infer_type};
use larder_core::{BatchStream, OfflineStore, ViewScan};

use super::Job;
use super::check::PLACE;

/// The columns of all views of the source, and what the history has besides.
pub(super) async fn scan(
    offline: &Arc<dyn OfflineStore>,
    scans: &[ViewScan],
    rows: &Schema,
) -> Result<ViewScan> {
    let mut whole = scans[0].clone();
    for scan in &scans[1..] {
        for key in scan
            .keys
            .iter()
            .filter(|key| !whole.keys.iter().any(|known| known.column == key.column))
            .cloned()
            .collect::<Vec<_>>()
        {
            whole = whole.key(key.key, key.column);
        }
        for feature in &scan.features {
            if !whole.features.iter().any(|known| known.column == feature.column) {
                whole.features.push(feature.clone());
            }
        }
    }
    // What the history has and no view uses yet must not become null because of that: tie-breaks,
    // and columns of tomorrow's features.
    let source = whole.source.clone();
    let is_used = |name: &str| {
        let created = source
            .created_time
            .as_ref()
            .map(|created| created.column.as_str());
        whole.keys.iter().any(|key| key.column == name)
            || whole.features.iter().any(|feature| feature.column == name)
            || source.event_time == name
            || created == Some(name)
    };
    let others: Vec<_> = rows
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| !is_used(field.name()))
        .collect();
    // Which files there are is asked only where it matters: many small pushes have no other columns.
    let known = match others
        .iter()
        .any(|(_, field)| !source.tie_break.contains(field.name()))
    {
        true => offline.schema(&source).await.ok(),
        false => None,
    };
    for (number, field) in others {
        let name = field.name();
        let in_history = |schema: &SchemaRef| schema.field_with_name(name).is_ok();
        if !source.tie_break.contains(name) && !known.as_ref().is_some_and(in_history) {
            continue;
        }
        match infer_type(field.data_type()) {
            Some(of) => whole = whole.feature(FeatureName::new(format!("__column_{number}"))?, of, name),
            None => {
                return Err(Error::input(format!(
                    "column `{name}` of type {} cannot be appended",
                    field.data_type()
                ))
                .help("leave it out of the rows to push"));
            }
        }
    }
    Ok(whole)
}

/// The good rows, as they are appended. So many must come, or somebody changed them since they were checked; and that is
/// known before the append is told that all of them came.
pub(super) fn stream(job: Arc<Job>, whole: ViewScan, rows: BatchStream, expected: u64) -> BatchStream {
    let whole = Arc::new(whole);
    let next = move |(mut rows, left): (BatchStream, u64)| {
        let (job, whole) = (job.clone(), whole.clone());
        async move {
            let Some(batch) = rows.next().await.transpose()? else {
                return if left == 0 { Ok(None) } else { Err(changed()) };
            };
            let good = job.good(&batch)?;
            let left = left.checked_sub(good.num_rows() as u64).ok_or_else(changed)?;
            let batch = SourceColumns::new(&whole)?.batch(&good, PLACE)?;
            job.advance(good.num_rows());
            Ok(Some((batch, (rows, left))))
        }
    };
    stream::try_unfold((rows, expected), next).boxed()
}

/// The rows are not those that were checked.
pub(super) fn changed() -> Error {
    Error::conflict("the rows to push changed while they were pushed").help("push them again")
}
