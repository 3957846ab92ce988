//! `larder get`: what are the features of some entities now?

use larder::{
    Error, FeatureStore, Micros, OnlinePlan, OutputInfo, ReadOptions, Reading, Result, Value, ViewName,
};
use serde_json::{Value as Json, json};

use crate::args::{Pairs, Select, pairs};
use crate::context::Context;
use crate::output::{Format, Report, Table, cell_text};

/// Options of `larder get`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A value is never silently missing: it is PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE (older
than the view's ttl), DEFAULTED or UNAVAILABLE. With --format json the answer has the shape of
the HTTP endpoint: one column per result. CSV has a line per entity and feature: the join keys, then
feature, value, status and event_timestamp; a value that is not there is empty. Tables mask
sensitive features; JSON and CSV, which are for programs, have them.

  larder get --service fraud_v1 --entity user_id=1,product_id=7
  larder get --features user_stats:orders_7d --entity user_id=1 --entity user_id=2")]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// An entity by its join keys; may be repeated. In values, `\,` is a comma and `\\` a backslash
    #[arg(long, value_name = "KEY=VALUE,..", value_parser = pairs)]
    entity: Vec<Pairs>,
    /// Fields that come with the request, for on-demand features (a later part)
    #[arg(long, value_name = "NAME=VALUE,..", value_parser = pairs)]
    request: Option<Pairs>,
    /// Name columns view__feature
    #[arg(long)]
    full_names: bool,
    /// Show values older than their ttl, too; their status stays
    #[arg(long)]
    keep_expired: bool,
    /// Show features that are marked as sensitive in the table, too
    #[arg(long)]
    show_sensitive: bool,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    if args.request.is_some() {
        return Err(Error::unsupported(
            "request fields are for on-demand features, which come in a later part",
        )
        .help("leave out --request"));
    }
    let store = cx.store()?;
    let plan = store
        .online(args.select.selection())
        .full_names(args.full_names)
        .keep_expired(args.keep_expired)
        .await?;
    let keys = key_columns(&plan, &args.entity)?;
    let answer = read(&plan, &keys).await?;
    let is_for_people = cx.format == Format::Table;
    let is_masked =
        |output: &OutputInfo| is_for_people && !args.show_sensitive && !output.sensitivity.is_none();
    let shown = match cx.format {
        Format::Csv => lines(&plan, &keys, &answer),
        _ => table(&plan, &keys, &answer, is_masked),
    };
    let mut report = Report::new(document(&plan, &keys, &answer)).table(shown);
    if is_for_people && !cx.quiet {
        for remark in unfilled(&store, &plan, &answer).await {
            report = report.text(remark);
        }
    }
    let outputs = plan.outputs();
    let masked: Vec<&str> = outputs
        .iter()
        .filter(|output| is_masked(output))
        .map(|output| output.name.as_str())
        .collect();
    if !masked.is_empty() {
        report = report.text(format!(
            "masked, because sensitive: {}; --show-sensitive shows them",
            masked.join(", ")
        ));
    }
    Ok(report)
}

/// What stands in place of a value that is not shown.
const HIDDEN: &str = "***";

/// The values of one key column, one per entity.
type KeyColumn = (String, Vec<Value>);

/// One value of the answer: its status, what stands there, and its event time.
struct Found {
    status: &'static str,
    value: Value,
    event: Option<Micros>,
}

/// The typed key columns that the plan needs.
fn key_columns(plan: &OnlinePlan, entities: &[Pairs]) -> Result<Vec<KeyColumn>> {
    let needed = plan.keys();
    for (name, _) in entities.iter().flat_map(|pairs| &pairs.0) {
        if !needed.iter().any(|(known, _)| known.as_str() == name) {
            let known = needed.iter().map(|(known, _)| known.as_str());
            return Err(Error::input(format!("no key column `{name}` is needed"))
                .help(larder::error::suggest(name, known.collect::<Vec<_>>())));
        }
    }
    if let (Some((name, _)), []) = (needed.first(), entities) {
        return Err(Error::input(format!("key column `{name}` is missing"))
            .help(format!("give it: --entity {name}=…")));
    }
    let column = |(name, of): &(larder::ColumnName, larder::ValueType)| -> Result<KeyColumn> {
        let value = |(row, pairs): (usize, &Pairs)| {
            let given = pairs.0.iter().find(|(given, _)| given == name.as_str());
            match given {
                Some((_, text)) => Value::parse(text, *of).map_err(|e| {
                    Error::input(format!("key column `{name}`: {}", e.message())).with("entity", row + 1)
                }),
                None => Err(Error::input(format!("key column `{name}` is missing"))
                    .with("entity", row + 1)
                    .help(format!("give it: --entity {name}=…"))),
            }
        };
        let values = entities.iter().enumerate().map(value).collect::<Result<_>>()?;
        Ok((name.to_string(), values))
    };
    let mut columns: Vec<KeyColumn> = needed.iter().map(column).collect::<Result<_>>()?;
    // In the order in which they were given, as a request over HTTP has them.
    let place = |name: &str| {
        entities
            .first()
            .and_then(|pairs| pairs.0.iter().position(|(given, _)| given == name))
    };
    columns.sort_by_key(|(name, _)| place(name));
    Ok(columns)
}

