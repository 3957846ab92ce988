//! How long does a training set take, against other engines on the same files? Data, larder's run, comparison.
//!
//! `cargo xtask bench pit` drives this program; each of its commands prints one JSON document.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

mod answers;
mod columns;
mod compare;
mod files;
mod generate;
mod oracle;
mod run;
mod shapes;
mod taxi;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use shapes::Workload;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage: pit shapes | generate FOLDER SHAPE DIVISOR | run WORKLOAD [RESULT] \
                     | compare WORKLOAD LARDERS_RESULT OTHER_RESULT";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match command(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A program for `xtask`, which shows its standard error to the person who asked.
            #[allow(clippy::print_stderr, reason = "the only way to say why")]
            {
                eprintln!("error: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn command(args: &[&str]) -> Result<()> {
    let workload = |path: &str| Workload::read(Path::new(path));
    let tell = |told: &Value| println!("{told}");
    match args {
        ["shapes"] => tell(
            &shapes::SHAPES
                .iter()
                .map(|shape| json!({ "name": shape.name, "question": shape.question }))
                .collect(),
        ),
        ["generate", folder, shape, divisor] => {
            let path = generate::workload(Path::new(folder), shapes::find(shape)?, divisor.parse()?)?;
            tell(&json!({ "workload": path }));
        }
        ["run", path] => run::run(&workload(path)?, None, tell)?,
        ["run", path, result] => run::run(&workload(path)?, Some(Path::new(result)), tell)?,
        ["compare", path, ours, other] => {
            tell(&compare::compare(
                &workload(path)?,
                Path::new(ours),
                Path::new(other),
            )?);
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}
