//! How are the keys of a spine told apart while its rows are grouped, and what does the table get to know of them?

use super::cells::{Cells, Words, zeros};
use super::parallel;
use super::table::{BytesEntry, BytesHasher, BytesTable, DenseTable, Entry, IntEntry, IntTable};
use super::table::{KeyTable, Layout, Open, Range, Seeds};

/// One kind of keys.
pub(super) trait Scheme: Sync {
    /// What a partition leaves for the table besides its groups.
    type Found: Send;
    /// What a thread uses for one partition after the other.
    type Local: Copy;

    /// The key of a row, or its hash.
    fn key(&self, row: usize) -> u64;

    /// The partition of a key, of `2^bits`.
    fn partition(&self, key: u64, bits: u32) -> usize;

    /// Groups the rows of a partition: adds the group of each to `groups`, and to `counts` the rows of each group.
    #[expect(clippy::too_many_arguments, reason = "buffers that are used again")]
    fn group(
        &self,
        part: usize,
        bits: u32,
        keys: &[u64],
        row: impl Fn(usize) -> usize,
        local: &mut Vec<Self::Local>,
        groups: &mut Vec<u32>,
        counts: &mut Vec<u32>,
    ) -> Self::Found;

    /// The table of all partitions, each with the start of every group and the end of the last.
    fn table(&self, parts: Vec<(Self::Found, Vec<u32>)>, bits: u32, threads: usize) -> KeyTable;
}

fn range(ends: &[u32]) -> Range {
    Range {
        start: ends[0],
        len: ends[1] - ends[0],
    }
}

/// Integers of a small range.
pub(super) struct DenseKeys<F> {
    pub(super) key: F,
    pub(super) min: i64,
    pub(super) max: i64,
}

impl<F> DenseKeys<F> {
    /// Each partition has `2^shift` keys.
    fn shift(&self, bits: u32) -> u32 {
        let used = u64::BITS - self.max.abs_diff(self.min).leading_zeros();
        used.saturating_sub(bits)
    }
}

impl<F: Fn(usize) -> i64 + Sync> Scheme for DenseKeys<F> {
    type Found = ();
    type Local = u64;

    #[inline(always)]
    fn key(&self, row: usize) -> u64 {
        (self.key)(row).wrapping_sub(self.min) as u64
    }

    #[inline(always)]
    fn partition(&self, key: u64, bits: u32) -> usize {
        (key >> self.shift(bits)) as usize
    }

    fn group(
        &self,
        part: usize,
        bits: u32,
        keys: &[u64],
        _row: impl Fn(usize) -> usize,
        _local: &mut Vec<u64>,
        groups: &mut Vec<u32>,
        counts: &mut Vec<u32>,
    ) {
        let first = (part as u64) << self.shift(bits);
        let keys_left = (self.max.abs_diff(self.min) + 1).saturating_sub(first);
        counts.resize(keys_left.min(1 << self.shift(bits)) as usize, 0);
        groups.extend(keys.iter().map(|key| {
            let group = key - first;
            counts[group as usize] += 1;
            group as u32
        }));
    }

    fn table(&self, parts: Vec<((), Vec<u32>)>, _bits: u32, threads: usize) -> KeyTable {
        let mut ranges: Vec<u64> = zeros(self.max.abs_diff(self.min) as usize + 1);
        let lengths = parts.iter().map(|(_, starts)| starts.len() - 1);
        let regions = parallel::split(&mut ranges, lengths);
        let tasks: Vec<_> = regions.into_iter().zip(&parts).collect();
        parallel::each(tasks, threads, |(region, (_, starts))| {
            for (word, ends) in region.iter_mut().zip(starts.windows(2)) {
                let range = range(ends);
                // An empty range says where it would be, which is still no group.
                *word = if range.len == 0 { 0 } else { range.word() };
            }
        });
        KeyTable::Dense(DenseTable {
            min: self.min,
            ranges,
        })
    }
}

