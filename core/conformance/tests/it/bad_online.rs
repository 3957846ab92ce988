//! Online stores that each break one rule.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use larder_core::async_trait::async_trait;
use larder_core::memory::MemoryOnline;
use larder_core::{
    Cell, EntityKeys, Error, FeatureBlock, Generation, Health, KeyGroup, LayoutChanges, OnlineCapabilities,
    OnlineDelete, OnlineRead, OnlineScan, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadFuture,
    ReadOptions, ReclaimReport, Result, RowRef, ScannedRow, SlotCell, StoreIdentity, Value, ViewLayout,
    WriteOptions, WriteReport, WriteRule,
};
use parking_lot::Mutex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    OldestWins,
    LastWriteWins,
    EqualIsStale,
    IgnoresCreated,
    CreatedFirst,
    AbsentCreatedIsLargest,
    UnsignedTimes,
    TombstonesLose,
    DeletesAlwaysWin,
    DeletesForgetAbsentKeys,
    DeletesDoNothing,
    ReportsAllWritten,
    ChecksThenWrites,
    LosesLastOfMany,
    DropsDuplicates,
    ShiftsMissing,
    SortsKeys,
    SlotsInSequence,
    KeepsUsedBlock,
    IgnoresProjects,
    TruncatesKeys,
    FoldsCase,
    SkipsNullKeys,
    NullsAreZero,
    EmptyIsNull,
    LosesNegativeZero,
    TruncatesText,
    WritesSynchronouslyBeforePolled,
    RenewsIdentity,
    IdentityFromTheStart,
    ConstantIdentity,
    ReclaimsProject,
    ReclaimsAllProjects,
    ReclaimsNothing,
    ReclaimsUncounted,
    ScanSkips,
    ScanHidesTombstones,
    ScanUnordered,
    ScanMissing,
    OverwritesUndeclared,
    NewestWinsUndeclared,
    WaitsInProcess,
    ChangesItsMind,
    ForgetsOnReopen,
    TellsKeys,
    NamelessBackend,
}

type Place = (ProjectName, Generation, Vec<u8>);

#[derive(Debug)]
pub(crate) struct Bad {
    inner: Arc<MemoryOnline>,
    how: How,
    /// What is stored, tombstones included, for those that decide themselves.
    mine: Mutex<HashMap<Place, Vec<u8>>>,
    generations: Mutex<Vec<(ProjectName, Generation)>>,
    asked: AtomicU32,
}

impl Bad {
    pub(crate) fn new(inner: Arc<MemoryOnline>, how: How) -> Self {
        Self {
            inner,
            how,
            mine: Mutex::default(),
            generations: Mutex::default(),
            asked: AtomicU32::new(0),
        }
    }

    fn wins(&self, new: RowRef<'_>, old: RowRef<'_>, deletes: bool) -> bool {
        let newest = new.version() >= old.version();
        let times = |row: RowRef<'_>| (row.event().0, row.created().map(|c| c.0));
        let ((event, created), (old_event, old_created)) = (times(new), times(old));
        match self.how {
            How::OldestWins => new.version() <= old.version(),
            How::LastWriteWins => true,
            How::EqualIsStale => new.version() > old.version(),
            How::IgnoresCreated => event >= old_event,
            How::CreatedFirst => (created, event) >= (old_created, old_event),
            How::AbsentCreatedIsLargest => {
                (event, created.unwrap_or(i64::MAX)) >= (old_event, old_created.unwrap_or(i64::MAX))
            }
            How::UnsignedTimes => {
                (event as u64, created.map(|c| c as u64)) >= (old_event as u64, old_created.map(|c| c as u64))
            }
            How::TombstonesLose => newest || old.is_tombstone(),
            How::DeletesAlwaysWin => newest || deletes,
            _ => newest,
        }
    }

