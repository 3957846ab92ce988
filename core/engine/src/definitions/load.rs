//! How YAML files become definitions, with every mistake of every file at its place.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_base::error::suggest;
use larder_base::model::{Definitions, Kind, ObjectId};
use larder_base::{Diagnostic, Error, ErrorKind, Place, Result, SetName};
use serde::de::DeserializeOwned;

use super::DefinitionSet;
use super::origins::{Origin, Origins};
use crate::config::PROJECT_FILE;
use crate::yaml::{self, Content, Mark, Node};

/// Folders below each other; more is a link that leads back.
const MAX_FOLDERS: usize = 32;

/// A file by the name the user would type, and its text or why it has none.
type File = (String, std::result::Result<String, Diagnostic>);

/// Makes a definition set of files; nothing of it where one of them has a mistake.
pub(super) fn load(files: Vec<File>, set: SetName) -> Result<DefinitionSet> {
    let mut loader = Loader::default();
    for (file, text) in files {
        match text {
            Ok(text) => loader.file(&file, &text),
            Err(diagnostic) => loader.found.push(diagnostic),
        }
    }
    if !loader.found.is_empty() {
        return Err(Error::from_diagnostics(
            ErrorKind::Definition,
            "the definitions",
            loader.found,
        ));
    }
    Ok(DefinitionSet {
        set,
        definitions: loader.definitions,
        origins: Origins::new(loader.origins),
    })
}

#[derive(Default)]
struct Loader {
    definitions: Definitions,
    origins: HashMap<ObjectId, Origin>,
    /// Names without regard to case, views and on-demand views together.
    names: HashMap<(Kind, String), (ObjectId, Place)>,
    found: Vec<Diagnostic>,
}

impl Loader {
    fn file(&mut self, file: &str, text: &str) {
        let documents = match yaml::parse(file, text) {
            Ok(documents) => documents,
            Err(diagnostic) => return self.found.push(diagnostic),
        };
        let file: Arc<str> = file.into();
        for document in documents {
            self.document(&file, document);
        }
    }

    fn document(&mut self, file: &Arc<str>, document: Node) {
        let entries = match document.content {
            Content::Null => return,
            Content::Map(entries) => entries,
            _ => {
                return self.found.push(
                    Diagnostic::new(format!(
                        "expected lists of definitions, found {}",
                        document.kind()
                    ))
                    .at(Some(document.mark.in_file(file)))
                    .help("begin with a key such as `entities:` or `feature_views:`"),
                );
            }
        };
        for entry in entries {
            let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.plural() == &*entry.key) else {
                self.found
                    .push(unknown_list(&entry.key).at(Some(entry.key_mark.in_file(file))));
                continue;
            };
            match entry.value.content {
                // A list whose items are all commented out.
                Content::Null => {}
                Content::List(items) => items.into_iter().for_each(|item| self.object(file, kind, item)),
                _ => self.found.push(
                    Diagnostic::new(format!(
                        "expected a list of {}, found {}",
                        kind.plural().replace('_', " "),
                        entry.value.kind()
                    ))
                    .at(Some(entry.value.mark.in_file(file)))
                    .help("begin each with `- name:`"),
                ),
            }
        }
    }

    fn object(&mut self, file: &Arc<str>, kind: Kind, node: Node) {
        if let Err(diagnostic) = no_variables(file, &node) {
            return self.found.push(diagnostic);
        }
        let read = match kind {
            Kind::Entity => read(file, &node, &mut self.definitions.entities, |o| o.name.as_str()),
            Kind::Source => read(file, &node, &mut self.definitions.sources, |o| o.name.as_str()),
            Kind::FeatureView => read(file, &node, &mut self.definitions.feature_views, |o| {
                o.name.as_str()
            }),
            Kind::OnDemandView => read(file, &node, &mut self.definitions.on_demand_views, |o| {
                o.name.as_str()
            }),
            Kind::FeatureService => read(file, &node, &mut self.definitions.feature_services, |o| {
                o.name.as_str()
            }),
            Kind::Model => read(file, &node, &mut self.definitions.models, |o| o.name.as_str()),
            _ => Err(vec![Diagnostic::new(format!("{kind} cannot be defined in YAML"))]),
        };
        match read {
            Ok(name) => self.name(file, ObjectId::new(kind, name), kind, node),
            Err(mut found) => self.found.append(&mut found),
        }
    }

    fn name(&mut self, file: &Arc<str>, id: ObjectId, kind: Kind, node: Node) {
        let place = node.get("name").map_or(node.mark, |name| name.mark).in_file(file);
        let space = match kind {
            Kind::OnDemandView => Kind::FeatureView,
            kind => kind,
        };
        match self.names.entry((space, id.name.to_lowercase())) {
            Slot::Occupied(first) => {
                let (first, first_place) = first.get();
                let message = if *first == id {
                    format!("{id} is defined twice")
                } else {
                    format!("{id} has the name of {first}")
                };
                self.found
                    .push(Diagnostic::new(message).at(Some(place)).help(format!(
                        "the first is at {first_place}; names differ by more than case"
                    )));
            }
            Slot::Vacant(slot) => {
                slot.insert((id.clone(), place));
                let origin = Origin {
                    file: file.clone(),
                    node,
                };
                self.origins.insert(id, origin);
            }
        }
    }
}

