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
///
/// While one table is written the next one is filled, so twice this is held at most.
const TABLE_BYTES: usize = 32 << 20;

/// Reduces rows of one view to the newest per key and packs them.
pub(crate) struct Shaper {
    layout: Arc<ViewLayout>,
    join_keys: Vec<JoinKey>,
    /// Slot of each feature of the scan.
    slots: Vec<u16>,
    hasher: foldhash::fast::RandomState,
    table: HashTable<Held>,
    chunks: Vec<Chunk>,
    bytes: usize,
    newest: Option<Micros>,
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
    pub(crate) fn new(layout: &Arc<ViewLayout>, scan: &ViewScan) -> Result<Self> {
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
            hasher: foldhash::fast::RandomState::default(),
            table: HashTable::new(),
            chunks: Vec::new(),
            bytes: 0,
            newest: None,
        })
    }

    /// Newest event time taken so far.
    pub(crate) fn newest(&self) -> Option<Micros> {
        self.newest
    }

    /// Takes a batch of [`ViewScan::schema`]; answers what must be written now, if the table was full.
    ///
    /// Rows have no null keys and no null event times: stores leave those out, push refuses them.
    pub(crate) fn take(&mut self, batch: &RecordBatch) -> Result<Option<Table>> {
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
        Ok(None)
    }

    /// Everything that is left, if anything is.
    pub(crate) fn finish(mut self) -> Option<Table> {
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

    fn flush(&mut self) -> Option<Table> {
        self.bytes = 0;
        let chunks = std::mem::take(&mut self.chunks);
        let held: Vec<Held> = self.table.drain().collect();
        (!held.is_empty()).then(|| Table {
            layout: self.layout.clone(),
            chunks,
            held,
            next: 0,
        })
    }
}

/// The newest row of each of some keys, to be written in pieces.
pub(crate) struct Table {
    layout: Arc<ViewLayout>,
    chunks: Vec<Chunk>,
    held: Vec<Held>,
    next: usize,
}

impl Table {
    /// Puts the rows in the order of their keys: stores on disk then touch each page once, not once per row.
    pub(crate) fn sort(&mut self) {
        let chunks = &self.chunks;
        let key = |held: &Held| chunks[held.chunk as usize].keys.get(held.row as usize);
        self.held.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    }

    /// The next rows: at most so many, and at most so many bytes unless a single row has more.
    pub(crate) fn piece(&mut self, most_rows: usize, most_bytes: usize) -> Option<OnlineWrite> {
        let mut keys = EntityKeys::new();
        let mut rows = PackedRows::new();
        let mut bytes = 0;
        for held in self.held[self.next..].iter().take(most_rows.max(1)) {
            let chunk = &self.chunks[held.chunk as usize];
            let key = chunk.keys.get(held.row as usize).unwrap_or_default();
            let row = chunk.rows.get(held.row as usize);
            bytes += key.len() + row.len();
            if bytes > most_bytes && !rows.is_empty() {
                break;
            }
            keys.push(key);
            rows.push(row);
        }
        self.next += rows.len();
        (!rows.is_empty()).then(|| OnlineWrite::new(self.layout.clone(), Arc::new(keys), Arc::new(rows)))
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
