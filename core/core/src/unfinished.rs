//! Who removes a file that a killed writer left under its temporary name, and how does a living one keep it?
//!
//! A writer keeps its file locked for as long as it is open. The system gives the lock up with the process, however that
//! ends. Where locks reach one machine only, the age tells, too: a file that is being written changes. Where locks keep
//! readers off, as on Windows, none is taken and nothing is removed.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long nobody must have written to a file for it to be removed.
const LEFT_AFTER: Duration = Duration::from_secs(60 * 60);

/// Keeps a file for its writer until all handles of it are closed. Where the file system has no locks nobody else
/// removes it either.
///
/// # Example
/// ```
/// # let dir = std::env::temp_dir();
/// let path = dir.join(format!(".rows.{:016x}.tmp", larder_core::random::u64()));
/// let file = std::fs::File::create_new(&path).unwrap();
/// larder_core::unfinished::hold(&file);
/// let later = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
/// larder_core::unfinished::sweep(&dir, |name| name.starts_with(".rows."), later);
/// assert!(path.exists());
/// drop(file);
/// larder_core::unfinished::sweep(&dir, |name| name.starts_with(".rows."), later);
/// assert_eq!(path.exists(), !cfg!(unix));
/// ```
pub fn hold(file: &File) {
    if cfg!(unix) {
        let _ = file.try_lock();
    }
}

/// Removes the files of a folder with temporary names that nobody holds and nobody has written to for an hour. Anything
/// else is left alone, and so is what cannot be removed.
pub fn sweep(folder: &Path, is_temporary: impl Fn(&str) -> bool, now: SystemTime) {
    let entries = cfg!(unix).then(|| fs::read_dir(folder).ok()).flatten();
    for entry in entries.into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&is_temporary)
            && let Some(_lock) = left(&entry, now)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The lock of a file that is nobody's. Links and folders are not looked at.
fn left(entry: &DirEntry, now: SystemTime) -> Option<File> {
    let metadata = entry.metadata().ok()?;
    let age = now.duration_since(metadata.modified().ok()?).ok()?;
    if !metadata.is_file() || age < LEFT_AFTER {
        return None;
    }
    let file = OpenOptions::new().write(true).open(entry.path()).ok()?;
    file.try_lock().is_ok().then_some(file)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_and_nobodys_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let make = |name: &str, age: u64| {
            let file = File::create_new(dir.path().join(name)).unwrap();
            file.set_modified(now - Duration::from_secs(age)).unwrap();
            file
        };
        let (hour, day) = (3_600, 86_400);
        drop(make("left.tmp", hour));
        drop(make("young.tmp", hour - 60));
        drop(make("ahead.tmp", 0));
        drop(make("rows.parquet", day));
        let held = make("held.tmp", day);
        hold(&held);
        fs::create_dir(dir.path().join("folder.tmp")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("rows.parquet"), dir.path().join("link.tmp")).unwrap();

        let names = || {
            let names = fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<_> = names
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.retain(|name| name != "link.tmp");
            names.sort();
            names
        };
        let is_temporary = |name: &str| name.ends_with(".tmp");
        sweep(dir.path(), is_temporary, now);
        let kept = ["ahead.tmp", "folder.tmp", "held.tmp", "rows.parquet", "young.tmp"];
        assert_eq!(names(), kept);
        sweep(dir.path(), is_temporary, now - Duration::from_secs(hour));
        assert_eq!(names(), kept);
        drop(held);
        sweep(dir.path(), is_temporary, now);
        assert_eq!(names(), ["ahead.tmp", "folder.tmp", "rows.parquet", "young.tmp"]);
        assert!(dir.path().join("link.tmp").exists());
        sweep(&dir.path().join("no"), is_temporary, now);
    }
}
