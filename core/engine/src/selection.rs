//! Which features are wanted, under which names, for which keys: the same for training and serving.

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_base::error::suggest;
use larder_base::model::{Catalog, Feature, FeatureService, FeatureView, Reference, ServiceItem, Source};
use larder_base::{ColumnName, Error, JoinKey, Result, ServiceName, Value};
use serde::{Deserialize, Serialize};

pub use crate::items::RoleKey;
use crate::items::{self, Role};

/// What is wanted: a feature service, or features one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selection(Wanted);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Service(String),
    Features(Vec<String>),
}

impl Selection {
    /// The features of a service.
    pub fn service(name: impl Into<String>) -> Self {
        Self(Wanted::Service(name.into()))
    }

    /// Features one by one: `view:feature`, or `view` for all of its features.
    pub fn features<S: Into<String>>(references: impl IntoIterator<Item = S>) -> Self {
        Self(Wanted::Features(references.into_iter().map(Into::into).collect()))
    }

    /// For messages.
    pub fn describe(&self) -> String {
        match &self.0 {
            Wanted::Service(name) => format!("feature service `{name}`"),
            Wanted::Features(references) => format!("features {}", references.join(",")),
        }
    }

    /// Resolves what is wanted against the definitions.
    ///
    /// # Errors
    /// `NotFound` for unknown names, `Input` for a clash of output names, `Unsupported` for
    /// on-demand views.
    pub fn resolve(&self, catalog: &Catalog, full_names: bool) -> Result<Resolved> {
        match &self.0 {
            Wanted::Service(name) => {
                let service = catalog.feature_service(name)?;
                let mut resolved = resolve_items(catalog, &service.features, full_names)?;
                resolved.service = Some(service.name.clone());
                Ok(resolved)
            }
            Wanted::Features(references) => {
                let items: Vec<ServiceItem> = references
                    .iter()
                    .map(|text| text.parse::<Reference>().map(ServiceItem::from_reference))
                    .collect::<Result<_>>()
                    .map_err(|error| Error::input(error.to_string()))?;
                if items.is_empty() {
                    return Err(Error::input("no features are wanted").help("name a service or features"));
                }
                resolve_items(catalog, &items, full_names)
            }
        }
    }
}

impl From<&str> for Selection {
    /// The name of a feature service.
    fn from(service: &str) -> Self {
        Self::service(service)
    }
}

impl From<String> for Selection {
    fn from(service: String) -> Self {
        Self::service(service)
    }
}

impl From<&FeatureService> for Selection {
    fn from(service: &FeatureService) -> Self {
        Self::service(service.name.to_string())
    }
}

/// A selection resolved against definitions.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The service, when one was asked for.
    pub service: Option<ServiceName>,
    /// The views to read: one per (view, role).
    pub views: Vec<ResolvedView>,
    /// The output columns in order.
    pub outputs: Vec<Output>,
}

/// A view in a role.
#[derive(Debug, Clone)]
pub struct ResolvedView {
    /// The view.
    pub view: Arc<FeatureView>,
    /// Its source.
    pub source: Arc<Source>,
    /// The role.
    pub alias: Option<ColumnName>,
    /// Join keys in canonical order (by name), each with the column of the entity rows.
    pub keys: Vec<RoleKey>,
    /// The features wanted, in order.
    pub features: Vec<Feature>,
}

impl ResolvedView {
    fn is(&self, role: &Role) -> bool {
        self.view.name == role.view && self.alias == role.alias && self.keys == role.keys
    }

    /// The view, or `role=view`: for reports.
    pub fn shown_name(&self) -> String {
        match &self.alias {
            Some(alias) => format!("{alias}={}", self.view.name),
            None => self.view.name.to_string(),
        }
    }
}

/// One output column.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Name of the column.
    pub name: String,
    /// Index of the view in [`Resolved::views`].
    pub view: usize,
    /// Index of the feature in [`ResolvedView::features`].
    pub feature: usize,
    /// Fills `not_found` and `expired`.
    pub default: Option<Value>,
    /// Whether the default also fills nulls.
    pub default_null: bool,
}

impl Resolved {
    /// The view of an output.
    pub fn view_of(&self, output: &Output) -> &ResolvedView {
        &self.views[output.view]
    }

    /// The feature of an output.
    pub fn feature_of(&self, output: &Output) -> &Feature {
        &self.views[output.view].features[output.feature]
    }

    /// How an output was asked for: `view:feature`, or `role=view:feature`.
    pub fn reference_of(&self, output: &Output) -> String {
        let view = self.view_of(output);
        let reference = format!("{}:{}", view.view.name, self.feature_of(output).name);
        match &view.alias {
            Some(alias) => format!("{alias}={reference}"),
            None => reference,
        }
    }

