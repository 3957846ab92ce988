//! How ranges of an object are fetched, ahead of their need where there is room, and read from memory.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use larder_core::{Error, Result};
use object_store::{GetOptions, GetRange, ObjectStore};
use parking_lot::Mutex;

use super::coalesce::{CAP, GAP, coalesce};
use super::tries::{Failure, Tries};
use super::{Object, Pending, bare};
use crate::object::{ByteCount, Reads};

/// An object with some of its ranges in memory. Clones share what they hold.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    object: Arc<Object>,
    /// Ascending and disjoint: where each begins, and its bytes.
    parts: Arc<[(u64, Bytes)]>,
    last: Arc<Mutex<Last>>,
}

/// What was asked for beyond what is held, and why it could not be had.
#[derive(Debug, Default)]
struct Last {
    part: Option<(u64, Bytes)>,
    failure: Option<Error>,
}

/// Bytes of a request for something that is not held: a reader that asks for little goes on from there.
const STEP: u64 = 64 << 10;

impl Held {
    pub(crate) fn new(object: Arc<Object>) -> Self {
        Self {
            object,
            parts: Arc::new([]),
            last: Arc::default(),
        }
    }

    /// The same object with these ranges in memory instead; waits for what is on its way already.
    pub(crate) fn holding(&self, ranges: Vec<Range<u64>>, reads: &ByteCount) -> Result<Self> {
        let requests = requests(&self.object, ranges);
        let fetching = reads
            .ahead
            .take(&self.object, &requests)
            .unwrap_or_else(|| Fetching::new(&self.object, requests, None));
        Ok(Self {
            object: self.object.clone(),
            parts: fetching.wait(reads)?.into(),
            last: Arc::default(),
        })
    }

    /// A range that is held.
    pub(crate) fn get(&self, range: &Range<u64>) -> Option<Bytes> {
        let first = self
            .parts
            .partition_point(|(start, _)| *start <= range.start)
            .checked_sub(1)?;
        let (start, bytes) = &self.parts[first];
        if let Some(whole) = within(*start, bytes, range) {
            return Some(whole);
        }
        // A request's end may lie within a page; then the page has two parts.
        let mut joined = BytesMut::with_capacity((range.end - range.start) as usize);
        for (start, bytes) in &self.parts[first..] {
            let at = range.start + joined.len() as u64;
            if at >= range.end {
                break;
            }
            let end = range.end.min(start + bytes.len() as u64);
            joined.extend_from_slice(&within(*start, bytes, &(at..end)).filter(|_| at < end)?);
        }
        (joined.len() as u64 == range.end - range.start).then(|| joined.freeze())
    }

    /// How many bytes are held from a place on, if any.
    pub(crate) fn from(&self, start: u64) -> Option<u64> {
        let at = self
            .parts
            .partition_point(|(first, _)| *first <= start)
            .checked_sub(1)?;
        let (first, bytes) = &self.parts[at];
        let left = (first + bytes.len() as u64).checked_sub(start)?;
        (left > 0).then_some(left)
    }

    /// A range, fetched if it is not held. After an error [`Held::failure`] tells more.
    pub(crate) fn read(&self, range: Range<u64>, reads: &ByteCount) -> Result<Bytes, &'static str> {
        if let Some(held) = self.get(&range) {
            return Ok(held);
        }
        let mut last = self.last.lock();
        if let Some((start, bytes)) = &last.part
            && let Some(found) = within(*start, bytes, &range)
        {
            return Ok(found);
        }
        let more = range.start
            ..range
                .end
                .max(range.start.saturating_add(STEP))
                .min(self.object.size);
        let fetched = self
            .object
            .fetch(more)
            .wait(&reads.cancel)
            .inspect(|bytes| reads.add(bytes.len() as u64));
        match fetched {
            Ok(bytes) => {
                let found = within(range.start, &bytes, &range);
                last.part = Some((range.start, bytes));
                found.ok_or("the range lies outside of the object")
            }
            Err(error) => {
                last.failure = Some(error);
                Err("a request failed")
            }
        }
    }

    /// Why a read failed.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.last.lock().failure.take()
    }
}

/// A range of bytes that begin at `start`, if it lies within them.
fn within(start: u64, bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let from = range.start.checked_sub(start)?;
    let to = range.end.checked_sub(start)?;
    (from <= to && to <= bytes.len() as u64).then(|| bytes.slice(from as usize..to as usize))
}

