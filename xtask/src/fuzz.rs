//! How are the fuzz targets run, given that they need a nightly toolchain of their own?

use std::fs;
use std::process::Command;

use crate::bench::question;
use crate::shell::{self, Failure, Result};

pub(crate) fn main(args: &[String]) -> Result<()> {
    let request = parse(args)?;
    let targets = targets()?;
    let Some(target) = request.target else {
        for (name, question) in &targets {
            println!("{name:<16} {question}");
        }
        println!("\nrun one with `cargo xtask fuzz TARGET [--seconds N]`");
        return Ok(());
    };
    if !targets.iter().any(|(name, _)| *name == target) {
        let known: Vec<&str> = targets.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Failure::usage(format!(
            "no fuzz target \"{target}\"; there are: {}",
            known.join(", ")
        )));
    }
    if !shell::answers(nightly().arg("--version")) {
        return Err(Failure::new(
            "fuzzing needs a nightly toolchain: rustup toolchain install nightly",
        ));
    }
    if !shell::answers(nightly().args(["fuzz", "--version"])) {
        return Err(Failure::new("fuzzing needs cargo-fuzz: cargo install cargo-fuzz"));
    }
    let mut command = nightly();
    command.args([
        "fuzz",
        "run",
        &target,
        "--",
        &format!("-max_total_time={}", request.seconds),
    ]);
    shell::run(&mut command)
}

#[derive(Debug, PartialEq)]
struct Request {
    target: Option<String>,
    seconds: u32,
}

fn parse(args: &[String]) -> Result<Request> {
    let mut request = Request {
        target: None,
        seconds: 60,
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--seconds" {
            let value = rest.next().and_then(|value| value.parse().ok());
            request.seconds = value.ok_or_else(|| Failure::usage("--seconds needs a whole number"))?;
        } else if arg.starts_with('-') || request.target.is_some() {
            return Err(Failure::usage(format!("unexpected argument \"{arg}\"")));
        } else {
            request.target = Some(arg.clone());
        }
    }
    Ok(request)
}

fn targets() -> Result<Vec<(String, String)>> {
    let folder = shell::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder)
        .map_err(|error| Failure::new(format!("no fuzz targets: cannot read fuzz/fuzz_targets: {error}")))?;
    let files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut found: Vec<(String, String)> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|file| Some((file.file_stem()?.to_str()?.to_owned(), question(&file))))
        .collect();
    found.sort();
    Ok(found)
}

/// Through rustup's own `cargo`: the one that runs xtask is bound to the stable toolchain.
fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command
        .arg("+nightly")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .current_dir(shell::root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_or_refused() {
        let parse = |line: &str| parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(
            parse("").expect("nothing"),
            Request {
                target: None,
                seconds: 60
            }
        );
        assert_eq!(
            parse("row --seconds 5").expect("both"),
            Request {
                target: Some("row".to_owned()),
                seconds: 5
            }
        );
        assert_eq!(parse("--seconds soon").expect_err("not a number").code(), 2);
        assert_eq!(parse("row keys").expect_err("two targets").code(), 2);
        assert_eq!(parse("--fast").expect_err("no such option").code(), 2);
    }
}
