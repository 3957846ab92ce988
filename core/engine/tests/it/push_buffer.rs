//! Do small pushes share appends, and is nothing lost that was acknowledged?

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use larder_base::model::Source;
use larder_base::{ByteSize, Error, ErrorKind, Health, Result, Span};
use larder_core::arrow::datatypes::SchemaRef;
use larder_core::memory::MemoryOffline;
use larder_core::{
    BatchStream, CompactOptions, CompactReport, Explanation, HistoricalRead, JoinedStream, LatestRead,
    OfflineCapabilities, OfflineOptions, OfflineStore, RangeRead, ViewScan,
};
use larder_engine::{Acknowledge, BufferOptions, Push, PushBuffer, PushTarget};

use crate::push::{at, fresh, history};
use crate::support::*;

/// A history that can be slow, away, or picky.
#[derive(Debug, Default)]
struct Moody {
    inner: Arc<MemoryOffline>,
    appends: AtomicUsize,
    away: AtomicBool,
    /// Refuses appends of more rows than one and of key 13.
    picky: AtomicBool,
    slow: AtomicBool,
}

#[async_trait]
impl OfflineStore for Moody {
    fn capabilities(&self) -> OfflineCapabilities {
        self.inner.capabilities()
    }
    async fn schema(&self, source: &Arc<Source>) -> Result<SchemaRef> {
        self.inner.schema(source).await
    }
    async fn historical(&self, request: HistoricalRead, options: &OfflineOptions) -> Result<JoinedStream> {
        self.inner.historical(request, options).await
    }
    async fn latest(&self, request: LatestRead, options: &OfflineOptions) -> Result<BatchStream> {
        self.inner.latest(request, options).await
    }
    async fn range(&self, request: RangeRead, options: &OfflineOptions) -> Result<BatchStream> {
        self.inner.range(request, options).await
    }
    async fn append(&self, scan: &ViewScan, rows: BatchStream, options: &OfflineOptions) -> Result<u64> {
        use futures::{StreamExt, TryStreamExt, stream};
        if self.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("the history is away"));
        }
        let batches: Vec<_> = rows.try_collect().await?;
        if self.picky.load(Ordering::SeqCst)
            && batches.iter().any(|b| numbers(b, "user_id").contains(&Some(13)))
        {
            return Err(Error::input("thirteen is not welcome"));
        }
        let rows = stream::iter(batches.into_iter().map(Ok)).boxed();
        let count = self.inner.append(scan, rows, options).await?;
        self.appends.fetch_add(1, Ordering::SeqCst);
        Ok(count)
    }
    async fn compact(&self, source: &Arc<Source>, options: &CompactOptions) -> Result<CompactReport> {
        self.inner.compact(source, options).await
    }
    async fn explain(&self, request: &HistoricalRead, options: &OfflineOptions) -> Result<Explanation> {
        self.inner.explain(request, options).await
    }
    async fn takes_file(&self, source: &Arc<Source>, file: &Path) -> Result<bool> {
        self.inner.takes_file(source, file).await
    }
    async fn check(&self) -> Result<Health> {
        self.inner.check().await
    }
}

async fn moody() -> (World, Arc<Moody>) {
    let inner = Arc::new(MemoryOffline::new());
    let moody = Arc::new(Moody {
        inner: inner.clone(),
        ..Moody::default()
    });
    let offline = moody.clone();
    let mut world = World::with(|builder| builder.offline(offline));
    world.offline = inner;
    world.apply(USERS).await;
    (world, moody)
}

fn push(world: &World, buffer: &PushBuffer, key: i64) -> Push {
    let rows = fresh(&[(Some(key), Some(at(-1) + key), Some(key))]);
    world
        .store
        .push("orders")
        .to(PushTarget::Offline)
        .rows([rows])
        .through(buffer)
}

/// Pushes from so many tasks at once; what each of them was told.
async fn many(world: &World, buffer: &PushBuffer, keys: std::ops::Range<i64>) -> Vec<Result<u64>> {
    let mut tasks = tokio::task::JoinSet::new();
    for key in keys {
        let push = push(world, buffer, key);
        tasks.spawn(async move { (key, push.run().await.map(|report| report.appended)) });
    }
    let mut told = tasks.join_all().await;
    told.sort_by_key(|(key, _)| *key);
    told.into_iter().map(|(_, told)| told).collect()
}

