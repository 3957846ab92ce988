//! How do many small pushes become few appends, without losing what was acknowledged?
//!
//! Rows wait per source until there are enough of them, or the first has waited long enough; then all go to the history
//! as one append. Whoever pushed waits for that append, unless it was agreed otherwise. What waits is bounded: beyond,
//! pushing itself waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use larder_base::{ByteSize, Error, Result, Span};
use larder_core::arrow::array::{Array, RecordBatch};
use larder_core::{BatchStream, OfflineOptions, OfflineStore, ViewScan};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::store::FeatureStore;

/// Bytes are counted in these.
const UNIT: u64 = 1 << 10;

/// The first pause, and the longest, between two attempts to append what nobody waits for.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When a push through a buffer is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Acknowledge {
    /// When the history has the rows durably: nothing that was acknowledged is lost. A push takes as long as its rows
    /// wait for others.
    #[default]
    Durable,
    /// When the rows are in the buffer. What was not appended yet is lost when the process ends without
    /// [`PushBuffer::close`].
    Buffered,
}

/// When a buffer appends what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferOptions {
    /// Rows of a source that are enough; 100,000 by default.
    pub max_rows: usize,
    /// Bytes of rows of a source that are enough; 32 MiB by default.
    pub max_bytes: ByteSize,
    /// How long rows wait at most; one second by default.
    pub max_age: Span,
    /// Bytes of rows that wait, all sources together, before pushing itself waits; 128 MiB by default.
    pub max_waiting: ByteSize,
    /// When a push is acknowledged.
    pub acknowledge: Acknowledge,
}

impl Default for BufferOptions {
    fn default() -> Self {
        Self {
            max_rows: 100_000,
            max_bytes: ByteSize(32 << 20),
            max_age: Span::seconds(1),
            max_waiting: ByteSize(128 << 20),
            acknowledge: Acknowledge::Durable,
        }
    }
}

impl BufferOptions {
    /// Sets how many rows of a source are enough.
    #[must_use]
    pub fn with_max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows.max(1);
        self
    }

    /// Sets how many bytes of rows of a source are enough.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: ByteSize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets how long rows wait at most.
    #[must_use]
    pub fn with_max_age(mut self, age: Span) -> Self {
        self.max_age = age;
        self
    }

    /// Sets how many bytes of rows wait before pushing itself waits.
    #[must_use]
    pub fn with_max_waiting(mut self, bytes: ByteSize) -> Self {
        self.max_waiting = bytes;
        self
    }

    /// Sets when a push is acknowledged.
    #[must_use]
    pub fn with_acknowledge(mut self, when: Acknowledge) -> Self {
        self.acknowledge = when;
        self
    }
}

/// Gathers the history's rows of small pushes; see [`FeatureStore::push_buffer`]. Clones share everything.
#[derive(Debug, Clone)]
pub struct PushBuffer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: BufferOptions,
    lanes: Mutex<HashMap<String, mpsc::UnboundedSender<Message>>>,
    room: Arc<Semaphore>,
    units: u32,
    closed: AtomicBool,
    appends: Arc<AtomicU64>,
}

impl FeatureStore {
    /// A buffer for the history's side of pushes: give it to [`crate::Push::through`], and close it in the end.
    ///
    /// # Example
    /// ```no_run
    /// # async fn f(store: larder_engine::FeatureStore, rows: larder_core::arrow::array::RecordBatch) -> larder_base::Result<()> {
    /// use larder_engine::{BufferOptions, PushTarget};
    /// let buffer = store.push_buffer(BufferOptions::default());
    /// // From any number of tasks:
    /// store.push("orders").to(PushTarget::Both).rows([rows]).through(&buffer).run().await?;
    /// buffer.close().await
    /// # }
    /// ```
    pub fn push_buffer(&self, options: BufferOptions) -> PushBuffer {
        let units = u32::try_from(options.max_waiting.0.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .clamp(1, u32::MAX >> 4);
        PushBuffer(Arc::new(Shared {
            options,
            lanes: Mutex::default(),
            room: Arc::new(Semaphore::new(units as usize)),
            units,
            closed: AtomicBool::new(false),
            appends: Arc::default(),
        }))
    }
}

impl PushBuffer {
    /// Appends what waits, and returns when the history has it.
    ///
    /// # Errors
    /// The first failure to append rows that had been acknowledged before; the rows of a retryable one still wait.
    pub async fn flush(&self) -> Result<()> {
        let lanes: Vec<_> = self.0.lanes.lock().values().cloned().collect();
        let mut asked = Vec::new();
        for lane in lanes {
            let (send, done) = oneshot::channel();
            if lane.send(Message::Flush(send)).is_ok() {
                asked.push(done);
            }
        }
        let mut outcome = Ok(());
        for done in asked {
            let flushed = done.await.unwrap_or_else(|_| Err(gone()));
            outcome = outcome.and(flushed);
        }
        outcome
    }

