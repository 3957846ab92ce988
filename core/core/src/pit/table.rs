//! Which group of spine rows has this key?
//!
//! Open addressing with linear probing, at most about half full. An entry holds the key *and* the group's range,
//! so that a probe, hit or miss, usually touches one cache line. A table consists of regions that the first bits
//! of the hash choose; every search stays in its region, so that threads can fill different ones.

use super::cells::{Cells, Words};
use super::keys::KeyBatch;
use foldhash::fast::RandomState;
use std::hash::BuildHasher;

/// Where a group lies among the spine's positions; `len` 0 is no group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Range {
    /// Both numbers in one, zero for no group.
    pub(super) fn word(self) -> u64 {
        u64::from(self.start) | u64::from(self.len) << 32
    }

    #[inline(always)]
    pub(super) fn of(word: u64) -> Self {
        Self {
            start: word as u32,
            len: (word >> 32) as u32,
        }
    }
}

/// The keys of a spine.
#[derive(Debug)]
pub(super) enum KeyTable {
    /// No key columns: one group.
    Unit(Range),
    Dense(DenseTable),
    Int(IntTable),
    Bytes(BytesTable),
    /// Several columns: the table that numbers the keys of the first, and the others.
    Linked(Box<(KeyTable, Vec<Link>)>),
}

impl KeyTable {
    /// Looks `rows` up and keeps those that have a group, with the group's range in `ranges`; returns how many.
    pub(super) fn find(&self, keys: &[KeyBatch<'_>], rows: &mut [u32], ranges: &mut [Range]) -> usize {
        match (self, keys) {
            (Self::Linked(tables), [first, others @ ..]) => {
                let (table, links) = &**tables;
                table.look(first, rows, ranges);
                for (link, keys) in links.iter().zip(others) {
                    link.look(keys, rows, ranges);
                }
            }
            (Self::Unit(range), _) => ranges.fill(*range),
            (table, [keys, ..]) => table.look(keys, rows, ranges),
            (_, []) => unreachable!("the shape was checked: there is a key"),
        }
        let mut kept = 0;
        for at in 0..rows.len() {
            let (row, range) = (rows[at], ranges[at]);
            rows[kept] = row;
            ranges[kept] = range;
            kept += usize::from(range.len != 0);
        }
        kept
    }

    /// The range of each row's key in one column.
    fn look(&self, keys: &KeyBatch<'_>, rows: &[u32], ranges: &mut [Range]) {
        let rows = || rows.iter().map(|row| *row as usize);
        match (self, keys) {
            (Self::Dense(table), KeyBatch::Int64(keys)) => table.look(rows().map(|row| keys[row]), ranges),
            (Self::Int(table), KeyBatch::Int64(keys)) => table.look(rows().map(|row| keys[row]), ranges),
            (Self::Dense(table), KeyBatch::Int32(keys)) => {
                table.look(rows().map(|row| i64::from(keys[row])), ranges);
            }
            (Self::Int(table), KeyBatch::Int32(keys)) => {
                table.look(rows().map(|row| i64::from(keys[row])), ranges);
            }
            (Self::Dense(table), keys) => table.look(rows().map(|row| keys.int(row)), ranges),
            (Self::Int(table), keys) => table.look(rows().map(|row| keys.int(row)), ranges),
            (Self::Bytes(table), KeyBatch::Bytes32(ends, bytes)) => {
                let key = |row| &bytes[ends[row] as usize..ends[row + 1] as usize];
                table.look(rows().map(key), ranges);
            }
            (Self::Bytes(table), KeyBatch::Utf8View(array)) => {
                table.look(rows().map(|row| array.value(row).as_bytes()), ranges);
            }
            (Self::Bytes(table), keys) => table.look(rows().map(|row| keys.bytes(row)), ranges),
            (Self::Unit(_) | Self::Linked(_), _) => unreachable!("these are no tables of one column"),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Unit(_) => 0,
            Self::Dense(table) => size_of_val(table.ranges.as_slice()),
            Self::Int(table) => size_of_val(table.open.cells.as_slice()),
            Self::Bytes(table) => size_of_val(table.open.cells.as_slice()) + table.arena.len(),
            Self::Linked(tables) => {
                let links = tables.1.iter();
                let links = links.map(|link| link.own.memory_bytes() + link.pairs.memory_bytes());
                tables.0.memory_bytes() + links.sum::<usize>()
            }
        }
    }
}

/// A further column of a composite key. Its own table numbers its keys; the table of pairs finds the number of what
/// is known so far together with the own number.
#[derive(Debug)]
pub(super) struct Link {
    own: KeyTable,
    /// How many numbers there are.
    groups: u64,
    pairs: KeyTable,
}

impl Link {
    pub(super) fn new(own: KeyTable, groups: u64, pairs: KeyTable) -> Self {
        Self { own, groups, pairs }
    }

