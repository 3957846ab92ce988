//! What do random columns of each type look like? The same for the same seed, everywhere.

use std::sync::Arc;

use larder::arrow::array::builder::{
    FixedSizeListBuilder, Float32Builder, Int64Builder, ListBuilder, StringBuilder,
};
use larder::arrow::array::*;

use crate::Result;
use crate::shapes::{DAY, START};

/// Splitmix64.
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for every seed and name.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// In `0.0 .. 1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Features of the workload with all types.
pub(crate) const ALL_TYPES: [(&str, &str); 13] = [
    ("a_bool", "bool"),
    ("an_int32", "int32"),
    ("an_int64", "int64"),
    ("a_float32", "float32"),
    ("a_float64", "float64"),
    ("a_string", "string"),
    ("some_bytes", "bytes"),
    ("a_timestamp", "timestamp"),
    ("a_date", "date"),
    ("a_decimal", "decimal(18,4)"),
    ("some_ints", "list<int64>"),
    ("some_strings", "list<string>"),
    ("a_vector", "vector(float32,8)"),
];

/// A random column; one value in twenty is null where asked for.
pub(crate) fn values(of: &str, rows: usize, nulls: bool, random: &mut Random) -> Result<ArrayRef> {
    let mut maybe = |random: &mut Random| !nulls || random.below(20) != 0;
    Ok(match of {
        "bool" => Arc::new(column::<BooleanArray, _>(rows, random, &mut maybe, |r| {
            r.below(2) == 0
        })),
        "int32" => Arc::new(column::<Int32Array, _>(rows, random, &mut maybe, |r| {
            r.next() as i32
        })),
        // Engines that keep integers with nulls as float64 would be right up to here.
        "int64" => Arc::new(column::<Int64Array, _>(rows, random, &mut maybe, |r| {
            r.below(1 << 53) as i64
        })),
        "float32" => Arc::new(column::<Float32Array, _>(rows, random, &mut maybe, |r| {
            r.unit() as f32
        })),
        "float64" => Arc::new(column::<Float64Array, _>(rows, random, &mut maybe, |r| {
            r.below(1 << 53) as f64 / 1e9
        })),
        "string" => Arc::new(column::<StringArray, _>(rows, random, &mut maybe, |r| {
            format!("value {}", r.below(100_000))
        })),
        "bytes" => Arc::new(column::<BinaryArray, _>(rows, random, &mut maybe, |r| {
            r.next().to_le_bytes().to_vec()
        })),
        "timestamp" => Arc::new(
            column::<TimestampMicrosecondArray, _>(rows, random, &mut maybe, |r| {
                START + r.below(90 * DAY as u64) as i64
            })
            .with_timezone("UTC"),
        ),
        "date" => Arc::new(column::<Date32Array, _>(rows, random, &mut maybe, |r| {
            20_000 + r.below(400) as i32
        })),
        "decimal(18,4)" => Arc::new(
            column::<Decimal128Array, _>(rows, random, &mut maybe, |r| i128::from(r.below(1 << 50)))
                .with_precision_and_scale(18, 4)?,
        ),
        "list<int64>" => Arc::new(lists(rows, random, &mut maybe)),
        "list<string>" => Arc::new(lists_of_text(rows, random, &mut maybe)),
        "vector(float32,8)" => Arc::new(vectors(rows, random, &mut maybe)),
        other => return Err(format!("no random values of type {other}").into()),
    })
}

fn column<A: FromIterator<Option<T>>, T>(
    rows: usize,
    random: &mut Random,
    maybe: &mut impl FnMut(&mut Random) -> bool,
    value: impl Fn(&mut Random) -> T,
) -> A {
    let cell = |_| {
        let value = value(random);
        maybe(random).then_some(value)
    };
    (0..rows).map(cell).collect()
}

fn lists(rows: usize, random: &mut Random, maybe: &mut impl FnMut(&mut Random) -> bool) -> ListArray {
    let mut builder = ListBuilder::new(Int64Builder::new());
    for _ in 0..rows {
        for _ in 0..random.below(4) {
            builder.values().append_value(random.below(1 << 40) as i64);
        }
        builder.append(maybe(random));
    }
    builder.finish()
}

fn lists_of_text(rows: usize, random: &mut Random, maybe: &mut impl FnMut(&mut Random) -> bool) -> ListArray {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for _ in 0..rows {
        for _ in 0..random.below(4) {
            builder
                .values()
                .append_value(format!("tag {}", random.below(1000)));
        }
        builder.append(maybe(random));
    }
    builder.finish()
}

fn vectors(
    rows: usize,
    random: &mut Random,
    maybe: &mut impl FnMut(&mut Random) -> bool,
) -> FixedSizeListArray {
    let mut builder = FixedSizeListBuilder::new(Float32Builder::new(), 8);
    for _ in 0..rows {
        for _ in 0..8 {
            builder.values().append_value(random.unit() as f32);
        }
        builder.append(maybe(random));
    }
    builder.finish()
}

/// Instants as a column, µs UTC.
pub(crate) fn instants(times: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
}
