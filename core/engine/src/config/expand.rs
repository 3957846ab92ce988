//! What `${NAME}`, `${NAME:-default}` and `${file:/path}` stand for. Expanded here and nowhere else.

use std::fmt;
use std::sync::Arc;

use larder_base::Diagnostic;

use crate::yaml::{Content, Entry, Node};

/// Where the values of variables come from.
#[derive(Clone)]
pub struct Variables(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Variables {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self::from_fn(|name| std::env::var(name).ok())
    }

    /// Variables from anywhere else.
    pub fn from_fn(get: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(get))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables(***)")
    }
}

/// A copy of a node with every variable in it replaced; such text is marked and never printed.
///
/// # Errors
/// A variable that is not set, a file that cannot be read, or a `${` that is not closed.
pub(super) fn expand(file: &str, node: &Node, variables: &Variables) -> Result<Node, Diagnostic> {
    let content = match &node.content {
        Content::List(items) => Content::List(
            items
                .iter()
                .map(|item| expand(file, item, variables))
                .collect::<Result<_, _>>()?,
        ),
        Content::Map(entries) => Content::Map(
            entries
                .iter()
                .map(|entry| {
                    Ok(Entry {
                        value: expand(file, &entry.value, variables)?,
                        ..entry.clone()
                    })
                })
                .collect::<Result<_, _>>()?,
        ),
        Content::Str if node.text.contains("${") => return scalar(file, node, variables),
        _ => return Ok(node.clone()),
    };
    Ok(Node {
        content,
        ..node.clone()
    })
}

fn scalar(file: &str, node: &Node, variables: &Variables) -> Result<Node, Diagnostic> {
    let failed = |message: String| Diagnostic::new(message).at(Some(node.mark.in_file(file)));
    let mut text = String::with_capacity(node.text.len());
    let mut names: Vec<String> = Vec::new();
    let mut rest = &*node.text;
    while let Some(at) = rest.find("${") {
        let before = &rest[..at];
        if let Some(before) = before.strip_suffix('$') {
            text.push_str(before);
            text.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        text.push_str(before);
        let inside = &rest[at + 2..];
        let end = inside.find('}').ok_or_else(|| {
            failed("`${` is never closed".to_owned()).help("write ${NAME}, or $${ for the text itself")
        })?;
        text.push_str(&value(&inside[..end], variables).map_err(|problem| {
            match problem {
                Problem::Spelling => failed(format!("`${{{}}}` is not a variable", &inside[..end]))
                    .help("write ${NAME}, ${NAME:-default} or ${file:/path}"),
                Problem::NotSet(name) => failed(format!("the variable `{name}` is not set"))
                    .help(format!("set it, or give a default: ${{{name}:-default}}")),
                Problem::File(path, error) => {
                    failed(format!("cannot read `{path}` of `${{file:{path}}}`: {error}"))
                }
            }
        })?);
        let name = inside[..end].split(":-").next().unwrap_or_default();
        names.push(format!("`${{{name}}}`"));
        rest = &inside[end + 1..];
    }
    text.push_str(rest);
    let mut expanded = Node::scalar(node.mark, &text, node.plain);
    // Only escapes: nothing came from outside.
    if !names.is_empty() {
        expanded.secret = Some(names.join(", ").into());
    }
    Ok(expanded)
}

enum Problem {
    Spelling,
    NotSet(String),
    File(String, std::io::Error),
}

fn value(inside: &str, variables: &Variables) -> Result<String, Problem> {
    if let Some(path) = inside.strip_prefix("file:") {
        let path = path.trim();
        return match std::fs::read_to_string(path) {
            // Editors and `kubectl` end files with a line break, which is never part of a secret.
            Ok(text) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
            Err(error) => Err(Problem::File(path.to_owned(), error)),
        };
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let legal = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !legal {
        return Err(Problem::Spelling);
    }
    match ((variables.0)(name), default) {
        // As in a shell, a default also stands for an empty value.
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Some(value), None) => Ok(value),
        (None, None) => Err(Problem::NotSet(name.to_owned())),
    }
}