    /// Two numbers as one key; they are below 2^32, so that no two pairs are alike.
    #[inline(always)]
    pub(super) fn pair(groups: u64, known: u32, own: u32) -> i64 {
        (u64::from(known) * groups + u64::from(own)) as i64
    }

    /// Replaces the number of what is known of each row by the range of the whole.
    fn look(&self, keys: &KeyBatch<'_>, rows: &[u32], ranges: &mut [Range]) {
        let mut own = [Range::default(); 64];
        let mut pairs = [0; 64];
        for (rows, ranges) in rows.chunks(64).zip(ranges.chunks_mut(64)) {
            let own = &mut own[..rows.len()];
            self.own.look(keys, rows, own);
            for ((pair, known), own) in pairs.iter_mut().zip(&*ranges).zip(&*own) {
                *pair = Self::pair(self.groups, known.start, own.start);
            }
            // What one column does not have, no pair may have.
            for (own, known) in own.iter_mut().zip(&*ranges) {
                own.len = if known.len == 0 { 0 } else { own.len };
            }
            let pairs = pairs[..rows.len()].iter().copied();
            match &self.pairs {
                KeyTable::Dense(table) => table.look(pairs, ranges),
                KeyTable::Int(table) => table.look(pairs, ranges),
                _ => unreachable!("pairs are integers"),
            }
            for (range, own) in ranges.iter_mut().zip(&*own) {
                range.len = if own.len == 0 { 0 } else { range.len };
            }
        }
    }
}

/// Integers of a small range, addressed directly.
#[derive(Debug)]
pub(super) struct DenseTable {
    pub(super) min: i64,
    /// [`Range::word`] of every number from `min` on.
    pub(super) ranges: Vec<u64>,
}

impl DenseTable {
    #[inline(always)]
    fn look(&self, keys: impl Iterator<Item = i64>, ranges: &mut [Range]) {
        let words = &self.ranges;
        for (key, range) in keys.zip(ranges) {
            // A key below the minimum wraps to a huge index, which is outside as well.
            let at = usize::try_from(key.wrapping_sub(self.min) as u64).unwrap_or(usize::MAX);
            *range = Range::of(words.get(at).copied().unwrap_or_default());
        }
    }
}

/// An entry of a hash table; all zeros is none.
pub(super) trait Entry: Words {
    fn range(&self) -> Range;
}

/// The key, and its range.
pub(super) type IntEntry = [u64; 2];

impl Entry for IntEntry {
    #[inline(always)]
    fn range(&self) -> Range {
        Range::of(self[1])
    }
}

/// A digest of the key and its range in half a cache line: length and part of the hash, head, tail, range.
pub(super) type BytesEntry = [u64; 4];

impl Entry for BytesEntry {
    #[inline(always)]
    fn range(&self) -> Range {
        Range::of(self[3])
    }
}

/// Where the searches of one hash table go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Bits of the hash that choose the entry, from the highest on.
    bits: u32,
    /// The last place of a region; the first is 0.
    low: usize,
}

impl Layout {
    /// A table of `2^bits` entries in regions of `2^region` each.
    pub(super) fn new(bits: u32, region: u32) -> Self {
        Self {
            bits: bits.max(1),
            low: (1 << region) - 1,
        }
    }

    #[inline(always)]
    pub(super) fn home(self, hash: u64) -> usize {
        (hash >> (64 - self.bits)) as usize
    }

    #[inline(always)]
    pub(super) fn next(self, at: usize) -> usize {
        (at & !self.low) | ((at + 1) & self.low)
    }

    /// The first entry from a hash's home on at which to stop; there is one, because no region is ever full.
    #[inline(always)]
    pub(super) fn find<E>(self, entries: &[E], hash: u64, stop: impl Fn(&E) -> bool) -> usize {
        let mut at = self.home(hash);
        while !stop(&entries[at]) {
            at = self.next(at);
        }
        at
    }
}

#[derive(Debug)]
pub(super) struct Open<E> {
    pub(super) cells: Cells<E>,
    pub(super) layout: Layout,
}

/// Any integers.
#[derive(Debug)]
pub(super) struct IntTable {
    pub(super) open: Open<IntEntry>,
    pub(super) seeds: Seeds,
}

impl IntTable {
    #[inline(always)]
    fn look(&self, keys: impl Iterator<Item = i64> + Clone, ranges: &mut [Range]) {
        let (entries, layout, seeds) = (self.open.cells.as_slice(), self.open.layout, self.seeds);
        // Reading the places of all keys, with nothing that depends on them, lets the misses overlap.
        let mut sum = 0;
        for key in keys.clone() {
            sum ^= entries[layout.home(seeds.int(key as u64))][1];
        }
        std::hint::black_box(sum);
        for (key, range) in keys.zip(ranges) {
            let key = key as u64;
            // An empty entry is as good an end as the key itself: its range says "no group".
            let stop = |entry: &IntEntry| (entry[0] == key) | (entry[1] == 0);
            *range = entries[layout.find(entries, seeds.int(key), stop)].range();
        }
    }
}

