//! How is a request sent: how long it may take, how many at once, and when is it tried again?

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use larder_base::{ErrorKind, random};
use larder_remote::{Meters, Operation};
use metrics::Counter;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use crate::fault::{Fault, Turn, of_client};

/// Sends one request, once.
pub(crate) async fn send<T, E>(
    meters: &Meters,
    operation: &Operation,
    limit: Duration,
    request: impl Future<Output = Result<T, SdkError<E>>>,
) -> Result<T, Fault>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    operation.round_trips.increment(1);
    // Boxed: the client's futures are large, and some of them wait side by side.
    let fault = match timeout(limit, Box::pin(request)).await {
        Ok(Ok(output)) => return Ok(output),
        Ok(Err(error)) => of_client(&error),
        Err(_) => Fault::silent(),
    };
    if fault.turn != Turn::Stale {
        meters.fault(fault.kind());
    }
    Err(fault)
}

/// How many requests may be under way at once.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Semaphore,
    limit: usize,
}

impl Gate {
    pub(crate) fn new(limit: u16) -> Self {
        let limit = usize::from(limit);
        Self {
            places: Semaphore::new(limit),
            limit,
        }
    }

    /// How many that is.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Waits for a place.
    pub(crate) async fn enter(
        &self,
        meters: &Meters,
        patience: Duration,
    ) -> Result<SemaphorePermit<'_>, Fault> {
        let start = Instant::now();
        let place = timeout(patience, self.places.acquire()).await;
        meters.wait.record(start.elapsed().as_secs_f64());
        match place {
            Ok(Ok(place)) => Ok(place),
            _ => {
                let busy = Fault::new(
                    Turn::Give,
                    ErrorKind::Overloaded,
                    "too many requests to dynamodb are under way",
                    "send fewer at once, or raise `connections` (`write_connections` for writes)",
                );
                meters.fault(busy.kind());
                Err(busy)
            }
        }
    }
}

/// When something last went well: shared by what waits for it together.
#[derive(Debug)]
pub(crate) struct Progress(Mutex<Instant>);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Something went well.
    pub(crate) fn made(&self) {
        *self.0.lock() = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

/// When to try again, and when to stop: pauses between nothing and a limit that doubles, so that many who were refused
/// together do not come back together.
#[derive(Debug)]
pub(crate) struct Patience<'a> {
    progress: &'a Progress,
    limit: Duration,
    pause: Duration,
    longest: Duration,
}

impl<'a> Patience<'a> {
    /// Ends when there was no progress for `limit`.
    pub(crate) fn new(progress: &'a Progress, limit: Duration) -> Self {
        Self {
            progress,
            limit,
            pause: Duration::from_millis(10),
            longest: Duration::from_millis(500).min(limit / 2),
        }
    }

    /// Waits before another try; gives the fault back when that makes no sense any more.
    pub(crate) async fn pause(&mut self, operation: &Operation, fault: Fault) -> Result<(), Fault> {
        let pause = jitter(self.pause, random::u64());
        self.pause = (self.pause * 2).min(self.longest);
        if self.progress.idle() + pause >= self.limit {
            return Err(fault);
        }
        operation.retries.increment(1);
        sleep(pause).await;
        Ok(())
    }

    /// Something went well: what follows is a first try again.
    pub(crate) fn made_progress(&mut self) {
        self.progress.made();
        self.pause = Duration::from_millis(10);
    }
}

/// A part of a pause, by a random number.
fn jitter(pause: Duration, random: u64) -> Duration {
    pause.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

/// What requests cost, in the units by which DynamoDB bills and limits.
pub(crate) struct Capacity {
    counter: Counter,
    /// Halves are the smallest part of a unit that a request costs.
    halves: AtomicU64,
}

impl Capacity {
    pub(crate) fn new(counter: Counter) -> Self {
        Self {
            counter,
            halves: AtomicU64::new(0),
        }
    }

    /// Counts what a request cost, where the server tells it.
    pub(crate) fn add(&self, units: Option<f64>) {
        let halves = (units.unwrap_or(0.0).max(0.0) * 2.0).round() as u64;
        let before = self.halves.fetch_add(halves, Ordering::Relaxed);
        self.counter.increment((before + halves) / 2 - before / 2);
    }
}

impl std::fmt::Debug for Capacity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} half units", self.halves.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_any_part_of_their_limit() {
        let pause = Duration::from_millis(100);
        assert_eq!(jitter(pause, 0), Duration::ZERO);
        let longest = jitter(pause, u64::MAX);
        assert!(longest <= pause && longest > pause.mul_f64(0.99));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_without_progress_only() {
        let meters = Meters::new("dynamodb", "test");
        let progress = Progress::new();
        let mut patience = Patience::new(&progress, Duration::from_secs(1));
        let start = Instant::now();
        while patience.pause(&meters.read, Fault::silent()).await.is_ok() {}
        assert!(start.elapsed() < Duration::from_secs(1));
        patience.made_progress();
        // The first pauses are short: ten times something is progress, and nobody gives up.
        for _ in 0..10 {
            patience
                .pause(&meters.read, Fault::silent())
                .await
                .expect("patience");
            patience.made_progress();
        }
    }

    #[test]
    fn halves_make_units() {
        let capacity = Capacity::new(Counter::noop());
        for units in [Some(0.5), None, Some(1.5), Some(-1.0)] {
            capacity.add(units);
        }
        assert_eq!(capacity.halves.load(Ordering::Relaxed), 4);
    }
}
