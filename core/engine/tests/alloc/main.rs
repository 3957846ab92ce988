//! Does a warm session read without a single heap allocation?
//!
//! A binary of its own, because its allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use larder_base::memory::{MemoryOnline, MemoryRegistry};
use larder_base::{
    Cell, Clock, EntityKeys, Micros, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions, SetName,
    SystemClock, WriteOptions,
};
use larder_engine::layers::{ConcurrencyLimit, Metrics, Retry, RetryPolicy, Timeout};
use larder_engine::online::{FeatureHandle, KeyHandle, Tensor};
use larder_engine::{ApplyOptions, DefinitionSet, FeatureStore, OnlinePlan, Reading, Session, TensorSpec};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Counter<u64> = const { Counter::new(0) };
}

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Counter::get);
    work();
    ALLOCATIONS.with(Counter::get) - before
}

const VIEWS: usize = 3;
const WIDTH: usize = 50;
const ENTITIES: i64 = 200;

fn definitions() -> DefinitionSet {
    let mut yaml = "entities:\n  - { name: user, join_keys: [{ name: id, type: int64 }] }\n\
        sources:\n  - { name: s, type: memory, event_time: at, timezone: UTC }\nfeature_views:\n"
        .to_owned();
    for view in 0..VIEWS {
        let feature = |f| format!("{{ name: v{view}_f{f}, type: float64 }}");
        let features: Vec<String> = (0..WIDTH).map(feature).collect();
        let features = features.join(", ");
        writeln!(
            yaml,
            "  - {{ name: v{view}, entities: [user], source: s, ttl: 7d, online: true, features: [{features}] }}"
        )
        .unwrap();
    }
    yaml += "feature_services:\n  - { name: all, features: [v0, v1, { view: v2, as: other, keys: { id: other_id } }] }\n";
    DefinitionSet::from_yaml("features.yaml", &yaml, SetName::new("test").unwrap()).unwrap()
}

async fn plan(layers: impl Fn(Arc<dyn OnlineStore>) -> Arc<dyn OnlineStore>) -> OnlinePlan {
    let memory: Arc<dyn OnlineStore> = Arc::new(MemoryOnline::new());
    let store = FeatureStore::builder(ProjectName::new("shop").unwrap())
        .registry(Arc::new(MemoryRegistry::new()))
        .online(layers(memory.clone()))
        .build()
        .unwrap();
    let options = ApplyOptions::new().with_offline(true);
    store.apply(&definitions(), &options).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let now = SystemClock.now();
    let mut keys = EntityKeys::new();
    for id in 0..ENTITIES {
        let mut key = keys.begin();
        key.int64(id);
        key.finish().unwrap();
    }
    let keys = Arc::new(keys);
    for view in 0..VIEWS {
        let layout = snapshot.layout(&format!("v{view}")).unwrap();
        let mut rows = PackedRows::new();
        for id in 0..ENTITIES {
            // Every tenth row is expired.
            let age = if id % 10 == 9 {
                30 * 86_400_000_000
            } else {
                1_000_000
            };
            let mut row = rows.begin(layout, Micros(now.0 - age), Some(now));
            for slot in layout.active_slots() {
                row.put(slot, Cell::Float64(id as f64 + f64::from(slot)));
            }
            row.finish().unwrap();
        }
        let write = OnlineWrite::new(layout.clone(), keys.clone(), Arc::new(rows));
        memory.write(&write, &WriteOptions::default()).await.unwrap();
    }
    store.online("all").await.unwrap()
}

/// A session and everything else that a caller reuses.
struct Caller {
    session: Session,
    id: KeyHandle<i64>,
    other: KeyHandle<i64>,
    feature: FeatureHandle<f64>,
    tensor: Tensor,
    matrix: Vec<f32>,
    mask: Vec<bool>,
}

impl Caller {
    fn new(plan: &OnlinePlan) -> Self {
        Self {
            session: plan.session(),
            id: plan.key("id").unwrap(),
            other: plan.key("other_id").unwrap(),
            feature: plan.feature("v1:v1_f7").unwrap(),
            tensor: plan.tensor_f32(TensorSpec::service_order()).unwrap(),
            matrix: Vec::new(),
            mask: Vec::new(),
        }
    }

    /// Reads and takes everything out; returns the sum of one feature.
    fn read(&mut self, ids: &[i64], options: ReadOptions) -> f64 {
        self.session.column(self.id, ids).broadcast(self.other, 3);
        let read = self.session.read(options).now_or_never();
        let answer = read.expect("in this process").unwrap();
        answer.fill_f32(&self.tensor, &mut self.matrix, &mut self.mask);
        let mut sum = 0.0;
        for row in 0..ids.len() {
            if let Reading::Present(value) = answer.get(row, self.feature) {
                sum += value;
            }
        }
        assert_eq!(answer.info().rows, ids.len());
        sum
    }
}

fn none_when_warm(plan: &OnlinePlan) {
    let distinct: Vec<i64> = (0..100).collect();
    let duplicates: Vec<i64> = (0..100).map(|row| row % 7).collect();
    // Keys that nobody knows, too.
    let unknown: Vec<i64> = (100..200).map(|row| row * 2).collect();
    let timed = ReadOptions::new().timeout(Duration::from_secs(3_600));
    for options in [ReadOptions::new(), timed] {
        let mut caller = Caller::new(plan);
        let reads = [&distinct[..], &duplicates, &unknown, &[5], &[9]];
        for ids in reads {
            caller.read(ids, options);
        }
        for ids in reads {
            let expected: f64 = ids
                .iter()
                .filter(|id| **id < ENTITIES && **id % 10 != 9)
                .map(|id| *id as f64 + 7.0)
                .sum();
            let mut sum = 0.0;
            let count = allocations(|| sum = caller.read(ids, options));
            assert_eq!(count, 0, "allocations of a warm read of {} rows", ids.len());
            assert_eq!(sum, expected);
            assert_eq!(caller.matrix.len(), ids.len() * VIEWS * WIDTH);
        }
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(Box::new(1))), 1);
}

#[tokio::test]
async fn a_warm_session_allocates_nothing() {
    none_when_warm(&plan(|store| store).await);
}

#[tokio::test]
async fn nor_does_it_through_layers() {
    let layers = |store| -> Arc<dyn OnlineStore> {
        let store = Arc::new(Retry::new(store, RetryPolicy::new()));
        let store = Arc::new(ConcurrencyLimit::new(store, 4));
        let store = Arc::new(Timeout::new(store, Duration::from_millis(50)));
        Arc::new(Metrics::new(store, "default"))
    };
    none_when_warm(&plan(layers).await);
}