#[tokio::test(start_paused = true)]
async fn pushes_that_come_together_share_an_append() {
    let (world, moody) = moody().await;
    let buffer = world.store.push_buffer(BufferOptions::default());
    for told in many(&world, &buffer, 0..200).await {
        assert_eq!(told.unwrap(), 1);
    }
    // Everybody was told after it was there.
    assert_eq!(history(&world).await.len(), 200);
    assert!(moody.appends.load(Ordering::SeqCst) <= 2, "{moody:?}");
    assert_eq!(buffer.appends(), moody.appends.load(Ordering::SeqCst) as u64);
    assert_eq!(buffer.waiting(), ByteSize(0));
    // One alone waits no longer than it has to.
    let began = tokio::time::Instant::now();
    push(&world, &buffer, 500).run().await.unwrap();
    assert!(
        began.elapsed() <= Duration::from_millis(1_100),
        "{:?}",
        began.elapsed()
    );
    // Enough of them do not wait at all.
    let eager = BufferOptions::default()
        .with_max_rows(10)
        .with_max_age(Span::hours(1));
    let buffer = world.store.push_buffer(eager);
    let began = tokio::time::Instant::now();
    for told in many(&world, &buffer, 1_000..1_100).await {
        told.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(history(&world).await.len(), 301);
    buffer.close().await.unwrap();
    let late = push(&world, &buffer, 1).run().await.unwrap_err();
    assert!(late.to_string().contains("closed"), "{late}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded() {
    let (world, moody) = moody().await;
    moody.slow.store(true, Ordering::SeqCst);
    let options = BufferOptions::default()
        .with_max_waiting(ByteSize(8 << 10))
        .with_max_age(Span::ZERO)
        .with_acknowledge(Acknowledge::Buffered);
    let buffer = world.store.push_buffer(options);
    // Each takes a KiB at least, so that no more than eight are in it at once.
    let began = tokio::time::Instant::now();
    for key in 0..64 {
        push(&world, &buffer, key).run().await.unwrap();
        assert!(buffer.waiting() <= ByteSize(8 << 10));
    }
    assert!(
        began.elapsed() >= Duration::from_millis(50 * 6),
        "{:?}",
        began.elapsed()
    );
    buffer.close().await.unwrap();
    assert_eq!(history(&world).await.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn acknowledged_in_the_buffer_means_later_in_the_history() {
    let (world, moody) = moody().await;
    let options = BufferOptions::default()
        .with_max_age(Span::hours(1))
        .with_acknowledge(Acknowledge::Buffered);
    let buffer = world.store.push_buffer(options);
    for key in 0..10 {
        assert_eq!(push(&world, &buffer, key).run().await.unwrap().appended, 1);
    }
    assert!(history(&world).await.is_empty() && buffer.waiting() > ByteSize(0));
    buffer.flush().await.unwrap();
    assert_eq!(
        (history(&world).await.len(), moody.appends.load(Ordering::SeqCst)),
        (10, 1)
    );
    // A history that is away is asked again, and flushing says so.
    moody.away.store(true, Ordering::SeqCst);
    push(&world, &buffer, 10).run().await.unwrap();
    let error = buffer.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    moody.away.store(false, Ordering::SeqCst);
    buffer.close().await.unwrap();
    assert_eq!(history(&world).await.len(), 11);
    // Dropping it appends what it has, too.
    let buffer = world.store.push_buffer(options);
    push(&world, &buffer, 11).run().await.unwrap();
    drop(buffer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(history(&world).await.len(), 12);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_told_of_failures() {
    let (world, moody) = moody().await;
    let buffer = world.store.push_buffer(BufferOptions::default());
    moody.away.store(true, Ordering::SeqCst);
    for told in many(&world, &buffer, 0..5).await {
        assert_eq!(told.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(history(&world).await.is_empty());
    moody.away.store(false, Ordering::SeqCst);
    // One that the history refuses does not take the others with it.
    moody.picky.store(true, Ordering::SeqCst);
    let told = many(&world, &buffer, 10..20).await;
    for (key, told) in (10..).zip(told) {
        match key {
            13 => assert!(told.unwrap_err().to_string().contains("thirteen")),
            _ => assert_eq!(told.unwrap(), 1),
        }
    }
    assert_eq!(history(&world).await.len(), 9);
    assert_eq!(buffer.waiting(), ByteSize(0));
}

#[tokio::test(start_paused = true)]
async fn both_sides_in_their_order() {
    let (world, moody) = moody().await;
    let buffer = world.store.push_buffer(BufferOptions::default());
    let rows = || fresh(&[(Some(1), Some(at(-1)), Some(1))]);
    let both = || {
        world
            .store
            .push("orders")
            .to(PushTarget::Both)
            .rows([rows()])
            .through(&buffer)
    };
    moody.away.store(true, Ordering::SeqCst);
    both().run().await.unwrap_err();
    // The history comes first: without it nothing is online.
    assert_eq!(world.online.writes.load(Ordering::SeqCst), 0);
    moody.away.store(false, Ordering::SeqCst);
    let report = both().run().await.unwrap();
    assert_eq!((report.appended, report.views[0].written), (1, 1));
    // Rows with other columns cannot share an append, and keep their turn.
    let wide = batch(vec![
        ("user_id", ints([2])),
        ("at", times([at(-1)])),
        ("n", ints([2])),
        ("x", floats([2.0])),
        ("created", times([at(-1)])),
    ]);
    let wide = world
        .store
        .push("orders")
        .to(PushTarget::Offline)
        .rows([wide])
        .through(&buffer)
        .run();
    let (narrow, wide) = tokio::join!(push(&world, &buffer, 3).run(), wide);
    assert_eq!((narrow.unwrap().appended, wide.unwrap().appended), (1, 1));
    assert_eq!(history(&world).await.len(), 3);
}
