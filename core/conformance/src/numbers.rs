//! How does a test of one store write and read rows of a single number, in a line each? Times are µs UTC.

use std::sync::Arc;

use larder_core::{
    ColumnName, EntityKeys, FeatureBlock, FeatureName, Generation, JoinKey, KeyGroup, Micros, OnlineRead,
    OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions, Result, RowStatus, Slot, SlotCell, Value,
    ValueType, ViewLayout, ViewName, ViewRead, WriteOptions, WriteReport,
};

/// A view with one int64 key and one int64 feature.
pub fn layout(project: &str, view: &str, generation: u32) -> Arc<ViewLayout> {
    Arc::new(plain_layout(project, view, generation))
}

/// [`layout`] before it is shared, to be changed.
pub fn plain_layout(project: &str, view: &str, generation: u32) -> ViewLayout {
    ViewLayout::new(
        ProjectName::new(project).expect("a name"),
        ViewName::new(view).expect("a name"),
        Generation(generation),
        vec![JoinKey {
            name: ColumnName::new("k").expect("a name"),
            value_type: ValueType::INT64,
        }],
        vec![Slot::new(
            FeatureName::new("number").expect("a name"),
            ValueType::INT64,
        )],
    )
}

/// The encoded keys of some entities.
pub fn keys(layout: &ViewLayout, keys: &[i64]) -> Arc<EntityKeys> {
    let mut out = EntityKeys::new();
    for key in keys {
        out.push_values(layout.join_keys(), &[Value::Int64(*key)])
            .expect("a key");
    }
    Arc::new(out)
}

/// Rows of `(key, event, number)`.
pub fn batch(layout: &Arc<ViewLayout>, rows: &[(i64, i64, i64)]) -> OnlineWrite {
    let mut packed = PackedRows::new();
    for (_, event, number) in rows {
        packed
            .push_values(layout, Micros(*event), None, &[Value::Int64(*number)])
            .expect("a row");
    }
    let names: Vec<i64> = rows.iter().map(|row| row.0).collect();
    OnlineWrite::new(layout.clone(), keys(layout, &names), Arc::new(packed))
}

/// Writes rows of `(key, event, number)`.
///
/// # Errors
/// Those of the store.
pub async fn write(
    store: &dyn OnlineStore,
    layout: &Arc<ViewLayout>,
    rows: &[(i64, i64, i64)],
) -> Result<WriteReport> {
    store.write(&batch(layout, rows), &WriteOptions::default()).await
}

/// A read of some keys in several views with the same key.
pub fn request(layouts: &[&Arc<ViewLayout>], names: &[i64]) -> OnlineRead {
    let Some(first) = layouts.first() else {
        return OnlineRead::default();
    };
    let views = layouts.iter().enumerate();
    OnlineRead {
        groups: vec![KeyGroup {
            keys: keys(first, names),
            views: views
                .map(|(slot, layout)| ViewRead::all(slot as u16, Arc::clone(layout)))
                .collect(),
        }],
    }
}

/// What a read says of each key: its status, event time and number.
pub type Found = (RowStatus, Option<(i64, i64)>);

/// What a read with options says of each key.
///
/// # Errors
/// Those of the store.
pub async fn read_with(
    store: &dyn OnlineStore,
    layout: &Arc<ViewLayout>,
    names: &[i64],
    options: ReadOptions,
) -> Result<Vec<Found>> {
    let mut block = FeatureBlock::new();
    store
        .read(&request(&[layout], names), &options, &mut block)
        .await?;
    let number = |row| match block.cell(0, 0, row) {
        SlotCell::Cell(cell) => match cell.to_value(ValueType::INT64) {
            Value::Int64(number) => Some(number),
            _ => None,
        },
        _ => None,
    };
    let found = |row| {
        let value = block
            .event_time(0, row)
            .zip(number(row))
            .map(|(event, number)| (event.0, number));
        (block.status(0, row), value)
    };
    Ok((0..names.len()).map(found).collect())
}

/// What a read says of each key: event time and number of those that are there.
///
/// # Errors
/// Those of the store.
pub async fn read(
    store: &dyn OnlineStore,
    layout: &Arc<ViewLayout>,
    names: &[i64],
) -> Result<Vec<Option<(i64, i64)>>> {
    let found = read_with(store, layout, names, ReadOptions::new()).await?;
    Ok(found.into_iter().map(|(_, value)| value).collect())
}
