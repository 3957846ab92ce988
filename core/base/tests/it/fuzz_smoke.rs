//! Do the bodies of the fuzz targets hold for many mutations of keys and rows that were valid?
//!
//! The same numbers each time: a failure is found again by running the test.

use larder_base::row::PackedRows;
use larder_base::{Cell, EntityKeys, Micros, ScalarType, Value, ValueType};

use crate::bodies;

const KEY_RUNS: usize = 60_000;
const ROW_RUNS: usize = 150_000;

/// splitmix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn text(&mut self) -> String {
        let all = ["", "a", "ß", "漢", "🐟", "some words", "\0"];
        (0..self.below(4)).map(|_| all[self.below(all.len())]).collect()
    }

    fn scalar(&mut self, of: ScalarType) -> Value {
        match of {
            _ if self.below(6) == 0 => Value::Null,
            ScalarType::Bool => Value::Bool(self.below(2) == 1),
            ScalarType::Int32 => Value::Int32(self.next() as i32),
            ScalarType::Int64 => Value::Int64(self.next() as i64),
            ScalarType::Float32 => Value::Float32(f32::from_bits(self.next() as u32)),
            ScalarType::Float64 => Value::Float64(f64::from_bits(self.next())),
            ScalarType::String => Value::str(&self.text()),
            ScalarType::Bytes => Value::Bytes(self.next().to_le_bytes()[..self.below(9)].into()),
            ScalarType::Timestamp => Value::Timestamp(Micros(self.next() as i64)),
            ScalarType::Date => Value::Date(self.next() as i32),
            ScalarType::Decimal { precision, scale } => {
                let end = 10_i128.pow(u32::from(precision.min(18)));
                Value::Decimal(i128::from(self.next() as i64) % end, scale)
            }
            other => panic!("no values for {other}"),
        }
    }

    fn value(&mut self, of: ValueType) -> Value {
        match of {
            ValueType::Scalar(of) => self.scalar(of),
            ValueType::List(item) => Value::List((0..self.below(12)).map(|_| self.scalar(item)).collect()),
            ValueType::Vector(n) => {
                Value::Vector((0..n).map(|_| f32::from_bits(self.next() as u32)).collect())
            }
            other => panic!("no values for {other}"),
        }
    }

    /// One to four changes of the kinds that a format is afraid of.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(10) {
                0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff][self.below(6)],
                3..=5 if bytes.len() >= 4 => {
                    // A 32-bit number in either order: counts, ends, pointers, lengths.
                    let at = at.min(bytes.len() - 4);
                    let length = bytes.len() as u32;
                    let word = [
                        0,
                        1,
                        7,
                        8,
                        24,
                        length - 1,
                        length,
                        length + 1,
                        i32::MAX as u32,
                        u32::MAX,
                    ];
                    let word = word[self.below(word.len())].wrapping_sub(self.below(2) as u32);
                    let word = if self.below(4) == 0 {
                        word.to_be_bytes()
                    } else {
                        word.to_le_bytes()
                    };
                    bytes[at..at + 4].copy_from_slice(&word);
                }
                6 => bytes.truncate(at),
                7 => {
                    let more = self.next().to_le_bytes();
                    bytes.splice(at..at, more[..self.below(9)].iter().copied());
                }
                8 => {
                    let end = at + self.below(bytes.len() - at);
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                _ if bytes.len() >= 4 => bytes[3] = self.below(40) as u8,
                _ => {}
            }
        }
    }
}

#[test]
fn mutated_keys_are_refused_or_are_keys() {
    let mut noise = Noise(1);
    let (mut accepted, mut input) = (0, Vec::new());
    for run in 0..KEY_RUNS {
        let shape = noise.next() as u8;
        let join_keys = bodies::join_keys(shape);
        let mut keys = EntityKeys::new();
        let values: Vec<Value> = join_keys.iter().map(|key| noise.value(key.value_type)).collect();
        keys.push_values(&join_keys, &values).expect("short values");
        input.clear();
        input.extend_from_slice(keys.get(0).unwrap_or_default());
        if run % 8 != 0 {
            noise.mutate(&mut input);
        }
        // Read as other types at times.
        let shape = if noise.below(8) == 0 {
            noise.next() as u8
        } else {
            shape
        };
        input.insert(0, shape);
        accepted += usize::from(bodies::key_decode(&input));
    }
    assert!(
        accepted > KEY_RUNS / 10 && accepted < KEY_RUNS * 9 / 10,
        "{accepted} accepted"
    );
}

#[test]
fn mutated_rows_are_refused_or_read() {
    let mut noise = Noise(2);
    let (mut accepted, mut rows) = (0, PackedRows::new());
    for run in 0..ROW_RUNS {
        // Narrow layouts three times out of four: there a mutation hits something that is read.
        let shape = noise.next() as u8 & if run % 4 == 0 { 0xff } else { 0x3f };
        let layout = bodies::layout(shape);
        rows.clear();
        let (event, created) = (Micros(noise.next() as i64), Micros(noise.next() as i64));
        if noise.below(64) == 0 {
            rows.push_tombstone(layout, event, created);
        } else {
            let values: Vec<Value> = layout
                .slots()
                .iter()
                .map(|slot| noise.value(slot.value_type))
                .collect();
            rows.push_values(layout, event, Some(created), &values)
                .expect("values of their types");
        }
        let mut input = rows.get(0).to_vec();
        if run % 8 != 0 {
            noise.mutate(&mut input);
        }
        let shape = if noise.below(8) == 0 {
            noise.next() as u8
        } else {
            shape
        };
        input.insert(0, shape);
        accepted += usize::from(bodies::row_decode(&input));
    }
    assert!(
        accepted > ROW_RUNS / 10 && accepted < ROW_RUNS * 9 / 10,
        "{accepted} accepted"
    );
}

#[test]
fn the_layouts_of_the_bodies_hold_every_type() {
    let mut types: Vec<String> = (0..=u8::MAX)
        .flat_map(|shape| bodies::layout(shape).slots())
        .map(|slot| slot.value_type.to_string())
        .collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), 22, "{types:?}");
    assert!(
        bodies::row_decode(&[0]) == bodies::key_decode(&[]),
        "nothing is neither a row nor a key"
    );
    let mut rows = PackedRows::new();
    let mut writer = rows.begin(bodies::layout(0), Micros(0), None);
    writer.put(0, Cell::Int64(1));
    writer.finish().expect("the first slot is an int64");
    assert!(bodies::row_decode(&[&[0], rows.get(0)].concat()));
}
