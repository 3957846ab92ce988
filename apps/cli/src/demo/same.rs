//! Do training and serving give the same values, and how fast is an online read?

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use larder::convert::{infer_type, value_at};
use larder::{Clock, Error, ReadOptions, Result, SystemClock, VirtualClock};

use super::SERVICE;
use super::project::DemoProject;
use crate::context::Context;
use crate::rows::{Columns, read};

/// Entities that are compared.
const SAMPLE: usize = 1_000;
/// Reads that are timed.
const READS: usize = 2_000;

/// How a comparison ended.
#[derive(Debug)]
pub(super) struct Same {
    /// Entities compared.
    pub(super) entities: usize,
    /// Cells compared.
    pub(super) cells: u64,
    /// Cells with equal values, or null on both sides.
    pub(super) equal: u64,
    /// The first feature with a difference.
    pub(super) first_difference: Option<String>,
}

/// How fast reads are.
#[derive(Debug)]
pub(super) struct Speed {
    /// Reads that were timed.
    pub(super) reads: usize,
    /// The median.
    pub(super) median: Duration,
}

/// Joins a sample of entities from history at one instant, reads the same online with the clock
/// standing at that instant, and compares every cell.
pub(super) async fn compare(cx: &Context, project: &DemoProject) -> Result<Same> {
    let now = SystemClock.now();
    let store = larder::open(&cx.dir)
        .clock(Arc::new(VirtualClock::at(now)))
        .await?;
    let (users, products) = sample(project)?;
    let rows = users.len();
    let times = TimestampMicrosecondArray::from(vec![now.0; rows]).with_timezone("UTC");
    let spine = RecordBatch::try_from_iter([
        ("user_id", Arc::new(Int64Array::from(users.clone())) as ArrayRef),
        ("product_id", Arc::new(Int64Array::from(products.clone()))),
        ("event_timestamp", Arc::new(times)),
    ])
    .map_err(|e| Error::internal("entity rows could not be put together").source(e))?;
    let (trained, _) = store
        .historical(SERVICE)
        .entities([spine])
        .run()
        .await?
        .collect()
        .await?;

    let plan = store.online(SERVICE).await?;
    let mut session = plan.session();
    session
        .column(plan.key::<i64>("user_id")?, &users)
        .column(plan.key::<i64>("product_id")?, &products);
    let served = session.read(ReadOptions::new()).await?.to_batch()?;

    let mut same = Same {
        entities: rows,
        cells: 0,
        equal: 0,
        first_difference: None,
    };
    let schema = served.schema();
    for (field, online) in schema.fields().iter().zip(served.columns()) {
        let offline = trained
            .column_by_name(field.name())
            .ok_or_else(|| Error::internal(format!("the training set has no `{}`", field.name())))?;
        let of = infer_type(online.data_type())
            .filter(|_| online.data_type() == offline.data_type())
            .ok_or_else(|| Error::internal(format!("`{}` has two types", field.name())))?;
        let equal = (0..rows)
            .filter(|row| value_at(offline, *row, of) == value_at(online, *row, of))
            .count();
        same.cells += rows as u64;
        same.equal += equal as u64;
        if equal < rows {
            same.first_difference.get_or_insert_with(|| field.name().clone());
        }
    }
    if same.cells == 0 || trained.num_rows() != rows {
        return Err(Error::internal("the comparison compared nothing"));
    }
    Ok(same)
}

/// Distinct pairs of the labels, and the pair that was pushed.
fn sample(project: &DemoProject) -> Result<(Vec<i64>, Vec<i64>)> {
    let missing = || Error::internal("labels.parquet has other columns than it was made with");
    let pushed = project.pair();
    let mut pairs: BTreeMap<(i64, i64), ()> = BTreeMap::from([(pushed, ())]);
    'all: for batch in read(Path::new("labels.parquet"), &Columns::default())? {
        let column = |name: &str| {
            let column = batch
                .column_by_name(name)
                .and_then(|c| c.as_primitive_opt::<Int64Type>());
            column.cloned().ok_or_else(missing)
        };
        let (users, products) = (column("user_id")?, column("product_id")?);
        for row in 0..batch.num_rows() {
            pairs.insert((users.value(row), products.value(row)), ());
            if pairs.len() == SAMPLE {
                break 'all;
            }
        }
    }
    Ok(pairs.into_keys().unzip())
}

/// Times single reads of the service in one session.
pub(super) async fn read_speed(cx: &Context, project: &DemoProject) -> Result<Speed> {
    let plan = cx.store()?.online(SERVICE).await?;
    let (user, product) = (plan.key::<i64>("user_id")?, plan.key::<i64>("product_id")?);
    let mut session = plan.session();
    let (first, other) = project.pair();
    let mut times = Vec::with_capacity(READS);
    for i in 0..READS {
        // Another user each time, so that it is not the same row over and over.
        let who = 1 + (first + i as i64) % 20_000;
        let begin = Instant::now();
        session.column(user, &[who]).column(product, &[other]);
        session.read(ReadOptions::new()).await?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(Speed {
        reads: READS,
        median: times[READS / 2],
    })
}
