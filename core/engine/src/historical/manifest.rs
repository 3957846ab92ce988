//! What was a training set made from, and what came out? A document that can repeat and prove it.
//!
//! The format is described in docs/spec/manifest.md.

use larder_base::model::{Kind, Knowledge, ObjectId};
use larder_base::{Error, Micros, ProjectName, Result, Snapshot, Span, Version};
use larder_core::SourceFiles;
use larder_core::arrow::datatypes::Schema;
use larder_core::convert::infer_type;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::content::Content;
use super::parameters::Parameters;
use super::parts::Parts;
use super::report::HistoricalReport;
use crate::selection::{Resolved, Selection};

/// Format of the document.
const FORMAT: u32 = 1;

/// What a training set was made from, and what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Format of the document.
    pub format: u32,
    /// Version of larder that wrote it.
    pub larder: String,
    /// When.
    pub created: Micros,
    /// What was asked for, of which definitions.
    #[serde(flatten)]
    pub inputs: Inputs,
    /// The file of the entity rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<EntityFile>,
    /// The files of the sources as they were found.
    #[serde(default)]
    pub sources: Vec<SourceFiles>,
    /// The columns of the training set.
    pub schema: Vec<ManifestColumn>,
    /// Rows of the training set, those in no part included.
    pub rows: u64,
    /// Rows in no part because no condition of the split holds.
    #[serde(default)]
    pub outside: u64,
    /// Rows in no part because of the embargo.
    #[serde(default)]
    pub embargoed: u64,
    /// The files that were written.
    pub outputs: Vec<ManifestOutput>,
}

/// What was asked for, of which definitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Inputs {
    /// The project.
    pub project: ProjectName,
    /// Version of the definitions.
    pub version: Version,
    /// What was selected.
    pub selection: Selection,
    /// What else was asked for.
    pub parameters: Parameters,
    /// The views as they were joined.
    pub views: Vec<ViewUsed>,
    /// The objects that say how.
    pub definitions: Vec<DefinitionUsed>,
}

/// A view as it was joined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ViewUsed {
    /// The view, or `role=view`.
    pub view: String,
    /// Its source.
    pub source: String,
    /// Its time to live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// What created time decided.
    pub knowledge: Knowledge,
}

/// An object and the digest of what of it decides a training set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DefinitionUsed {
    /// Kind and name.
    #[serde(flatten)]
    pub id: ObjectId,
    /// How often it had been changed.
    pub revision: u64,
    /// xxh3-128 of `spec` as JSON with sorted keys and without spaces.
    pub digest: String,
    /// The object without descriptions, owners, tags and what concerns serving only.
    pub spec: Json,
}

/// The file of the entity rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EntityFile {
    /// Path, relative to the manifest's folder where it is below that.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// xxh3-128 of the file's bytes.
    pub digest: String,
}

impl EntityFile {
    /// The file of the entity rows.
    pub fn new(path: impl Into<String>, bytes: u64, digest: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            bytes,
            digest: digest.into(),
        }
    }

    /// The digest of bytes that are read until their end, and how many they are.
    ///
    /// # Errors
    /// What reading them says.
    pub fn digest_of(mut bytes: impl std::io::Read) -> std::io::Result<(u64, String)> {
        let mut hash = Xxh3::new();
        let mut buffer = vec![0_u8; 1 << 16];
        let mut size = 0;
        loop {
            match bytes.read(&mut buffer)? {
                0 => return Ok((size, format!("{:032x}", hash.digest128()))),
                read => {
                    hash.update(&buffer[..read]);
                    size += read as u64;
                }
            }
        }
    }
}

/// A column of the training set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManifestColumn {
    /// Name.
    pub name: String,
    /// Type, as definitions spell it where they can, else as Arrow does.
    #[serde(rename = "type")]
    pub value_type: String,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManifestOutput {
    /// The part; absent where the training set is not split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Name of the file, beside the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// xxh3-128 of its bytes: whether it is still the file that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What is in it.
    pub content: Content,
}

impl ManifestOutput {
    /// Says where the part was written to.
    pub fn written(&mut self, path: impl Into<String>, bytes: u64, digest: impl Into<String>) {
        self.path = Some(path.into());
        self.bytes = Some(bytes);
        self.digest = Some(digest.into());
    }
}

impl Manifest {
    /// The manifest of a training set whose stream has ended; the files are still to be named.
    pub fn new(
        inputs: &Inputs,
        schema: &Schema,
        report: &HistoricalReport,
        parts: &Parts,
        created: Micros,
    ) -> Self {
        let column = |field: &std::sync::Arc<larder_core::arrow::datatypes::Field>| ManifestColumn {
            name: field.name().clone(),
            value_type: match infer_type(field.data_type()) {
                Some(of) => of.to_string(),
                None => field.data_type().to_string(),
            },
        };
        let output = |(part, content): (Option<&str>, Content)| ManifestOutput {
            part: part.map(str::to_owned),
            path: None,
            bytes: None,
            digest: None,
            content,
        };
        let (outside, embargoed) = parts.left_out();
        Self {
            format: FORMAT,
            larder: env!("CARGO_PKG_VERSION").to_owned(),
            created,
            inputs: inputs.clone(),
            entities: None,
            sources: report.sources.clone(),
            schema: schema.fields().iter().map(column).collect(),
            rows: report.rows,
            outside,
            embargoed,
            outputs: parts
                .names()
                .into_iter()
                .zip(parts.contents())
                .map(output)
                .collect(),
        }
    }

