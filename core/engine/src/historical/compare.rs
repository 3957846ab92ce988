//! What changed between two runs of one training set? Pure: two manifests in, differences out.

use std::collections::BTreeMap;

use larder_core::{SourceFile, SourceFiles};
use serde::{Deserialize, Serialize};

use super::manifest::{DefinitionUsed, EntityFile, Manifest, ManifestOutput};
use crate::apply::differences;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Changed {
    /// A definition.
    Definition,
    /// What was asked for.
    Parameter,
    /// The file of the entity rows.
    EntityRows,
    /// A file of a source.
    SourceFile,
    /// The columns of the training set.
    Schema,
    /// The rows of the training set.
    Content,
    /// A file of the training set, since it was written.
    Output,
    /// The training set could not be made again.
    Run,
}

impl Changed {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Definition => "definition",
            Self::Parameter => "parameter",
            Self::EntityRows => "entity rows",
            Self::SourceFile => "source file",
            Self::Schema => "schema",
            Self::Content => "content",
            Self::Output => "output",
            Self::Run => "run",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Difference {
    /// What kind of thing differs.
    pub what: Changed,
    /// Which one.
    pub name: String,
    /// How.
    pub how: String,
}

impl Difference {
    /// A difference.
    pub fn new(what: Changed, name: impl Into<String>, how: impl Into<String>) -> Self {
        Self {
            what,
            name: name.into(),
            how: how.into(),
        }
    }
}

impl Manifest {
    /// What differs now: causes first, then effects. Where the training set was made again
    /// equal, only causes can be left, which then made no difference.
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        let mut found = definitions(&self.inputs.definitions, &now.inputs.definitions);
        found.extend(parameters(self, now));
        found.extend(entities(self.entities.as_ref(), now.entities.as_ref()));
        found.extend(sources(&self.sources, &now.sources));
        found.extend(schema(self, now));
        found.extend(contents(self, now));
        found
    }

    /// Whether the training sets are equal, row for row; those of an interval in whatever order.
    pub fn same_content(&self, now: &Self) -> bool {
        let same = |(was, now): (&ManifestOutput, &ManifestOutput)| {
            was.part == now.part && was.content.is_same(&now.content)
        };
        self.outputs.len() == now.outputs.len() && self.outputs.iter().zip(&now.outputs).all(same)
    }
}

/// Which objects differ, field by field.
pub fn definitions(was: &[DefinitionUsed], now: &[DefinitionUsed]) -> Vec<Difference> {
    let mut found = Vec::new();
    let tell = |name: String, how: String| Difference::new(Changed::Definition, name, how);
    for old in was {
        match now.iter().find(|new| new.id == old.id) {
            None => found.push(tell(old.id.to_string(), "is gone".to_owned())),
            Some(new) if new.digest != old.digest => {
                let lines = differences(&old.spec, &new.spec);
                found.extend(lines.into_iter().map(|line| tell(old.id.to_string(), line)));
            }
            Some(_) => {}
        }
    }
    for new in now.iter().filter(|new| !was.iter().any(|old| old.id == new.id)) {
        found.push(tell(new.id.to_string(), "takes part now".to_owned()));
    }
    found
}

fn parameters(was: &Manifest, now: &Manifest) -> Vec<Difference> {
    let json = |manifest: &Manifest| {
        serde_json::json!({
            "selection": manifest.inputs.selection,
            "parameters": manifest.inputs.parameters,
        })
    };
    let lines = differences(&json(was), &json(now));
    lines
        .into_iter()
        .map(|line| {
            let (name, how) = line.split_once(": ").unwrap_or((line.as_str(), ""));
            Difference::new(Changed::Parameter, name.trim_start_matches("parameters."), how)
        })
        .collect()
}

fn entities(was: Option<&EntityFile>, now: Option<&EntityFile>) -> Option<Difference> {
    match (was, now) {
        (Some(was), Some(now)) if was.digest == now.digest => None,
        (Some(was), Some(now)) => Some(Difference::new(
            Changed::EntityRows,
            &was.path,
            format!("the file changed: {}", sizes(was.bytes, now.bytes)),
        )),
        (Some(was), None) => Some(Difference::new(Changed::EntityRows, &was.path, "is gone")),
        (None, Some(now)) => Some(Difference::new(Changed::EntityRows, &now.path, "is new")),
        (None, None) => None,
    }
}

fn sizes(was: u64, now: u64) -> String {
    match was == now {
        true => format!("{was} bytes still"),
        false => format!("{was} -> {now} bytes"),
    }
}

