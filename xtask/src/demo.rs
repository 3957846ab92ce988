//! Does the story that `larder demo` tells work, and work again?

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shell::{self, Failure, Result};

/// Runs the demo where the caller stands, with the caller's arguments.
pub(crate) fn main(args: &[String]) -> Result<()> {
    let here =
        std::env::current_dir().map_err(|error| Failure::new(format!("no current folder: {error}")))?;
    shell::run(&mut command(&here, args))
}

/// Twice in one empty folder: the second run meets what the first one left.
pub(crate) fn twice() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("larder-demo-{}", std::process::id()));
    fs::create_dir_all(&folder)
        .map_err(|error| Failure::new(format!("cannot create {}: {error}", folder.display())))?;
    for attempt in ["first", "second"] {
        shell::tell(&mut command(&folder, &[])).map_err(|failure| {
            Failure::new(format!(
                "{attempt} run of the demo: {failure}; its folder is kept: {}",
                folder.display()
            ))
        })?;
    }
    fs::remove_dir_all(&folder)
        .map_err(|error| Failure::new(format!("cannot remove {}: {error}", folder.display())))
}

fn command(folder: &Path, args: &[String]) -> Command {
    let mut command = shell::cargo(["run", "--quiet", "--package", "larder-cli", "--manifest-path"]);
    command
        .arg(shell::root().join("Cargo.toml"))
        .args(["--", "demo"])
        .args(args)
        .current_dir(folder);
    command
}