    /// Decides by the saboteur's own rule, and forces the outcome on the store.
    async fn put(
        &self,
        layout: &Arc<ViewLayout>,
        keys: &EntityKeys,
        rows: &PackedRows,
        rule: WriteRule,
        deletes: bool,
    ) -> Result<WriteReport> {
        if keys.len() != rows.len() {
            return Err(Error::internal("another number of keys than rows"));
        }
        let mut report = WriteReport::default();
        for (key, row) in keys.iter().zip(rows.iter()) {
            let Some(key) = key else {
                return Err(Error::input("a null key cannot be written"));
            };
            let place = (layout.project().clone(), layout.generation(), key.to_vec());
            let wins = {
                let mut mine = self.mine.lock();
                let wins = match mine.get(&place) {
                    None => self.how != How::DeletesForgetAbsentKeys || !deletes,
                    Some(old) => {
                        rule == WriteRule::Overwrite
                            || self.wins(RowRef::parse(row)?, RowRef::parse(old)?, deletes)
                    }
                };
                if wins && self.how != How::ChecksThenWrites {
                    mine.insert(place.clone(), row.to_vec());
                }
                wins
            };
            if self.how == How::ChecksThenWrites {
                tokio::task::yield_now().await;
            }
            if wins {
                self.mine.lock().insert(place, row.to_vec());
                let (mut one_key, mut one_row) = (EntityKeys::new(), PackedRows::new());
                one_key.push(key);
                one_row.push(row);
                let batch = OnlineWrite::new(layout.clone(), one_key.into(), one_row.into());
                let batch = batch.with_rule(WriteRule::Overwrite);
                self.inner.write(&batch, &WriteOptions::default()).await?;
                report.written += 1;
            } else {
                report.stale += 1;
            }
        }
        Ok(report)
    }

    fn decides_itself(&self) -> bool {
        (How::OldestWins as u8..=How::DeletesForgetAbsentKeys as u8).contains(&(self.how as u8))
            || self.how == How::ChecksThenWrites
    }

    fn layout(&self, layout: &Arc<ViewLayout>) -> Arc<ViewLayout> {
        if self.how != How::IgnoresProjects {
            return layout.clone();
        }
        let one = ViewLayout::new(
            ProjectName::new("all").unwrap(),
            layout.view().clone(),
            layout.generation(),
            layout.join_keys().to_vec(),
            layout.slots().to_vec(),
        );
        Arc::new(one)
    }

    fn keys(&self, keys: &Arc<EntityKeys>) -> Arc<EntityKeys> {
        let mut changed = EntityKeys::new();
        for key in keys.iter() {
            match (key, self.how) {
                (Some(key), How::TruncatesKeys) => changed.push(&key[..key.len().min(500)]),
                (Some(key), How::FoldsCase) => changed.push(&key.to_ascii_lowercase()),
                (Some(key), _) => changed.push(key),
                (None, _) => changed.push_null(),
            }
        }
        changed.into()
    }

    fn value(&self, value: Value) -> Value {
        match (self.how, value) {
            (How::NullsAreZero, Value::Null) => Value::Int64(0),
            (How::EmptyIsNull, Value::List(items)) if items.is_empty() => Value::Null,
            (How::LosesNegativeZero, Value::Float64(x)) => Value::Float64(x + 0.0),
            (How::TruncatesText, Value::String(text)) if text.len() > 65_535 => {
                Value::str(&text[..text.floor_char_boundary(65_534)])
            }
            (_, value) => value,
        }
    }

    /// Packs rows again from changed values.
    fn rows(&self, layout: &ViewLayout, rows: &PackedRows) -> Result<PackedRows> {
        let mut changed = PackedRows::new();
        for row in rows.iter() {
            let packed = RowRef::parse(row)?;
            let mut values = Vec::new();
            for (number, slot) in (0_u16..).zip(layout.slots()) {
                let value = match packed.slot(layout, number) {
                    SlotCell::Cell(cell) => cell.to_value(slot.value_type),
                    SlotCell::Missing => Cell::Null.to_value(slot.value_type),
                };
                let new = self.value(value.clone());
                values.push(if new.fits(slot.value_type) { new } else { value });
            }
            changed.push_values(layout, packed.event(), packed.created(), &values)?;
        }
        Ok(changed)
    }