/// The requests for some ranges; a damaged footer may name bytes that do not exist.
fn requests(object: &Object, ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let inside = |range: Range<u64>| range.start.min(object.size)..range.end.min(object.size);
    coalesce(ranges.into_iter().map(inside).collect(), GAP, CAP)
}

/// Requests on their way.
#[derive(Debug)]
struct Fetching {
    parts: Vec<(u64, Pending<Bytes>)>,
    _room: Option<(Room, Option<Room>)>,
}

impl Fetching {
    fn new(object: &Arc<Object>, requests: Vec<Range<u64>>, room: Option<(Room, Option<Room>)>) -> Self {
        Self {
            parts: requests
                .into_iter()
                .map(|range| (range.start, object.fetch(range)))
                .collect(),
            _room: room,
        }
    }

    fn wait(self, reads: &Reads) -> Result<Vec<(u64, Bytes)>> {
        let parts = self.parts.into_iter();
        parts
            .map(|(start, pending)| {
                let bytes = pending.wait(&reads.cancel)?;
                reads.add(bytes.len() as u64);
                Ok((start, bytes))
            })
            .collect()
    }
}

/// What one call fetches ahead of its need. Dropped with the call, and then what is on its way is aborted.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// What this call may fetch of the store's room, if less.
    own: Option<Arc<AtomicU64>>,
    waiting: Mutex<HashMap<String, Vec<Waiting>>>,
}

/// The requests that were made, and their answers to come.
type Waiting = (Vec<Range<u64>>, Fetching);

impl Ahead {
    /// For a call that may use so many bytes.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self {
            own: limit.map(|limit| Arc::new(AtomicU64::new(limit))),
            waiting: Mutex::default(),
        }
    }

    /// Begins to fetch ranges; false when there is no room for them now.
    pub(crate) fn start(&self, object: &Arc<Object>, ranges: Vec<Range<u64>>) -> bool {
        let requests = requests(object, ranges);
        let bytes: u64 = requests.iter().map(|range| range.end - range.start).sum();
        let own = match &self.own {
            Some(own) => Room::take(own, bytes).map(Some),
            None => Some(None),
        };
        let (Some(own), Some(room)) = (own, Room::take(&object.bucket.room, bytes)) else {
            return false;
        };
        let fetching = Fetching::new(object, requests.clone(), Some((room, own)));
        let mut waiting = self.waiting.lock();
        waiting
            .entry(object.url.clone())
            .or_default()
            .push((requests, fetching));
        true
    }

    fn take(&self, object: &Object, requests: &[Range<u64>]) -> Option<Fetching> {
        let mut waiting = self.waiting.lock();
        let of = waiting.get_mut(&object.url)?;
        let at = of.iter().position(|(known, _)| known == requests)?;
        Some(of.swap_remove(at).1)
    }
}

/// A share of the bytes that a store may fetch ahead; given back when dropped.
#[derive(Debug)]
struct Room {
    left: Arc<AtomicU64>,
    bytes: u64,
}

