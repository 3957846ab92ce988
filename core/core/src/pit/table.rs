//! Which group of spine rows has this key?
//!
//! Open addressing with linear probing, at most half full. An entry holds the key *and* the group's range, so
//! that a probe, hit or miss, usually touches one cache line. While a table is built an entry's range is
//! `(group number, 1)`; [`KeyTable::finish`] replaces it once the groups have their places.

use super::keys::{KeyBatch, KeyKind, Packed};
use arrow_buffer::NullBuffer;
use foldhash::fast::RandomState;
use std::hash::BuildHasher;

/// Where a group lies among the spine's positions; `len` 0 is no group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// The group number of a row with a null key.
pub(super) const NO_GROUP: u32 = u32::MAX;

/// The keys of a spine.
#[derive(Debug)]
pub(super) enum KeyTable {
    /// No key columns: one group.
    Unit(Range),
    Dense(DenseTable),
    Int(IntTable),
    Bytes(BytesTable),
}

impl KeyTable {
    /// Builds the table over `rows` keys and gives every row its group number, in order of first appearance.
    pub(super) fn build(
        kind: KeyKind,
        keys: &KeyBatch<'_>,
        nulls: Option<&NullBuffer>,
        rows: usize,
    ) -> (Self, Vec<u32>) {
        let mut groups = Vec::with_capacity(rows);
        let is_valid = |row| nulls.is_none_or(|nulls| nulls.is_valid(row));
        let mut all = |insert: &mut dyn FnMut(usize) -> u32| {
            groups.extend((0..rows).map(|row| if is_valid(row) { insert(row) } else { NO_GROUP }));
        };
        let table = match kind {
            KeyKind::Unit => {
                all(&mut |_| 0);
                Self::Unit(Range {
                    start: 0,
                    len: u32::from(rows > 0),
                })
            }
            KeyKind::Int => {
                let mut bounds = None;
                for row in (0..rows).filter(|row| is_valid(*row)) {
                    let key = int_at(keys, row);
                    let (min, max) = bounds.unwrap_or((key, key));
                    bounds = Some((key.min(min), key.max(max)));
                }
                let (min, max) = bounds.unwrap_or((0, 0));
                // A dense range costs 8 bytes per value, the hash table 32 to 64 bytes per key.
                if max.abs_diff(min) < 4 * rows as u64 + 1024 {
                    let mut table = DenseTable::new(min, max);
                    all(&mut |row| table.group(int_at(keys, row)));
                    Self::Dense(table)
                } else {
                    let mut table = IntTable::new();
                    all(&mut |row| table.group(int_at(keys, row)));
                    Self::Int(table)
                }
            }
            KeyKind::Bytes => {
                let mut table = BytesTable::new();
                all(&mut |row| table.group(bytes_at(keys, row)));
                Self::Bytes(table)
            }
        };
        (table, groups)
    }