    async fn write_as_it_likes(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        let mut batch = batch.clone();
        batch.layout = self.layout(&batch.layout);
        batch.keys = self.keys(&batch.keys);
        self.generations
            .lock()
            .push((batch.layout.project().clone(), batch.layout.generation()));
        match self.how {
            How::OverwritesUndeclared => {}
            How::NewestWinsUndeclared => {}
            How::LosesLastOfMany if batch.keys.len() > 5_000 => {
                let (mut keys, mut rows) = (EntityKeys::new(), PackedRows::new());
                for (key, row) in batch
                    .keys
                    .iter()
                    .zip(batch.rows.iter())
                    .take(batch.keys.len() - 1)
                {
                    push(&mut keys, key);
                    rows.push(row);
                }
                batch.keys = keys.into();
                batch.rows = rows.into();
                let mut report = self.inner.write(&batch, options).await?;
                report.written += 1;
                return Ok(report);
            }
            How::SkipsNullKeys if batch.keys.len() == batch.rows.len() => {
                let (mut keys, mut rows) = (EntityKeys::new(), PackedRows::new());
                for (key, row) in batch.keys.iter().zip(batch.rows.iter()) {
                    if let Some(key) = key {
                        keys.push(key);
                        rows.push(row);
                    }
                }
                batch.keys = keys.into();
                batch.rows = rows.into();
            }
            How::NullsAreZero | How::EmptyIsNull | How::LosesNegativeZero | How::TruncatesText => {
                batch.rows = self.rows(&batch.layout, &batch.rows)?.into();
            }
            How::TellsKeys if batch.keys.iter().any(|key| key.is_none()) => {
                let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
                let all: Vec<String> = batch.keys.iter().flatten().map(text).collect();
                return Err(Error::input(format!("one of these keys is null: {all:?}")));
            }
            _ if self.decides_itself() => {
                return self
                    .put(&batch.layout, &batch.keys, &batch.rows, batch.rule, false)
                    .await;
            }
            _ => {}
        }
        let report = self.inner.write(&batch, options).await?;
        Ok(match self.how {
            How::ReportsAllWritten => WriteReport::new(report.written + report.stale, 0),
            _ => report,
        })
    }

    /// The keys of a group as the saboteur reads them.
    fn read_keys(&self, group: &KeyGroup) -> Arc<EntityKeys> {
        let keys = self.keys(&group.keys);
        let mut all: Vec<Option<Vec<u8>>> = keys.iter().map(|key| key.map(<[u8]>::to_vec)).collect();
        match self.how {
            How::DropsDuplicates => {
                for row in (1..all.len()).rev() {
                    if all[..row].contains(&all[row]) {
                        all[row] = None;
                    }
                }
            }
            How::SortsKeys => all.sort(),
            How::ShiftsMissing => {
                let Some(view) = group.views.first() else {
                    return keys;
                };
                let request = OnlineRead {
                    groups: vec![KeyGroup {
                        keys,
                        views: vec![larder_core::ViewRead::all(0, view.layout.clone())],
                    }],
                };
                let mut block = FeatureBlock::new();
                let _ = futures::executor::block_on(self.inner.read(
                    &request,
                    &ReadOptions::default(),
                    &mut block,
                ));
                let rows = all.len();
                let mut row = 0;
                all.retain(|_| {
                    row += 1;
                    block.packed(0, row - 1).is_some()
                });
                all.resize(rows, None);
            }
            _ => return keys,
        }
        let mut changed = EntityKeys::new();
        for key in all {
            push(&mut changed, key.as_deref());
        }
        changed.into()
    }

    fn read_as_it_likes(
        &self,
        request: &OnlineRead,
        options: &ReadOptions,
        out: &mut FeatureBlock,
    ) -> Result<()> {
        let mut changed = request.clone();
        let mut next = 0;
        for group in &mut changed.groups {
            group.keys = self.read_keys(group);
            for view in &mut group.views {
                view.layout = self.layout(&view.layout);
                if self.how == How::SlotsInSequence {
                    view.slot = next;
                    next += 1;
                }
            }
        }
        if self.how != How::KeepsUsedBlock || out.view_count() == 0 {
            return futures::executor::block_on(self.inner.read(&changed, options, out));
        }
        let mut fresh = FeatureBlock::new();
        futures::executor::block_on(self.inner.read(&changed, options, &mut fresh))?;
        for slot in 0..fresh.view_count().min(out.view_count()) as u16 {
            for row in 0..fresh.rows(slot).min(out.rows(slot)) {
                if let Some(packed) = fresh.packed(slot, row) {
                    out.put_row(slot, row, packed)?;
                }
            }
        }
        Ok(())
    }
}

