//! How do the rows of a spine become groups of equal keys, each sorted by time, on any number of threads?
//!
//! 1. The rows are dealt to partitions by the first bits of their keys' hash (or by the key itself, where keys
//!    are dense), each partition small enough for the cache. Threads take runs of rows.
//! 2. Every partition is grouped and sorted on its own; its groups lie together among the positions.
//! 3. The distinct keys go into one table, of which every partition owns a region.
//!
//! Neither threads nor hash seeds show in what a lookup answers: the order inside a group is by time, then by row.

use super::cells::zeros;
use super::keys::KeyBatch;
use super::parallel;
use super::scheme::{BytesKeys, DenseKeys, Hashed, IntKeys, Scheme};
use super::table::{BytesHasher, KeyTable, Link, Range, Seeds};
use arrow_buffer::NullBuffer;
use std::ops::Range as Span;

/// The rows of a spine, grouped.
#[derive(Debug)]
pub(super) struct Grouped {
    pub(super) table: KeyTable,
    /// Start of each group and the end of the last.
    pub(super) offsets: Vec<u32>,
    /// Position to time.
    pub(super) times: Vec<i64>,
    /// Position to row.
    pub(super) order: Vec<u32>,
    /// The smallest and largest time of any position.
    pub(super) time_bounds: Option<(i64, i64)>,
}

impl Grouped {
    /// The number of groups.
    pub(super) fn groups(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// Rows of a partition, about: its keys, stamps and table then fit into the second-level cache.
const PARTITION: usize = if cfg!(test) { 32 } else { 8192 };

/// Partitions at most; more would be too many places to write to at a time.
const MOST_PARTITIONS: usize = 1024;

/// Rows below which a thread is not worth starting.
const SHARE: usize = if cfg!(test) { 16 } else { 16_384 };

/// The rows to group: those without nulls in their keys.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) times: &'a [i64],
    pub(super) nulls: Option<&'a NullBuffer>,
    pub(super) threads: usize,
    /// Only number the groups: the table then gives a group's number as its start, and nothing is sorted by time.
    pub(super) numbered: bool,
}

impl Rows<'_> {
    fn chunks(&self) -> Vec<Span<usize>> {
        parallel::ranges(self.times.len(), self.threads, 64)
    }

    fn bits(&self) -> u32 {
        let partitions = self.times.len().div_ceil(PARTITION).clamp(1, MOST_PARTITIONS);
        partitions.next_power_of_two().ilog2()
    }

    /// Calls `visit` with every row of a chunk that has a key.
    #[inline(always)]
    fn visit(&self, chunk: Span<usize>, mut visit: impl FnMut(usize)) {
        match self.nulls {
            None => chunk.for_each(visit),
            Some(nulls) => {
                for row in chunk {
                    if nulls.is_valid(row) {
                        visit(row);
                    }
                }
            }
        }
    }

    /// The smallest and the largest of a number of each row.
    fn bounds(&self, value: &(impl Fn(usize) -> i64 + Sync)) -> Option<(i64, i64)> {
        let chunks = parallel::each(self.chunks(), self.threads, |chunk| {
            let mut bounds = (i64::MAX, i64::MIN);
            let mut any = false;
            self.visit(chunk, |row| {
                let value = value(row);
                bounds = (bounds.0.min(value), bounds.1.max(value));
                any = true;
            });
            any.then_some(bounds)
        });
        let chunks = chunks.into_iter().flatten();
        chunks.reduce(|one, two| (one.0.min(two.0), one.1.max(two.1)))
    }
}

