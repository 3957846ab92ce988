//! Faults that a test injects into the online store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use larder_base::{
    Error, ErrorKind, FeatureBlock, Generation, Health, LayoutChanges, OnlineCapabilities, OnlineDelete,
    OnlineRead, OnlineScan, OnlineStore, OnlineWrite, ProjectName, ReadFuture, ReadOptions, ReclaimReport,
    Result, Span, StoreIdentity, WriteOptions, WriteReport, async_trait,
};
use parking_lot::Mutex;

/// Faults to be injected, in the order in which they were asked for.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    online: Arc<Mutex<VecDeque<Planned>>>,
}

/// A fault and how often it still strikes; always where absent.
type Planned = (Fault, Option<u32>);

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Reads answer only after a while.
    Delay(Duration),
    /// Reads and writes fail.
    Fail(ErrorKind),
}

impl Faults {
    /// Faults of the online stores.
    pub fn online(&self) -> OnlineFaults<'_> {
        OnlineFaults {
            faults: self,
            fault: None,
        }
    }

    /// Takes all faults back.
    pub fn clear(&self) {
        self.online.lock().clear();
    }

    fn next(&self, of_reads: bool) -> Option<Fault> {
        let mut queue = self.online.lock();
        let index = queue
            .iter()
            .position(|(fault, _)| of_reads || matches!(fault, Fault::Fail(_)))?;
        let (fault, left) = &mut queue[index];
        let fault = *fault;
        match left {
            None => {}
            Some(1) => drop(queue.remove(index)),
            Some(count) => *count -= 1,
        }
        Some(fault)
    }
}

/// A fault being described.
#[derive(Debug)]
#[must_use = "say `once`, `times` or `always`"]
pub struct OnlineFaults<'a> {
    faults: &'a Faults,
    fault: Option<Fault>,
}

impl OnlineFaults<'_> {
    /// Reads answer only after a while, such as `5ms`; a text that is no duration is no delay.
    pub fn delay(mut self, by: &str) -> Self {
        self.fault = Some(Fault::Delay(by.parse::<Span>().unwrap_or_default().to_std()));
        self
    }

    /// Reads and writes fail.
    pub fn fail(mut self, kind: ErrorKind) -> Self {
        self.fault = Some(Fault::Fail(kind));
        self
    }

    /// Only the next call.
    pub fn once(self) {
        self.times(1);
    }

    /// The next calls.
    pub fn times(self, count: u32) {
        if let Some(fault) = self.fault.filter(|_| count > 0) {
            self.faults.online.lock().push_back((fault, Some(count)));
        }
    }

    /// Every call until [`Faults::clear`].
    pub fn always(self) {
        if let Some(fault) = self.fault {
            self.faults.online.lock().push_back((fault, None));
        }
    }
}

/// An online store with faults.
#[derive(Debug)]
pub(super) struct FaultyOnline {
    inner: Arc<dyn OnlineStore>,
    faults: Faults,
}

impl FaultyOnline {
    pub(super) fn new(inner: Arc<dyn OnlineStore>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    fn write_fault(&self) -> Result<()> {
        match self.faults.next(false) {
            Some(Fault::Fail(kind)) => Err(Error::new(kind, "an injected fault")),
            _ => Ok(()),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait::async_trait]
impl OnlineStore for FaultyOnline {
    fn capabilities(&self) -> OnlineCapabilities {
        self.inner.capabilities()
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        match self.faults.next(true) {
            None => self.inner.read(request, options, out),
            Some(Fault::Fail(kind)) => ReadFuture::ready(Err(Error::new(kind, "an injected fault"))),
            Some(Fault::Delay(delay)) => ReadFuture::Pending(Box::pin(async move {
                tokio::time::sleep(delay).await;
                self.inner.read(request, options, out).await
            })),
        }
    }

    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        self.write_fault()?;
        self.inner.write(batch, options).await
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        self.write_fault()?;
        self.inner.delete(batch, options).await
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
