//! Where do the tests get a real Postgres? From the path, from where Debian installs it, or from Debian's packages,
//! unpacked without being installed.
//!
//! Installing the package would make a cluster and start a service; unpacking it needs no root and changes nothing on the
//! machine. The tests start servers of their own with these programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian;
use crate::shell::{self, Failure, Result};

const REMEDY: &str = "install PostgreSQL 12 or newer, so that initdb, postgres and psql are on the path \
                      (package postgresql), then run this step again";
/// Where Debian puts the programs, which are not on the path.
const INSTALLED: &str = "/usr/lib/postgresql";
/// What the programs need beside what every machine has.
const UNWANTED: [&str; 8] = [
    "libc6",
    "adduser",
    "lsb-base",
    "locales",
    "tzdata",
    "ssl-cert",
    "postgresql-common",
    "postgresql-client-common",
];

/// The folders of the programs and of their libraries, where they are not on the path.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    bin: Option<PathBuf>,
    lib: Option<PathBuf>,
}

impl Programs {
    /// Finds the programs, or fetches them once.
    pub(crate) fn find() -> Result<Self> {
        let fetched = tools().join("postgres").join("root");
        let known = || {
            let installed = Self::in_folder(Path::new(INSTALLED), None);
            let unpacked = Self::in_root(&fetched);
            [Some(Self::default()), installed, unpacked]
                .into_iter()
                .flatten()
                .find(Self::work)
        };
        if let Some(found) = known() {
            return Ok(found);
        }
        debian::unpack("Postgres", &fetched, packages).map_err(|failure| {
            Failure::new(format!(
                "there is no Postgres for the tests ({failure}): {REMEDY}"
            ))
        })?;
        known().ok_or_else(|| Failure::new(format!("the Postgres that was fetched does not start: {REMEDY}")))
    }

    /// The newest version below a folder that holds one folder per version.
    fn in_folder(folder: &Path, lib: Option<PathBuf>) -> Option<Self> {
        let versions = fs::read_dir(folder).into_iter().flatten().flatten();
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
        let newest = versions
            .map(|entry| entry.path())
            .filter(|path| number(path).is_some())
            .max_by_key(number)?;
        Some(Self {
            bin: Some(newest.join("bin")),
            lib,
        })
    }

    fn in_root(root: &Path) -> Option<Self> {
        let libraries = fs::read_dir(root.join("usr").join("lib"))
            .into_iter()
            .flatten()
            .flatten();
        let lib = libraries.map(|entry| entry.path()).find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().contains("-linux-gnu"))
        });
        Self::in_folder(&root.join("usr").join("lib").join("postgresql"), lib)
    }

    fn work(&self) -> bool {
        ["initdb", "postgres", "psql"].iter().all(|name| {
            let mut command = match &self.bin {
                Some(bin) => Command::new(bin.join(name)),
                None => Command::new(name),
            };
            if let Some(lib) = &self.lib {
                command.env("LD_LIBRARY_PATH", lib);
            }
            shell::answers(command.arg("--version"))
        })
    }

    /// Tells a command where the programs are.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(bin) = &self.bin {
            command.env("LARDER_TEST_POSTGRES_BIN", bin);
        }
        if let Some(lib) = &self.lib {
            command.env("LARDER_TEST_POSTGRES_LIB", lib);
        }
        command
    }
}

/// Where fetched programs go. Postgres refuses to run as root, so root's servers run as another user, who cannot look
/// into root's home, where the target folder may be; only root writes into the folder that is taken then.
fn tools() -> PathBuf {
    let root = shell::read(Command::new("id").arg("-u")).is_ok_and(|user| user.trim() == "0");
    match root {
        true => PathBuf::from("/var/cache/larder-test-tools"),
        false => super::target().join("tools"),
    }
}

/// The packages that hold the programs of Debian's version, and the libraries these need.
fn packages() -> Result<Vec<String>> {
    let depends = |name: &str| {
        shell::read(Command::new("apt-cache").args(["depends", name]))
            .map(|told| debian::needed(&told, &UNWANTED))
    };
    let server = depends("postgresql")?
        .into_iter()
        .find(|name| name.starts_with("postgresql-"))
        .ok_or_else(|| Failure::new("the package postgresql names no server"))?;
    let mut packages = vec![server.clone()];
    for name in depends(&server)? {
        if name.starts_with("postgresql-client-") {
            packages.extend(depends(&name)?);
        }
        packages.push(name);
    }
    packages.sort();
    packages.dedup();
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_off_the_package() {
        let told = "postgresql-15\n  Depends: libc6\n |Depends: locales\n  Depends: libpq5\n  Depends: <virtual>\n  \
                    Suggests: postgresql-doc-15\n";
        assert_eq!(debian::needed(told, &UNWANTED), ["libpq5"]);
    }

    #[test]
    fn the_newest_version_is_taken() {
        let folder = std::env::temp_dir().join(format!("larder-xtask-postgres-{}", std::process::id()));
        for name in ["9", "15", "common"] {
            fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        let found = Programs::in_folder(&folder, None).expect("a version");
        fs::remove_dir_all(&folder).expect("gone");
        assert_eq!(found.bin, Some(folder.join("15").join("bin")));
        assert!(!found.work());
        let mut command = Command::new("true");
        found.tell(&mut command);
        assert_eq!(command.get_envs().count(), 1);
    }
}