/// Strings, bytes and canonical bytes of composite keys.
#[derive(Debug)]
pub(super) struct BytesTable {
    pub(super) open: Open<BytesEntry>,
    /// The keys that do not fit into an entry.
    pub(super) arena: Vec<u8>,
    pub(super) hasher: BytesHasher,
}

impl BytesTable {
    #[inline(always)]
    fn look<'k>(&self, mut keys: impl Iterator<Item = &'k [u8]>, ranges: &mut [Range]) {
        let (entries, layout) = (self.open.cells.as_slice(), self.open.layout);
        let mut asked = [(&[][..], 0, Digest::default()); 64];
        for ranges in ranges.chunks_mut(asked.len()) {
            // As with integers, the places of many keys are read before anything depends on them.
            let mut sum = 0;
            for (asked, key) in asked[..ranges.len()].iter_mut().zip(&mut keys) {
                let (hash, digest) = self.hasher.digest(key);
                *asked = (key, hash, digest);
                sum ^= entries[layout.home(hash)][3];
            }
            std::hint::black_box(sum);
            for ((key, hash, digest), range) in asked.iter().zip(ranges) {
                let stop = |entry: &BytesEntry| {
                    entry[3] == 0 || digest.is(*hash, entry, |start| self.long(start, digest.len) == *key)
                };
                *range = entries[layout.find(entries, *hash, stop)].range();
            }
        }
    }

    fn long(&self, start: u64, len: u32) -> &[u8] {
        &self.arena[start as usize..start as usize + len as usize]
    }
}

/// A key reduced to what an entry can compare: all of a short key, or the first bytes of a long one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) len: u32,
    head: u64,
    /// The rest of a short key.
    tail: u64,
}

/// Keys up to this length lie in the entries.
const INLINE: usize = 16;

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

    fn is_long(&self) -> bool {
        self.len as usize > INLINE
    }

    /// An entry without a range; `tail` says where a long key lies.
    pub(super) fn entry(&self, hash: u64, tail: u64) -> BytesEntry {
        let tail = if self.is_long() { tail } else { self.tail };
        [self.first(hash), self.head, tail, 0]
    }

    #[inline(always)]
    fn first(&self, hash: u64) -> u64 {
        u64::from(self.len) | hash << 32
    }

    /// Whether an entry has this key, whose long form `same` compares with what lies at a place.
    #[inline(always)]
    pub(super) fn is(&self, hash: u64, entry: &BytesEntry, same: impl FnOnce(u64) -> bool) -> bool {
        entry[0] == self.first(hash)
            && entry[1] == self.head
            && if self.is_long() {
                same(entry[2])
            } else {
                entry[2] == self.tail
            }
    }
}

/// How keys of bytes are hashed.
#[derive(Clone, Debug)]
pub(super) struct BytesHasher {
    long: RandomState,
    seeds: Seeds,
}

impl BytesHasher {
    /// A key without its hash.
    #[inline(always)]
    pub(super) fn reduce(key: &[u8]) -> Digest {
        Digest::of(key)
    }

    /// What an entry says of where its key lies; `None` for a short key.
    pub(super) fn long_row(entry: &BytesEntry) -> Option<usize> {
        (entry[0] as u32 as usize > INLINE).then_some(entry[2] as usize)
    }

    pub(super) fn random() -> Self {
        Self {
            long: RandomState::default(),
            seeds: Seeds::random(),
        }
    }

    #[inline(always)]
    pub(super) fn digest(&self, key: &[u8]) -> (u64, Digest) {
        let digest = Digest::of(key);
        let hash = if digest.is_long() {
            // The hasher's first bits are not its best.
            fold(self.long.hash_one(key) ^ self.seeds.0, self.seeds.2)
        } else {
            self.seeds.short(digest)
        };
        (hash, digest)
    }
}

/// Secrets of one table, so that nobody can prepare keys that all fall on one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeds(u64, u64, u64);

impl Seeds {
    pub(super) fn random() -> Self {
        let state = foldhash::quality::RandomState::default();
        Self(state.hash_one(1), state.hash_one(2), state.hash_one(3) | 1)
    }

    #[inline(always)]
    pub(super) fn int(self, key: u64) -> u64 {
        fold(key ^ self.0, self.2)
    }

    #[inline(always)]
    fn short(self, digest: Digest) -> u64 {
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
