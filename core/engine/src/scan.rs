//! Which columns of its source a view needs.

use std::sync::Arc;

use larder_base::model::{Catalog, Feature, FeatureView};
use larder_base::{Error, Result};
use larder_core::ViewScan;

/// The scan of some features of a view.
///
/// # Errors
/// `NotFound` when source or entity do not exist; `Unsupported` for a source with a filter.
pub(crate) fn scan_of(catalog: &Catalog, view: &Arc<FeatureView>, features: &[Feature]) -> Result<ViewScan> {
    let source = catalog.source(view.source.as_str())?.clone();
    if source.filter.is_some() {
        return Err(Error::unsupported(format!(
            "source `{}` has a `filter`; filters are parsed now and evaluated from part 2 on",
            source.name
        ))
        .help("filter the data before it is read, and drop `filter:`"));
    }
    let mut scan = ViewScan::new(view.name.clone(), source.clone());
    for key in catalog.join_keys(view)? {
        let column = source.column_of(key.name.as_str()).to_owned();
        scan = scan.key(key, column);
    }
    for feature in features {
        let column = source.column_of(feature.name.as_str());
        scan = scan.feature(feature.name.clone(), feature.value_type, column);
    }
    Ok(scan)
}
