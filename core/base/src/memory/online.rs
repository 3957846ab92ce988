//! The online store in memory.

use std::hash::BuildHasher;
use std::sync::Arc;

use async_trait::async_trait;
use foldhash::fast::RandomState;
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};
use parking_lot::RwLock;
use serde::Deserialize;

use crate::block::FeatureBlock;
use crate::error::{Error, Result};
use crate::keys::EntityKeys;
use crate::layout::{Generation, ViewLayout};
use crate::names::ProjectName;
use crate::online::{
    Health, LayoutChanges, OnlineCapabilities, OnlineDelete, OnlineRead, OnlineScan, OnlineStore,
    OnlineWrite, ReadFuture, ReadOptions, ReadShape, ReclaimReport, ScannedRow, StoreIdentity, ViewRead,
    WriteOptions, WriteReport, WriteRule,
};
use crate::plugin::{BuildContext, OnlineStoreConfig, Plugin, Role};
use crate::row::{PackedRows, RowRef};

type Table = HashTable<Stored>;
type Tables = HashMap<Generation, Table, RandomState>;

/// How many rows are looked up before the first of them is copied: the processor fetches what they
/// need at the same time.
const AT_ONCE: usize = 32;

/// The online store in memory: one hash table per view generation.
#[derive(Debug, Default)]
pub struct MemoryOnline {
    state: RwLock<State>,
    /// One for all tables, so that a key is hashed once for all views.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<ProjectName, Tables, RandomState>,
    identities: HashMap<ProjectName, StoreIdentity, RandomState>,
}

/// A key and its packed row in one piece: who compares the key has the row's beginning at hand.
#[derive(Debug)]
struct Stored {
    bytes: Box<[u8]>,
    key: usize,
}

impl Stored {
    fn new(key: &[u8], row: &[u8]) -> Self {
        Self {
            bytes: [key, row].concat().into(),
            key: key.len(),
        }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        &self.bytes[..self.key]
    }

    #[inline]
    fn row(&self) -> &[u8] {
        &self.bytes[self.key..]
    }
}

impl MemoryOnline {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn read_now(&self, request: &OnlineRead, out: &mut FeatureBlock) -> Result<()> {
        out.reset(request);
        let state = self.state.read();
        for group in &request.groups {
            if group.views.iter().any(|view| view.shape != ReadShape::Latest) {
                return Err(Error::unsupported("the memory store reads the newest row only"));
            }
            for views in group.views.chunks(AT_ONCE) {
                self.read_group(&state, &group.keys, views, out)?;
            }
        }
        Ok(())
    }

