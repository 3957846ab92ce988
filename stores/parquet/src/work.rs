//! How work is spread over threads, stopped, and answered to an async caller.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use futures::channel::oneshot;
use larder_core::{Error, OfflineOptions, Result};
use parking_lot::Mutex;

use crate::fault;

/// A flag that stops work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the work when the guard is dropped.
    pub(crate) fn guard(&self) -> CancelGuard {
        CancelGuard(self.clone())
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails once the work shall stop; nobody reads the error.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_set() {
            return Err(stopped());
        }
        Ok(())
    }
}

/// The error of work that nobody waits for any more.
pub(crate) fn stopped() -> Error {
    Error::internal("the work was stopped")
}

/// Sets its flag when dropped.
#[derive(Debug)]
pub(crate) struct CancelGuard(Cancel);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Threads to use.
pub(crate) fn threads(options: &OfflineOptions) -> usize {
    options
        .threads
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
        .max(1)
}

/// Runs something slow on a thread of its own, whatever runtime the caller has.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (send, receive) = oneshot::channel();
    spawn(move || {
        // Nobody may be waiting any more; then the result is dropped.
        let _ = send.send(caught(work));
    })?;
    receive
        .await
        .unwrap_or_else(|_| Err(Error::internal("a thread of the parquet store ended early")))
}

/// Starts a detached thread.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name("larder-parquet".to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| Error::overloaded("no thread could be started").source(error))
}

/// Turns a panic into an error.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(fault::panicked(&*panic)))
}

/// Does tasks `0..tasks` on some threads, which take the next one when they are free. Each thread has a state from
/// `states`; the number of states is the number of threads. Returns the states, or the error of the earliest task.
pub(crate) fn each<S: Send>(
    states: Vec<S>,
    tasks: usize,
    cancel: &Cancel,
    work: impl Fn(&mut S, usize) -> Result<()> + Sync,
) -> Result<Vec<S>> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let run = |mut state: S| {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break state;
            }
            let done = cancel.check().and_then(|()| caught(|| work(&mut state, task)));
            if let Err(error) = done {
                next.store(tasks, Ordering::Relaxed);
                let mut failed = failed.lock();
                if failed.as_ref().is_none_or(|(earlier, _)| task < *earlier) {
                    *failed = Some((task, error));
                }
                break state;
            }
        }
    };
    let run = &run;
    let mut states = states;
    let own = states.pop();
    let finished = thread::scope(|scope| {
        let others: Vec<_> = states
            .into_iter()
            .map(|state| scope.spawn(move || run(state)))
            .collect();
        let mut finished: Vec<S> = own.into_iter().map(run).collect();
        for other in others {
            finished.push(other.join().map_err(|panic| fault::panicked(&*panic))?);
        }
        Ok::<_, Error>(finished)
    })?;
    match failed.into_inner() {
        Some((_, error)) => Err(error),
        None => Ok(finished),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_and_the_earliest_error_wins() {
        let sums = each(vec![0_usize; 3], 1000, &Cancel::default(), |sum, task| {
            *sum += task;
            Ok(())
        });
        assert_eq!(sums.unwrap().iter().sum::<usize>(), 999 * 1000 / 2);

        let error = each(vec![(); 1], 10, &Cancel::default(), |(), task| match task {
            3 | 4 => Err(Error::input(format!("task {task}"))),
            _ => Ok(()),
        });
        assert_eq!(error.unwrap_err().message(), "task 3");
    }

    #[test]
    fn a_panic_is_an_error_and_cancelling_stops() {
        let error = each(vec![(); 2], 4, &Cancel::default(), |(), task| {
            assert!(task != 2, "two");
            Ok(())
        });
        assert!(error.unwrap_err().chain().contains("two"));

        let cancel = Cancel::default();
        drop(cancel.guard());
        assert!(each(vec![(); 2], 4, &cancel, |(), _| Ok(())).is_err());
    }
}
