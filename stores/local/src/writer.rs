//! How writes reach the folder: one thread, many requests in one transaction, an answer only after the commit.
//!
//! LMDB's write lock spans processes, so a transaction works for at most [`HOLD`] before it commits; long requests
//! continue in the next one, in turn with the others. A full map is doubled and the transaction repeated.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use larder_base::error::{Error, Result};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::env::Env;
use crate::fault::{self, Fault};
use crate::transaction::Transaction;

/// How long one transaction may work before it commits.
const HOLD: Duration = Duration::from_millis(8);
/// How long another process gets to take the write lock between two full transactions of this one.
const YIELD: Duration = Duration::from_micros(100);
/// Requests that wait or run at once; further callers wait.
const IN_FLIGHT: usize = 256;
/// How long after the last unsynced commit it is synced after all (`durability: os`).
const IDLE: Duration = Duration::from_secs(1);
const STALE_READERS: Duration = Duration::from_secs(10);

/// The time that a transaction may still work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget(Instant);

impl Budget {
    /// Whether the transaction should commit now.
    pub(crate) fn spent(self) -> bool {
        self.0.elapsed() >= HOLD
    }
}

/// A request that can be worked off in several transactions.
pub(crate) trait Job: Send {
    /// Works until done (`true`) or until the budget is spent.
    fn step(&mut self, transaction: &mut Transaction<'_>, budget: Budget) -> Result<bool, Fault>;
    /// What `step` did is committed.
    fn committed(&mut self);
    /// What `step` did since the last commit is undone.
    fn rewind(&mut self);
    /// Answers the caller; `Ok` only after everything is committed.
    fn finish(self: Box<Self>, outcome: Result<()>);
}

struct Ticket {
    job: Box<dyn Job>,
    /// Whether the commit must reach the disk before the answer.
    sync: bool,
    /// When the caller no longer waits; what is committed by then stays.
    deadline: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Inbox {
    tickets: VecDeque<Ticket>,
    closing: bool,
    stopped: bool,
}

#[derive(Default)]
struct Queue {
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

/// The writer thread of a folder; dropping it finishes what is queued and joins the thread.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    permits: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(env: Arc<Env>) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let theirs = queue.clone();
        let thread = std::thread::Builder::new()
            .name("larder-local".to_owned())
            .spawn(move || run(&env, &theirs))
            .map_err(|error| {
                Error::unavailable("cannot start the writer thread of the online store").source(error)
            })?;
        Ok(Self {
            queue,
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
            thread: Some(thread),
        })
    }

    /// Queues a job and waits for its answer; `make` gets the place to answer to.
    ///
    /// Dropping the future before it is queued does nothing; afterwards the job still runs.
    pub(crate) async fn submit<T>(
        &self,
        sync: bool,
        timeout: Option<Duration>,
        make: impl FnOnce(oneshot::Sender<Result<T>>) -> Box<dyn Job>,
    ) -> Result<T> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let ticket = Ticket {
            job: make(reply),
            sync,
            deadline,
            _permit: permit,
        };
        {
            let mut inbox = self.queue.inbox.lock();
            if inbox.stopped || inbox.closing {
                return Err(stopped());
            }
            inbox.tickets.push_back(ticket);
        }
        self.queue.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.inbox.lock().closing = true;
        self.queue.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panicked thread has already dropped its requests, whose callers were told.
            let _ = thread.join();
        }
    }
}

fn stopped() -> Error {
    Error::internal("the writer thread of the online store stopped")
        .help("restart this process and report it")
}

/// Tells waiting callers when the thread ends, even by a panic.
struct Stop<'a>(&'a Queue);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let mut inbox = self.0.inbox.lock();
        inbox.stopped = true;
        let waiting = std::mem::take(&mut inbox.tickets);
        drop(inbox);
        drop(waiting);
    }
}

enum Wake {
    Work,
    Idle,
    Close,
}

fn run(env: &Env, queue: &Queue) {
    let _stop = Stop(queue);
    let mut active = VecDeque::new();
    let mut unsynced = false;
    let mut readers_cleared = Instant::now();
    loop {
        match receive(queue, &mut active, unsynced) {
            Wake::Work => {
                let full = group(env, &mut active, &mut unsynced);
                if readers_cleared.elapsed() > STALE_READERS {
                    env.clear_stale_readers();
                    readers_cleared = Instant::now();
                }
                if full {
                    std::thread::sleep(YIELD);
                }
            }
            idle_or_close => {
                if unsynced && let Err(error) = env.force_sync() {
                    tracing::warn!(%error, "cannot sync the online store");
                }
                unsynced = false;
                if matches!(idle_or_close, Wake::Close) {
                    return;
                }
            }
        }
    }
}