fn push(keys: &mut EntityKeys, key: Option<&[u8]>) {
    match key {
        Some(key) => keys.push(key),
        None => keys.push_null(),
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStore for Bad {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut can = self.inner.capabilities();
        match self.how {
            How::OverwritesUndeclared => can.overwrite = false,
            How::NewestWinsUndeclared => can.newest_wins = false,
            How::ChangesItsMind => can.scan = self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2),
            How::ForgetsOnReopen => can.durable = true,
            _ => {}
        }
        can
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        if self.how == How::WaitsInProcess {
            return ReadFuture::Pending(Box::pin(
                async move { self.read_as_it_likes(request, options, out) },
            ));
        }
        ReadFuture::ready(self.read_as_it_likes(request, options, out))
    }

    fn write<'a, 'b, 'c, 'd>(
        &'a self,
        batch: &'b OnlineWrite,
        options: &'c WriteOptions,
    ) -> futures::future::BoxFuture<'d, Result<WriteReport>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        Self: 'd,
    {
        if self.how == How::WritesSynchronouslyBeforePolled {
            let answer = futures::executor::block_on(self.inner.write(batch, options));
            return Box::pin(async move { answer });
        }
        Box::pin(self.write_as_it_likes(batch, options))
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        let mut batch = batch.clone();
        batch.layout = self.layout(&batch.layout);
        batch.keys = self.keys(&batch.keys);
        if self.how == How::DeletesDoNothing {
            return Ok(WriteReport::new(batch.keys.len() as u64, 0));
        }
        if self.decides_itself() {
            let mut rows = PackedRows::new();
            for _ in 0..batch.keys.len() {
                rows.push_tombstone(&batch.layout, batch.at, batch.now);
            }
            return self
                .put(&batch.layout, &batch.keys, &rows, WriteRule::NewestWins, true)
                .await;
        }
        self.inner.delete(&batch, options).await
    }

    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        let identity = self.inner.prepare(changes).await?;
        Ok(match self.how {
            How::RenewsIdentity => StoreIdentity::random(),
            How::ConstantIdentity => StoreIdentity(7),
            _ => identity,
        })
    }

    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        let identity = self.inner.identity(project).await?;
        Ok(match self.how {
            How::ConstantIdentity => identity.map(|_| StoreIdentity(7)),
            How::IdentityFromTheStart => Some(identity.unwrap_or(StoreIdentity(7))),
            _ => identity,
        })
    }

    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        if self.decides_itself() {
            self.mine
                .lock()
                .retain(|(of, generation, _), _| of != project || !retired.contains(generation));
        }
        match self.how {
            How::ReclaimsProject => {
                let all: Vec<Generation> = {
                    let known = self.generations.lock();
                    known
                        .iter()
                        .filter(|(of, _)| of == project)
                        .map(|(_, generation)| *generation)
                        .collect()
                };
                let report = self.inner.reclaim(project, retired).await?;
                self.inner.reclaim(project, &all).await?;
                Ok(report)
            }
            How::ReclaimsAllProjects => {
                let report = self.inner.reclaim(project, retired).await?;
                let known = self.generations.lock().clone();
                for (other, _) in known {
                    self.inner.reclaim(&other, retired).await?;
                }
                Ok(report)
            }
            How::ReclaimsNothing => Ok(ReclaimReport::new(0)),
            How::ReclaimsUncounted => {
                self.inner.reclaim(project, retired).await?;
                Ok(ReclaimReport::new(1))
            }
            How::IgnoresProjects => self.inner.reclaim(&ProjectName::new("all")?, retired).await,
            _ => self.inner.reclaim(project, retired).await,
        }
    }

    async fn check(&self) -> Result<Health> {
        let mut health = self.inner.check().await?;
        if self.how == How::NamelessBackend {
            health.backend.clear();
        }
        Ok(health)
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        (self.how != How::ScanMissing).then_some(self)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineScan for Bad {
    async fn page(
        &self,
        layout: &Arc<ViewLayout>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<ScannedRow>> {
        let layout = self.layout(layout);
        let Some(scan) = self.inner.scan() else {
            return Err(Error::unsupported("no scan"));
        };
        let mut rows = scan.page(&layout, after, limit).await?;
        match self.how {
            How::ScanSkips if after.is_some() && rows.len() > 1 => drop(rows.remove(0)),
            How::ScanHidesTombstones => {
                rows.retain(|row| RowRef::parse(&row.row).is_ok_and(|row| !row.is_tombstone()));
            }
            How::ScanUnordered => rows.reverse(),
            _ => {}
        }
        Ok(rows)
    }
}
