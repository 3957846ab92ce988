//! How do many items travel in one request, without a condition: overwriting and removing?

use aws_sdk_dynamodb::types::{DeleteRequest, PutRequest, ReturnConsumedCapacity, WriteRequest};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use larder_remote::Operation;

use crate::call::{Patience, Progress, send};
use crate::fault::{Fault, Turn, left_over, odd};
use crate::layout::{self, Item};
use crate::store::Settings;

/// Most items of one request.
const ITEMS: usize = 25;

/// One item to be stored or removed.
pub(crate) fn put(item: Item) -> Result<WriteRequest, Fault> {
    let put = PutRequest::builder().set_item(Some(item)).build();
    let put = put.map_err(|_| odd("a request to dynamodb holds no item"))?;
    Ok(WriteRequest::builder().put_request(put).build())
}

/// One item to be removed.
pub(crate) fn delete(key: Vec<u8>) -> Result<WriteRequest, Fault> {
    let delete = DeleteRequest::builder()
        .set_key(Some(layout::key_of(key)))
        .build();
    let delete = delete.map_err(|_| odd("a request to dynamodb names no key"))?;
    Ok(WriteRequest::builder().delete_request(delete).build())
}

/// Sends requests about distinct items; answers the units they cost.
///
/// `again` tells whether a batch of which nobody knows whether it was done may be sent once more.
pub(crate) async fn send_all(
    settings: &Settings,
    operation: &Operation,
    table: &str,
    requests: Vec<WriteRequest>,
    again: bool,
) -> Result<f64, Fault> {
    let progress = Progress::new();
    let batch = Batch {
        settings,
        operation,
        table,
        progress: &progress,
        again,
    };
    let mut units = 0.0;
    let mut under_way = FuturesUnordered::new();
    for requests in requests.chunks(ITEMS) {
        if under_way.len() >= settings.writes.limit()
            && let Some(cost) = under_way.next().await
        {
            units += cost?;
        }
        under_way.push(batch.send(requests.to_vec()));
    }
    while let Some(cost) = under_way.next().await {
        units += cost?;
    }
    Ok(units)
}

/// What all batches share.
struct Batch<'a> {
    settings: &'a Settings,
    operation: &'a Operation,
    table: &'a str,
    progress: &'a Progress,
    again: bool,
}

impl Batch<'_> {
    /// Sends one batch until nothing is left over.
    fn send(&self, mut requests: Vec<WriteRequest>) -> BoxFuture<'_, Result<f64, Fault>> {
        Box::pin(async move {
            let settings = self.settings;
            let mut patience = Patience::new(self.progress, settings.write_timeout);
            let mut units = 0.0;
            loop {
                let before = requests.len();
                match self.once(&requests).await {
                    Ok((left, cost)) => {
                        units += cost;
                        if left.len() < before {
                            patience.made_progress();
                        }
                        if left.is_empty() {
                            return Ok(units);
                        }
                        settings.left_over.increment(left.len() as u64);
                        requests = left;
                        patience.pause(self.operation, left_over()).await?;
                    }
                    Err(fault) if fault.turn == Turn::Later || (self.again && fault.passes()) => {
                        patience.pause(self.operation, fault).await?;
                    }
                    Err(fault) => return Err(fault),
                }
            }
        })
    }

    /// What is left over, and what it cost.
    async fn once(&self, requests: &[WriteRequest]) -> Result<(Vec<WriteRequest>, f64), Fault> {
        let settings = self.settings;
        let _place = settings
            .writes
            .enter(&settings.meters, settings.write_timeout)
            .await?;
        self.operation.keys.increment(requests.len() as u64);
        let request = settings
            .client()
            .batch_write_item()
            .request_items(self.table, requests.to_vec())
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send();
        let answer = send(&settings.meters, self.operation, settings.write_attempt, request).await?;
        let units: f64 = answer
            .consumed_capacity()
            .iter()
            .filter_map(|units| units.capacity_units)
            .sum();
        settings.write_units.add(Some(units));
        let left = answer.unprocessed_items.into_iter().flatten();
        Ok((left.flat_map(|(_, requests)| requests).collect(), units))
    }
}
