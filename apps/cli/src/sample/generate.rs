//! Which values does a row of the sample data have?
//!
//! A column at a time, from hashes of key and row: no state, so files are made in parallel and
//! always alike. This crate is not optimised in the dev profile, so the loops stay plain.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use larder::{Error, Micros, Result, Span};

use super::table::{Feature, Make, SampleView};

/// How much sample data there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Users, numbered from 1.
    pub(crate) users: u64,
    /// Products, numbered from 1.
    pub(crate) products: u64,
    /// Transactions in all.
    pub(crate) transactions: u64,
    /// Days of history.
    pub(crate) days: u64,
    /// Files of each source.
    pub(crate) files: u64,
    /// The last instant of the data.
    pub(crate) end: Micros,
}

impl Scale {
    /// The demo: about a million rows over 30 days.
    pub(crate) fn demo(end: Micros) -> Self {
        Self {
            users: 20_000,
            products: 5_000,
            transactions: 395_000,
            days: 30,
            files: 6,
            end,
        }
    }

    /// A project of `larder init`: a few thousand rows over 14 days.
    pub(crate) fn starter(end: Micros) -> Self {
        Self {
            users: 300,
            products: 60,
            transactions: 2_000,
            days: 14,
            files: 2,
            end,
        }
    }

    /// The first instant of the data.
    pub(crate) fn start(&self) -> Micros {
        self.end.minus(Span::days(self.days as i64))
    }
}

/// Products a user buys again and again.
const FAVOURITES: u64 = 4;
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// Spreads a number over all 64 bits, always alike.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One of the products that a user buys.
pub(crate) fn favourite(user: u64, which: u64, products: u64) -> u64 {
    1 + mix(user.wrapping_mul(31).wrapping_add(which % FAVOURITES)) % products
}

/// A product that a user of the demo buys.
pub(crate) fn bought_by(user: i64) -> i64 {
    let products = Scale::demo(Micros(0)).products;
    favourite(user.unsigned_abs(), 0, products) as i64
}

/// Keys and times of the rows of one file, before any feature.
#[derive(Debug, Default)]
pub(crate) struct RowSeeds {
    /// First key in the order of [`SampleView::keys`]; for transactions the product.
    pub(crate) first: Vec<i64>,
    /// The user of a transaction; empty for views with one key.
    pub(crate) second: Vec<i64>,
    /// Event times.
    pub(crate) event: Vec<i64>,
    /// Created times.
    pub(crate) created: Vec<i64>,
    key_hash: Vec<u64>,
    row_hash: Vec<u64>,
}

impl RowSeeds {
    fn push(&mut self, key: (i64, Option<i64>), event: i64, created: i64, end: i64, salt: u64) {
        let key_hash = mix(key.0 as u64 ^ (key.1.unwrap_or(0) as u64).rotate_left(32));
        self.first.push(key.0);
        self.second.extend(key.1);
        self.event.push(event);
        self.created.push(created.min(end));
        self.key_hash.push(key_hash);
        self.row_hash.push(mix(key_hash ^ event as u64 ^ salt));
    }

    /// A row, and sometimes what real sources do to it: written late, written twice.
    fn push_as_in_life(&mut self, key: (i64, Option<i64>), event: i64, end: i64, chance: u64) {
        // Most rows are written some minutes after their event, two in a hundred days later.
        let delay = if chance % 100 < 2 {
            DAY + (chance % 48) as i64 * HOUR
        } else {
            (chance % 20) as i64 * 60_000_000
        };
        self.push(key, event, event + delay, end, 0);
        // One in a hundred is corrected some hours later: same key and event, other values.
        if (chance >> 20).is_multiple_of(100) {
            let correction = event + delay + (6 + (chance % 18) as i64) * HOUR;
            // At the very end both would get the same times, and nothing could tell them apart.
            if correction <= end {
                self.push(key, event, correction, end, 1);
            }
        }
    }

