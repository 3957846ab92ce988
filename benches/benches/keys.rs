//! What does the canonical key of one entity row cost?
//!
//! One iteration encodes 10,000 rows into a reused buffer, so a throughput of 1 Gelem/s is 1 ns per row. `floor`
//! copies as many bytes as the keys have, row by row: the limit that memory sets.

#![allow(missing_docs, reason = "the criterion macros make public items")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use larder_base::keys::decode_key;
use larder_base::{ColumnName, EntityKeys, JoinKey, Value, ValueType};
use std::hint::black_box;

const ROWS: usize = 10_000;

fn join_keys(types: &[ValueType]) -> Vec<JoinKey> {
    let key = |(i, value_type): (usize, &ValueType)| JoinKey {
        name: ColumnName::new(format!("k{i}")).expect("a name"),
        value_type: *value_type,
    };
    types.iter().enumerate().map(key).collect()
}

fn encode(c: &mut Criterion) {
    let ints: Vec<i64> = (0..ROWS as i64)
        .map(|id| id.wrapping_mul(0x5851_f42d_4c95_7f2d))
        .collect();
    let texts: Vec<String> = (0..ROWS).map(|id| format!("user-{id:08}")).collect();
    let mut keys = EntityKeys::new();
    let mut group = c.benchmark_group("keys/encode");
    group.throughput(Throughput::Elements(ROWS as u64));

    group.bench_function("int64", |b| {
        b.iter(|| {
            keys.clear();
            for id in &ints {
                let mut writer = keys.begin();
                writer.int64(*id);
                writer.finish().expect("short");
            }
            black_box(keys.len())
        });
    });
    group.bench_function("string", |b| {
        b.iter(|| {
            keys.clear();
            for text in &texts {
                let mut writer = keys.begin();
                writer.string(text);
                writer.finish().expect("short");
            }
            black_box(keys.len())
        });
    });
    group.bench_function("int64_string", |b| {
        b.iter(|| {
            keys.clear();
            for (id, text) in ints.iter().zip(&texts) {
                let mut writer = keys.begin();
                writer.int64(*id);
                writer.string(text);
                writer.finish().expect("short");
            }
            black_box(keys.len())
        });
    });
    let composite = join_keys(&[ValueType::INT64, ValueType::STRING]);
    let values: Vec<[Value; 2]> = ints
        .iter()
        .zip(&texts)
        .map(|(id, text)| [Value::Int64(*id), Value::str(text)])
        .collect();
    group.bench_function("int64_string_values", |b| {
        b.iter(|| {
            keys.clear();
            for row in &values {
                keys.push_values(&composite, row).expect("short");
            }
            black_box(keys.len())
        });
    });

    let bytes = [7_u8; 11];
    let (mut flat, mut ends) = (Vec::new(), Vec::new());
    group.bench_function("floor_11_bytes", |b| {
        b.iter(|| {
            flat.clear();
            ends.clear();
            for _ in 0..ROWS {
                flat.extend_from_slice(black_box(&bytes));
                ends.push(flat.len() as u32);
            }
            black_box(ends.len())
        });
    });
    group.finish();
}

fn decode(c: &mut Criterion) {
    let types = join_keys(&[ValueType::INT64, ValueType::STRING]);
    let mut keys = EntityKeys::new();
    keys.push_values(&types, &[Value::Int64(7), Value::str("user-00000007")])
        .expect("a key");
    let key = keys.get(0).expect("no null").to_vec();
    c.bench_function("keys/decode/int64_string", |b| {
        b.iter_batched(
            || (),
            |()| decode_key(black_box(&types), black_box(&key)),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
