//! How the contract of an online store is kept on a folder: layouts and keys in, packed rows out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use larder_base::block::FeatureBlock;
use larder_base::clock::{Clock, SystemClock};
use larder_base::error::{Error, Result};
use larder_base::keys::{EntityKeys, MAX_KEY_BYTES};
use larder_base::layout::{Generation, ViewLayout};
use larder_base::names::ProjectName;
use larder_base::online::{
    Health, LayoutChanges, OnPartial, OnlineCapabilities, OnlineDelete, OnlineRead, OnlineScan, OnlineStore,
    OnlineWrite, ReadFuture, ReadOptions, ReadShape, ReclaimReport, ScannedRow, StoreIdentity, WriteOptions,
    WriteReport, WriteRule,
};
use larder_base::row::{PackedRows, RowRef};
use larder_base::time::Span;
use parking_lot::Mutex;

use crate::config::{Durability, LocalConfig};
use crate::folder::Folder;
use crate::jobs::{Batch, Cursor, Prepare, Reclaim, Store, Sweep};
use crate::key::{self, Place, StoredKey};
use crate::scan;
use crate::transaction::Snapshot;

/// Added to a view's retention, so that a row outlives every reader's idea of the present.
const GRACE: i64 = 3_600_000_000;
/// Rows between two looks at a read's deadline.
const ROWS_PER_LOOK: usize = 256;
/// Whole seconds in a day, in µs.
const DAY: i64 = 86_400_000_000;

/// An embedded, durable online store: one folder, any number of processes.
///
/// Cheap to clone; all clones, and all stores that one process opens on one folder, share one environment and one
/// writer thread. The last one dropped finishes queued writes and closes the folder.
#[derive(Debug, Clone)]
pub struct LocalStore {
    folder: Arc<Folder>,
    durability: Durability,
    clock: Arc<dyn Clock>,
    tombstone_retention: Span,
    swept: Cursor,
}

impl LocalStore {
    /// Opens a folder with the default options; creates it (mode 0700) if it is missing.
    ///
    /// # Errors
    /// As [`LocalStore::with_config`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::with_config(&LocalConfig::new(path), Arc::new(SystemClock))
    }

    /// Opens a folder. The clock decides only how old a tombstone or row is when it may be freed.
    ///
    /// # Errors
    /// `Config` when the folder cannot be used, belongs to something else or is of another format; `Corrupt` when its
    /// data file is damaged; `Unavailable` when the folder was replaced while this process had it open.
    pub fn with_config(config: &LocalConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self {
            folder: Folder::open(&config.path, config.map_size)?,
            durability: config.durability,
            clock,
            tombstone_retention: Span(7 * DAY),
            swept: Arc::new(Mutex::new(None)),
        })
    }

    /// Sets how long a tombstone is kept before `reclaim` may free it; 7 days unless set.
    #[must_use]
    pub fn with_tombstone_retention(mut self, retention: Span) -> Self {
        self.tombstone_retention = retention;
        self
    }

    fn sync(&self) -> bool {
        self.durability == Durability::Disk
    }

    fn read_now(&self, request: &OnlineRead, options: &ReadOptions, out: &mut FeatureBlock) -> Result<()> {
        out.reset(request);
        let deadline = options
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        self.folder.env.read(|snapshot| {
            let mut late = false;
            for group in &request.groups {
                for view in &group.views {
                    if view.shape != ReadShape::Latest {
                        return Err(Error::unsupported(
                            "the local store reads only the newest row of a key",
                        ));
                    }
                    let target = Target {
                        slot: view.slot,
                        layout: &view.layout,
                        options,
                        deadline,
                    };
                    if late {
                        // The deadline passed in an earlier view: what was not asked for is not
                        // "not found".
                        out.fail_view(view.slot);
                    } else {
                        late = read_view(snapshot, &group.keys, target, out)?.is_none();
                    }
                }
            }
            Ok(())
        })
    }

    /// Stores a batch; `timeout` counts from now.
    async fn store(
        &self,
        batch: impl Batch + 'static,
        always: bool,
        options: &WriteOptions,
    ) -> Result<WriteReport> {
        if batch.len() == 0 {
            return Ok(WriteReport::default());
        }
        let counts = self
            .folder
            .writer
            .submit(self.sync(), options.timeout, |reply| {
                Box::new(Store::new(batch, always, reply))
            })
            .await?;
        Ok(WriteReport::new(counts.written, counts.stale))
    }
}

