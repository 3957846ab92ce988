//! What does a prepared online read cost beyond the bare lookups and copies of the same bytes?
//!
//! A service of 50 `float64` features in three views (17, 17, 16) on the store in memory; 1 and 100 rows per read;
//! 1,000 entities, and 1 million of which each read takes other ones at random.
//!
//! - `bare`: three lookups per row in hash maps of the same kind with ready canonical keys, and a copy of what they find;
//! - `read`: keys as `i64` in, `Session::read`, statuses decided;
//! - `tensor`: the same and `fill_f32` of all 50 features;
//! - `layers`: `read` through `Metrics(Timeout(store))`.
//!
//! Goal: `read` at most 3 times `bare` at 1 row, 2 times at 100. The table of ratios at the end takes turns among the
//! four, so that a busy machine slows all of them.

#![allow(missing_docs, reason = "the criterion macros make public items")]

use criterion::{BenchmarkId, Criterion};
use foldhash::fast::RandomState;
use futures::FutureExt;
use hashbrown::{HashMap, HashSet};
use larder_base::memory::{MemoryOnline, MemoryRegistry};
use larder_base::{
    Cell, Clock, EntityKeys, Micros, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions, SetName,
    Snapshot, SystemClock, WriteOptions,
};
use larder_engine::layers::{Metrics, Timeout};
use larder_engine::online::{KeyHandle, Tensor};
use larder_engine::{ApplyOptions, DefinitionSet, FeatureStore, OnlinePlan, Session, TensorSpec};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WIDTHS: [usize; 3] = [17, 17, 16];

type Table = HashMap<Box<[u8]>, Box<[u8]>, RandomState>;

/// The stores of one number of entities.
struct World {
    tables: Vec<Table>,
    plain: OnlinePlan,
    layered: OnlinePlan,
    entities: u64,
}

fn definitions() -> DefinitionSet {
    let mut yaml = "entities:\n  - { name: user, join_keys: [{ name: id, type: int64 }] }\n\
        sources:\n  - { name: s, type: memory, event_time: at, timezone: UTC }\nfeature_views:\n"
        .to_owned();
    for (view, width) in WIDTHS.iter().enumerate() {
        let feature = |f| format!("{{ name: v{view}_f{f}, type: float64 }}");
        let features: Vec<String> = (0..*width).map(feature).collect();
        writeln!(
            yaml,
            "  - {{ name: v{view}, entities: [user], source: s, ttl: 7d, online: true, features: [{}] }}",
            features.join(", ")
        )
        .expect("a string grows");
    }
    yaml += "feature_services:\n  - { name: all, features: [v0, v1, v2] }\n";
    DefinitionSet::from_yaml("bench.yaml", &yaml, SetName::new("bench").expect("a name"))
        .expect("definitions")
}

fn id(entity: u64) -> i64 {
    entity.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64
}

fn push(keys: &mut EntityKeys, id: i64) {
    let mut writer = keys.begin();
    writer.int64(id);
    writer.finish().expect("short");
}

impl World {
    async fn new(entities: u64) -> Self {
        let project = || ProjectName::new("bench").expect("a name");
        let registry = Arc::new(MemoryRegistry::new());
        let memory: Arc<dyn OnlineStore> = Arc::new(MemoryOnline::new());
        let limit = Duration::from_millis(100);
        let layers = Arc::new(Metrics::new(
            Arc::new(Timeout::new(memory.clone(), limit)),
            "default",
        ));
        let build = |online: Arc<dyn OnlineStore>| {
            let builder = FeatureStore::builder(project()).registry(registry.clone());
            builder.online(online).build().expect("a store")
        };
        let (plain, layered) = (build(memory.clone()), build(layers));
        let options = ApplyOptions::new().with_offline(true);
        plain.apply(&definitions(), &options).await.expect("applied");
        let snapshot = plain.snapshot().await.expect("a snapshot");
        Self {
            tables: fill(&*memory, &snapshot, entities).await,
            plain: plain.online("all").await.expect("a plan"),
            layered: layered.online("all").await.expect("a plan"),
            entities,
        }
    }

    /// Keys of many reads: distinct within a read, at random over all.
    fn reads(&self, rows: usize) -> Vec<Vec<i64>> {
        let mut noise = 1_u64;
        let mut random = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 33) % self.entities
        };
        let mut read = || {
            let mut ids = HashSet::with_hasher(RandomState::default());
            while ids.len() < rows {
                ids.insert(id(random()));
            }
            ids.into_iter().collect()
        };
        (0..100_000 / rows).map(|_| read()).collect()
    }
}

