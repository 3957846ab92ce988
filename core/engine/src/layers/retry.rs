//! Which failures are tried again, how often, and after which pause?

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use larder_base::{
    Error, ErrorKind, FeatureBlock, Generation, Health, LayoutChanges, OnlineCapabilities, OnlineDelete,
    OnlineRead, OnlineScan, OnlineStore, OnlineWrite, ProjectName, ReadFuture, ReadOptions, ReclaimReport,
    Result, StoreIdentity, WriteOptions, WriteReport, WriteRule,
};
use tokio::time::Instant;

/// Tries again what failed for a reason that passes: `Unavailable`, `Overloaded`, `Timeout`.
///
/// Everything a store does is idempotent, except writes under [`WriteRule::Overwrite`]: a late
/// second try could replace what another writer wrote meanwhile, so these are tried once. So is
/// [`OnlineStore::check`], which asks how things are now. All tries together end within the
/// call's own timeout. Waiting needs a tokio runtime.
///
/// # Example
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use larder_base::memory::MemoryOnline;
/// use larder_engine::layers::{Retry, RetryPolicy};
///
/// let policy = RetryPolicy::new().with_attempts(5).with_pause(Duration::from_millis(2), Duration::from_millis(100));
/// let store = Retry::new(Arc::new(MemoryOnline::new()), policy);
/// ```
pub struct Retry {
    inner: Arc<dyn OnlineStore>,
    policy: RetryPolicy,
    /// Whether reads answer at once, so that the first try needs no future of its own.
    in_process: bool,
}

/// How often, and after which pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Tries in all, the first one included.
    pub attempts: u32,
    /// The longest pause after the first try; it doubles from try to try.
    pub first_pause: Duration,
    /// The longest pause of all.
    pub longest_pause: Duration,
}

impl RetryPolicy {
    /// Three tries; pauses of up to 5 ms, then up to 10 ms.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of tries, the first one included.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the longest pause after the first try, and of all.
    #[must_use]
    pub fn with_pause(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// The pause after `made` tries: any length up to the bound is as likely ("full jitter"), so
    /// that callers who failed together do not come back together.
    fn pause(&self, made: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(made.saturating_sub(1));
        let bound = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(larder_base::random::u64() % nanos.saturating_add(1).max(1))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_secs(1),
        }
    }
}

impl Retry {
    /// Puts second tries around a store.
    pub fn new(inner: Arc<dyn OnlineStore>, policy: RetryPolicy) -> Self {
        let in_process = inner.capabilities().in_process;
        Self {
            inner,
            policy,
            in_process,
        }
    }

    fn tries(&self, timeout: Option<Duration>) -> Tries {
        Tries {
            policy: self.policy,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            made: 0,
        }
    }
}

/// The tries of one call.
struct Tries {
    policy: RetryPolicy,
    deadline: Option<Instant>,
    made: u32,
}