/// Reads all outputs, column by column.
async fn read(plan: &OnlinePlan, keys: &[KeyColumn]) -> Result<Vec<Vec<Found>>> {
    let mut session = plan.session();
    for (name, values) in keys {
        session.values(name, values)?;
    }
    let answer = session.read(ReadOptions::new()).await?;
    let found = |row: usize, output: usize| {
        let reading = answer.value(row, output);
        Found {
            status: status(&reading),
            value: reading.value().unwrap_or(Value::Null),
            event: answer.event_time(row, output),
        }
    };
    let columns = 0..plan.outputs().len();
    Ok(columns
        .map(|output| (0..answer.rows()).map(|row| found(row, output)).collect())
        .collect())
}

/// Which views had a row for none of the entities because they are not filled, and what to do about it.
async fn unfilled(store: &FeatureStore, plan: &OnlinePlan, answer: &[Vec<Found>]) -> Vec<String> {
    let mut views: Vec<ViewName> = Vec::new();
    for (output, column) in plan.outputs().into_iter().zip(answer) {
        let has_no_row = |found: &Found| found.event.is_none() && found.status != "UNAVAILABLE";
        if !views.contains(&output.view) && column.iter().all(has_no_row) {
            views.push(output.view);
        }
    }
    if views.is_empty() {
        return Vec::new();
    }
    // The values are read; whoever may not see the status, or cannot now, lacks no more than the remark.
    let statuses = store.status_of(&views).await.unwrap_or_default();
    let remark = |status: larder::ViewStatus| {
        let why = status.needs_backfill?;
        Some(format!("`{}` has no rows of these entities: {why}", status.view))
    };
    statuses.into_iter().filter_map(remark).collect()
}

/// Statuses as Feast's feature server names them, and two that it does not know.
fn status(reading: &Reading<Value>) -> &'static str {
    match reading {
        Reading::Present(_) => "PRESENT",
        Reading::Null => "NULL_VALUE",
        Reading::NotFound => "NOT_FOUND",
        Reading::Expired { .. } => "OUTSIDE_MAX_AGE",
        Reading::Defaulted(_) => "DEFAULTED",
        Reading::Unavailable => "UNAVAILABLE",
    }
}

fn document(plan: &OnlinePlan, keys: &[KeyColumn], answer: &[Vec<Found>]) -> Json {
    // What has no event time has the epoch, as clients of Feast expect.
    let instant = |event: Option<Micros>| json!(event.unwrap_or(Micros(0)));
    let mut names: Vec<String> = keys.iter().map(|(name, _)| name.clone()).collect();
    names.extend(plan.outputs().into_iter().map(|output| output.name));
    let of_key = |(_, values): &KeyColumn| {
        json!({
            "values": values.iter().map(Value::to_json).collect::<Vec<_>>(),
            "statuses": vec!["PRESENT"; values.len()],
            "event_timestamps": vec![instant(None); values.len()],
        })
    };
    let of_output = |column: &Vec<Found>| {
        json!({
            "values": column.iter().map(|found| found.value.to_json()).collect::<Vec<_>>(),
            "statuses": column.iter().map(|found| found.status).collect::<Vec<_>>(),
            "event_timestamps": column.iter().map(|found| instant(found.event)).collect::<Vec<_>>(),
        })
    };
    let results: Vec<Json> = keys
        .iter()
        .map(of_key)
        .chain(answer.iter().map(of_output))
        .collect();
    json!({ "metadata": { "feature_names": names }, "results": results })
}

/// One line per feature, one column per entity: readable for fifty features of a few entities.
fn table(
    plan: &OnlinePlan,
    keys: &[KeyColumn],
    answer: &[Vec<Found>],
    is_masked: impl Fn(&OutputInfo) -> bool,
) -> Table {
    let entities = keys.first().map_or(1, |(_, values)| values.len());
    let head = |row: usize| {
        if keys.is_empty() {
            return "value".to_owned();
        }
        let pairs: Vec<String> = keys
            .iter()
            .map(|(name, values)| format!("{name}={}", values[row]))
            .collect();
        pairs.join(",")
    };
    let head = (0..entities).flat_map(|row| [head(row), "as of".to_owned()]);
    let mut table = Table::new(std::iter::once("feature".to_owned()).chain(head));
    for (output, column) in plan.outputs().into_iter().zip(answer) {
        let is_masked = is_masked(&output);
        let cells = column.iter().flat_map(|found| {
            let text = match is_masked && !found.value.is_null() {
                true => HIDDEN.to_owned(),
                false => cell_text(&found.value),
            };
            let text = match (found.status, text) {
                ("PRESENT", text) => text,
                (status, text) if text.is_empty() => status.to_owned(),
                (status, text) => format!("{text} ({status})"),
            };
            [text, found.event.map(|at| at.to_string()).unwrap_or_default()]
        });
        table.row(std::iter::once(output.name).chain(cells));
    }
    table
}

/// One line per entity and feature, for programs: the status has a column of its own, so that no text can be taken for it.
fn lines(plan: &OnlinePlan, keys: &[KeyColumn], answer: &[Vec<Found>]) -> Table {
    let own = ["feature", "value", "status", "event_timestamp"];
    let mut table = Table::new(keys.iter().map(|(name, _)| name.as_str()).chain(own));
    for row in 0..keys.first().map_or(1, |(_, values)| values.len()) {
        for (output, column) in plan.outputs().into_iter().zip(answer) {
            let found = &column[row];
            let event = found.event.map(|at| at.to_string()).unwrap_or_default();
            let key = keys.iter().map(|(_, values)| cell_text(&values[row]));
            let cells = [
                output.name,
                cell_text(&found.value),
                found.status.to_owned(),
                event,
            ];
            table.row(key.chain(cells));
        }
    }
    table
}
