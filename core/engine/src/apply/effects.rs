//! What a plan touches besides what it changes: who loses something, who must look, what will hurt later.

use std::collections::{BTreeMap, BTreeSet};

use larder_base::model::{Catalog, FeatureView, Kind, ObjectId, Online};
use larder_base::{Action, Diagnostic, Snapshot, ViewName};

use super::plan::Plan;
use crate::definitions::DefinitionSet;

/// Whether a view takes other rows or columns from its source than before.
pub(super) fn reads_differently(before: &Snapshot, after: &Catalog, view: &FeatureView) -> bool {
    let hash = |catalog: &Catalog| {
        let view = catalog.feature_views.get(&view.name)?;
        Some(crate::fingerprint::of(catalog.sources.get(&view.source)?, view))
    };
    hash(before.catalog()) != hash(after)
}

/// Whether a view needs an entity or a source.
fn uses(view: &FeatureView, kind: Kind, name: &str) -> bool {
    match kind {
        Kind::Entity => view.entities.iter().any(|entity| *entity == *name),
        Kind::Source => view.source == *name,
        _ => false,
    }
}

/// What goes although somebody who stays uses it.
pub(super) fn destructions(plan: &mut Plan, before: &Snapshot) {
    let catalog = before.catalog();
    let after = plan.after.clone();
    // Who goes along with it loses nothing; who stays does, even if it was changed to do without.
    let users = |view: &ViewName, feature: Option<&str>| -> Vec<String> {
        let of_services = catalog.feature_services.values().filter(|service| {
            after.feature_services.contains_key(&service.name)
                && service.features.iter().any(|item| {
                    let wants = |name: &str| {
                        item.features
                            .as_ref()
                            .is_none_or(|f| f.iter().any(|n| *n == *name))
                    };
                    item.view == *view && feature.is_none_or(wants)
                })
        });
        let of_views = catalog.on_demand_views.values().filter(|other| {
            after.on_demand_views.contains_key(&other.name)
                && other.inputs.features.iter().any(|text| {
                    text.parse::<larder_base::model::Reference>().is_ok_and(|r| {
                        r.view == *view && feature.is_none_or(|f| r.feature.is_none_or(|name| name == *f))
                    })
                })
        });
        let services = of_services.map(|service| format!("feature service `{}`", service.name));
        services
            .chain(of_views.map(|view| format!("on-demand view `{}`", view.name)))
            .collect()
    };
    for change in plan
        .changes
        .iter()
        .filter(|change| change.action == Action::Delete)
    {
        let used_by = match (change.id.known_kind(), change.id.name.parse::<ViewName>()) {
            (Some(Kind::FeatureView | Kind::OnDemandView), Ok(view)) => users(&view, None),
            (Some(kind @ (Kind::Entity | Kind::Source)), _) => {
                let views = plan.after.feature_views.values();
                let views = views.filter(|view| uses(view, kind, &change.id.name));
                views
                    .map(|view| format!("feature view `{}`", view.name))
                    .collect()
            }
            (Some(Kind::FeatureService), _) => {
                let models = catalog.models.values().filter(|model| {
                    after.models.contains_key(&model.name) && model.service == *change.id.name
                });
                models.map(|model| format!("model `{}`", model.name)).collect()
            }
            _ => Vec::new(),
        };
        if !used_by.is_empty() {
            plan.destructive.push(format!(
                "{} goes; it is used by {}",
                change.id,
                used_by.join(", ")
            ));
        }
    }
    for view in plan.after.feature_views.values() {
        let Some(old) = catalog.feature_views.get(&view.name) else {
            continue;
        };
        for feature in old
            .features
            .iter()
            .filter(|feature| view.feature(feature.name.as_str()).is_none())
        {
            let used_by = users(&view.name, Some(feature.name.as_str()));
            if !used_by.is_empty() {
                let used_by = used_by.join(", ");
                plan.destructive.push(format!(
                    "feature `{}:{}` goes; it is used by {used_by}",
                    view.name, feature.name
                ));
            }
        }
    }
}

/// Services and models that a changed view or service reaches.
pub(super) fn impacts(plan: &mut Plan, before: &Snapshot) {
    let mut touched: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let changed = |kind: Kind, name: &str| {
        plan.changes
            .iter()
            .any(|c| c.id == ObjectId::new(kind, name) && c.action != Action::Create)
    };
    // A view is touched by its own change, by its source's and by its entities'; an on-demand view
    // by those it reads.
    let mut views: BTreeSet<&str> = plan.changed_views.iter().map(|view| view.name.as_str()).collect();
    for view in plan.after.on_demand_views.values() {
        let reads = |text: &String| {
            text.split(':')
                .next()
                .is_some_and(|name| views.contains(name.trim()))
        };
        if view.inputs.features.iter().any(reads) {
            views.insert(view.name.as_str());
        }
    }
    let known = before.catalog();
    let was = |name: &str| known.feature_views.contains_key(name) || known.on_demand_views.contains_key(name);
    let touched_view = |name: &str| was(name) && views.contains(name);
    for service in plan.after.feature_services.values() {
        let views: Vec<&str> = service
            .features
            .iter()
            .map(|item| item.view.as_str())
            .filter(|view| touched_view(view) || changed(Kind::OnDemandView, view))
            .collect();
        if views.is_empty() && !changed(Kind::FeatureService, service.name.as_str()) {
            continue;
        }
        let models = plan
            .after
            .models
            .values()
            .filter(|model| model.service == service.name);
        let models: BTreeSet<String> = models
            .map(|model| match model.stage.as_str() {
                "" => format!("model `{}`", model.name),
                stage => format!("model `{}` ({stage})", model.name),
            })
            .collect();
        touched.insert(format!("feature service `{}`", service.name), models);
    }
    plan.impacts = touched
        .into_iter()
        .map(|(service, models)| match models.is_empty() {
            true => service,
            false => format!(
                "{service}, used by {}",
                models.into_iter().collect::<Vec<_>>().join(", ")
            ),
        })
        .collect();
}

/// A view whose late rows nobody would find.
pub(super) fn lateness_warnings(plan: &mut Plan, definitions: Option<&DefinitionSet>) {
    for view in &plan.changed_views {
        let Some(source) = plan.after.sources.get(&view.source) else {
            continue;
        };
        if source.created_time.is_none() && view.lateness.is_none() && view.online != Online::Off {
            let place = definitions.and_then(|d| d.place(&ObjectId::new(Kind::FeatureView, &view.name), &[]));
            plan.warnings.push(
                Diagnostic::new(format!(
                    "feature view `{}` has neither a `created_time` on its source nor a `lateness`: incremental runs miss rows that arrive late",
                    view.name
                ))
                .at(place)
                .help("set `lateness: 2d` or whatever your pipeline needs"),
            );
        }
    }
}
