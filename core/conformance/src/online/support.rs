//! Words that make cases for online stores short.

use std::sync::Arc;

use larder_core::{
    ColumnName, EntityKeys, FeatureBlock, FeatureName, Generation, JoinKey, KeyGroup, LayoutChanges, Micros,
    OnlineDelete, OnlineRead, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions, RowStatus,
    Slot, SlotCell, Value, ViewLayout, ViewName, ViewRead, WriteOptions, WriteReport, WriteRule,
};

use crate::case::{Options, Verdict};
use crate::check::{ensure, same, same_value, short};
use crate::fixture::OnlineFixture;

/// What a case works on.
pub(crate) struct Cx<'f> {
    pub(crate) fixture: &'f dyn OnlineFixture,
    pub(crate) options: Options,
}

impl Cx<'_> {
    /// An empty store.
    pub(crate) async fn fresh(&self) -> Verdict<Arc<dyn OnlineStore>> {
        self.fixture.wipe().await?;
        self.open().await
    }

    /// Another handle onto the same data.
    pub(crate) async fn open(&self) -> Verdict<Arc<dyn OnlineStore>> {
        Ok(self.fixture.open().await?)
    }

    /// An empty store that is ready for views.
    pub(crate) async fn ready(&self, layouts: &[&Arc<ViewLayout>]) -> Verdict<Arc<dyn OnlineStore>> {
        let store = self.fresh().await?;
        prepare(&store, layouts).await?;
        Ok(store)
    }
}

pub(crate) async fn prepare(store: &Arc<dyn OnlineStore>, layouts: &[&Arc<ViewLayout>]) -> Verdict {
    for layout in layouts {
        let changes = LayoutChanges {
            project: layout.project().clone(),
            layouts: vec![(*layout).clone()],
        };
        store.prepare(&changes).await?;
    }
    Ok(())
}

/// The rule under which ordinary cases write.
pub(crate) fn rule(store: &Arc<dyn OnlineStore>) -> WriteRule {
    if store.capabilities().newest_wins {
        WriteRule::NewestWins
    } else {
        WriteRule::Overwrite
    }
}

/// A layout from `name: type` pairs.
pub(crate) fn layout(
    project: &str,
    view: &str,
    generation: u32,
    keys: &[(&str, &str)],
    slots: &[(&str, &str)],
) -> Verdict<Arc<ViewLayout>> {
    let mut join_keys = Vec::new();
    for (name, of) in keys {
        join_keys.push(JoinKey {
            name: ColumnName::new(*name)?,
            value_type: of.parse()?,
        });
    }
    let mut features = Vec::new();
    for (name, of) in slots {
        features.push(Slot::new(FeatureName::new(*name)?, of.parse()?));
    }
    Ok(Arc::new(ViewLayout::new(
        ProjectName::new(project)?,
        ViewName::new(view)?,
        Generation(generation),
        join_keys,
        features,
    )))
}

/// Canonical keys of a layout from values.
pub(crate) fn keys_of(layout: &ViewLayout, rows: &[Vec<Value>]) -> Verdict<Arc<EntityKeys>> {
    let mut keys = EntityKeys::new();
    for values in rows {
        keys.push_values(layout.join_keys(), values)?;
    }
    Ok(Arc::new(keys))
}

/// Canonical keys of a view with one `int64` key.
pub(crate) fn int_keys(layout: &ViewLayout, rows: &[i64]) -> Verdict<Arc<EntityKeys>> {
    let values: Vec<Vec<Value>> = rows.iter().map(|key| vec![Value::Int64(*key)]).collect();
    keys_of(layout, &values)
}

pub(crate) async fn write(
    store: &Arc<dyn OnlineStore>,
    layout: &Arc<ViewLayout>,
    keys: Arc<EntityKeys>,
    rows: PackedRows,
) -> Verdict<WriteReport> {
    let batch = OnlineWrite::new(layout.clone(), keys, Arc::new(rows)).with_rule(rule(store));
    Ok(store.write(&batch, &WriteOptions::default()).await?)
}

/// One view for keys.
pub(crate) fn request(layout: &Arc<ViewLayout>, keys: Arc<EntityKeys>) -> OnlineRead {
    OnlineRead {
        groups: vec![KeyGroup {
            keys,
            views: vec![ViewRead::all(0, layout.clone())],
        }],
    }
}

pub(crate) async fn read(store: &Arc<dyn OnlineStore>, request: &OnlineRead) -> Verdict<FeatureBlock> {
    let mut block = FeatureBlock::new();
    store.read(request, &ReadOptions::default(), &mut block).await?;
    Ok(block)
}

