//! A plan bound to one snapshot: names are gone, only numbers are left.

use std::sync::Arc;

use larder_base::model::Sensitivity;
use larder_base::{
    ColumnName, EntityKeys, Error, JoinKey, KeyGroup, OnlineRead, OnlineStore, ReadShape, Result, Snapshot,
    StoreName, Value, ValueType, Version, ViewName, ViewRead,
};

use super::signature::Signature;
use crate::selection::Resolved;
use crate::store::FeatureStore;

/// Everything a read needs, resolved.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) version: Version,
    pub(super) signature: Signature,
    /// Distinct (column, type) pairs the caller gives keys in.
    pub(super) keys: Vec<KeyColumn>,
    pub(super) stores: Vec<BoundStore>,
    pub(super) outputs: Vec<BoundOutput>,
}

/// A column of keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeyColumn {
    pub(super) name: ColumnName,
    pub(super) key: JoinKey,
}

/// What is read from one online store.
#[derive(Debug)]
pub(super) struct BoundStore {
    pub(super) name: StoreName,
    pub(super) store: Arc<dyn OnlineStore>,
    /// Whether reads answer without waiting.
    pub(super) in_process: bool,
    /// The request with empty keys; sessions copy it and fill keys in.
    pub(super) template: OnlineRead,
    /// For each group of the template the columns of its keys: indexes into [`Bound::keys`], in
    /// canonical order of the join keys.
    pub(super) groups: Vec<Vec<usize>>,
    /// For each view slot, the group of the template it belongs to.
    pub(super) slots: Vec<usize>,
}

/// Where an output comes from.
#[derive(Debug)]
pub(super) struct BoundOutput {
    pub(super) name: String,
    pub(super) reference: String,
    pub(super) view: ViewName,
    pub(super) value_type: ValueType,
    pub(super) sensitivity: Sensitivity,
    pub(super) store: usize,
    /// Index in the store's groups.
    pub(super) group: usize,
    /// The view's slot in the block.
    pub(super) slot: u16,
    /// The feature's slot in the row.
    pub(super) feature: u16,
    pub(super) default: Option<Value>,
    pub(super) default_null: bool,
}

impl Bound {
    pub(super) async fn new(store: &FeatureStore, snapshot: &Snapshot, resolved: &Resolved) -> Result<Self> {
        let mut bound = Self {
            version: snapshot.version(),
            signature: Signature::of(resolved),
            keys: Vec::new(),
            stores: Vec::new(),
            outputs: Vec::new(),
        };
        for (name, keys) in resolved.key_columns() {
            bound.keys.extend(keys.into_iter().map(|key| KeyColumn {
                name: name.clone(),
                key,
            }));
        }
        let mut places = Vec::with_capacity(resolved.views.len());
        for (index, view) in resolved.views.iter().enumerate() {
            let (Some(name), Some(layout)) =
                (view.view.online.store(), snapshot.layout(view.view.name.as_str()))
            else {
                return Err(
                    Error::input(format!("feature view `{}` is not served online", view.view.name))
                        .help("set `online: true` on it and apply, or ask for other features"),
                );
            };
            let columns = bound.columns_of(view)?;
            let target = bound.store_of(store, name).await?;
            let wanted = resolved.outputs.iter().filter(|output| output.view == index);
            let slot_of = |output: &crate::selection::Output| {
                let feature = &resolved.feature_of(output).name;
                layout.slot_of(feature.as_str()).ok_or_else(|| {
                    Error::internal(format!(
                        "feature `{feature}` has no slot in the layout of `{}`",
                        view.view.name
                    ))
                })
            };
            let features: Vec<u16> = wanted.map(slot_of).collect::<Result<_>>()?;
            let (group, slot) = bound.stores[target].add(columns, layout.clone(), features)?;
            places.push((target, group, slot));
        }
        for output in &resolved.outputs {
            let (store, group, slot) = places[output.view];
            let view = resolved.view_of(output);
            let feature = resolved.feature_of(output);
            let layout = snapshot.layout(view.view.name.as_str());
            let number = layout.and_then(|layout| layout.slot_of(feature.name.as_str()));
            bound.outputs.push(BoundOutput {
                name: output.name.clone(),
                reference: resolved.reference_of(output),
                view: view.view.name.clone(),
                value_type: feature.value_type,
                sensitivity: feature.sensitivity,
                store,
                group,
                slot,
                feature: number.ok_or_else(|| Error::internal("a feature lost its slot"))?,
                default: output.default.clone(),
                default_null: output.default_null,
            });
        }
        Ok(bound)
    }

    fn columns_of(&self, view: &crate::selection::ResolvedView) -> Result<Vec<usize>> {
        let column = |role: &crate::selection::RoleKey| {
            self.keys
                .iter()
                .position(|known| known.name == role.column && known.key.value_type == role.key.value_type)
                .ok_or_else(|| Error::internal("a join key lost its column"))
        };
        view.keys.iter().map(column).collect()
    }

    async fn store_of(&mut self, store: &FeatureStore, name: StoreName) -> Result<usize> {
        let name = store.online_name(name);
        if let Some(known) = self.stores.iter().position(|known| known.name == name) {
            return Ok(known);
        }
        let online = store.online_store(&name).await?.clone();
        self.stores.push(BoundStore {
            name,
            in_process: online.capabilities().in_process,
            store: online,
            template: OnlineRead::default(),
            groups: Vec::new(),
            slots: Vec::new(),
        });
        Ok(self.stores.len() - 1)
    }
}

impl BoundStore {
    /// Adds a view; returns its group and its slot.
    fn add(
        &mut self,
        columns: Vec<usize>,
        layout: Arc<larder_base::ViewLayout>,
        features: Vec<u16>,
    ) -> Result<(usize, u16)> {
        let slot = u16::try_from(self.slots.len())
            .map_err(|_| Error::input("more than 65,535 views in one request"))?;
        let group = match self.groups.iter().position(|known| *known == columns) {
            Some(group) => group,
            None => {
                self.groups.push(columns);
                self.template.groups.push(KeyGroup {
                    keys: Arc::new(EntityKeys::new()),
                    views: Vec::new(),
                });
                self.groups.len() - 1
            }
        };
        self.slots.push(group);
        let read = ViewRead {
            slot,
            layout,
            features: features.into(),
            shape: ReadShape::Latest,
        };
        self.template.groups[group].views.push(read);
        Ok((group, slot))
    }
}
