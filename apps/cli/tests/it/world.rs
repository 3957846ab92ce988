//! A folder and the binary in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The binary under test.
pub(crate) const LARDER: &str = env!("CARGO_BIN_EXE_larder");

/// A temporary folder in which commands run.
pub(crate) struct World {
    folder: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A world with a project of `larder init`; commands run inside of it.
    pub(crate) fn project() -> (Self, PathBuf) {
        let world = Self::new();
        world.larder(&["init", "shop"]).ok();
        let dir = world.path().join("shop");
        (world, dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn larder(&self, args: &[&str]) -> Ran {
        larder(self.path(), args)
    }
}

/// Runs the binary in a folder.
pub(crate) fn larder(dir: &Path, args: &[&str]) -> Ran {
    let output = Command::new(LARDER)
        .current_dir(dir)
        .args(args)
        .env_remove("LARDER_ENV")
        .output()
        .unwrap();
    Ran::from(output)
}

/// Runs a shell line in a folder, with `larder` on the path.
pub(crate) fn shell(dir: &Path, line: &str) -> Ran {
    let bin = Path::new(LARDER).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .current_dir(dir)
        .args(["-c", line])
        .env("PATH", path)
        .env_remove("LARDER_ENV")
        .output()
        .unwrap();
    Ran::from(output)
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// It must have succeeded, without a word on stderr.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.code == 0 && self.err.is_empty(), "{self:#?}");
        self
    }

    /// It must have ended with this code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Stdout must be exactly one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    /// Stderr must be exactly one JSON document with an error.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let document: Value = serde_json::from_str(&self.err).unwrap_or_else(|e| panic!("{e}: {self:#?}"));
        assert!(self.out.is_empty(), "{self:#?}");
        document["error"].clone()
    }
}