    /// The rows of a file: the `part`-th of `scale.files` equal intervals.
    pub(crate) fn of_file(view: &SampleView, scale: &Scale, part: u64) -> Self {
        let mut seeds = Self::default();
        let (start, end) = (scale.start().0, scale.end.0);
        match view.keys {
            ["user_id"] => seeds.daily(scale, part, scale.users, 75),
            ["product_id"] => seeds.daily(scale, part, scale.products, 100),
            _ => {
                // In time order, as a log of transactions is.
                let count = scale.transactions;
                let (from, to) = (count * part / scale.files, count * (part + 1) / scale.files);
                let step = (end - start) / count as i64;
                for i in from..to {
                    let chance = mix(i ^ 0x7a11);
                    let user = 1 + chance % scale.users;
                    let product = favourite(user, chance >> 17, scale.products);
                    let event = start + i as i64 * step + ((chance >> 40) as i64 % step.max(1));
                    let key = (product as i64, Some(user as i64));
                    seeds.push_as_in_life(key, event.min(end), end, mix(chance));
                }
            }
        }
        seeds
    }

    /// One row a day for so many in a hundred of the keys.
    fn daily(&mut self, scale: &Scale, part: u64, keys: u64, active: u64) {
        let (start, end) = (scale.start().0, scale.end.0);
        let (from, to) = (
            scale.days * part / scale.files,
            scale.days * (part + 1) / scale.files,
        );
        for day in from..to {
            for key in 1..=keys {
                let chance = mix(key.wrapping_mul(1_000_003) ^ day);
                if chance % 100 >= active {
                    continue;
                }
                let event = start + day as i64 * DAY + ((chance >> 24) % 86_400) as i64 * 1_000_000;
                self.push_as_in_life((key as i64, None), event, end, mix(chance));
            }
        }
    }

    /// The values of a feature for these rows.
    ///
    /// # Errors
    /// `Internal` when a column cannot be built.
    pub(crate) fn column(&self, feature: &Feature) -> Result<ArrayRef> {
        let salt = salt_of(feature.name);
        let rows = self.event.len();
        let nulls = self.nulls(feature, salt);
        let (key, row) = (&self.key_hash, &self.row_hash);
        Ok(match feature.make {
            Make::Count(mean) => {
                let span = 2 * mean as u64;
                let mut values = Vec::with_capacity(rows);
                for i in 0..rows {
                    let base = (key[i] ^ salt) % span.max(1);
                    values.push((base + (row[i] ^ salt) % (1 + base / 3).max(2)) as i64);
                }
                Arc::new(Int64Array::new(values.into(), nulls))
            }
            Make::Small(mean) => {
                let span = 2 * mean as u64;
                let mut values = Vec::with_capacity(rows);
                for i in 0..rows {
                    let base = (key[i] ^ salt) % span.max(1);
                    values.push((base + (row[i] ^ salt) % (1 + base / 3).max(2)) as i32);
                }
                Arc::new(Int32Array::new(values.into(), nulls))
            }
            Make::Money(mean) => {
                let cents = (mean * 100.0) as u64;
                let mut values = Vec::with_capacity(rows);
                for i in 0..rows {
                    let base = cents / 2 + (key[i] ^ salt) % cents;
                    let noise = (row[i] ^ salt) % (1 + base / 4);
                    values.push((base + noise) as f64 / 100.0);
                }
                Arc::new(Float64Array::new(values.into(), nulls))
            }
            Make::Share => {
                let mut values = Vec::with_capacity(rows);
                for i in 0..rows {
                    let parts = (key[i] ^ salt) % 800 + (row[i] ^ salt) % 200;
                    values.push(parts as f64 / 1_000.0);
                }
                Arc::new(Float64Array::new(values.into(), nulls))
            }
            Make::Rating => {
                let mut values = Vec::with_capacity(rows);
                for i in 0..rows {
                    let tenths = (key[i] ^ salt) % 40 + (row[i] ^ salt) % 11;
                    values.push(tenths as f32 / 10.0);
                }
                Arc::new(Float32Array::new(values.into(), nulls))
            }
            Make::Choice(choices) => {
                let count = choices.len() as u64;
                let mut picks = Vec::with_capacity(rows);
                for i in 0..rows {
                    // One row in sixteen shows that even such values change.
                    let changed = u64::from((row[i] ^ salt).is_multiple_of(16));
                    picks.push(((key[i] ^ salt) % count + changed) as u32 % count as u32);
                }
                let picks = UInt32Array::new(picks.into(), nulls);
                let choices = StringArray::from(choices.to_vec());
                arrow_select::take::take(&choices, &picks, None).map_err(internal)?
            }
            Make::Flag(percent) => {
                let percent = u64::from(percent);
                let bits = BooleanBuffer::collect_bool(rows, |i| {
                    ((key[i] ^ salt) % 90 + (row[i] ^ salt) % 10) < percent
                });
                Arc::new(BooleanArray::new(bits, nulls))
            }
            Make::Before(hours) => {
                let mut values = Vec::with_capacity(rows);
                for (hash, event) in row.iter().zip(&self.event) {
                    let seconds = (hash ^ salt) % (hours as u64 * 3_600);
                    values.push(event - seconds as i64 * 1_000_000);
                }
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
            }
        })
    }