/// All slots of one answer; `None` where nothing was found.
pub(crate) fn values_at(block: &FeatureBlock, slot: u16, row: usize) -> Verdict<Option<Vec<Value>>> {
    match block.status(slot, row) {
        RowStatus::NotFound => return Ok(None),
        RowStatus::Present => {}
        other => {
            ensure!(
                false,
                "row {row} of view {slot}: a store answered {other:?}, which is the engine's to say"
            );
        }
    }
    let layout = block.layout(slot);
    let mut values = Vec::new();
    for (number, of) in (0_u16..).zip(layout.slots()) {
        values.push(match block.cell(slot, number, row) {
            SlotCell::Missing => Value::Null,
            SlotCell::Cell(cell) => cell.to_value(of.value_type),
        });
    }
    Ok(Some(values))
}

/// Fails unless a row has these values, to the bit.
pub(crate) fn expect_row(block: &FeatureBlock, slot: u16, row: usize, want: Option<&[Value]>) -> Verdict {
    let got = values_at(block, slot, row)?;
    let equal = match (&got, want) {
        (None, None) => true,
        (Some(got), Some(want)) => {
            got.len() == want.len() && got.iter().zip(want).all(|(a, b)| same_value(a, b))
        }
        _ => false,
    };
    ensure!(
        equal,
        "row {row} of view {slot} (`{}`): expected {}, got {}",
        block.layout(slot).view(),
        want.map_or("not_found".to_owned(), |want| short(&want)),
        got.map_or("not_found".to_owned(), |got| short(&got))
    );
    Ok(())
}

/// A row of [`Ints`]: key, event time, created time, value.
pub(crate) type IntRow = (i64, i64, Option<i64>, i64);

/// A view with one `int64` key and one `int64` feature: enough for most rules.
pub(crate) struct Ints {
    pub(crate) layout: Arc<ViewLayout>,
}

impl Ints {
    pub(crate) fn new(project: &str, view: &str, generation: u32) -> Verdict<Self> {
        Ok(Self {
            layout: layout(project, view, generation, &[("user", "int64")], &[("n", "int64")])?,
        })
    }

    /// The batch of rows under a rule.
    pub(crate) fn batch(&self, rows: &[IntRow], rule: WriteRule) -> Verdict<OnlineWrite> {
        let keys: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let mut packed = PackedRows::new();
        for (_, event, created, value) in rows {
            packed.push_values(
                &self.layout,
                Micros(*event),
                created.map(Micros),
                &[Value::Int64(*value)],
            )?;
        }
        let keys = int_keys(&self.layout, &keys)?;
        Ok(OnlineWrite::new(self.layout.clone(), keys, Arc::new(packed)).with_rule(rule))
    }

    pub(crate) async fn write(&self, store: &Arc<dyn OnlineStore>, rows: &[IntRow]) -> Verdict<WriteReport> {
        let batch = self.batch(rows, rule(store))?;
        Ok(store.write(&batch, &WriteOptions::default()).await?)
    }

    /// Writes, and fails unless the report is `(written, stale)`.
    pub(crate) async fn put(
        &self,
        store: &Arc<dyn OnlineStore>,
        rows: &[IntRow],
        written: u64,
        stale: u64,
    ) -> Verdict {
        let report = self.write(store, rows).await?;
        same(
            report,
            WriteReport::new(written, stale),
            &format!("the report of writing {}", short(&rows)),
        )
    }

    pub(crate) async fn delete(
        &self,
        store: &Arc<dyn OnlineStore>,
        keys: &[i64],
        at: i64,
        now: i64,
    ) -> Verdict<WriteReport> {
        let batch = OnlineDelete {
            layout: self.layout.clone(),
            keys: int_keys(&self.layout, keys)?,
            at: Micros(at),
            now: Micros(now),
        };
        Ok(store.delete(&batch, &WriteOptions::default()).await?)
    }

    /// The values of keys.
    pub(crate) async fn read(&self, store: &Arc<dyn OnlineStore>, keys: &[i64]) -> Verdict<Vec<Option<i64>>> {
        let block = read(store, &request(&self.layout, int_keys(&self.layout, keys)?)).await?;
        same(block.view_count(), 1, "views in the answer")?;
        same(block.rows(0), keys.len(), "rows in the answer")?;
        (0..keys.len())
            .map(|row| match values_at(&block, 0, row)?.as_deref() {
                None => Ok(None),
                Some([Value::Int64(value)]) => Ok(Some(*value)),
                Some(other) => {
                    ensure!(false, "row {row}: expected an int64, got {}", short(&other));
                    Ok(None)
                }
            })
            .collect()
    }

    /// Fails unless keys have these values.
    pub(crate) async fn expect(
        &self,
        store: &Arc<dyn OnlineStore>,
        keys: &[i64],
        want: &[Option<i64>],
        what: &str,
    ) -> Verdict {
        let got = self.read(store, keys).await?;
        same(got.as_slice(), want, what)
    }
}
