//! What a registry holds of one project at one version, and what changes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::{Generation, ViewLayout};
use crate::model::{Catalog, Kind, ObjectId};
use crate::names::{ProjectName, SetName, ViewName};
use crate::time::Micros;

/// What this build can write; documents that need a newer writer are read but never changed.
pub const WRITER: u32 = 1;

/// The version of a project: 0 is the empty project, each commit adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One object as it is persisted: raw JSON, so that a binary that does not know it keeps it whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Kind and name.
    #[serde(flatten)]
    pub id: ObjectId,
    /// The definition set it belongs to.
    pub set: SetName,
    /// How often it was changed, from 1; the version of a feature service.
    pub revision: u64,
    /// The oldest writer that may change it.
    #[serde(default = "first_writer")]
    pub min_writer: u32,
    /// The object, `Arc`ed because a new snapshot shares most of them with the old one.
    pub spec: Arc<serde_json::Value>,
}

fn first_writer() -> u32 {
    1
}

/// A generation that no view uses any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Its layout: reclaim needs to know where it lived, rollback may revive it.
    pub layout: ViewLayout,
    /// The online store it lived in.
    pub store: String,
    /// When it was retired.
    pub at: Micros,
    /// Whether its rows are being freed: nobody may revive it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reclaiming: bool,
}

/// The persisted form of a project's version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotDocument {
    /// Format of the document.
    pub format: u32,
    /// The project.
    pub project: ProjectName,
    /// The version.
    pub version: Version,
    /// All objects.
    #[serde(default)]
    pub records: Vec<Record>,
    /// The layout of each online feature view.
    #[serde(default)]
    pub layouts: Vec<ViewLayout>,
    /// Generations waiting to be reclaimed.
    #[serde(default)]
    pub retired: Vec<Retired>,
}

/// One project at one version, immutable and shared.
#[derive(Debug, Clone)]
pub struct Snapshot {
    project: ProjectName,
    version: Version,
    records: BTreeMap<ObjectId, Record>,
    layouts: BTreeMap<ViewName, Arc<ViewLayout>>,
    retired: Vec<Retired>,
    catalog: Catalog,
}

impl Snapshot {
    /// The empty project.
    pub fn empty(project: ProjectName) -> Self {
        Self {
            project,
            version: Version(0),
            records: BTreeMap::new(),
            layouts: BTreeMap::new(),
            retired: Vec::new(),
            catalog: Catalog::default(),
        }
    }

    /// Reads a persisted document.
    ///
    /// # Errors
    /// `Unsupported` for a newer format, `Corrupt` when an object of a known kind cannot be read.
    pub fn from_document(document: SnapshotDocument) -> Result<Self> {
        if document.format > WRITER {
            return Err(Error::unsupported(format!(
                "the registry was written in format {}, this build reads up to {WRITER}",
                document.format
            ))
            .help("upgrade larder"));
        }
        let mut snapshot = Self::empty(document.project);
        snapshot.version = document.version;
        snapshot.retired = document.retired;
        for layout in document.layouts {
            snapshot.layouts.insert(layout.view().clone(), Arc::new(layout));
        }
        for record in document.records {
            match snapshot.catalog.put(&record) {
                // Only what asks for it is affected; the rest of the project serves on.
                Err(error) if record.min_writer <= WRITER => return Err(error),
                _ => {}
            }
            snapshot.records.insert(record.id.clone(), record);
        }
        Ok(snapshot)
    }

    /// The persisted form.
    pub fn to_document(&self) -> SnapshotDocument {
        SnapshotDocument {
            format: WRITER,
            project: self.project.clone(),
            version: self.version,
            records: self.records.values().cloned().collect(),
            layouts: self.layouts.values().map(|layout| (**layout).clone()).collect(),
            retired: self.retired.clone(),
        }
    }

    /// The project.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// All objects by name.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// All objects as they are persisted, also those of kinds this build does not know.
    pub fn records(&self) -> &BTreeMap<ObjectId, Record> {
        &self.records
    }

    /// The layouts of views that are, or may be, served online.
    pub fn layouts(&self) -> &BTreeMap<ViewName, Arc<ViewLayout>> {
        &self.layouts
    }

    /// The layout of a view.
    pub fn layout(&self, view: &str) -> Option<&Arc<ViewLayout>> {
        self.layouts.get(view)
    }

    /// Generations waiting to be reclaimed.
    pub fn retired(&self) -> &[Retired] {
        &self.retired
    }

