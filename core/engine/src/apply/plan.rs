//! What an apply would change: a pure function of the snapshot and the wanted objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use larder_base::model::{Catalog, FeatureView, Kind, ObjectId, Online};
use larder_base::plugin::SourceKind;
use larder_base::{
    Action, Change, ChangeSet, Diagnostic, Error, ErrorKind, Generation, Micros, Record, Result, Retired,
    SetName, Snapshot, StoreName, Version, ViewLayout, ViewName,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::diff::differences;
use super::effects::{destructions, impacts, lateness_warnings, reads_differently};
use super::layouts::{self, Place};
use super::summary;
use crate::definitions::{self, DefinitionSet};

/// One object as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Kind and name.
    pub id: ObjectId,
    /// Its definition set.
    pub set: SetName,
    /// Its document.
    pub spec: Arc<Json>,
    /// The oldest writer that may change it.
    pub min_writer: u32,
}

/// Which objects an apply may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of one definition set.
    Set(SetName),
    /// All: a rollback.
    All,
}

impl Scope {
    fn holds(&self, set: &SetName) -> bool {
        match self {
            Self::Set(own) => own == set,
            Self::All => true,
        }
    }

    pub(super) fn resource(&self) -> String {
        match self {
            Self::Set(set) => format!("set:{set}"),
            Self::All => "project".to_owned(),
        }
    }
}

/// What the planner needs to know besides the snapshot.
pub(super) struct Rules<'a> {
    pub(super) now: Micros,
    pub(super) revive: bool,
    pub(super) allow_type_change: bool,
    pub(super) source_kinds: &'a [SourceKind],
    /// The name that the default online store is configured under.
    pub(super) default_online: StoreName,
}

/// What an apply would change.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The version it was planned on.
    pub base: Version,
    /// Objects to create, update and delete.
    pub changes: Vec<Change>,
    /// What else they touch: services, models.
    pub impacts: Vec<String>,
    /// Views whose online values must be written again.
    pub backfills: Vec<Backfill>,
    /// Changes that destroy something that others use.
    pub destructive: Vec<String>,
    /// Things that work and will hurt later.
    #[serde(serialize_with = "as_text")]
    pub warnings: Vec<Diagnostic>,
    /// The catalog after the apply.
    #[serde(skip)]
    pub(super) after: Catalog,
    /// Views whose source must be looked at.
    #[serde(skip)]
    pub(super) changed_views: Vec<Arc<FeatureView>>,
    /// Layouts online stores must be ready for.
    #[serde(skip)]
    pub(super) prepare: Vec<(StoreName, Arc<ViewLayout>)>,
    #[serde(skip)]
    edits: Edits,
}

fn as_text<S: serde::Serializer>(findings: &[Diagnostic], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(findings.iter().map(ToString::to_string))
}

/// A view whose online values must be written again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Backfill {
    /// The view.
    pub view: ViewName,
    /// Why.
    pub reason: String,
}

#[derive(Debug, Clone, Default)]
struct Edits {
    puts: Vec<Record>,
    deletes: Vec<ObjectId>,
    layouts: Vec<ViewLayout>,
    drop_layouts: Vec<ViewName>,
    retired: Vec<Retired>,
    revived: Vec<Generation>,
}

/// The format of saved plans.
const SAVED_FORMAT: u32 = 1;

/// A plan in a file: what was shown to people, to be applied exactly so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedPlan {
    /// Format of the file.
    pub format: u32,
    /// The project.
    pub project: String,
    /// The version it was planned on.
    pub base: Version,
    /// The changes that were shown.
    pub changes: Vec<Change>,
    /// Hash of the objects as they will be: what a create creates is not in its change.
    pub content: String,
}

impl SavedPlan {
    pub(super) fn expect_same(&self, project: &str, plan: &Plan) -> Result<()> {
        if self.format != SAVED_FORMAT {
            return Err(Error::unsupported(format!(
                "the plan is of format {}, this build reads {SAVED_FORMAT}",
                self.format
            ))
            .help("plan again"));
        }
        if self.project != project {
            return Err(Error::conflict(format!(
                "the plan is one of project `{}`, not of `{project}`",
                self.project
            ))
            .help("plan again"));
        }
        // Nothing left to do is what the plan wanted, too: the reply to it may have been lost.
        if (self.changes == plan.changes && self.content == plan.content()) || plan.is_empty() {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "the plan was made on version {}; on version {} it would do something else: {}",
            self.base,
            plan.base,
            summary(&plan.changes)
        ))
        .help("plan again"))
    }
}

