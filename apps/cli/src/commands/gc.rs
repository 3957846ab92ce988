//! `larder gc`: what can be freed of what earlier applies retired?

use larder::{GcOptions, Result, Span};

use crate::args::span;
use crate::context::Context;
use crate::output::{Report, count, plural};

/// Options of `larder gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A view that was removed or made anew leaves its online rows behind, so that servers on the
previous version keep working and a rollback finds them. After the grace period they are freed.")]
pub(crate) struct Args {
    /// How long after its retirement something is kept
    #[arg(long, value_name = "SPAN", value_parser = span)]
    grace: Option<Span>,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let options = match args.grace {
        Some(grace) => GcOptions::default().with_grace(grace),
        None => GcOptions::default(),
    };
    let report = cx.store()?.gc(&options).await?;
    let freed = plural(report.reclaimed.len(), "generation", "generations");
    let text = format!(
        "freed {freed} with {} rows; {} still within the grace period",
        count(report.rows),
        report.waiting
    );
    Ok(Report::new(&report).product(text))
}
