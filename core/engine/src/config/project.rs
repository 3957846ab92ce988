//! Reading `larder.yaml` and handing out the configuration of each role when it is first used.

use std::fmt;
use std::path::{Path, PathBuf};

use larder_base::error::suggest;
use larder_base::plugin::{OnlineStoreConfig, ProviderConfig, RegistryConfig, SourceKind};
use larder_base::{Diagnostic, Error, ProjectName, Result, Role, SetName, StoreName};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::block::{Stores, config_error, typed};
use super::expand::{Variables, expand};
use super::historical::HistoricalConfig;
use super::plugins::Plugins;
use crate::definitions::shown;
use crate::yaml::{self, Content, Mark, Node};

/// The name of the project file.
pub const PROJECT_FILE: &str = "larder.yaml";

const KEYS: [&str; 9] = [
    "project",
    "definitions",
    "registry",
    "online",
    "offline",
    "historical",
    "provider",
    "environments",
    "compat",
];
const ENVIRONMENT_KEYS: [&str; 6] = [
    "definitions",
    "registry",
    "online",
    "offline",
    "historical",
    "provider",
];

/// A project as its file describes it, for one environment. Stores are not opened, and the
/// blocks of stores not even read before their configuration is asked for.
#[derive(Clone)]
#[non_exhaustive]
pub struct Project {
    /// The project.
    pub name: ProjectName,
    /// The folder of the file; relative paths start here.
    pub dir: PathBuf,
    /// The file.
    pub file: PathBuf,
    /// The environment, where one is chosen.
    pub env: Option<String>,
    /// Where its definitions are.
    pub definitions: DefinitionsConfig,
    /// What training sets may take.
    pub historical: HistoricalConfig,
    blocks: Blocks,
    plugins: Plugins,
    variables: Variables,
    /// The file as messages call it.
    shown: String,
}

/// Where a project's definitions are, and the set they make.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DefinitionsConfig {
    /// The folder or file, with the project's folder.
    pub path: PathBuf,
    /// The definition set; named like the project unless set.
    pub set: SetName,
}

/// The blocks of the stores, variables unexpanded.
#[derive(Clone, Default)]
struct Blocks {
    definitions: Option<Node>,
    historical: Option<Node>,
    registry: Option<Node>,
    online: Option<Stores>,
    offline: Option<Stores>,
    provider: Option<Node>,
}

impl Project {
    /// Reads a project file, or the `larder.yaml` of a folder, for an environment.
    ///
    /// # Errors
    /// `Config` with every mistake at its place; a block whose plugin refuses it is reported
    /// only when its role is first used.
    pub fn load(path: &Path, env: Option<&str>, plugins: &Plugins) -> Result<Self> {
        Self::load_with(path, env, plugins, Variables::of_process())
    }

