//! What is in the workspace: its crates, every package of the lock file, and its text files?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::shell::{self, Failure, Result};

/// A crate of the workspace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Relative to the workspace, with forward slashes.
    pub(crate) folder: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) license: String,
    pub(crate) links: Option<String>,
    pub(crate) publishable: bool,
    pub(crate) has_readme: bool,
    pub(crate) has_docs_rs: bool,
    pub(crate) inherits_lints: bool,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
    /// Name and file of each bench target.
    pub(crate) benches: Vec<(String, PathBuf)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// Any package of the resolved graph, ours or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// None for packages of the workspace.
    pub(crate) source: Option<String>,
}

/// A text file that belongs to the repository.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    /// Relative to the workspace, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// With every feature, so that no optional dependency escapes the checks.
pub(crate) fn metadata() -> Result<Value> {
    let text = shell::read(&mut shell::cargo([
        "metadata",
        "--format-version",
        "1",
        "--all-features",
    ]))?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("cannot parse cargo metadata: {error}")))
}

pub(crate) fn members(metadata: &Value) -> Result<Vec<Member>> {
    let root = PathBuf::from(text(metadata, "workspace_root")?);
    let ids: BTreeSet<&str> = array(metadata, "workspace_members")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let ours = array(metadata, "packages")?
        .iter()
        .filter(|package| ids.contains(package["id"].as_str().unwrap_or("")));
    let mut members = ours
        .map(|package| member(package, &root))
        .collect::<Result<Vec<_>>>()?;
    members.sort_by(|left, right| left.folder.cmp(&right.folder));
    Ok(members)
}

pub(crate) fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let package = |package: &Value| {
        Ok(Package {
            name: text(package, "name")?,
            version: text(package, "version")?,
            license: package["license"].as_str().map(str::to_owned),
            source: package["source"].as_str().map(str::to_owned),
        })
    };
    array(metadata, "packages")?.iter().map(package).collect()
}

fn member(package: &Value, root: &Path) -> Result<Member> {
    let manifest = PathBuf::from(text(package, "manifest_path")?);
    let absolute = manifest.parent().unwrap_or(root);
    let folder = absolute
        .strip_prefix(root)
        .unwrap_or(absolute)
        .to_string_lossy()
        .replace('\\', "/");
    let written = fs::read_to_string(&manifest)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", manifest.display())))?;
    let targets = array(package, "targets")?;
    let is_bench = |target: &&Value| {
        target["kind"]
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"))
    };
    Ok(Member {
        name: text(package, "name")?,
        folder,
        version: text(package, "version")?,
        description: package["description"].as_str().unwrap_or_default().to_owned(),
        license: package["license"].as_str().unwrap_or_default().to_owned(),
        links: package["links"].as_str().map(str::to_owned),
        publishable: package["publish"]
            .as_array()
            .is_none_or(|registries| !registries.is_empty()),
        has_readme: absolute.join("README.md").is_file(),
        has_docs_rs: package["metadata"]["docs"]["rs"].is_object(),
        inherits_lints: inherits_lints(&written),
        features: features(package),
        dependencies: array(package, "dependencies")?
            .iter()
            .map(dependency)
            .collect::<Result<_>>()?,
        benches: targets
            .iter()
            .filter(is_bench)
            .map(|target| Ok((text(target, "name")?, PathBuf::from(text(target, "src_path")?))))
            .collect::<Result<_>>()?,
    })
}

fn dependency(value: &Value) -> Result<Dependency> {
    let kind = match value["kind"].as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    };
    Ok(Dependency {
        name: text(value, "name")?,
        kind,
    })
}

fn features(package: &Value) -> BTreeMap<String, Vec<String>> {
    let words = |list: &Value| {
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    package["features"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, list)| (name.clone(), words(list)))
        .collect()
}

/// Cargo's metadata does not tell, so the manifest is read: `[lints]` with `workspace = true`.
pub(crate) fn inherits_lints(manifest: &str) -> bool {
    let mut section = "";
    manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let spaceless: String = line
            .chars()
            .filter(|character| !character.is_whitespace())
            .collect();
        section == "[lints]" && spaceless == "workspace=true"
    })
}

