//! How rows leave Postgres that nobody reads any more: exactly, in small pieces, slowly, and touching nothing else.

use std::time::{Duration, Instant};

use larder_base::{Generation, Micros, ProjectName, ReclaimReport};
use larder_remote::Tries;

use crate::connect::Parameter;
use crate::connect::pool::Pool;
use crate::fault::{self, Fault, Turn};
use crate::sql::{Statement, behind};
use crate::store::Settings;

/// Rows of one statement: short transactions hold up neither writers nor vacuum.
const PAGE: i64 = 2_000;

/// Removes all rows of retired generations.
///
/// Correctness never depends on it: nobody reads a retired generation.
pub(crate) async fn reclaim(
    pool: &Pool,
    settings: &Settings,
    project: &ProjectName,
    retired: &[Generation],
) -> Result<ReclaimReport, Fault> {
    let tables = settings.tables(project);
    let statement = tables.reclaim();
    let mut rows = 0;
    for generation in retired {
        let generation = i64::from(generation.0);
        let mut from = Vec::new();
        loop {
            let started = Instant::now();
            let page = page(pool, settings, &statement, generation, &from).await;
            let (gone, last) = page.map_err(fault::needs(|| tables.to_remove()))?;
            rows += gone;
            let Some(last) = last else { break };
            from = behind(&last);
            rest(settings, gone, started).await;
        }
    }
    tracing::debug!(
        rows,
        generations = retired.len(),
        "removed rows of retired views from postgres"
    );
    Ok(ReclaimReport::new(rows))
}

async fn page(
    pool: &Pool,
    settings: &Settings,
    statement: &Statement,
    generation: i64,
    from: &[u8],
) -> Result<(u64, Option<Vec<u8>>), Fault> {
    let rows = patiently(pool, settings, statement, &[&generation, &from, &PAGE]).await?;
    let Some(row) = rows.first() else {
        return Ok((0, None));
    };
    let last: Option<Vec<u8>> = row.try_get(1).map_err(odd)?;
    Ok((count(row)?, last))
}

/// How many rows went, in the first column.
fn count(row: &tokio_postgres::Row) -> Result<u64, Fault> {
    let gone: i64 = row.try_get(0).map_err(odd)?;
    Ok(u64::try_from(gone).unwrap_or(0))
}

fn odd(error: tokio_postgres::Error) -> Fault {
    fault::odd("postgres counts in another way").told(error)
}

/// Removes rows that expired before an instant, tombstones among them.
pub(crate) async fn expire(
    pool: &Pool,
    settings: &Settings,
    project: &ProjectName,
    now: Micros,
) -> Result<u64, Fault> {
    let tables = settings.tables(project);
    let statement = tables.expire();
    let mut rows = 0;
    loop {
        let started = Instant::now();
        let found = patiently(pool, settings, &statement, &[&now.0, &PAGE]).await;
        let found = found.map_err(fault::needs(|| tables.to_remove()))?;
        let gone = found.first().map_or(Ok(0), count)?;
        rows += gone;
        if gone == 0 {
            return Ok(rows);
        }
        rest(settings, gone, started).await;
    }
}

async fn rest(settings: &Settings, rows: u64, started: Instant) {
    let due = Duration::from_secs_f64(rows as f64 / f64::from(settings.reclaim_rate));
    tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
}

/// Tries until it works, for some time: a sweep is long, and servers restart meanwhile.
async fn patiently(
    pool: &Pool,
    settings: &Settings,
    statement: &Statement,
    parameters: &[Parameter<'_>],
) -> Result<Vec<tokio_postgres::Row>, Fault> {
    let mut tries = Tries::new(settings.write_timeout);
    loop {
        let tried = async {
            let lease = pool.take().await?;
            settings.meters.admin.round_trips.increment(1);
            let rows = lease.conn.query(statement, parameters, pool.patience).await;
            lease.settle(rows)
        };
        match tried.await {
            Err(fault) if fault.turn == Turn::NoTable => return Ok(Vec::new()),
            Err(fault) if fault.passes() && tries.again().await => {
                settings.meters.admin.retries.increment(1);
            }
            result => return result,
        }
    }
}
