//! How many calls may be under way at once, and how many may wait?

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use larder_base::{
    Error, FeatureBlock, Generation, Health, LayoutChanges, OnlineCapabilities, OnlineDelete, OnlineRead,
    OnlineScan, OnlineStore, OnlineWrite, ProjectName, ReadFuture, ReadOptions, ReclaimReport, Result,
    StoreIdentity, WriteOptions, WriteReport,
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Lets a number of reads, writes and deletes through at once; the others wait their turn.
///
/// Too long a queue is worse than a refusal: [`ConcurrencyLimit::with_waiting`] bounds it, and
/// who comes then is `Overloaded` at once. Waiting counts towards the call's timeout.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use larder_base::memory::MemoryOnline;
/// use larder_engine::layers::ConcurrencyLimit;
///
/// let store = ConcurrencyLimit::new(Arc::new(MemoryOnline::new()), 64).with_waiting(1_000);
/// ```
pub struct ConcurrencyLimit {
    inner: Arc<dyn OnlineStore>,
    gate: Gate,
}

impl ConcurrencyLimit {
    /// Lets `limit` calls, at least one, through to a store at once.
    pub fn new(inner: Arc<dyn OnlineStore>, limit: usize) -> Self {
        Self {
            inner,
            gate: Gate::new(limit),
        }
    }

    /// Sets how many calls may wait; by default there is no bound.
    #[must_use]
    pub fn with_waiting(mut self, waiting: usize) -> Self {
        self.gate.most_waiting = waiting;
        self
    }
}

/// Permits, and who waits for them.
pub(super) struct Gate {
    permits: Semaphore,
    limit: usize,
    waiting: AtomicUsize,
    most_waiting: usize,
}

impl Gate {
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Semaphore::new(limit),
            limit,
            waiting: AtomicUsize::new(0),
            most_waiting: usize::MAX,
        }
    }

    /// A permit, if one is free and nobody waits for it.
    fn try_enter(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.try_acquire().ok()
    }

    /// A permit, after waiting for it; and what is then left of the timeout.
    pub(super) async fn enter(
        &self,
        timeout: Option<Duration>,
    ) -> Result<(SemaphorePermit<'_>, Option<Duration>)> {
        if let Some(permit) = self.try_enter() {
            return Ok((permit, timeout));
        }
        let limit = self.limit;
        let _place = self.queue().ok_or_else(|| {
            Error::overloaded(format!(
                "{limit} calls are under way and {} wait already",
                self.most_waiting
            ))
            .help("retry later, or raise the limit of concurrent calls")
        })?;
        let closed = |_| Error::internal("the gate of a store was closed");
        let Some(timeout) = timeout else {
            return Ok((self.permits.acquire().await.map_err(closed)?, None));
        };
        let before = tokio::time::Instant::now();
        match tokio::time::timeout(timeout, self.permits.acquire()).await {
            Ok(permit) => Ok((
                permit.map_err(closed)?,
                Some(timeout.saturating_sub(before.elapsed())),
            )),
            Err(_) => Err(Error::timeout(format!(
                "no turn came within {timeout:?}: {limit} calls were under way all the time"
            ))),
        }
    }

    /// A place among those who wait, given back when dropped.
    fn queue(&self) -> Option<impl Drop + '_> {
        struct Place<'a>(&'a AtomicUsize);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let place = Place(&self.waiting);
        (self.waiting.fetch_add(1, Ordering::Relaxed) < self.most_waiting).then_some(place)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStore for ConcurrencyLimit {
    fn capabilities(&self) -> OnlineCapabilities {
        self.inner.capabilities()
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        let Some(permit) = self.gate.try_enter() else {
            return ReadFuture::Pending(Box::pin(async move {
                let (_permit, left) = self.gate.enter(options.timeout).await?;
                let mut options = *options;
                options.timeout = left;
                self.inner.read(request, &options, out).await
            }));
        };
        match self.inner.read(request, options, out) {
            ready @ ReadFuture::Ready(_) => ready,
            ReadFuture::Pending(answer) => ReadFuture::Pending(Box::pin(async move {
                let _permit = permit;
                answer.await
            })),
        }
    }

    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        let (_permit, left) = self.gate.enter(options.timeout).await?;
        let mut options = *options;
        options.timeout = left;
        self.inner.write(batch, &options).await
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        let (_permit, left) = self.gate.enter(options.timeout).await?;
        let mut options = *options;
        options.timeout = left;
        self.inner.delete(batch, &options).await
    }

    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        self.inner.prepare(changes).await
    }

    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        self.inner.identity(project).await
    }

    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        self.inner.reclaim(project, retired).await
    }

    async fn check(&self) -> Result<Health> {
        self.inner.check().await
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        self.inner.scan()
    }
}

impl fmt::Debug for ConcurrencyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConcurrencyLimit({:?})", self.inner)
    }
}

#[cfg(test)]
mod tests {
    use larder_base::ErrorKind;
    use tokio::time::Instant;

    use super::super::stub::Stub;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn never_more_than_the_limit() {
        let stub = Stub::new(false).taking(Duration::from_millis(10));
        let store = ConcurrencyLimit::new(stub.clone(), 2);
        let options = ReadOptions::new();
        let before = Instant::now();
        let reads = (0..6).map(|_| stub.read(&store, &options));
        for result in futures::future::join_all(reads).await {
            result.unwrap();
        }
        assert_eq!(stub.most_at_once(), 2);
        assert_eq!(before.elapsed(), Duration::from_millis(30));
        store
            .write(&Stub::batch(), &WriteOptions::default())
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_the_queue_full_is_refused() {
        let stub = Stub::new(false).taking(Duration::from_millis(10));
        let store = ConcurrencyLimit::new(stub.clone(), 1).with_waiting(1);
        let options = ReadOptions::new();
        let reads = (0..3).map(|_| stub.read(&store, &options));
        let results = futures::future::join_all(reads).await;
        let kinds: Vec<_> = results
            .into_iter()
            .map(|result| result.err().map(|error| error.kind()))
            .collect();
        assert_eq!(kinds, [None, None, Some(ErrorKind::Overloaded)]);
        // The places are free again afterwards.
        stub.read(&store, &options).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_counts() {
        let stub = Stub::new(false).taking(Duration::from_millis(10));
        let store = ConcurrencyLimit::new(stub.clone(), 1);
        let (long, short) = (
            ReadOptions::new().timeout(Duration::from_millis(30)),
            ReadOptions::new().timeout(Duration::from_millis(15)),
        );
        let (a, b, c) = futures::join!(
            stub.read(&store, &long),
            stub.read(&store, &long),
            stub.read(&store, &short)
        );
        a.unwrap();
        b.unwrap();
        assert_eq!(c.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(
            stub.timeouts(),
            [Duration::from_millis(30), Duration::from_millis(20)],
            "the second is told what is left"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_read_gives_its_place_back() {
        let stub = Stub::new(false).taking(Duration::from_secs(60));
        let store = ConcurrencyLimit::new(stub.clone(), 1).with_waiting(1);
        let options = ReadOptions::new();
        for _ in 0..3 {
            let both = futures::future::join(stub.read(&store, &options), stub.read(&store, &options));
            tokio::time::timeout(Duration::from_millis(1), both)
                .await
                .unwrap_err();
        }
        assert_eq!(store.gate.permits.available_permits(), 1);
        assert_eq!(store.gate.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn ready_stays_ready() {
        let stub = Stub::new(true);
        let store = ConcurrencyLimit::new(stub.clone(), 1);
        assert!(stub.is_ready(&store));
        assert!(stub.is_ready(&store), "the permit was given back");
    }
}
