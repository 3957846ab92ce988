//! `larder materialize`: how do offline rows become online values?

use larder::{Error, Micros, Progress, Result, Span};

use crate::args::{instant, span};
use crate::context::Context;
use crate::output::{Report, Table, count, elapsed};

/// Options of `larder materialize`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Incremental is the default: it takes what is not online yet, late rows included, and continues
where a killed run stopped. Running it twice at once is safe: the newest value wins.

  larder materialize                                  everything, up to now
  larder materialize --views user_stats --until now-1h
  larder materialize --from 2026-05-01T00:00:00Z --until 2026-05-02T00:00:00Z
  larder materialize --repair 2h                      after a failover that lost writes")]
pub(crate) struct Args {
    /// Only these views
    #[arg(long, value_name = "a,b", value_delimiter = ',')]
    views: Vec<String>,
    /// What is not online yet (the default)
    #[arg(long, conflicts_with_all = ["from", "rebuild", "repair"])]
    incremental: bool,
    /// First event time of an interval, whatever was done before; needs --until
    #[arg(long, value_name = "T", value_parser = instant, requires = "until", conflicts_with_all = ["rebuild", "repair"])]
    from: Option<String>,
    /// Up to this instant
    #[arg(long, value_name = "T", value_parser = instant, conflicts_with_all = ["rebuild", "repair"])]
    until: Option<String>,
    /// All of it again
    #[arg(long, conflicts_with = "repair")]
    rebuild: bool,
    /// What became visible in the last while, again
    #[arg(long, value_name = "SPAN", value_parser = span)]
    repair: Option<Span>,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let store = cx.store()?;
    let now = store.clock().now();
    let parse = |text: &String| Micros::parse(text, now);
    let from = args.from.as_ref().map(parse).transpose()?;
    let until = args.until.as_ref().map(parse).transpose()?;
    let mut work = store.materialize();
    work = match (from, until) {
        (Some(from), Some(until)) if from > until => {
            return Err(Error::input(format!("--from {from} lies after --until {until}")));
        }
        (Some(from), Some(until)) => work.range(from, until),
        _ => match args.repair {
            Some(window) => work.repair(window),
            None if args.rebuild => work.rebuild(),
            None => work.incremental(until),
        },
    };
    if !args.views.is_empty() {
        let mut views: Vec<String> = Vec::new();
        for view in args.views {
            if !views.contains(&view) {
                views.push(view);
            }
        }
        work = work.views(views);
    }
    let bar = std::sync::Arc::new(cx.bars.rows("materialize"));
    let progress = Progress::default();
    let following = bar.follow(progress.clone());
    let told = bar.clone();
    let work = work.progress(progress).on_event(move |event| {
        told.say(format!(
            "{} slice {}/{}, {} written",
            event.view,
            event.slice + 1,
            event.slices,
            count(event.written)
        ));
    });
    let report = work.run().await;
    drop(following);
    bar.clear();
    let report = report?;
    let mut table = Table::new([
        "view",
        ">read",
        ">written",
        ">stale",
        ">slices",
        "covered until",
        ">time",
    ])
    .or_say("no view is served online");
    for view in &report.views {
        table.row([
            view.view.to_string(),
            count(view.read),
            count(view.written),
            count(view.stale),
            view.slices.to_string(),
            view.until.map(|at| at.to_string()).unwrap_or_default(),
            elapsed(std::time::Duration::from_secs_f64(view.seconds.max(0.0))),
        ]);
    }
    let read: u64 = report.views.iter().map(|view| view.read).sum();
    let mut told = Report::new(&report).table(table);
    if report.views.iter().all(|view| view.slices == 0) && !report.views.is_empty() {
        told = told.text("everything was online already");
    } else if report.seconds > 0.0 {
        let rate = (read as f64 / report.seconds) as u64;
        told = told.text(format!("{} rows/s", count(rate)));
    }
    Ok(told)
}
