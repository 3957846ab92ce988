//! How are rows written: which one wins, and when is a write tried again?

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use larder_base::{Generation, ProjectName, WriteReport};
use larder_remote::{Sent, settle};

use crate::batch;
use crate::call::{Patience, Progress, send};
use crate::fault::{Fault, Turn};
use crate::layout::{self, KEY, ORDER};
use crate::store::Settings;

/// Rows of one view.
pub(crate) struct Batch<'a> {
    pub(crate) project: &'a ProjectName,
    pub(crate) generation: Generation,
    pub(crate) rows: Vec<Sent<'a>>,
}

/// Writes each row if no newer one is stored. After an error some rows are written, none half; the same batch again
/// completes it.
pub(crate) async fn newest_wins(settings: &Settings, mut batch: Batch<'_>) -> Result<WriteReport, Fault> {
    let mut report = WriteReport::new(0, settle(&mut batch.rows, true));
    let (table, progress) = (settings.table(batch.project), Progress::new());
    let target = Target {
        settings,
        table: &table,
        generation: batch.generation,
        progress: &progress,
    };
    let counted = |written: bool| match written {
        true => WriteReport::new(1, 0),
        false => WriteReport::new(0, 1),
    };
    let mut under_way = FuturesUnordered::new();
    for row in &batch.rows {
        if under_way.len() >= settings.writes.limit()
            && let Some(written) = under_way.next().await
        {
            report.add(counted(written?));
        }
        under_way.push(target.put(row));
    }
    while let Some(written) = under_way.next().await {
        report.add(counted(written?));
    }
    Ok(report)
}

/// Writes each row, whatever is stored.
pub(crate) async fn overwrite(settings: &Settings, mut batch: Batch<'_>) -> Result<WriteReport, Fault> {
    let lost = settle(&mut batch.rows, false);
    let report = WriteReport::new(batch.rows.len() as u64, lost);
    let items = batch
        .rows
        .iter()
        .map(|row| batch::put(layout::item(batch.generation, row.key, row.row, row.expires)));
    let items = items.collect::<Result<Vec<_>, _>>()?;
    let table = settings.table(batch.project);
    // A request that nobody answered may still be done later: sent once more, it could end after a later write.
    batch::send_all(settings, &settings.meters.write, &table, items, false).await?;
    Ok(report)
}

/// Where the rows of a batch go.
struct Target<'a> {
    settings: &'a Settings,
    table: &'a str,
    generation: Generation,
    progress: &'a Progress,
}

impl Target<'_> {
    /// Whether the row is stored now; it is not where a newer one is.
    fn put<'a>(&'a self, row: &'a Sent<'a>) -> BoxFuture<'a, Result<bool, Fault>> {
        Box::pin(async move {
            let settings = self.settings;
            let mut patience = Patience::new(self.progress, settings.write_timeout);
            loop {
                match self.put_once(row).await {
                    Ok(()) => {
                        self.progress.made();
                        return Ok(true);
                    }
                    Err(fault) if fault.turn == Turn::Stale => {
                        self.progress.made();
                        return Ok(false);
                    }
                    // It may be stored already: then it is stored again, which changes nothing.
                    Err(fault) if fault.passes() => patience.pause(&settings.meters.write, fault).await?,
                    Err(fault) => return Err(fault),
                }
            }
        })
    }

    async fn put_once(&self, row: &Sent<'_>) -> Result<(), Fault> {
        let settings = self.settings;
        let _place = settings
            .writes
            .enter(&settings.meters, settings.write_timeout)
            .await?;
        settings.meters.write.keys.increment(1);
        let request = settings
            .client()
            .put_item()
            .table_name(self.table)
            .set_item(Some(layout::item(self.generation, row.key, row.row, row.expires)))
            .condition_expression(format!("attribute_not_exists({KEY}) OR {ORDER} <= :order"))
            .expression_attribute_values(":order", layout::binary(layout::order(row.row)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send();
        let answer = send(
            &settings.meters,
            &settings.meters.write,
            settings.write_attempt,
            request,
        );
        let answer = answer.await?;
        let units = answer.consumed_capacity().and_then(|units| units.capacity_units);
        settings.write_units.add(units);
        Ok(())
    }
}