    /// The number of distinct keys.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Unit(range) => range.len as usize,
            Self::Dense(table) => table.used,
            Self::Int(table) => table.used,
            Self::Bytes(table) => table.used,
        }
    }

    /// Replaces group numbers by ranges; `offsets` holds every group's start and one end more.
    pub(super) fn finish(&mut self, offsets: &[u32]) {
        let place = |range: &mut Range| {
            if range.len != 0 {
                let group = range.start as usize;
                *range = Range {
                    start: offsets[group],
                    len: offsets[group + 1] - offsets[group],
                };
            }
        };
        match self {
            Self::Unit(range) => place(range),
            Self::Dense(table) => table.ranges.iter_mut().for_each(place),
            Self::Int(table) => table.entries.iter_mut().for_each(|entry| place(&mut entry.range)),
            Self::Bytes(table) => table.entries.iter_mut().for_each(|entry| place(&mut entry.range)),
        }
    }

    /// Looks `rows` up and keeps those that have a group, with the group's range in `ranges`; returns how many.
    pub(super) fn find(&self, keys: &KeyBatch<'_>, rows: &mut [u32], ranges: &mut [Range]) -> usize {
        match (self, keys) {
            (Self::Unit(range), _) => retain(rows, ranges, |_| *range),
            (Self::Dense(table), KeyBatch::Int64(keys)) => retain(rows, ranges, |row| table.find(keys[row])),
            (Self::Int(table), KeyBatch::Int64(keys)) => {
                table.touch(rows, |row| keys[row]);
                retain(rows, ranges, |row| table.find(keys[row]))
            }
            (Self::Dense(table), keys) => retain(rows, ranges, |row| table.find(int_at(keys, row))),
            (Self::Int(table), keys) => {
                table.touch(rows, |row| int_at(keys, row));
                retain(rows, ranges, |row| table.find(int_at(keys, row)))
            }
            (Self::Bytes(table), KeyBatch::Bytes32(ends, bytes)) => table.find(rows, ranges, |row| {
                &bytes[ends[row] as usize..ends[row + 1] as usize]
            }),
            (Self::Bytes(table), KeyBatch::Packed(packed)) => {
                table.find(rows, ranges, |row| Packed::row(packed, row))
            }
            (Self::Bytes(table), keys) => table.find(rows, ranges, |row| bytes_at(keys, row)),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Unit(_) => 0,
            Self::Dense(table) => size_of_val(table.ranges.as_slice()),
            Self::Int(table) => size_of_val(table.entries.as_slice()),
            Self::Bytes(table) => size_of_val(table.entries.as_slice()) + table.arena.len(),
        }
    }
}

#[inline(always)]
fn retain(rows: &mut [u32], ranges: &mut [Range], find: impl Fn(usize) -> Range) -> usize {
    let mut kept = 0;
    for at in 0..rows.len() {
        let row = rows[at];
        let range = find(row as usize);
        rows[kept] = row;
        ranges[kept] = range;
        kept += usize::from(range.len != 0);
    }
    kept
}

fn int_at(keys: &KeyBatch<'_>, row: usize) -> i64 {
    match keys {
        KeyBatch::Int64(values) => values[row],
        KeyBatch::Int32(values) => i64::from(values[row]),
        KeyBatch::Bool(values) => i64::from(values.value(row)),
        _ => unreachable!("the shape was checked: the keys are integers"),
    }
}

fn bytes_at<'a>(keys: &'a KeyBatch<'_>, row: usize) -> &'a [u8] {
    match keys {
        KeyBatch::Bytes32(ends, bytes) => &bytes[ends[row] as usize..ends[row + 1] as usize],
        KeyBatch::Bytes64(ends, bytes) => &bytes[ends[row] as usize..ends[row + 1] as usize],
        KeyBatch::Utf8View(array) => array.value(row).as_bytes(),
        KeyBatch::BinaryView(array) => array.value(row),
        KeyBatch::Packed(packed) => packed.row(row),
        _ => unreachable!("the shape was checked: the keys are bytes"),
    }
}

/// Integers of a small range, addressed directly.
#[derive(Debug)]
pub(super) struct DenseTable {
    min: i64,
    ranges: Vec<Range>,
    used: usize,
}

impl DenseTable {
    fn new(min: i64, max: i64) -> Self {
        Self {
            min,
            ranges: vec![Range::default(); max.abs_diff(min) as usize + 1],
            used: 0,
        }
    }

    fn group(&mut self, key: i64) -> u32 {
        let range = &mut self.ranges[key.wrapping_sub(self.min) as usize];
        if range.len == 0 {
            *range = Range {
                start: self.used as u32,
                len: 1,
            };
            self.used += 1;
        }
        range.start
    }