    /// Like [`Project::load`], with variables from elsewhere than the environment.
    ///
    /// # Errors
    /// Like [`Project::load`].
    pub fn load_with(
        path: &Path,
        env: Option<&str>,
        plugins: &Plugins,
        variables: Variables,
    ) -> Result<Self> {
        let file = if path.is_dir() {
            path.join(PROJECT_FILE)
        } else {
            path.to_owned()
        };
        let text = std::fs::read_to_string(&file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => missing(path, &file),
            _ => Error::config(format!("cannot read {}", shown(&file))).source(error),
        })?;
        Self::parse(&file, &text, env, plugins, variables)
    }

    /// Reads the text of a project file as if it stood at a path.
    ///
    /// # Errors
    /// Like [`Project::load`].
    pub fn parse(
        file: &Path,
        text: &str,
        env: Option<&str>,
        plugins: &Plugins,
        variables: Variables,
    ) -> Result<Self> {
        let shown = shown(file);
        let root = document(&shown, text)?;
        let dir = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut found = Vec::new();
        let mut blocks = Blocks::default();
        let mut environments: Vec<(&str, Blocks)> = Vec::new();
        blocks.read(&shown, &root, &KEYS, &mut found);
        if let Some(node) = root.get("environments").filter(|node| !node.is_null()) {
            if !matches!(node.content, Content::Map(_)) {
                found.push(
                    Diagnostic::new(format!("expected environments by name, found {}", node.kind()))
                        .at(Some(node.mark.in_file(&shown)))
                        .help("write environments: { prod: { online: … } }"),
                );
            }
            for entry in node.entries() {
                let mut own = Blocks::default();
                own.read(&shown, &entry.value, &ENVIRONMENT_KEYS, &mut found);
                environments.push((&entry.key, own));
            }
        }
        let name = match root.get("project") {
            Some(node) => scalar(&shown, node, &variables, &mut found),
            None => {
                found.push(
                    Diagnostic::new("the key `project` is missing")
                        .at(Some(root.mark.in_file(&shown)))
                        .help("name the project: project: fraud"),
                );
                None
            }
        };
        if let Some(node) = root.get("compat") {
            found.push(
                Diagnostic::new("`compat` comes with the feature server in a later part of larder")
                    .at(Some(node.mark.in_file(&shown)))
                    .help("remove it"),
            );
        }
        if let Some(env) = env {
            match environments.iter().find(|(name, _)| *name == env) {
                Some((_, own)) => blocks.replace(own.clone()),
                None => {
                    let known = environments.iter().map(|(name, _)| *name);
                    return Err(
                        Error::config(format!("there is no environment `{env}` in {shown}"))
                            .help(suggest(env, known)),
                    );
                }
            }
        }
        let definitions = definitions(
            &shown,
            &dir,
            name.as_ref(),
            blocks.definitions.as_ref(),
            &variables,
            &mut found,
        );
        let historical = blocks.historical.as_ref();
        let historical = HistoricalConfig::read(&shown, &dir, historical, &variables, &mut found);
        match (name, definitions, historical) {
            (Some(name), Some(definitions), Some(historical)) if found.is_empty() => Ok(Self {
                name,
                dir,
                file: file.to_owned(),
                env: env.map(str::to_owned),
                definitions,
                historical,
                blocks,
                plugins: plugins.clone(),
                variables,
                shown,
            }),
            _ => Err(config_error(&shown, found)),
        }
    }

    /// The plugins it was loaded with.
    pub fn plugins(&self) -> &Plugins {
        &self.plugins
    }

    /// The types of sources that the offline stores of this build read.
    pub fn source_kinds(&self) -> Vec<SourceKind> {
        self.plugins.source_kinds()
    }

    /// The configuration of the registry.
    ///
    /// # Errors
    /// `Config` or `Unsupported` where the block is missing, wrong, or not in this build.
    pub fn registry_config(&self) -> Result<Box<dyn RegistryConfig>> {
        let (file, node) = match &self.blocks.registry {
            Some(node) => (self.shown.clone(), self.expanded(node)?),
            None => self.provided(Role::Registry)?,
        };
        typed(&file, Role::Registry, &node).map_err(|found| config_error(&file, found))?;
        self.typed(Role::Registry, &file, &node)
    }

    /// The configuration of an online store; `default` is whichever is the default.
    ///
    /// # Errors
    /// `Config` or `Unsupported` where the block is missing, wrong, or not in this build.
    pub fn online_config(&self, store: &StoreName) -> Result<Box<dyn OnlineStoreConfig>> {
        let (file, node) = self.store(Role::Online, store)?;
        let config: Box<dyn OnlineStoreConfig> = self.typed(Role::Online, &file, &node)?;
        match config.check() {
            Ok(()) => Ok(config),
            Err(error) => Err(placed(error, &file, &node)),
        }
    }

    /// The configuration of an offline store; `default` is whichever is the default.
    ///
    /// # Errors
    /// `Config` or `Unsupported` where the block is missing, wrong, or not in this build.
    #[cfg(feature = "offline")]
    pub fn offline_config(&self, store: &StoreName) -> Result<Box<dyn larder_core::OfflineStoreConfig>> {
        let (file, node) = self.store(Role::Offline, store)?;
        self.typed(Role::Offline, &file, &node)
    }

    /// The online stores, the default one first; none without an `online:` block.
    pub fn online_names(&self) -> Vec<StoreName> {
        self.names(Role::Online)
    }

    /// The offline stores, the default one first; none without an `offline:` block.
    pub fn offline_names(&self) -> Vec<StoreName> {
        self.names(Role::Offline)
    }

    /// The name a store has in the file: `default` becomes the name of the default store.
    pub fn online_name(&self, store: &StoreName) -> StoreName {
        self.canonical(Role::Online, store)
    }

    /// The name a store has in the file: `default` becomes the name of the default store.
    pub fn offline_name(&self, store: &StoreName) -> StoreName {
        self.canonical(Role::Offline, store)
    }

    /// The `type:` of a role's block, for `larder doctor`; `None` where there is no such block.
    pub fn type_of(&self, role: Role, store: &StoreName) -> Option<String> {
        let (_, node) = match (role, &self.blocks.registry) {
            (Role::Registry, Some(node)) => (self.shown.clone(), node.clone()),
            (Role::Registry, None) => self.provided(role).ok()?,
            _ => self.store(role, store).ok()?,
        };
        node.get("type").and_then(Node::as_text).map(str::to_owned)
    }

    /// The text of a key of a store's block as it stands in the file; `None` where there is none,
    /// or where a variable is in it, whose value may be secret.
    pub fn text_of(&self, role: Role, store: &StoreName, key: &str) -> Option<String> {
        let (_, node) = self.store(role, store).ok()?;
        let text = node.get(key).filter(|node| node.secret.is_none())?;
        text.as_text().map(str::to_owned)
    }

    fn canonical(&self, role: Role, store: &StoreName) -> StoreName {
        match self.stores(role) {
            Ok((_, stores)) => stores.get(store).map_or_else(|| store.clone(), |(name, _)| name),
            Err(_) => store.clone(),
        }
    }

    fn names(&self, role: Role) -> Vec<StoreName> {
        match self.stores(role) {
            Ok((_, stores)) => stores.names(),
            // A provider that is wrong says so when a store is asked for.
            Err(_) if self.blocks.provider.is_some() => vec![StoreName::default_store()],
            Err(_) => Vec::new(),
        }
    }

    fn own(&self, role: Role) -> Option<&Stores> {
        match role {
            Role::Online => self.blocks.online.as_ref(),
            Role::Offline => self.blocks.offline.as_ref(),
            _ => None,
        }
    }

    fn stores(&self, role: Role) -> Result<(String, Stores)> {
        if let Some(stores) = self.own(role) {
            return Ok((self.shown.clone(), stores.clone()));
        }
        let (file, node) = self.provided(role)?;
        let stores = Stores::parse(&file, role, &node).map_err(|found| config_error(&file, found))?;
        Ok((file, stores))
    }

    fn store(&self, role: Role, store: &StoreName) -> Result<(String, Node)> {
        let (file, stores) = self.stores(role)?;
        match stores.get(store) {
            Some((_, node)) => Ok((file, self.expanded(node)?)),
            None => {
                let names = stores.names();
                Err(
                    Error::config(format!("there is no {role} store `{store}` in {}", self.shown))
                        .help(suggest(store.as_str(), names.iter().map(StoreName::as_str))),
                )
            }
        }
    }

    /// The block of a role that the provider stands for.
    fn provided(&self, role: Role) -> Result<(String, Node)> {
        let absent = || {
            let example = self.plugins.iter().find(|plugin| plugin.role == role);
            Error::config(format!("{} has no `{role}:` block", self.shown)).help(match example {
                Some(plugin) => format!("add one, such as {}", plugin.example),
                None => format!("add one; this build has no {role} types"),
            })
        };
        let Some(block) = &self.blocks.provider else {
            return Err(absent());
        };
        let node = self.expanded(block)?;
        let provider: Box<dyn ProviderConfig> = self.typed(Role::Provider, &self.shown, &node)?;
        let stack = provider.expand();
        let json = match role {
            Role::Registry => stack.registry,
            Role::Online => stack.online,
            _ => stack.offline,
        };
        if json.is_null() {
            return Err(absent());
        }
        let mut node_of_role = Node::from_json(&json, block.mark);
        if has_secrets(&node) {
            conceal(&mut node_of_role);
        }
        Ok((self.shown.clone(), node_of_role))
    }

    fn expanded(&self, node: &Node) -> Result<Node> {
        expand(&self.shown, node, &self.variables).map_err(|found| config_error(&self.shown, vec![found]))
    }

    /// Reads the plugin's own configuration of an expanded block.
    fn typed<T: DeserializeOwned>(&self, role: Role, file: &str, node: &Node) -> Result<T> {
        let kind = node.get("type");
        let name = kind.and_then(Node::as_text).unwrap_or_default();
        if self.plugins.get(role, name).is_none() {
            // A name from a variable may be anything, also a password in the wrong place.
            let shown = match kind.and_then(|kind| kind.secret.as_deref()) {
                Some(names) => names.trim_matches('`'),
                None => name,
            };
            let error = self.plugins.unknown(role, shown);
            let at = kind.unwrap_or(node).mark.in_file(file);
            let mut diagnostic = Diagnostic::new(error.message().to_owned()).at(Some(at));
            diagnostic.help = error.remedy().map(str::to_owned);
            return Err(Error::from_diagnostics(error.kind(), file, vec![diagnostic]));
        }
        yaml::read(file, node).map_err(|found| config_error(file, found))
    }
}

