//! How rows are written: sorted pieces, newest-wins inside the statement, tried again while that may help.

use futures::StreamExt;
use futures::stream;
use larder_base::{Generation, ProjectName, WriteReport};
use larder_remote::{Sent, Tries, settle};

use crate::batch::{self, Columns};
use crate::connect::Ready;
use crate::connect::pool::Pool;
use crate::fault::{self, Fault, Turn};
use crate::schema::{self, Want};
use crate::sql::Statement;
use crate::store::Settings;

/// Statements on their way at once: while one is worked on, the next one travels.
const IN_FLIGHT: usize = 2;

/// Rows of one view.
pub(crate) struct Batch<'a> {
    pub(crate) project: &'a ProjectName,
    pub(crate) generation: Generation,
    pub(crate) items: Vec<Sent<'a>>,
    pub(crate) newest_wins: bool,
}

/// Writes a batch. After an error some rows are written, none half; the same batch again completes it.
pub(crate) async fn write(
    pool: &Pool,
    settings: &Settings,
    mut batch: Batch<'_>,
) -> Result<WriteReport, Fault> {
    let mut report = WriteReport::new(0, settle(&mut batch.items, batch.newest_wins));
    let pieces = batch::pieces(&batch.items);
    let tables = settings.tables(batch.project);
    let statement = tables.write(batch.newest_wins);
    let mut tries = Tries::new(settings.write_timeout);
    let mut done = 0;
    while done < pieces.len() {
        let went = async {
            if let Err(fault) = schema::known(pool, settings, batch.project).await {
                return (0, Some(fault));
            }
            let (generation, pieces) = (batch.generation, &pieces[done..]);
            some(pool, settings, &statement, generation, pieces, &mut report).await
        };
        let (count, fault) = went.await;
        if count > 0 {
            tries.helped();
        }
        done += count;
        let Some(fault) = fault else { continue };
        // What was overwritten and not acknowledged may have been overwritten by others since.
        let passes = fault.turn == Turn::NoTable || (batch.newest_wins && fault.passes());
        if !passes || !tries.again().await {
            return Err(fault::needs(|| tables.to_write())(fault));
        }
        settings.meters.write.retries.increment(1);
        if fault.turn == Turn::NoTable {
            schema::prepare(pool, settings, batch.project, Want::Table).await?;
        }
    }
    Ok(report)
}

/// Writes as many pieces as go well, in order: how many, and what went wrong with the next one.
async fn some(
    pool: &Pool,
    settings: &Settings,
    statement: &Statement,
    generation: Generation,
    pieces: &[Columns<'_>],
    report: &mut WriteReport,
) -> (usize, Option<Fault>) {
    let lease = match pool.take().await {
        Ok(lease) => lease,
        Err(fault) => return (0, Some(fault)),
    };
    let mut done = 0;
    let outcome = async {
        let ready = lease.conn.ready(statement, pool.patience).await?;
        let generation = i64::from(generation.0);
        // They do nothing until they are polled, and `buffered` polls a few at a time.
        let mut writes = Vec::with_capacity(pieces.len());
        for piece in pieces {
            writes.push(one(&ready, settings, &generation, piece));
        }
        let mut writes = stream::iter(writes).buffered(IN_FLIGHT);
        while let Some(result) = writes.next().await {
            let (written, sent) = result?;
            report.add(WriteReport::new(written, sent.saturating_sub(written)));
            done += 1;
        }
        Ok(())
    };
    let outcome = outcome.await;
    (done, lease.settle(outcome).err())
}

/// Writes one piece: how many rows are now stored, and how many were sent.
async fn one(
    ready: &Ready<'_>,
    settings: &Settings,
    generation: &i64,
    piece: &Columns<'_>,
) -> Result<(u64, u64), Fault> {
    let sent = piece.keys.len() as u64;
    settings.meters.write.round_trips.increment(1);
    settings.meters.write.keys.increment(sent);
    let written = ready
        .execute(&[generation, &piece.keys, &piece.rows, &piece.expires])
        .await?;
    Ok((written, sent))
}
