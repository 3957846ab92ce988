//! `larder show`: what did a version change?

use std::fmt::Write as _;

use larder::{Action, Result, Version};

use super::history;
use crate::context::Context;
use crate::output::Report;

/// Options of `larder show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The version; `larder history` lists them
    version: u64,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let commit = cx.store()?.show(Version(args.version)).await?;
    let mut text = format!(
        "version {}, {}, by {}\n",
        commit.version, commit.time, commit.author
    );
    if !commit.message.is_empty() {
        let _ = writeln!(text, "{}", commit.message);
    }
    for change in &commit.changes {
        let sign = match change.action {
            Action::Create => '+',
            Action::Update => '~',
            Action::Delete => '-',
        };
        let _ = writeln!(text, "  {sign} {} (set {})", change.id, change.set);
        for detail in &change.details {
            let _ = writeln!(text, "      {detail}");
        }
    }
    Ok(Report::new(history::document(&commit)).product(text))
}