/// Groups rows by the keys of all columns together.
pub(super) fn group(columns: &[KeyBatch<'_>], mut rows: Rows<'_>) -> Grouped {
    rows.threads = rows.threads.min(rows.times.len() / SHARE).max(1);
    match columns {
        [] => {
            let mut grouped = ints(|_| 0, rows);
            let len = grouped.offsets.last().copied().unwrap_or(0);
            grouped.table = KeyTable::Unit(Range { start: 0, len });
            grouped
        }
        [one] => by_column(one, rows),
        [first, others @ ..] => by_columns(first, others, rows),
    }
}

/// Several columns: each gets a table that gives its keys numbers, and pairs of numbers are again such keys.
fn by_columns(first: &KeyBatch<'_>, others: &[KeyBatch<'_>], rows: Rows<'_>) -> Grouped {
    let numbered = Rows {
        numbered: true,
        ..rows
    };
    let (table, mut known) = numbers(by_column(first, numbered), rows.times.len());
    let mut links = Vec::with_capacity(others.len());
    for (at, column) in others.iter().enumerate() {
        let by_own = by_column(column, numbered);
        let groups = by_own.groups() as u64;
        let (own_table, own) = numbers(by_own, rows.times.len());
        let pair = |row: usize| Link::pair(groups, known[row], own[row]);
        if at + 1 < others.len() {
            let (table, both) = numbers(ints(pair, numbered), rows.times.len());
            links.push(Link::new(own_table, groups, table));
            known = both;
            continue;
        }
        let mut grouped = ints(pair, rows);
        links.push(Link::new(own_table, groups, grouped.table));
        grouped.table = KeyTable::Linked(Box::new((table, links)));
        return grouped;
    }
    unreachable!("there is a second column")
}

/// The table of numbered groups, and the number of every row.
fn numbers(grouped: Grouped, rows: usize) -> (KeyTable, Vec<u32>) {
    let mut numbers = zeros(rows);
    let order = &grouped.order;
    for (group, ends) in (0_u32..).zip(grouped.offsets.windows(2)) {
        for row in &order[ends[0] as usize..ends[1] as usize] {
            numbers[*row as usize] = group;
        }
    }
    (grouped.table, numbers)
}

fn by_column(keys: &KeyBatch<'_>, rows: Rows<'_>) -> Grouped {
    match keys {
        KeyBatch::Int64(values) => ints(|row| values[row], rows),
        KeyBatch::Int32(values) => ints(|row| i64::from(values[row]), rows),
        keys if keys.is_int() => ints(|row| keys.int(row), rows),
        KeyBatch::Bytes32(ends, bytes) => {
            strings(|row| &bytes[ends[row] as usize..ends[row + 1] as usize], rows)
        }
        keys => strings(|row| keys.bytes(row), rows),
    }
}

fn ints(key: impl Fn(usize) -> i64 + Sync, rows: Rows<'_>) -> Grouped {
    let (min, max) = rows.bounds(&key).unwrap_or((0, 0));
    // A dense range costs 8 bytes per value, the hash table 32 to 64 bytes per key.
    if max.abs_diff(min) < 4 * rows.times.len() as u64 + 1024 {
        return grouped(&DenseKeys { key, min, max }, rows);
    }
    let seeds = Seeds::random();
    grouped(&Hashed(IntKeys { key, seeds }), rows)
}

fn strings<'k>(key: impl Fn(usize) -> &'k [u8] + Sync, rows: Rows<'_>) -> Grouped {
    let hasher = BytesHasher::random();
    let mut hashes: Vec<u64> = zeros(rows.times.len());
    let chunks = rows.chunks();
    let parts = parallel::split(&mut hashes, chunks.iter().map(Span::len));
    let tasks: Vec<_> = chunks.iter().cloned().zip(parts).collect();
    parallel::each(tasks, rows.threads, |(chunk, hashes)| {
        let start = chunk.start;
        rows.visit(chunk, |row| hashes[row - start] = hasher.digest(key(row)).0);
    });
    grouped(&Hashed(BytesKeys { key, hashes, hasher }), rows)
}

