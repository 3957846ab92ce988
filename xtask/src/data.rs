//! Where is the flights data set of the example, and how does it get there?
//!
//! It is published on npm, so the ordinary npm client fetches it once into a cache folder.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::shell::{self, Failure, Result};

const PACKAGE: &str = "vega-datasets@3.2.1";
const MEMBER: &str = "package/data/flights-3m.parquet";
const FILE: &str = "flights-3m.parquet";
/// A version on npm never changes, so any other size is a broken copy.
const BYTES: u64 = 13_493_022;
const MAGIC: &[u8; 4] = b"PAR1";

pub(crate) fn main(args: &[String]) -> Result<()> {
    if let Some(argument) = args.first() {
        return Err(Failure::usage(format!(
            "`data` takes no argument, got \"{argument}\""
        )));
    }
    println!("{}", fetch()?.display());
    Ok(())
}

/// The path of the data set, fetched if it is not there yet. Safe to repeat.
pub(crate) fn fetch() -> Result<PathBuf> {
    let folder = cache_folder()?;
    let file = folder.join(FILE);
    if check(&file).is_ok() {
        return Ok(file);
    }
    let npm = npm()?;
    // A folder of this process, renamed into place at the end: an interrupted run leaves no half file behind.
    let scratch = folder.join(format!("fetch-{}", std::process::id()));
    fs::create_dir_all(&scratch)
        .map_err(|error| Failure::new(format!("cannot create {}: {error}", scratch.display())))?;
    let fetched = download(npm, &scratch).and_then(|from| {
        fs::rename(&from, &file)
            .map_err(|error| Failure::new(format!("cannot move the data set to {}: {error}", file.display())))
    });
    let _ = fs::remove_dir_all(&scratch);
    fetched?;
    Ok(file)
}

fn download(npm: &str, scratch: &Path) -> Result<PathBuf> {
    eprintln!("fetching {PACKAGE} from npm");
    let mut pack = Command::new(npm);
    pack.args(["pack", PACKAGE, "--silent"]).current_dir(scratch);
    let printed = shell::read(&mut pack)?;
    let archive = printed.lines().last().unwrap_or_default().trim();
    let mut tar = Command::new("tar");
    tar.args(["-xzf", archive, MEMBER]).current_dir(scratch);
    shell::read(&mut tar)?;
    let file = scratch.join(MEMBER);
    check(&file)
        .map_err(|reason| Failure::new(format!("{PACKAGE} did not bring a usable {MEMBER}: {reason}")))?;
    Ok(file)
}

/// Refuses anything that is not the whole Parquet file.
fn check(file: &Path) -> std::result::Result<(), String> {
    check_parquet(file, BYTES)
}

fn check_parquet(file: &Path, bytes: u64) -> std::result::Result<(), String> {
    let mut input = fs::File::open(file).map_err(|error| error.to_string())?;
    let length = input.metadata().map_err(|error| error.to_string())?.len();
    if length != bytes {
        return Err(format!("{length} bytes instead of {bytes}"));
    }
    let mut magic = [0; 4];
    for position in [SeekFrom::Start(0), SeekFrom::End(-4)] {
        input.seek(position).map_err(|error| error.to_string())?;
        input.read_exact(&mut magic).map_err(|error| error.to_string())?;
        if &magic != MAGIC {
            return Err("not a Parquet file: the magic bytes are missing".to_owned());
        }
    }
    Ok(())
}

fn cache_folder() -> Result<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let base = base.ok_or_else(|| Failure::new("no cache folder: set HOME or XDG_CACHE_HOME"))?;
    Ok(base.join("larder-data"))
}

/// The npm client, installed with the system's package manager where that is allowed.
fn npm() -> Result<&'static str> {
    let present = || shell::answers(Command::new("npm").arg("--version"));
    if present() {
        return Ok("npm");
    }
    let root = shell::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if root && shell::answers(Command::new("apt-get").arg("--version")) {
        eprintln!("npm is missing: installing it with apt-get");
        // Standard output belongs to the path, so apt's report goes nowhere; its errors are shown.
        let apt = |args: &[&str]| {
            let mut command = Command::new("apt-get");
            command
                .args(args)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            shell::run(&mut command)
        };
        // Stale lists still install often enough, so only the second command decides.
        let _ = apt(&["update", "-q"]);
        apt(&["install", "-y", "-q", "--no-install-recommends", "npm"])?;
    }
    if present() {
        return Ok("npm");
    }
    Err(Failure::new(
        "the flights data set comes from npm and npm is not installed: install Node.js with npm \
         (Debian: apt-get install npm), or put the file into the cache folder yourself",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_parquet_file_is_accepted() {
        let folder = std::env::temp_dir().join(format!("larder-xtask-data-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let write = |name: &str, bytes: &[u8]| {
            let file = folder.join(name);
            fs::write(&file, bytes).expect("a temporary file");
            file
        };
        assert_eq!(check_parquet(&write("good", b"PAR1....PAR1"), 12), Ok(()));
        let cut = check_parquet(&write("cut", b"PAR1...."), 12).expect_err("cut short");
        assert!(cut.contains("8 bytes instead of 12"), "{cut}");
        assert!(check_parquet(&write("head", b"<html>..PAR1"), 12).is_err());
        assert!(check_parquet(&write("tail", b"PAR1........"), 12).is_err());
        assert!(check_parquet(&folder.join("absent"), 12).is_err());
        fs::remove_dir_all(&folder).expect("remove the temporary folder");
    }
}