    /// Takes no more rows, and returns when the history has all that it took.
    ///
    /// # Errors
    /// As [`PushBuffer::flush`].
    pub async fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::Release);
        self.flush().await
    }

    /// Appends that were made so far.
    pub fn appends(&self) -> u64 {
        self.0.appends.load(Ordering::Acquire)
    }

    /// Bytes of rows that wait or are being appended, in whole KiB.
    pub fn waiting(&self) -> ByteSize {
        let free = u32::try_from(self.0.room.available_permits()).unwrap_or(u32::MAX);
        ByteSize(u64::from(self.0.units.saturating_sub(free)) * UNIT)
    }

    /// Lets rows wait for others; returns when they are acknowledged.
    pub(super) async fn append(
        &self,
        offline: &Arc<dyn OfflineStore>,
        scan: ViewScan,
        rows: BatchStream,
    ) -> Result<u64> {
        let shared = &self.0;
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let count: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if count == 0 {
            return Ok(0);
        }
        let bytes: u64 = batches.iter().map(bytes_of).sum();
        let units = u32::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .clamp(1, shared.units);
        // Rows that are taken hold their room until the history has them.
        let room = shared
            .room
            .clone()
            .acquire_many_owned(units)
            .await
            .map_err(|_| gone())?;
        let (told, acknowledged) = oneshot::channel();
        let waits = shared.options.acknowledge == Acknowledge::Durable;
        let part = Part {
            columns: columns_of(&scan),
            scan: Arc::new(scan),
            batches,
            bytes,
            told: waits.then_some(told),
            _room: room,
        };
        {
            let mut lanes = shared.lanes.lock();
            if shared.closed.load(Ordering::Acquire) {
                return Err(Error::input("the buffer is closed").help("push without it, or make a new one"));
            }
            let name = format!("{:p} {}", Arc::as_ptr(offline), part.scan.source.name);
            let lane = lanes.entry(name).or_insert_with(|| {
                let (send, receive) = mpsc::unbounded_channel();
                let lane = Lane {
                    offline: offline.clone(),
                    options: shared.options,
                    appends: shared.appends.clone(),
                    lost: None,
                };
                tokio::spawn(lane.run(receive));
                send
            });
            lane.send(Message::Part(part)).map_err(|_| gone())?;
        }
        if waits {
            acknowledged.await.unwrap_or_else(|_| Err(gone()))?;
        }
        Ok(count)
    }
}

enum Message {
    Part(Part),
    Flush(oneshot::Sender<Result<()>>),
}

/// The rows of one push.
struct Part {
    scan: Arc<ViewScan>,
    /// Parts with other columns cannot share an append.
    columns: String,
    batches: Vec<RecordBatch>,
    bytes: u64,
    /// Who waits for them to be durable.
    told: Option<oneshot::Sender<Result<()>>>,
    _room: OwnedSemaphorePermit,
}

/// What waits for the next append, and how much that is: counted as it comes, for there may be a part per row.
#[derive(Default)]
struct Waiting {
    parts: Vec<Part>,
    rows: usize,
    bytes: u64,
}

impl Waiting {
    fn push(&mut self, part: Part) {
        self.rows += part.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        self.bytes += part.bytes;
        self.parts.push(part);
    }

    fn is_enough(&self, options: &BufferOptions) -> bool {
        self.rows >= options.max_rows || self.bytes >= options.max_bytes.0
    }

    fn take(&mut self) -> Vec<Part> {
        std::mem::take(self).parts
    }
}

/// The appends to one source, one after the other, so that its rows keep their order.
struct Lane {
    offline: Arc<dyn OfflineStore>,
    options: BufferOptions,
    appends: Arc<AtomicU64>,
    /// Why rows that nobody waited for could not be appended.
    lost: Option<Error>,
}

