//! How do rows of retired views leave DynamoDB: exactly, slowly, and touching nothing else?
//!
//! Partition keys have no order, so the items of a generation are found by walking over the table. That costs a unit
//! per 8 KB of the whole table, once for all generations that leave together, and a unit per item that goes; an index
//! would instead cost a unit and more with every first write of an item. Expired rows need none of this.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use larder_base::{Generation, ProjectName, ReclaimReport};

use crate::batch;
use crate::call::{Patience, Progress, send};
use crate::fault::{Fault, Turn, odd};
use crate::layout::{self, Item, KEY};
use crate::store::Settings;

/// Generations that one walk looks for: an expression has a limited length.
const AT_ONCE: usize = 50;
/// How long a page of a walk may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a sweep waits for a server that does not let it go on; the next one begins anew.
const PATIENCE: Duration = Duration::from_secs(60);

/// Removes all rows of retired generations.
///
/// Correctness never depends on it: nobody reads a retired generation.
pub(crate) async fn reclaim(
    settings: &Settings,
    project: &ProjectName,
    retired: &[Generation],
) -> Result<ReclaimReport, Fault> {
    let table = settings.table(project);
    let mut rows = 0;
    for generations in retired.chunks(AT_ONCE) {
        match walk(settings, &table, generations).await {
            Ok(gone) => rows += gone,
            Err(fault) if fault.turn == Turn::NoTable => break,
            Err(fault) => return Err(fault),
        }
    }
    tracing::debug!(
        rows,
        generations = retired.len(),
        "removed rows of retired views from dynamodb"
    );
    Ok(ReclaimReport::new(rows))
}

/// Walks over the table once, page by page; answers how many rows went.
async fn walk(settings: &Settings, table: &str, generations: &[Generation]) -> Result<u64, Fault> {
    let operation = &settings.meters.admin;
    let progress = Progress::new();
    let mut patience = Patience::new(&progress, PATIENCE);
    let (mut rows, mut after) = (0, None);
    loop {
        let started = Instant::now();
        let page = match page(settings, table, generations, after.clone()).await {
            Err(fault) if fault.passes() => {
                patience.pause(operation, fault).await?;
                continue;
            }
            result => result?,
        };
        patience.made_progress();
        let mut units = page.units;
        rows += page.keys.len() as u64;
        if !page.keys.is_empty() {
            let requests = page
                .keys
                .into_iter()
                .map(batch::delete)
                .collect::<Result<Vec<_>, _>>()?;
            units += batch::send_all(settings, operation, table, requests, true).await?;
        }
        if page.next.is_none() {
            return Ok(rows);
        }
        after = page.next;
        let due = Duration::from_secs_f64(units / f64::from(settings.reclaim_rate));
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
    }
}

/// What one page of a walk found.
struct Page {
    keys: Vec<Vec<u8>>,
    /// Where the next page begins; none at the end.
    next: Option<Item>,
    units: f64,
}

async fn page(
    settings: &Settings,
    table: &str,
    generations: &[Generation],
    after: Option<Item>,
) -> Result<Page, Fault> {
    let names: Vec<String> = (0..generations.len())
        .map(|at| format!("begins_with({KEY}, :g{at})"))
        .collect();
    let mut request = settings
        .client()
        .scan()
        .table_name(table)
        .projection_expression(KEY)
        .filter_expression(names.join(" OR "))
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .set_exclusive_start_key(after);
    for (at, generation) in generations.iter().enumerate() {
        let prefix = layout::binary(layout::prefix(*generation));
        request = request.expression_attribute_values(format!(":g{at}"), prefix);
    }
    let answer = send(&settings.meters, &settings.meters.admin, LIMIT, request.send()).await?;
    let told = answer.consumed_capacity().and_then(|units| units.capacity_units);
    settings.read_units.add(told);
    // A page is 1 MB of items, whoever does not tell what it cost.
    let units = told.unwrap_or(128.0);
    let key = |mut item: Item| {
        layout::take(&mut item, KEY).ok_or_else(|| odd("an item in dynamodb has no binary key"))
    };
    let next = answer.last_evaluated_key.filter(|key| !key.is_empty());
    let keys = answer.items.unwrap_or_default().into_iter().map(key);
    Ok(Page {
        keys: keys.collect::<Result<_, _>>()?,
        next,
        units,
    })
}