fn sources(was: &[SourceFiles], now: &[SourceFiles]) -> Vec<Difference> {
    let by_name = |all: &[SourceFiles]| -> BTreeMap<String, BTreeMap<String, SourceFile>> {
        let files = |source: &SourceFiles| source.files.iter().map(|f| (f.path.clone(), f.clone())).collect();
        all.iter()
            .map(|source| (source.source.clone(), files(source)))
            .collect()
    };
    let (was, now) = (by_name(was), by_name(now));
    let none = BTreeMap::new();
    let mut found = Vec::new();
    for source in was
        .keys()
        .chain(now.keys().filter(|name| !was.contains_key(*name)))
    {
        let (was, now) = (was.get(source).unwrap_or(&none), now.get(source).unwrap_or(&none));
        let mut tell = |path: &str, how: String| {
            found.push(Difference::new(
                Changed::SourceFile,
                path,
                format!("{how} (source `{source}`)"),
            ));
        };
        // Where rows went that were in files that are gone.
        let mut compacted: BTreeMap<String, &str> = BTreeMap::new();
        let mut merged: BTreeMap<&str, usize> = BTreeMap::new();
        for new in now.values() {
            for name in new.replaces.iter() {
                let path = beside(&new.path, name);
                if was.contains_key(&path) && !now.contains_key(&path) {
                    compacted.insert(path, &new.path);
                    *merged.entry(&new.path).or_default() += 1;
                }
            }
        }
        for (path, old) in was {
            match now.get(path) {
                None if compacted.contains_key(path.as_str()) => {
                    tell(path, format!("was compacted into `{}`", compacted[path.as_str()]));
                }
                None => tell(path, "is gone".to_owned()),
                Some(new) if new.bytes != old.bytes => {
                    tell(path, format!("changed: {}", sizes(old.bytes, new.bytes)));
                }
                Some(new) if new.tag != old.tag => {
                    tell(path, "was written again in the same size".to_owned())
                }
                Some(_) => {}
            }
        }
        for (path, new) in now.iter().filter(|(path, _)| !was.contains_key(*path)) {
            match merged.get(path.as_str()) {
                None => tell(path, format!("is new, {} bytes", new.bytes)),
                Some(from) => tell(
                    path,
                    format!("is new, with the rows of {from} files that were compacted"),
                ),
            }
        }
    }
    found
}

/// The path of a file in the folder of another.
fn beside(path: &str, name: &str) -> String {
    let folder = path
        .rfind(['/', std::path::MAIN_SEPARATOR])
        .map_or(0, |at| at + 1);
    format!("{}{name}", &path[..folder])
}

fn schema(was: &Manifest, now: &Manifest) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut tell = |name: &str, how: String| found.push(Difference::new(Changed::Schema, name, how));
    for old in &was.schema {
        match now.schema.iter().find(|new| new.name == old.name) {
            None => tell(&old.name, "is gone".to_owned()),
            Some(new) if new.value_type != old.value_type => {
                tell(&old.name, format!("{} -> {}", old.value_type, new.value_type));
            }
            Some(_) => {}
        }
    }
    for new in &now.schema {
        if !was.schema.iter().any(|old| old.name == new.name) {
            tell(&new.name, format!("is new, {}", new.value_type));
        }
    }
    let both = |manifest: &Manifest, other: &Manifest| -> Vec<String> {
        let there = |name: &String| other.schema.iter().any(|column| column.name == *name);
        let names = manifest.schema.iter().map(|column| column.name.clone());
        names.filter(there).collect()
    };
    if both(was, now) != both(now, was) {
        tell("columns", "stand in another order".to_owned());
    }
    found
}

fn contents(was: &Manifest, now: &Manifest) -> Vec<Difference> {
    let mut found = Vec::new();
    for old in &was.outputs {
        let Some(new) = now.outputs.iter().find(|new| new.part == old.part) else {
            continue;
        };
        if !old.content.is_same(&new.content) {
            found.push(Difference::new(
                Changed::Content,
                shown_part(old),
                what_differs(old, new),
            ));
        }
    }
    found
}

fn shown_part(output: &ManifestOutput) -> String {
    match (&output.path, &output.part) {
        (Some(path), _) => path.clone(),
        (None, Some(part)) => format!("part {part}"),
        (None, None) => "the training set".to_owned(),
    }
}

fn what_differs(old: &ManifestOutput, new: &ManifestOutput) -> String {
    let mut parts = Vec::new();
    if old.content.rows != new.content.rows {
        parts.push(format!("{} -> {} rows", old.content.rows, new.content.rows));
    }
    let differ = old.content.columns.iter().filter(|column| {
        let same = new.content.columns.iter().find(|c| c.name == column.name);
        same.is_some_and(|same| same.digest != column.digest || same.kind != column.kind)
    });
    let names: Vec<&str> = differ.map(|column| column.name.as_str()).collect();
    match (names.len(), old.content.rows == new.content.rows) {
        (0, true) => parts.push("the columns are others".to_owned()),
        // Of other rows every column differs; that says nothing.
        (0, false) => {}
        (many, false) if many == old.content.columns.len() => {}
        // Nor which rows stand beside each other, where they have no order.
        (_, true) if old.content.any_order.is_some() => parts.push("other rows".to_owned()),
        _ => parts.push(format!("columns {}", names.join(", "))),
    }
    parts.join("; ")
}
