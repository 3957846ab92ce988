//! `larder historical`: how do entity rows become a training set?

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use clap::ValueEnum;
use futures::StreamExt;
use larder::model::Knowledge;
use larder::{
    Error, FeatureStore, HistoricalReport, OfflineOptions, Progress, Result, Selection, TrainingSet,
    ValueType,
};
use serde_json::json;

use crate::args::{Pairs, Select, pairs};
use crate::context::Context;
use crate::output::{
    Format, Report, Table, batch_json, batch_table, count, elapsed, plural, size, transposed,
};
use crate::rows::{Columns, RowsFile, read};

/// Rows shown where no file is written.
const PREVIEW: usize = 10;
/// Rows shown side by side, one line per column.
const WIDE_PREVIEW: usize = 3;
/// Columns from which on a preview has one line per column.
const MANY_COLUMNS: usize = 12;

/// Options of `larder historical`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Entity rows have the join keys and a time; other columns, such as the label, come out untouched.
Each row gets the feature values known at its own time, never later ones. Rows out = rows in, in
their order.

  larder historical --entities labels.parquet --service fraud_v1 --out training.parquet
  larder historical --entities labels.csv --features user_stats:orders_7d --timezone UTC
  larder historical --entities labels.csv --service fraud_v1 --keys user_id=customer --knowledge as-of")]
pub(crate) struct Args {
    /// Entity rows: .csv, .parquet or .arrow
    #[arg(long, value_name = "FILE", required_unless_present = "entity_sql")]
    entities: Option<PathBuf>,
    /// Entity rows as a query of the offline database (comes with the SQL stores)
    #[arg(long, value_name = "SQL", conflicts_with = "entities")]
    entity_sql: Option<String>,
    #[command(flatten)]
    select: Select,
    /// Column with the time of each row
    #[arg(long, value_name = "C", default_value = "event_timestamp")]
    time_column: String,
    /// Zone of times that have none, such as UTC or Europe/Stockholm
    #[arg(long, value_name = "Z")]
    timezone: Option<String>,
    /// Join keys under other names: key=column
    #[arg(long, value_name = "KEY=COLUMN,..", value_parser = pairs)]
    keys: Option<Pairs>,
    /// What created time decides, in place of what the sources say
    #[arg(long, value_enum)]
    knowledge: Option<Mode>,
    /// Name columns view__feature
    #[arg(long)]
    full_names: bool,
    /// Add the event time of each view's row
    #[arg(long)]
    event_times: bool,
    /// Write .parquet, .csv or .arrow; an existing file is replaced when all is done
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// It decides between rows with equal event times
    #[value(alias = "tie_break")]
    TieBreak,
    /// Rows are seen only from their created time on; those without one count as known at their event
    #[value(alias = "as_of")]
    AsOf,
}

impl Mode {
    fn knowledge(self) -> Knowledge {
        match self {
            Self::TieBreak => Knowledge::TieBreak,
            Self::AsOf => Knowledge::AsOf,
        }
    }
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let Some(file) = &args.entities else {
        return Err(Error::unsupported(
            "entity rows as SQL come with the SQL offline stores, in a later part",
        )
        .help("give a file with --entities"));
    };
    if let Some(path) = &args.out {
        RowsFile::check(path)?;
        if same_file(file, path) {
            return Err(
                Error::input(format!("`{}` would be replaced by --out", file.display()))
                    .help("write the training set to another file"),
            );
        }
    }
    let store = cx.store()?;
    let selection = args.select.selection();
    let needs = needs(&store, &selection, &args).await?;
    let rows = read(file, &needs.columns)?;
    let progress = Progress::default();
    let bar = cx.bars.rows("historical");
    let following = bar.follow(progress.clone());
    let training = request(&store, selection, &args, rows, progress).run().await?;
    let report = match &args.out {
        Some(path) => into_file(training, path, &needs.modes).await,
        None => onto_screen(training, cx.format, &needs.modes).await,
    };
    drop(following);
    bar.clear();
    report
}

/// Whether two paths lead to one file, which is there.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// What the definitions say about a request.
struct Needs {
    /// The types of the key columns, for files that carry none.
    columns: Columns,
    /// What created time decides, per view of the report.
    modes: Vec<Knowledge>,
}

async fn needs(store: &FeatureStore, selection: &Selection, args: &Args) -> Result<Needs> {
    let snapshot = store.snapshot().await?;
    let resolved = selection.resolve(snapshot.catalog(), args.full_names)?;
    let mut columns = Columns {
        timezone: args.timezone.clone(),
        ..Columns::default()
    };
    columns.declare(&args.time_column, ValueType::TIMESTAMP);
    let renamed = args.keys.iter().flat_map(|pairs| &pairs.0);
    for (column, keys) in resolved.key_columns() {
        let given = renamed.clone().find(|(key, _)| key == column.as_str());
        let column = given.map_or(column.as_str(), |(_, column)| column);
        if let Some(key) = keys.first() {
            columns.declare(column, key.value_type);
        }
    }
    let views = resolved.views.iter();
    let modes = views
        .map(|view| args.knowledge.map_or(view.source.knowledge, Mode::knowledge))
        .collect();
    Ok(Needs { columns, modes })
}

