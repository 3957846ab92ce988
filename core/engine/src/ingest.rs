//! Shape: rows of a source become packed rows of a view, newest per key, in bounded memory.
//!
//! Materialize, push and later streams all pass here, so that a row has the same bytes whichever
//! way it came.

use std::sync::Arc;

use hashbrown::HashTable;
use larder_base::{EntityKeys, Error, JoinKey, Micros, OnlineWrite, PackedRows, Result, ViewLayout};
use larder_core::ViewScan;
use larder_core::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use larder_core::arrow::datatypes::TimestampMicrosecondType;
use larder_core::convert::{TIE_BREAK_COLUMN, encode_keys, pack_rows};

/// Rows the table holds before it is flushed; the online store's newest-wins settles the rest.
const TABLE_ROWS: usize = 131_072;
/// Bytes the table holds before it is flushed.
const TABLE_BYTES: usize = 64 << 20;
/// Rows of one write, unless the store takes fewer.
const WRITE_ROWS: usize = 8_192;

/// Reduces rows of one view to the newest per key and packs them.
pub(crate) struct Shaper {
    layout: Arc<ViewLayout>,
    join_keys: Vec<JoinKey>,
    /// Slot of each feature of the scan.
    slots: Vec<u16>,
    write_rows: usize,
    hasher: foldhash::fast::RandomState,
    table: HashTable<Held>,
    chunks: Vec<Chunk>,
    bytes: usize,
    newest: Option<Micros>,
    rows: u64,
}

/// The newest row of a key so far: where it stands.
#[derive(Clone, Copy)]
struct Held {
    chunk: u32,
    row: u32,
}

struct Chunk {
    keys: EntityKeys,
    rows: PackedRows,
    tie_break: Option<ArrayRef>,
}

impl Shaper {
    pub(crate) fn new(
        layout: &Arc<ViewLayout>,
        scan: &ViewScan,
        max_write_rows: Option<u32>,
    ) -> Result<Self> {
        let slot = |feature: &larder_core::ScanFeature| {
            layout.slot_of(feature.name.as_str()).ok_or_else(|| {
                Error::internal(format!(
                    "feature `{}` of view `{}` has no slot",
                    feature.name,
                    layout.view()
                ))
            })
        };
        Ok(Self {
            layout: layout.clone(),
            join_keys: scan.keys.iter().map(|key| key.key.clone()).collect(),
            slots: scan.features.iter().map(slot).collect::<Result<_>>()?,
            write_rows: max_write_rows
                .map_or(WRITE_ROWS, |max| WRITE_ROWS.min(max as usize))
                .max(1),
            hasher: foldhash::fast::RandomState::default(),
            table: HashTable::new(),
            chunks: Vec::new(),
            bytes: 0,
            newest: None,
            rows: 0,
        })
    }

    /// Rows taken so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Newest event time taken so far.
    pub(crate) fn newest(&self) -> Option<Micros> {
        self.newest
    }

    /// Takes a batch of [`ViewScan::schema`]; answers what must be written now, if the table is full.
    ///
    /// Rows have no null keys and no null event times: stores leave those out, push refuses them.
    pub(crate) fn take(&mut self, batch: &RecordBatch) -> Result<Vec<OnlineWrite>> {
        let count = self.join_keys.len();
        let mut keys = EntityKeys::new();
        encode_keys(
            &self.join_keys,
            &batch.columns()[..count],
            batch.num_rows(),
            &mut keys,
        )?;
        let event = batch.column(count).as_primitive::<TimestampMicrosecondType>();
        let created = batch.column(count + 1).as_primitive::<TimestampMicrosecondType>();
        if event.null_count() > 0 {
            return Err(Error::internal(
                "a row without event time reached the shaping of rows",
            ));
        }
        let features = &batch.columns()[count + 2..];
        let columns: Vec<(u16, ArrayRef)> =
            self.slots.iter().copied().zip(features.iter().cloned()).collect();
        let mut rows = PackedRows::new();
        pack_rows(&self.layout, event, created, &columns, &mut rows)?;
        self.bytes += rows.byte_len();
        self.rows += rows.len() as u64;
        self.newest = self.newest.max(event.values().iter().copied().max().map(Micros));
        let tie_break = batch.column_by_name(TIE_BREAK_COLUMN).cloned();
        self.chunks.push(Chunk {
            keys,
            rows,
            tie_break,
        });
        self.reduce()?;
        if self.table.len() >= TABLE_ROWS || self.bytes >= TABLE_BYTES {
            return Ok(self.flush());
        }
        Ok(Vec::new())
    }

    /// Everything that is left.
    pub(crate) fn finish(&mut self) -> Vec<OnlineWrite> {
        self.flush()
    }

    /// Lets the rows of the last chunk compete with what the table holds.
    fn reduce(&mut self) -> Result<()> {
        let Self {
            chunks,
            table,
            hasher,
            ..
        } = self;
        let last = chunks.len() - 1;
        let hash = |key: &[u8]| std::hash::BuildHasher::hash_one(hasher, key);
        let key_of = |held: &Held| {
            chunks[held.chunk as usize]
                .keys
                .get(held.row as usize)
                .unwrap_or_default()
        };
        for row in 0..chunks[last].rows.len() {
            let key = chunks[last].keys.get(row).ok_or_else(|| {
                Error::internal("a row with a null key reached the shaping of rows").with("row", row)
            })?;
            let new = Held {
                chunk: last as u32,
                row: row as u32,
            };
            match table.find_mut(hash(key), |held| key_of(held) == key) {
                // Among equals the later one wins, as it does in the store.
                Some(held) if rank(chunks, new) >= rank(chunks, *held) => *held = new,
                Some(_) => {}
                None => {
                    table.insert_unique(hash(key), new, |held| hash(key_of(held)));
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Vec<OnlineWrite> {
        let mut held: Vec<Held> = self.table.drain().collect();
        // In the order of their keys: stores on disk then touch each page once, not once per row.
        let key = |held: &Held| self.chunks[held.chunk as usize].keys.get(held.row as usize);
        held.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let writes = held.chunks(self.write_rows).map(|part| {
            let mut keys = EntityKeys::new();
            let mut rows = PackedRows::new();
            for held in part {
                let chunk = &self.chunks[held.chunk as usize];
                keys.push(chunk.keys.get(held.row as usize).unwrap_or_default());
                rows.push(chunk.rows.get(held.row as usize));
            }
            OnlineWrite::new(self.layout.clone(), Arc::new(keys), Arc::new(rows))
        });
        let writes = writes.collect();
        self.chunks.clear();
        self.bytes = 0;
        writes
    }
}

/// What decides between two rows of a key: their times, then the source's tie-break columns.
fn rank(chunks: &[Chunk], held: Held) -> (&[u8], &[u8]) {
    let chunk = &chunks[held.chunk as usize];
    let row = held.row as usize;
    let version = &chunk.rows.get(row)[larder_base::row::VERSION_RANGE];
    let tie = chunk
        .tie_break
        .as_ref()
        .map_or(&[][..], |column| column.as_binary::<i32>().value(row));
    (version, tie)
}
