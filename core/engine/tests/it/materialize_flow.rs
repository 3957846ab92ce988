//! Do writes overlap with reading within their bounds, and is the ledger right however a run ends?

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use larder_base::memory::MemoryOnline;
use larder_base::{
    ByteSize, Error, FeatureBlock, Generation, Health, LayoutChanges, OnlineCapabilities, OnlineDelete,
    OnlineRead, OnlineScan, OnlineStore, OnlineWrite, ProjectName, ReadFuture, ReadOptions, ReclaimReport,
    Registry, Result, RunRecord, RunState, Span, StoreIdentity, WriteOptions, WriteReport,
};
use larder_engine::{FeatureStore, Materialize};

use crate::support::*;

const BATCH: i64 = 16_384;
/// Rows the engine holds of one table.
const TABLE: u64 = 131_072;

/// The memory store behind a line that takes time, and that is watched.
#[derive(Debug, Default)]
struct Line {
    inner: MemoryOnline,
    most_rows: Option<u32>,
    millis: AtomicU64,
    /// Writes begun until one fails; negative for never.
    fail_in: AtomicI64,
    flying: AtomicUsize,
    most_flying: AtomicUsize,
    bytes: AtomicUsize,
    most_bytes: AtomicUsize,
    begun: AtomicUsize,
    sizes: Mutex<Vec<usize>>,
    emptied: AtomicBool,
}

impl Line {
    fn taking(millis: u64) -> Arc<Self> {
        Arc::new(Self {
            millis: AtomicU64::new(millis),
            fail_in: AtomicI64::new(-1),
            ..Self::default()
        })
    }

    fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().unwrap().clone()
    }
}

#[async_trait]
impl OnlineStore for Line {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.max_write_rows = self.most_rows;
        capabilities
    }
    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        self.inner.read(request, options, out)
    }
    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        let fails = self.begun.fetch_add(1, Ordering::SeqCst) as i64 == self.fail_in.load(Ordering::SeqCst);
        let bytes = batch.rows.byte_len();
        self.sizes.lock().unwrap().push(batch.rows.len());
        let flying = self.flying.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_flying.fetch_max(flying, Ordering::SeqCst);
        let under_way = self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.most_bytes.fetch_max(under_way, Ordering::SeqCst);
        if !fails {
            tokio::time::sleep(Duration::from_millis(self.millis.load(Ordering::SeqCst))).await;
        }
        let result = match fails {
            true => Err(Error::unavailable("the line is dead")),
            false => self.inner.write(batch, options).await,
        };
        self.flying.fetch_sub(1, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        result
    }
    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        self.inner.delete(batch, options).await
    }
    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        let identity = self.inner.prepare(changes).await?;
        Ok(StoreIdentity(
            identity.0 ^ u128::from(self.emptied.load(Ordering::SeqCst)),
        ))
    }
    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        let identity = self.inner.identity(project).await?;
        let emptied = u128::from(self.emptied.load(Ordering::SeqCst));
        Ok(identity.map(|identity| StoreIdentity(identity.0 ^ emptied)))
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

/// A world whose values are behind a line.
struct Lined {
    world: World,
    store: FeatureStore,
    line: Arc<Line>,
}

impl Lined {
    async fn new(line: Arc<Line>) -> Self {
        let world = World::new();
        let store = FeatureStore::builder(project())
            .registry(world.registry.clone())
            .online(line.clone())
            .offline(world.offline.clone())
            .clock(Arc::new(world.clock.clone()))
            .build()
            .unwrap();
        let options = larder_engine::ApplyOptions::new().with_offline(true);
        store.apply(&definitions(USERS), &options).await.unwrap();
        Self { world, store, line }
    }

    /// So many batches of distinct users, all on one day.
    fn users(&self, batches: i64) {
        for batch in 0..batches {
            let at = START - DAY;
            let rows: Vec<_> = (batch * BATCH..(batch + 1) * BATCH)
                .map(|user| (user, at, Some(at), Some(user)))
                .collect();
            self.world.orders(&rows);
        }
    }

    /// One slice over everything.
    fn whole(&self) -> Materialize {
        self.store.materialize().slice(Span::days(30))
    }

    async fn records(&self) -> Vec<RunRecord> {
        let snapshot = self.store.snapshot().await.unwrap();
        let generation = snapshot.layout("stats").unwrap().generation();
        let ledger = self.world.registry.ledger();
        ledger
            .runs(&project(), &"stats".parse().unwrap(), generation)
            .await
            .unwrap()
    }

