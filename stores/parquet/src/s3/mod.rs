//! How objects are reached: one small runtime per store, a client per bucket, and requests that threads wait for.
//!
//! | module | question |
//! | --- | --- |
//! | `client` | how options become a client |
//! | `tries` | when a request is repeated, and what its failure means |
//! | `list` | which objects a source consists of |
//! | `coalesce` | which requests bring a set of ranges |
//! | `held` | how ranges are fetched, ahead of their need, and read from memory |
//! | `put` | how a new object is written |

mod client;
mod coalesce;
mod held;
mod list;
mod put;
mod tries;

pub(crate) use held::{Ahead, Held};
pub(crate) use list::{check, find, place};
pub(crate) use put::{Upload, remove};

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use larder_core::{Error, Result};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::config::ParquetConfig;
use crate::work::{self, Cancel};
use tries::Policy;

/// Requests in flight at a time, unless configured.
const CONCURRENCY: usize = 16;

/// Bytes that one store fetches ahead of their need at most.
const AHEAD_BYTES: u64 = 64 << 20;

/// Threads of the runtime: they move bytes and decrypt, nothing else.
const THREADS: usize = 2;

/// What a store needs to reach objects. Nothing is started before the first request.
#[derive(Debug)]
pub(crate) struct S3 {
    config: ParquetConfig,
    started: Mutex<Started>,
    permits: Arc<Semaphore>,
    /// Bytes that may still be fetched ahead.
    room: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Started {
    runtime: Option<Runtime>,
    buckets: HashMap<String, Arc<Bucket>>,
}

impl Default for S3 {
    fn default() -> Self {
        Self::of(&ParquetConfig::default())
    }
}

impl S3 {
    /// Refuses options that would send data in the clear.
    pub(crate) fn new(config: &ParquetConfig) -> Result<Self> {
        if let Some(endpoint) = &config.endpoint {
            client::check_endpoint(endpoint, config.allow_plaintext)?;
        }
        Ok(Self::of(config))
    }

    fn of(config: &ParquetConfig) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(config.concurrency.unwrap_or(CONCURRENCY).max(1))),
            room: Arc::new(AtomicU64::new(AHEAD_BYTES)),
            config: config.clone(),
            started: Mutex::default(),
        }
    }

    /// A bucket, with a client that is made once.
    fn bucket(&self, name: &str) -> Result<Arc<Bucket>> {
        let mut started = self.started.lock();
        if let Some(bucket) = started.buckets.get(name) {
            return Ok(bucket.clone());
        }
        let handle = match &started.runtime {
            Some(runtime) => runtime.handle().clone(),
            None => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(THREADS)
                    .thread_name("larder-s3")
                    .enable_all()
                    .build()
                    .map_err(|error| {
                        Error::overloaded("the threads for S3 could not be started").source(error)
                    })?;
                started.runtime.insert(runtime).handle().clone()
            }
        };
        let bucket = Arc::new(Bucket {
            name: name.to_owned(),
            client: client::build(&self.config, name)?,
            policy: client::policy(&self.config),
            permits: self.permits.clone(),
            room: self.room.clone(),
            handle,
        });
        started.buckets.insert(name.to_owned(), bucket.clone());
        Ok(bucket)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // A runtime that is dropped waits for its threads, which async callers must not.
        if let Some(runtime) = self.started.get_mut().runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A bucket and what its requests share with those of the store.
#[derive(Debug)]
pub(crate) struct Bucket {
    name: String,
    client: AmazonS3,
    policy: Policy,
    permits: Arc<Semaphore>,
    room: Arc<AtomicU64>,
    handle: Handle,
}

impl Bucket {
    fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// Starts work on the store's runtime.
    fn start<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Pending<T> {
        let (send, receive) = mpsc::sync_channel(1);
        let task = self.handle.spawn(async move {
            // Nobody may be waiting any more; then the answer is dropped.
            let _ = send.try_send(work.await);
        });
        Pending {
            receive,
            task: task.abort_handle(),
        }
    }
}

/// Work of the runtime that some thread will wait for; dropped, the work is aborted.
#[derive(Debug)]
struct Pending<T> {
    receive: mpsc::Receiver<Result<T>>,
    task: AbortHandle,
}

/// How soon a waiting thread sees that nobody wants its work any more.
const GLANCE: Duration = Duration::from_millis(50);

impl<T> Pending<T> {
    /// Blocks until the answer is there, or the flag is set.
    fn wait(self, cancel: &Cancel) -> Result<T> {
        loop {
            match self.receive.recv_timeout(GLANCE) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) => cancel.check()?,
                Err(RecvTimeoutError::Disconnected) => return Err(work::stopped()),
            }
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One object in one version.
#[derive(Debug)]
pub(crate) struct Object {
    bucket: Arc<Bucket>,
    key: Path,
    url: String,
    size: u64,
    etag: Arc<str>,
}

/// A key as the library wants it.
fn path(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|error| {
        Error::unsupported("an object has a key that cannot be read")
            .with("key", key)
            .help("keys have no empty, `.` or `..` parts; write the object under another name")
            .source(error)
    })
}

/// ETags differ in quotes from one answer to another.
fn bare(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}
