//! What does every store check before it asks its server, and how does a read end in time?

use std::time::Duration;

use larder_base::keys::MAX_KEY_BYTES;
use larder_base::{
    EntityKeys, Error, FeatureBlock, OnPartial, OnlineRead, OnlineWrite, ReadOptions, ReadShape, Result,
    RowRef, Span, ViewLayout,
};
use tokio::time::timeout;

use crate::{Fault, Turns};

/// How long a tombstone refuses older rows.
pub const TOMBSTONE_RETENTION: Span = Span::days(7);
/// How much longer than its view's ttl or retention a row is kept.
const GRACE: Span = Span::hours(1);
/// What is kept of the caller's time to give a partial answer in.
const REST: Duration = Duration::from_millis(5);

/// Runs a read within its caller's deadline.
///
/// Where partial answers are welcome it ends a little earlier, so that there is time to give them.
///
/// # Errors
/// Those of the read, and [`Fault::late`].
pub async fn within<T: Turns>(
    options: &ReadOptions,
    read: impl Future<Output = Result<(), Fault<T>>>,
) -> Result<(), Fault<T>> {
    let Some(limit) = options.timeout else {
        return read.await;
    };
    let limit = match options.on_partial == OnPartial::Return {
        true => limit - (limit / 10).min(REST),
        false => limit,
    };
    timeout(limit, read).await.unwrap_or_else(|_| Err(Fault::late()))
}

/// Marks everything that a read asks for as unavailable.
pub fn all_unavailable(request: &OnlineRead, out: &mut FeatureBlock) {
    out.reset(request);
    for view in request.groups.iter().flat_map(|group| &group.views) {
        out.fail_view(view.slot);
    }
}

/// Refuses shapes that a store of the newest row does not know; `backend` is its name, as errors say it.
///
/// # Errors
/// `Unsupported`.
pub fn check_shapes(request: &OnlineRead, backend: &str) -> Result<()> {
    let mut views = request.groups.iter().flat_map(|group| &group.views);
    match views.any(|view| view.shape != ReadShape::Latest) {
        true => Err(Error::unsupported(format!(
            "the {backend} store reads the newest row only"
        ))),
        false => Ok(()),
    }
}

/// Refuses keys that cannot be written.
///
/// # Errors
/// `Input`: a null, or a key that is too long.
pub fn check_keys(layout: &ViewLayout, keys: &EntityKeys) -> Result<()> {
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

/// Refuses rows that do not belong to their keys and view, or are longer than `longest` bytes.
///
/// # Errors
/// `Input`; `Corrupt` for what is no row.
pub fn check_rows(batch: &OnlineWrite, longest: usize, backend: &str) -> Result<()> {
    if batch.keys.len() != batch.rows.len() {
        return Err(Error::input("a write needs as many rows as keys")
            .with("keys", batch.keys.len())
            .with("rows", batch.rows.len()));
    }
    for (row, bytes) in batch.rows.iter().enumerate() {
        let packed = RowRef::parse(bytes).map_err(|error| error.with("row", row))?;
        if packed.generation() != batch.layout.generation() {
            return Err(Error::input("a row was packed for another generation of the view").with("row", row));
        }
        if bytes.len() > longest {
            return Err(Error::input(format!("a row is too long for {backend}"))
                .with("view", batch.layout.view())
                .with("row", row)
                .with("bytes", bytes.len())
                .with("limit", longest)
                .help(
                    "use fewer or shorter features in the view, or an online store that takes longer rows",
                ));
        }
    }
    Ok(())
}

/// How long after its event a row of a view is kept; none where the view keeps its rows.
pub fn kept(layout: &ViewLayout) -> Option<Span> {
    let longest = layout.retention()?.max(layout.ttl().unwrap_or(Span::ZERO));
    Some(Span(longest.0.saturating_add(GRACE.0)))
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use larder_base::{
        ColumnName, ErrorKind, FeatureName, Generation, JoinKey, Micros, PackedRows, ProjectName, Slot,
        Value, ValueType, ViewName,
    };

    use super::*;
    use crate::fault::tests::Own;

    fn layout(generation: u32) -> ViewLayout {
        ViewLayout::new(
            ProjectName::new("shop").unwrap(),
            ViewName::new("v").unwrap(),
            Generation(generation),
            vec![JoinKey {
                name: ColumnName::new("k").unwrap(),
                value_type: ValueType::INT64,
            }],
            vec![Slot::new(FeatureName::new("n").unwrap(), ValueType::INT64)],
        )
    }

    #[test]
    fn keys_and_rows_must_fit() {
        let view = Arc::new(layout(1));
        let mut keys = EntityKeys::new();
        keys.push_values(view.join_keys(), &[Value::Int64(1)]).unwrap();
        check_keys(&view, &keys).expect("a key");
        let mut rows = PackedRows::new();
        rows.push_values(&view, Micros(1), None, &[Value::Int64(1)])
            .unwrap();
        let (keys, rows) = (Arc::new(keys), Arc::new(rows));
        let batch = |view: &Arc<ViewLayout>, rows: &Arc<PackedRows>| {
            OnlineWrite::new(view.clone(), keys.clone(), rows.clone())
        };
        let refused = |batch: &OnlineWrite, longest| check_rows(batch, longest, "X").map_err(|e| e.chain());
        assert_eq!(refused(&batch(&view, &rows), 100), Ok(()));
        assert!(refused(&batch(&view, &rows), 10).is_err_and(|told| told.contains("too long for X")));
        let other = Arc::new(layout(2));
        assert!(refused(&batch(&other, &rows), 100).is_err_and(|told| told.contains("generation")));
        let none = Arc::new(PackedRows::new());
        assert!(refused(&batch(&view, &none), 100).is_err_and(|told| told.contains("as many rows")));
    }

    #[test]
    fn rows_are_kept_for_the_longer_of_ttl_and_retention() {
        assert_eq!(kept(&layout(1).with_ttl(Some(Span::hours(2)))), None);
        let both = layout(1)
            .with_ttl(Some(Span::hours(2)))
            .with_retention(Some(Span::hours(1)));
        assert_eq!(kept(&both), Some(Span::hours(3)));
    }

    #[tokio::test]
    async fn a_read_ends_in_time() {
        let options = ReadOptions::new().timeout(Duration::from_millis(5));
        let late = within::<crate::fault::tests::Turn>(&options, pending()).await;
        assert_eq!(late.map_err(|fault: Own| fault.kind()), Err(ErrorKind::Timeout));
        assert!(
            within::<crate::fault::tests::Turn>(&options, async { Ok(()) })
                .await
                .is_ok()
        );
    }
}