    fn nulls(&self, feature: &Feature, salt: u64) -> Option<NullBuffer> {
        if feature.nulls == 0 {
            return None;
        }
        let limit = u64::from(feature.nulls);
        let valid = BooleanBuffer::collect_bool(self.row_hash.len(), |i| {
            (self.row_hash[i] ^ salt.rotate_left(9)) % 1_000 >= limit
        });
        Some(NullBuffer::new(valid))
    }

    /// One chosen row.
    pub(crate) fn single(key: (i64, Option<i64>), event: Micros, created: Micros) -> Self {
        let mut seeds = Self::default();
        seeds.push(key, event.0, created.0, i64::MAX, created.0 as u64);
        seeds
    }

    /// Keys, event time and created time as columns with their names.
    pub(crate) fn fixed_columns(&self, view: &SampleView) -> Vec<(&'static str, ArrayRef)> {
        let mut columns: Vec<(&'static str, ArrayRef)> = Vec::new();
        for (name, keys) in view.keys.iter().zip([&self.first, &self.second]) {
            columns.push((name, Arc::new(Int64Array::from(keys.clone()))));
        }
        for (name, times) in [
            ("event_timestamp", &self.event),
            ("created_timestamp", &self.created),
        ] {
            let times = TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC");
            columns.push((name, Arc::new(times)));
        }
        columns
    }
}

fn salt_of(name: &str) -> u64 {
    name.bytes()
        .fold(0x1a2d_e201, |hash, byte| mix(hash ^ u64::from(byte)))
}

pub(crate) fn internal(cause: arrow_schema::ArrowError) -> Error {
    Error::internal("the sample data could not be built").source(cause)
}

/// Entity rows for training: who may buy what at which moment, and whether they did.
pub(crate) fn labels(scale: &Scale, rows: u64) -> Vec<(&'static str, ArrayRef)> {
    let (start, end) = (scale.start().0, scale.end.0);
    let mut users = Vec::with_capacity(rows as usize);
    let mut products = Vec::with_capacity(rows as usize);
    let mut times = Vec::with_capacity(rows as usize);
    let mut bought = Vec::with_capacity(rows as usize);
    for i in 0..rows {
        let chance = mix(i ^ 0x1abe1);
        // One row in a hundred has a user that nobody has ever seen.
        let unknown = (chance >> 50).is_multiple_of(100);
        let user = 1 + chance % scale.users + if unknown { scale.users } else { 0 };
        users.push(user as i64);
        products.push(favourite(user, chance >> 20, scale.products) as i64);
        times.push(start + ((mix(chance) >> 1) as i64 % (end - start)));
        bought.push(i64::from((chance >> 33) % 10 < 3));
    }
    vec![
        ("user_id", Arc::new(Int64Array::from(users)) as ArrayRef),
        ("product_id", Arc::new(Int64Array::from(products))),
        (
            "event_timestamp",
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        ),
        ("bought", Arc::new(Int64Array::from(bought))),
    ]
}
