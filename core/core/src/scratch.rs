//! Where do runs put what does not fit in memory, and who removes it when a run is killed?
//!
//! Every such folder holds a file that its owner keeps locked for as long as it lives. The system gives the lock up with
//! the process, however that ends, so a folder whose lock can be taken belongs to nobody; the next run beside it
//! removes it.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use larder_base::{Error, Result};
use parking_lot::{Condvar, Mutex};

/// What the names of all such folders begin with.
const PREFIX: &str = "larder-";
/// The locked file; a folder without it is not ours.
const MARK: &str = "larder.lock";
/// What stands in it.
const MARK_TEXT: &[u8] =
    b"larder: temporary files of a run; they may be removed once nobody holds a lock on this file\n";

/// The folders of this process.
static LIVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// Told when one of them goes.
static GONE: Condvar = Condvar::new();

/// A folder for temporary files, which is removed with everything in it when this is dropped, or by a later run when
/// this process is killed. Only the user who runs it can read it.
///
/// # Example
/// ```
/// let below = std::env::temp_dir();
/// let folder = larder_core::Scratch::new("example", Some(&below))?;
/// std::fs::write(folder.path().join("rows"), "7").unwrap();
/// let path = folder.path().to_owned();
/// drop(folder);
/// assert!(!path.exists());
/// # Ok::<(), larder_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Absent where the file system has no locks; then nobody else removes the folder either.
    _lock: Option<File>,
}

impl Scratch {
    /// A folder `larder-{what}-…` below the given one, or below the system's folder for temporary files. Folders there
    /// that killed runs left are removed.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be made.
    pub fn new(what: &str, below: Option<&Path>) -> Result<Self> {
        let below = below_or_default(below);
        let failed = |error| {
            Error::unavailable("a folder to spill into cannot be made")
                .with("path", below.display())
                .help("name another folder to spill into, or raise the memory limit")
                .source(error)
        };
        fs::create_dir_all(&below).map_err(failed)?;
        sweep(Some(&below));
        let prefix = format!("{PREFIX}{what}-");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let path = builder.tempdir_in(&below).map_err(failed)?.keep();
        LIVE.lock().insert(path.clone());
        let mut scratch = Self { path, _lock: None };
        scratch._lock = mark(&scratch.path).map_err(failed)?;
        Ok(scratch)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is left to a later run.
        let _ = clear(&self.path);
        LIVE.lock().remove(&self.path);
        GONE.notify_all();
    }
}

/// Removes folders below the given one, or below the system's folder for temporary files, that belong to no running
/// process any more. Anything else is left alone, and so is what cannot be removed.
pub fn sweep(below: Option<&Path>) {
    let Ok(entries) = fs::read_dir(below_or_default(below)) else {
        return;
    };
    for entry in entries.flatten().filter(is_candidate) {
        let path = entry.path();
        // Our own lock is another file to the system, and not to be tried.
        if LIVE.lock().contains(&path) {
            continue;
        }
        if let Some(_lock) = abandoned(&path) {
            let _ = clear(&path);
        }
    }
}

/// Waits for the folders of this process to go, and removes those that are still there after some time: for a process
/// that is about to end whatever its threads do.
pub fn remove_all(patience: Duration) {
    let deadline = Instant::now() + patience;
    let mut live = LIVE.lock();
    while !live.is_empty() && !GONE.wait_until(&mut live, deadline).timed_out() {}
    for path in live.iter() {
        // A thread may make a file meanwhile; it cannot for ever, because the folder is going.
        let _ = clear(path).or_else(|_| clear(path)).or_else(|_| clear(path));
    }
}

fn below_or_default(below: Option<&Path>) -> PathBuf {
    below.map_or_else(std::env::temp_dir, Path::to_path_buf)
}

