//! `larder rollback`: how do the definitions of an earlier version come back?

use larder::{ApplyOptions, Result, Version};

use super::apply;
use crate::context::Context;
use crate::output::Report;

/// Options of `larder rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A rollback is a new version with the definitions of an earlier one; history keeps both. Data is
never rolled back: views whose values are no longer there are materialized again.")]
pub(crate) struct Args {
    /// The version to go back to; `larder history` lists them
    version: u64,
    /// Also do what destroys something that others use
    #[arg(long)]
    allow_destructive: bool,
    /// Why, for the history
    #[arg(short, long, value_name = "MSG", default_value = "")]
    message: String,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let options = ApplyOptions::new()
        .with_allow_destructive(args.allow_destructive)
        .with_message(args.message);
    let applied = cx.store()?.rollback(Version(args.version), &options).await?;
    Ok(apply::report(&applied))
}