/// Reads an object to the end of its list; its name, owned, because the list may grow.
fn read<T: DeserializeOwned>(
    file: &str,
    node: &Node,
    list: &mut Vec<T>,
    name: impl Fn(&T) -> &str,
) -> std::result::Result<String, Vec<Diagnostic>> {
    let object: T = yaml::read(file, node)?;
    let name = name(&object).to_owned();
    list.push(object);
    Ok(name)
}

fn unknown_list(key: &str) -> Diagnostic {
    let other_tools = match key {
        "views" | "feature_view" => Some("feature_views"),
        "services" | "feature_service" => Some("feature_services"),
        "on_demand_feature_views" | "on_demand_feature_view" => Some("on_demand_views"),
        "data_sources" | "batch_sources" | "source" => Some("sources"),
        "entity" => Some("entities"),
        _ => None,
    };
    let diagnostic = Diagnostic::new(format!("there is no list `{key}` of definitions"));
    match (key, other_tools) {
        ("features", _) => {
            diagnostic.help("features stand in a view: feature_views: [{ name: …, features: […] }]")
        }
        ("project" | "registry" | "online" | "offline" | "provider" | "environments", _) => {
            diagnostic.help(format!("`{key}` belongs into {PROJECT_FILE}"))
        }
        (_, Some(meant)) => diagnostic.help(format!("did you mean `{meant}`?")),
        _ => diagnostic.help(suggest(key, Kind::ALL.map(Kind::plural).iter().copied())),
    }
}

/// Definitions are kept in the registry's history for ever, so nothing is expanded in them.
fn no_variables(file: &str, node: &Node) -> std::result::Result<(), Diagnostic> {
    node.walk(&mut |node| {
        if !matches!(node.content, Content::Str) || !node.text.contains("${") {
            return Ok(());
        }
        Err(Diagnostic::new("`${…}` is not expanded in definitions")
            .at(Some(node.mark.in_file(file)))
            .help(format!(
                "they are kept in history for ever; hosts and secrets belong into {PROJECT_FILE}, as stores that sources name"
            )))
    })
}

/// The files of a definition set.
pub(super) fn files(dir: &Path) -> Result<Vec<File>> {
    let mut paths = Vec::new();
    let metadata = fs::metadata(dir).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no folder {} with definitions", shown(dir)),
            _ => format!("cannot read the definitions in {}", shown(dir)),
        };
        Error::definition(message)
            .help(format!("create it, or set `definitions:` in {PROJECT_FILE}"))
            .source(error)
    })?;
    if metadata.is_file() {
        paths.push(dir.to_owned());
    } else {
        collect(dir, 0, &mut paths)?;
        if paths.is_empty() {
            return Err(
                Error::definition(format!("there are no YAML files in {}", shown(dir)))
                    .help("definitions are files named *.yaml or *.yml"),
            );
        }
    }
    paths.sort();
    Ok(paths.iter().map(|path| (shown(path), text(path))).collect())
}

fn collect(dir: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::definition(format!("cannot read the folder {}", shown(dir))).source(error)
    };
    if depth > MAX_FOLDERS {
        return Err(Error::definition(format!(
            "folders nest deeper than {MAX_FOLDERS} at {}",
            shown(dir)
        ))
        .help("is there a link that leads back?"));
    }
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.starts_with('.') || name == PROJECT_FILE {
            continue;
        }
        if path.is_dir() {
            collect(&path, depth + 1, paths)?;
        } else if matches!(path.extension().and_then(OsStr::to_str), Some("yaml" | "yml")) {
            paths.push(path);
        }
    }
    Ok(())
}

fn text(path: &Path) -> std::result::Result<String, Diagnostic> {
    let at = Some(Mark { line: 1, column: 1 }.in_file(&shown(path)));
    // A pipe would be waited for until somebody writes to it.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(Diagnostic::new("this is no regular file")
            .at(at)
            .help("remove it; definitions are files named *.yaml or *.yml"));
    }
    let bytes = fs::read(path)
        .map_err(|error| Diagnostic::new(format!("cannot read the file: {error}")).at(at.clone()))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let mark = Mark {
            line: u32::try_from(line).unwrap_or(u32::MAX).saturating_add(1),
            column: 1,
        };
        Diagnostic::new("the file is not UTF-8 text")
            .at(Some(mark.in_file(&shown(path))))
            .help("save it in UTF-8")
    })
}

/// A path as the user would type it: relative to the current folder where it is below.
pub(crate) fn shown(path: &Path) -> String {
    let below = std::env::current_dir()
        .ok()
        .and_then(|current| path.strip_prefix(current).ok().map(Path::to_owned));
    let path = below.as_deref().unwrap_or(path);
    let clean = path.strip_prefix("./").unwrap_or(path);
    if clean.as_os_str().is_empty() {
        return ".".to_owned();
    }
    clean.display().to_string()
}
