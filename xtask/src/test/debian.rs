//! How do programs of Debian's packages get into a folder, without root and without a service that starts?

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shell::{self, Failure, Result};

/// Downloads packages into the folder above `root`, and unpacks them into `root`. Package lists are got where `packages`
/// or the download cannot do without newer ones.
pub(super) fn unpack(what: &str, root: &Path, packages: impl Fn() -> Result<Vec<String>>) -> Result<()> {
    println!("fetching {what} for the tests, once");
    fs::create_dir_all(root)
        .map_err(|error| Failure::new(format!("no folder {}: {error}", root.display())))?;
    let folder = root.parent().unwrap_or(root);
    let packages = match packages() {
        Ok(packages) => packages,
        Err(_) => {
            refresh();
            packages()?
        }
    };
    let download = || {
        let mut command = Command::new("apt-get");
        shell::run(command.arg("download").args(&packages).current_dir(folder))
    };
    if download().is_err() {
        refresh();
        download()?;
    }
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.map(|entry| entry.path());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "deb")) {
        shell::run(Command::new("dpkg").arg("-x").arg(&file).arg(root))?;
    }
    Ok(())
}

/// The packages that `apt-cache depends` tells, those of a choice included, without some.
pub(super) fn needed(told: &str, unwanted: &[&str]) -> Vec<String> {
    let names = told.lines().filter_map(|line| {
        let line = line.trim();
        line.strip_prefix("Depends: ")
            .or_else(|| line.strip_prefix("|Depends: "))
    });
    names
        .filter(|name| !name.starts_with('<') && !unwanted.contains(name))
        .map(str::to_owned)
        .collect()
}

/// Package lists may be missing in a container; only root may get them.
fn refresh() {
    let update = ["apt-get", "update", "--quiet"];
    if !shell::answers(Command::new(update[0]).args(&update[1..])) {
        let _ = shell::answers(Command::new("sudo").arg("-n").args(update));
    }
}
