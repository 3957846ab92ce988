//! Where do the tests get a server that speaks like DynamoDB? From the path, or built once with cargo.
//!
//! `dynoxide` is one binary without further needs. It keeps DynamoDB's limits: a hundred keys, 25 items, 400 KB, 16 MB
//! with keys left over. What it has not the tests bring themselves: throttling, and bad lines. They start their servers
//! with this program.

use std::path::PathBuf;
use std::process::Command;

use crate::shell::{self, Failure, Result};

const NAME: &str = "dynoxide-rs";
const VERSION: &str = "3.2.0";
const PROGRAM: &str = "dynoxide";
const REMEDY: &str = "install it, so that dynoxide is on the path (cargo install --locked dynoxide-rs \
                      --no-default-features --features native-sqlite,http-server,cli), then run this step again";

/// The server's program, where it is not on the path.
#[derive(Debug, Default)]
pub(crate) struct Program {
    file: Option<PathBuf>,
}

impl Program {
    /// Finds the program, or builds it once.
    pub(crate) fn find() -> Result<Self> {
        let on_path = Self::default();
        if on_path.works() {
            return Ok(on_path);
        }
        let tools = super::target().join("tools");
        let root = tools.join(format!("{NAME}-{VERSION}"));
        let built = Self {
            file: Some(
                root.join("bin")
                    .join(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX)),
            ),
        };
        if !built.works() {
            println!("building the DynamoDB server for the tests, once: {NAME} {VERSION}");
            let mut command = shell::cargo(["install", NAME, "--version", VERSION, "--locked"]);
            command.args([
                "--no-default-features",
                "--features",
                "native-sqlite,http-server,cli",
            ]);
            command.arg("--root").arg(&root);
            command.arg("--target-dir").arg(tools.join("build"));
            shell::run(&mut command).map_err(|failure| {
                Failure::new(format!(
                    "there is no DynamoDB server for the tests ({failure}): {REMEDY}"
                ))
            })?;
        }
        match built.works() {
            true => Ok(built),
            false => Err(Failure::new(format!(
                "the DynamoDB server that was built does not start: {REMEDY}"
            ))),
        }
    }

    fn works(&self) -> bool {
        let mut command = match &self.file {
            Some(file) => Command::new(file),
            None => Command::new(PROGRAM),
        };
        shell::answers(command.arg("--version"))
    }

    /// Tells a command where the program is.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(file) = &self.file {
            command.env("LARDER_TEST_DYNAMODB", file);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_are_told_of_a_program_that_is_not_on_the_path() {
        let mut command = Command::new("true");
        Program::default().tell(&mut command);
        assert_eq!(command.get_envs().count(), 0);
        let built = Program {
            file: Some("/nowhere/dynoxide".into()),
        };
        assert!(!built.works());
        built.tell(&mut command);
        assert_eq!(command.get_envs().count(), 1);
    }
}