    /// Says from which file the entity rows came.
    #[must_use]
    pub fn with_entities(mut self, entities: Option<EntityFile>) -> Self {
        self.entities = entities;
        self
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// `Input` for what is no manifest, `Unsupported` for one of a newer larder.
    pub fn from_json(text: &str) -> Result<Self> {
        let wrong = |cause| {
            Error::input("this is no manifest of a training set")
                .help("`larder historical --out FILE` writes FILE.manifest.json beside it")
                .source(cause)
        };
        let json: Json = serde_json::from_str(text).map_err(wrong)?;
        match json.get("format").and_then(Json::as_u64) {
            Some(format) if format > u64::from(FORMAT) => Err(Error::unsupported(format!(
                "the manifest has format {format}, this build reads up to {FORMAT}"
            ))
            .help("upgrade larder")),
            _ => serde_json::from_value(json).map_err(wrong),
        }
    }

    /// The manifest as JSON for people and programs.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail to be JSON: no maps with other keys than text, no infinities.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl Inputs {
    pub(super) fn new(
        snapshot: &Snapshot,
        selection: &Selection,
        resolved: &Resolved,
        parameters: &Parameters,
    ) -> Self {
        let views = resolved.views.iter().map(|view| ViewUsed {
            view: view.shown_name(),
            source: view.source.name.to_string(),
            ttl: view.view.ttl,
            knowledge: parameters.knowledge.unwrap_or(view.source.knowledge),
        });
        Self {
            project: snapshot.project().clone(),
            version: snapshot.version(),
            selection: selection.clone(),
            parameters: parameters.clone(),
            views: views.collect(),
            definitions: definitions(snapshot, &ids(resolved)),
        }
    }

    /// The objects of these definitions as a snapshot has them now; those that are gone are left
    /// out.
    pub fn definitions_at(&self, snapshot: &Snapshot) -> Vec<DefinitionUsed> {
        let ids: Vec<ObjectId> = self.definitions.iter().map(|used| used.id.clone()).collect();
        definitions(snapshot, &ids)
    }
}

/// The objects that decide a training set.
fn ids(resolved: &Resolved) -> Vec<ObjectId> {
    let service = resolved.service.iter();
    let mut ids: Vec<ObjectId> = service
        .map(|name| ObjectId::new(Kind::FeatureService, name))
        .collect();
    for view in &resolved.views {
        ids.push(ObjectId::new(Kind::FeatureView, &view.view.name));
        ids.push(ObjectId::new(Kind::Source, &view.source.name));
        ids.extend(
            view.view
                .entities
                .iter()
                .map(|entity| ObjectId::new(Kind::Entity, entity)),
        );
    }
    ids.sort();
    ids.dedup();
    ids
}

fn definitions(snapshot: &Snapshot, ids: &[ObjectId]) -> Vec<DefinitionUsed> {
    let record = |id: &ObjectId| {
        let record = snapshot.records().get(id)?;
        let spec = deciding(id.known_kind(), &record.spec);
        Some(DefinitionUsed {
            id: id.clone(),
            revision: record.revision,
            // serde_json keeps maps sorted, so equal definitions give equal text.
            digest: format!("{:032x}", xxh3_128(spec.to_string().as_bytes())),
            spec,
        })
    };
    ids.iter().filter_map(record).collect()
}

/// What of an object decides a training set.
fn deciding(kind: Option<Kind>, spec: &Json) -> Json {
    const WORDS: [&str; 3] = ["description", "owner", "tags"];
    const SERVING: [&str; 5] = ["online", "lateness", "retention", "schedule", "freshness"];
    let mut spec = spec.clone();
    let Some(fields) = spec.as_object_mut() else {
        return spec;
    };
    fields.retain(|name, _| {
        let serving = kind == Some(Kind::FeatureView) && SERVING.contains(&name.as_str());
        !WORDS.contains(&name.as_str()) && !serving
    });
    let list = match kind {
        Some(Kind::FeatureView) => "features",
        Some(Kind::Entity) => "join_keys",
        _ => return spec,
    };
    let items = fields.get_mut(list).and_then(Json::as_array_mut);
    for item in items.into_iter().flatten().filter_map(Json::as_object_mut) {
        item.retain(|name, _| !WORDS.contains(&name.as_str()) && name != "sensitivity");
    }
    spec
}