/// A row's time and number in one integer, which sorts by time, then by number.
trait Stamp: Copy + Ord + Default + Send + Sync {
    fn new(packing: Packing, time: i64, row: usize) -> Self;
    fn time(self, packing: Packing) -> i64;
    fn row(self, packing: Packing) -> u32;
}

/// How stamps are made.
#[derive(Clone, Copy)]
struct Packing {
    /// The smallest time.
    min: i64,
    /// Bits of a row's number.
    bits: u32,
}

/// Where the times span few enough bits; twice as fast to sort.
impl Stamp for u64 {
    fn new(packing: Packing, time: i64, row: usize) -> Self {
        (time.wrapping_sub(packing.min) as Self) << packing.bits | row as Self
    }

    fn time(self, packing: Packing) -> i64 {
        packing.min.wrapping_add((self >> packing.bits) as i64)
    }

    fn row(self, packing: Packing) -> u32 {
        (self & ((1 << packing.bits) - 1)) as u32
    }
}

impl Stamp for u128 {
    fn new(packing: Packing, time: i64, row: usize) -> Self {
        Self::from(time.wrapping_sub(packing.min) as u64) << 32 | row as Self
    }

    fn time(self, packing: Packing) -> i64 {
        packing.min.wrapping_add((self >> 32) as u64 as i64)
    }

    fn row(self, _packing: Packing) -> u32 {
        self as u32
    }
}

fn grouped<K: Scheme>(scheme: &K, rows: Rows<'_>) -> Grouped {
    let time_bounds = if rows.numbered {
        None
    } else {
        rows.bounds(&|row| rows.times[row])
    };
    let (min, max) = time_bounds.unwrap_or((0, 0));
    let bits = usize::BITS - rows.times.len().leading_zeros();
    let packing = Packing { min, bits };
    let (table, offsets, times, order) = if bits <= max.abs_diff(min).leading_zeros() {
        group_all(scheme, rows, deal::<u64, _>(scheme, rows, packing), packing)
    } else {
        group_all(scheme, rows, deal::<u128, _>(scheme, rows, packing), packing)
    };
    Grouped {
        table,
        offsets,
        times,
        order,
        time_bounds,
    }
}

/// Rows by partition, in their order.
struct Dealt<S> {
    keys: Vec<u64>,
    stamps: Vec<S>,
    lengths: Vec<usize>,
}

fn deal<S: Stamp, K: Scheme>(scheme: &K, rows: Rows<'_>, packing: Packing) -> Dealt<S> {
    let bits = rows.bits();
    let chunks = rows.chunks();
    let counts = parallel::each(chunks.clone(), rows.threads, |chunk| {
        let mut counts = vec![0_usize; 1 << bits];
        rows.visit(chunk, |row| counts[scheme.partition(scheme.key(row), bits)] += 1);
        counts
    });
    let count = |part: usize| counts.iter().map(move |counts| counts[part]);
    let lengths: Vec<usize> = (0..1 << bits).map(|part| count(part).sum()).collect();
    let total = lengths.iter().sum();
    let (mut keys, mut stamps): (Vec<u64>, Vec<S>) = (zeros(total), zeros(total));
    // Every chunk has a place of its own in every partition.
    let cuts = || (0..1 << bits).flat_map(count);
    let cells = parallel::split(&mut keys, cuts()).into_iter();
    let cells = cells.zip(parallel::split(&mut stamps, cuts()));
    let mut places: Vec<Vec<_>> = chunks.iter().map(|_| Vec::with_capacity(1 << bits)).collect();
    for (at, (keys, stamps)) in cells.enumerate() {
        places[at % chunks.len()].push((0_usize, keys, stamps));
    }
    let tasks: Vec<_> = chunks.into_iter().zip(places).collect();
    parallel::each(tasks, rows.threads, |(chunk, mut places)| {
        rows.visit(chunk, |row| {
            let key = scheme.key(row);
            let (used, keys, stamps) = &mut places[scheme.partition(key, bits)];
            keys[*used] = key;
            let time = if rows.numbered {
                packing.min
            } else {
                rows.times[row]
            };
            stamps[*used] = S::new(packing, time, row);
            *used += 1;
        });
    });
    Dealt {
        keys,
        stamps,
        lengths,
    }
}

