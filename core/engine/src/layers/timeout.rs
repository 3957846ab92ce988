//! How long may a call take when its caller does not say?

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use larder_base::{
    Error, FeatureBlock, Generation, Health, LayoutChanges, OnlineCapabilities, OnlineDelete, OnlineRead,
    OnlineScan, OnlineStore, OnlineWrite, ProjectName, ReadFuture, ReadOptions, ReclaimReport, Result,
    StoreIdentity, WriteOptions, WriteReport,
};

/// Gives a deadline to reads, and on request to writes, whose caller set none.
///
/// A caller's own timeout passes through untouched. A store in this process answers without
/// waiting, so there is nothing to give up there. Needs a tokio runtime with time.
///
/// # Example
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use larder_base::memory::MemoryOnline;
/// use larder_engine::layers::Timeout;
///
/// let store = Timeout::new(Arc::new(MemoryOnline::new()), Duration::from_millis(20))
///     .with_writes(Duration::from_secs(10));
/// ```
pub struct Timeout {
    inner: Arc<dyn OnlineStore>,
    reads: Duration,
    writes: Option<Duration>,
    in_process: bool,
}

impl Timeout {
    /// Puts a deadline for reads around a store.
    pub fn new(inner: Arc<dyn OnlineStore>, reads: Duration) -> Self {
        let in_process = inner.capabilities().in_process;
        Self {
            inner,
            reads,
            writes: None,
            in_process,
        }
    }

    /// Sets a deadline for writes and deletes.
    #[must_use]
    pub fn with_writes(mut self, writes: Duration) -> Self {
        self.writes = Some(writes);
        self
    }
}

async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(
            Error::timeout(format!("the online store did not {what} within {limit:?}"))
                .help("look at the store's health, or raise the limit of the timeout"),
        )
    })
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStore for Timeout {
    fn capabilities(&self) -> OnlineCapabilities {
        self.inner.capabilities()
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        if self.in_process || options.timeout.is_some() {
            return self.inner.read(request, options, out);
        }
        ReadFuture::Pending(Box::pin(async move {
            // The store is told, too: it may give up a connection earlier and say why.
            let options = options.timeout(self.reads);
            within(self.reads, "answer", self.inner.read(request, &options, out)).await
        }))
    }

    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        let (Some(limit), None) = (self.writes, options.timeout) else {
            return self.inner.write(batch, options).await;
        };
        let mut options = *options;
        options.timeout = Some(limit);
        within(limit, "finish a write", self.inner.write(batch, &options)).await
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        let (Some(limit), None) = (self.writes, options.timeout) else {
            return self.inner.delete(batch, options).await;
        };
        let mut options = *options;
        options.timeout = Some(limit);
        within(limit, "finish a delete", self.inner.delete(batch, &options)).await
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

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timeout({:?})", self.inner)
    }
}

#[cfg(test)]
mod tests {
    use larder_base::ErrorKind;
    use tokio::time::Instant;

    use super::super::stub::Stub;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ends_what_takes_too_long() {
        let stub = Stub::new(false).taking(Duration::from_secs(5));
        let store = Timeout::new(stub.clone(), Duration::from_millis(20)).with_writes(Duration::from_secs(1));
        let before = Instant::now();
        let error = stub.read(&store, &ReadOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(before.elapsed(), Duration::from_millis(20));
        assert_eq!(stub.timeouts(), [Duration::from_millis(20)], "the store is told");

        let late = store
            .write(&Stub::batch(), &WriteOptions::default())
            .await
            .unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_own_timeout_stands() {
        let stub = Stub::new(false).taking(Duration::from_millis(50));
        let store = Timeout::new(stub.clone(), Duration::from_millis(20));
        let options = ReadOptions::new().timeout(Duration::from_secs(1));
        stub.read(&store, &options).await.unwrap();
        assert_eq!(stub.timeouts(), [Duration::from_secs(1)]);
        // Without a limit for writes they take as long as they take.
        store
            .write(&Stub::batch(), &WriteOptions::default())
            .await
            .unwrap();
    }

    #[test]
    fn ready_stays_ready() {
        let stub = Stub::new(true);
        let store = Timeout::new(stub.clone(), Duration::ZERO);
        assert!(stub.is_ready(&store));
    }
}
