//! Whether two runs over a view read the same rows: a hash of everything that decides that.

use larder_base::model::{FeatureView, Source};

/// Hash of source, filter, renames and entities of a view; as hex text.
///
/// The features are not in it: a run records the slots it wrote. Neither is the ttl, which only
/// decides how far back coverage must reach, nor descriptions, owners and tags.
pub(crate) fn of(source: &Source, view: &FeatureView) -> String {
    let parts = serde_json::json!({
        "kind": source.kind,
        "store": source.store,
        "options": source.options,
        "event_time": source.event_time,
        "created_time": source.created_time,
        "knowledge": source.knowledge,
        "available_after": source.available_after,
        "timezone": source.timezone,
        "tie_break": source.tie_break,
        "columns": source.columns,
        "filter": source.filter,
        "entities": view.entities,
    });
    // serde_json keeps maps sorted, so equal definitions give equal text.
    format!(
        "{:032x}",
        xxhash_rust::xxh3::xxh3_128(parts.to_string().as_bytes())
    )
}