/// Which view is read, and until when.
#[derive(Clone, Copy)]
struct Target<'a> {
    slot: u16,
    layout: &'a ViewLayout,
    options: &'a ReadOptions,
    deadline: Option<Instant>,
}

/// Copies the rows of one view into the block; `None` when the deadline passed and a partial answer is allowed.
fn read_view(
    snapshot: &Snapshot<'_>,
    keys: &EntityKeys,
    target: Target<'_>,
    out: &mut FeatureBlock,
) -> Result<Option<()>> {
    let partial = target.options.on_partial == OnPartial::Return;
    let mut stored = StoredKey::new(Place::of(target.layout));
    for row in 0..keys.len() {
        if row % ROWS_PER_LOOK == ROWS_PER_LOOK - 1 && target.deadline.is_some_and(|at| Instant::now() > at) {
            if partial {
                out.fail_view(target.slot);
                return Ok(None);
            }
            return Err(Error::timeout("the read of the local store took too long"));
        }
        let Some(key) = keys.get(row) else { continue };
        let found = match snapshot.row(&mut stored, key) {
            Ok(None) => continue,
            Ok(Some(bytes)) => out.put_row(target.slot, row, bytes),
            Err(error) => Err(error),
        };
        match found {
            Ok(()) => {}
            Err(error) if partial => out.fail(target.slot, row, error.kind()),
            Err(error) => return Err(error.with("view", target.layout.view()).with("row", row)),
        }
    }
    Ok(Some(()))
}

