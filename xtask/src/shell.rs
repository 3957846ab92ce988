//! How are other programs run, and how does a failure reach the person who asked?

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a command of xtask did not succeed; wrong usage has its own exit code, 2.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    usage: bool,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            usage: false,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            usage: true,
        }
    }

    pub(crate) fn code(&self) -> u8 {
        if self.usage { 2 } else { 1 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The folder of the workspace. Asked of cargo now, not when xtask was built: checkouts that share a target folder share
/// the program, too.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = here.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf());
    here.parent().unwrap_or(&here).to_path_buf()
}

/// `cargo <args>` in the workspace's folder.
pub(crate) fn cargo<I, S>(args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Runs with the caller's terminal and fails when the program does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    let status = command.status().map_err(|error| missing(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`{}` ended with {status}", line(command))))
    }
}

/// Like [`run`], and fails too when the program had nothing to tell: an empty `main` succeeds at everything.
pub(crate) fn tell(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| missing(command, &error))?;
    let told = String::from_utf8_lossy(&output.stdout);
    print!("{told}");
    if !output.status.success() {
        return Err(Failure::new(format!(
            "`{}` ended with {}",
            line(command),
            output.status
        )));
    }
    if told.trim().is_empty() {
        return Err(Failure::new(format!("`{}` printed nothing", line(command))));
    }
    Ok(())
}

/// Runs quietly and returns what the program wrote to its standard output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| missing(command, &error))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "`{}` ended with {}: {}",
            line(command),
            output.status,
            stderr.trim()
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::new(format!("`{}` did not print UTF-8", line(command))))
}

/// Whether a program answers, without showing what it says.
pub(crate) fn answers(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The command as a person would retype it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn missing(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {error}", line(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_a_failure_that_names_the_command() {
        let failure = read(&mut cargo(["no-such-command-of-cargo"])).expect_err("there is no such command");
        assert!(
            failure.to_string().contains("no-such-command-of-cargo"),
            "{failure}"
        );
        assert_eq!(failure.code(), 1);
    }

    #[test]
    fn a_program_with_nothing_to_tell_is_a_failure() {
        let failure = tell(&mut Command::new("true")).expect_err("it printed nothing");
        assert!(failure.to_string().contains("printed nothing"), "{failure}");
        assert!(tell(&mut Command::new("false")).is_err());
        tell(Command::new("echo").arg("a story")).expect("it printed something");
    }

    #[test]
    fn a_missing_program_does_not_answer() {
        assert!(!answers(&mut Command::new(
            "surely-not-a-program-of-this-machine"
        )));
        assert!(answers(cargo(["--version"]).arg("--quiet")));
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }
}
