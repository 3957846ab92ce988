//! Words that make cases for registries short.

use std::sync::Arc;
use std::time::Duration;

use larder_core::model::{Kind, ObjectId};
use larder_core::{
    Action, Change, ChangeSet, ColumnName, FeatureName, Generation, JoinKey, Loaded, Micros, ProjectName,
    Record, Registry, SetName, Slot, Snapshot, ValueType, Version, ViewLayout, ViewName,
};
use serde_json::json;

use crate::case::{Options, Verdict};
use crate::check::{ensure, same};
use crate::fixture::RegistryFixture;

/// What a case works on.
pub(crate) struct Cx<'f> {
    pub(crate) fixture: &'f dyn RegistryFixture,
    pub(crate) options: Options,
}

impl Cx<'_> {
    /// An empty registry.
    pub(crate) async fn fresh(&self) -> Verdict<Arc<dyn Registry>> {
        self.fixture.wipe().await?;
        self.open().await
    }

    /// Another handle onto the same data.
    pub(crate) async fn open(&self) -> Verdict<Arc<dyn Registry>> {
        Ok(self.fixture.open().await?)
    }
}

pub(crate) fn project(name: &str) -> Verdict<ProjectName> {
    Ok(ProjectName::new(name)?)
}

/// An entity with a description, which is all that these cases need of an object.
pub(crate) fn entity(name: &str, description: &str) -> Verdict<Record> {
    let spec = json!({
        "name": name,
        "join_keys": [{ "name": format!("{name}_id"), "type": "int64" }],
        "description": description,
    });
    record(ObjectId::new(Kind::Entity, name), spec)
}

pub(crate) fn record(id: ObjectId, spec: serde_json::Value) -> Verdict<Record> {
    Ok(Record {
        id,
        set: SetName::new("main")?,
        revision: 1,
        min_writer: 1,
        spec: Arc::new(spec),
    })
}

/// A change set that puts records, told to people like the planner does.
pub(crate) fn puts(message: &str, records: Vec<Record>) -> ChangeSet {
    let mut changes = ChangeSet::new(Micros(1_700_000_000_000_000), "ada", message);
    changes.changes = records
        .iter()
        .map(|record| Change {
            action: Action::Create,
            id: record.id.clone(),
            set: record.set.clone(),
            details: vec!["description: a -> b".to_owned()],
        })
        .collect();
    changes.puts = records;
    changes
}

pub(crate) fn view_layout(
    project: &ProjectName,
    view: &str,
    generation: u32,
    slots: usize,
) -> Verdict<ViewLayout> {
    let mut features = Vec::new();
    for number in 0..slots {
        features.push(Slot::new(
            FeatureName::new(format!("f{number}"))?,
            ValueType::INT64,
        ));
    }
    let key = JoinKey {
        name: ColumnName::new("user_id")?,
        value_type: ValueType::INT64,
    };
    Ok(ViewLayout::new(
        project.clone(),
        ViewName::new(view)?,
        Generation(generation),
        vec![key],
        features,
    ))
}

/// The newest version.
pub(crate) async fn newest(registry: &Arc<dyn Registry>, project: &ProjectName) -> Verdict<Arc<Snapshot>> {
    match registry.load(project, None, Duration::ZERO).await? {
        Loaded::Changed(snapshot) => Ok(snapshot),
        Loaded::Unchanged => {
            ensure!(
                false,
                "load without a known version answered that nothing changed"
            );
            Ok(Arc::new(Snapshot::empty(project.clone())))
        }
    }
}

/// Fails unless two snapshots are the same document.
pub(crate) fn same_snapshot(got: &Snapshot, want: &Snapshot, what: &str) -> Verdict {
    let (got, want) = (got.to_document(), want.to_document());
    same(got.version, want.version, &format!("{what}: the version"))?;
    same(&got.project, &want.project, &format!("{what}: the project"))?;
    same(&got.records, &want.records, &format!("{what}: the records"))?;
    same(&got.layouts, &want.layouts, &format!("{what}: the layouts"))?;
    same(
        &got.retired,
        &want.retired,
        &format!("{what}: the retired generations"),
    )
}

/// Commits on top of the newest version, and returns the new one.
pub(crate) async fn commit(
    registry: &Arc<dyn Registry>,
    project: &ProjectName,
    base: u64,
    changes: &ChangeSet,
) -> Verdict<Version> {
    let version = registry.commit(project, Version(base), changes).await?;
    same(version, Version(base + 1), "the version that a commit made")?;
    Ok(version)
}
