//! `larder push`: how do rows get from a file to history and online values?

use std::path::PathBuf;

use clap::ValueEnum;
use larder::model::Catalog;
use larder::{Error, PushReport, PushTarget, Result, ValueType};
use serde_json::json;

use crate::context::Context;
use crate::output::{Report, Table, count, plural};
use crate::rows::{Aside, Columns, RowsFile, read, sift};

/// Options of `larder push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file has the columns of the source: join keys, event time, every feature. The whole file is
checked first; one bad row refuses all, unless --dead-letter takes the bad ones. A row older than
what is stored online is counted as stale and changes nothing.

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
    let (rows, mut aside) = match &args.dead_letter {
        Some(_) => sift(&args.file, &columns)?,
        None => (read(&args.file, &columns)?, None),
    };
    let target = match args.to {
        To::Online => PushTarget::Online,
        To::Offline => PushTarget::Offline,
        To::Both => PushTarget::Both,
    };
    let push = store
        .push(&args.source)
        .rows(rows)
        .to(target)
        .dead_letter(args.dead_letter.is_some());
    let report = push.run().await?;
    let dead = match &mut aside {
        Some(aside) => {
            let refused = report.refused.iter();
            aside.add(refused.map(|bad| (bad.row, bad.reason.clone())));
            aside.dead()?
        }
        None => report.dead.clone(),
    };
    if let (Some(path), Some(dead)) = (&args.dead_letter, dead) {
        let mut file = RowsFile::create(path, &dead.schema())?;
        file.write(&dead)?;
        file.finish()?;
    }
    Ok(told(&report, aside.as_ref(), &args))
}

fn told(report: &PushReport, aside: Option<&Aside>, args: &Args) -> Report {
    let mut document = json!(report);
    if let Some(aside) = aside {
        let bad = aside.bad().iter();
        document["rows"] = json!(aside.rows());
        document["refused"] = bad
            .map(|(row, reason)| json!({ "row": row, "reason": reason }))
            .collect();
    }
    let refused = aside.map_or(report.refused.len(), |aside| aside.bad().len());
    let mut table = Table::new(["view", ">written", ">stale"]);
    for view in &report.views {
        table.row([view.view.to_string(), count(view.written), count(view.stale)]);
    }
    let mut told = Report::new(document);
    if !matches!(args.to, To::Online) {
        told = told.text(format!(
            "appended {} to the history",
            plural(report.appended as usize, "row", "rows")
        ));
    }
    if !report.views.is_empty() {
        told = told.table(table);
    }
    if let (Some(path), false) = (&args.dead_letter, refused == 0) {
        told = told.text(format!(
            "refused {}; see `{}`",
            plural(refused, "row", "rows"),
            path.display()
        ));
    }
    told
}

/// The types of the columns of a source, for files that carry none.
fn columns(catalog: &Catalog, name: &str) -> Result<Columns> {
    let mut columns = Columns::default();
    let of_source =
        |view: &larder::model::FeatureView| view.source.as_str() == name || view.name.as_str() == name;
    for view in catalog.feature_views.values().filter(|view| of_source(view)) {
        let source = catalog.source(view.source.as_str())?;
        columns.timezone.clone_from(&source.timezone);
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
