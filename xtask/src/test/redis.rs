//! Where do the tests get a real Redis? From the path, or from Debian's packages, unpacked without being installed.
//!
//! Installing the package would start a service; unpacking it needs no root and changes nothing on the machine. The tests
//! start servers of their own with these programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian;
use crate::shell::{self, Failure, Result};

const REMEDY: &str = "install Redis 6 or newer, or Valkey, so that redis-server and redis-cli are on the path \
                      (package redis-server, redis or valkey), then run this step again";
/// What the programs need beside what every machine has.
const UNWANTED: [&str; 4] = ["libc6", "adduser", "lsb-base", "sysvinit-utils"];

/// The folders of the programs and of their libraries, where they are not those of the machine.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    unpacked: Option<(PathBuf, PathBuf)>,
}

impl Programs {
    /// Finds the programs, or fetches them once.
    pub(crate) fn find() -> Result<Self> {
        if on_path() {
            return Ok(Self::default());
        }
        let folder = super::target().join("tools").join("redis");
        let found = Self::in_folder(&folder);
        if found.work() {
            return Ok(found);
        }
        debian::unpack("Redis", &folder.join("root"), packages).map_err(|failure| {
            Failure::new(format!("there is no Redis for the tests ({failure}): {REMEDY}"))
        })?;
        let fetched = Self::in_folder(&folder);
        match fetched.work() {
            true => Ok(fetched),
            false => Err(Failure::new(format!(
                "the Redis that was fetched does not start: {REMEDY}"
            ))),
        }
    }

    fn in_folder(folder: &Path) -> Self {
        let root = folder.join("root");
        let libraries = fs::read_dir(root.join("usr").join("lib"))
            .into_iter()
            .flatten()
            .flatten();
        let libraries = libraries.map(|entry| entry.path()).find(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.contains("-linux-gnu")
        });
        let bin = root.join("usr").join("bin");
        let lib = libraries.unwrap_or_else(|| root.join("usr").join("lib"));
        Self {
            unpacked: Some((bin, lib)),
        }
    }

    fn work(&self) -> bool {
        let Some((bin, lib)) = &self.unpacked else {
            return true;
        };
        let answers = |name: &str| {
            let mut command = Command::new(bin.join(name));
            shell::answers(command.env("LD_LIBRARY_PATH", lib).arg("--version"))
        };
        answers("redis-server") && answers("redis-cli")
    }

    /// Tells a command where the programs are.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        match &self.unpacked {
            None => command,
            Some((bin, lib)) => command
                .env("LARDER_TEST_REDIS_BIN", bin)
                .env("LARDER_TEST_REDIS_LIB", lib),
        }
    }
}

fn on_path() -> bool {
    let answers = |name: &str| shell::answers(Command::new(name).arg("--version"));
    answers("redis-server") && answers("redis-cli")
}

/// The packages that hold the programs, and the libraries these need.
fn packages() -> Result<Vec<String>> {
    let told = shell::read(Command::new("apt-cache").args(["depends", "redis-tools"]))?;
    let mut packages = vec!["redis-server".to_owned(), "redis-tools".to_owned()];
    packages.extend(debian::needed(&told, &UNWANTED));
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_off_the_package() {
        let told = "redis-tools\n  Depends: adduser\n  Depends: libc6\n  Depends: libjemalloc2\n  Depends: <virtual>\n  \
                    Suggests: ruby-redis\n";
        assert_eq!(debian::needed(told, &UNWANTED), ["libjemalloc2"]);
    }

    #[test]
    fn programs_of_the_machine_need_no_telling() {
        let mut command = Command::new("true");
        Programs::default().tell(&mut command);
        assert_eq!(command.get_envs().count(), 0);
        let programs = Programs::in_folder(Path::new("/nowhere"));
        programs.tell(&mut command);
        assert!(!programs.work() && command.get_envs().count() == 2);
    }
}