impl Tries {
    /// What is left of the call's timeout.
    fn left(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits until the next try, or gives the error back when there is none.
    async fn after(&mut self, error: Error) -> Result<()> {
        self.made += 1;
        if !passes(error.kind()) || self.made >= self.policy.attempts {
            return Err(error);
        }
        let pause = self.policy.pause(self.made);
        // A try that could only begin after the deadline is none.
        if self.left().is_some_and(|left| left <= pause) {
            return Err(error);
        }
        tracing::debug!(%error, tries = self.made, "an online store is tried again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Whether the same call may succeed a moment later. A conflict needs a new decision instead.
fn passes(kind: ErrorKind) -> bool {
    kind.is_retryable() && kind != ErrorKind::Conflict
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStore for Retry {
    fn capabilities(&self) -> OnlineCapabilities {
        self.inner.capabilities()
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        let mut failed = None;
        if self.in_process
            && let ReadFuture::Ready(result) = self.inner.read(request, options, &mut *out)
        {
            match result.unwrap_or(Ok(())) {
                Err(error) if passes(error.kind()) => failed = Some(error),
                settled => return ReadFuture::ready(settled),
            }
        }
        ReadFuture::Pending(Box::pin(async move {
            let mut tries = self.tries(options.timeout);
            if let Some(error) = failed {
                tries.after(error).await?;
            }
            loop {
                let mut options = *options;
                options.timeout = tries.left();
                match self.inner.read(request, &options, &mut *out).await {
                    Err(error) => tries.after(error).await?,
                    Ok(()) => return Ok(()),
                }
            }
        }))
    }

    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        if batch.rule != WriteRule::NewestWins {
            return self.inner.write(batch, options).await;
        }
        let mut tries = self.tries(options.timeout);
        loop {
            let mut options = *options;
            options.timeout = tries.left();
            match self.inner.write(batch, &options).await {
                Err(error) => tries.after(error).await?,
                done => return done,
            }
        }
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        let mut tries = self.tries(options.timeout);
        loop {
            let mut options = *options;
            options.timeout = tries.left();
            match self.inner.delete(batch, &options).await {
                Err(error) => tries.after(error).await?,
                done => return done,
            }
        }
    }

    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        let mut tries = self.tries(None);
        loop {
            match self.inner.prepare(changes).await {
                Err(error) => tries.after(error).await?,
                done => return done,
            }
        }
    }

    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        let mut tries = self.tries(None);
        loop {
            match self.inner.identity(project).await {
                Err(error) => tries.after(error).await?,
                done => return done,
            }
        }
    }

    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        let mut tries = self.tries(None);
        loop {
            match self.inner.reclaim(project, retired).await {
                Err(error) => tries.after(error).await?,
                done => return done,
            }
        }
    }

    async fn check(&self) -> Result<Health> {
        self.inner.check().await
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        self.inner.scan()
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retry({:?})", self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub::Stub;
    use super::*;

    fn policy(attempts: u32) -> RetryPolicy {
        RetryPolicy::new()
            .with_attempts(attempts)
            .with_pause(Duration::from_millis(10), Duration::from_millis(40))
    }

    #[tokio::test(start_paused = true)]
    async fn passing_failures_are_tried_again() {
        for in_process in [true, false] {
            let stub = Stub::new(in_process).failing(ErrorKind::Unavailable, 2);
            let store = Retry::new(stub.clone(), policy(3));
            stub.read(&store, &ReadOptions::new()).await.unwrap();
            assert_eq!(stub.calls(), 3, "in process: {in_process}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_comes_out() {
        let stub = Stub::new(false).failing(ErrorKind::Overloaded, 9);
        let store = Retry::new(stub.clone(), policy(4));
        let error = stub.read(&store, &ReadOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert_eq!(stub.calls(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn other_failures_are_not() {
        for kind in [ErrorKind::Conflict, ErrorKind::Corrupt, ErrorKind::Input] {
            for in_process in [true, false] {
                let stub = Stub::new(in_process).failing(kind, 1);
                let store = Retry::new(stub.clone(), policy(3));
                let error = stub.read(&store, &ReadOptions::new()).await.unwrap_err();
                assert_eq!((error.kind(), stub.calls()), (kind, 1));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_tries_end_within_the_timeout() {
        let stub = Stub::new(false).failing(ErrorKind::Unavailable, u32::MAX);
        let long = RetryPolicy::new()
            .with_attempts(u32::MAX)
            .with_pause(Duration::from_millis(10), Duration::from_millis(10));
        let store = Retry::new(stub.clone(), long);
        let before = Instant::now();
        let options = ReadOptions::new().timeout(Duration::from_millis(100));
        stub.read(&store, &options).await.unwrap_err();
        assert!(before.elapsed() <= Duration::from_millis(100));
        assert!(stub.calls() > 3, "{} calls", stub.calls());
        // Each try is told what is left, never the whole again.
        let told = stub.timeouts();
        assert!(told.windows(2).all(|pair| pair[0] >= pair[1]), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn writes_only_where_a_second_try_changes_nothing() {
        let stub = Stub::new(true).failing(ErrorKind::Timeout, 1);
        let store = Retry::new(stub.clone(), policy(3));
        let batch = Stub::batch();
        store.write(&batch, &WriteOptions::default()).await.unwrap();
        assert_eq!(stub.calls(), 2);

        let stub = Stub::new(true).failing(ErrorKind::Timeout, 1);
        let store = Retry::new(stub.clone(), policy(3));
        let batch = batch.with_rule(WriteRule::Overwrite);
        store.write(&batch, &WriteOptions::default()).await.unwrap_err();
        assert_eq!(stub.calls(), 1);
    }

    #[test]
    fn pauses_stay_below_the_bound() {
        let policy = policy(100);
        for made in [1, 2, 3, 4, 64] {
            let bound = Duration::from_millis(10 * 2_u64.pow(made.min(3) - 1)).min(Duration::from_millis(40));
            let longest = (0..200).map(|_| policy.pause(made)).max().unwrap();
            assert!(longest <= bound, "{longest:?} after {made}");
            assert!(longest > bound / 2, "{longest:?} after {made}");
        }
    }

    #[test]
    fn ready_stays_ready() {
        let stub = Stub::new(true);
        let store = Retry::new(stub.clone(), policy(3));
        assert!(stub.is_ready(&store));
    }
}
