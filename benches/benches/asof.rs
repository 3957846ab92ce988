//! What does the point-in-time kernel cost per source row?
//!
//! A spine of 200 k rows against a source of 2 M by default; `LARDER_BENCH_FULL=1` takes 1 M against 10 M. The
//! times are per row (`thrpt` is rows per second): source rows for `probe`, spine rows for `index`, `resolve`
//! and `distinct`. `floor` reads the same columns and nothing more, the limit that memory sets.

#![allow(missing_docs, reason = "the criterion macros make public items")]

use arrow_array::{ArrayRef, Int64Array, StringArray};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use larder_core::pit::{Knowledge, Positions, SourceBatch, SpineIndex, Times, ViewJoin, ViewRule};
use std::hint::black_box;
use std::sync::Arc;

const DAY: i64 = 86_400_000_000;
const BATCH: usize = 16_384;

/// Deterministic noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

#[derive(Clone, Copy)]
enum Keys {
    Dense,
    Spread,
    Short,
    Long,
    Pair,
}

impl Keys {
    fn arrays(self, ids: &[u64]) -> Vec<ArrayRef> {
        let spread = |id: &u64| (id.wrapping_mul(0x5851_f42d_4c95_7f2d)) as i64;
        let ints = |value: &dyn Fn(&u64) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(ids.iter().map(value)))
        };
        let strings = |value: &dyn Fn(&u64) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(ids.iter().map(value)))
        };
        match self {
            Self::Dense => vec![ints(&|id| *id as i64)],
            Self::Spread => vec![ints(&spread)],
            Self::Short => vec![strings(&|id| format!("user-{id:08}"))],
            Self::Long => vec![strings(&|id| {
                format!("{:032x}", u128::from(*id) * 0x5851_f42d_4c95_7f2d_1405_7b7e)
            })],
            Self::Pair => vec![ints(&spread), ints(&|id| (id % 7) as i64)],
        }
    }
}

struct Table {
    batches: Vec<Vec<ArrayRef>>,
    event: Vec<i64>,
    created: Vec<i64>,
}

/// Rows with uniform keys and times over 90 days; one in fifty repeats the key and time of the row before.
fn table(keys: Keys, rows: usize, entities: u64, batch: usize, noise: &mut Noise) -> Table {
    let mut ids = Vec::with_capacity(rows);
    let mut event = Vec::with_capacity(rows);
    for row in 0..rows {
        let repeat = row > 0 && noise.below(50) == 0;
        ids.push(if repeat {
            ids[row - 1]
        } else {
            noise.below(entities)
        });
        event.push(if repeat {
            event[row - 1]
        } else {
            noise.below(90 * DAY as u64) as i64
        });
    }
    let created = event
        .iter()
        .map(|event| event + noise.below(DAY as u64 / 4) as i64)
        .collect();
    Table {
        batches: ids.chunks(batch).map(|ids| keys.arrays(ids)).collect(),
        event,
        created,
    }
}

fn probe_all(join: &mut ViewJoin, source: &Table, with_created: bool) {
    let mut first = 0;
    for keys in &source.batches {
        let end = first + keys[0].len();
        let batch = SourceBatch::new(
            keys,
            Times::new(&source.event[first..end]),
            Positions::From(first as u64),
        )
        .with_created(with_created.then(|| Times::new(&source.created[first..end])));
        join.probe(&batch).expect("the batch fits the index");
        first = end;
    }
}

fn asof(c: &mut Criterion) {
    let full = std::env::var_os("LARDER_BENCH_FULL").is_some();
    let (spine_rows, source_rows) = if full {
        (1_000_000, 10_000_000)
    } else {
        (200_000, 2_000_000)
    };
    let tenth = spine_rows as u64 / 10;
    let shapes = [
        ("int64-dense", Keys::Dense, tenth),
        ("int64", Keys::Spread, tenth),
        ("int64-unique", Keys::Spread, spine_rows as u64),
        ("int64-miss", Keys::Spread, spine_rows as u64 * 10),
        ("string", Keys::Short, tenth),
        ("string-unique", Keys::Short, spine_rows as u64),
        ("string-long", Keys::Long, tenth),
        ("pair", Keys::Pair, tenth),
        ("one-key", Keys::Spread, 1),
    ];
    let rule = ViewRule::new().with_ttl(Some(7 * DAY));
    for (name, keys, entities) in shapes {
        let mut noise = Noise(7);
        let spine = table(keys, spine_rows, entities, spine_rows, &mut noise);
        let source = table(keys, source_rows, entities, BATCH, &mut noise);
        let index = Arc::new(SpineIndex::build(&spine.batches[0], &spine.event).expect("a spine"));

        let mut group = c.benchmark_group(format!("asof/{spine_rows}x{source_rows}"));
        group.sample_size(10);
        group.throughput(Throughput::Elements(spine_rows as u64));
        group.bench_function(BenchmarkId::new("index", name), |b| {
            b.iter(|| SpineIndex::build(black_box(&spine.batches[0]), &spine.event));
        });

        group.throughput(Throughput::Elements(source_rows as u64));
        if name == "int64" {
            let columns: Vec<&Int64Array> = source
                .batches
                .iter()
                .filter_map(|keys| keys[0].as_any().downcast_ref())
                .collect();
            group.bench_function(BenchmarkId::new("floor", name), |b| {
                b.iter(|| {
                    let keys = columns
                        .iter()
                        .flat_map(|keys| keys.values())
                        .fold(0_i64, |sum, key| sum ^ key);
                    black_box(&source.event)
                        .iter()
                        .fold(keys, |sum, event| sum ^ event)
                });
            });
        }
        let empty = ViewJoin::new(Arc::clone(&index), rule).expect("a rule");
        let mut probe = |what: &str, empty: &ViewJoin, with_created: bool| {
            group.bench_function(BenchmarkId::new(what, name), |b| {
                b.iter_batched(
                    || empty.fork(),
                    |mut join| {
                        probe_all(&mut join, &source, with_created);
                        join
                    },
                    BatchSize::PerIteration,
                );
            });
        };
        probe("probe", &empty, false);
        if name == "int64" {
            probe("probe-created", &empty, true);
            let as_of = rule.with_knowledge(Knowledge::AsOf);
            probe(
                "probe-as-of",
                &ViewJoin::new(Arc::clone(&index), as_of).expect("a rule"),
                true,
            );
        }

        group.throughput(Throughput::Elements(spine_rows as u64));
        if name.starts_with("int64") {
            let probed = || {
                let mut join = empty.fork();
                probe_all(&mut join, &source, false);
                join
            };
            group.bench_function(BenchmarkId::new("resolve", name), |b| {
                b.iter_batched(probed, ViewJoin::resolve, BatchSize::PerIteration);
            });
            let winners = probed().resolve();
            group.bench_function(BenchmarkId::new("distinct", name), |b| {
                b.iter(|| winners.distinct())
            });
        }
        group.finish();
    }
}

criterion_group!(benches, asof);
criterion_main!(benches);