impl Plan {
    fn content(&self) -> String {
        let puts = self
            .edits
            .puts
            .iter()
            .map(|record| (&record.id, &record.set, &record.spec));
        let text = serde_json::json!([puts.collect::<Vec<_>>(), self.edits.deletes]).to_string();
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.edits.layouts.is_empty() && self.edits.drop_layouts.is_empty()
    }

    /// Counts for people: `2 to create, 0 to update, 1 to delete`.
    pub fn summary(&self) -> String {
        summary(&self.changes)
    }

    /// The plan as a file.
    pub fn save(&self, project: &str) -> SavedPlan {
        SavedPlan {
            format: SAVED_FORMAT,
            project: project.to_owned(),
            base: self.base,
            changes: self.changes.clone(),
            content: self.content(),
        }
    }

    pub(super) fn refuse_destructive(&self, allowed: bool) -> Result<()> {
        if allowed || self.destructive.is_empty() {
            return Ok(());
        }
        let findings = self.destructive.iter().map(Diagnostic::new).collect();
        Err(
            Error::from_diagnostics(ErrorKind::Conflict, "the plan: destructive changes", findings)
                .help("`larder apply --allow-destructive` does it all the same"),
        )
    }

    pub(super) fn change_set(&self, now: Micros, author: &str, message: &str) -> ChangeSet {
        let edits = self.edits.clone();
        let mut changes = ChangeSet::new(now, author, message);
        changes.puts = edits.puts;
        changes.deletes = edits.deletes;
        changes.layouts = edits.layouts;
        changes.drop_layouts = edits.drop_layouts;
        changes.retired = edits.retired;
        changes.reclaimed = edits.revived;
        changes.changes = self.changes.clone();
        changes
    }
}

/// The objects of a definition set as documents.
pub(super) fn wanted_of(definitions: &DefinitionSet) -> Result<Vec<Wanted>> {
    fn spec<T: Serialize>(object: &T) -> Result<Arc<Json>> {
        serde_json::to_value(object)
            .map(Arc::new)
            .map_err(|e| Error::internal("a definition is no JSON").source(e))
    }
    let all = &definitions.definitions;
    let mut specs = Vec::new();
    for object in &all.entities {
        specs.push(spec(object)?);
    }
    for object in &all.sources {
        specs.push(spec(object)?);
    }
    for object in &all.feature_views {
        specs.push(spec(object)?);
    }
    for object in &all.on_demand_views {
        specs.push(spec(object)?);
    }
    for object in &all.feature_services {
        specs.push(spec(object)?);
    }
    for object in &all.models {
        specs.push(spec(object)?);
    }
    // `ids` walks the lists in the same order.
    let wanted = all.ids().zip(specs).map(|(id, spec)| Wanted {
        id,
        set: definitions.set.clone(),
        spec,
        min_writer: 1,
    });
    Ok(wanted.collect())
}

/// The objects of a past version.
pub(super) fn wanted_of_snapshot(snapshot: &Snapshot) -> Vec<Wanted> {
    let wanted = |record: &Record| Wanted {
        id: record.id.clone(),
        set: record.set.clone(),
        spec: record.spec.clone(),
        min_writer: record.min_writer,
    };
    snapshot.records().values().map(wanted).collect()
}

