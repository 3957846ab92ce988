//! Which files a source consists of, and in which order.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use larder_core::model::Source;
use larder_core::{Error, Health, Result};

use crate::fault;
use crate::glob::Pattern;
use crate::hive;
use crate::object::{DataFile, Home, Version};
use crate::root::{Root, Spot};

/// The files of a source.
#[derive(Debug)]
pub(crate) struct Found {
    /// The resolved path, for messages.
    pub(crate) shown: String,
    /// Sorted by path.
    pub(crate) files: Vec<DataFile>,
}

/// What a source's `path` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A folder, whether it exists or not.
    Folder(PathBuf),
    /// One file.
    File(PathBuf),
    /// A pattern below a folder.
    Glob(PathBuf, String),
}

/// Names of files that hold data.
const EXTENSIONS: [&str; 3] = ["parquet", "pq", "parq"];

/// What the `path` of a source names.
pub(crate) fn place(root: &Root, source: &Source) -> Result<Place> {
    let path = option(source)?;
    match root.resolve(path)? {
        Spot::Disk(whole) => place_on_disk(root, path, whole),
        #[cfg(feature = "s3")]
        Spot::Object(url) => crate::s3::place(root.s3(), &url),
        #[cfg(not(feature = "s3"))]
        Spot::Object(_) => Err(Error::internal("an object store that is not in this build")),
    }
}

