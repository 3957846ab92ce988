//! Which definitions fit data files that exist?
//!
//! Reads top to bottom: ask the Parquet store for the columns, decide what each of them can be
//! (pure), count rows and nulls from the files' footers, write YAML.

mod decide;
mod footers;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder::{BuildContext, Error, OfflineStoreConfig, Result, ValueType};
use serde_json::json;

pub(crate) use decide::Inferred;

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// File or folder.
    pub(crate) path: String,
    /// Join keys, perhaps with types.
    pub(crate) keys: Vec<(String, Option<ValueType>)>,
    /// Event-time column.
    pub(crate) time: String,
    /// Created-time column.
    pub(crate) created: Option<String>,
    /// Name of source and view.
    pub(crate) name: Option<String>,
    /// The folder in which paths of the project's sources start, where there is a project.
    pub(crate) root: Option<PathBuf>,
}

/// Definitions for data files.
///
/// # Errors
/// `NotFound` without data; `Input` when a named column is missing or cannot be what it should.
pub(crate) async fn infer(question: &Question) -> Result<Inferred> {
    let (root, below) = split(&question.path)?;
    let config = json!({ "type": "parquet", "root": root });
    let config: Box<dyn OfflineStoreConfig> = serde_json::from_value(config).map_err(|e| {
        Error::unsupported("this build cannot read Parquet")
            .help("enable the cargo feature `parquet`")
            .source(e)
    })?;
    let store = config.build(&BuildContext::new(".")).await?;
    let source = json!({ "name": "inferred", "type": "parquet", "path": below, "event_time": question.time });
    let source: larder::model::Source = serde_json::from_value(source)
        .map_err(|e| Error::internal("a source could not be made").source(e))?;
    let schema = store.schema(&Arc::new(source)).await?;
    let mut inferred = decide::decide(question, &below, &schema)?;
    if !question.path.contains("://") {
        (inferred.path, inferred.path_from) = seen_from(question.root.as_deref(), &question.path)?;
    }
    if !question.path.contains("://") {
        inferred.footers = footers::count(Path::new(&question.path))?;
    }
    Ok(inferred)
}

/// The path as a source may have it, and where it starts: relative below the root of the
/// project's offline store, absolute elsewhere.
fn seen_from(root: Option<&Path>, path: &str) -> Result<(String, &'static str)> {
    let whole = |path: &Path| {
        path.canonicalize().map_err(|cause| {
            Error::unavailable(format!("`{}` cannot be resolved", path.display())).source(cause)
        })
    };
    if path.contains("://") {
        return Ok((path.to_owned(), "absolute"));
    }
    let data = whole(Path::new(path))?;
    let end = if data.is_dir() { "/" } else { "" };
    let below = root
        .and_then(|root| root.canonicalize().ok())
        .and_then(|root| data.strip_prefix(root).ok().map(Path::to_owned))
        .filter(|below| !below.as_os_str().is_empty());
    Ok(match (below, root) {
        (Some(below), _) => (
            format!("{}{end}", below.display()),
            "below `root` of the offline store",
        ),
        (None, Some(_)) => (
            format!("{}{end}", data.display()),
            "absolute, since it is not below `root` of the offline store",
        ),
        (None, None) => (
            format!("{}{end}", data.display()),
            "absolute; relative paths start at `root` of the offline store",
        ),
    })
}

/// The root of a store that holds the path, and the path below it.
fn split(path: &str) -> Result<(String, String)> {
    let folder = path.ends_with('/') || (!path.contains("://") && Path::new(path).is_dir());
    let trimmed = path.trim_end_matches('/');
    let (root, name) = match trimmed.rsplit_once('/') {
        Some((root, name)) => (format!("{root}/"), name),
        None => ("./".to_owned(), trimmed),
    };
    match name {
        "" | "." | ".." => Err(
            Error::input(format!("`{path}` names no file or folder by its own name"))
                .help("name it, such as data/user_daily/"),
        ),
        name if folder => Ok((root, format!("{name}/"))),
        name => Ok((root, name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_into_root_and_the_rest() {
        let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(split("data/user/").unwrap(), owned("data/", "user/"));
        assert_eq!(split("x.parquet").unwrap(), owned("./", "x.parquet"));
        assert_eq!(split("s3://b/k/user/").unwrap(), owned("s3://b/k/", "user/"));
        assert!(split("./").is_err());
    }
}
