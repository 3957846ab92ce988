//! How a local folder keeps objects: whole, exactly once, and through a power failure?
//!
//! `object_store`'s own local backend neither syncs nor may it be asked to, so this is ours. An object is
//! written to a temporary file in its folder and synced; then a hard link gives it its name if nothing has
//! that name yet, or a rename replaces what has; then the folder is synced. The temporary file of a killed
//! writer stays, is ignored by everybody, and is removed when it is an hour old.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind as Io, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use larder_base::error::{Error, Result};

use crate::backend::{Backend, Creation, Lasting, Listing};
use crate::fault::io_error;

/// How old a temporary file must be before its writer is taken for dead.
const ABANDONED: Duration = Duration::from_secs(3600);

/// What temporary files begin with; no object does.
const TEMPORARY: &str = ".tmp-";

/// Objects as files of a local folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Absolute.
    root: PathBuf,
    /// Folders this process knows to be there durably, and has swept.
    ready: Mutex<HashSet<PathBuf>>,
}

impl Folder {
    /// A folder that need not exist; nothing is written.
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|error| io_error("cannot use", root, error))?;
        match fs::metadata(&root) {
            Ok(found) if !found.is_dir() => Err(Error::config(format!(
                "the registry's path `{}` is a file",
                root.display()
            ))
            .help("choose a `path` that is a folder or can become one")),
            _ => Ok(Self {
                inner: Arc::new(Inner {
                    root,
                    ready: Mutex::default(),
                }),
            }),
        }
    }

    /// Runs blocking work on a thread made for it.
    async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        path: &str,
        work: impl FnOnce(&Inner, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.inner.clone();
        let path = inner.root.join(path);
        tokio::task::spawn_blocking(move || work(&inner, &path).map_err(|error| io_error(what, &path, error)))
            .await
            .unwrap_or_else(|error| {
                Err(Error::unavailable("the runtime ended during work on the registry").source(error))
            })
    }
}

#[async_trait]
impl Backend for Folder {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Creation> {
        self.run("cannot write", path, move |inner, path| {
            inner.create(path, &bytes)
        })
        .await
    }

    async fn settle(&self, path: &str) -> Result<()> {
        self.run("cannot sync", path, |inner, path| {
            File::open(path)?.sync_all()?;
            let folder = folder_of(path)?;
            inner.prepare(folder)?;
            sync_folder(folder)
        })
        .await
    }

    async fn put(&self, path: &str, bytes: Bytes, lasting: Lasting) -> Result<()> {
        self.run("cannot write", path, move |inner, path| {
            inner.put(path, &bytes, lasting)
        })
        .await
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        self.run("cannot read", path, |_, path| {
            absent_is_none(fs::read(path).map(Bytes::from))
        })
        .await
    }

    async fn get_start(&self, path: &str, limit: u64) -> Result<Option<Bytes>> {
        self.run("cannot read", path, move |_, path| {
            let Some(file) = absent_is_none(File::open(path))? else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(Some(Bytes::from(bytes)))
        })
        .await
    }

    async fn exists(&self, path: &str) -> Result<bool> {
        self.run("cannot look for", path, |_, path| {
            Ok(absent_is_none(fs::metadata(path))?.is_some())
        })
        .await
    }

    async fn list(&self, folder: &str) -> Result<Listing> {
        self.run("cannot list", folder, |_, folder| {
            let Some(entries) = absent_is_none(fs::read_dir(folder))? else {
                return Ok(Listing::default());
            };
            let mut listing = Listing::default();
            for entry in entries {
                let entry = entry?;
                // What is hidden or no text is nobody's object.
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                if name.starts_with('.') {
                    continue;
                }
                // Following links, and not minding what vanished meanwhile.
                match absent_is_none(fs::metadata(entry.path()))? {
                    Some(found) if found.is_dir() => listing.folders.push(name),
                    Some(_) => listing.files.push(name),
                    None => {}
                }
            }
            Ok(listing)
        })
        .await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.run("cannot delete", path, |_, path| {
            absent_is_none(fs::remove_file(path)).map(drop)
        })
        .await
    }

    async fn writable(&self) -> Result<()> {
        self.run("cannot write to", "", |inner, _| {
            // The nearest folder that is there: the first commit makes the others.
            let existing = inner.root.ancestors().find(|folder| folder.exists());
            let existing = existing.unwrap_or(&inner.root);
            Temporary::write(existing, b"", Lasting::Hint).map(drop)
        })
        .await
    }

    fn place(&self, path: &str) -> String {
        self.inner.root.join(path).display().to_string()
    }

    fn name(&self) -> String {
        "folder".to_owned()
    }
}

impl Inner {
    fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<Creation> {
        let folder = folder_of(path)?;
        let temporary = self.temporary(folder, bytes, Lasting::Durable)?;
        let made = match fs::hard_link(&temporary.path, path) {
            Ok(()) => Creation::Made,
            Err(error) if error.kind() == Io::AlreadyExists => return Ok(Creation::Exists),
            // Linux says "not permitted" where a file system has no links; what may be written may be linked.
            Err(error) if error.kind() == Io::PermissionDenied => {
                return Err(io::Error::new(Io::Unsupported, error));
            }
            Err(error) => return Err(error),
        };
        drop(temporary);
        sync_folder(folder)?;
        Ok(made)
    }

    fn put(&self, path: &Path, bytes: &[u8], lasting: Lasting) -> io::Result<()> {
        let folder = folder_of(path)?;
        let mut temporary = self.temporary(folder, bytes, lasting)?;
        fs::rename(&temporary.path, path)?;
        temporary.gone = true;
        match lasting {
            Lasting::Durable => sync_folder(folder),
            Lasting::Hint => Ok(()),
        }
    }