fn place_on_disk(root: &Root, path: &str, whole: PathBuf) -> Result<Place> {
    match fs::metadata(&whole) {
        Ok(metadata) if metadata.is_dir() => return Ok(Place::Folder(whole)),
        Ok(_) => return Ok(Place::File(whole)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A component that is a file, not a folder, is as good as nothing there.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
        Err(error) => {
            return Err(fault::io(
                error,
                "the source's path cannot be examined",
                &show(&whole),
            ));
        }
    }
    if !is_pattern(path) {
        return Ok(match has_extension(&whole) {
            true => Place::File(whole),
            false => Place::Folder(whole),
        });
    }
    // The folder is what stands before the first component with a pattern.
    let path = path.strip_prefix("file://").unwrap_or(path);
    let mut folder = root.path().to_path_buf();
    let mut pattern: Vec<String> = Vec::new();
    for component in Path::new(path).components() {
        let text = component.as_os_str().to_string_lossy();
        if pattern.is_empty() && !is_pattern(&text) {
            folder.push(component);
        } else if component != Component::CurDir {
            pattern.push(text.into_owned());
        }
    }
    Ok(Place::Glob(folder, pattern.join("/")))
}

/// Where the `path` of a source leads.
pub(crate) fn spot(root: &Root, source: &Source) -> Result<Spot> {
    root.resolve(option(source)?)
}

/// Whether a path has characters of a pattern.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The `path` of a source.
fn option(source: &Source) -> Result<&str> {
    let here = |error: Error| error.with("source", &source.name);
    if let Some(unknown) = source.options.keys().find(|key| *key != "path") {
        return Err(here(Error::definition(format!(
            "a parquet source has no option `{unknown}`"
        )))
        .help("known: path"));
    }
    source
        .options
        .get("path")
        .and_then(|path| path.as_str())
        .filter(|path| !path.is_empty())
        .ok_or_else(|| {
            here(Error::definition("a parquet source needs a `path`"))
                .help("name a file, a folder or a pattern, such as `path: user_daily/`")
        })
}

/// Finds the files of a source.
///
/// A folder that exists and is empty has no files, and that is no error here.
pub(crate) fn find(root: &Root, source: &Source) -> Result<Found> {
    let here = |error: Error| error.with("source", &source.name);
    let path = option(source)?;
    match root.resolve(path).map_err(here)? {
        Spot::Disk(whole) => find_on_disk(root, source, place_on_disk(root, path, whole).map_err(here)?),
        #[cfg(feature = "s3")]
        Spot::Object(url) => crate::s3::find(root, &url).map_err(here),
        #[cfg(not(feature = "s3"))]
        Spot::Object(_) => Err(Error::internal("an object store that is not in this build")),
    }
}

fn find_on_disk(root: &Root, source: &Source, place: Place) -> Result<Found> {
    let here = |error: Error| error.with("source", &source.name);
    let mut walk = Walk::default();
    let shown = match place {
        Place::File(path) => {
            let metadata = fs::metadata(&path).map_err(|error| here(nothing_at(error, &path)))?;
            walk.take(path.clone(), &metadata).map_err(here)?;
            show(&path)
        }
        Place::Folder(path) => {
            fs::read_dir(&path).map_err(|error| here(nothing_at(error, &path)))?;
            walk.folder(&path).map_err(here)?;
            if walk.files.is_empty() && walk.others > 0 {
                return Err(here(no_data(&path, walk.others)));
            }
            show(&path)
        }
        Place::Glob(folder, pattern) => {
            let shown = show(&folder.join(&pattern));
            let pattern = Pattern::new(&pattern).map_err(here)?;
            walk.matching(&folder, &pattern).map_err(here)?;
            if walk.files.is_empty() {
                return Err(here(no_match(shown)));
            }
            shown
        }
    };
    // Components compare one by one, so that the files of one folder stay together.
    walk.files.sort_by(|a, b| a.0.cmp(&b.0));
    walk.files.dedup_by(|a, b| a.0 == b.0);
    let files = walk
        .files
        .into_iter()
        .map(|(path, version)| DataFile {
            shown: show(&path),
            partitions: hive::partitions(path.strip_prefix(root.path()).unwrap_or(&path)),
            path,
            version,
            home: Home::Disk,
        })
        .collect();
    Ok(Found { shown, files })
}

/// Whether a file on this machine's disk, which need not exist, is one of a source or would be.
pub(crate) fn takes(root: &Root, source: &Source, file: &Path) -> Result<bool> {
    let here = |error: Error| error.with("source", &source.name);
    let path = option(source)?;
    let Spot::Disk(whole) = root.resolve(path).map_err(here)? else {
        return Ok(false);
    };
    // Where the file really is; where even its folder is not there, nothing is read from it.
    let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else {
        return Ok(false);
    };
    let Ok(parent) = fs::canonicalize(parent) else {
        return Ok(false);
    };
    let name = name.to_string_lossy().into_owned();
    let real = fs::canonicalize(file).unwrap_or_else(|_| parent.join(&name));
    let mut walk = Walk {
        wanted: Some((parent.clone(), name.clone())),
        ..Walk::default()
    };
    let mut found: Vec<PathBuf> = Vec::new();
    match place_on_disk(root, path, whole).map_err(here)? {
        Place::File(path) => found.push(path),
        Place::Folder(path) => walk.folder(&path).map_err(here)?,
        Place::Glob(folder, pattern) => {
            let pattern = Pattern::new(&pattern).map_err(here)?;
            walk.matching(&folder, &pattern).map_err(here)?;
        }
    }
    // A file that is not there yet, in a folder that may not be there either.
    found.extend(walk.files.into_iter().map(|(path, _)| path));
    let same = |found: &PathBuf| match fs::canonicalize(found) {
        Ok(found) => found == real,
        Err(_) => {
            let folder = found.parent().and_then(|folder| fs::canonicalize(folder).ok());
            folder == Some(parent.clone()) && found.file_name().is_some_and(|of| *of == *name)
        }
    };
    Ok(walk.would_find || found.iter().any(same))
}

fn nothing_at(error: io::Error, path: &Path) -> Error {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let error = fault::io(error, "there is no data at the source's path", &show(path));
    if missing { error.help(WRITE_SOME) } else { error }
}

fn leads_nowhere(link: &Path) -> Error {
    Error::not_found("a link in the source's folder leads to nothing, so its rows are missing")
        .with("link", show(link))
        .help("restore what it leads to, or remove it")
}

fn no_file(path: &Path) -> Error {
    Error::input("a data file is no regular file but a pipe, a socket or a device")
        .with("file", show(path))
        .help("write the rows to a regular file, and move this out of the source's folder")
}

/// What to do where there is nothing.
pub(crate) const WRITE_SOME: &str =
    "write data there, push some, or correct the source's `path` and the store's `root`";

pub(crate) fn no_match(shown: String) -> Error {
    Error::not_found("no file matches the source's path")
        .with("path", shown)
        .help("check the pattern; `**` stands for any number of folders")
}

pub(crate) fn no_data(path: &Path, others: usize) -> Error {
    Error::not_found(format!("the folder has no data files, only {others} other files"))
        .with("path", show(path))
        .help("data files end in .parquet, .pq or .parq; name others one by one or by a pattern")
}

/// A path as messages show it.
pub(crate) fn show(path: &Path) -> String {
    path.display().to_string()
}

pub(crate) fn has_extension(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| {
            EXTENSIONS
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        })
}

/// Names that are not data: hidden, temporary, or notes of other programs such as `_SUCCESS`.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

#[derive(Debug, Default)]
struct Walk {
    files: Vec<(PathBuf, Version)>,
    /// Visible files that are not data.
    others: usize,
    /// The folders that we are in, as they really are, against links that lead back.
    inside: Vec<PathBuf>,
    /// A folder as it really is and a name in it, of which is asked whether a file there would be found.
    wanted: Option<(PathBuf, String)>,
    /// The answer.
    would_find: bool,
}

