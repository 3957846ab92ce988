//! Where the paths of sources lead: to this machine's disk, or to an object store.

use std::path::{Path, PathBuf};
#[cfg(feature = "s3")]
use std::sync::Arc;

use larder_core::{Error, Result};

use crate::config::ParquetConfig;
#[cfg(feature = "s3")]
use crate::s3::S3;

/// Where relative paths start, and how what is not on this machine is reached.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    start: Spot,
    /// The start as a path: of the disk, or `s3://bucket/prefix`.
    path: PathBuf,
    #[cfg(feature = "s3")]
    s3: Arc<S3>,
}

/// A place that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spot {
    Disk(PathBuf),
    Object(ObjectUrl),
}

/// `s3://bucket/key`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectUrl {
    pub(crate) bucket: String,
    /// Without a slash at either end; empty for the whole bucket.
    pub(crate) key: String,
    /// Whether it was written with a slash at its end, which only folders have.
    pub(crate) is_folder: bool,
}

impl Root {
    /// The root of a configured store; `resolve` makes folders absolute.
    pub(crate) fn new(config: &ParquetConfig, resolve: impl Fn(&str) -> PathBuf) -> Result<Self> {
        let start = match split(&config.root)? {
            Text::Path(path) => Spot::Disk(resolve(path)),
            Text::Object(url) => {
                supported()?;
                Spot::Object(ObjectUrl::new(url)?)
            }
        };
        Ok(Self {
            path: start.path(),
            start,
            #[cfg(feature = "s3")]
            s3: Arc::new(S3::new(config)?),
        })
    }

    /// A folder of this machine.
    pub(crate) fn folder(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            start: Spot::Disk(path.clone()),
            path,
            #[cfg(feature = "s3")]
            s3: Arc::default(),
        }
    }

    /// The start as a path: of the disk, or `s3://bucket/prefix`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn start(&self) -> &Spot {
        &self.start
    }

    #[cfg(feature = "s3")]
    pub(crate) fn s3(&self) -> &Arc<S3> {
        &self.s3
    }

    /// What a source's `path` names.
    pub(crate) fn resolve(&self, path: &str) -> Result<Spot> {
        match (split(path)?, &self.start) {
            (Text::Object(url), _) => {
                supported()?;
                ObjectUrl::new(url).map(Spot::Object)
            }
            (Text::Path(path), Spot::Disk(start)) => Ok(Spot::Disk(start.join(path))),
            (Text::Path(path), Spot::Object(_)) if path.starts_with('/') => Ok(Spot::Disk(path.into())),
            (Text::Path(path), Spot::Object(start)) => start.join(path).map(Spot::Object),
        }
    }
}

impl Spot {
    /// As a path, whose components compare like those of files.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Disk(path) => path.clone(),
            Self::Object(url) => url.to_string().into(),
        }
    }
}

impl ObjectUrl {
    /// From what follows `s3://`.
    fn new(rest: &str) -> Result<Self> {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Error::config("an s3:// path names no bucket").help("write s3://bucket/prefix/"));
        }
        // No bucket has such a name, but a URL with a user and password begins so.
        if bucket.contains(['@', ':']) {
            return Err(Error::config("an s3:// path has credentials where the bucket belongs").help(
                "write s3://bucket/prefix/; credentials belong in `access_key_id` and `secret_access_key` of the store",
            ));
        }
        let start = Self {
            bucket: bucket.to_owned(),
            key: String::new(),
            is_folder: true,
        };
        start.join(key)
    }

    /// A place below this one.
    fn join(&self, path: &str) -> Result<Self> {
        let mut parts: Vec<&str> = self.key.split('/').filter(|part| !part.is_empty()).collect();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return Err(Error::definition("a path leads out of its bucket")
                            .with("path", path)
                            .help("write the whole s3:// path instead"));
                    }
                }
                part => parts.push(part),
            }
        }
        Ok(Self {
            bucket: self.bucket.clone(),
            key: parts.join("/"),
            is_folder: parts.is_empty() || matches!(path.rsplit('/').next(), Some("" | "." | "..")),
        })
    }

    /// What the keys of everything below begin with.
    #[cfg(feature = "s3")]
    pub(crate) fn prefix(&self) -> String {
        match self.key.is_empty() {
            true => String::new(),
            false => format!("{}/", self.key),
        }
    }
}

