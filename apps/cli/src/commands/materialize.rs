//! `larder materialize`: how do offline rows become online values?

use larder::{ByteSize, Error, MaterializeEvent, MaterializeReport, Micros, Result, Span};

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
    /// Slices of a view that are worked on at once; helps where reading waits for a network
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Speed")]
    slices_at_once: u16,
    /// Writes that are under way at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Speed")]
    writes_at_once: u16,
    /// Bytes that are under way to the online store at once
    #[arg(long, value_name = "SIZE", default_value = "32MiB", help_heading = "Speed")]
    bytes_in_flight: ByteSize,
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
    let bar = std::sync::Arc::new(cx.bars.share("materialize"));
    let told = bar.clone();
    let outcome = work
        .slices_at_once(args.slices_at_once.into())
        .writes_at_once(args.writes_at_once.into())
        .bytes_in_flight(args.bytes_in_flight)
        .stop_when(cx.asked.to_end())
        .on_event(move |event| {
            told.at(event.share);
            told.say(line(event));
        })
        .run_each()
        .await;
    bar.clear();
    let (report, mut failed) = outcome?;
    // Where nothing was done, or the user ended it, there is nothing to tell beside the error.
    if !failed.is_empty() && (report.views.is_empty() || cx.asked.was_heard()) {
        return Err(failed.swap_remove(0));
    }
    Ok(told_of(&report).failed(failed))
}

/// How far a view is, for the bar.
fn line(event: &MaterializeEvent) -> String {
    let left = event.eta_seconds.filter(|_| event.share < 1.0);
    let left = left.map(|seconds| format!(", {} left", time(seconds)));
    format!(
        "{} slice {}/{}: {} read, {} written, {} rows/s{}",
        event.view,
        event.slice + 1,
        event.slices,
        count(event.read),
        count(event.written),
        count(event.rows_per_second as u64),
        left.unwrap_or_default(),
    )
}

fn told_of(report: &MaterializeReport) -> Report {
    let columns = [
        "view",
        ">read",
        ">written",
        ">stale",
        ">seconds",
        ">rows/s",
        "covered until",
    ];
    let mut table = Table::new(columns).or_say("no view is served online");
    for view in &report.views {
        table.row([
            view.view.to_string(),
            count(view.read),
            count(view.written),
            count(view.stale),
            format!("{:.2}", view.seconds),
            count(view.rows_per_second as u64),
            view.until.map(|at| at.to_string()).unwrap_or_default(),
        ]);
    }
    let told = Report::new(report).table(table);
    if report.views.iter().all(|view| view.slices == 0) && !report.views.is_empty() {
        return told.text("everything was online already");
    }
    told
}

fn time(seconds: f64) -> String {
    match seconds {
        long if long >= 60.0 => larder::Span((long * 1e6) as i64).about(),
        short => elapsed(std::time::Duration::from_secs_f64(short.max(0.0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_left() {
        assert_eq!(time(12.34), "12.3 s");
        assert_eq!(time(-1.0), "0.0 µs");
        assert!(time(7_200.0).contains('h'), "{}", time(7_200.0));
    }
}