impl Walk {
    /// All data files below a folder.
    fn folder(&mut self, folder: &Path) -> Result<()> {
        self.enter(folder, |walk| {
            walk.would_find |= walk
                .wanted_here()
                .is_some_and(|name| !is_hidden(name) && has_extension(Path::new(name)));
            for (name, path) in list(folder)? {
                refuse_table(&name, folder, &path)?;
                if is_hidden(&name) {
                    continue;
                }
                let Some(metadata) = walk.examine(&path)? else {
                    continue;
                };
                if metadata.is_dir() {
                    walk.folder(&path)?;
                } else if has_extension(&path) {
                    walk.take(path, &metadata)?;
                } else {
                    walk.others += 1;
                }
            }
            Ok(())
        })
    }

    /// The files below a folder that match a pattern, and all data files of folders that do.
    fn matching(&mut self, folder: &Path, pattern: &Pattern) -> Result<()> {
        self.enter(folder, |walk| {
            walk.would_find |= walk
                .wanted_here()
                .is_some_and(|name| !is_hidden(name) && pattern.enter(name).matches_here());
            for (name, path) in list(folder)? {
                if is_hidden(&name) {
                    continue;
                }
                let rest = pattern.enter(&name);
                if rest.is_dead() && !rest.matches_here() {
                    continue;
                }
                let Some(metadata) = walk.examine(&path)? else {
                    continue;
                };
                if rest.matches_here() {
                    if metadata.is_dir() {
                        walk.folder(&path)?;
                        continue;
                    }
                    walk.take(path, &metadata)?;
                } else if metadata.is_dir() {
                    walk.matching(&path, &rest)?;
                }
            }
            Ok(())
        })
    }

    /// What a path is, links followed; `None` when it is gone by now.
    fn examine(&self, path: &Path) -> Result<Option<fs::Metadata>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match self.wanted.is_none() && path.is_symlink() {
                    true => Err(leads_nowhere(path)),
                    false => Ok(None),
                }
            }
            Err(error) => Err(fault::io(error, "a file cannot be examined", &show(path))),
        }
    }

    /// Takes a file of the source; opening a pipe would wait for whoever writes into it.
    fn take(&mut self, path: PathBuf, metadata: &fs::Metadata) -> Result<()> {
        if self.wanted.is_none() && !metadata.is_file() {
            return Err(no_file(&path));
        }
        self.files.push((path, Version::of(metadata)));
        Ok(())
    }

    /// The wanted name, where it would be in the folder that we are in.
    fn wanted_here(&self) -> Option<&str> {
        let (folder, name) = self.wanted.as_ref()?;
        (self.inside.last() == Some(folder)).then_some(name)
    }

    fn enter(&mut self, folder: &Path, visit: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let real = match fs::canonicalize(folder) {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fault::io(error, "a folder cannot be read", &show(folder))),
        };
        if self.inside.contains(&real) {
            return Ok(());
        }
        self.inside.push(real);
        let result = visit(self);
        self.inside.pop();
        result
    }
}

/// The entries of a folder, by name.
fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |error| fault::io(error, "a folder cannot be read", &show(folder));
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    entries.sort();
    Ok(entries)
}

/// Refuses folders of table formats: their logs say which files count, and reading all would read deleted rows.
fn refuse_table(name: &str, folder: &Path, path: &Path) -> Result<()> {
    let format = match name {
        "_delta_log" => "a Delta table",
        ".hoodie" => "a Hudi table",
        "metadata"
            if path.is_dir()
                && list(path)?
                    .iter()
                    .any(|(name, _)| name.ends_with(".metadata.json")) =>
        {
            "an Iceberg table"
        }
        _ => return Ok(()),
    };
    Err(is_table(format, &show(folder)))
}

pub(crate) fn is_table(format: &str, folder: &str) -> Error {
    Error::unsupported(format!("the folder is {format}, not plain Parquet files"))
        .with("path", folder)
        .help("export the table to a folder of its own")
}

/// Whether the root of a store can be read now.
pub(crate) fn check(root: &Root) -> Result<Health> {
    let health = |entries: String| {
        Health::new("parquet")
            .detail("root", show(root.path()))
            .detail("entries", entries)
    };
    match root.start() {
        Spot::Disk(folder) => {
            let entries = fs::read_dir(folder).map_err(|error| {
                fault::io(
                    error,
                    "the root of the parquet store cannot be read",
                    &show(folder),
                )
                .help("make the folder, or correct `root` of the store")
            })?;
            Ok(health(entries.count().to_string()))
        }
        #[cfg(feature = "s3")]
        Spot::Object(url) => crate::s3::check(root.s3(), url).map(health),
        #[cfg(not(feature = "s3"))]
        Spot::Object(_) => Err(Error::internal("an object store that is not in this build")),
    }
}