/// Keys that are found by their hash.
pub(super) struct Hashed<K>(pub(super) K);

/// One kind of hashed keys.
pub(super) trait Kind: Sync {
    type Entry: Entry;

    /// The key of a row, or its hash.
    fn key(&self, row: usize) -> u64;

    fn hash(&self, key: u64) -> u64;

    /// A row's entry without a range; a long key is that of `row`.
    fn entry(&self, key: u64, row: usize) -> Self::Entry;

    /// Whether an entry made by [`Kind::entry`] is of a row's key.
    fn is(&self, key: u64, row: usize, entry: &Self::Entry) -> bool;

    /// The entry with a range.
    fn with(entry: Self::Entry, range: Range) -> Self::Entry;

    /// How many bytes have to lie outside of the entry.
    fn long(&self, _entry: &Self::Entry) -> usize {
        0
    }

    /// Puts those bytes to their place, which begins at `start` of the arena.
    fn move_to(&self, _entry: &mut Self::Entry, _place: &mut [u8], _start: u64) {}

    fn table(&self, open: Open<Self::Entry>, arena: Vec<u8>) -> KeyTable;
}

impl<K: Kind> Scheme for Hashed<K> {
    /// The distinct keys in the order of their groups, with their hashes.
    type Found = Vec<(u64, K::Entry)>;
    type Local = K::Entry;

    #[inline(always)]
    fn key(&self, row: usize) -> u64 {
        self.0.key(row)
    }

    #[inline(always)]
    fn partition(&self, key: u64, bits: u32) -> usize {
        // In two steps, because all 64 bits at once are too many to shift by.
        (self.0.hash(key) >> 1 >> (63 - bits)) as usize
    }

    fn group(
        &self,
        _part: usize,
        bits: u32,
        keys: &[u64],
        row: impl Fn(usize) -> usize,
        local: &mut Vec<K::Entry>,
        groups: &mut Vec<u32>,
        counts: &mut Vec<u32>,
    ) -> Self::Found {
        let size = (2 * keys.len()).next_power_of_two().max(16);
        let layout = Layout::new(size.ilog2(), size.ilog2());
        local.clear();
        local.resize(size, K::Entry::ZERO);
        let mut found: Self::Found = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let (hash, row) = (self.0.hash(*key), row(at));
            // The first bits are the same in the whole partition.
            let stop = |entry: &K::Entry| entry.range().len == 0 || self.0.is(*key, row, entry);
            let place = layout.find(local, hash << bits, stop);
            let mut group = local[place].range();
            if group.len == 0 {
                let start = counts.len() as u32;
                group = Range { start, len: 1 };
                let entry = self.0.entry(*key, row);
                found.push((hash, entry));
                local[place] = K::with(entry, group);
                counts.push(0);
            }
            counts[group.start as usize] += 1;
            groups.push(group.start);
        }
        found
    }

    fn table(&self, parts: Vec<(Self::Found, Vec<u32>)>, bits: u32, threads: usize) -> KeyTable {
        let total: usize = parts.iter().map(|(found, _)| found.len()).sum();
        let most = parts.iter().map(|(found, _)| found.len()).max().unwrap_or(0);
        // Half full on the whole, and five eighths in any region.
        let by_total = (2 * total).next_power_of_two().ilog2().saturating_sub(bits);
        let region = (most * 8 / 5 + 8).next_power_of_two().ilog2().max(by_total);
        let layout = Layout::new(bits + region, region);
        let mut cells = Cells::<K::Entry>::zeroed(1 << (bits + region));

        let long = |found: &Self::Found| found.iter().map(|(_, entry)| self.0.long(entry)).sum::<usize>();
        let lengths: Vec<usize> = parts.iter().map(|(found, _)| long(found)).collect();
        let mut arena = zeros(lengths.iter().sum());
        let arenas = parallel::split(&mut arena, lengths.iter().copied());
        let starts = lengths.iter().scan(0, |start, length| {
            let own = *start;
            *start += *length as u64;
            Some(own)
        });
        let regions = cells.as_mut_slice().chunks_mut(1 << region);
        let tasks: Vec<_> = parts
            .iter()
            .zip(regions)
            .zip(arenas.into_iter().zip(starts))
            .collect();
        parallel::each(tasks, threads, |(((found, starts), region), (arena, start))| {
            let mut used = 0;
            for ((hash, entry), ends) in found.iter().zip(starts.windows(2)) {
                let mut entry = *entry;
                let long = self.0.long(&entry);
                self.0
                    .move_to(&mut entry, &mut arena[used..used + long], start + used as u64);
                used += long;
                // The keys are distinct, so the first empty place is the right one.
                let mut at = layout.home(*hash) & (region.len() - 1);
                while region[at].range().len != 0 {
                    at = layout.next(at);
                }
                region[at] = K::with(entry, range(ends));
            }
        });
        self.0.table(Open { cells, layout }, arena)
    }
}

