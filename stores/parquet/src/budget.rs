//! How much memory does a join need, and into how many parts is it cut to need less?

use larder_core::arrow::datatypes::DataType;
use larder_core::convert::arrow_type;
use larder_core::{OfflineOptions, ViewScan};
use parquet::basic::Type as Physical;

use crate::plan::Plan;
use crate::reader::ScanFile;

/// Files of one kind that are open at a time, at most; each costs a handle and some buffers.
const MOST_PARTS: u64 = 256;

/// Bytes that a program takes before it does anything.
const PROGRAM: u64 = 32 << 20;

/// Bytes of rows that are decoded, or sent to files, at once by one thread.
const BATCH_BYTES: u64 = 4 << 20;

/// Pages of a column that is being decoded: one decompressed, one compressed.
const PAGE_BYTES: u64 = 1 << 20;

/// The memory of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    bytes: u64,
    threads: u64,
}

/// What a scan's part of a join consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Entity rows.
    pub(crate) rows: u64,
    /// Bytes of their keys, per row.
    pub(crate) key_bytes: u64,
    /// Views with winners of their own.
    pub(crate) rules: u64,
    /// Rows of the source that are read.
    pub(crate) source_rows: u64,
    /// Bytes of the wanted features, per row.
    pub(crate) width: u64,
    /// Features that are decoded together.
    pub(crate) columns: u64,
}

impl Budget {
    /// The share of a limit that is the join's. The rest is for what surrounds it: the program itself, batches on their
    /// way, and whoever writes them.
    pub(crate) fn new(options: &OfflineOptions, threads: usize) -> Option<Self> {
        let limit = options.memory_limit?;
        let bytes = (limit.saturating_sub(PROGRAM) / 2).max(limit / 8);
        Some(Self {
            bytes: bytes.max(1),
            threads: threads.max(1) as u64,
        })
    }

    /// Whether a join of these scans fits in memory.
    pub(crate) fn fits(&self, loads: &[Load]) -> bool {
        in_memory(loads, self.threads) <= self.bytes
    }

    /// Entity rows whose winners one thread finds at a time.
    pub(crate) fn solved_rows(&self, load: &Load) -> usize {
        let each = 160 + 4 * load.key_bytes + 64 * load.rules;
        at_least_some(self.bytes / self.threads / each)
    }

    /// Parts of the entity rows and of a source, by key.
    pub(crate) fn partitions(&self, load: &Load) -> usize {
        parts(load.rows, self.solved_rows(load) as u64)
    }

    /// Winners that one thread sorts at a time.
    pub(crate) fn sorted_winners(&self) -> usize {
        at_least_some(self.bytes / 2 / self.threads / 96)
    }

    /// Parts of the winners of one view, by place in the source.
    pub(crate) fn buckets(&self, winners: u64) -> usize {
        parts(winners, self.sorted_winners() as u64)
    }

    /// Columns that one thread decodes at a time.
    pub(crate) fn columns_at_once(&self) -> usize {
        (self.bytes / 4 / self.threads / PAGE_BYTES).max(1) as usize
    }

    /// Rows that one thread decodes at a time.
    pub(crate) fn batch_rows(&self, width: u64) -> usize {
        let bytes = BATCH_BYTES.min(self.bytes / 8 / self.threads);
        (bytes / width.max(8)).clamp(16, 131_072) as usize
    }

    /// Consecutive entity rows whose answers are put together at a time.
    pub(crate) fn answered_rows(&self, rows: u64, width: u64) -> u64 {
        let most = (self.bytes / 3 / (width + 24)).max(16);
        most.max(rows.div_ceil(MOST_PARTS))
    }

    /// Rows of a batch of the answer.
    pub(crate) fn emitted_rows(&self, width: u64) -> u64 {
        (self.bytes / 16 / (width + 24)).clamp(256, 65_536)
    }

    /// Bytes of answers that are put together at a time.
    pub(crate) fn answered_bytes(&self) -> u64 {
        (self.bytes / 2).max(1)
    }
}

/// Never so few that a part holds no row.
fn at_least_some(rows: u64) -> usize {
    usize::try_from(rows.max(16)).unwrap_or(usize::MAX)
}

fn parts(rows: u64, each: u64) -> usize {
    rows.div_ceil(each.max(1)).clamp(1, MOST_PARTS) as usize
}

