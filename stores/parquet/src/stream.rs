//! How the batches of an answer are made on several threads and handed out in order.

use std::time::Duration;

use futures::SinkExt;
use futures::channel::mpsc;
use futures::executor::block_on;
use larder_core::{JoinedBatch, Result};
use parking_lot::{Condvar, Mutex};

use crate::plan::Context;
use crate::work;

/// How long a thread waits for its turn before it looks whether anybody still wants the answer.
const PATIENCE: Duration = Duration::from_millis(50);

/// Whose batch is sent next.
struct Turn<'a> {
    next: usize,
    /// The batch that will never come; those behind it are in vain.
    missing: usize,
    to: &'a mut mpsc::Sender<Result<JoinedBatch>>,
}

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
    let (next, missing) = (0, usize::MAX);
    let (turn, changed) = (Mutex::new(Turn { next, missing, to }), Condvar::new());
    let give_up = |at: usize| {
        let mut turn = turn.lock();
        turn.missing = turn.missing.min(at);
        changed.notify_all();
    };
    work::each(vec![(); threads], batches, &context.cancel, |(), at| {
        let start = at * step;
        let batch = work::caught(|| make(start, step.min(rows - start))).inspect_err(|_| give_up(at))?;
        let mut turn = turn.lock();
        while turn.next != at {
            if turn.missing < at {
                return Err(work::stopped());
            }
            context.cancel.check()?;
            changed.wait_for(&mut turn, PATIENCE);
        }
        // Waits until the consumer has taken enough; fails when it is gone.
        let sent = block_on(turn.to.send(Ok(batch)));
        turn.next += 1;
        if sent.is_err() {
            turn.missing = turn.missing.min(at);
        }
        changed.notify_all();
        sent.map_err(|_| work::stopped())
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use futures::StreamExt;
    use larder_core::{Error, OfflineOptions};

    use super::*;

    fn context() -> Context {
        Context::new(Arc::default(), &OfflineOptions::default().with_threads(4))
    }

    fn batch(rows: usize) -> JoinedBatch {
        JoinedBatch {
            rows,
            views: Vec::new(),
        }
    }

    #[test]
    fn batches_come_in_order_whoever_is_ready_first() {
        let (mut send, receive) = mpsc::channel(1);
        let rows = thread::scope(|scope| {
            let got = receive.map(|batch: Result<JoinedBatch>| batch.unwrap().rows);
            let got = scope.spawn(|| block_on(got.collect::<Vec<_>>()));
            let make = |start: usize, rows: usize| {
                thread::sleep(Duration::from_millis(7 * (start as u64 % 3)));
                Ok(batch(start * 1000 + rows))
            };
            super::send(41, 2, &context(), &mut send, make).unwrap();
            drop(send);
            got.join().unwrap()
        });
        let want = (0..41).step_by(2).map(|start| start * 1000 + 2.min(41 - start));
        assert_eq!(rows, want.collect::<Vec<_>>());
    }

    #[test]
    fn what_lies_before_a_failure_is_sent_and_the_failure_told() {
        let (mut send, receive) = mpsc::channel(100);
        let make = |start: usize, rows: usize| match start {
            // The first are slower than the one that fails.
            0..3 => {
                thread::sleep(Duration::from_millis(100));
                Ok(batch(rows))
            }
            3 => Err(Error::input("three")),
            _ => Ok(batch(rows)),
        };
        let error = super::send(50, 1, &context(), &mut send, make).unwrap_err();
        assert_eq!(error.message(), "three");
        drop(send);
        assert_eq!(block_on(receive.count()), 3);

        let (mut send, _receive) = mpsc::channel(100);
        let make = |start: usize, rows: usize| {
            assert_ne!(start, 5, "five");
            Ok(batch(rows))
        };
        let error = super::send(50, 1, &context(), &mut send, make).unwrap_err();
        assert!(error.chain().contains("five"), "{}", error.chain());
    }

    #[test]
    fn nobody_works_for_a_consumer_that_is_gone() {
        let (mut send, receive) = mpsc::channel(1);
        drop(receive);
        let made = AtomicUsize::new(0);
        let make = |_, rows| {
            made.fetch_add(1, Ordering::Relaxed);
            Ok(batch(rows))
        };
        super::send(1_000_000, 1, &context(), &mut send, make).unwrap_err();
        assert!(made.into_inner() < 100);

        // Nor waits for a batch that nobody makes any more.
        let (mut send, _receive) = mpsc::channel(2_000);
        let context = context();
        let guard = Mutex::new(Some(context.cancel.guard()));
        let make = |start: usize, rows: usize| {
            if start == 0 {
                thread::sleep(Duration::from_millis(100));
                drop(guard.lock().take());
            }
            Ok(batch(rows))
        };
        super::send(1_000, 1, &context, &mut send, make).unwrap_err();
    }
}
