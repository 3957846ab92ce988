//! The store: sorted maps, one per shard, each behind a lock.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use larder_base::async_trait::async_trait;
use larder_base::{
    Error, FeatureBlock, Generation, Health, LayoutChanges, OnlineCapabilities, OnlineDelete, OnlineRead,
    OnlineScan, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadFuture, ReadOptions, ReadShape,
    ReclaimReport, Result, RowRef, ScannedRow, StoreIdentity, ViewLayout, WriteOptions, WriteReport,
    WriteRule,
};

/// Where a row lives: project, generation, canonical key.
type Address = (ProjectName, Generation, Vec<u8>);

/// An online store on sorted maps.
#[derive(Debug)]
pub struct AcmeStore {
    shards: Vec<Mutex<BTreeMap<Address, Vec<u8>>>>,
    identities: Mutex<BTreeMap<ProjectName, StoreIdentity>>,
}

/// A lock whose holder panicked protects nothing worse than a row that was not written.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(layout: &ViewLayout, key: &[u8]) -> Address {
    (layout.project().clone(), layout.generation(), key.to_vec())
}

impl AcmeStore {
    /// An empty store.
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards.max(1)).map(|_| Mutex::default()).collect(),
            identities: Mutex::default(),
        }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<BTreeMap<Address, Vec<u8>>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        &self.shards[hasher.finish() as usize % self.shards.len()]
    }

    fn read_now(&self, request: &OnlineRead, out: &mut FeatureBlock) -> Result<()> {
        out.reset(request);
        for group in &request.groups {
            for view in &group.views {
                if view.shape != ReadShape::Latest {
                    return Err(Error::unsupported("acme reads the newest row only"));
                }
                for (row, key) in group.keys.iter().enumerate() {
                    // A null key has no bytes; it stays `not_found`, as `reset` left it.
                    let Some(key) = key else { continue };
                    if let Some(packed) = locked(self.shard(key)).get(&address(&view.layout, key)) {
                        out.put_row(view.slot, row, packed)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn put(&self, layout: &ViewLayout, key: &[u8], row: &[u8], rule: WriteRule) -> Result<WriteReport> {
        let newest_wins = match rule {
            WriteRule::NewestWins => true,
            WriteRule::Overwrite => false,
            _ => return Err(Error::unsupported("acme knows newest-wins and overwrite only")),
        };
        let mut shard = locked(self.shard(key));
        let address = address(layout, key);
        // The whole rule of ordering is one comparison of 16 bytes, under the shard's lock.
        if newest_wins
            && let Some(stored) = shard.get(&address)
            && RowRef::parse(row)?.version() < RowRef::parse(stored)?.version()
        {
            return Ok(WriteReport::new(0, 1));
        }
        shard.insert(address, row.to_vec());
        Ok(WriteReport::new(1, 0))
    }

    fn put_all(
        &self,
        layout: &ViewLayout,
        keys: &larder_base::EntityKeys,
        rows: &PackedRows,
        rule: WriteRule,
    ) -> Result<WriteReport> {
        if keys.len() != rows.len() {
            return Err(Error::internal("a write with another number of keys than rows"));
        }
        if keys.iter().any(|key| key.is_none()) {
            return Err(Error::input("a null key cannot be written"));
        }
        let mut report = WriteReport::default();
        for (key, row) in keys.iter().zip(rows.iter()) {
            report.add(self.put(layout, key.unwrap_or_default(), row, rule)?);
        }
        Ok(report)
    }
}

#[async_trait]
impl OnlineStore for AcmeStore {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut capabilities = OnlineCapabilities::default();
        capabilities.newest_wins = true;
        capabilities.overwrite = true;
        capabilities.in_process = true;
        capabilities.scan = true;
        capabilities
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
        self.put_all(&batch.layout, &batch.keys, &batch.rows, batch.rule)
    }

    async fn delete(&self, batch: &OnlineDelete, _options: &WriteOptions) -> Result<WriteReport> {
        let mut rows = PackedRows::new();
        for _ in 0..batch.keys.len() {
            rows.push_tombstone(&batch.layout, batch.at, batch.now);
        }
        self.put_all(&batch.layout, &batch.keys, &rows, WriteRule::NewestWins)
    }

    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        let mut identities = locked(&self.identities);
        Ok(*identities
            .entry(changes.project.clone())
            .or_insert_with(StoreIdentity::random))
    }

    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        Ok(locked(&self.identities).get(project).copied())
    }

    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        let mut rows = 0;
        for shard in &self.shards {
            let mut shard = locked(shard);
            let before = shard.len();
            shard.retain(|(of, generation, _), _| of != project || !retired.contains(generation));
            rows += (before - shard.len()) as u64;
        }
        Ok(ReclaimReport::new(rows))
    }

    async fn check(&self) -> Result<Health> {
        let rows: usize = self.shards.iter().map(|shard| locked(shard).len()).sum();
        Ok(Health::new("acme")
            .detail("shards", self.shards.len())
            .detail("rows", rows))
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        Some(self)
    }
}

#[async_trait]
impl OnlineScan for AcmeStore {
    async fn page(
        &self,
        layout: &Arc<ViewLayout>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<ScannedRow>> {
        let from = match after {
            Some(key) => Bound::Excluded(address(layout, key)),
            None => Bound::Included(address(layout, &[])),
        };
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = locked(shard);
            let of_view =
                shard
                    .range((from.clone(), Bound::Unbounded))
                    .take_while(|((project, generation, _), _)| {
                        project == layout.project() && *generation == layout.generation()
                    });
            found.extend(of_view.take(limit).map(|((_, _, key), row)| ScannedRow {
                key: key.clone(),
                row: row.clone(),
            }));
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.truncate(limit);
        Ok(found)
    }
}