/// Bytes that a join needs when nothing is spilled.
pub(crate) fn in_memory(loads: &[Load], threads: u64) -> u64 {
    let rows = loads.iter().map(|load| load.rows).max().unwrap_or(0);
    let scan = |load: &Load| {
        let index = load.rows * (64 + 3 * load.key_bytes);
        let buckets = load.rows * 36 * load.rules * threads;
        let winners = load.rows * 32 * load.rules;
        let decoding = threads * load.columns.max(3) * 2 * PAGE_BYTES.min(load.source_rows * 8);
        (index + buckets.max(winners), decoding)
    };
    let passing = loads
        .iter()
        .map(|load| {
            let (kernel, decoding) = scan(load);
            kernel + decoding
        })
        .max();
    let kept: u64 = loads
        .iter()
        .map(|load| load.rows.min(load.source_rows) * load.width * 3 / 2 + load.rows * 24 * load.rules)
        .sum();
    let width: u64 = loads.iter().map(|load| load.width + 24).sum();
    let batches = rows.min((threads + 2) * 65_536) * width;
    passing.unwrap_or(0) + kept + batches
}

/// Bytes of a scan's features, per row, as arrays; from what the footers say.
pub(crate) fn width(plan: &Plan, scan: &ViewScan) -> u64 {
    scan.features
        .iter()
        .map(|feature| {
            fixed(&arrow_type(feature.value_type)).unwrap_or_else(|| variable(plan, &feature.column))
        })
        .sum()
}

/// Bytes of a value, where all are alike.
fn fixed(of: &DataType) -> Option<u64> {
    match of {
        DataType::Boolean => Some(1),
        DataType::FixedSizeList(of, n) => Some(fixed(of.data_type())? * u64::try_from(*n).ok()?),
        of => of.primitive_width().map(|bytes| bytes as u64),
    }
}

/// Bytes of a value on average. A dictionary hides how long texts are, so without the writer's word it is doubled.
fn variable(plan: &Plan, column: &str) -> u64 {
    let (mut bytes, mut rows) = (0, 0);
    for group in &plan.groups {
        bytes += plain_bytes(&plan.files[group.file], group.row_group, column);
        rows += group.rows;
    }
    bytes.div_ceil(rows.max(1)) + 8
}

fn plain_bytes(file: &ScanFile, row_group: usize, column: &str) -> u64 {
    let metadata = file.footer.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let group = metadata.row_group(row_group);
    let fields = file.footer.schema().fields();
    (0..group.num_columns())
        .filter(|leaf| {
            fields
                .get(schema.get_column_root_idx(*leaf))
                .is_some_and(|field| field.name() == column)
        })
        .map(|leaf| {
            let chunk = group.column(leaf);
            let said = chunk
                .unencoded_byte_array_data_bytes()
                .and_then(|bytes| u64::try_from(bytes).ok());
            let stored = u64::try_from(chunk.uncompressed_size()).unwrap_or(0);
            match (said, schema.column(leaf).physical_type()) {
                (Some(said), _) => said,
                (None, Physical::BYTE_ARRAY) => 2 * stored,
                // Values of eight bytes each, packed or not.
                (None, _) => stored.max(u64::try_from(chunk.num_values()).unwrap_or(0) * 8),
            }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn budget(limit: u64) -> Budget {
        let options = OfflineOptions::default().with_memory_limit(Some(limit));
        Budget::new(&options, 2).unwrap()
    }

    #[test]
    fn what_is_solved_at_a_time_fits() {
        let load = Load {
            rows: 20_000_000,
            key_bytes: 8,
            rules: 1,
            source_rows: 10_000_000,
            width: 80,
            columns: 10,
        };
        let budget = budget(256 * MIB);
        assert!(!budget.fits(&[load]));
        let parts = budget.partitions(&load) as u64;
        assert!((16..=128).contains(&parts), "{parts}");
        assert!(budget.solved_rows(&load) as u64 * parts >= load.rows);
        assert!(budget.answered_rows(load.rows, load.width) * (load.width + 24) <= 128 * MIB);
        assert!(self::budget(64 << 30).fits(&[load]));
        let small = Load { rows: 10_000, ..load };
        assert!(budget.fits(&[small]));
    }

    #[test]
    fn the_smallest_limit_still_makes_progress() {
        let load = Load {
            rows: 1_000_000,
            key_bytes: 100,
            rules: 30,
            source_rows: 10,
            width: 10_000,
            columns: 900,
        };
        let budget = budget(1);
        assert!(budget.solved_rows(&load) > 0 && budget.sorted_winners() > 0);
        assert!(budget.batch_rows(load.width) > 0 && budget.columns_at_once() > 0);
        assert!(budget.partitions(&load) <= 256);
        assert!(budget.answered_rows(load.rows, load.width) >= 1_000_000 / 256);
    }
}