/// Any integers.
pub(super) struct IntKeys<F> {
    pub(super) key: F,
    pub(super) seeds: Seeds,
}

impl<F: Fn(usize) -> i64 + Sync> Kind for IntKeys<F> {
    type Entry = IntEntry;

    #[inline(always)]
    fn key(&self, row: usize) -> u64 {
        (self.key)(row) as u64
    }

    #[inline(always)]
    fn hash(&self, key: u64) -> u64 {
        self.seeds.int(key)
    }

    fn entry(&self, key: u64, _row: usize) -> IntEntry {
        [key, 0]
    }

    #[inline(always)]
    fn is(&self, key: u64, _row: usize, entry: &IntEntry) -> bool {
        entry[0] == key
    }

    fn with(entry: IntEntry, range: Range) -> IntEntry {
        [entry[0], range.word()]
    }

    fn table(&self, open: Open<IntEntry>, _arena: Vec<u8>) -> KeyTable {
        KeyTable::Int(IntTable {
            open,
            seeds: self.seeds,
        })
    }
}

/// Strings, bytes and canonical bytes of composite keys.
pub(super) struct BytesKeys<F> {
    pub(super) key: F,
    pub(super) hashes: Vec<u64>,
    pub(super) hasher: BytesHasher,
}

impl<'k, F: Fn(usize) -> &'k [u8] + Sync> Kind for BytesKeys<F> {
    type Entry = BytesEntry;

    #[inline(always)]
    fn key(&self, row: usize) -> u64 {
        self.hashes[row]
    }

    #[inline(always)]
    fn hash(&self, key: u64) -> u64 {
        key
    }

    fn entry(&self, key: u64, row: usize) -> BytesEntry {
        BytesHasher::reduce((self.key)(row)).entry(key, row as u64)
    }

    #[inline(always)]
    fn is(&self, key: u64, row: usize, entry: &BytesEntry) -> bool {
        let bytes = (self.key)(row);
        BytesHasher::reduce(bytes).is(key, entry, |other| (self.key)(other as usize) == bytes)
    }

    fn with(mut entry: BytesEntry, range: Range) -> BytesEntry {
        entry[3] = range.word();
        entry
    }

    fn long(&self, entry: &BytesEntry) -> usize {
        BytesHasher::long_row(entry).map_or(0, |row| (self.key)(row).len())
    }

    fn move_to(&self, entry: &mut BytesEntry, place: &mut [u8], start: u64) {
        if let Some(row) = BytesHasher::long_row(entry) {
            place.copy_from_slice((self.key)(row));
            entry[2] = start;
        }
    }

    fn table(&self, open: Open<BytesEntry>, arena: Vec<u8>) -> KeyTable {
        KeyTable::Bytes(BytesTable {
            open,
            arena,
            hasher: self.hasher.clone(),
        })
    }
}
