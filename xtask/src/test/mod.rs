//! `cargo xtask test`: is this tree good? The same steps on every machine, in CI and before a commit.
//!
//! All steps run even when one fails, since a person wants to hear of everything at once.

mod debian;
pub(crate) mod dynamodb;
pub(crate) mod postgres;
pub(crate) mod redis;
mod s3;
mod steps;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::shell::{self, Failure, Result};
use steps::{STEPS, Step};

/// What a step that succeeded wants to be said at the very end, above all what it did not check.
type Notes = Vec<String>;

pub(crate) fn main(args: &[String]) -> Result<()> {
    let request = parse(args)?;
    if request.list {
        for step in STEPS {
            println!("{:<10} {}", step.name, step.question);
        }
        return Ok(());
    }
    let chosen = STEPS
        .iter()
        .filter(|step| request.only.is_empty() || request.only.iter().any(|name| name == step.name));
    let mut reports = Vec::new();
    for step in chosen {
        let report = run(step);
        let stop = request.fail_fast && report.outcome.is_err();
        reports.push(report);
        if stop {
            break;
        }
    }
    println!("{}", summary(&reports));
    let failed: Vec<&str> = reports
        .iter()
        .filter(|report| report.outcome.is_err())
        .map(|report| report.name)
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "failed: {0}; again: cargo xtask test --only {0}",
            failed.join(",")
        )))
    }
}

/// Cargo's folder for what it builds.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => shell::root().join(folder),
        None => Path::new(&shell::root()).join("target"),
    }
}

#[derive(Debug)]
struct Report {
    name: &'static str,
    took: Duration,
    outcome: Result<Notes>,
}

fn run(step: &Step) -> Report {
    let bar = "=".repeat(12);
    println!("\n{bar} {}: {} {bar}", step.name, step.question);
    let start = Instant::now();
    let outcome = (step.run)();
    let report = Report {
        name: step.name,
        took: start.elapsed(),
        outcome,
    };
    match &report.outcome {
        Ok(_) => println!("{bar} {}: ok in {:.1} s", step.name, report.took.as_secs_f64()),
        Err(failure) => println!(
            "{bar} {}: FAILED in {:.1} s: {failure}",
            step.name,
            report.took.as_secs_f64()
        ),
    }
    report
}

fn summary(reports: &[Report]) -> String {
    let mut lines = vec![String::new(), format!("{:<10} {:>8}  result", "step", "seconds")];
    for report in reports {
        let result = match &report.outcome {
            Ok(notes) if notes.is_empty() => "ok".to_owned(),
            Ok(_) => "ok, but see below what was NOT CHECKED".to_owned(),
            Err(failure) => format!("FAILED: {failure}"),
        };
        lines.push(format!(
            "{:<10} {:>8.1}  {result}",
            report.name,
            report.took.as_secs_f64()
        ));
    }
    let total: Duration = reports.iter().map(|report| report.took).sum();
    lines.push(format!("{:<10} {:>8.1}", "total", total.as_secs_f64()));
    for report in reports {
        for note in report.outcome.iter().flatten() {
            lines.push(format!("\n!!! {}: {note}", report.name));
        }
    }
    let failed = reports.iter().filter(|report| report.outcome.is_err()).count();
    lines.push(format!(
        "\nsteps: {} passed, {failed} failed",
        reports.len() - failed
    ));
    lines.join("\n")
}

#[derive(Debug, Default, PartialEq)]
struct Request {
    only: Vec<String>,
    fail_fast: bool,
    list: bool,
}

fn parse(args: &[String]) -> Result<Request> {
    let mut request = Request::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--fail-fast" => request.fail_fast = true,
            "--list" => request.list = true,
            "--only" => {
                let names = rest
                    .next()
                    .ok_or_else(|| Failure::usage("--only needs names of steps, with commas between"))?;
                request.only.extend(names.split(',').map(str::to_owned));
            }
            other => return Err(Failure::usage(format!("unexpected argument \"{other}\""))),
        }
    }
    let unknown = request
        .only
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != name.as_str()));
    match unknown {
        None => Ok(request),
        Some(name) => {
            let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            Err(Failure::usage(format!(
                "no step \"{name}\"; there are: {}",
                known.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_read_or_refused() {
        assert_eq!(parse(&[]).expect("none"), Request::default());
        let request = parse(&words("--only fmt,tidy --fail-fast")).expect("both");
        assert_eq!(
            request,
            Request {
                only: words("fmt tidy"),
                fail_fast: true,
                list: false
            }
        );
        for line in ["--only", "--only fmt,nonsense", "--only fmt,", "--quick", "fmt"] {
            assert_eq!(parse(&words(line)).expect_err(line).code(), 2, "{line}");
        }
    }

    #[test]
    fn the_summary_counts_and_repeats_what_was_not_checked() {
        let report = |name, outcome| Report {
            name,
            took: Duration::from_secs(2),
            outcome,
        };
        let text = summary(&[
            report("fmt", Ok(Notes::new())),
            report("deny", Ok(vec!["NOT CHECKED: advisories".to_owned()])),
            report("doc", Err(Failure::new("a broken link"))),
        ]);
        assert!(text.contains("!!! deny: NOT CHECKED: advisories"), "{text}");
        assert!(text.contains("FAILED: a broken link"), "{text}");
        assert_eq!(text.lines().last(), Some("steps: 2 passed, 1 failed"));
    }

    #[test]
    fn steps_have_distinct_names() {
        let names: std::collections::BTreeSet<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
    }
}