fn request(
    store: &FeatureStore,
    selection: Selection,
    args: &Args,
    rows: Vec<RecordBatch>,
    progress: Progress,
) -> larder::Historical {
    let mut request = store
        .historical(selection)
        .entities(rows)
        .time_column(&args.time_column)
        .full_names(args.full_names)
        .event_times(args.event_times)
        .options(OfflineOptions::default().with_progress(Some(progress)));
    if let Some(zone) = &args.timezone {
        request = request.timezone(zone);
    }
    for (key, column) in args.keys.iter().flat_map(|pairs| &pairs.0) {
        request = request.key(key, column);
    }
    match args.knowledge {
        Some(mode) => request.knowledge(mode.knowledge()),
        None => request,
    }
}

async fn into_file(mut training: TrainingSet, path: &Path, modes: &[Knowledge]) -> Result<Report> {
    let schema = training.schema();
    let mut file = RowsFile::create(path, &schema)?;
    while let Some(batch) = training.next().await {
        file.write(&batch?)?;
    }
    let bytes = file.finish()?;
    let report = training.report();
    let document = json!({
        "out": path.display().to_string(),
        "rows": report.rows,
        "columns": schema.fields().len(),
        "bytes": bytes,
        "knowledge": modes,
        "report": report,
    });
    let text = format!(
        "{}: {}, {} columns, {}",
        path.display(),
        plural(report.rows as usize, "row", "rows"),
        schema.fields().len(),
        size(bytes)
    );
    Ok(told(Report::new(document).text(text), &report, modes))
}

async fn onto_screen(mut training: TrainingSet, format: Format, modes: &[Knowledge]) -> Result<Report> {
    let schema = training.schema();
    let mut batches = Vec::new();
    while let Some(batch) = training.next().await {
        batches.push(batch?);
    }
    let all = concat_batches(&schema, &batches)
        .map_err(|e| Error::internal("the rows of a training set do not fit together").source(e))?;
    let report = training.report();
    match format {
        Format::Json => Ok(Report::new(batch_json(&all)?)),
        Format::Csv => Ok(Report::new(()).table(batch_table(&all)?)),
        Format::Table | Format::Markdown => {
            let wide = all.num_columns() > MANY_COLUMNS;
            let first = all.slice(0, all.num_rows().min(if wide { WIDE_PREVIEW } else { PREVIEW }));
            let table = if wide {
                transposed(&first)?
            } else {
                batch_table(&first)?
            };
            let mut shown = Report::new(()).table(table);
            if all.num_rows() > first.num_rows() {
                let more = count((all.num_rows() - first.num_rows()) as u64);
                shown = shown.text(format!("… and {more} rows more; --out FILE writes them all"));
            }
            Ok(told(shown, &report, modes))
        }
    }
}

/// What the run found, view by view.
fn told(told: Report, report: &HistoricalReport, modes: &[Knowledge]) -> Report {
    let mut table = Table::new([
        "view",
        ">matched",
        ">expired",
        ">not found",
        ">null keys",
        ">known later",
        ">ties",
        ">source rows",
    ]);
    for view in &report.views {
        let numbers = [
            view.matched,
            view.expired,
            view.unmatched,
            view.null_keys,
            view.known_later,
            view.full_ties,
            view.source_rows,
        ];
        table.row(std::iter::once(view.view.clone()).chain(numbers.map(count)));
    }
    let mut told = told.table(table);
    for default in &report.defaults {
        told = told.text(format!(
            "default of {}: filled {} not found or expired, {} nulls",
            default.column,
            count(default.filled),
            count(default.filled_null)
        ));
    }
    let (mut later, mut left_out) = (0, 0);
    for (view, mode) in report.views.iter().zip(modes) {
        match mode {
            Knowledge::AsOf => left_out += view.known_later,
            _ => later += view.known_later,
        }
    }
    if later > 0 {
        told = told.text(format!(
            "{} answers rest on rows that were written after their row's time; --knowledge as-of leaves those out",
            count(later)
        ));
    }
    if left_out > 0 {
        told = told.text(format!(
            "{} answers would be others if rows counted that had not been written yet (knowledge: as_of)",
            count(left_out)
        ));
    }
    let read = &report.read;
    told.text(format!(
        "{}; read {} in {} of {} row groups of {} of {} files",
        elapsed(std::time::Duration::from_secs_f64(report.seconds.max(0.0))),
        size(read.bytes),
        count(read.row_groups_read),
        count(read.row_groups),
        count(read.files_read),
        count(read.files),
    ))
}
