//! `cargo xtask`: which command of the workspace's automation was asked for?
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

mod bench;
mod data;
mod demo;
mod fuzz;
mod pit;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  test [--fail-fast] [--only STEP,..] [--list]   everything CI runs
  tidy                                           the conventions of the workspace, as checks
  data                                           fetch the flights data set once; prints its path
  demo [ARGS..]                                  run `larder demo`
  bench [NAME|all] [-- ARGS..]                   run one bench target, or list them
  bench pit [--help]                             training sets against other engines
  fuzz [TARGET] [--seconds N]                    run one fuzz target, or list them";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = args.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match command.as_str() {
        "test" => test::main(rest),
        "tidy" => tidy::main(rest),
        "data" => data::main(rest),
        "demo" => demo::main(rest),
        "bench" => bench::main(rest),
        "fuzz" => fuzz::main(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => Err(shell::Failure::usage(format!(
            "unknown command \"{other}\"\n\n{USAGE}"
        ))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
