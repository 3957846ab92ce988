//! Does every key end at its newest value when many write it at once, with times in no order?

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use larder_core::{OnlineStore, Result, ViewLayout};
use tokio::task::yield_now;

use crate::numbers::{layout, read, write};
use crate::{FaultProxy, Rng};

/// How long a failure may go on before it counts as for ever.
const PATIENCE: Duration = Duration::from_secs(40);

/// Writers and one reader on the same keys of one view.
#[derive(Debug, Clone)]
pub struct Race {
    /// How many write.
    pub writers: usize,
    /// How many keys there are.
    pub keys: i64,
    /// Rows of one write.
    pub rows: usize,
    /// How long they write.
    pub lasts: Duration,
}

/// What happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct RaceReport {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that failed in a way that passes.
    pub failed: u64,
    /// Reads that were answered.
    pub reads: u64,
}

impl Race {
    /// Sixteen writers on a thousand keys. For four seconds, or as many as `LARDER_TEST_RACE_SECONDS` says.
    pub fn sixteen() -> Self {
        let seconds = std::env::var("LARDER_TEST_RACE_SECONDS").ok();
        let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(4);
        Self {
            writers: 16,
            keys: 1_000,
            rows: 100,
            lasts: Duration::from_secs(seconds),
        }
    }

    /// Runs it over one store or several with the same data, which are prepared for the project `shop`. `disturb` is
    /// called about seven times a second with a number that counts up.
    ///
    /// # Panics
    /// Where a key ends below what was acknowledged, goes back meanwhile, or holds what nobody wrote; where a call fails
    /// for good; and where too little happened to show anything: it is a test's assertion.
    pub async fn run<S: OnlineStore + 'static>(
        &self,
        stores: Vec<Arc<S>>,
        disturb: impl Fn(u64),
    ) -> RaceReport {
        let course = Arc::new(Course {
            view: layout("shop", "race", 5),
            newest: (0..self.keys).map(|_| AtomicI64::new(i64::MIN)).collect(),
            over: AtomicBool::new(false),
        });
        let writers: Vec<_> = (0..self.writers)
            .map(|writer| {
                let (store, course) = (stores[writer % stores.len()].clone(), course.clone());
                let rows = self.rows;
                tokio::spawn(async move { course.writer(&*store, writer as u64 + 1, rows).await })
            })
            .collect();
        let reader = {
            let (store, course) = (stores[0].clone(), course.clone());
            tokio::spawn(async move { course.reader(&*store).await })
        };
        let (began, mut round) = (Instant::now(), 0);
        while began.elapsed() < self.lasts {
            tokio::time::sleep(Duration::from_millis(150)).await;
            disturb(round);
            round += 1;
        }
        course.over.store(true, Ordering::SeqCst);
        let mut report = RaceReport::default();
        for writer in writers {
            let (acknowledged, failed) = writer.await.expect("a writer");
            report.acknowledged += acknowledged;
            report.failed += failed;
        }
        report.reads = reader.await.expect("the reader");
        assert!(report.acknowledged > 20 && report.reads > 0, "{report:?}");
        course.check(&*stores[0]).await;
        report
    }
}

struct Course {
    view: Arc<ViewLayout>,
    /// The newest event of each key that was acknowledged, µs UTC.
    newest: Vec<AtomicI64>,
    over: AtomicBool,
}

impl Course {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn keys(&self) -> Vec<i64> {
        (0..self.newest.len() as i64).collect()
    }

    async fn writer(&self, store: &dyn OnlineStore, seed: u64, rows: usize) -> (u64, u64) {
        let mut rng = Rng::new(seed);
        let (mut acknowledged, mut failed) = (0, 0);
        while !self.is_over() {
            // A store in memory answers at once, and would leave the clock no turn.
            yield_now().await;
            let rows: Vec<_> = (0..rows)
                .map(|_| {
                    let key = rng.below(self.newest.len()) as i64;
                    // Shuffled, and far beyond what a double holds.
                    let event = (rng.below(1 << 62) as i64) - (1 << 61);
                    (key, event, event)
                })
                .collect();
            match write(store, &self.view, &rows).await {
                Ok(report) => {
                    assert_eq!(report.written + report.stale, rows.len() as u64);
                    acknowledged += 1;
                    for (key, event, _) in rows {
                        self.newest[key as usize].fetch_max(event, Ordering::SeqCst);
                    }
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{}", error.chain());
                    failed += 1;
                }
            }
        }
        (acknowledged, failed)
    }

    /// Sees no key go back.
    async fn reader(&self, store: &dyn OnlineStore) -> u64 {
        let mut seen = vec![i64::MIN; self.newest.len()];
        let mut reads = 0;
        while !self.is_over() {
            yield_now().await;
            let Ok(found) = read(store, &self.view, &self.keys()).await else {
                continue;
            };
            reads += 1;
            for (seen, found) in seen.iter_mut().zip(found) {
                let event = found.map_or(i64::MIN, |(event, _)| event);
                assert!(event >= *seen, "an older row replaced a newer one");
                *seen = event;
            }
        }
        reads
    }

    async fn check(&self, store: &dyn OnlineStore) {
        let keys = self.keys();
        let found = eventually(|| read(store, &self.view, &keys)).await;
        for ((key, found), newest) in (0..).zip(found).zip(&self.newest) {
            let newest = newest.load(Ordering::SeqCst);
            let event = found.map_or(i64::MIN, |(event, _)| event);
            // What failed may be there all the same, and only where it is newer.
            assert!(
                event >= newest,
                "key {key} ends at {event}, acknowledged was {newest}"
            );
            assert!(
                found.is_none_or(|(event, number)| event == number),
                "key {key} is torn"
            );
        }
    }
}

/// What [`Race::run`] may be disturbed with: one line after the other is cut, half closed, slow, narrow, or cut in the
/// middle, and now and then all of them pass.
///
/// # Panics
/// Without lines.
pub fn trouble(lines: &[FaultProxy], round: u64) {
    let line = &lines[round as usize % lines.len()];
    match round % 6 {
        0 => line.cut(),
        1 => line.half_close(),
        2 => line.delay(Duration::from_millis(20)),
        3 => line.throttle(200_000),
        4 => line.cut_after(5_000),
        _ => lines.iter().for_each(FaultProxy::pass),
    }
}

/// Works on until it succeeds, and answers what came of it: how an application waits out a failure that passes.
///
/// # Panics
/// Where a failure is not one that passes, or does not.
pub async fn eventually<T, F: Future<Output = Result<T>>>(mut work: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        match work().await {
            Ok(done) => return done,
            Err(error) => {
                assert!(error.is_retryable(), "{}", error.chain());
                assert!(
                    began.elapsed() < PATIENCE,
                    "it never recovered: {}",
                    error.chain()
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::memory::MemoryOnline;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_store_in_memory_ends_at_the_newest() {
        let race = Race {
            writers: 4,
            keys: 50,
            rows: 20,
            lasts: Duration::from_millis(300),
        };
        let report = race.run(vec![Arc::new(MemoryOnline::new())], |_| {}).await;
        assert_eq!(report.failed, 0);
    }
}