async fn fill(store: &dyn OnlineStore, snapshot: &Snapshot, entities: u64) -> Vec<Table> {
    let mut tables = vec![Table::default(); WIDTHS.len()];
    let now = SystemClock.now();
    for first in (0..entities).step_by(50_000) {
        let batch = first..entities.min(first + 50_000);
        let mut keys = EntityKeys::new();
        batch.clone().for_each(|entity| push(&mut keys, id(entity)));
        let keys = Arc::new(keys);
        for (view, table) in tables.iter_mut().enumerate() {
            let layout = Arc::new(
                snapshot
                    .layout(&format!("v{view}"))
                    .expect("a layout")
                    .as_ref()
                    .clone(),
            );
            let mut rows = PackedRows::new();
            for entity in batch.clone() {
                let mut writer = rows.begin(&layout, Micros(now.0 - entity as i64), Some(now));
                for slot in layout.active_slots() {
                    writer.put(slot, Cell::Float64(entity as f64 + f64::from(slot)));
                }
                writer.finish().expect("a sound row");
            }
            let pairs = keys.iter().flatten().zip(rows.iter());
            table.extend(pairs.map(|(key, row)| (key.into(), row.into())));
            let write = OnlineWrite::new(layout, keys.clone(), Arc::new(rows));
            store
                .write(&write, &WriteOptions::default())
                .await
                .expect("written");
        }
    }
    tables
}

/// One way to read, with what it reuses.
enum Reader<'w> {
    Bare {
        tables: &'w [Table],
        keys: Vec<EntityKeys>,
        arena: Vec<u8>,
    },
    Session {
        session: Session,
        key: KeyHandle<i64>,
        reads: &'w [Vec<i64>],
        tensor: Option<(Tensor, Vec<f32>, Vec<bool>)>,
    },
}

impl<'w> Reader<'w> {
    /// The four ways, by name.
    fn all(world: &'w World, reads: &'w [Vec<i64>]) -> [(&'static str, Self); 4] {
        let encode = |ids: &Vec<i64>| {
            let mut keys = EntityKeys::new();
            ids.iter().for_each(|id| push(&mut keys, *id));
            keys
        };
        let bare = Self::Bare {
            tables: &world.tables,
            keys: reads.iter().map(encode).collect(),
            arena: Vec::new(),
        };
        let session = |plan: &OnlinePlan, tensor| Self::Session {
            session: plan.session(),
            key: plan.key("id").expect("a key"),
            reads,
            tensor,
        };
        let tensor = world
            .plain
            .tensor_f32(TensorSpec::service_order())
            .expect("numbers");
        [
            ("bare", bare),
            ("read", session(&world.plain, None)),
            (
                "tensor",
                session(&world.plain, Some((tensor, Vec::new(), Vec::new()))),
            ),
            ("layers", session(&world.layered, None)),
        ]
    }

    fn read(&mut self, turn: usize) {
        match self {
            Self::Bare { tables, keys, arena } => {
                let keys = &keys[turn % keys.len()];
                arena.clear();
                for table in *tables {
                    for key in keys.iter().flatten() {
                        if let Some(row) = table.get(key) {
                            arena.extend_from_slice(row);
                        }
                    }
                }
                black_box(arena.len());
            }
            Self::Session {
                session,
                key,
                reads,
                tensor,
            } => {
                session.column(*key, &reads[turn % reads.len()]);
                let read = session.read(ReadOptions::new()).now_or_never();
                let answer = read.expect("in this process").expect("read");
                if let Some((tensor, matrix, mask)) = tensor {
                    answer.fill_f32(tensor, matrix, mask);
                    black_box(&matrix);
                }
                black_box(answer.rows());
            }
        }
    }
}

/// Medians of many short turns, taken in a circle.
fn ratios(world: &World, rows: usize, report: &mut String) {
    let reads = world.reads(rows);
    let mut readers = Reader::all(world, &reads);
    let mut samples = vec![Vec::new(); readers.len()];
    let each = 400 / rows.min(40);
    let mut turn = 0;
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        for ((_, reader), samples) in readers.iter_mut().zip(&mut samples) {
            let before = Instant::now();
            (turn..turn + each).for_each(|turn| reader.read(turn));
            samples.push(before.elapsed().as_nanos() as f64 / each as f64);
            // Each finds keys that the one before it has not brought near.
            turn += each;
        }
    }
    let median = |samples: &mut Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    };
    let medians: Vec<f64> = samples.iter_mut().map(median).collect();
    write!(report, "{rows:>4} of {:>9}", world.entities).expect("a string grows");
    for ((name, _), nanos) in readers.iter().zip(&medians) {
        write!(report, "   {name} {nanos:>7.0} ns {:>4.2}x", nanos / medians[0]).expect("a string grows");
    }
    report.push('\n');
}

#[expect(clippy::print_stderr, reason = "a bench tells what it measured")]
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut report = String::new();
    for entities in [1_000, 1_000_000] {
        let world = runtime.block_on(World::new(entities));
        for rows in [1, 100] {
            let reads = world.reads(rows);
            let mut group = criterion.benchmark_group("online_read");
            for (name, mut reader) in Reader::all(&world, &reads) {
                let mut turn = 0;
                group.bench_function(BenchmarkId::new(name, format!("{rows}_of_{entities}")), |b| {
                    b.iter(|| {
                        turn += 1;
                        reader.read(turn);
                    });
                });
            }
            group.finish();
            ratios(&world, rows, &mut report);
        }
    }
    criterion.final_summary();
    eprintln!("rows of entities, time per read, ratio to bare\n{report}");
}
