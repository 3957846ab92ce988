//! Whether the data of the sources fits the definitions.

use std::collections::BTreeMap;

use larder_base::{Diagnostic, Result};

use super::plan::Plan;
use crate::definitions::DefinitionSet;
use crate::store::FeatureStore;

/// Findings for every view that is new or whose source changed. `seen` keeps answers between the
/// attempts of one apply: the data is looked at once.
#[cfg(feature = "offline")]
pub(super) async fn check(
    store: &FeatureStore,
    plan: &Plan,
    definitions: Option<&DefinitionSet>,
    seen: &mut BTreeMap<String, Vec<Diagnostic>>,
) -> Result<Vec<Diagnostic>> {
    use larder_base::model::{Kind, ObjectId};
    use larder_core::convert::SourceColumns;

    let mut findings = Vec::new();
    for view in &plan.changed_views {
        let scan = crate::scan::scan_of(&plan.after, view, &view.features)?;
        let place =
            |kind: Kind, name: &str| definitions.and_then(|d| d.place(&ObjectId::new(kind, name), &[]));
        let key = format!("{scan:?}");
        let found = match seen.get(&key) {
            Some(found) => found.clone(),
            None => {
                let checked = async {
                    let schema = store.store_of(&scan.source).await?.schema(&scan.source).await?;
                    SourceColumns::new(&scan)?.check(&schema, "the data")
                };
                let found: Vec<Diagnostic> = match checked.await {
                    Ok(()) => Vec::new(),
                    // A store that cannot be reached now says nothing about the definitions.
                    Err(error) if error.is_retryable() => return Err(error.with("view", &view.name)),
                    Err(error) => {
                        let place = place(Kind::FeatureView, view.name.as_str())
                            .or_else(|| place(Kind::Source, scan.source.name.as_str()));
                        vec![
                            Diagnostic::new(format!("feature view `{}`: {}", view.name, error.chain()))
                                .at(place),
                        ]
                    }
                };
                seen.insert(key, found.clone());
                found
            }
        };
        findings.extend(found);
    }
    Ok(findings)
}

/// Without offline stores there is no data to look at.
#[cfg(not(feature = "offline"))]
pub(super) async fn check(
    _store: &FeatureStore,
    _plan: &Plan,
    _definitions: Option<&DefinitionSet>,
    _seen: &mut BTreeMap<String, Vec<Diagnostic>>,
) -> Result<Vec<Diagnostic>> {
    Ok(Vec::new())
}
