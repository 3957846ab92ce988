//! What must hold between definitions, beyond what their types can say; each mistake at its place.

mod objects;
mod on_demand;
mod services;
mod views;

use std::collections::HashMap;
use std::fmt::Display;

use larder_base::error::suggest;
use larder_base::model::{Catalog, FeatureView, Kind, ObjectId, OnDemandView};
use larder_base::plugin::SourceKind;
use larder_base::{Diagnostic, Place, ValueType};

use super::DefinitionSet;

/// Checks the objects of a definition set within a catalog: its own objects, and those of other
/// sets that they may refer to. `source_kinds` are the types of sources this build reads; an
/// empty list leaves types and their options unchecked. Empty findings mean that all is well.
pub fn check(definitions: &DefinitionSet, catalog: &Catalog, source_kinds: &[SourceKind]) -> Vec<Diagnostic> {
    let mut check = Check {
        set: definitions,
        catalog,
        kinds: source_kinds,
        found: Vec::new(),
    };
    let own = &definitions.definitions;
    check.names();
    own.entities.iter().for_each(|entity| check.entity(entity));
    let used = objects::columns_by_source(catalog);
    own.sources.iter().for_each(|source| check.source(source, &used));
    own.feature_views.iter().for_each(|view| check.view(view));
    own.on_demand_views.iter().for_each(|view| check.on_demand(view));
    check.cycles();
    own.feature_services
        .iter()
        .for_each(|service| check.service(service));
    own.models.iter().for_each(|model| check.model(model));
    check.found
}

struct Check<'a> {
    set: &'a DefinitionSet,
    catalog: &'a Catalog,
    kinds: &'a [SourceKind],
    found: Vec<Diagnostic>,
}

/// What the name of a view may mean.
#[derive(Clone, Copy)]
enum Target<'a> {
    View(&'a FeatureView),
    OnDemand(&'a OnDemandView),
}

impl<'a> Target<'a> {
    fn features(self) -> Vec<(&'a str, ValueType)> {
        match self {
            Self::View(view) => view
                .features
                .iter()
                .map(|feature| (feature.name.as_str(), feature.value_type))
                .collect(),
            Self::OnDemand(view) => view
                .features
                .iter()
                .map(|feature| (feature.name.as_str(), feature.value_type))
                .collect(),
        }
    }
}

impl<'a> Check<'a> {
    /// A mistake at the value at a path inside of an object.
    fn wrong(
        &mut self,
        kind: Kind,
        name: impl AsRef<str>,
        path: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.set.place(&ObjectId::new(kind, name), path);
        self.found.push(Diagnostic::new(message).at(place).help(help));
    }

    /// A mistake at the key at a path inside of an object.
    fn wrong_key(
        &mut self,
        kind: Kind,
        name: impl AsRef<str>,
        path: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.set.key_place(&ObjectId::new(kind, name), path);
        self.found.push(Diagnostic::new(message).at(place).help(help));
    }

    fn target(&self, name: &str) -> Option<Target<'a>> {
        let view = self
            .catalog
            .feature_views
            .get(name)
            .map(|view| Target::View(view));
        view.or_else(|| {
            let view = self.catalog.on_demand_views.get(name)?;
            Some(Target::OnDemand(view))
        })
    }

    /// The place of the second feature of a name, which is the one to change.
    fn second(&self, kind: Kind, object: &str, feature: &str) -> Option<Place> {
        let features: Vec<&str> = match self.target(object)? {
            Target::View(view) => view.features.iter().map(|f| f.name.as_str()).collect(),
            Target::OnDemand(view) => view.features.iter().map(|f| f.name.as_str()).collect(),
        };
        let second = features
            .iter()
            .rposition(|name| name.eq_ignore_ascii_case(feature))?;
        self.set
            .item_place(&ObjectId::new(kind, object), &["features"], second)
    }

    fn view_names(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let on_demand = self.catalog.on_demand_views.keys().map(AsRef::as_ref);
        self.catalog
            .feature_views
            .keys()
            .map(AsRef::as_ref)
            .chain(on_demand)
    }

    /// Names that differ only by case from those of other definition sets, and views that have
    /// the name of another set's on-demand view. Within the set, loading has found these.
    fn names(&mut self) {
        let mut others: HashMap<(Kind, String), ObjectId> = HashMap::new();
        let own: std::collections::HashSet<ObjectId> = self.set.definitions.ids().collect();
        for id in ids(self.catalog).filter(|id| !own.contains(id)) {
            if let Some(kind) = id.known_kind() {
                others.insert((space(kind), id.name.to_lowercase()), id);
            }
        }
        if others.is_empty() {
            return;
        }
        for id in &own {
            let Some(kind) = id.known_kind() else { continue };
            if let Some(other) = others.get(&(space(kind), id.name.to_lowercase())) {
                self.wrong(
                    kind,
                    &id.name,
                    &["name"],
                    format!("{id} has the name of {other}, which belongs to another definition set"),
                    "names are unique without regard to case; choose another",
                );
            }
        }
    }
}

/// Views and on-demand views share their names.
fn space(kind: Kind) -> Kind {
    match kind {
        Kind::OnDemandView => Kind::FeatureView,
        kind => kind,
    }
}

fn ids(catalog: &Catalog) -> impl Iterator<Item = ObjectId> + '_ {
    fn of<'a, N: AsRef<str> + 'a>(
        kind: Kind,
        names: impl Iterator<Item = &'a N> + 'a,
    ) -> impl Iterator<Item = ObjectId> + 'a {
        names.map(move |name| ObjectId::new(kind, name))
    }
    of(Kind::Entity, catalog.entities.keys())
        .chain(of(Kind::Source, catalog.sources.keys()))
        .chain(of(Kind::FeatureView, catalog.feature_views.keys()))
        .chain(of(Kind::OnDemandView, catalog.on_demand_views.keys()))
        .chain(of(Kind::FeatureService, catalog.feature_services.keys()))
        .chain(of(Kind::Model, catalog.models.keys()))
}

/// Names that stand more than once, compared without case, each once.
fn repeated<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut seen = std::collections::HashSet::new();
    let mut twice = Vec::new();
    for name in names {
        if !seen.insert(name.to_lowercase()) && !twice.contains(&name) {
            twice.push(name);
        }
    }
    twice
}

/// `there is no entity …` and the remedy.
fn absent<'n>(
    what: impl Display,
    name: &str,
    known: impl IntoIterator<Item = &'n str> + Clone,
) -> (String, String) {
    (format!("there is no {what} `{name}`"), suggest(name, known))
}
