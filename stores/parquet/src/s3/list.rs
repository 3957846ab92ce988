//! Which objects a source consists of: the rules of folders, told from keys.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use larder_core::{Error, Result};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::{ObjectMeta, ObjectStoreExt};

use super::tries::{Meaning, Tries};
use super::{Bucket, Object, S3, bare, path};
use crate::discover::{self, Found, Place};
use crate::glob::Pattern;
use crate::hive;
use crate::object::{DataFile, Home, Version};
use crate::root::{ObjectUrl, Root, Spot};
use crate::work::Cancel;

/// An object as a listing tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    size: u64,
    etag: Option<String>,
}

/// What the path of a source names.
pub(crate) fn place(s3: &S3, url: &ObjectUrl) -> Result<Place> {
    if let Some((folder, pattern)) = pattern(url) {
        return Ok(Place::Glob(virtual_path(&folder), pattern));
    }
    let whole = virtual_path(url);
    let named_like_a_file = discover::has_extension(FilePath::new(&url.key));
    if url.is_folder {
        return Ok(Place::Folder(whole));
    }
    let bucket = s3.bucket(&url.bucket)?;
    // A folder may be called like a file, and a file like a folder.
    let is_file = match named_like_a_file {
        true => head(&bucket, &url.key)?.is_some() || page(&bucket, &url.prefix(), Some(1))?.is_empty(),
        false => page(&bucket, &url.prefix(), Some(1))?.is_empty() && head(&bucket, &url.key)?.is_some(),
    };
    Ok(match is_file {
        true => Place::File(whole),
        false => Place::Folder(whole),
    })
}

/// The files of a source.
pub(crate) fn find(root: &Root, url: &ObjectUrl) -> Result<Found> {
    let bucket = root.s3().bucket(&url.bucket)?;
    let shown = url.to_string();
    let nothing = || {
        Error::not_found("there is no data at the source's path")
            .with("path", &shown)
            .help(discover::WRITE_SOME)
    };
    let one = |found: Option<Entry>| found.ok_or_else(nothing).map(|entry| vec![entry]);
    let files = if let Some((folder, text)) = pattern(url) {
        let pattern = Pattern::new(&text)?;
        let prefix = folder.prefix();
        let chosen = choose(&bucket, &prefix, all(&bucket, &prefix)?, Some(&pattern))?;
        match chosen.files.is_empty() {
            false => chosen.files,
            // A key may look like a pattern.
            true => match head(&bucket, &url.key)? {
                Some(entry) => vec![entry],
                None => return Err(discover::no_match(shown)),
            },
        }
    } else {
        let like_a_file = !url.is_folder && discover::has_extension(FilePath::new(&url.key));
        let file = match like_a_file {
            true => head(&bucket, &url.key)?,
            false => None,
        };
        match file {
            Some(entry) => vec![entry],
            None => {
                let listed = all(&bucket, &url.prefix())?;
                match (listed.is_empty(), url.is_folder || like_a_file) {
                    (true, true) => return Err(nothing()),
                    (true, false) => one(head(&bucket, &url.key)?)?,
                    (false, _) => {
                        let chosen = choose(&bucket, &url.prefix(), listed, None)?;
                        if chosen.files.is_empty() && chosen.others > 0 {
                            return Err(discover::no_data(&virtual_path(url), chosen.others));
                        }
                        chosen.files
                    }
                }
            }
        }
    };
    found(root, &bucket, shown, files)
}

/// Whether the place where a store begins can be listed; what its first page has.
pub(crate) fn check(s3: &S3, url: &ObjectUrl) -> Result<String> {
    let bucket = s3.bucket(&url.bucket)?;
    let first = request_page(&bucket, &url.prefix(), Some(1000), None)?;
    let more = match first.page_token {
        Some(_) => "+",
        None => "",
    };
    Ok(format!("{}{more}", first.result.objects.len()))
}

/// The folder before the first component with a pattern, and the pattern.
fn pattern(url: &ObjectUrl) -> Option<(ObjectUrl, String)> {
    let parts: Vec<&str> = url.key.split('/').collect();
    let at = parts.iter().position(|part| discover::is_pattern(part))?;
    let folder = ObjectUrl {
        bucket: url.bucket.clone(),
        key: parts[..at].join("/"),
        is_folder: true,
    };
    Some((folder, parts[at..].join("/")))
}

fn virtual_path(url: &ObjectUrl) -> PathBuf {
    Spot::Object(url.clone()).path()
}