impl Lane {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut waiting = Waiting::default();
        // What came, and has to wait until that which waits is appended.
        let mut held = None;
        let mut pause = Duration::ZERO;
        let mut open = true;
        loop {
            if held.is_none() && waiting.parts.is_empty() {
                // The last clone of the buffer has gone, and all is appended.
                let Some(message) = messages.recv().await else {
                    return;
                };
                held = Some(message);
            }
            let deadline = Instant::now() + self.options.max_age.to_std();
            let mut flushes = Vec::new();
            while flushes.is_empty() && !waiting.is_enough(&self.options) {
                let message = match held.take() {
                    Some(held) => held,
                    None if !open => break,
                    None => tokio::select! {
                        biased;
                        message = messages.recv() => match message {
                            Some(message) => message,
                            None => {
                                open = false;
                                break;
                            }
                        },
                        () = sleep_until(deadline) => break,
                    },
                };
                match (message, waiting.parts.first()) {
                    (Message::Flush(done), _) => flushes.push(done),
                    (Message::Part(part), Some(first)) if first.columns != part.columns => {
                        held = Some(Message::Part(part));
                        break;
                    }
                    (Message::Part(part), _) => waiting.push(part),
                }
            }
            let failed = self.append(&mut waiting).await;
            for done in flushes {
                let outcome = self.lost.take().or_else(|| failed.as_ref().map(copy));
                // Who asked may have gone.
                let _ = done.send(outcome.map_or(Ok(()), Err));
            }
            let Some(error) = failed else {
                pause = Duration::ZERO;
                continue;
            };
            let rows = waiting.rows;
            if !open {
                tracing::error!(%error, rows, "buffered rows are lost: the buffer was dropped, and they could not be appended");
                return;
            }
            tracing::warn!(%error, rows, "buffered rows could not be appended; it is tried again");
            pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            tokio::time::sleep(pause).await;
        }
    }

    /// Appends what waits, as one, and acknowledges it. What is kept to be tried again stays in `waiting`.
    async fn append(&mut self, waiting: &mut Waiting) -> Option<Error> {
        if waiting.parts.is_empty() {
            return None;
        }
        let error = match self.write(&waiting.parts).await {
            Ok(()) => {
                waiting
                    .take()
                    .into_iter()
                    .for_each(|part| tell(part.told, Ok(())));
                return None;
            }
            Err(error) => error,
        };
        if error.is_retryable() {
            // Those who wait try again themselves; the others cannot know.
            let parts = waiting.take();
            for mut part in parts {
                match part.told.take() {
                    Some(told) => tell(Some(told), Err(copy(&error))),
                    None => waiting.push(part),
                }
            }
            return (!waiting.parts.is_empty()).then_some(error);
        }
        // Rows of one push that the history does not take must not keep those of the others from it.
        let parts = waiting.take();
        let alone = parts.len() == 1;
        for part in parts {
            let outcome = match alone {
                true => Err(copy(&error)),
                false => self.write(std::slice::from_ref(&part)).await,
            };
            match (outcome, part.told) {
                (outcome, Some(told)) => tell(Some(told), outcome),
                (Ok(()), None) => {}
                (Err(error), None) => {
                    tracing::error!(%error, "buffered rows are lost: the history refuses them");
                    self.lost.get_or_insert(error);
                }
            }
        }
        None
    }

    async fn write(&self, parts: &[Part]) -> Result<()> {
        let batches: Vec<_> = parts
            .iter()
            .flat_map(|part| &part.batches)
            .cloned()
            .map(Ok)
            .collect();
        let rows = stream::iter(batches).boxed();
        self.offline
            .append(&parts[0].scan, rows, &OfflineOptions::default())
            .await?;
        self.appends.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

fn tell(told: Option<oneshot::Sender<Result<()>>>, outcome: Result<()>) {
    if let Some(told) = told {
        // Who pushed may have gone; then the rows are there all the same, or not.
        let _ = told.send(outcome);
    }
}

/// What decides whether two pushes can share an append.
fn columns_of(scan: &ViewScan) -> String {
    format!("{:?} {:?} {:?}", scan.keys, scan.features, scan.source)
}

/// Bytes of the rows, those of slices only.
fn bytes_of(batch: &RecordBatch) -> u64 {
    let columns = batch.columns().iter();
    let bytes = columns.map(|column| {
        let data = column.to_data();
        data.get_slice_memory_size()
            .unwrap_or_else(|_| data.get_array_memory_size())
    });
    bytes.sum::<usize>() as u64
}

/// An error told to several.
fn copy(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

fn gone() -> Error {
    Error::unavailable("the buffer's task has ended")
        .help("the runtime that it was made on must live as long as it")
}
