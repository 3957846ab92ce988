//! `larder preview`: what do the values of a service or view look like?

use larder::{Micros, Result, Sensitive};
use serde_json::json;

use crate::args::instant;
use crate::context::Context;
use crate::output::{Report, batch_json, batch_table, transposed};

/// Columns from which on a view is shown with one line per column.
const MANY_COLUMNS: usize = 12;
/// Entities shown side by side where there are many columns.
const WIDE: usize = 3;

/// Options of `larder preview`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows a few entities of each view with their values at a time, read from the offline stores; they
are the first that are found. Sensitive keys and features are masked.

  larder preview user_stats
  larder preview fraud_v1 --at 2026-03-01 --limit 3")]
pub(crate) struct Args {
    /// Feature service or feature view
    #[arg(value_name = "SERVICE|VIEW")]
    name: String,
    /// The time of the values; now where absent
    #[arg(long, value_name = "T", value_parser = instant)]
    at: Option<String>,
    /// Entities of each view
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Show keys and features that are marked as sensitive
    #[arg(long)]
    show_sensitive: bool,
}

/// What `--show-sensitive` means.
pub(super) fn sensitive(show: bool) -> Sensitive {
    match show {
        true => Sensitive::Shown,
        false => Sensitive::Masked,
    }
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let store = cx.store()?;
    let now = store.clock().now();
    let mut preview = store
        .preview(&args.name)
        .entities(args.limit)
        .sensitive(sensitive(args.show_sensitive));
    if let Some(at) = &args.at {
        preview = preview.at(Micros::parse(at, now)?);
    }
    let found = preview.run().await?;
    let mut documents = Vec::new();
    let mut tables = Vec::new();
    for view in &found.views {
        documents.push(json!({
            "view": view.view,
            "rows": batch_json(&view.rows)?,
            "masked": view.masked,
        }));
        tables.push(match view.rows.num_columns() > MANY_COLUMNS {
            true => transposed(&view.rows.slice(0, view.rows.num_rows().min(WIDE)))?,
            false => batch_table(&view.rows)?,
        });
    }
    let mut report = Report::new(
        json!({ "name": args.name, "version": found.version, "at": found.at, "views": documents }),
    );
    for (view, table) in found.views.iter().zip(tables) {
        report = report.text(format!("{} at {}", view.view, found.at)).table(table);
        if view.rows.num_rows() == 0 {
            report = report.text("nothing is known at that time");
        }
        if !view.masked.is_empty() {
            report = report.text(format!(
                "masked, because sensitive: {}; --show-sensitive shows them",
                view.masked.join(", ")
            ));
        }
    }
    Ok(report)
}
