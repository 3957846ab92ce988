//! `larder compact`: how do the small files of many pushes become few?

use larder::{ByteSize, CompactOptions, CompactedSource, Error, Progress, Result, Span};

use crate::args::span;
use crate::context::Context;
use crate::output::{Report, Table, count, size};

/// Options of `larder compact`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every push to the history is a file of its own. This merges those that larder wrote, neighbours with
neighbours, sorted by event time; files of others stay as they are. Readers of larder find every row
once at any moment, and training sets stay the same. What was replaced is removed by the first run
after its grace; until then other programs that read the folder find those rows twice.

  larder compact --all                       from time to time, such as every hour
  larder compact user_daily --dry-run        what would be done
  larder compact user_daily --no-readers     remove at once what was replaced: nothing reads it now")]
pub(crate) struct Args {
    /// The sources
    #[arg(value_name = "SOURCE", required_unless_present = "all")]
    sources: Vec<String>,
    /// All sources of the project
    #[arg(long, conflicts_with = "sources")]
    all: bool,
    /// Size of the files that are made; files of half of it and more are left alone
    #[arg(long, value_name = "SIZE", default_value = "128MiB")]
    target_size: ByteSize,
    /// Rows in memory at once; bounds the files that are made, too
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    memory: ByteSize,
    /// How long what was replaced is kept for reads that have begun; at least 10m
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "1h")]
    grace: Span,
    /// Remove what was replaced at once: nothing reads the sources meanwhile
    #[arg(long, conflicts_with = "grace")]
    no_readers: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    if args.grace == Span::ZERO {
        return Err(Error::input("--grace 0s would remove files while they are read")
            .help("say --no-readers if nothing reads the sources meanwhile"));
    }
    let store = cx.store()?;
    let grace = if args.no_readers { Span::ZERO } else { args.grace };
    let progress = Progress::default();
    let options = CompactOptions::default()
        .with_target(args.target_size)
        .with_memory(args.memory)
        .with_grace(grace)
        .with_dry_run(args.dry_run)
        .with_progress(Some(progress.clone()));
    let mut work = store.compact().options(options);
    if !args.all {
        work = work.sources(args.sources);
    }
    let bar = cx.bars.rows("compact");
    let following = bar.follow(progress);
    let outcome = work.run_each().await;
    drop(following);
    bar.clear();
    let (done, mut failed) = outcome?;
    match (done.as_slice(), failed.as_slice()) {
        // Where nothing was done there is nothing to tell beside what failed.
        ([], [_]) => Err(failed.remove(0)),
        ([], [_, ..]) => Ok(Report::new(&done).failed(failed)),
        _ => Ok(told(&done, args.dry_run).failed(failed)),
    }
}

fn told(done: &[CompactedSource], dry_run: bool) -> Report {
    let columns = [
        "source", ">files", ">merged", ">into", ">rows", ">size", ">then", ">removed", ">waiting", ">seconds",
    ];
    let mut table = Table::new(columns).or_say("the project has no sources");
    let mut skipped = Vec::new();
    for source in done {
        if let Some(why) = &source.skipped {
            skipped.push(format!("{} was left out: {why}", source.source));
            continue;
        }
        let report = &source.report;
        table.row([
            source.source.to_string(),
            count(report.files),
            count(report.merged),
            count(report.made),
            count(report.rows),
            size(report.bytes_merged),
            report.bytes_made.map(size).unwrap_or_default(),
            count(report.removed),
            count(report.waiting),
            format!("{:.2}", source.seconds),
        ]);
    }
    let mut told = Report::new(done).table(table);
    for line in skipped {
        told = told.text(line);
    }
    let waiting: u64 = done.iter().map(|source| source.report.waiting).sum();
    if dry_run {
        told = told.text("nothing was done; run again without --dry-run");
    } else if waiting > 0 {
        told = told.text("files that wait are removed by a later run, when their grace is over");
    }
    told
}