/// Makes the locked file. It gets its name when it is locked, so that nobody finds it unlocked before that.
fn mark(folder: &Path) -> io::Result<Option<File>> {
    let unnamed = folder.join(format!("{MARK}.new"));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&unnamed)?;
    file.write_all(MARK_TEXT)?;
    if file.try_lock().is_err() {
        return Ok(None);
    }
    fs::rename(&unnamed, folder.join(MARK))?;
    Ok(Some(file))
}

/// Whether an entry may be a folder of ours. Links are none.
fn is_candidate(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type().is_ok_and(|of| of.is_dir())
}

/// The lock of a folder that carries our mark and belongs to nobody.
fn abandoned(folder: &Path) -> Option<File> {
    let path = folder.join(MARK);
    // A link or a pipe under that name is not ours, and opening it could wait for ever.
    if !fs::symlink_metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
    let mut text = Vec::new();
    (&mut file)
        .take(MARK_TEXT.len() as u64 + 1)
        .read_to_end(&mut text)
        .ok()?;
    (text == MARK_TEXT && file.try_lock().is_ok()).then_some(file)
}

/// Removes a folder; the mark last, so that a run that is killed on the way leaves a folder that is still known as ours.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == MARK {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        }
        .or_else(gone_is_fine)?;
    }
    fs::remove_file(folder.join(MARK)).or_else(gone_is_fine)?;
    fs::remove_dir(folder)
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A folder as a process that was killed leaves it.
    fn left(below: &Path, name: &str, mark: &[u8]) {
        fs::create_dir_all(below.join(name).join("deep")).unwrap();
        fs::write(below.join(name).join("deep/rows"), "7").unwrap();
        fs::write(below.join(name).join(MARK), mark).unwrap();
    }

    #[test]
    fn a_folder_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("new/deeper");
        let folder = Scratch::new("spill", Some(&below)).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("larder-spill-"), "{name}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        fs::write(folder.path().join("rows"), "7").unwrap();
        drop(folder);
        assert!(names(&below).is_empty());
    }

    #[test]
    fn what_killed_runs_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path();
        left(below, "larder-spill-dead", MARK_TEXT);
        left(below, "larder-rows-dead", MARK_TEXT);
        // Not ours: another mark, another name, no mark at all, and a file.
        left(below, "larder-spill-foreign", b"something else");
        left(below, "other-spill", MARK_TEXT);
        fs::create_dir(below.join("larder-spill-bare")).unwrap();
        fs::write(below.join("larder-file"), "").unwrap();
        // Somebody's who lives: of this process, and as another process would hold it.
        let own = Scratch::new("spill", Some(below)).unwrap();
        left(below, "larder-spill-held", MARK_TEXT);
        let held = File::open(below.join("larder-spill-held").join(MARK)).unwrap();
        held.lock().unwrap();

        sweep(Some(below));
        let own_name = own.path().file_name().unwrap().to_str().unwrap();
        let mut expected = vec![
            "larder-file",
            "larder-spill-bare",
            "larder-spill-foreign",
            "larder-spill-held",
            "other-spill",
            own_name,
        ];
        expected.sort_unstable();
        assert_eq!(names(below), expected);
        drop(held);
        drop(Scratch::new("rows", Some(below)).unwrap());
        assert!(!below.join("larder-spill-held").exists());
        assert!(own.path().exists());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (below, other) = (dir.path().join("below"), dir.path().join("other"));
        fs::create_dir_all(&below).unwrap();
        left(&other, "real", MARK_TEXT);
        std::os::unix::fs::symlink(other.join("real"), below.join("larder-spill-link")).unwrap();
        fs::create_dir(below.join("larder-spill-x")).unwrap();
        std::os::unix::fs::symlink(
            other.join("real").join(MARK),
            below.join("larder-spill-x").join(MARK),
        )
        .unwrap();
        sweep(Some(&below));
        assert!(other.join("real/deep/rows").exists());
        assert!(below.join("larder-spill-x").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = Scratch::new("spill", Some(&file)).unwrap_err();
        assert!(error.to_string().contains("spill"), "{error}");
        assert!(error.to_string().contains("file"), "{error}");
    }
}