/// What was chosen, sorted, as data files of this version.
fn found(root: &Root, bucket: &Arc<Bucket>, shown: String, mut entries: Vec<Entry>) -> Result<Found> {
    // Parts compare one by one, so that the files of one folder stay together.
    entries.sort_by(|a, b| a.key.split('/').cmp(b.key.split('/')));
    let untold: Vec<usize> = (0..entries.len())
        .filter(|at| entries[*at].etag.is_none())
        .collect();
    if !untold.is_empty() {
        let asked: Vec<_> = untold
            .iter()
            .map(|at| {
                let (bucket, key) = (bucket.clone(), entries[*at].key.clone());
                bucket
                    .clone()
                    .start(async move { head_async(&bucket, &key).await })
            })
            .collect();
        for (at, pending) in untold.into_iter().zip(asked) {
            let url = bucket.url(&entries[at].key);
            entries[at] = pending
                .wait(&Cancel::default())?
                .ok_or_else(|| crate::fault::changed(&url))?;
        }
    }
    let file = |entry: Entry| {
        let url = bucket.url(&entry.key);
        let etag: Arc<str> = entry.etag.map(Into::into).ok_or_else(|| {
            Error::unsupported("the object store tells no ETag, so that changes could not be noticed")
                .with("path", &url)
        })?;
        let virtual_path = PathBuf::from(&url);
        let below = virtual_path.strip_prefix(root.path()).unwrap_or(&virtual_path);
        Ok(DataFile {
            shown: url.clone(),
            partitions: hive::partitions(below),
            version: Version::of_object(entry.size, bare(&etag).into()),
            home: Home::Object(Arc::new(Object {
                bucket: bucket.clone(),
                key: path(&entry.key)?,
                url,
                size: entry.size,
                etag,
            })),
            path: virtual_path,
        })
    };
    Ok(Found {
        shown,
        files: entries.into_iter().map(file).collect::<Result<_>>()?,
    })
}

/// Objects that are data.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    files: Vec<Entry>,
    /// Visible objects that are not data.
    others: usize,
}

/// The objects below a prefix that are data by the rules for folders, and that match a pattern.
fn choose(bucket: &Bucket, prefix: &str, entries: Vec<Entry>, pattern: Option<&Pattern>) -> Result<Chosen> {
    let mut chosen = Chosen::default();
    for entry in entries {
        let Some(below) = entry.key.strip_prefix(prefix) else {
            continue;
        };
        let parts: Vec<&str> = below.split('/').collect();
        match judge(&parts, pattern) {
            Judgement::Data => chosen.files.push(entry),
            // Empty objects stand for folders.
            Judgement::Other if entry.size > 0 => chosen.others += 1,
            Judgement::Other | Judgement::Nothing => {}
            Judgement::Table(format, depth) => {
                let folder = format!("{prefix}{}", parts[..depth].join("/"));
                return Err(discover::is_table(
                    format,
                    &bucket.url(folder.trim_end_matches('/')),
                ));
            }
        }
    }
    Ok(chosen)
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Data,
    /// Visible, but not data.
    Other,
    /// Hidden, or not matched.
    Nothing,
    /// Part of a table format, in the folder of the first components.
    Table(&'static str, usize),
}

/// What an object is, by the components of its key below the folder.
fn judge(parts: &[&str], pattern: Option<&Pattern>) -> Judgement {
    let last = parts.len() - 1;
    let mut rest = pattern.cloned();
    for (depth, part) in parts.iter().enumerate() {
        // Within a folder that counts as a whole.
        if rest.is_none()
            && let Some(format) = table(&parts[depth..])
        {
            return Judgement::Table(format, depth);
        }
        if part.is_empty() || discover::is_hidden(part) {
            return Judgement::Nothing;
        }
        if let Some(pattern) = &rest {
            let below = pattern.enter(part);
            if below.matches_here() {
                if depth == last {
                    return Judgement::Data;
                }
                rest = None;
            } else if below.is_dead() {
                return Judgement::Nothing;
            } else {
                rest = Some(below);
            }
        }
    }
    if rest.is_some() {
        return Judgement::Nothing;
    }
    match discover::has_extension(FilePath::new(parts[last])) {
        true => Judgement::Data,
        false => Judgement::Other,
    }
}

/// The table format that a component, with those below it, gives away.
fn table(parts: &[&str]) -> Option<&'static str> {
    match parts {
        ["_delta_log", ..] => Some("a Delta table"),
        [".hoodie", ..] => Some("a Hudi table"),
        ["metadata", name] if name.ends_with(".metadata.json") => Some("an Iceberg table"),
        _ => None,
    }
}

/// All objects below a prefix.
fn all(bucket: &Arc<Bucket>, prefix: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut token = None;
    loop {
        let page = request_page(bucket, prefix, None, token)?;
        entries.extend(page.result.objects.into_iter().map(Entry::from));
        match page.page_token {
            Some(next) => token = Some(next),
            None => return Ok(entries),
        }
    }
}

fn page(bucket: &Arc<Bucket>, prefix: &str, most: Option<usize>) -> Result<Vec<Entry>> {
    let page = request_page(bucket, prefix, most, None)?;
    Ok(page.result.objects.into_iter().map(Entry::from).collect())
}