    #[inline(always)]
    fn find(&self, key: i64) -> Range {
        // A key below the minimum wraps to a huge index, which is outside as well.
        let at = usize::try_from(key.wrapping_sub(self.min) as u64).unwrap_or(usize::MAX);
        self.ranges.get(at).copied().unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct IntEntry {
    key: i64,
    range: Range,
}

/// Any integers.
#[derive(Debug)]
pub(super) struct IntTable {
    entries: Vec<IntEntry>,
    mask: usize,
    seeds: Seeds,
    used: usize,
}

const FIRST_CAPACITY: usize = 64;

impl IntTable {
    fn new() -> Self {
        let entries = vec![IntEntry::default(); FIRST_CAPACITY];
        Self {
            entries,
            mask: FIRST_CAPACITY - 1,
            seeds: Seeds::random(),
            used: 0,
        }
    }

    fn group(&mut self, key: i64) -> u32 {
        let at = self.slot(key);
        if self.entries[at].range.len != 0 {
            return self.entries[at].range.start;
        }
        let group = self.used as u32;
        self.entries[at] = IntEntry {
            key,
            range: Range { start: group, len: 1 },
        };
        self.used += 1;
        if self.used * 2 > self.entries.len() {
            let entries = vec![IntEntry::default(); self.entries.len() * 2];
            self.mask = entries.len() - 1;
            let old = std::mem::replace(&mut self.entries, entries);
            for entry in old.into_iter().filter(|entry| entry.range.len != 0) {
                let at = self.slot(entry.key);
                self.entries[at] = entry;
            }
        }
        group
    }

    #[inline(always)]
    fn find(&self, key: i64) -> Range {
        self.entries[self.slot(key)].range
    }

    /// Reads the places of all keys, with nothing that depends on them, so that the misses overlap.
    #[inline(always)]
    fn touch(&self, rows: &[u32], key: impl Fn(usize) -> i64) {
        let mut sum = 0;
        for row in rows {
            sum ^= self.entries[self.home(key(*row as usize))].range.start;
        }
        std::hint::black_box(sum);
    }

    #[inline(always)]
    fn home(&self, key: i64) -> usize {
        self.seeds.int(key as u64) as usize & self.mask
    }

    /// The place of the key, or the empty place where it would be.
    #[inline(always)]
    fn slot(&self, key: i64) -> usize {
        let mut at = self.home(key);
        loop {
            let entry = &self.entries[at];
            // An empty entry is as good an end as the key itself: its range says "no group".
            if (entry.key == key) | (entry.range.len == 0) {
                return at;
            }
            at = (at + 1) & self.mask;
        }
    }
}

/// Half a cache line: a key of up to 16 bytes lies in the entry, a longer one in the arena.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
struct BytesEntry {
    hash: u32,
    range: Range,
    digest: Digest,
}

/// A key reduced to what an entry can compare: all of a short key, or the first bytes of a long one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Digest {
    len: u32,
    head: u64,
    /// The rest of a short key, or the arena offset of a long one.
    tail: u64,
}

const INLINE: usize = 16;

/// Strings, bytes and canonical bytes of composite keys.
#[derive(Debug)]
pub(super) struct BytesTable {
    entries: Vec<BytesEntry>,
    mask: usize,
    arena: Vec<u8>,
    hasher: RandomState,
    seeds: Seeds,
    used: usize,
}

impl BytesTable {
    fn new() -> Self {
        Self {
            entries: vec![BytesEntry::default(); FIRST_CAPACITY],
            mask: FIRST_CAPACITY - 1,
            arena: Vec::new(),
            hasher: RandomState::default(),
            seeds: Seeds::random(),
            used: 0,
        }
    }

    fn group(&mut self, key: &[u8]) -> u32 {
        let (hash, mut digest) = self.digest(key);
        let at = self.slot(hash, digest, key);
        if self.entries[at].range.len != 0 {
            return self.entries[at].range.start;
        }
        if key.len() > INLINE {
            digest.tail = self.arena.len() as u64;
            self.arena.extend_from_slice(key);
        }
        let group = self.used as u32;
        self.entries[at] = BytesEntry {
            hash: (hash >> 32) as u32,
            range: Range { start: group, len: 1 },
            digest,
        };
        self.used += 1;
        if self.used * 2 > self.entries.len() {
            self.grow();
        }
        group
    }

    fn grow(&mut self) {
        let entries = vec![BytesEntry::default(); self.entries.len() * 2];
        self.mask = entries.len() - 1;
        let old = std::mem::replace(&mut self.entries, entries);
        for entry in old.into_iter().filter(|entry| entry.range.len != 0) {
            // The keys are distinct, so the first empty place is the right one.
            let mut at = self.hash_of(&entry) as usize & self.mask;
            while self.entries[at].range.len != 0 {
                at = (at + 1) & self.mask;
            }
            self.entries[at] = entry;
        }
    }

