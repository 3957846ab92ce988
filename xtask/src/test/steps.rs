//! What does each step of `cargo xtask test` run?
//!
//! Each set of resolved features is a build of its own, Arrow and Parquet included. So the steps share three:
//! the whole workspace with all features (built once to run, checked once for clippy, docs and benches), and
//! the documented commands of the example and the demo. Only `alone` resolves features anew, and only checks.

use std::path::PathBuf;
use std::process::Command;

use super::redis::Programs;
use super::s3::Server;
use super::{Notes, dynamodb, postgres};
use crate::shell::{self, Failure, Result};
use crate::tidy::model;
use crate::{data, demo, tidy};

pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) question: &'static str,
    pub(super) run: fn() -> Result<Notes>,
}

pub(super) const STEPS: &[Step] = &[
    step("fmt", "is the code formatted?", fmt),
    step("tidy", "are the conventions kept?", tidy),
    step("test", "do all tests pass, with all features?", test),
    step(
        "s3",
        "do the stores that know S3 keep their contract on a real server?",
        s3,
    ),
    step(
        "redis",
        "does the Redis store keep its contract on real servers, clusters and sentinels?",
        redis,
    ),
    step(
        "postgres",
        "does the Postgres store keep its contract on a real server, also on one that fails?",
        postgres,
    ),
    step(
        "dynamodb",
        "does the DynamoDB store keep its contract on a server that speaks like it, also on one that fails?",
        dynamodb,
    ),
    step("doctest", "do the examples in the documentation run?", doctest),
    step("clippy", "are there warnings?", clippy),
    step("doc", "does the documentation build without broken links?", doc),
    step("benches", "do the benches compile?", benches),
    step(
        "alone",
        "does each crate, and each feature of the facade, compile by itself?",
        alone,
    ),
    step("deny", "are licences, bans and sources as deny.toml says?", deny),
    step("flights", "does the example run on the real data set?", flights),
    step("demo", "does the demo run, and run again?", demo),
];

const fn step(name: &'static str, question: &'static str, run: fn() -> Result<Notes>) -> Step {
    Step { name, question, run }
}

fn fmt() -> Result<Notes> {
    component("fmt", "rustfmt")?;
    // The names of the files are enough: the remedy is the same for each.
    shell::run(&mut cargo("fmt --all -- --check --files-with-diff"))
        .map_err(|_| Failure::new("not formatted: run cargo fmt --all"))?;
    Ok(Notes::new())
}

fn tidy() -> Result<Notes> {
    tidy::check().map(|()| Notes::new())
}

fn test() -> Result<Notes> {
    if shell::answers(&mut cargo("nextest --version")) {
        return done(&mut cargo(
            "nextest run --workspace --all-features --no-fail-fast",
        ));
    }
    println!("cargo-nextest is not installed: using cargo test");
    done(&mut cargo(
        "test --workspace --all-features --no-fail-fast --lib --bins --tests --examples",
    ))
}

/// The same build as `test`, and only what that step left out.
fn s3() -> Result<Notes> {
    let server = Server::start()?;
    done(server.tell(&mut ignored("s3")))
}

/// The same build, too; the tests start their servers themselves.
fn redis() -> Result<Notes> {
    let programs = Programs::find()?;
    done(programs.tell(&mut ignored("redis")))
}

/// The same build; the tests start their servers themselves.
fn postgres() -> Result<Notes> {
    let programs = postgres::Programs::find()?;
    done(programs.tell(&mut ignored("postgres")))
}

/// The same build; the tests start their servers themselves.
fn dynamodb() -> Result<Notes> {
    let program = dynamodb::Program::find()?;
    done(program.tell(&mut ignored("dynamodb")))
}

/// The tests in the module of a backend, which are ignored where there is no server.
fn ignored(module: &str) -> Command {
    let mut command = match shell::answers(&mut cargo("nextest --version")) {
        true => cargo("nextest run --workspace --all-features --no-fail-fast --run-ignored only -E"),
        false => cargo("test --workspace --all-features --no-fail-fast --test it -- --ignored"),
    };
    if command.get_args().any(|word| word == "nextest") {
        command.arg(format!("test(/^{module}::/)"));
    } else {
        command.arg(format!("{module}::"));
    }
    command
}