impl std::fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

enum Text<'a> {
    Path(&'a str),
    /// What follows `s3://`.
    Object(&'a str),
}

/// What kind of place a text means.
fn split(text: &str) -> Result<Text<'_>> {
    match text.split_once("://") {
        None => Ok(Text::Path(text)),
        Some(("file", rest)) if rest.starts_with('/') => Ok(Text::Path(rest)),
        Some(("s3" | "s3a", rest)) => Ok(Text::Object(rest)),
        // URLs of other kinds may hold passwords and signatures, so nothing more of them is shown.
        Some((scheme, _)) => Err(Error::config(format!(
            "`{scheme}://…` is not a place the parquet store can read"
        ))
        .help("write a path, file:///absolute/path, or s3://bucket/prefix/")),
    }
}

#[cfg(feature = "s3")]
fn supported() -> Result<()> {
    Ok(())
}

#[cfg(not(feature = "s3"))]
fn supported() -> Result<()> {
    Err(Error::unsupported("this build cannot read s3:// paths")
        .help("build with the cargo feature `s3` of larder, larder-cli or larder-parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(of: &str) -> Result<Root> {
        Root::new(&ParquetConfig::new(of), |folder| {
            Path::new("/project").join(folder)
        })
    }

    fn shown(root: &Root, path: &str) -> String {
        root.resolve(path).unwrap().path().display().to_string()
    }

    #[test]
    fn paths_of_this_machine() {
        let root_of = |of: &str| root(of).unwrap().path().display().to_string();
        assert_eq!(root_of("data"), "/project/data");
        assert_eq!(root_of("file:///data"), "/data");
        let root = root("data").unwrap();
        assert_eq!(shown(&root, "a/b.parquet"), "/project/data/a/b.parquet");
        assert_eq!(shown(&root, "file:///x"), "/x");
        let error = root.resolve("gs://bucket/x").unwrap_err().to_string();
        assert!(error.contains("`gs://…`"), "{error}");
        let error = self::root("https://h/x?sig=hunter2").unwrap_err().chain();
        assert!(
            error.contains("`https://…`") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[cfg(feature = "s3")]
    #[test]
    fn paths_of_object_stores() {
        let disk = root("data").unwrap();
        let root = root("s3://bucket/features/").unwrap();
        assert_eq!(shown(&root, "user_daily/"), "s3://bucket/features/user_daily");
        assert_eq!(
            shown(&root, "./a//b/../c.parquet"),
            "s3://bucket/features/a/c.parquet"
        );
        assert_eq!(shown(&root, "."), "s3://bucket/features");
        assert_eq!(shown(&root, "/local/x"), "/local/x");
        assert_eq!(shown(&root, "s3a://other/x"), "s3://other/x");
        assert_eq!(shown(&disk, "s3://other/x/dt=1"), "s3://other/x/dt=1");
        assert!(root.resolve("../../x").is_err());
        assert!(root.resolve("s3:///x").is_err());
        for error in [
            root.resolve("s3://k:hunter2@b/x").unwrap_err(),
            self::root("s3://k:hunter2@b/x").unwrap_err(),
        ] {
            let error = error.chain();
            assert!(
                error.contains("credentials belong in") && !error.contains("hunter2"),
                "{error}"
            );
        }
        let folder = |path: &str| match root.resolve(path).unwrap() {
            Spot::Object(url) => url.is_folder,
            Spot::Disk(_) => false,
        };
        assert!(folder("a/") && folder("a/.") && folder(".") && folder("a/.."));
        assert!(!folder("a") && !folder("a/b.parquet"));
    }

    #[cfg(not(feature = "s3"))]
    #[test]
    fn a_build_without_s3_names_the_feature() {
        use larder_core::ErrorKind;
        let refused = [
            root("s3://bucket/x").unwrap_err(),
            root("data").unwrap().resolve("s3://bucket/x").unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("cargo feature `s3`"), "{error}");
        }
    }
}
