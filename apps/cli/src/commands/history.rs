//! `larder history`: which versions does the project have?

use larder::{Action, Commit, Result, Version};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::output::{Report, Table};

/// Options of `larder history`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only versions before this one
    #[arg(long, value_name = "VERSION")]
    before: Option<u64>,
    /// At most so many, newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let commits = cx.store()?.history(args.before.map(Version), args.limit).await?;
    let mut table =
        Table::new([">version", "time", "author", "changes", "message"]).or_say("nothing was applied yet");
    for commit in &commits {
        table.row([
            commit.version.to_string(),
            commit.time.to_string(),
            commit.author.clone(),
            counts(commit),
            commit.message.clone(),
        ]);
    }
    let documents: Vec<Json> = commits.iter().map(document).collect();
    Ok(Report::new(documents).table(table))
}

/// A commit as programs read it.
pub(crate) fn document(commit: &Commit) -> Json {
    json!({
        "version": commit.version,
        "time": commit.time,
        "author": commit.author,
        "message": commit.message,
        "changes": commit.changes,
    })
}

/// `+2 ~1 -0` without what is zero.
fn counts(commit: &Commit) -> String {
    let count = |action: Action| commit.changes.iter().filter(|c| c.action == action).count();
    let parts = [
        (Action::Create, '+'),
        (Action::Update, '~'),
        (Action::Delete, '-'),
    ];
    let parts = parts.map(|(action, sign)| (count(action), sign));
    let texts: Vec<String> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, sign)| format!("{sign}{n}"))
        .collect();
    texts.join(" ")
}
