//! `larder status`: how fresh is each view online?

use larder::{Result, ViewStatus};
use serde_json::json;

use crate::args::span;
use crate::context::Context;
use crate::output::{Report, Table, count};

/// Options of `larder status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The watermark says up to when a view is materialized, its lag how long ago that is. A view with
`freshness:` is fresh while the lag is not longer. Whether the source itself had new rows is told by
the newest event that was materialized: it may be old however often a run looked for a newer one.

  larder status --check && echo all is well")]
pub(crate) struct Args {
    /// Exit with 3 when a view is not fresh, needs a backfill, or its last run failed
    #[arg(long)]
    check: bool,
    /// Only these views
    #[arg(long, value_name = "a,b", value_delimiter = ',')]
    views: Vec<String>,
    /// Also find views whose watermark is older than this, whatever their objective
    #[arg(long, value_name = "SPAN", value_parser = span)]
    max_lag: Option<larder::Span>,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let store = cx.store()?;
    for name in &args.views {
        store.snapshot().await?.catalog().feature_view(name)?;
    }
    let mut statuses = store.status().await?;
    if !args.views.is_empty() {
        statuses.retain(|status| args.views.iter().any(|name| status.view.as_str() == name));
    }
    let lags = |status: &ViewStatus| match (args.max_lag, status.lag_seconds) {
        (Some(limit), Some(lag)) => lag > limit.0 as f64 / 1e6,
        _ => false,
    };
    let mut table = Table::new([
        "view",
        "store",
        "watermark",
        ">lag",
        "newest event",
        "objective",
        "fresh",
        "last run",
        ">read",
        ">written",
        ">stale",
        "to do",
    ])
    .or_say("no views yet: `larder apply` makes them");
    let mut found = false;
    let mut documents = Vec::new();
    for status in &statuses {
        let mut findings: Vec<String> = status.needs_backfill.clone().into_iter().collect();
        if status.fresh == Some(false) {
            findings.push("older than its objective".to_owned());
        }
        match status.last_run.as_ref().map(|run| run.state) {
            Some("failed") => findings.push("its last run failed".to_owned()),
            Some("dead") => findings.push("its last run was killed".to_owned()),
            _ => {}
        }
        if let (Some(limit), true) = (args.max_lag, lags(status)) {
            findings.push(format!("lags by more than {limit}"));
        }
        found |= !findings.is_empty();
        table.row(cells(status, &findings));
        let mut document = json!(status);
        document["findings"] = json!(findings);
        documents.push(document);
    }
    Ok(Report::new(documents)
        .table(table)
        .exit(if args.check && found { 3 } else { 0 }))
}

fn cells(status: &ViewStatus, findings: &[String]) -> Vec<String> {
    let run = status.last_run.as_ref();
    vec![
        status.view.to_string(),
        status
            .store
            .as_ref()
            .map_or("not served".to_owned(), ToString::to_string),
        status.watermark.map(|at| at.to_string()).unwrap_or_default(),
        status.lag_seconds.map(lag).unwrap_or_default(),
        status.newest_event.map(|at| at.to_string()).unwrap_or_default(),
        status
            .freshness
            .map(|limit| limit.to_string())
            .unwrap_or_default(),
        status
            .fresh
            .map_or("", |fresh| if fresh { "yes" } else { "no" })
            .to_owned(),
        run.map(|run| match &run.error {
            Some(error) => format!("{}: {error}", run.state),
            None => run.state.to_owned(),
        })
        .unwrap_or_default(),
        run.map(|run| count(run.rows_read)).unwrap_or_default(),
        run.map(|run| count(run.rows_written)).unwrap_or_default(),
        run.map(|run| count(run.rows_stale)).unwrap_or_default(),
        findings.join("; "),
    ]
}

fn lag(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7_200.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3_600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}
