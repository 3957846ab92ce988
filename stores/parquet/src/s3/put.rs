//! How a new object is written: in one request or in parts, and never over another object.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use larder_core::{Error, Result};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use parking_lot::Mutex;

use super::list;
use super::tries::{Failure, Meaning, Tries};
use super::{Bucket, Pending, S3, path};
use crate::root::ObjectUrl;
use crate::work::Cancel;

/// Bytes of a part; with S3's limit of 10,000 parts, an object may have 156 GiB.
const PART: usize = 16 << 20;

/// Parts on their way at a time, each in memory.
const PARALLEL: usize = 4;

/// An object that is being written. It exists once [`Upload::finish`] has returned; dropped before, it never does.
#[derive(Debug)]
pub(crate) struct Upload {
    bucket: Arc<Bucket>,
    key: String,
    path: Path,
    url: String,
    buffer: Vec<u8>,
    parts: Option<Parts>,
    /// Why a write failed, which the writer above tells as text only.
    failure: Arc<Mutex<Option<Error>>>,
}

#[derive(Debug)]
struct Parts {
    id: MultipartId,
    done: Vec<PartId>,
    pending: VecDeque<Pending<PartId>>,
    started: usize,
}

const WHAT: &str = "a data file cannot be written";

impl Upload {
    pub(crate) fn new(
        s3: &S3,
        folder: &ObjectUrl,
        name: &str,
        failure: Arc<Mutex<Option<Error>>>,
    ) -> Result<Self> {
        let bucket = s3.bucket(&folder.bucket)?;
        let key = format!("{}{name}", folder.prefix());
        Ok(Self {
            path: path(&key)?,
            url: bucket.url(&key),
            bucket,
            key,
            buffer: Vec::new(),
            parts: None,
            failure,
        })
    }

    /// Makes the object of all that was written.
    pub(crate) fn finish(mut self) -> Result<()> {
        if self.parts.is_none() {
            let (bucket, url) = (self.bucket.clone(), self.url.clone());
            let (key, path) = (self.key.clone(), self.path.clone());
            let bytes = Bytes::from(std::mem::take(&mut self.buffer));
            let pending = self
                .bucket
                .start(async move { put(&bucket, &key, &path, &url, bytes).await });
            return pending.wait(&Cancel::default());
        }
        if !self.buffer.is_empty() {
            self.part()?;
        }
        let Some(parts) = &mut self.parts else {
            return Err(Error::internal("an upload lost its parts"));
        };
        while let Some(pending) = parts.pending.pop_front() {
            parts.done.push(pending.wait(&Cancel::default())?);
        }
        let (bucket, url) = (self.bucket.clone(), self.url.clone());
        let (key, path) = (self.key.clone(), self.path.clone());
        let (id, done) = (parts.id.clone(), parts.done.clone());
        let pending = self
            .bucket
            .start(async move { complete(&bucket, &key, &path, &url, &id, done).await });
        pending.wait(&Cancel::default())?;
        self.parts = None;
        Ok(())
    }

    /// Sends what is in the buffer as a part.
    fn part(&mut self) -> Result<()> {
        if self.parts.is_none() {
            let (bucket, path, url) = (self.bucket.clone(), self.path.clone(), self.url.clone());
            let created = self.bucket.start(async move {
                let mut tries = Tries::new(bucket.policy, WHAT, &url);
                loop {
                    let asked = async { Ok(bucket.client.create_multipart(&path).await?) };
                    match tries.attempt(&bucket.permits, asked).await {
                        Ok(id) => return Ok(id),
                        Err(failure) => tries.pause(failure).await?,
                    }
                }
            });
            self.parts = Some(Parts {
                id: created.wait(&Cancel::default())?,
                done: Vec::new(),
                pending: VecDeque::new(),
                started: 0,
            });
        }
        let Some(parts) = &mut self.parts else {
            return Err(Error::internal("an upload has no parts"));
        };
        if parts.pending.len() >= PARALLEL
            && let Some(first) = parts.pending.pop_front()
        {
            parts.done.push(first.wait(&Cancel::default())?);
        }
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let (bucket, path, url) = (self.bucket.clone(), self.path.clone(), self.url.clone());
        let (id, number) = (parts.id.clone(), parts.started);
        parts.started += 1;
        parts.pending.push_back(self.bucket.start(async move {
            let mut tries = Tries::new(bucket.policy, WHAT, &url);
            loop {
                let payload = PutPayload::from_bytes(bytes.clone());
                let sent = async { Ok(bucket.client.put_part(&path, &id, number, payload).await?) };
                match tries.attempt(&bucket.permits, sent).await {
                    Ok(part) => return Ok(part),
                    Err(failure) => tries.pause(failure).await?,
                }
            }
        }));
        Ok(())
    }
}