    fn hash_of(&self, entry: &BytesEntry) -> u64 {
        if entry.digest.len as usize > INLINE {
            self.hasher.hash_one(self.long(entry))
        } else {
            self.seeds.short(entry.digest)
        }
    }

    fn long(&self, entry: &BytesEntry) -> &[u8] {
        let start = entry.digest.tail as usize;
        &self.arena[start..start + entry.digest.len as usize]
    }

    #[inline(always)]
    fn find<'k>(&self, rows: &mut [u32], ranges: &mut [Range], key: impl Fn(usize) -> &'k [u8]) -> usize {
        let mut hashes = [0; 64];
        let mut kept = 0;
        for start in (0..rows.len()).step_by(hashes.len()) {
            let end = rows.len().min(start + hashes.len());
            // As with integers, the places of many keys are read before anything depends on them.
            let mut sum = 0;
            for (row, hash) in rows[start..end].iter().zip(&mut hashes) {
                *hash = self.digest(key(*row as usize)).0;
                sum ^= self.entries[*hash as usize & self.mask].range.start;
            }
            std::hint::black_box(sum);
            for at in start..end {
                let row = rows[at];
                let key = key(row as usize);
                let range = self.entries[self.slot(hashes[at - start], Digest::of(key), key)].range;
                rows[kept] = row;
                ranges[kept] = range;
                kept += usize::from(range.len != 0);
            }
        }
        kept
    }

    #[inline(always)]
    fn digest(&self, key: &[u8]) -> (u64, Digest) {
        let digest = Digest::of(key);
        if key.len() > INLINE {
            (self.hasher.hash_one(key), digest)
        } else {
            (self.seeds.short(digest), digest)
        }
    }

    #[inline(always)]
    fn slot(&self, hash: u64, digest: Digest, key: &[u8]) -> usize {
        let mut at = hash as usize & self.mask;
        loop {
            let entry = &self.entries[at];
            if entry.range.len == 0 {
                return at;
            }
            if key.len() <= INLINE {
                if entry.digest == digest {
                    return at;
                }
            } else if entry.hash == (hash >> 32) as u32
                && entry.digest.len == digest.len
                && entry.digest.head == digest.head
                && self.long(entry) == key
            {
                return at;
            }
            at = (at + 1) & self.mask;
        }
    }
}

impl Digest {
    /// Two overlapping reads hold a short key completely, because the length is compared as well.
    #[inline(always)]
    fn of(key: &[u8]) -> Self {
        let len = key.len() as u32;
        let (head, tail) = if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            (
                u64::from_le_bytes(*first),
                if key.len() > INLINE {
                    0
                } else {
                    u64::from_le_bytes(*last)
                },
            )
        } else if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            (
                u64::from(u32::from_le_bytes(*first)),
                u64::from(u32::from_le_bytes(*last)),
            )
        } else if let (Some(first), Some(last)) = (key.first(), key.last()) {
            (
                u64::from(*first) | u64::from(key[key.len() / 2]) << 8,
                u64::from(*last),
            )
        } else {
            (0, 0)
        };
        Self { len, head, tail }
    }
}

/// Secrets of one table, so that nobody can prepare keys that all fall on one place.
#[derive(Debug)]
struct Seeds(u64, u64, u64);

impl Seeds {
    fn random() -> Self {
        let state = foldhash::quality::RandomState::default();
        Self(state.hash_one(1), state.hash_one(2), state.hash_one(3) | 1)
    }

    #[inline(always)]
    fn int(&self, key: u64) -> u64 {
        fold(key ^ self.0, self.2)
    }

    #[inline(always)]
    fn short(&self, digest: Digest) -> u64 {
        fold(
            fold(digest.head ^ self.0, digest.tail ^ self.1) ^ u64::from(digest.len),
            self.2,
        )
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