    /// The next version: this one with changes. Every registry commits through this function.
    ///
    /// # Errors
    /// `Unsupported` when a change touches an object that needs a newer writer.
    pub fn apply(&self, changes: &ChangeSet) -> Result<Self> {
        let mut next = self.clone();
        next.version = Version(self.version.0 + 1);
        let touched = changes
            .puts
            .iter()
            .map(|record| &record.id)
            .chain(&changes.deletes);
        for id in touched {
            if let Some(old) = next.records.get(id)
                && old.min_writer > WRITER
            {
                return Err(Error::unsupported(format!(
                    "{id} was written by a newer larder and may not be changed"
                ))
                .help("upgrade larder"));
            }
        }
        for id in &changes.deletes {
            next.records.remove(id);
            next.catalog.remove(id);
        }
        for record in &changes.puts {
            next.catalog.put(record)?;
            next.records.insert(record.id.clone(), record.clone());
        }
        for view in &changes.drop_layouts {
            next.layouts.remove(view);
        }
        for layout in &changes.layouts {
            next.layouts
                .insert(layout.view().clone(), Arc::new(layout.clone()));
        }
        next.retired
            .retain(|retired| !changes.reclaimed.contains(&retired.layout.generation()));
        next.retired.extend(changes.retired.iter().cloned());
        Ok(next)
    }
}

impl Catalog {
    /// Adds a persisted object; a kind this build does not know is left to the record.
    fn put(&mut self, record: &Record) -> Result<()> {
        fn read<T: serde::de::DeserializeOwned>(record: &Record) -> Result<Arc<T>> {
            T::deserialize(&*record.spec).map(Arc::new).map_err(|cause| {
                Error::corrupt(format!("the registry's {} cannot be read", record.id)).source(cause)
            })
        }
        let name = &record.id.name;
        match record.id.known_kind() {
            Some(Kind::Entity) => drop(self.entities.insert(name.parse()?, read(record)?)),
            Some(Kind::Source) => drop(self.sources.insert(name.parse()?, read(record)?)),
            Some(Kind::FeatureView) => drop(self.feature_views.insert(name.parse()?, read(record)?)),
            Some(Kind::OnDemandView) => drop(self.on_demand_views.insert(name.parse()?, read(record)?)),
            Some(Kind::FeatureService) => drop(self.feature_services.insert(name.parse()?, read(record)?)),
            Some(Kind::Model) => drop(self.models.insert(name.parse()?, read(record)?)),
            None => {}
        }
        Ok(())
    }

    fn remove(&mut self, id: &ObjectId) {
        let name = id.name.as_str();
        match id.known_kind() {
            Some(Kind::Entity) => drop(self.entities.remove(name)),
            Some(Kind::Source) => drop(self.sources.remove(name)),
            Some(Kind::FeatureView) => drop(self.feature_views.remove(name)),
            Some(Kind::OnDemandView) => drop(self.on_demand_views.remove(name)),
            Some(Kind::FeatureService) => drop(self.feature_services.remove(name)),
            Some(Kind::Model) => drop(self.models.remove(name)),
            None => {}
        }
    }
}

/// What one commit changes. Computed by the engine's planner, applied by [`Snapshot::apply`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Random; a commit whose reply was lost is recognised by it.
    pub commit_id: CommitId,
    /// When.
    pub time: Micros,
    /// Who.
    pub author: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Objects created or replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub puts: Vec<Record>,
    /// Objects removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deletes: Vec<ObjectId>,
    /// Layouts created or replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layouts: Vec<ViewLayout>,
    /// Views whose layout goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_layouts: Vec<ViewName>,
    /// Generations that are no longer used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<Retired>,
    /// Generations that wait no longer: their rows are gone, or a rollback revived them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reclaimed: Vec<Generation>,
    /// The same for people.
    #[serde(default)]
    pub changes: Vec<Change>,
}

impl ChangeSet {
    /// An empty change set with a fresh commit id.
    pub fn new(time: Micros, author: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            commit_id: CommitId::random(),
            time,
            author: author.into(),
            message: message.into(),
            puts: Vec::new(),
            deletes: Vec::new(),
            layouts: Vec::new(),
            drop_layouts: Vec::new(),
            retired: Vec::new(),
            reclaimed: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Whether committing it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty()
            && self.deletes.is_empty()
            && self.layouts.is_empty()
            && self.drop_layouts.is_empty()
            && self.retired.is_empty()
            && self.reclaimed.is_empty()
    }

    /// The history entry of this change set.
    pub fn commit(&self, version: Version) -> Commit {
        Commit {
            version,
            commit_id: self.commit_id.clone(),
            time: self.time,
            author: self.author.clone(),
            message: self.message.clone(),
            changes: self.changes.clone(),
        }
    }
}

/// Random id of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommitId(pub String);

impl CommitId {
    /// A fresh id.
    pub fn random() -> Self {
        Self(format!("{:032x}", crate::random::u128()))
    }
}

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
}

impl Action {
    /// The spelling in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One changed object, told to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens.
    pub action: Action,
    /// To which object.
    #[serde(flatten)]
    pub id: ObjectId,
    /// Its definition set.
    pub set: SetName,
    /// Field-level differences, such as `ttl: 7d -> 14d`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// One entry of a project's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The version it made.
    pub version: Version,
    /// Its random id.
    pub commit_id: CommitId,
    /// When.
    pub time: Micros,
    /// Who.
    pub author: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// What.
    #[serde(default)]
    pub changes: Vec<Change>,
}