/// Moves what is queued to `active`; waits when both are empty.
fn receive(queue: &Queue, active: &mut VecDeque<Ticket>, unsynced: bool) -> Wake {
    let mut inbox = queue.inbox.lock();
    loop {
        active.append(&mut inbox.tickets);
        if !active.is_empty() {
            return Wake::Work;
        }
        if inbox.closing {
            return Wake::Close;
        }
        if !unsynced {
            queue.wake.wait(&mut inbox);
        } else if queue.wake.wait_for(&mut inbox, IDLE).timed_out() && inbox.tickets.is_empty() {
            return Wake::Idle;
        }
    }
}

/// Works one transaction for everything in `active` and answers what is finished; whether the budget was spent.
fn group(env: &Env, active: &mut VecDeque<Ticket>, unsynced: &mut bool) -> bool {
    if let Err(error) = env.attached() {
        fail_all(active, &error);
        return false;
    }
    expire(active);
    if active.is_empty() {
        return false;
    }
    let mut resized = 0;
    loop {
        let sync = active.iter().any(|ticket| ticket.sync);
        let started = Instant::now();
        let (fault, culprit) = match attempt(env, active, sync) {
            Ok(()) => {
                *unsynced = !sync;
                return started.elapsed() >= HOLD;
            }
            Err(failed) => failed,
        };
        active.iter_mut().for_each(|ticket| ticket.job.rewind());
        let remedy = if fault.is_map_full() {
            Some(env.grow())
        } else if fault.is_map_resized() && resized < 64 {
            resized += 1;
            Some(env.resize(0))
        } else {
            None
        };
        match (remedy, culprit) {
            (Some(Ok(())), _) => {}
            (Some(Err(error)), _) => {
                fail_all(active, &error);
                return false;
            }
            // One bad request must not take the others with it.
            (None, Some(index)) => {
                if let Some(ticket) = active.remove(index) {
                    ticket.job.finish(Err(fault.into_error(env.path())));
                }
                if active.is_empty() {
                    return false;
                }
            }
            (None, None) => {
                let error = fault.into_error(env.path());
                fail_all(active, &error);
                return false;
            }
        }
    }
}

/// One transaction. A failure names the request that caused it, where one did.
fn attempt(env: &Env, active: &mut VecDeque<Ticket>, sync: bool) -> Result<(), (Fault, Option<usize>)> {
    let mut culprit = None;
    let done = env.write(sync, |transaction| {
        let budget = Budget(Instant::now());
        transaction.claim()?;
        let mut done = Vec::with_capacity(active.len());
        for (index, ticket) in active.iter_mut().enumerate() {
            culprit = Some(index);
            done.push(ticket.job.step(transaction, budget)?);
            if budget.spent() {
                break;
            }
        }
        culprit = None;
        Ok(done)
    });
    let done = done.map_err(|fault| (fault, culprit))?;
    // Finished ones are answered; begun ones go to the end, so that a long request does not hold up short ones.
    for done in done {
        let Some(mut ticket) = active.pop_front() else {
            break;
        };
        ticket.job.committed();
        if done {
            ticket.job.finish(Ok(()));
        } else {
            active.push_back(ticket);
        }
    }
    Ok(())
}

/// Answers requests whose deadline passed before they were finished.
fn expire(active: &mut VecDeque<Ticket>) {
    let late = |ticket: &Ticket| ticket.deadline.is_some_and(|at| Instant::now() > at);
    for _ in 0..active.len() {
        let Some(ticket) = active.pop_front() else { break };
        if late(&ticket) {
            let error = Error::timeout("the write to the local store took too long")
                .help("write smaller batches, or the same one again with a longer timeout");
            ticket.job.finish(Err(error));
        } else {
            active.push_back(ticket);
        }
    }
}

fn fail_all(active: &mut VecDeque<Ticket>, error: &Error) {
    for ticket in active.drain(..) {
        ticket.job.finish(Err(fault::again(error)));
    }
}