#[async_trait]
impl OnlineStore for LocalStore {
    fn capabilities(&self) -> OnlineCapabilities {
        capabilities()
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        ReadFuture::ready(self.read_now(request, options, out))
    }

    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        let always = match batch.rule {
            WriteRule::NewestWins => false,
            WriteRule::Overwrite => true,
            _ => {
                return Err(Error::unsupported(
                    "the local store does not know this write rule",
                ));
            }
        };
        check_keys(&batch.layout, &batch.keys)?;
        if batch.keys.len() != batch.rows.len() {
            return Err(Error::input("a write needs as many rows as keys")
                .with("keys", batch.keys.len())
                .with("rows", batch.rows.len()));
        }
        for (row, bytes) in batch.rows.iter().enumerate() {
            if RowRef::parse(bytes)
                .map_err(|error| error.with("row", row))?
                .generation()
                != batch.layout.generation()
            {
                return Err(
                    Error::input("a row was packed for another generation of the view").with("row", row),
                );
            }
        }
        let rows = Rows {
            place: Place::of(&batch.layout),
            keys: batch.keys.clone(),
            rows: batch.rows.clone(),
        };
        self.store(rows, always, options).await
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        check_keys(&batch.layout, &batch.keys)?;
        let mut tombstone = PackedRows::new();
        tombstone.push_tombstone(&batch.layout, batch.at, batch.now);
        let rows = Tombstones {
            place: Place::of(&batch.layout),
            keys: batch.keys.clone(),
            tombstone,
        };
        self.store(rows, false, options).await
    }

    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        let retention = changes
            .layouts
            .iter()
            .map(|layout| {
                let span = layout
                    .retention()
                    .map(|kept| kept.0.max(layout.ttl().map_or(0, |ttl| ttl.0)));
                (Place::of(layout), span.map(|span| span.saturating_add(GRACE)))
            })
            .collect();
        let (project, identity) = (changes.project.clone(), StoreIdentity::random().0);
        self.folder
            .writer
            // Always to the disk: what is built on an identity must not lose it.
            .submit(true, None, |reply| {
                Box::new(Prepare {
                    project,
                    identity,
                    retention,
                    reply,
                })
            })
            .await
            .map(StoreIdentity)
    }

    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        self.folder.env.attached()?;
        Ok(self
            .folder
            .env
            .read(|snapshot| snapshot.identity(project))?
            .map(StoreIdentity))
    }

    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        let places: Vec<Place> = retired
            .iter()
            .map(|generation| Place::new(project, *generation))
            .collect();
        let writer = &self.folder.writer;
        let rows = writer
            .submit(self.sync(), None, |reply| Box::new(Reclaim::new(places, reply)))
            .await?;
        let (now, kept, cursor) = (self.clock.now().0, self.tombstone_retention.0, self.swept.clone());
        let swept = writer
            .submit(self.sync(), None, |reply| {
                Box::new(Sweep::new(now, kept, cursor, reply))
            })
            .await?;
        tracing::debug!(rows, swept, "reclaimed rows of the local store");
        Ok(ReclaimReport::new(rows))
    }

    async fn check(&self) -> Result<Health> {
        let env = &self.folder.env;
        env.attached()?;
        let version = heed::lmdb_version();
        let entries = env.read(|snapshot| Ok(snapshot.entries()))?;
        let health = Health::new(format!(
            "lmdb {}.{}.{}",
            version.major, version.minor, version.patch
        ))
        .detail("folder", env.path().display())
        .detail("durability", self.durability)
        .detail("entries", entries)
        .detail("data file bytes", env.disk_size()?)
        .detail("map bytes", env.map_size());
        Ok(match self.durability {
            Durability::Disk => health,
            Durability::Os => health.warning(
                "durability is `os`: a power failure can lose or damage the folder; materialize again after one",
            ),
        })
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        Some(self)
    }
}

#[async_trait]
impl OnlineScan for LocalStore {
    async fn page(
        &self,
        layout: &Arc<ViewLayout>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<ScannedRow>> {
        self.folder
            .env
            .read(|snapshot| scan::page(snapshot, Place::of(layout), after, limit))
    }
}

/// What every local store can do.
pub(crate) fn capabilities() -> OnlineCapabilities {
    let mut can = OnlineCapabilities::default();
    can.newest_wins = true;
    can.overwrite = true;
    can.durable = true;
    can.shared = true;
    can.in_process = true;
    can.scan = true;
    can.max_key_bytes = u32::try_from(key::MAX_SHORT).ok();
    can
}

fn check_keys(layout: &ViewLayout, keys: &EntityKeys) -> Result<()> {
    for (row, key) in keys.iter().enumerate() {
        let what = match key {
            None => "a row to write has a null in its key",
            Some(key) if key.len() > MAX_KEY_BYTES => "the entity key is too long",
            Some(_) => continue,
        };
        return Err(Error::input(what).with("view", layout.view()).with("row", row));
    }
    Ok(())
}

/// Rows of a write, shared with the caller.
struct Rows {
    place: Place,
    keys: Arc<EntityKeys>,
    rows: Arc<PackedRows>,
}

impl Batch for Rows {
    fn place(&self) -> Place {
        self.place
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn row(&self, index: usize) -> (Option<&[u8]>, &[u8]) {
        (self.keys.get(index), self.rows.get(index))
    }
}

/// One tombstone for many keys.
struct Tombstones {
    place: Place,
    keys: Arc<EntityKeys>,
    tombstone: PackedRows,
}

impl Batch for Tombstones {
    fn place(&self) -> Place {
        self.place
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn row(&self, index: usize) -> (Option<&[u8]>, &[u8]) {
        (self.keys.get(index), self.tombstone.get(0))
    }
}
