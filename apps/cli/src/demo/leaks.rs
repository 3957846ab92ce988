//! How many cells of a training set would come from the future, with larder and without?

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use larder::{Error, Result, Selection};

use super::project::DemoProject;
use crate::context::Context;
use crate::rows::{Columns, read};
use crate::sample::demo_views;

/// Cells with values of events after the row's own time.
#[derive(Debug)]
pub(super) struct Leaks {
    /// In training.parquet.
    pub(super) with_larder: u64,
    /// If each row got the newest value there is, as a join by key alone does.
    pub(super) with_latest: u64,
    /// Cells in all.
    pub(super) cells: u64,
}

/// Counts them: from the event times in training.parquet, and from a second join in which every
/// row stands at the end of the data.
pub(super) async fn count(cx: &Context, project: &DemoProject) -> Result<Leaks> {
    let views = demo_views();
    let mut leaks = Leaks {
        with_larder: 0,
        with_latest: 0,
        cells: 0,
    };
    for batch in read(Path::new("training.parquet"), &Columns::default())? {
        let times = micros(&batch, "event_timestamp")?;
        for view in &views {
            leaks.cells += (batch.num_rows() * view.features.len()) as u64;
            let events = micros(&batch, &format!("{}__event_timestamp", view.name))?;
            leaks.with_larder += later(&events, &times) * view.features.len() as u64;
        }
    }
    let labels = read(Path::new("labels.parquet"), &Columns::default())?;
    let at_end: Vec<RecordBatch> = labels
        .iter()
        .map(|batch| moved(batch, project.end.0))
        .collect::<Result<_>>()?;
    // One feature of each view is enough: a whole row wins, so all of its features leak together.
    let one_each = views
        .iter()
        .map(|view| format!("{}:{}", view.name, view.features[0].name));
    let request = cx
        .store()?
        .historical(Selection::features(one_each))
        .entities(at_end)
        .event_times(true);
    let (latest, _) = request.run().await?.collect().await?;
    let times = micros(&latest, "row_time")?;
    for view in &views {
        let events = micros(&latest, &format!("{}__event_timestamp", view.name))?;
        leaks.with_latest += later(&events, &times) * view.features.len() as u64;
    }
    Ok(leaks)
}

/// Rows whose value's event lies after the row's own time.
fn later(events: &TimestampMicrosecondArray, times: &TimestampMicrosecondArray) -> u64 {
    (0..events.len())
        .filter(|row| events.is_valid(*row) && events.value(*row) > times.value(*row))
        .count() as u64
}

fn micros(batch: &RecordBatch, name: &str) -> Result<TimestampMicrosecondArray> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .cloned()
        .ok_or_else(|| Error::internal(format!("the training set has no times in `{name}`")))
}

/// The same rows at one instant; their own times stay in `row_time`.
fn moved(batch: &RecordBatch, to: i64) -> Result<RecordBatch> {
    let own = micros(batch, "event_timestamp")?;
    let end = TimestampMicrosecondArray::from(vec![to; batch.num_rows()]).with_timezone("UTC");
    let column = |name: &str| {
        let missing = || Error::internal(format!("labels.parquet has no `{name}`"));
        batch.column_by_name(name).cloned().ok_or_else(missing)
    };
    RecordBatch::try_from_iter([
        ("user_id", column("user_id")?),
        ("product_id", column("product_id")?),
        ("event_timestamp", Arc::new(end) as ArrayRef),
        ("row_time", Arc::new(own) as ArrayRef),
    ])
    .map_err(|e| Error::internal("entity rows could not be put together").source(e))
}