/// An error of a store's options, at the block where they stand.
fn placed(mut error: Error, file: &str, node: &Node) -> Error {
    let help = error.take_remedy();
    let mut found = Diagnostic::new(error.to_string()).at(Some(node.mark.in_file(file)));
    found.help = help;
    Error::from_diagnostics(error.kind(), file, vec![found])
}

impl fmt::Debug for Project {
    // Blocks may hold passwords in plain text, so they are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Project")
            .field("name", &self.name)
            .field("file", &self.file)
            .field("env", &self.env)
            .field("definitions", &self.definitions)
            .finish_non_exhaustive()
    }
}

impl Blocks {
    fn read(&mut self, file: &str, node: &Node, known: &[&str], found: &mut Vec<Diagnostic>) {
        if !matches!(node.content, Content::Map(_)) && !node.is_null() {
            found.push(
                Diagnostic::new(format!(
                    "expected blocks such as `online:`, found {}",
                    node.kind()
                ))
                .at(Some(node.mark.in_file(file))),
            );
        }
        for entry in node.entries() {
            let value = &entry.value;
            if !known.contains(&&*entry.key) {
                found.push(yaml::unknown_key(file, entry, known));
                continue;
            }
            let role = match &*entry.key {
                "registry" => Role::Registry,
                "online" => Role::Online,
                "offline" => Role::Offline,
                "provider" => Role::Provider,
                "definitions" => {
                    self.definitions = Some(value.clone());
                    continue;
                }
                "historical" => {
                    self.historical = Some(value.clone());
                    continue;
                }
                _ => continue,
            };
            match (role, Stores::parse(file, role, value)) {
                (_, Err(mut more)) => found.append(&mut more),
                (Role::Online, Ok(stores)) => self.online = Some(stores),
                (Role::Offline, Ok(stores)) => self.offline = Some(stores),
                (Role::Registry, Ok(_)) => self.registry = Some(value.clone()),
                (_, Ok(_)) => self.provider = Some(value.clone()),
            }
        }
    }

