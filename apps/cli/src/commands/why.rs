//! `larder why`: why has a feature this value at that time?

use larder::{EntityValues, Error, Micros, Result, ShownValue, Value, Version, WhyReport};

use super::preview::sensitive;
use crate::args::{Pairs, instant, pairs};
use crate::context::Context;
use crate::output::{Report, Table, count};

/// Features shown to people side by side.
const FEATURES: usize = 6;

/// Options of `larder why`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows the entity's rows around a time, newest first, what became of each in the point-in-time join,
and the answer in one sentence. Sensitive features are masked.

  larder why user_stats --entity user_id=7 --at 2026-03-01T00:00:00Z
  larder why user_stats --entity user_id=7 --at 2026-03-01 --feature orders_7d
  larder why user_stats --entity user_id=7 --at 2026-03-01 --known-until 2026-03-02")]
pub(crate) struct Args {
    /// The feature view
    view: String,
    /// The entity by its join keys. In values, `\,` is a comma and `\\` a backslash
    #[arg(long, value_name = "KEY=VALUE,..", value_parser = pairs)]
    entity: Option<Pairs>,
    /// The time asked about, as an entity row has one; now where absent
    #[arg(long, value_name = "T", value_parser = instant)]
    at: Option<String>,
    /// Only one feature
    #[arg(long, value_name = "F")]
    feature: Option<String>,
    /// Only rows that were visible at T, as in `larder historical`
    #[arg(long, value_name = "T", value_parser = instant)]
    known_until: Option<String>,
    /// Definitions of a version of the project, in place of the newest
    #[arg(long, value_name = "N")]
    at_version: Option<u64>,
    /// Rows told
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Show features that are marked as sensitive
    #[arg(long)]
    show_sensitive: bool,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let store = cx.store()?;
    let version = args.at_version.map(Version);
    let snapshot = store.snapshot_at(version).await?;
    let catalog = snapshot.catalog();
    let keys = catalog.join_keys(catalog.feature_view(&args.view)?)?;
    let typed = |(name, text): &(String, String)| -> Result<(String, Value)> {
        // An unknown name goes through as text: the engine names what is known.
        let value = match keys.iter().find(|key| key.name.as_str() == name) {
            Some(key) => Value::parse(text, key.value_type)
                .map_err(|e| Error::input(format!("join key `{name}`: {}", e.message())))?,
            None => Value::str(text),
        };
        Ok((name.clone(), value))
    };
    let entity = args.entity.iter().flat_map(|pairs| &pairs.0);
    let entity: EntityValues = entity.map(typed).collect::<Result<_>>()?;
    let now = store.clock().now();
    let mut why = store
        .why(&args.view)
        .entity(entity)
        .rows(args.limit)
        .sensitive(sensitive(args.show_sensitive));
    if let Some(at) = &args.at {
        why = why.at(Micros::parse(at, now)?);
    }
    if let Some(until) = &args.known_until {
        why = why.known_until(Micros::parse(until, now)?);
    }
    if let Some(version) = version {
        why = why.at_version(version);
    }
    if let Some(feature) = &args.feature {
        why = why.feature(feature);
    }
    Ok(told(&why.run().await?))
}

fn told(report: &WhyReport) -> Report {
    let shown: Vec<&String> = report.features.iter().take(FEATURES).collect();
    let head = ["event time", "created", "verdict"].map(str::to_owned);
    let mut table = Table::new(head.into_iter().chain(shown.iter().map(|name| (*name).clone())));
    for row in &report.rows {
        let text = |name: &&String| row.values.get(*name).map(cell).unwrap_or_default();
        let cells = [
            row.event.to_string(),
            row.created.map(|at| at.to_string()).unwrap_or_default(),
            row.verdict.as_str().to_owned(),
        ];
        table.row(cells.into_iter().chain(shown.iter().map(text)));
    }
    let mut told = Report::new(report).table(table);
    for (rows, which) in [(report.left_out.0, "newer"), (report.left_out.1, "older")] {
        if rows > 0 {
            told = told.text(format!(
                "… and {} {which} rows more; --limit N shows them",
                count(rows)
            ));
        }
    }
    if report.features.len() > FEATURES {
        told = told.text(format!(
            "… and {} features more; --feature F shows one, --format json all",
            report.features.len() - FEATURES
        ));
    }
    if !report.masked.is_empty() {
        told = told.text(format!(
            "masked, because sensitive: {}; --show-sensitive shows them",
            report.masked.join(", ")
        ));
    }
    told.text(report.answer.clone())
}

fn cell(value: &ShownValue) -> String {
    match value {
        ShownValue::Value(Value::Null) => "null".to_owned(),
        other => other.to_string(),
    }
}