/// Every text file of the repository: build results, data and version control are not part of it.
pub(crate) fn files(root: &Path) -> Result<Vec<File>> {
    let mut found = Vec::new();
    walk(root, root, &mut found)?;
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

const SKIPPED_FOLDERS: [&str; 6] = [".git", "target", ".larder", "node_modules", "corpus", "artifacts"];
const TEXT: [&str; 15] = [
    "rs", "toml", "md", "yaml", "yml", "json", "sh", "proto", "sql", "css", "html", "js", "ts", "txt", "csv",
];

fn walk(root: &Path, folder: &Path, found: &mut Vec<File>) -> Result<()> {
    let fail =
        |path: &Path, error: std::io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    for entry in fs::read_dir(folder).map_err(|error| fail(folder, error))? {
        let entry = entry.map_err(|error| fail(folder, error))?;
        let (path, kind) = (
            entry.path(),
            entry.file_type().map_err(|error| fail(folder, error))?,
        );
        let relative = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .replace('\\', "/");
        if kind.is_dir() {
            let name = entry.file_name();
            let skipped =
                SKIPPED_FOLDERS.iter().any(|skipped| name == *skipped) || is_example_data(&relative);
            if !skipped {
                walk(root, &path, found)?;
            }
        } else if kind.is_file() && is_text(&path) {
            // A test may keep a deliberately broken file: what is not UTF-8 is not text.
            if let Ok(text) = String::from_utf8(fs::read(&path).map_err(|error| fail(&path, error))?) {
                found.push(File { path: relative, text });
            }
        }
    }
    Ok(())
}

/// `examples/*/data` is what a run of the example leaves behind.
fn is_example_data(relative: &str) -> bool {
    matches!(
        relative.split('/').collect::<Vec<_>>().as_slice(),
        ["examples", _, "data"]
    )
}

fn is_text(path: &Path) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) => TEXT.contains(&extension),
        None => path
            .file_name()
            .is_some_and(|name| name == "run" || name == "LICENSE"),
    }
}

fn text(value: &Value, key: &str) -> Result<String> {
    let found = value[key].as_str().map(str::to_owned);
    found.ok_or_else(|| Failure::new(format!("cargo metadata lacks \"{key}\"")))
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key]
        .as_array()
        .ok_or_else(|| Failure::new(format!("cargo metadata lacks \"{key}\"")))
}

/// A member in a folder, for the tests of the rules.
#[cfg(test)]
pub(crate) fn sample(folder: &str, name: &str, dependencies: &[(&str, Kind)]) -> Member {
    Member {
        name: name.to_owned(),
        folder: folder.to_owned(),
        dependencies: dependencies
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                kind: *kind,
            })
            .collect(),
        ..Member::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_workspace_is_understood() {
        let members = members(&metadata().expect("cargo metadata")).expect("members");
        let base = members
            .iter()
            .find(|member| member.name == "larder-base")
            .expect("larder-base");
        assert_eq!(base.folder, "core/base");
        assert!(base.publishable && base.inherits_lints && base.has_docs_rs);
        assert!(
            base.dependencies
                .iter()
                .any(|dependency| dependency.kind == Kind::Dev)
        );
        let xtask = members
            .iter()
            .find(|member| member.name == "xtask")
            .expect("xtask");
        assert!(!xtask.publishable);
    }

    #[test]
    fn lints_count_as_inherited_only_in_their_section() {
        assert!(inherits_lints(
            "[package]\nname = \"x\"\n[lints]\nworkspace = true\n"
        ));
        assert!(!inherits_lints(
            "[package]\nworkspace = true\n[lints.rust]\nunused = \"warn\"\n"
        ));
        assert!(!inherits_lints("[lints]\n# workspace = true\n"));
    }

    #[test]
    fn results_of_runs_are_no_files_of_the_repository() {
        let files = files(&shell::root()).expect("files");
        assert!(files.iter().any(|file| file.path == "xtask/src/tidy/model.rs"));
        assert!(
            files
                .iter()
                .all(|file| !file.path.starts_with("target/") && !file.path.starts_with(".git/"))
        );
        assert!(is_example_data("examples/flights/data") && !is_example_data("core/conformance/data"));
    }
}
