//! Which entities are known at an instant? Their keys become entity rows, so that the join decides the values.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;
use larder_base::model::{Catalog, Knowledge};
use larder_base::{EntityKeys, Error, JoinKey, Micros, Result};
use larder_core::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use larder_core::arrow::datatypes::TimestampMicrosecondType;
use larder_core::convert::{encode_keys, key_arrays};
use larder_core::offline::{CREATED_COLUMN, EVENT_COLUMN};
use larder_core::{BatchStream, LatestRead, OfflineOptions, RangeRead, ViewScan};

use super::parameters::Parameters;
use crate::selection::{Resolved, ResolvedView, RoleKey};
use crate::store::FeatureStore;

/// How many entities are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HowMany {
    /// All of them.
    All,
    /// As many as are found first.
    AtMost(usize),
}

/// Entity rows at an instant: one per entity that some view knows, in the order of their keys.
///
/// # Errors
/// `Input` where views describe different entities; what the stores say.
pub(crate) async fn entities(
    store: &FeatureStore,
    catalog: &Catalog,
    resolved: &Resolved,
    parameters: &Parameters,
    at: Micros,
    options: &OfflineOptions,
    how_many: HowMany,
) -> Result<RecordBatch> {
    let columns = same_entity(resolved)?;
    let join_keys: Vec<JoinKey> = columns.iter().map(|role| role.key.clone()).collect();
    let mut found: BTreeSet<Vec<u8>> = BTreeSet::new();
    for view in resolved.views.iter().filter(|view| !view.keys.is_empty()) {
        let (mut rows, takes) = rows_of(store, catalog, view, parameters, at, options).await?;
        while let Some(batch) = rows.try_next().await? {
            collect(&batch, view, &columns, &join_keys, &takes, how_many, &mut found)?;
            if is_enough(&found, how_many) {
                break;
            }
        }
    }
    let mut keys = EntityKeys::new();
    found.iter().for_each(|key| keys.push(key));
    // Views without an entity have one row.
    let rows = if columns.is_empty() { 1 } else { keys.len() };
    let arrays = key_arrays(&join_keys, &keys)?;
    let names = columns
        .iter()
        .map(|role| parameters.column_of(role.column.as_str()).to_owned());
    let mut named: Vec<(String, ArrayRef, bool)> = names
        .zip(arrays)
        .map(|(name, array)| (name, array, true))
        .collect();
    let times = TimestampMicrosecondArray::from_value(at.0, rows).with_timezone("UTC");
    named.push((parameters.time_column.clone(), Arc::new(times), true));
    RecordBatch::try_from_iter_with_nullable(named)
        .map_err(|error| Error::internal("entity rows could not be put together").source(error))
}

fn is_enough(found: &BTreeSet<Vec<u8>>, how_many: HowMany) -> bool {
    matches!(how_many, HowMany::AtMost(most) if found.len() >= most)
}

/// The key columns that all views share, in the order of their names.
fn same_entity(resolved: &Resolved) -> Result<Vec<RoleKey>> {
    let sorted = |view: &ResolvedView| {
        let mut keys = view.keys.clone();
        keys.sort_by(|a, b| a.column.cmp(&b.column));
        keys
    };
    let same = |a: &[RoleKey], b: &[RoleKey]| {
        let pair =
            |(a, b): (&RoleKey, &RoleKey)| a.column == b.column && a.key.value_type == b.key.value_type;
        a.len() == b.len() && a.iter().zip(b).all(pair)
    };
    let mut keyed = resolved.views.iter().filter(|view| !view.keys.is_empty());
    let Some(first) = keyed.next() else {
        return Ok(Vec::new());
    };
    let columns = sorted(first);
    match keyed.find(|view| !same(&sorted(view), &columns)) {
        None => Ok(columns),
        Some(other) => Err(Error::input(format!(
            "`{}` and `{}` describe different entities, so there is no row for both",
            first.shown_name(),
            other.shown_name()
        ))
        .help("select features of one entity, or give entity rows")),
    }
}

type Takes = Box<dyn Fn(Micros, Option<Micros>) -> bool + Send + Sync>;

/// Rows of a view that are known at an instant, and which of them to take.
async fn rows_of(
    store: &FeatureStore,
    catalog: &Catalog,
    view: &ResolvedView,
    parameters: &Parameters,
    at: Micros,
    options: &OfflineOptions,
) -> Result<(BatchStream, Takes)> {
    let mut scan = crate::scan::scan_of(catalog, &view.view, &[])?;
    if let Some(knowledge) = parameters.knowledge {
        let mut source = (*scan.source).clone();
        source.knowledge = knowledge;
        scan.source = Arc::new(source);
    }
    let floor = view.view.ttl.map_or(Micros::MIN, |ttl| at.minus(ttl));
    let offline = store.store_of(&view.source).await?;
    let known = LatestRead {
        scan: scan.clone(),
        floor,
        after: Micros::MIN,
        until: at,
    };
    let Some(until) = parameters.known_until else {
        let rows = offline.latest(known, options).await?;
        return Ok((rows, Box::new(|_, _| true)));
    };
    // The newest row may be one that was not visible yet, so all rows are looked at.
    let visible = visible_at(scan.clone(), until);
    let rows = offline.range(RangeRead::new(scan, floor, at), options).await?;
    Ok((
        rows,
        Box::new(move |event, created| known.takes(event, created) && visible.takes(event, created)),
    ))
}

/// What tells the rows that were visible at an instant: available, and written where the source says when.
pub(crate) fn visible_at(mut scan: ViewScan, until: Micros) -> LatestRead {
    let mut source = (*scan.source).clone();
    source.knowledge = Knowledge::AsOf;
    scan.source = Arc::new(source);
    LatestRead {
        scan,
        floor: Micros::MIN,
        after: Micros::MIN,
        until,
    }
}

/// The times of rows of a scan: event and created.
pub(crate) fn times_of(
    batch: &RecordBatch,
) -> Result<(&TimestampMicrosecondArray, &TimestampMicrosecondArray)> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| Error::internal(format!("an offline store answered without `{name}`")))
    };
    Ok((column(EVENT_COLUMN)?, column(CREATED_COLUMN)?))
}

fn collect(
    batch: &RecordBatch,
    view: &ResolvedView,
    columns: &[RoleKey],
    join_keys: &[JoinKey],
    takes: &Takes,
    how_many: HowMany,
    found: &mut BTreeSet<Vec<u8>>,
) -> Result<()> {
    let (events, created) = times_of(batch)?;
    let place = |role: &RoleKey| view.keys.iter().position(|key| key.column == role.column);
    let arrays: Vec<ArrayRef> = columns
        .iter()
        .filter_map(place)
        .map(|at| batch.column(at).clone())
        .collect();
    let mut keys = EntityKeys::new();
    encode_keys(join_keys, &arrays, batch.num_rows(), &mut keys)?;
    for (row, key) in keys.iter().enumerate() {
        let Some(key) = key.filter(|_| events.is_valid(row)) else {
            continue;
        };
        let created = created.is_valid(row).then(|| Micros(created.value(row)));
        if !takes(Micros(events.value(row)), created) || found.contains(key) {
            continue;
        }
        found.insert(key.to_vec());
        if is_enough(found, how_many) {
            break;
        }
    }
    Ok(())
}