    async fn n(&self, user: i64) -> Option<i64> {
        let users = vec![larder_base::Value::Int64(user)];
        let selection = larder_engine::Selection::features(vec!["stats:n"]);
        let found = read(&self.store, selection, &[("user_id", users)]).await;
        match &found[0][0] {
            larder_engine::Reading::Present(larder_base::Value::Int64(n)) => Some(*n),
            _ => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn writes_overlap_within_their_bounds() {
    for (writes, bytes, flying) in [
        (4, ByteSize(32 << 20), 4),
        (2, ByteSize(32 << 20), 2),
        (8, ByteSize(64 << 10), 8),
        (1, ByteSize(1 << 10), 1),
    ] {
        let lined = Lined::new(Line::taking(100)).await;
        lined.users(2);
        let task = lined.whole().writes_at_once(writes).bytes_in_flight(bytes);
        let done = run(task).await.unwrap();
        assert_eq!((done.written, done.stale), (2 * BATCH as u64, 0));
        let most = lined.line.most_flying.load(Ordering::SeqCst);
        assert!(
            most <= flying && (most == flying || bytes.0 < 1 << 20),
            "{most} of {flying}"
        );
        let most = lined.line.most_bytes.load(Ordering::SeqCst) as u64;
        assert!(most <= bytes.0, "{most} bytes of {bytes}");
        assert_eq!(lined.n(BATCH + 7).await, Some(BATCH + 7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_holds_the_reader_back_and_a_hanging_one_stops_it() {
    let lined = Lined::new(Line::taking(3_600_000)).await;
    lined.users(30);
    let read = Arc::new(AtomicU64::new(0));
    let told = read.clone();
    let task = lined.whole().on_event(move |event| {
        told.store(event.read, Ordering::SeqCst);
        assert!(
            event.read - event.written <= 2 * TABLE + BATCH as u64,
            "{event:?}"
        );
    });
    let running = tokio::spawn(task.run());
    // The first table is on its way: the next one is filled meanwhile, and no third.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let ahead = read.load(Ordering::SeqCst);
    assert!(
        (TABLE + BATCH as u64..=2 * TABLE).contains(&ahead),
        "{ahead} rows are read"
    );
    assert_eq!(lined.line.begun.load(Ordering::SeqCst), 4);
    lined.line.millis.store(10, Ordering::SeqCst);
    let done = running.await.unwrap().unwrap();
    assert_eq!(done.views[0].written, 30 * BATCH as u64);
}

#[tokio::test(start_paused = true)]
async fn batches_grow_while_writes_are_fast_and_shrink_when_they_are_slow() {
    let fast = Lined::new(Line::taking(1)).await;
    fast.users(8);
    run(fast.whole().writes_at_once(1)).await.unwrap();
    assert_eq!(fast.line.sizes()[..3], [4_096, 8_192, 16_384]);
    assert!(fast.line.sizes().iter().all(|size| *size <= 16_384));

    let slow = Lined::new(Line::taking(1_000)).await;
    slow.users(2);
    run(slow.whole().writes_at_once(1)).await.unwrap();
    assert_eq!(slow.line.sizes()[..4], [4_096, 2_048, 1_024, 512]);
    assert_eq!(slow.line.sizes().iter().rev().nth(1), Some(&64));

    let narrow = Line {
        most_rows: Some(100),
        fail_in: AtomicI64::new(-1),
        ..Line::default()
    };
    let narrow = Lined::new(Arc::new(narrow)).await;
    narrow.users(1);
    run(narrow.whole()).await.unwrap();
    assert!(narrow.line.sizes().iter().all(|size| *size <= 100));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_any_write_stops_the_slice_and_nothing_of_it_counts() {
    for fail_in in [0, 1, 3, 6] {
        let lined = Lined::new(Line::taking(100)).await;
        lined.users(4);
        lined.line.fail_in.store(fail_in, Ordering::SeqCst);
        assert_says(run(lined.whole()).await, &["the line is dead", "view=stats"]);
        // None was given up on the way, and none was begun after the error was known.
        assert_eq!(lined.line.flying.load(Ordering::SeqCst), 0);
        assert!(lined.line.begun.load(Ordering::SeqCst) <= fail_in as usize + 4);
        let record = lined.records().await.remove(0);
        assert_eq!((record.state, record.done.len()), (RunState::Failed, 0));
        let rows: usize = lined.line.sizes().iter().sum();
        assert!(record.rows_written < rows as u64);
        lined.line.fail_in.store(-1, Ordering::SeqCst);
        let done = run(lined.whole()).await.unwrap();
        assert_eq!((done.read, done.written), (4 * BATCH as u64, 4 * BATCH as u64));
        assert_eq!(run(lined.whole()).await.unwrap().slices, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_ends_in_order() {
    let lined = Lined::new(Line::taking(1_000)).await;
    // One user per day: a slice of a day is one write of a second.
    let rows: Vec<_> = (1..=7)
        .map(|day| {
            let at = START - day * DAY + HOUR;
            (day, at, Some(at), Some(day))
        })
        .collect();
    lined.world.orders(&rows);
    let task = || lined.store.materialize().slice(Span::days(1));
    let stop = tokio::time::sleep(Duration::from_millis(2_500));
    let began = tokio::time::Instant::now();
    let error = assert_says(run(task().stop_when(stop)).await, &["was stopped"]);
    assert!(error.is_retryable());
    assert!(
        began.elapsed() < Duration::from_millis(3_100),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(lined.line.flying.load(Ordering::SeqCst), 0);
    let record = lined.records().await.remove(0);
    assert_eq!((record.state, record.done.len()), (RunState::Failed, 2));
    assert!(record.error.unwrap().contains("was stopped"));
    // The write that was under way was acknowledged; its slice is read again all the same.
    assert_eq!(record.rows_written, 3);
    let begun = lined.line.begun.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(lined.line.begun.load(Ordering::SeqCst), begun);
    let rest = run(task()).await.unwrap();
    assert_eq!(rest.written, 5);
    for user in 1..=7 {
        assert_eq!(lined.n(user).await, Some(user));
    }
    // One that is stopped before it begins does nothing, and says so.
    let none = task().rebuild().stop_when(std::future::ready(()));
    assert_says(run(none).await, &["was stopped"]);
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_was_interrupted_is_not_forgotten() {
    let lined = Lined::new(Line::taking(1_000)).await;
    let rows: Vec<_> = (1..=7)
        .map(|day| {
            let at = START - day * DAY + HOUR;
            (day, at, Some(at), Some(day))
        })
        .collect();
    lined.world.orders(&rows);
    let task = || lined.store.materialize().slice(Span::days(1));
    assert_eq!(run(task()).await.unwrap().written, 7);
    pass(&lined.world, 1);
    let stop = tokio::time::sleep(Duration::from_millis(2_500));
    assert_says(run(task().rebuild().stop_when(stop)).await, &["was stopped"]);
    let status = lined.store.status().await.unwrap().remove(0);
    let reason = status.needs_backfill.expect("a reason");
    assert!(reason.contains("its last run did not finish"), "{reason}");
    // What the first run did counts no more; what the rebuild did does.
    let rest = run(task()).await.unwrap();
    assert_eq!(rest.read, 5, "{rest:?}");
    assert_eq!(run(task()).await.unwrap().slices, 0);
}

#[tokio::test(start_paused = true)]
async fn slices_side_by_side_are_recorded_one_by_one() {
    let lined = Lined::new(Line::taking(1_000)).await;
    let rows: Vec<_> = (1..=7)
        .map(|day| {
            let at = START - day * DAY + HOUR;
            (day, at, Some(at), Some(day))
        })
        .collect();
    lined.world.orders(&rows);
    let task = || lined.store.materialize().slice(Span::days(1)).slices_at_once(3);
    lined.line.fail_in.store(4, Ordering::SeqCst);
    assert_says(run(task()).await, &["the line is dead"]);
    assert_eq!(lined.line.most_flying.load(Ordering::SeqCst), 3);
    let record = lined.records().await.remove(0);
    assert_eq!(record.state, RunState::Failed);
    let done = record.done.len();
    assert!((3..=5).contains(&done), "{done} slices");
    lined.line.fail_in.store(-1, Ordering::SeqCst);
    let rest = run(task()).await.unwrap();
    assert_eq!(rest.slices, 8 - done);
    for user in 1..=7 {
        assert_eq!(lined.n(user).await, Some(user));
    }
    assert_eq!(run(task()).await.unwrap().slices, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_emptied_meanwhile_is_no_success() {
    let lined = Lined::new(Line::taking(1_000)).await;
    lined.users(1);
    let line = lined.line.clone();
    let task = lined
        .whole()
        .on_event(move |_| line.emptied.store(true, Ordering::SeqCst));
    assert_says(run(task).await, &["flushed or replaced", "run it again"]);
    assert_eq!(lined.records().await.remove(0).done, []);
    assert_eq!(run(lined.whole()).await.unwrap().written, BATCH as u64);
    assert_eq!(run(lined.whole()).await.unwrap().slices, 0);
}

#[tokio::test(start_paused = true)]
async fn events_tell_how_fast_it_is_and_how_much_is_left() {
    let lined = Lined::new(Line::taking(500)).await;
    lined.users(2);
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = events.clone();
    let task = lined.store.materialize().slice(Span::days(2));
    let done = task.on_event(move |event| told.lock().unwrap().push(event.clone()));
    let done = run(done).await.unwrap();
    let events = events.lock().unwrap();
    let last = events.last().unwrap();
    assert_eq!((last.read, last.written), (done.read, done.written));
    assert_eq!((last.share, last.eta_seconds), (1.0, Some(0.0)));
    assert!(last.seconds >= 0.5 && last.rows_per_second > 0.0);
    assert!(events.windows(2).all(|pair| pair[0].share <= pair[1].share));
    assert!(done.rows_per_second > 0.0);
}
