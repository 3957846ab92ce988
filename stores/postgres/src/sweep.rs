//! How rows leave Postgres that nobody reads any more: exactly, in small pieces, slowly, and touching nothing else.

use std::time::{Duration, Instant};

use larder_base::{Generation, Micros, ProjectName, ReclaimReport};

use crate::connect::Parameter;
use crate::connect::pool::Pool;
use crate::fault::{self, Fault, Turn};
use crate::sql::{Statement, behind};
use crate::store::Settings;

/// Rows of one statement: short transactions hold up neither writers nor vacuum.
const PAGE: i64 = 2_000;
/// How often a page is tried before the sweep gives up; the next call goes on.
const TRIES: u32 = 8;
/// The pause before another try.
const PAUSE: Duration = Duration::from_millis(250);

/// Removes all rows of retired generations.
///
/// Correctness never depends on it: nobody reads a retired generation.
pub(crate) async fn reclaim(
    pool: &Pool,
    settings: &Settings,
    project: &ProjectName,
    retired: &[Generation],
) -> Result<ReclaimReport, Fault> {
    let statement = settings.tables(project).reclaim();
    let mut rows = 0;
    for generation in retired {
        let generation = i64::from(generation.0);
        let mut from = Vec::new();
        loop {
            let started = Instant::now();
            let (gone, last) = page(pool, settings, &statement, generation, &from).await?;
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
    let odd = |error: tokio_postgres::Error| fault::odd("postgres counts in another way").told(error);
    let gone: i64 = row.try_get(0).map_err(odd)?;
    let last: Option<Vec<u8>> = row.try_get(1).map_err(odd)?;
    Ok((u64::try_from(gone).unwrap_or(0), last))
}

/// Removes rows that expired before an instant, tombstones among them.
pub(crate) async fn expire(
    pool: &Pool,
    settings: &Settings,
    project: &ProjectName,
    now: Micros,
) -> Result<u64, Fault> {
    let statement = settings.tables(project).expire();
    let mut rows = 0;
    loop {
        let started = Instant::now();
        let lease = pool.take().await?;
        settings.meters.admin.round_trips.increment(1);
        let gone = lease
            .conn
            .execute(&statement, &[&now.0, &PAGE], pool.patience)
            .await;
        let gone = match lease.settle(gone) {
            Ok(gone) => gone,
            Err(fault) if fault.turn == Turn::NoTable => 0,
            Err(fault) => return Err(fault),
        };
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
    let mut tries = 0;
    loop {
        tries += 1;
        let tried = async {
            let lease = pool.take().await?;
            settings.meters.admin.round_trips.increment(1);
            let rows = lease.conn.query(statement, parameters, pool.patience).await;
            lease.settle(rows)
        };
        match tried.await {
            Err(fault) if fault.turn == Turn::NoTable => return Ok(Vec::new()),
            Err(fault) if fault.passes() && tries < TRIES => {
                settings.meters.admin.retries.increment(1);
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}
