//! How the batches of an answer are made on several threads and handed out in order.

use futures::SinkExt;
use futures::channel::mpsc;
use futures::executor::block_on;
use larder_core::{JoinedBatch, Result};

use crate::plan::Context;
use crate::work;

/// Sends the answers to so many rows, in batches of `step` rows. `make` gets the first row of a batch and their number;
/// as many batches are made at a time as there are threads.
pub(crate) fn send(
    rows: usize,
    step: usize,
    context: &Context,
    to: &mut mpsc::Sender<Result<JoinedBatch>>,
    make: impl Fn(usize, usize) -> Result<JoinedBatch> + Sync,
) -> Result<()> {
    let batches = rows.div_ceil(step);
    let threads = context.threads.min(batches).max(1);
    for first in (0..batches).step_by(threads) {
        let count = threads.min(batches - first);
        let made = work::each(vec![Vec::new(); count], count, &context.cancel, |made, at| {
            let start = (first + at) * step;
            made.push((at, make(start, step.min(rows - start))?));
            Ok(())
        })?;
        let mut made: Vec<_> = made.into_iter().flatten().collect();
        made.sort_by_key(|(at, _)| *at);
        for (_, batch) in made {
            // Waits until the consumer has taken enough; fails when it is gone.
            block_on(to.send(Ok(batch))).map_err(|_| work::stopped())?;
        }
    }
    Ok(())
}