type Tables = (KeyTable, Vec<u32>, Vec<i64>, Vec<u32>);

fn group_all<S: Stamp, K: Scheme>(scheme: &K, rows: Rows<'_>, dealt: Dealt<S>, packing: Packing) -> Tables {
    let bits = rows.bits();
    let total = dealt.stamps.len();
    let (mut times, mut order) = (zeros::<i64>(total), zeros::<u32>(total));
    let lengths = || dealt.lengths.iter().copied();
    let out = parallel::split(&mut times, lengths()).into_iter();
    let out = out.zip(parallel::split(&mut order, lengths()));
    let mut start = 0;
    let mut tasks = Vec::with_capacity(1 << bits);
    for (part, (len, out)) in lengths().zip(out).enumerate() {
        tasks.push((part, start..start + len, out));
        start += len;
    }
    let scratch = || (Vec::<K::Local>::new(), Vec::new(), Vec::new(), Vec::<S>::new());
    let mut parts = parallel::each_with(
        tasks,
        rows.threads,
        scratch,
        |scratch, (part, span, (times, order))| {
            let (local, groups, counts, sorted) = scratch;
            let stamps = &dealt.stamps[span.clone()];
            groups.clear();
            counts.clear();
            let row = |at: usize| stamps[at].row(packing) as usize;
            let found = scheme.group(part, bits, &dealt.keys[span.clone()], row, local, groups, counts);
            sort(stamps, groups, counts, sorted);
            for ((stamp, time), row) in sorted.iter().zip(times).zip(order) {
                (*time, *row) = (stamp.time(packing), stamp.row(packing));
            }
            // There are at most as many positions as rows, which fit.
            let mut starts = vec![span.start as u32];
            starts.extend(counts.iter().map(|end| span.start as u32 + end));
            (found, starts)
        },
    );
    let groups = parts.iter().map(|(_, starts)| starts.len() - 1).sum::<usize>();
    let mut offsets = Vec::with_capacity(groups.min(total) + 1);
    for (_, starts) in &parts {
        offsets.extend(
            starts
                .windows(2)
                .filter(|ends| ends[0] < ends[1])
                .map(|ends| ends[0]),
        );
    }
    offsets.push(total as u32);
    if rows.numbered {
        number(parts.iter_mut().map(|(_, starts)| starts));
    }
    let table = scheme.table(parts, bits, rows.threads);
    (table, offsets, times, order)
}

/// Puts the numbers of groups in place of their starts.
fn number<'a>(parts: impl Iterator<Item = &'a mut Vec<u32>>) {
    let mut next = 0;
    for starts in parts {
        let mut start = starts.first().copied().unwrap_or(0);
        for at in 0..starts.len() {
            let end = starts.get(at + 1).copied().unwrap_or(start);
            starts[at] = next;
            next += u32::from(end > start);
            start = end;
        }
    }
}

/// Sorts stamps by group, then by themselves; turns the groups' counts into their ends.
fn sort<S: Stamp>(stamps: &[S], groups: &[u32], counts: &mut [u32], sorted: &mut Vec<S>) {
    let mut end = 0;
    for count in &mut *counts {
        let start = end;
        end += *count;
        *count = start;
    }
    sorted.clear();
    sorted.resize(stamps.len(), S::default());
    for (stamp, group) in stamps.iter().zip(groups) {
        let at = &mut counts[*group as usize];
        sorted[*at as usize] = *stamp;
        *at += 1;
    }
    let mut start = 0;
    for end in counts.iter().map(|end| *end as usize) {
        let group = &mut sorted[start..end];
        if !group.is_sorted() {
            group.sort_unstable();
        }
        start = end;
    }
}
