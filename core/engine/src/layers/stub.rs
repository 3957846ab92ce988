//! A store for tests: reads and writes fail as often as they are told, take as long as they are told.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use larder_base::{
    ColumnName, EntityKeys, Error, ErrorKind, FeatureBlock, FeatureName, Generation, Health, JoinKey,
    LayoutChanges, OnlineCapabilities, OnlineDelete, OnlineRead, OnlineScan, OnlineStore, OnlineWrite,
    PackedRows, ProjectName, ReadFuture, ReadOptions, ReclaimReport, Result, Slot, StoreIdentity, Value,
    ValueType, ViewLayout, ViewName, WriteOptions, WriteReport,
};
use parking_lot::Mutex;

pub(crate) struct Stub {
    in_process: bool,
    failure: Option<ErrorKind>,
    failures: AtomicU32,
    takes: Duration,
    calls: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
    timeouts: Mutex<Vec<Duration>>,
}

impl Stub {
    pub(crate) fn new(in_process: bool) -> Arc<Self> {
        Arc::new(Self {
            in_process,
            failure: None,
            failures: AtomicU32::new(0),
            takes: Duration::ZERO,
            calls: AtomicU32::new(0),
            at_once: AtomicU32::new(0),
            most_at_once: AtomicU32::new(0),
            timeouts: Mutex::default(),
        })
    }

    /// The next calls fail so many times.
    pub(crate) fn failing(self: Arc<Self>, kind: ErrorKind, times: u32) -> Arc<Self> {
        let mut stub = Arc::into_inner(self).unwrap();
        (stub.failure, stub.failures) = (Some(kind), AtomicU32::new(times));
        Arc::new(stub)
    }

    /// Calls take so long.
    pub(crate) fn taking(self: Arc<Self>, takes: Duration) -> Arc<Self> {
        let mut stub = Arc::into_inner(self).unwrap();
        stub.takes = takes;
        Arc::new(stub)
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn most_at_once(&self) -> u32 {
        self.most_at_once.load(Ordering::SeqCst)
    }

    /// The timeouts that calls came with.
    pub(crate) fn timeouts(&self) -> Vec<Duration> {
        self.timeouts.lock().clone()
    }

    /// An empty read through a layer.
    pub(crate) async fn read(&self, store: &dyn OnlineStore, options: &ReadOptions) -> Result<()> {
        let (request, mut block) = (OnlineRead::default(), FeatureBlock::new());
        store.read(&request, options, &mut block).await
    }

    pub(crate) fn is_ready(&self, store: &dyn OnlineStore) -> bool {
        let (request, mut block) = (OnlineRead::default(), FeatureBlock::new());
        let options = ReadOptions::new();
        let answer = store.read(&request, &options, &mut block);
        matches!(answer, ReadFuture::Ready(Some(Ok(()))))
    }

    /// A write of one row.
    pub(crate) fn batch() -> OnlineWrite {
        let layout = Arc::new(ViewLayout::new(
            ProjectName::new("p").unwrap(),
            ViewName::new("v").unwrap(),
            Generation(1),
            vec![JoinKey {
                name: ColumnName::new("id").unwrap(),
                value_type: ValueType::INT64,
            }],
            vec![Slot::new(FeatureName::new("f").unwrap(), ValueType::INT64)],
        ));
        let (mut keys, mut rows) = (EntityKeys::new(), PackedRows::new());
        keys.push_values(layout.join_keys(), &[Value::Int64(1)]).unwrap();
        rows.push_values(&layout, larder_base::Micros(1), None, &[Value::Int64(1)])
            .unwrap();
        OnlineWrite::new(layout, Arc::new(keys), Arc::new(rows))
    }

    fn begin(&self, timeout: Option<Duration>) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.timeouts.lock().extend(timeout);
        let left = self.failures.load(Ordering::SeqCst);
        match self.failure {
            Some(kind) if left > 0 => {
                self.failures.store(left - 1, Ordering::SeqCst);
                Err(Error::new(kind, "as told"))
            }
            _ => Ok(()),
        }
    }

    async fn work(&self, timeout: Option<Duration>) -> Result<()> {
        struct Here<'a>(&'a AtomicU32);
        impl Drop for Here<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        let _here = Here(&self.at_once);
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let result = self.begin(timeout);
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        result
    }
}

#[async_trait]
impl OnlineStore for Stub {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut capabilities = OnlineCapabilities::default();
        capabilities.in_process = self.in_process;
        capabilities
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        out.reset(request);
        if self.in_process {
            return ReadFuture::ready(self.begin(options.timeout));
        }
        ReadFuture::Pending(Box::pin(self.work(options.timeout)))
    }

    async fn write(&self, _: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        self.work(options.timeout).await?;
        Ok(WriteReport::new(1, 2))
    }

    async fn delete(&self, _: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        self.work(options.timeout).await?;
        Ok(WriteReport::new(1, 0))
    }

    async fn prepare(&self, _: &LayoutChanges) -> Result<StoreIdentity> {
        Ok(StoreIdentity(1))
    }

    async fn identity(&self, _: &ProjectName) -> Result<Option<StoreIdentity>> {
        Ok(Some(StoreIdentity(1)))
    }

    async fn reclaim(&self, _: &ProjectName, _: &[Generation]) -> Result<ReclaimReport> {
        Ok(ReclaimReport::default())
    }

    async fn check(&self) -> Result<Health> {
        Ok(Health::new("stub"))
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        None
    }
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stub")
    }
}
