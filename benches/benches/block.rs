//! What does a read cost beyond the bare lookups and copies of the same bytes?
//!
//! Three views hold 50 `float64` features together. `copy` fills a block from packed rows at hand, against a bare
//! copy; `store` reads random keys from the store in memory, against the bare lookups in the same kind of hash map
//! and copies of what they find, with 1,000 entities and with 200,000 (`LARDER_BENCH_FULL=1`: 1 million). `cells`
//! and `tensor` read 50 features of the filled block.

#![allow(missing_docs, reason = "the criterion macros make public items")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use larder_base::memory::MemoryOnline;
use larder_base::{
    Cell, ColumnName, EntityKeys, FeatureBlock, FeatureName, Generation, JoinKey, KeyGroup, Micros,
    OnlineRead, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions, Slot, SlotCell, ValueType,
    ViewLayout, ViewName, ViewRead, WriteOptions,
};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const WIDTHS: [usize; 3] = [17, 17, 16];

type Table = HashMap<Box<[u8]>, Box<[u8]>, RandomState>;

fn layouts() -> Vec<Arc<ViewLayout>> {
    let slot = |i| {
        Slot::new(
            FeatureName::new(format!("f{i}")).expect("a name"),
            ValueType::FLOAT64,
        )
    };
    let layout = |(view, width): (usize, usize)| {
        Arc::new(ViewLayout::new(
            ProjectName::new("bench").expect("a name"),
            ViewName::new(format!("v{view}")).expect("a name"),
            Generation(view as u32 + 1),
            vec![JoinKey {
                name: ColumnName::new("id").expect("a name"),
                value_type: ValueType::INT64,
            }],
            (0..width).map(slot).collect(),
        ))
    };
    WIDTHS.into_iter().enumerate().map(layout).collect()
}

fn spread(id: u64) -> i64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64
}

fn keys(ids: impl Iterator<Item = u64>) -> Arc<EntityKeys> {
    let mut keys = EntityKeys::new();
    for id in ids {
        let mut writer = keys.begin();
        writer.int64(spread(id));
        writer.finish().expect("short");
    }
    Arc::new(keys)
}

fn rows(layout: &ViewLayout, count: u64) -> PackedRows {
    let mut rows = PackedRows::new();
    for id in 0..count {
        let mut writer = rows.begin(layout, Micros(id as i64), Some(Micros(5)));
        for slot in layout.active_slots() {
            writer.put(slot, Cell::Float64(id as f64 + f64::from(slot)));
        }
        writer.finish().expect("a sound row");
    }
    rows
}

fn request(layouts: &[Arc<ViewLayout>], keys: Arc<EntityKeys>) -> OnlineRead {
    let view = |(slot, layout): (u16, &Arc<ViewLayout>)| ViewRead::all(slot, layout.clone());
    OnlineRead {
        groups: vec![KeyGroup {
            keys,
            views: (0..).zip(layouts).map(view).collect(),
        }],
    }
}

fn copies(c: &mut Criterion) {
    let layouts = layouts();
    let mut group = c.benchmark_group("block");
    for count in [1_u64, 100] {
        let packed: Vec<PackedRows> = layouts.iter().map(|layout| rows(layout, count)).collect();
        let request = request(&layouts, keys(0..count));
        let mut block = FeatureBlock::new();
        group.bench_function(BenchmarkId::new("copy/put_row", count), |b| {
            b.iter(|| {
                block.reset(&request);
                for (view, rows) in (0..).zip(&packed) {
                    for (row, bytes) in rows.iter().enumerate() {
                        block.put_row(view, row, black_box(bytes)).expect("sound");
                    }
                }
                black_box(block.byte_len())
            });
        });
        let mut arena = Vec::new();
        group.bench_function(BenchmarkId::new("copy/bare", count), |b| {
            b.iter(|| {
                arena.clear();
                for rows in &packed {
                    for bytes in rows.iter() {
                        arena.extend_from_slice(black_box(bytes));
                    }
                }
                black_box(arena.len())
            });
        });
        group.bench_function(BenchmarkId::new("settle", count), |b| {
            b.iter(|| black_box(block.settle(Micros(1_000_000))));
        });
        group.bench_function(BenchmarkId::new("cells", count), |b| {
            b.iter(|| {
                let mut sum = 0.0;
                for (view, layout) in (0_u16..).zip(&layouts) {
                    for feature in 0..layout.slots().len() as u16 {
                        for row in 0..block.rows(view) {
                            if let SlotCell::Cell(Cell::Float64(x)) = block.cell(view, feature, row) {
                                sum += x;
                            }
                        }
                    }
                }
                black_box(sum)
            });
        });
        let mut tensor = vec![f32::NAN; count as usize * 50];
        group.bench_function(BenchmarkId::new("tensor", count), |b| {
            b.iter(|| {
                let mut column = 0;
                for (view, layout) in (0_u16..).zip(&layouts) {
                    for feature in 0..layout.slots().len() as u16 {
                        block.each_f32(view, feature, |row, number| tensor[row * 50 + column] = number);
                        column += 1;
                    }
                }
                black_box(&tensor);
            });
        });
    }
    group.finish();
}

fn store(c: &mut Criterion) {
    let many = if std::env::var_os("LARDER_BENCH_FULL").is_some() {
        1_000_000
    } else {
        200_000
    };
    let layouts = layouts();
    let mut group = c.benchmark_group("block/store");
    for entities in [1_000_u64, many] {
        let store = MemoryOnline::new();
        let mut tables: Vec<Table> = Vec::new();
        let all = keys(0..entities);
        for layout in &layouts {
            let rows = rows(layout, entities);
            let pairs = all.iter().flatten().zip(rows.iter());
            tables.push(pairs.map(|(key, row)| (key.into(), row.into())).collect());
            let write = OnlineWrite::new(layout.clone(), all.clone(), Arc::new(rows));
            futures::executor::block_on(store.write(&write, &WriteOptions::default())).expect("written");
        }
        for count in [1_u64, 100] {
            // Many requests in turn, so that the rows do not all stay in the nearest cache.
            let mut noise = 1_u64;
            let mut random = || {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (noise >> 33) % entities
            };
            let requests: Vec<OnlineRead> = (0..1_024)
                .map(|_| request(&layouts, keys((0..count).map(|_| random()))))
                .collect();
            // One session asks with the same features every time.
            let features: Vec<Arc<[u16]>> = layouts.iter().map(|l| l.active_slots().collect()).collect();
            let requests: Vec<OnlineRead> = requests
                .into_iter()
                .map(|mut request| {
                    for (view, features) in request.groups[0].views.iter_mut().zip(&features) {
                        view.features = features.clone();
                    }
                    request
                })
                .collect();
            let name = format!("{count}_of_{entities}");
            let mut block = FeatureBlock::new();
            let options = ReadOptions::new();
            let mut turn = 0;
            group.bench_function(BenchmarkId::new("read", &name), |b| {
                b.iter(|| {
                    turn = (turn + 1) % requests.len();
                    futures::executor::block_on(store.read(&requests[turn], &options, &mut block))
                        .expect("read");
                    black_box(block.byte_len())
                });
            });
            let mut arena: Vec<u8> = Vec::new();
            group.bench_function(BenchmarkId::new("bare", &name), |b| {
                b.iter(|| {
                    turn = (turn + 1) % requests.len();
                    arena.clear();
                    for table in &tables {
                        for key in requests[turn].groups[0].keys.iter().flatten() {
                            if let Some(row) = table.get(key) {
                                arena.extend_from_slice(row);
                            }
                        }
                    }
                    black_box(arena.len())
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = copies, store
}
criterion_main!(benches);
