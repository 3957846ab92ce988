//! How long do calls take, how do they end, and how much do they carry?

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use larder_base::{
    Error, ErrorKind, FeatureBlock, Generation, Health, LayoutChanges, OnlineCapabilities, OnlineDelete,
    OnlineRead, OnlineScan, OnlineStore, OnlineWrite, ProjectName, ReadFuture, ReadOptions, ReclaimReport,
    Result, StoreIdentity, WriteOptions, WriteReport,
};

/// Measures a store with the `metrics` facade; every series has the label `store`.
///
/// | name | type | more labels |
/// | --- | --- | --- |
/// | `larder_online_seconds` | histogram | `operation` |
/// | `larder_online_calls_total` | counter | `operation`, `outcome`: `ok`, `cancelled` or the kind of error |
/// | `larder_online_keys_total` | counter | `operation`: keys asked for, written or deleted |
/// | `larder_online_stale_total` | counter | `operation`: rows refused because a newer one is stored |
///
/// A call that is dropped before its end, as a deadline does it, is counted as `cancelled` with
/// the time it was given; the slowest calls are not the ones that are missing. The series are
/// looked up once, here: install the recorder before.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use larder_base::memory::MemoryOnline;
/// let store = larder_engine::layers::Metrics::new(Arc::new(MemoryOnline::new()), "default");
/// ```
pub struct Metrics {
    inner: Arc<dyn OnlineStore>,
    reads: Series,
    writes: Series,
    deletes: Series,
}

impl Metrics {
    /// Puts measurements around a store, under its name in the project.
    pub fn new(inner: Arc<dyn OnlineStore>, store: &str) -> Self {
        Self {
            inner,
            reads: Series::new("online", store, "read"),
            writes: Series::new("online", store, "write"),
            deletes: Series::new("online", store, "delete"),
        }
    }
}

/// Every way a call can end by an error.
const KINDS: [ErrorKind; 12] = [
    ErrorKind::Config,
    ErrorKind::Definition,
    ErrorKind::Input,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::Unsupported,
    ErrorKind::Denied,
    ErrorKind::Unavailable,
    ErrorKind::Overloaded,
    ErrorKind::Timeout,
    ErrorKind::Corrupt,
    ErrorKind::Internal,
];

/// The series of one operation of one store.
pub(super) struct Series {
    seconds: ::metrics::Histogram,
    ok: ::metrics::Counter,
    cancelled: ::metrics::Counter,
    failed: [::metrics::Counter; KINDS.len()],
    pub(super) keys: ::metrics::Counter,
    stale: ::metrics::Counter,
}

impl Series {
    pub(super) fn new(role: &'static str, store: &str, operation: &'static str) -> Self {
        let labels = || [("store", store.to_owned()), ("operation", operation.to_owned())];
        let ended = |outcome: &'static str| {
            let [store, operation] = labels();
            let labels = [store, operation, ("outcome", outcome.to_owned())];
            ::metrics::counter!(format!("larder_{role}_calls_total"), &labels)
        };
        Self {
            seconds: ::metrics::histogram!(format!("larder_{role}_seconds"), &labels()),
            ok: ended("ok"),
            cancelled: ended("cancelled"),
            failed: KINDS.map(|kind| ended(kind.as_str())),
            keys: ::metrics::counter!(format!("larder_{role}_keys_total"), &labels()),
            stale: ::metrics::counter!(format!("larder_{role}_stale_total"), &labels()),
        }
    }

    pub(super) fn begin(&self) -> Call<'_> {
        Call {
            series: self,
            started: Instant::now(),
            ended: false,
        }
    }
}

/// A call under way; dropped before [`Call::end`] it was cancelled.
pub(super) struct Call<'a> {
    series: &'a Series,
    started: Instant,
    ended: bool,
}

impl Call<'_> {
    pub(super) fn end(mut self, error: Option<&Error>) {
        self.ended = true;
        let counter = match error {
            None => Some(&self.series.ok),
            Some(error) => {
                let known = KINDS.iter().position(|kind| *kind == error.kind());
                known.and_then(|kind| self.series.failed.get(kind))
            }
        };
        if let Some(counter) = counter {
            counter.increment(1);
        }
        self.series.seconds.record(self.started.elapsed());
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.series.cancelled.increment(1);
            self.series.seconds.record(self.started.elapsed());
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStore for Metrics {
    fn capabilities(&self) -> OnlineCapabilities {
        self.inner.capabilities()
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        let keys: usize = request.groups.iter().map(|group| group.keys.len()).sum();
        self.reads.keys.increment(keys as u64);
        let call = self.reads.begin();
        match self.inner.read(request, options, out) {
            ReadFuture::Ready(result) => {
                call.end(result.as_ref().and_then(|result| result.as_ref().err()));
                ReadFuture::Ready(result)
            }
            ReadFuture::Pending(answer) => ReadFuture::Pending(Box::pin(async move {
                let result = answer.await;
                call.end(result.as_ref().err());
                result
            })),
        }
    }

    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        let call = self.writes.begin();
        let result = self.inner.write(batch, options).await;
        call.end(result.as_ref().err());
        if let Ok(report) = &result {
            self.writes.keys.increment(batch.keys.len() as u64);
            self.writes.stale.increment(report.stale);
        }
        result
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        let call = self.deletes.begin();
        let result = self.inner.delete(batch, options).await;
        call.end(result.as_ref().err());
        if let Ok(report) = &result {
            self.deletes.keys.increment(batch.keys.len() as u64);
            self.deletes.stale.increment(report.stale);
        }
        result
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

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metrics({:?})", self.inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use larder_conformance::Series;

    use super::super::stub::Stub;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_every_end() {
        for in_process in [true, false] {
            let recorded = Series::default();
            let stub = Stub::new(in_process).failing(ErrorKind::Unavailable, 1);
            let store = recorded.record(|| Metrics::new(stub.clone(), "main"));
            let options = ReadOptions::new();
            stub.read(&store, &options).await.unwrap_err();
            stub.read(&store, &options).await.unwrap();
            store
                .write(&Stub::batch(), &WriteOptions::default())
                .await
                .unwrap();
            assert_eq!(
                recorded.lines(),
                [
                    "larder_online_calls_total main read ok 1",
                    "larder_online_calls_total main read unavailable 1",
                    "larder_online_calls_total main write ok 1",
                    "larder_online_keys_total main write 1",
                    "larder_online_seconds main read 2",
                    "larder_online_seconds main write 1",
                    "larder_online_stale_total main write 2",
                ],
                "in process: {in_process}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_call_is_measured() {
        let recorded = Series::default();
        let stub = Stub::new(false).taking(Duration::from_secs(9));
        let store = recorded.record(|| Metrics::new(stub.clone(), "main"));
        let read =
            tokio::time::timeout(Duration::from_millis(1), stub.read(&store, &ReadOptions::new())).await;
        read.unwrap_err();
        assert_eq!(
            recorded.lines(),
            [
                "larder_online_calls_total main read cancelled 1",
                "larder_online_seconds main read 1"
            ]
        );
    }

    #[test]
    fn every_kind_has_its_counter() {
        for (index, kind) in KINDS.iter().enumerate() {
            assert_eq!(KINDS.iter().position(|other| other == kind), Some(index));
        }
        assert_eq!(
            KINDS.len(),
            ErrorKind::Internal as usize + 1,
            "a new kind needs a counter"
        );
    }

    #[test]
    fn ready_stays_ready() {
        let stub = Stub::new(true);
        let store = Metrics::new(stub.clone(), "main");
        assert!(stub.is_ready(&store));
    }
}
