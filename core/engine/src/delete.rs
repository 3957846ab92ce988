//! Delete: tombstones for entities of a view, so that older rows in flight stay dead.

use std::sync::Arc;

use larder_base::error::suggest;
use larder_base::{
    EntityKeys, Error, Micros, OnlineDelete, Result, StoreName, Value, ViewLayout, WriteOptions, WriteReport,
};

use crate::guard::Deed;
use crate::store::FeatureStore;

/// Entities of one delete, unless the store takes fewer.
const DELETE_ROWS: usize = 8_192;

/// An entity by join-key names and values.
pub type EntityValues = Vec<(String, Value)>;

impl FeatureStore {
    /// Deletes the current values of entities of a view: rows with an event time up to `at` (now,
    /// where absent) stay dead, a newer row may live again.
    ///
    /// # Errors
    /// `Input` for missing or wrong join keys, named by row; what the store says.
    pub async fn delete(
        &self,
        view: &str,
        entities: &[EntityValues],
        at: Option<Micros>,
    ) -> Result<WriteReport> {
        let snapshot = self.snapshot().await?;
        let view = snapshot.catalog().feature_view(view)?;
        self.allow(Deed::Delete, vec![format!("feature_view:{}", view.name)])
            .await?;
        let layout = snapshot.layout(view.name.as_str()).ok_or_else(|| {
            Error::input(format!(
                "feature view `{}` is not served online (`online: false`)",
                view.name
            ))
        })?;
        let now = self.clock().now();
        let at = at.unwrap_or(now);
        if at > now {
            return Err(Error::input(format!(
                "a deletion at {at} would lie in the future"
            )));
        }
        let keys = keys_of(layout, entities)?;
        let name = view.online.store().unwrap_or_else(StoreName::default_store);
        let online = self.online_store(&name).await?;
        let most = online.capabilities().max_write_rows;
        let most = most
            .map_or(DELETE_ROWS, |most| DELETE_ROWS.min(most as usize))
            .max(1);
        let mut report = WriteReport::default();
        for start in (0..keys.len()).step_by(most) {
            let mut part = EntityKeys::new();
            (start..keys.len().min(start + most))
                .for_each(|row| part.push(keys.get(row).unwrap_or_default()));
            let batch = OnlineDelete {
                layout: layout.clone(),
                keys: Arc::new(part),
                at,
                now,
            };
            let deleted = online.delete(&batch, &WriteOptions::default()).await;
            report.add(deleted.map_err(|error| error.with("deleted_before", report.written))?);
        }
        Ok(report)
    }
}

/// Canonical keys from names and values, whatever their order.
pub(crate) fn keys_of(layout: &ViewLayout, entities: &[EntityValues]) -> Result<EntityKeys> {
    let mut keys = EntityKeys::new();
    for (row, entity) in entities.iter().enumerate() {
        let known = || layout.join_keys().iter().map(|key| key.name.as_str());
        if let Some((unknown, _)) = entity.iter().find(|(name, _)| !known().any(|key| key == name)) {
            return Err(Error::input(format!(
                "`{unknown}` is not a join key of feature view `{}`",
                layout.view()
            ))
            .help(suggest(unknown, known().collect::<Vec<_>>())));
        }
        let value = |key: &larder_base::JoinKey| {
            let found = entity.iter().find(|(name, _)| key.name == *name.as_str());
            found
                .map(|(_, value)| value.clone())
                .ok_or_else(|| Error::input(format!("join key `{}` is missing", key.name)).with("row", row))
        };
        let values: Vec<Value> = layout.join_keys().iter().map(value).collect::<Result<_>>()?;
        if values.iter().any(Value::is_null) {
            return Err(Error::input("a null key cannot be deleted").with("row", row));
        }
        keys.push_values(layout.join_keys(), &values)?;
    }
    Ok(keys)
}