    /// The columns that entity rows must have: name and the declared types it is needed as.
    pub fn key_columns(&self) -> BTreeMap<ColumnName, Vec<JoinKey>> {
        let mut columns: BTreeMap<ColumnName, Vec<JoinKey>> = BTreeMap::new();
        for role in self.views.iter().flat_map(|view| &view.keys) {
            let needed = columns.entry(role.column.clone()).or_default();
            if !needed.iter().any(|key| key.value_type == role.key.value_type) {
                needed.push(role.key.clone());
            }
        }
        columns
    }
}

/// Resolves the items of a service.
///
/// # Errors
/// As [`Selection::resolve`].
fn resolve_items(catalog: &Catalog, items: &[ServiceItem], full_names: bool) -> Result<Resolved> {
    let mut resolved = Resolved {
        service: None,
        views: Vec::new(),
        outputs: Vec::new(),
    };
    for item in items {
        let view = view_of(catalog, item)?;
        let role = role_of(catalog, view, item)?;
        let known = resolved.views.iter().position(|known| known.is(&role));
        let index = match known {
            Some(index) => index,
            None => {
                resolved.views.push(ResolvedView {
                    view: view.clone(),
                    source: catalog.source(view.source.as_str())?.clone(),
                    alias: role.alias,
                    keys: role.keys,
                    features: Vec::new(),
                });
                resolved.views.len() - 1
            }
        };
        for feature in features_of(view, item)? {
            add(&mut resolved, index, feature, item, full_names)?;
        }
    }
    refuse_clashes(&resolved)?;
    Ok(resolved)
}

fn view_of<'a>(catalog: &'a Catalog, item: &ServiceItem) -> Result<&'a Arc<FeatureView>> {
    if catalog.on_demand_views.contains_key(&item.view) {
        return Err(Error::unsupported(format!(
            "`{}` is an on-demand view; they are stored and checked, and evaluated from part 5 on",
            item.view
        ))
        .help("ask for the features of feature views one by one"));
    }
    catalog.feature_view(item.view.as_str())
}

fn features_of(view: &FeatureView, item: &ServiceItem) -> Result<Vec<Feature>> {
    let all: Vec<&Feature> = view.features.iter().collect();
    let (found, unknown) = items::features(item, &all, |feature| feature.name.as_str());
    match unknown.first() {
        None => Ok(found.into_iter().cloned().collect()),
        Some(name) => Err(
            Error::not_found(format!("feature view `{}` has no feature `{name}`", view.name)).help(suggest(
                name.as_str(),
                view.features.iter().map(|f| f.name.as_str()),
            )),
        ),
    }
}

fn role_of(catalog: &Catalog, view: &FeatureView, item: &ServiceItem) -> Result<Role> {
    let keys = catalog.join_keys(view)?;
    if let Some(unknown) = items::unknown_keys(item, &keys).next() {
        return Err(Error::definition(format!(
            "`{unknown}` is not a join key of feature view `{}`",
            view.name
        ))
        .help(suggest(
            unknown.as_str(),
            keys.iter().map(|key| key.name.as_str()),
        )));
    }
    Ok(Role::new(item, &keys))
}

fn add(
    resolved: &mut Resolved,
    view: usize,
    feature: Feature,
    item: &ServiceItem,
    full_names: bool,
) -> Result<()> {
    let default = items::default(item, feature.value_type).map_err(|error| {
        Error::definition(format!(
            "the default of `{}:{}` is wrong: {error}",
            item.view, feature.name
        ))
    })?;
    let features = &mut resolved.views[view].features;
    // The same feature a second time is the same column; the later item may add its default.
    if let Some(known) = features.iter().position(|f| f.name == feature.name) {
        if default.is_some()
            && let Some(output) = resolved
                .outputs
                .iter_mut()
                .find(|o| o.view == view && o.feature == known)
        {
            output.default = default;
            output.default_null = item.default_null;
        }
        return Ok(());
    }
    let name = items::column(item, feature.name.as_str(), full_names);
    features.push(feature);
    let feature = features.len() - 1;
    resolved.outputs.push(Output {
        name,
        view,
        feature,
        default,
        default_null: item.default_null,
    });
    Ok(())
}

fn refuse_clashes(resolved: &Resolved) -> Result<()> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for output in &resolved.outputs {
        by_name
            .entry(items::comparable(&output.name))
            .or_default()
            .push(resolved.reference_of(output));
    }
    let Some((name, references)) = by_name.into_iter().find(|(_, references)| references.len() > 1) else {
        return Ok(());
    };
    Err(Error::input(format!(
        "several features would be named `{name}`: {}",
        references.join(", ")
    ))
    .help("ask for full names (`--full-names`), or give one of the views a role with `as:`"))
}
