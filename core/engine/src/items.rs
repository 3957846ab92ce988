//! What does one item of a feature service ask for? One answer, for the checks of definitions and for whoever reads.

use larder_base::model::ServiceItem;
use larder_base::{ColumnName, FeatureName, JoinKey, Result, Value, ValueType, ViewName};

/// A join key and the entity rows' column it is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKey {
    /// The key.
    pub key: JoinKey,
    /// The column.
    pub column: ColumnName,
}

/// A view under certain keys: items of one role add to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) view: ViewName,
    pub(crate) alias: Option<ColumnName>,
    /// The view's join keys in canonical order (by name).
    pub(crate) keys: Vec<RoleKey>,
}

impl Role {
    /// The role of an item whose view has these join keys.
    pub(crate) fn new(item: &ServiceItem, join_keys: &[JoinKey]) -> Self {
        let key = |key: &JoinKey| RoleKey {
            column: item.keys.get(&key.name).unwrap_or(&key.name).clone(),
            key: key.clone(),
        };
        Self {
            view: item.view.clone(),
            alias: item.alias.clone(),
            keys: join_keys.iter().map(key).collect(),
        }
    }
}

/// The keys that an item renames and its view does not have.
pub(crate) fn unknown_keys<'a>(
    item: &'a ServiceItem,
    join_keys: &'a [JoinKey],
) -> impl Iterator<Item = &'a ColumnName> {
    let names = item.keys.keys();
    names.filter(|name| !join_keys.iter().any(|key| key.name == **name))
}

/// The features of its view that an item asks for, in its order; and the names that are none.
pub(crate) fn features<'a, F: Copy>(
    item: &'a ServiceItem,
    all: &[F],
    name_of: impl Fn(F) -> &'a str,
) -> (Vec<F>, Vec<&'a FeatureName>) {
    let Some(names) = &item.features else {
        return (all.to_vec(), Vec::new());
    };
    let (mut found, mut unknown) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names {
        match all.iter().find(|feature| *name == *name_of(**feature)) {
            Some(feature) => found.push(*feature),
            None => unknown.push(name),
        }
    }
    (found, unknown)
}

/// The name of the column of a feature.
pub(crate) fn column(item: &ServiceItem, feature: &str, full_names: bool) -> String {
    match &item.alias {
        Some(alias) => format!("{alias}__{feature}"),
        None if full_names => format!("{}__{feature}", item.view),
        None => feature.to_owned(),
    }
}

/// What tells columns apart: files and databases often do not tell `A` from `a`.
pub(crate) fn comparable(column: &str) -> String {
    column.to_lowercase()
}

/// What an item fills in where a feature of a type has no value.
///
/// # Errors
/// `Input` for a default of another type.
pub(crate) fn default(item: &ServiceItem, of: ValueType) -> Result<Option<Value>> {
    let json = item.default.as_ref();
    json.map(|json| Value::from_json(json, of)).transpose()
}