/// Plans an apply.
pub(super) fn plan(
    before: &Snapshot,
    wanted: &[Wanted],
    scope: &Scope,
    definitions: Option<&DefinitionSet>,
    rules: Rules<'_>,
) -> Result<Plan> {
    let mut plan = Plan {
        base: before.version(),
        changes: Vec::new(),
        impacts: Vec::new(),
        backfills: Vec::new(),
        destructive: Vec::new(),
        warnings: Vec::new(),
        after: Catalog::default(),
        changed_views: Vec::new(),
        prepare: Vec::new(),
        edits: Edits::default(),
    };
    objects(&mut plan, before, wanted, scope, definitions)?;
    let after = after(&plan, before)?;
    plan.after = after;
    if let Some(definitions) = definitions {
        let findings = definitions::check(definitions, &plan.after, rules.source_kinds);
        if !findings.is_empty() {
            return Err(Error::from_diagnostics(
                ErrorKind::Definition,
                "the definitions",
                findings,
            ));
        }
    }
    type_changes(&mut plan, before, definitions, rules.allow_type_change)?;
    place_views(&mut plan, before, &rules)?;
    destructions(&mut plan, before);
    impacts(&mut plan, before);
    lateness_warnings(&mut plan, definitions);
    Ok(plan)
}

/// Which objects are created, updated and deleted.
fn objects(
    plan: &mut Plan,
    before: &Snapshot,
    wanted: &[Wanted],
    scope: &Scope,
    definitions: Option<&DefinitionSet>,
) -> Result<()> {
    let mut taken = Vec::new();
    for object in wanted {
        let change = |action, details| Change {
            action,
            id: object.id.clone(),
            set: object.set.clone(),
            details,
        };
        let put = |revision| Record {
            id: object.id.clone(),
            set: object.set.clone(),
            revision,
            min_writer: object.min_writer,
            spec: object.spec.clone(),
        };
        match before.records().get(&object.id) {
            Some(known) if known.set != object.set && *scope != Scope::All => {
                let place = definitions.and_then(|d| d.place(&object.id, &[]));
                let finding =
                    Diagnostic::new(format!("{} belongs to definition set `{}`", object.id, known.set));
                taken.push(finding.at(place).help("rename it, or remove it there first"));
            }
            Some(known) if known.spec == object.spec && known.set == object.set => {}
            Some(known) => {
                plan.changes
                    .push(change(Action::Update, differences(&known.spec, &object.spec)));
                plan.edits.puts.push(put(known.revision + 1));
            }
            None => {
                plan.changes.push(change(Action::Create, Vec::new()));
                plan.edits.puts.push(put(1));
            }
        }
    }
    if !taken.is_empty() {
        return Err(Error::from_diagnostics(
            ErrorKind::Definition,
            "the definitions",
            taken,
        ));
    }
    let keep: BTreeSet<&ObjectId> = wanted.iter().map(|object| &object.id).collect();
    for record in before
        .records()
        .values()
        .filter(|r| scope.holds(&r.set) && !keep.contains(&r.id))
    {
        // An object of a kind this build does not know is never deleted by an apply of files.
        if record.id.known_kind().is_none() && *scope != Scope::All {
            continue;
        }
        plan.changes.push(Change {
            action: Action::Delete,
            id: record.id.clone(),
            set: record.set.clone(),
            details: Vec::new(),
        });
        plan.edits.deletes.push(record.id.clone());
    }
    Ok(())
}

/// The catalog as it would be: computed by the function that every registry commits with.
fn after(plan: &Plan, before: &Snapshot) -> Result<Catalog> {
    let mut changes = ChangeSet::new(Micros(0), "", "");
    changes.puts = plan.edits.puts.clone();
    changes.deletes = plan.edits.deletes.clone();
    if changes.is_empty() {
        return Ok(before.catalog().clone());
    }
    Ok(before.apply(&changes)?.catalog().clone())
}

/// A feature keeps its type; another type is another feature, and that is said aloud.
fn type_changes(
    plan: &mut Plan,
    before: &Snapshot,
    definitions: Option<&DefinitionSet>,
    allowed: bool,
) -> Result<()> {
    let mut findings = Vec::new();
    for view in plan.after.feature_views.values() {
        let Some(old) = before.catalog().feature_views.get(&view.name) else {
            continue;
        };
        for feature in &view.features {
            let Some(was) = old.feature(feature.name.as_str()) else {
                continue;
            };
            if was.value_type == feature.value_type {
                continue;
            }
            let text = format!(
                "feature `{}:{}` changes its type from {} to {}",
                view.name, feature.name, was.value_type, feature.value_type
            );
            let place = definitions.and_then(|d| {
                let id = ObjectId::new(Kind::FeatureView, &view.name);
                d.place(&id, &["features", feature.name.as_str(), "type"])
                    .or_else(|| d.place(&id, &[]))
            });
            plan.destructive.push(text.clone());
            findings.push(Diagnostic::new(text).at(place).help(
                "give it a new name, or drop and add it under a new slot with `larder apply --allow-destructive`",
            ));
        }
    }
    if findings.is_empty() || allowed {
        return Ok(());
    }
    Err(Error::from_diagnostics(
        ErrorKind::Definition,
        "the definitions",
        findings,
    ))
}