fn doctest() -> Result<Notes> {
    done(&mut cargo("test --doc --workspace --all-features --no-fail-fast"))
}

fn clippy() -> Result<Notes> {
    component("clippy", "clippy")?;
    done(&mut cargo(
        "clippy --workspace --all-targets --all-features -- -D warnings",
    ))
}

fn doc() -> Result<Notes> {
    let mut command = cargo("doc --workspace --no-deps --all-features");
    done(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn benches() -> Result<Notes> {
    done(&mut cargo("check --benches --package larder-benches"))
}

/// Features are united over a workspace, so that a crate may live on what another one turned on.
///
/// With clippy rather than check: an import that one feature leaves unused is a warning, and fails.
fn alone() -> Result<Notes> {
    component("clippy", "clippy")?;
    let members = model::members(&model::metadata()?)?;
    let mut failed = Vec::new();
    for selection in selections(&members) {
        let mut command = cargo("clippy --quiet");
        if shell::run(command.args(&selection).args(["--", "-D", "warnings"])).is_err() {
            failed.push(selection.join(" "));
        }
    }
    if failed.is_empty() {
        Ok(Notes::new())
    } else {
        Err(Failure::new(format!("does not compile: {}", failed.join("; "))))
    }
}

/// Each published crate as it comes; the facade also without features, and with each feature by itself.
fn selections(members: &[model::Member]) -> Vec<Vec<String>> {
    let published = members.iter().filter(|member| member.publishable);
    let mut selections: Vec<Vec<String>> = published
        .map(|member| words(&["--package", &member.name]))
        .collect();
    let facade = members.iter().find(|member| member.folder == "core/larder");
    if let Some(facade) = facade {
        let bare = ["--package", &facade.name, "--no-default-features"];
        selections.push(words(&bare));
        let features = facade
            .features
            .keys()
            .filter(|feature| !matches!(feature.as_str(), "default" | "full"));
        selections.extend(features.map(|feature| words(&[&bare[..], &["--features", feature]].concat())));
    }
    selections
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn deny() -> Result<Notes> {
    if shell::answers(&mut cargo("deny --version")) {
        shell::run(&mut cargo("deny --all-features check licenses bans sources"))?;
        return Ok(vec![
            "NOT CHECKED: advisories, which need a download of the database: cargo deny check advisories"
                .to_owned(),
        ]);
    }
    tidy::check_packages()?;
    Ok(vec![
        "NOT CHECKED: security advisories, yanked versions and the texts of licences. cargo-deny is not installed; \
         licences, duplicate versions and sources were checked from cargo's metadata instead. \
         For the rest: cargo install --locked cargo-deny, then cargo deny check"
            .to_owned(),
    ])
}

fn flights() -> Result<Notes> {
    let file: PathBuf = data::fetch()?;
    let mut command = cargo("run --package larder-example-flights");
    shell::tell(command.env("LARDER_FLIGHTS_DATA", file)).map(|()| Notes::new())
}

fn demo() -> Result<Notes> {
    demo::twice().map(|()| Notes::new())
}

fn cargo(line: &str) -> Command {
    shell::cargo(line.split_whitespace())
}

fn done(command: &mut Command) -> Result<Notes> {
    shell::run(command).map(|()| Notes::new())
}

/// A minimal toolchain lacks formatter and linter; rustup brings them where it is the installer.
fn component(subcommand: &str, component: &str) -> Result<()> {
    let present = || shell::answers(&mut cargo(&format!("{subcommand} --version")));
    if !present() {
        let _ = shell::run(Command::new("rustup").args(["component", "add", component]));
    }
    if present() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "`cargo {subcommand}` is missing: rustup component add {component}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_the_facade_is_built_by_itself() {
        let mut facade = model::sample("core/larder", "larder", &[]);
        facade.publishable = true;
        facade.features = ["default", "full", "redis"]
            .map(|name| (name.to_owned(), Vec::new()))
            .into();
        let example = model::sample("examples/x", "larder-example-x", &[]);
        let lines: Vec<String> = selections(&[facade, example])
            .iter()
            .map(|words| words.join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "--package larder",
                "--package larder --no-default-features",
                "--package larder --no-default-features --features redis",
            ]
        );
    }
}
