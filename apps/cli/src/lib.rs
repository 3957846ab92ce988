//! The command line of the larder feature store, as a library.
//!
//! The binary `larder` is one call of [`main`]. A binary with stores of a third party is three
//! lines:
//!
//! ```no_run
//! // use acme_store as _; // links the store, which registers itself
//! fn main() -> std::process::ExitCode {
//!     larder_cli::main()
//! }
//! ```

mod args;
mod commands;
mod context;
mod demo;
mod infer;
mod interrupt;
mod later;
mod log;
mod output;
mod rows;
mod sample;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind as ClapKind;
use larder::Error;

use args::{Cli, Command};
use context::Context;
use interrupt::Ended;
use output::{Format, Report, complain, render_error};

/// Exit code for wrong usage.
const USAGE: u8 = 2;

/// Runs the command line of this process and answers with its exit code.
///
/// 0 done, 1 failed, 2 wrong usage, 3 changes or findings where `--exit-code` or `--check` asks, 130 interrupted.
pub fn main() -> ExitCode {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // What becomes an error is told once, as that.
        if !larder::caught::is_caught() {
            tell(panic);
        }
    }));
    run(std::env::args_os().collect())
}

fn run(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, wants_json(&arguments)),
    };
    log::start(cli.global.verbose, cli.global.quiet);
    let cx = Context::new(&cli.global);
    if let Command::Unknown(words) = &cli.command {
        let name = words.first().map(|word| word.to_string_lossy().into_owned());
        // What follows an unknown word is not parsed, `--format` neither.
        let format = if wants_json(&arguments) {
            Format::Json
        } else {
            cx.format
        };
        return refuse(&later::unknown(&name.unwrap_or_default()), format);
    }
    if cx.format == Format::Markdown && !matches!(cli.command, Command::Plan(_)) {
        let error =
            Error::input("only `larder plan` prints markdown").help("use --format table, json or csv");
        return refuse(&error, cx.format);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => return fail(&Error::internal("no threads could be started").source(cause), &cx),
    };
    let tell_interrupted = {
        let cx = cx.clone();
        let error = match cli.command {
            Command::Historical(_) => interrupt::training_set,
            _ => interrupt::any_work as fn() -> Error,
        };
        move || complain(&render_error(&error(), cx.format, &cx.dir, cx.verbose))
    };
    let ended = interrupt::until(
        &runtime,
        commands::run(&cx, cli.command),
        &cx.asked,
        tell_interrupted.clone(),
    );
    // Work that an interrupt left behind must not hold the process back.
    runtime.shutdown_background();
    match ended {
        // Work that was through just then is done.
        Ended::Done(Ok(report)) | Ended::Interrupted(Some(Ok(report))) => finish(&report, &cx),
        Ended::Done(Err(error)) => fail(&error, &cx),
        Ended::Interrupted(outcome) => {
            match outcome {
                // Work that ended in order says what it leaves behind.
                Some(Err(error)) => complain(&render_error(
                    &interrupt::in_order(error),
                    cx.format,
                    &cx.dir,
                    cx.verbose,
                )),
                _ => tell_interrupted(),
            }
            ExitCode::from(interrupt::INTERRUPTED)
        }
    }
}

fn finish(report: &Report, cx: &Context) -> ExitCode {
    match output::print(&report.render(cx.format, cx.quiet, output::terminal())) {
        Ok(()) if report.failed.is_empty() => ExitCode::from(report.exit),
        Ok(()) => {
            let errors = match cx.format {
                // One document; the report names what it lacks.
                Format::Json => &report.failed[..1],
                _ => &report.failed,
            };
            for error in errors {
                complain(&render_error(error, cx.format, &cx.dir, cx.verbose));
            }
            ExitCode::from(1)
        }
        Err(cause) => fail(
            &Error::unavailable("nothing can be written to stdout").source(cause),
            cx,
        ),
    }
}

fn fail(error: &Error, cx: &Context) -> ExitCode {
    complain(&render_error(error, cx.format, &cx.dir, cx.verbose));
    ExitCode::from(1)
}

fn refuse(error: &Error, format: Format) -> ExitCode {
    complain(&render_error(error, format, Path::new("."), false));
    ExitCode::from(USAGE)
}

/// Help and version go to stdout; what clap could not understand to stderr, as JSON where asked.
fn usage(error: &clap::Error, json: bool) -> ExitCode {
    match error.kind() {
        ClapKind::DisplayHelp | ClapKind::DisplayVersion => {
            // A reader that went away has seen enough of the help.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ if json => {
            let text = error.to_string();
            let mut parts = text.trim().trim_start_matches("error: ").split("\n\n");
            let one_line = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
            let error = Error::input(one_line(parts.next().unwrap_or_default()));
            // Of usage and pointers to it, only the tip tells a program's author something new.
            let tip = parts.find_map(|part| part.trim().strip_prefix("tip: "));
            let error = match tip {
                Some(tip) => error.help(one_line(tip)),
                None => error,
            };
            refuse(&error, Format::Json)
        }
        _ => {
            let _ = error.print();
            ExitCode::from(USAGE)
        }
    }
}

/// Whether `--format json` was among arguments that could not be understood as a whole.
fn wants_json(arguments: &[OsString]) -> bool {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    words.iter().any(|word| word == "--format=json")
        || words
            .windows(2)
            .any(|pair| pair[0] == "--format" && pair[1] == "json")
}
