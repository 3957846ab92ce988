//! What one role is given: a block with a `type`, or several named ones.

use larder_base::error::suggest;
use larder_base::{Diagnostic, Error, ErrorKind, Result, Role, StoreName};

use crate::yaml::{self, Content, Node};

/// The block of a role, variables still unexpanded.
#[derive(Debug, Clone)]
pub(super) enum Stores {
    /// `{ type: …, … }`
    One(Node),
    /// `{ default: …, stores: { name: { type: … } } }`, the default store first.
    Named(Vec<(StoreName, Node)>),
}

impl Stores {
    /// Reads a block of a role, short or long form.
    pub(super) fn parse(file: &str, role: Role, node: &Node) -> Result<Self, Vec<Diagnostic>> {
        let wrong =
            |node: &Node, message: String| vec![Diagnostic::new(message).at(Some(node.mark.in_file(file)))];
        let Content::Map(entries) = &node.content else {
            let mut found = wrong(
                node,
                format!("expected a block with `type:`, found {}", node.kind()),
            );
            found[0].help = Some(format!("write {role}: {{ type: …, … }}"));
            return Err(found);
        };
        let Some(stores) = node.get("stores").filter(|_| node.get("type").is_none()) else {
            typed(file, role, node)?;
            return Ok(Self::One(node.clone()));
        };
        if !matches!(role, Role::Online | Role::Offline) {
            return Err(wrong(
                stores,
                format!("there is only one {role}, it has no `stores:`"),
            ));
        }
        let mut found: Vec<Diagnostic> = entries
            .iter()
            .filter(|entry| !matches!(&*entry.key, "default" | "stores"))
            .map(|entry| yaml::unknown_key(file, entry, &["default", "stores"]))
            .collect();
        let mut named: Vec<(StoreName, Node)> = Vec::new();
        for entry in stores.entries() {
            match StoreName::new(&entry.key) {
                Ok(name) => match typed(file, role, &entry.value) {
                    Ok(()) => named.push((name, entry.value.clone())),
                    Err(mut more) => found.append(&mut more),
                },
                Err(error) => {
                    found.push(Diagnostic::new(error.to_string()).at(Some(entry.key_mark.in_file(file))))
                }
            }
        }
        if named.is_empty() && found.is_empty() {
            found = wrong(stores, "expected a map of stores by name".to_owned());
            found[0].help = Some("write stores: { lake: { type: … } }".to_owned());
        }
        match node.get("default") {
            Some(default) => {
                let name = default.as_text().unwrap_or_default();
                match named.iter().position(|(store, _)| store.as_str() == name) {
                    Some(at) => named[..=at].rotate_right(1),
                    None if found.is_empty() => found.push(
                        Diagnostic::new(format!("there is no {role} store `{name}`"))
                            .at(Some(default.mark.in_file(file)))
                            .help(suggest(name, named.iter().map(|(store, _)| store.as_str()))),
                    ),
                    None => {}
                }
            }
            None if named.len() > 1 => {
                let mut missing = wrong(
                    node,
                    format!("which of the {role} stores is the default is not said"),
                );
                missing[0].help = Some(format!("add default: {}", named[0].0));
                found.append(&mut missing);
            }
            None => {}
        }
        if found.is_empty() {
            Ok(Self::Named(named))
        } else {
            Err(found)
        }
    }

    /// The store's name in the file, and its block; `default` is whichever is the default.
    pub(super) fn get(&self, store: &StoreName) -> Option<(StoreName, &Node)> {
        let is_default = *store == StoreName::default_store();
        match self {
            Self::One(node) => is_default.then(|| (store.clone(), node)),
            Self::Named(named) => named
                .iter()
                .find(|(name, _)| name == store)
                .or_else(|| named.first().filter(|_| is_default))
                .map(|(name, node)| (name.clone(), node)),
        }
    }

    /// The names of the stores, the default one first.
    pub(super) fn names(&self) -> Vec<StoreName> {
        match self {
            Self::One(_) => vec![StoreName::default_store()],
            Self::Named(named) => named.iter().map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// Checks that a block says its type.
pub(super) fn typed(file: &str, role: Role, node: &Node) -> Result<(), Vec<Diagnostic>> {
    let (at, message) = match (&node.content, node.get("type")) {
        (Content::Map(_), Some(kind)) if kind.as_text().is_some() => return Ok(()),
        (Content::Map(_), Some(kind)) => (
            kind.mark,
            format!("expected the name of a type, found {}", kind.kind()),
        ),
        (Content::Map(_), None) => (node.mark, format!("the {role} block has no `type:`")),
        _ => (
            node.mark,
            format!("expected a block with `type:`, found {}", node.kind()),
        ),
    };
    Err(vec![
        Diagnostic::new(message)
            .at(Some(at.in_file(file)))
            .help("write { type: …, … }; `larder stores` lists the types"),
    ])
}

/// Findings of the project file as one error.
pub(super) fn config_error(file: &str, found: Vec<Diagnostic>) -> Error {
    Error::from_diagnostics(ErrorKind::Config, file, found)
}
