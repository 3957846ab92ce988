//! What does one packed row cost to write and to read, per number of `float64` features?
//!
//! One iteration is 1,000 rows; the throughput counts rows. `floor` copies the bytes of the same rows.

#![allow(missing_docs, reason = "the criterion macros make public items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use larder_base::{
    Cell, ColumnName, FeatureName, Generation, JoinKey, Micros, PackedRows, ProjectName, RowRef, Slot,
    SlotCell, ValueType, ViewLayout, ViewName,
};
use std::hint::black_box;

const ROWS: usize = 1_000;

fn layout(of: ValueType, width: usize) -> ViewLayout {
    let slot = |i| Slot::new(FeatureName::new(format!("f{i}")).expect("a name"), of);
    ViewLayout::new(
        ProjectName::new("bench").expect("a name"),
        ViewName::new("view").expect("a name"),
        Generation(7),
        vec![JoinKey {
            name: ColumnName::new("id").expect("a name"),
            value_type: ValueType::INT64,
        }],
        (0..width).map(slot).collect(),
    )
}

fn pack(rows: &mut PackedRows, layout: &ViewLayout, numbers: &[f64]) {
    rows.clear();
    for row in 0..ROWS {
        let mut writer = rows.begin(layout, Micros(row as i64), Some(Micros(5)));
        for (slot, number) in (0_u16..).zip(numbers) {
            writer.put(slot, Cell::Float64(*number));
        }
        writer.finish().expect("a sound row");
    }
}

fn floats(c: &mut Criterion) {
    let mut group = c.benchmark_group("row");
    group.throughput(Throughput::Elements(ROWS as u64));
    for width in [10_usize, 50, 200] {
        let layout = layout(ValueType::FLOAT64, width);
        let numbers: Vec<f64> = (0..width).map(|i| i as f64 * 0.5).collect();
        let mut rows = PackedRows::new();
        group.bench_function(BenchmarkId::new("pack", width), |b| {
            b.iter(|| pack(&mut rows, &layout, black_box(&numbers)));
        });

        pack(&mut rows, &layout, &numbers);
        let slots: Vec<u16> = layout.active_slots().collect();
        group.bench_function(BenchmarkId::new("unpack", width), |b| {
            b.iter(|| {
                let mut sum = 0.0;
                for bytes in rows.iter() {
                    let row = RowRef::parse(bytes).expect("a row");
                    for slot in &slots {
                        if let SlotCell::Cell(Cell::Float64(x)) = row.slot(&layout, *slot) {
                            sum += x;
                        }
                    }
                }
                black_box(sum)
            });
        });
        group.bench_function(BenchmarkId::new("check", width), |b| {
            b.iter(|| {
                for bytes in rows.iter() {
                    let row = RowRef::parse(bytes).expect("a row");
                    row.check(&layout, &slots).expect("sound");
                }
            });
        });

        let mut copy = PackedRows::new();
        group.bench_function(BenchmarkId::new("floor", width), |b| {
            b.iter(|| {
                copy.clear();
                for bytes in rows.iter() {
                    copy.push(bytes);
                }
                black_box(copy.byte_len())
            });
        });
    }
    group.finish();
}

fn texts(c: &mut Criterion) {
    let layout = layout(ValueType::STRING, 10);
    let mut rows = PackedRows::new();
    let fill = |rows: &mut PackedRows| {
        rows.clear();
        for row in 0..ROWS {
            let mut writer = rows.begin(&layout, Micros(row as i64), None);
            for slot in 0..10 {
                writer.put(slot, Cell::Str("a short text"));
            }
            writer.finish().expect("a sound row");
        }
    };
    let mut group = c.benchmark_group("row/string");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("pack/10", |b| b.iter(|| fill(&mut rows)));
    fill(&mut rows);
    let slots: Vec<u16> = layout.active_slots().collect();
    group.bench_function("check/10", |b| {
        b.iter(|| {
            for bytes in rows.iter() {
                let row = RowRef::parse(bytes).expect("a row");
                row.check(&layout, &slots).expect("sound");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, floats, texts);
criterion_main!(benches);