    /// An environment replaces whole blocks; its provider replaces all stores it does not name.
    fn replace(&mut self, own: Self) {
        if own.provider.is_some() {
            *self = Self {
                definitions: self.definitions.take(),
                historical: self.historical.take(),
                ..Self::default()
            };
        }
        self.definitions = own.definitions.or_else(|| self.definitions.take());
        self.historical = own.historical.or_else(|| self.historical.take());
        self.registry = own.registry.or_else(|| self.registry.take());
        self.online = own.online.or_else(|| self.online.take());
        self.offline = own.offline.or_else(|| self.offline.take());
        self.provider = own.provider.or_else(|| self.provider.take());
    }
}

fn missing(path: &Path, file: &Path) -> Error {
    let folder = match file.parent() {
        _ if path.is_dir() => path,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = file.file_name().unwrap_or_default().display().to_string();
    let is_file = matches!(
        file.extension().and_then(std::ffi::OsStr::to_str),
        Some("yaml" | "yml")
    );
    if !is_file {
        Error::config(format!("there is no folder {}", shown(file)))
            .help(format!("`larder init {}` makes a project there", shown(file)))
    } else if folder.is_dir() {
        Error::config(format!("there is no {name} in {}", shown(folder)))
            .help(format!("`larder init {}` makes a project there", shown(folder)))
    } else {
        Error::config(format!("there is no folder {}", shown(folder)))
            .help(format!("`larder init {}` makes a project there", shown(folder)))
    }
}

fn document(file: &str, text: &str) -> Result<Node> {
    let documents = yaml::parse(file, text).map_err(|found| config_error(file, vec![found]))?;
    let start = Mark { line: 1, column: 1 };
    let problem = match documents.as_slice() {
        [one] if matches!(one.content, Content::Map(_)) => return Ok(one.clone()),
        [] => Diagnostic::new("the file is empty")
            .at(Some(start.in_file(file)))
            .help("begin with project: NAME"),
        [one] => Diagnostic::new(format!("expected keys such as `project:`, found {}", one.kind()))
            .at(Some(one.mark.in_file(file))),
        [_, second, ..] => Diagnostic::new("the file holds more than one document")
            .at(Some(second.mark.in_file(file)))
            .help("remove the `---` between them"),
    };
    Err(config_error(file, vec![problem]))
}

/// A single value with its variables expanded.
pub(super) fn scalar<T: DeserializeOwned>(
    file: &str,
    node: &Node,
    variables: &Variables,
    found: &mut Vec<Diagnostic>,
) -> Option<T> {
    let read = expand(file, node, variables)
        .map_err(|problem| vec![problem])
        .and_then(|node| yaml::read(file, &node));
    match read {
        Ok(value) => Some(value),
        Err(mut more) => {
            found.append(&mut more);
            None
        }
    }
}

fn definitions(
    file: &str,
    dir: &Path,
    project: Option<&ProjectName>,
    node: Option<&Node>,
    variables: &Variables,
    found: &mut Vec<Diagnostic>,
) -> Option<DefinitionsConfig> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Long {
        path: PathBuf,
        #[serde(default)]
        set: Option<SetName>,
    }
    let long = match node {
        None => Long {
            path: "features/".into(),
            set: None,
        },
        Some(node) if node.as_text().is_some() => Long {
            path: scalar(file, node, variables, found)?,
            set: None,
        },
        Some(node) => scalar(file, node, variables, found)?,
    };
    Some(DefinitionsConfig {
        path: dir.join(long.path),
        set: long.set.or_else(|| project.map(ProjectName::default_set))?,
    })
}

fn has_secrets(node: &Node) -> bool {
    node.walk(&mut |node| if node.secret.is_some() { Err(()) } else { Ok(()) })
        .is_err()
}

/// Marks everything a provider made of variables: which part came from them is not known.
fn conceal(node: &mut Node) {
    match &mut node.content {
        Content::List(items) => items.iter_mut().for_each(conceal),
        Content::Map(entries) => entries.iter_mut().for_each(|entry| conceal(&mut entry.value)),
        _ => node.secret = Some("the provider's variables".into()),
    }
}