/// Layouts: new, grown, moved, dropped.
fn place_views(plan: &mut Plan, before: &Snapshot, rules: &Rules<'_>) -> Result<()> {
    let mut taken: BTreeSet<Generation> = before
        .layouts()
        .values()
        .map(|layout| layout.generation())
        .collect();
    taken.extend(before.retired().iter().map(|retired| retired.layout.generation()));
    let changed: BTreeSet<&ObjectId> = plan.changes.iter().map(|change| &change.id).collect();
    let after = plan.after.clone();
    for view in after.feature_views.values() {
        let old_view = before.catalog().feature_views.get(&view.name);
        let source_changed = changed.contains(&ObjectId::new(Kind::Source, &view.source));
        let touched = source_changed
            || changed.contains(&ObjectId::new(Kind::FeatureView, &view.name))
            || view
                .entities
                .iter()
                .any(|entity| changed.contains(&ObjectId::new(Kind::Entity, entity)));
        // A view of another set may lose its source or entity, where that is allowed: it stays as it
        // was, and says what it lacks when it is used.
        let whole = after.sources.contains_key(&view.source)
            && view
                .entities
                .iter()
                .all(|entity| after.entities.contains_key(entity));
        if !touched || !whole {
            continue;
        }
        plan.changed_views.push(view.clone());
        // `true` and the default store's own name are the same place.
        let place_of = |view: &FeatureView| {
            let name = view.online.store()?;
            Some(if name == StoreName::default_store() {
                rules.default_online.clone()
            } else {
                name
            })
        };
        let Some(store) = place_of(view) else {
            continue;
        };
        let old_store = old_view.and_then(|old| place_of(old));
        let old_layout = before.layout(view.name.as_str());
        let place = Place {
            project: before.project(),
            view,
            join_keys: after.join_keys(view)?,
            store: store.clone(),
        };
        let was = old_layout.map(|layout| &**layout).zip(old_store.as_ref());
        let mut evolution =
            layouts::evolve(&place, was, before.retired(), &mut taken, rules.now, rules.revive)?;
        if old_layout.is_some() && evolution.retired.is_none() && reads_differently(before, &after, view) {
            evolution.backfill.push("its source changed".to_owned());
        }
        if was.is_some() && evolution.retired.is_some() {
            plan.destructive.push(format!(
                "feature view `{}` changes its keys or its store; its online values start anew",
                view.name
            ));
        }
        let reasons = evolution.backfill.drain(..);
        plan.backfills.extend(reasons.map(|reason| Backfill {
            view: view.name.clone(),
            reason,
        }));
        plan.edits.retired.extend(evolution.retired);
        plan.edits.revived.extend(evolution.revived);
        if old_layout.is_none_or(|old| **old != evolution.layout) {
            plan.prepare.push((store, Arc::new(evolution.layout.clone())));
            plan.edits.layouts.push(evolution.layout);
        }
    }
    for (name, layout) in before.layouts() {
        let view = after.feature_views.get(name);
        if view.is_some_and(|view| view.online != Online::Off) {
            continue;
        }
        let was = before
            .catalog()
            .feature_views
            .get(name)
            .and_then(|old| old.online.store());
        let store = was.unwrap_or_else(StoreName::default_store).to_string();
        plan.edits.drop_layouts.push(name.clone());
        plan.edits.retired.push(Retired {
            layout: (**layout).clone(),
            store,
            at: rules.now,
            reclaiming: false,
        });
    }
    Ok(())
}
