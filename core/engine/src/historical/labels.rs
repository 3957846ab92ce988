//! Are the label columns there, and are they no features?

use larder_base::error::suggest;
use larder_base::{Error, Result};
use larder_core::arrow::datatypes::Schema;

use super::parameters::Parameters;
use crate::selection::Resolved;

/// Checks the label columns; answers with what is allowed and deserves a look.
///
/// # Errors
/// `Input` for a label that is not among the entity rows' columns, is a key or their time, or has
/// the name of a feature that was selected.
pub(super) fn check(
    parameters: &Parameters,
    entity_rows: &Schema,
    resolved: &Resolved,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (index, label) in parameters.labels.iter().enumerate() {
        let same = |name: &str| name.eq_ignore_ascii_case(label);
        if parameters.labels[..index].iter().any(|other| same(other)) {
            return Err(Error::input(format!("label `{label}` is named twice")));
        }
        // First, because a feature's name is the likelier mistake.
        let feature = resolved
            .outputs
            .iter()
            .find(|output| same(&output.name) || same(resolved.feature_of(output).name.as_str()));
        if let Some(feature) = feature {
            return Err(Error::input(format!(
                "label `{label}` has the name of feature `{}`, which is selected",
                resolved.reference_of(feature)
            ))
            .help("a label that is a feature teaches a model nothing; rename the column, or leave the feature out"));
        }
        if entity_rows.index_of(label).is_err() {
            let known = entity_rows.fields().iter().map(|field| field.name().as_str());
            return Err(
                Error::input(format!("the entity rows have no label column `{label}`"))
                    .help(suggest(label, known)),
            );
        }
        let key = resolved
            .key_columns()
            .keys()
            .any(|column| same(parameters.column_of(column.as_str())));
        if key || same(&parameters.time_column) {
            let what = if key { "a key" } else { "the time" };
            return Err(
                Error::input(format!("label `{label}` is {what} of the entity rows"))
                    .help("a label is what a model is to predict"),
            );
        }
        for view in &resolved.views {
            let from_label = |name: &&larder_base::FeatureName| same(view.source.column_of(name.as_str()));
            for feature in view
                .features
                .iter()
                .map(|feature| &feature.name)
                .filter(from_label)
            {
                warnings.push(format!(
                    "feature `{}:{feature}` is read from a column that is named like label `{label}`: \
                     if they are the same thing, set `available_after` on source `{}` or leave the feature out",
                    view.view.name, view.source.name
                ));
            }
        }
    }
    Ok(warnings)
}