impl Room {
    fn take(left: &Arc<AtomicU64>, bytes: u64) -> Option<Self> {
        left.try_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            left.checked_sub(bytes)
        })
        .ok()?;
        Some(Self {
            left: left.clone(),
            bytes,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

impl Object {
    /// Starts one request for a range.
    fn fetch(self: &Arc<Self>, range: Range<u64>) -> Pending<Bytes> {
        let object = self.clone();
        self.bucket.start(async move { object.range(range).await })
    }

    /// A range of this version of the object: all of it or an error, over as many attempts as that takes.
    async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        let bucket = &self.bucket;
        let length = (range.end - range.start) as usize;
        let mut got = BytesMut::with_capacity(length);
        let mut tries = Tries::new(bucket.policy, "a data file cannot be read", &self.url);
        while got.len() < length {
            let before = got.len();
            let rest = range.start + before as u64..range.end;
            match tries.attempt(&bucket.permits, self.rest(rest, &mut got)).await {
                Ok(()) => {}
                Err(failure) => {
                    if got.len() > before {
                        tries.progress();
                    }
                    tries.pause(failure).await?;
                }
            }
        }
        Ok(got.freeze())
    }

    /// One attempt at what is left of a range; what arrived before a failure is kept.
    async fn rest(&self, rest: Range<u64>, got: &mut BytesMut) -> Result<(), Failure> {
        let wanted = rest.end - rest.start;
        let options = GetOptions {
            range: Some(GetRange::Bounded(rest)),
            if_match: Some(self.etag.to_string()),
            ..GetOptions::default()
        };
        let answer = self.bucket.client.get_opts(&self.key, options).await;
        let answer = answer.map_err(|error| match error {
            // It was there when it was listed.
            object_store::Error::NotFound { .. } => Failure::Changed,
            error => Failure::Store(error),
        })?;
        // Not every server minds the condition.
        let other = answer
            .meta
            .e_tag
            .as_deref()
            .is_some_and(|etag| bare(etag) != bare(&self.etag));
        if other || answer.meta.size != self.size {
            return Err(Failure::Changed);
        }
        let mut body = answer.into_stream();
        let mut arrived = 0;
        while let Some(bytes) = body.next().await {
            let bytes = bytes?;
            arrived += bytes.len() as u64;
            if arrived > wanted {
                // Nothing of such an answer can be trusted.
                got.truncate(got.len() - (arrived - bytes.len() as u64) as usize);
                return Err(Failure::Length { got: arrived, wanted });
            }
            got.extend_from_slice(&bytes);
        }
        match arrived == wanted {
            true => Ok(()),
            false => Err(Failure::Length { got: arrived, wanted }),
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are what is tested"
)]
mod tests {
    use std::sync::Arc;

    use super::super::S3;
    use super::*;
    use crate::config::ParquetConfig;

    fn object(size: u64) -> Arc<Object> {
        let mut config = ParquetConfig::new("s3://b/");
        // Nobody listens there: what is not held cannot be had.
        config.endpoint = Some("http://127.0.0.1:9".to_owned());
        config.anonymous = true;
        config.retries = Some(0);
        let s3 = S3::new(&config).unwrap();
        let bucket = s3.bucket("b").unwrap();
        // The runtime lives as long as the test.
        std::mem::forget(s3);
        Arc::new(Object {
            bucket,
            key: super::super::path("k.parquet").unwrap(),
            url: "s3://b/k.parquet".to_owned(),
            size,
            etag: "e".into(),
        })
    }

    #[test]
    fn what_is_held_is_served_from_memory_even_across_requests() {
        let bytes: Vec<u8> = (0..100).collect();
        let part = |range: Range<usize>| (range.start as u64, Bytes::copy_from_slice(&bytes[range]));
        let held = Held {
            parts: vec![part(10..20), part(20..30), part(30..40), part(60..70)].into(),
            ..Held::new(object(100))
        };
        let reads = ByteCount::default();
        for range in [10..20, 12..15, 15..25, 19..31, 10..40, 60..70, 25..25] {
            let found = held.read(range.clone(), &reads).unwrap();
            assert_eq!(
                found,
                &bytes[range.start as usize..range.end as usize],
                "{range:?}"
            );
        }
        for range in [0..5, 5..15, 35..45, 35..65, 69..71, 80..90] {
            assert_eq!(held.get(&range), None, "{range:?}");
        }
        assert_eq!(
            [held.from(15), held.from(39), held.from(40), held.from(5)],
            [Some(5), Some(1), None, None]
        );
        assert_eq!(reads.bytes(), 0);
        assert!(held.read(0..5, &reads).is_err());
        let error = held.failure().unwrap();
        assert_eq!(error.kind(), larder_core::ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("s3://b/k.parquet"), "{error}");
        assert!(held.failure().is_none(), "told once");
    }

    #[test]
    fn there_is_room_for_so_much_and_it_is_given_back() {
        let object = object(1 << 40);
        let reads = ByteCount::default();
        assert!(reads.ahead.start(&object, vec![0..40 << 20]));
        assert!(!reads.ahead.start(&object, vec![40 << 20..80 << 20]));
        assert!(reads.ahead.start(&object, vec![40 << 20..64 << 20]));
        let requests = requests(&object, vec![0..40 << 20]);
        assert!(requests.len() >= 5);
        let taken = reads.ahead.take(&object, &requests);
        assert!(taken.is_some() && reads.ahead.take(&object, &requests).is_none());
        drop(taken);
        assert_eq!(object.bucket.room.load(Ordering::Acquire), 40 << 20);
        drop(reads);
        assert_eq!(object.bucket.room.load(Ordering::Acquire), 64 << 20);

        let limited = Ahead::new(Some(10));
        assert!(limited.start(&object, vec![0..8]));
        assert!(!limited.start(&object, vec![8..16]));
    }
}
