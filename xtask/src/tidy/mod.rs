//! `cargo xtask tidy`: does the workspace keep the conventions that reviewers would otherwise repeat?
//!
//! Each rule is a pure function from parsed facts to findings, and has a test that shows it can fail.

mod arrows;
mod exceptions;
mod features;
mod lexer;
mod licences;
mod manifest;
pub(crate) mod model;
mod source;
mod spdx;
mod tree;

use std::fmt;
use std::fs;

use crate::shell::{self, Failure, Result};

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) place: String,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

pub(crate) fn main(args: &[String]) -> Result<()> {
    if let Some(argument) = args.first() {
        return Err(Failure::usage(format!(
            "`tidy` takes no argument, got \"{argument}\""
        )));
    }
    check()
}

/// Checks every rule and reports all findings, not only the first.
pub(crate) fn check() -> Result<()> {
    let metadata = model::metadata()?;
    let members = model::members(&metadata)?;
    let packages = model::packages(&metadata)?;
    let files = model::files(&shell::root())?;
    let trees = tree::Trees::read()?;

    for line in trees.numbers() {
        println!("{line}");
    }
    for warning in source::long_files(&files) {
        println!("warning: {warning}");
    }

    let mut rules: Vec<Rule> = vec![
        ("arrows between crates", arrows::between_members(&members)),
        ("arrows to other crates", arrows::to_outside(&members)),
        ("larder-base declares links", arrows::links(&members)),
        ("package trees", trees.findings()),
        ("backend names in core/", source::backend_names(&files)),
        ("providers do no I/O", source::provider_io(&files)),
        ("only apps/cli prints", source::printing(&files)),
        ("time enters through Clock", source::wall_clock(&files)),
        ("folder and crate names", manifest::names(&members)),
        ("manifests of published crates", manifest::publishable(&members)),
        ("shared lints", manifest::lints(&members)),
        ("features of the facade", features::facade(&members)),
        ("module documentation", source::module_docs(&files)),
        (
            "length of files",
            source::too_long(&files, exceptions::LONG_FILES),
        ),
        ("unfinished code", source::unfinished(&files)),
        ("machine paths", source::machine_paths(&files)),
        ("trailing whitespace", source::trailing_whitespace(&files)),
    ];
    rules.extend(about_packages(&packages, &deny_toml()?));
    let broken = report(&rules);
    println!(
        "\n{} rules, {} crates of ours, {} packages in all, {} files, {broken} findings",
        rules.len(),
        members.len(),
        packages.len(),
        files.len()
    );
    if broken == 0 {
        Ok(())
    } else {
        Err(Failure::new(format!("tidy: {broken} findings")))
    }
}

/// Only what cargo-deny would check too, for machines that do not have it.
pub(crate) fn check_packages() -> Result<()> {
    let packages = model::packages(&model::metadata()?)?;
    let broken = report(&about_packages(&packages, &deny_toml()?));
    println!(
        "{} packages, {broken} findings about licences, duplicate versions and sources",
        packages.len()
    );
    if broken == 0 {
        Ok(())
    } else {
        Err(Failure::new(format!("{broken} findings")))
    }
}

type Rule = (&'static str, Vec<Finding>);

fn about_packages(packages: &[model::Package], deny: &str) -> [Rule; 3] {
    [
        ("licences", licences::licences(packages, deny)),
        ("duplicate versions", licences::duplicates(packages, deny)),
        ("sources of packages", licences::sources(packages)),
    ]
}

fn deny_toml() -> Result<String> {
    fs::read_to_string(shell::root().join("deny.toml"))
        .map_err(|error| Failure::new(format!("cannot read deny.toml: {error}")))
}

/// Prints the findings under the names of their rules, and counts them.
fn report(rules: &[Rule]) -> usize {
    for (rule, findings) in rules.iter().filter(|(_, findings)| !findings.is_empty()) {
        println!("\n{rule}:");
        for finding in findings {
            println!("  {finding}");
        }
    }
    rules.iter().map(|(_, findings)| findings.len()).sum()
}
