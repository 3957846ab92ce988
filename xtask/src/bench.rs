//! Which bench target answers which question, and how is one run?

use std::fs;
use std::path::Path;

use crate::pit;
use crate::shell::{self, Failure, Result};
use crate::test::{dynamodb, postgres, redis};
use crate::tidy::model::{self, Member};

const PACKAGE: &str = "larder-benches";

pub(crate) fn main(args: &[String]) -> Result<()> {
    if let Some((first, rest)) = args.split_first()
        && first == "pit"
    {
        return pit::main(rest);
    }
    let split = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let (names, passed_on) = (&args[..split], args.get(split + 1..).unwrap_or_default());
    let members = model::members(&model::metadata()?)?;
    let benches = members.iter().find(|member| member.name == PACKAGE);
    let benches = benches.ok_or_else(|| Failure::new(format!("there is no package {PACKAGE}")))?;
    let targets = targets(benches);
    match names {
        [] => {
            for (name, question) in &targets {
                println!("{name:<16} {question}");
            }
            println!(
                "{:<16} training sets against other engines; see `cargo xtask bench pit --help`",
                "pit"
            );
            println!(
                "\nrun one with `cargo xtask bench NAME`, those of one kind with `online`, each with `all`"
            );
            Ok(())
        }
        [name] if name == "all" => targets.iter().try_for_each(|(name, _)| run(name, passed_on)),
        [name] if targets.iter().any(|(known, _)| known == name) => run(name, passed_on),
        [kind] if targets.iter().any(|(known, _)| is_kind(kind, known)) => targets
            .iter()
            .filter(|(known, _)| is_kind(kind, known))
            .try_for_each(|(name, _)| run(name, passed_on)),
        [name] => {
            let known: Vec<&str> = targets.iter().map(|(name, _)| name.as_str()).collect();
            Err(Failure::usage(format!(
                "no bench target \"{name}\"; there are: {}",
                known.join(", ")
            )))
        }
        _ => Err(Failure::usage(
            "`bench` takes one name; arguments for criterion come after `--`",
        )),
    }
}

/// `online` is `online_read`, `online_redis` and so on.
fn is_kind(kind: &str, name: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('_'))
}

fn run(name: &str, passed_on: &[String]) -> Result<()> {
    let mut command = shell::cargo(["bench", "--package", PACKAGE, "--bench", name]);
    if !passed_on.is_empty() {
        command.arg("--").args(passed_on);
    }
    if matches!(name, "online_redis" | "materialize") {
        redis::Programs::find()?.tell(&mut command);
    }
    if name == "online_dynamodb" {
        dynamodb::Program::find()?.tell(&mut command);
    }
    if name == "online_postgres" {
        postgres::Programs::find()?.tell(&mut command);
    }
    if matches!(name, "online_redis" | "materialize") {
        match pit::python() {
            Ok(python) => {
                command.env("LARDER_BENCH_PYTHON", python);
            }
            Err(failure) => {
                eprintln!("\n*** NO FEAST: {failure}\n*** larder is compared with the bare client only\n")
            }
        }
    }
    shell::run(&mut command)
}

/// Name and question of each target; the question is the first line of the target's documentation.
fn targets(package: &Member) -> Vec<(String, String)> {
    let mut found: Vec<_> = package
        .benches
        .iter()
        .map(|(name, file)| (name.clone(), question(file)))
        .collect();
    found.sort();
    found
}

pub(crate) fn question(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let first = text.lines().find_map(|line| line.strip_prefix("//!"));
    first.unwrap_or(" (its file does not say)").trim().to_owned()
}