    /// Reads at most [`AT_ONCE`] views, as many rows of all of them at once as there is room for.
    fn read_group(
        &self,
        state: &State,
        keys: &EntityKeys,
        views: &[ViewRead],
        out: &mut FeatureBlock,
    ) -> Result<()> {
        let mut tables = [None; AT_ONCE];
        for (view, table) in views.iter().zip(&mut tables) {
            *table = state.table(&view.layout);
        }
        let at_once = AT_ONCE / views.len().max(1);
        let mut found: [Option<&Stored>; AT_ONCE] = [None; AT_ONCE];
        for first in (0..keys.len()).step_by(at_once) {
            let rows = first..keys.len().min(first + at_once);
            for (row, found) in rows.clone().zip(found.chunks_mut(views.len())) {
                let Some(key) = keys.get(row) else {
                    found.fill(None);
                    continue;
                };
                let hash = self.hasher.hash_one(key);
                for (table, found) in tables.iter().zip(found) {
                    *found = table.and_then(|table| table.find(hash, |stored| stored.key() == key));
                }
            }
            for (row, found) in rows.zip(found.chunks(views.len())) {
                for (view, stored) in views.iter().zip(found) {
                    if let Some(stored) = stored {
                        out.put_row(view.slot, row, stored.row())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn put(
        &self,
        layout: &ViewLayout,
        keys: &EntityKeys,
        rows: &PackedRows,
        rule: WriteRule,
    ) -> Result<WriteReport> {
        let newest_wins = match rule {
            WriteRule::NewestWins => true,
            WriteRule::Overwrite => false,
        };
        if keys.len() != rows.len() {
            return Err(Error::internal("a write with another number of keys than rows"));
        }
        let mut report = WriteReport::default();
        let mut state = self.state.write();
        let table = state
            .tables
            .entry(layout.project().clone())
            .or_default()
            .entry(layout.generation())
            .or_default();
        for (key, row) in keys.iter().zip(rows.iter()) {
            let key = key.ok_or_else(|| Error::input("a null key cannot be written"))?;
            let entry = table.entry(
                self.hasher.hash_one(key),
                |stored| stored.key() == key,
                |stored| self.hasher.hash_one(stored.key()),
            );
            match entry {
                Entry::Occupied(stored)
                    if newest_wins
                        && RowRef::parse(row)?.version() < RowRef::parse(stored.get().row())?.version() =>
                {
                    report.stale += 1;
                    continue;
                }
                Entry::Occupied(mut stored) => *stored.get_mut() = Stored::new(key, row),
                Entry::Vacant(free) => {
                    free.insert(Stored::new(key, row));
                }
            }
            report.written += 1;
        }
        Ok(report)
    }
}

impl State {
    fn table(&self, layout: &ViewLayout) -> Option<&Table> {
        self.tables.get(layout.project())?.get(&layout.generation())
    }
}

#[async_trait]
impl OnlineStore for MemoryOnline {
    fn capabilities(&self) -> OnlineCapabilities {
        OnlineCapabilities {
            newest_wins: true,
            overwrite: true,
            in_process: true,
            scan: true,
            ..OnlineCapabilities::default()
        }
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        _options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        ReadFuture::ready(self.read_now(request, out))
    }

    async fn write(&self, batch: &OnlineWrite, _options: &WriteOptions) -> Result<WriteReport> {
        self.put(&batch.layout, &batch.keys, &batch.rows, batch.rule)
    }

    async fn delete(&self, batch: &OnlineDelete, _options: &WriteOptions) -> Result<WriteReport> {
        let mut rows = PackedRows::new();
        for _ in 0..batch.keys.len() {
            rows.push_tombstone(&batch.layout, batch.at, batch.now);
        }
        self.put(&batch.layout, &batch.keys, &rows, WriteRule::NewestWins)
    }

    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        let mut state = self.state.write();
        Ok(*state
            .identities
            .entry(changes.project.clone())
            .or_insert_with(StoreIdentity::random))
    }

    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        Ok(self.state.read().identities.get(project).copied())
    }

    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        let mut state = self.state.write();
        let Some(tables) = state.tables.get_mut(project) else {
            return Ok(ReclaimReport::default());
        };
        let gone = retired.iter().filter_map(|generation| tables.remove(generation));
        Ok(ReclaimReport::new(gone.map(|table| table.len() as u64).sum()))
    }

    async fn check(&self) -> Result<Health> {
        let rows: usize = self
            .state
            .read()
            .tables
            .values()
            .flat_map(HashMap::values)
            .map(HashTable::len)
            .sum();
        Ok(Health::new("memory").detail("rows", rows))
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        Some(self)
    }
}

#[async_trait]
impl OnlineScan for MemoryOnline {
    async fn page(
        &self,
        layout: &Arc<ViewLayout>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<ScannedRow>> {
        let state = self.state.read();
        let Some(table) = state.table(layout) else {
            return Ok(Vec::new());
        };
        let mut rows: Vec<ScannedRow> = table
            .iter()
            .filter(|stored| after.is_none_or(|after| stored.key() > after))
            .map(|stored| ScannedRow {
                key: stored.key().to_vec(),
                row: stored.row().to_vec(),
            })
            .collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows.truncate(limit);
        Ok(rows)
    }
}

/// Descriptor of the online store in memory.
pub static ONLINE_PLUGIN: Plugin = Plugin {
    role: Role::Online,
    name: "memory",
    summary: "Values in the memory of one process; gone when it ends. For tests.",
    example: "online: { type: memory }",
    capabilities: &["newest_wins", "overwrite", "in_process", "scan"],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "",
    docs: "",
    sources: &[],
};

/// `online: { type: memory }`
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryOnlineConfig {}

#[typetag::deserialize(name = "memory")]
#[async_trait]
impl OnlineStoreConfig for MemoryOnlineConfig {
    async fn build(&self, _cx: &BuildContext) -> Result<Arc<dyn OnlineStore>> {
        Ok(Arc::new(MemoryOnline::new()))
    }
}