/// Removes an object; one that is not there is as good.
pub(crate) fn remove(object: &super::Object) -> Result<()> {
    let (bucket, path, url) = (object.bucket.clone(), object.key.clone(), object.url.clone());
    let pending = object.bucket.start(async move {
        let mut tries = Tries::new(bucket.policy, "a data file cannot be removed", &url);
        loop {
            let asked = async { Ok(bucket.client.delete(&path).await?) };
            match tries.attempt(&bucket.permits, asked).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.meaning() == Meaning::NotFound => return Ok(()),
                Err(failure) => tries.pause(failure).await?,
            }
        }
    });
    pending.wait(&Cancel::default())
}

/// Creates an object with one request, if there is none of its name.
async fn put(bucket: &Bucket, key: &str, path: &Path, url: &str, bytes: Bytes) -> Result<()> {
    let mut tries = Tries::new(bucket.policy, WHAT, url);
    loop {
        let payload = PutPayload::from_bytes(bytes.clone());
        let sent = async {
            bucket
                .client
                .put_opts(path, payload, PutMode::Create.into())
                .await?;
            Ok(())
        };
        match tries.attempt(&bucket.permits, sent).await {
            Ok(()) => return Ok(()),
            Err(failure) if ours(bucket, key, &tries, &failure, Some(bytes.len() as u64)).await? => {
                return Ok(());
            }
            Err(failure) => tries.pause(failure).await?,
        }
    }
}

async fn complete(
    bucket: &Bucket,
    key: &str,
    path: &Path,
    url: &str,
    id: &MultipartId,
    parts: Vec<PartId>,
) -> Result<()> {
    let mut tries = Tries::new(bucket.policy, WHAT, url);
    loop {
        let sent = async {
            bucket.client.complete_multipart(path, id, parts.clone()).await?;
            Ok(())
        };
        match tries.attempt(&bucket.permits, sent).await {
            Ok(()) => return Ok(()),
            Err(failure) if ours(bucket, key, &tries, &failure, None).await? => return Ok(()),
            Err(failure) => tries.pause(failure).await?,
        }
    }
}

/// Whether an earlier attempt succeeded and only its answer was lost: the name has 64 random bits, so an object of
/// this name and size is ours.
async fn ours(
    bucket: &Bucket,
    key: &str,
    tries: &Tries<'_>,
    failure: &Failure,
    size: Option<u64>,
) -> Result<bool> {
    let meaning = failure.meaning();
    if !tries.is_repeated() || !matches!(meaning, Meaning::Exists | Meaning::Changed | Meaning::NotFound) {
        return Ok(false);
    }
    let found = list::size(bucket, key).await?;
    Ok(found.is_some_and(|found| size.is_none_or(|size| size == found)))
}

impl io::Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PART
            && let Err(error) = self.part()
        {
            *self.failure.lock() = Some(error);
            return Err(io::Error::other("a part could not be sent"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // What is left of an upload in parts costs storage until it is aborted.
        let Some(parts) = self.parts.take() else { return };
        drop(parts.pending);
        let (bucket, path) = (self.bucket.clone(), self.path.clone());
        let aborting = self.bucket.start(async move {
            let aborted = tokio::time::timeout(
                bucket.policy.attempt,
                bucket.client.abort_multipart(&path, &parts.id),
            );
            if !matches!(aborted.await, Ok(Ok(()))) {
                tracing::warn!(url = bucket.url(path.as_ref()), "an upload could not be aborted");
            }
            Ok(())
        });
        // Failing to abort changes nothing for the caller, who has an error already.
        let _ = aborting.wait(&Cancel::default());
    }
}