    fn temporary(&self, folder: &Path, bytes: &[u8], lasting: Lasting) -> io::Result<Temporary> {
        self.prepare(folder)?;
        match Temporary::write(folder, bytes, lasting) {
            // Somebody removed the folder since this process made it.
            Err(error) if error.kind() == Io::NotFound => {
                self.ready().clear();
                self.prepare(folder)?;
                Temporary::write(folder, bytes, lasting)
            }
            written => written,
        }
    }

    /// Makes a folder, once per process, so that it survives a power failure.
    fn prepare(&self, folder: &Path) -> io::Result<()> {
        if self.ready().contains(folder) {
            return Ok(());
        }
        // Each new folder is an entry of its parent. Those of the registry are synced even when they
        // were there: the process that made them may have been killed before it could.
        let top = self.root.parent().unwrap_or(&self.root);
        let missing_above = top.ancestors().filter(|folder| !folder.exists()).count();
        fs::create_dir_all(folder)?;
        let inside = folder
            .ancestors()
            .skip(1)
            .take_while(|parent| parent.starts_with(top));
        let above = top.ancestors().skip(1).take(missing_above);
        for parent in inside.chain(above) {
            match sync_folder(parent) {
                // A parent that may only be walked through cannot have got a new folder from us.
                Err(error) if error.kind() == Io::PermissionDenied && !parent.starts_with(&self.root) => {}
                synced => synced?,
            }
        }
        sweep(folder);
        self.ready().insert(folder.to_owned());
        Ok(())
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file on its way to a name; removed when it gets there or fails.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    gone: bool,
}

impl Temporary {
    fn write(folder: &Path, bytes: &[u8], lasting: Lasting) -> io::Result<Self> {
        let path = folder.join(format!("{TEMPORARY}{:032x}", larder_base::random::u128()));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let temporary = Self { path, gone: false };
        file.write_all(bytes)?;
        if lasting == Lasting::Durable {
            file.sync_all()?;
        }
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.gone {
            // If this fails the sweep removes it later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes temporary files of killed writers; a failure only leaves them for the next sweep.
fn sweep(folder: &Path) {
    // The file system's own clock, which need not agree with this machine's.
    let Ok(probe) = Temporary::write(folder, b"", Lasting::Hint) else {
        return;
    };
    let Ok(now) = fs::metadata(&probe.path).and_then(|found| found.modified()) else {
        return;
    };
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        let modified = entry.metadata().and_then(|found| found.modified());
        let age = modified
            .ok()
            .and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn folder_of(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| Io::InvalidInput.into())
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == Io::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the names in a folder durable, where the system has that.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems keep names without being asked, and refuse to be.
        Err(error) if matches!(error.kind(), Io::InvalidInput | Io::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Makes the names in a folder durable, where the system has that.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn of_many_creators_exactly_one_makes_it_and_nothing_is_left_over() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(&place.path().join("a/b")).unwrap();
        let creators = (0..16_u8).map(|i| {
            let folder = folder.clone();
            tokio::spawn(async move { (i, folder.create("v/1", Bytes::from(vec![i; 1000])).await.unwrap()) })
        });
        let answers = futures::future::join_all(creators.collect::<Vec<_>>()).await;
        let made: Vec<u8> = answers
            .into_iter()
            .map(|answer| answer.unwrap())
            .filter(|(_, creation)| *creation == Creation::Made)
            .map(|(i, _)| i)
            .collect();
        assert_eq!(made.len(), 1);
        assert_eq!(folder.get("v/1").await.unwrap().unwrap(), vec![made[0]; 1000]);
        assert_eq!(names(&place.path().join("a/b/v")), ["1"]);
    }

    #[tokio::test]
    async fn only_old_temporary_files_are_swept_and_no_listing_shows_them() {
        let place = tempfile::tempdir().unwrap();
        let v = place.path().join("v");
        fs::create_dir(&v).unwrap();
        for (name, hours) in [(".tmp-old", 2), (".tmp-new", 0), ("1", 2)] {
            let file = File::create(v.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours))
                .unwrap();
        }
        let folder = Folder::new(place.path()).unwrap();
        assert_eq!(folder.list("v").await.unwrap().files, ["1"]);
        assert_eq!(
            names(&v),
            [".tmp-new", ".tmp-old", "1"],
            "reading removes nothing"
        );
        folder
            .put("v/2", Bytes::from("x"), Lasting::Durable)
            .await
            .unwrap();
        assert_eq!(names(&v), [".tmp-new", "1", "2"]);
    }

    #[tokio::test]
    async fn a_folder_removed_under_a_living_process_is_made_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(&place.path().join("r")).unwrap();
        folder.create("v/1", Bytes::from("x")).await.unwrap();
        fs::remove_dir_all(place.path().join("r")).unwrap();
        assert_eq!(
            folder.create("v/1", Bytes::from("y")).await.unwrap(),
            Creation::Made
        );
        assert_eq!(folder.get("v/1").await.unwrap().unwrap(), "y");
    }

    #[tokio::test]
    async fn a_file_in_the_place_of_a_folder_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = Folder::new(&file).unwrap_err();
        assert!(error.to_string().contains("is a file"), "{error}");
        let below = Folder::new(&file.join("registry")).unwrap();
        for error in [
            below.get("head").await.unwrap_err(),
            below.create("v/1", Bytes::new()).await.unwrap_err(),
            below.writable().await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), larder_base::ErrorKind::Config, "{error}");
        }
    }
}