fn request_page(
    bucket: &Arc<Bucket>,
    prefix: &str,
    most: Option<usize>,
    token: Option<String>,
) -> Result<PaginatedListResult> {
    let (of, prefix) = (bucket.clone(), prefix.to_owned());
    let pending = bucket.start(async move {
        let url = of.url(&prefix);
        let mut tries = Tries::new(
            of.policy,
            "the objects at the source's path cannot be listed",
            &url,
        );
        loop {
            let options = PaginatedListOptions {
                max_keys: most,
                page_token: token.clone(),
                ..PaginatedListOptions::default()
            };
            let prefix = (!prefix.is_empty()).then_some(prefix.as_str());
            let listed = async { Ok(of.client.list_paginated(prefix, options).await?) };
            match tries.attempt(&of.permits, listed).await {
                Ok(page) => return Ok(page),
                Err(failure) => tries.pause(failure).await?,
            }
        }
    });
    pending.wait(&Cancel::default())
}

/// One object, if it exists.
fn head(bucket: &Arc<Bucket>, key: &str) -> Result<Option<Entry>> {
    if key.is_empty() {
        return Ok(None);
    }
    let (of, key) = (bucket.clone(), key.to_owned());
    let pending = bucket.start(async move { head_async(&of, &key).await });
    pending.wait(&Cancel::default())
}

pub(super) async fn size(bucket: &Bucket, key: &str) -> Result<Option<u64>> {
    Ok(head_async(bucket, key).await?.map(|entry| entry.size))
}

async fn head_async(bucket: &Bucket, key: &str) -> Result<Option<Entry>> {
    let (key, url) = (path(key)?, bucket.url(key));
    let mut tries = Tries::new(bucket.policy, "a data file cannot be examined", &url);
    loop {
        let asked = async { Ok(bucket.client.head(&key).await?) };
        match tries.attempt(&bucket.permits, asked).await {
            Ok(meta) => return Ok(Some(Entry::from(meta))),
            Err(failure) if failure.meaning() == Meaning::NotFound => return Ok(None),
            Err(failure) => tries.pause(failure).await?,
        }
    }
}

impl From<ObjectMeta> for Entry {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            key: meta.location.into(),
            size: meta.size,
            etag: meta.e_tag,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(key: &str, pattern: Option<&str>) -> Judgement {
        let pattern = pattern.map(|text| Pattern::new(text).unwrap());
        let parts: Vec<&str> = key.split('/').collect();
        judge(&parts, pattern.as_ref())
    }

    #[test]
    fn folders_have_the_rules_of_the_disk() {
        for key in ["a.parquet", "dt=1/b.PQ", "x/y/z.parq", "a.parquet/part-0.parquet"] {
            assert_eq!(judged(key, None), Judgement::Data, "{key}");
        }
        for key in ["notes.txt", "dt=1/b.csv", "dt=1"] {
            assert_eq!(judged(key, None), Judgement::Other, "{key}");
        }
        for key in [
            "_SUCCESS",
            ".tmp-1.parquet",
            "_temporary/0/a.parquet",
            "x/.hidden/a.parquet",
        ] {
            assert_eq!(judged(key, None), Judgement::Nothing, "{key}");
        }
        let delta = Judgement::Table("a Delta table", 1);
        assert_eq!(judged("x/_delta_log/0.json", None), delta);
        assert_eq!(
            judged("metadata/v1.metadata.json", None),
            Judgement::Table("an Iceberg table", 0)
        );
        assert_eq!(judged("metadata/a.parquet", None), Judgement::Data);
        assert_eq!(judged(".hoodie/x", None), Judgement::Table("a Hudi table", 0));
    }

    #[test]
    fn patterns_choose_files_of_any_name_and_data_of_folders() {
        assert_eq!(judged("a.dat", Some("*.dat")), Judgement::Data);
        assert_eq!(judged("b/a.dat", Some("*.dat")), Judgement::Nothing);
        assert_eq!(judged("dt=2/a.parquet", Some("dt=*")), Judgement::Data);
        assert_eq!(judged("dt=2/a.txt", Some("dt=*")), Judgement::Other);
        assert_eq!(
            judged("x/dt=2/a.parquet", Some("**/dt=2/*.parquet")),
            Judgement::Data
        );
        assert_eq!(
            judged("x/dt=3/a.parquet", Some("**/dt=2/*.parquet")),
            Judgement::Nothing
        );
        assert_eq!(judged("_x/a.parquet", Some("*/*.parquet")), Judgement::Nothing);
        assert_eq!(
            judged("dt=2/_delta_log/x", Some("dt=*")),
            Judgement::Table("a Delta table", 1)
        );
    }

    #[test]
    fn the_folder_of_a_pattern_is_what_stands_before_it() {
        let url = |key: &str| ObjectUrl {
            bucket: "b".to_owned(),
            key: key.to_owned(),
            is_folder: false,
        };
        let (folder, rest) = pattern(&url("a/dt=*/x.parquet")).unwrap();
        assert_eq!(
            (folder.prefix().as_str(), rest.as_str()),
            ("a/", "dt=*/x.parquet")
        );
        assert_eq!(pattern(&url("*.parquet")).unwrap().0.prefix(), "");
        assert!(pattern(&url("a/b")).is_none());
    }
}
