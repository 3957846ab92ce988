//! `larder push`: how do rows get from a file to history and online values?

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use larder::model::Catalog;
use larder::{Error, Push, PushEvent, PushPhase, PushReport, PushTarget, PushedSide, Result, ValueType};
use serde_json::json;

use crate::context::Context;
use crate::output::{Report, Table, count, plural};
use crate::rows::{Aside, Columns, FileRows, RowsFile};

/// Options of `larder push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file has the columns of the source: join keys, event time, every feature. The whole file is
checked first; one bad row refuses all, unless --dead-letter takes the bad ones. It is read batch by
batch, once for each side, and may be larger than memory. A row older than what is stored online is
counted as stale and changes nothing.

The history has all rows or none. With --to both it has them before the first goes online: if that
breaks off, push again --to online, or materialize. Rows that go only online are in no history: they
are lost with the online store. larder compact merges the files that many pushes leave.

  larder push user_daily --file rows.csv --to both")]
pub(crate) struct Args {
    /// The source, or one of its views
    source: String,
    /// The rows: .csv, .parquet or .arrow
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Where they go
    #[arg(long, value_enum, default_value_t)]
    to: To,
    /// Push the good rows and write the bad ones to this new file, with their reasons
    #[arg(long, value_name = "FILE")]
    dead_letter: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum To {
    /// Only the online values
    #[default]
    Online,
    /// Only the source's history
    Offline,
    /// First the history, then the online values
    Both,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    if let Some(path) = &args.dead_letter {
        RowsFile::check(path)?;
        if path.metadata().is_ok_and(|there| there.len() > 0) {
            return Err(Error::conflict(format!(
                "the dead letter `{}` is there already; nothing was pushed",
                path.display()
            ))
            .help("name another file, or push its mended rows and remove it first"));
        }
    }
    let store = cx.store()?;
    let snapshot = store.snapshot().await?;
    let columns = columns(snapshot.catalog(), &args.source)?;
    let mut rows = FileRows::new(args.file.clone(), columns, None);
    let aside = args.dead_letter.as_deref().map(|path| Arc::new(Aside::new(path)));
    let target = match args.to {
        To::Online => PushTarget::Online,
        To::Offline => PushTarget::Offline,
        To::Both => PushTarget::Both,
    };
    let bar = Arc::new(cx.bars.share("push"));
    let told_bar = bar.clone();
    // What was refused is of interest from the moment the other rows are in the history.
    let appended = Arc::new(AtomicBool::new(false));
    let is_appended = appended.clone();
    let mut push = store
        .push(&args.source)
        .to(target)
        .stop_when(cx.asked.to_end())
        .on_event(move |event| {
            is_appended.store(event.phase == PushPhase::Online, Ordering::Relaxed);
            let share = event.total.map(|total| event.rows as f64 / total.max(1) as f64);
            told_bar.at(share.unwrap_or(0.0));
            told_bar.say(line(event));
        });
    if let Some(aside) = &aside {
        rows = rows.sifting(aside.clone());
        let judging = aside.clone();
        push = push.dead_letter_to(move |judged| judging.judged(judged));
    }
    push = args.dead_letter.iter().cloned().fold(push, Push::writes_to);
    let report = push.read_from(Arc::new(rows)).run().await;
    bar.clear();
    let half_done = matches!(target, PushTarget::Both) && appended.load(Ordering::Relaxed);
    let report = match (report, &aside) {
        (Err(error), Some(aside)) if half_done && aside.bad() > 0 => {
            aside.finish()?;
            let path = aside.path().display();
            return Err(error.with("refused", aside.bad()).with("dead_letter", path));
        }
        (report, _) => report?,
    };
    if let Some(aside) = &aside {
        aside.finish()?;
    }
    Ok(told(&report, aside.as_deref(), &args))
}

/// How far a push is, for the bar.
fn line(event: &PushEvent) -> String {
    let what = match event.phase {
        PushPhase::Check => "checked",
        PushPhase::Append => "appended",
        _ => "pushed online",
    };
    let rate = if event.seconds > 0.0 {
        event.rows as f64 / event.seconds
    } else {
        0.0
    };
    format!("{} {what}, {} rows/s", count(event.rows), count(rate as u64))
}

fn told(report: &PushReport, aside: Option<&Aside>, args: &Args) -> Report {
    let mut document = json!(report);
    if let Some(aside) = aside {
        document["rows"] = json!(aside.rows());
        document["bad"] = json!(aside.bad());
        document["refused"] = aside
            .named()
            .into_iter()
            .map(|(row, reason)| json!({ "row": row, "reason": reason }))
            .collect();
    }
    let refused = aside.map_or(report.bad, Aside::bad);
    let mut told = Report::new(document);
    if let Some(side) = &report.offline {
        let rows = plural(report.appended as usize, "row", "rows");
        told = told.text(format!("appended {rows} to the history {}", speed(side)));
    }
    if !report.views.is_empty() {
        let mut table = Table::new(["view", ">written", ">stale"]);
        for view in &report.views {
            table.row([view.view.to_string(), count(view.written), count(view.stale)]);
        }
        told = told.table(table);
    }
    if let Some(side) = &report.online {
        let rows = plural(side.rows as usize, "row", "rows");
        let writes = plural(side.batches as usize, "write", "writes");
        told = told.text(format!("pushed {rows} online with {writes} {}", speed(side)));
    }
    for warning in &report.warnings {
        told = told.text(format!("warning: {warning}"));
    }
    if let (Some(path), false) = (&args.dead_letter, refused == 0) {
        told = told.text(format!(
            "refused {}; see `{}`",
            plural(refused as usize, "row", "rows"),
            path.display()
        ));
    }
    told
}

fn speed(side: &PushedSide) -> String {
    format!(
        "in {:.2} s ({} rows/s)",
        side.seconds,
        count(side.rows_per_second as u64)
    )
}

/// The types of the columns of a source, for files that carry none.
fn columns(catalog: &Catalog, name: &str) -> Result<Columns> {
    let mut columns = Columns::default();
    let of_source =
        |view: &larder::model::FeatureView| view.source.as_str() == name || view.name.as_str() == name;
    for view in catalog.feature_views.values().filter(|view| of_source(view)) {
        let source = catalog.source(view.source.as_str())?;
        columns.timezone.clone_from(&source.timezone);
        columns.source = Some(source.name.to_string());
        columns.declare(&source.event_time, ValueType::TIMESTAMP);
        if let Some(created) = &source.created_time {
            columns.declare(&created.column, ValueType::TIMESTAMP);
        }
        for key in catalog.join_keys(view)? {
            columns.declare(source.column_of(key.name.as_str()), key.value_type);
        }
        for feature in &view.features {
            columns.declare(source.column_of(feature.name.as_str()), feature.value_type);
        }
    }
    Ok(columns)
}
