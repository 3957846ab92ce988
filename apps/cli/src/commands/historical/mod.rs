//! `larder historical`: how do entity rows become a training set?

mod again;
mod explain;
mod files;
mod make;
mod old;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgGroup, ValueEnum};
use larder::historical::{EntityFile, Parameters, RowsFrom};
use larder::model::Knowledge;
use larder::{
    ByteSize, Error, FeatureStore, Historical, Micros, OfflineOptions, Progress, Result, Selection,
    SourceFile, SourceFiles, Span, Split, ValueType, Version,
};

use crate::args::{Pairs, instant, pairs, span};
use crate::context::Context;
use crate::output::Report;
use crate::rows::{self, Columns, FileRows, RowsFile};

/// Options of `larder historical`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("rows").required(true).args(["entities", "entity_sql", "latest", "from", "verify", "repeat"])))]
#[command(after_help = "\
Entity rows have the join keys and a time; other columns, such as the label, come out untouched.
Each row gets the feature values known at its own time, never later ones. Rows out = rows in, in
their order. Beside FILE stands FILE.manifest.json: what it was made from, and a digest of its rows.

  larder historical --entities labels.parquet --service fraud_v1 --out training.parquet
  larder historical --entities labels.csv --features user_stats:orders_7d --timezone UTC
  larder historical --entities labels.csv --service fraud_v1 --keys user_id=customer --knowledge as-of
  larder historical --entities labels.parquet --service fraud_v1 --explain
  larder historical --entities labels.parquet --service fraud_v1 --label is_fraud --out t.parquet \\
      --split 'time:train<2026-03-01,test>=2026-03-01' --embargo 7d
  larder historical --entities labels.parquet --service fraud_v1 --out t.parquet \\
      --split hash:user_id:80,10,10 --seed 7
  larder historical --latest --features user_stats --out users.parquet
  larder historical --from 2026-03-01 --until 2026-04-01 --features user_stats --out march.csv
  larder historical --verify training.parquet.manifest.json
  larder historical --repeat training.parquet.manifest.json --out again.parquet")]
pub(crate) struct Args {
    /// Entity rows: .csv, .parquet or .arrow
    #[arg(long, value_name = "FILE")]
    entities: Option<PathBuf>,
    /// Entity rows as a query of the offline database (comes with the SQL stores)
    #[arg(long, value_name = "SQL")]
    entity_sql: Option<String>,
    /// In place of entity rows: one row per entity that the features' views know now, or --at T
    #[arg(long)]
    latest: bool,
    /// The instant of --latest
    #[arg(long, value_name = "T", value_parser = instant, conflicts_with_all = ["entities", "entity_sql", "from", "verify", "repeat"])]
    at: Option<String>,
    /// In place of entity rows: all rows of one view with events from T on
    #[arg(long, value_name = "T", value_parser = instant, requires = "until")]
    from: Option<String>,
    /// Last event time of --from, inclusive
    #[arg(long, value_name = "T", value_parser = instant, requires = "from")]
    until: Option<String>,
    /// Make a training set again and prove that it is equal, or tell what changed (exit code 3)
    #[arg(long, value_name = "MANIFEST", conflicts_with_all = ["out", "explain", "asked"])]
    verify: Option<PathBuf>,
    /// Make a training set again with the definitions of its time
    #[arg(long, value_name = "MANIFEST", requires = "out", conflicts_with_all = ["explain", "asked"])]
    repeat: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
    /// Only rows that were visible at T, so that a training set of that day can be made again
    #[arg(long, value_name = "T", value_parser = instant, conflicts_with = "verify")]
    known_until: Option<String>,
    /// Write .parquet, .csv or .arrow; an existing file is replaced when all is done
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Tell what would be read and why not the rest, and whether it fits into memory; read nothing
    #[arg(long, conflicts_with = "out")]
    explain: bool,
    /// Memory that joins may use, such as 512MiB; what does not fit goes to disk
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    memory_limit: Option<ByteSize>,
    /// Folder for what does not fit into memory
    #[arg(long, value_name = "DIR")]
    spill_dir: Option<PathBuf>,
}

/// What is asked for; a manifest says it in place of all of these.
#[derive(Debug, clap::Args)]
#[group(id = "asked", multiple = true)]
struct Asked {
    /// Feature service
    #[arg(long, value_name = "NAME", conflicts_with = "features", required_unless_present_any = ["features", "verify", "repeat"])]
    service: Option<String>,
    /// Features one by one: view:feature, or view for all of its features
    #[arg(long, value_name = "a:x,b", value_delimiter = ',')]
    features: Vec<String>,
    /// Column with the time of each row [default: event_timestamp]
    #[arg(long, value_name = "C")]
    time_column: Option<String>,
    /// Zone of times that have none, such as UTC or Europe/Stockholm
    #[arg(long, value_name = "Z")]
    timezone: Option<String>,
    /// Join keys under other names: key=column
    #[arg(long, value_name = "KEY=COLUMN,..", value_parser = pairs)]
    keys: Option<Pairs>,
    /// Columns that a model is to predict: checked to be there and to be no features
    #[arg(long, value_name = "COL,..", value_delimiter = ',')]
    label: Vec<String>,
    /// What created time decides, in place of what the sources say
    #[arg(long, value_enum)]
    knowledge: Option<Mode>,
    /// Definitions of a version of the project, in place of the newest
    #[arg(long, value_name = "N")]
    at_version: Option<u64>,
    /// Name columns view__feature
    #[arg(long)]
    full_names: bool,
    /// Add the event time of each view's row
    #[arg(long)]
    event_times: bool,
    /// Only the first N rows
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// One file per part: time:train<T,test>=T, or hash:KEY:80,10,10
    #[arg(long, value_name = "SPLIT", requires = "out")]
    split: Option<String>,
    /// After the end of a part by time, leave out so much of the next
    #[arg(long, value_name = "DURATION", value_parser = span, requires = "split")]
    embargo: Option<Span>,
    /// Another seed is another split by hash [default: 0]
    #[arg(long, value_name = "N", requires = "split")]
    seed: Option<u64>,
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

fn bytes(text: &str) -> Result<ByteSize, String> {
    text.parse::<ByteSize>().map_err(|e| match e.remedy() {
        Some(help) => format!("{}; {help}", e.message()),
        None => e.message().to_owned(),
    })
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    if args.entity_sql.is_some() {
        return Err(Error::unsupported(
            "entity rows as SQL come with the SQL offline stores, in a later part",
        )
        .help("give a file with --entities"));
    }
    let store = cx.store()?;
    let machine = Machine::new(&args);
    if let Some(manifest) = &args.verify {
        return again::verify(cx, &store, manifest, &machine).await;
    }
    let now = store.clock().now();
    let known_until = at(args.known_until.as_deref(), now)?;
    if let (Some(manifest), Some(out)) = (&args.repeat, &args.out) {
        return again::repeat(cx, &store, manifest, out, known_until, &machine).await;
    }
    let request = Request {
        selection: selection(&args.asked),
        parameters: parameters(&args, known_until, now)?,
        entities: args.entities.clone(),
    };
    if let Some(out) = &args.out {
        return make::into_files(cx, &store, &request, out, &machine).await;
    }
    if args.explain {
        return explain::run(cx, &store, &request, &machine).await;
    }
    make::onto_screen(cx, &store, &request, &machine).await
}

/// What a training set is to be: what the arguments say, or a manifest.
#[derive(Debug, Clone)]
struct Request {
    selection: Selection,
    parameters: Parameters,
    entities: Option<PathBuf>,
}

/// What the machine may use for it.
#[derive(Debug, Clone)]
struct Machine {
    memory_limit: Option<ByteSize>,
    spill_dir: Option<PathBuf>,
}

impl Machine {
    fn new(args: &Args) -> Self {
        Self {
            memory_limit: args.memory_limit,
            spill_dir: args.spill_dir.clone(),
        }
    }

    /// Bytes, from the command line or else from the project.
    fn memory_limit(&self, store: &FeatureStore) -> Option<u64> {
        let limit = self.memory_limit.or(store.historical_config().memory_limit);
        limit.map(|size| size.0)
    }

    fn options(&self, progress: Progress) -> OfflineOptions {
        OfflineOptions::default()
            .with_progress(Some(progress))
            .with_memory_limit(self.memory_limit.map(|size| size.0))
            .with_spill_dir(self.spill_dir.clone())
    }
}

fn at(text: Option<&str>, now: Micros) -> Result<Option<Micros>> {
    text.map(|text| Micros::parse(text, now)).transpose()
}

fn selection(asked: &Asked) -> Selection {
    match &asked.service {
        Some(service) => Selection::service(service),
        None => Selection::features(asked.features.iter().map(String::as_str)),
    }
}

fn parameters(args: &Args, known_until: Option<Micros>, now: Micros) -> Result<Parameters> {
    let asked = &args.asked;
    if asked.limit == Some(0) {
        return Err(Error::input("a limit of 0 rows leaves no training set")
            .help("give --limit 1 or more, or leave it out"));
    }
    let mut parameters = Parameters::default();
    parameters.rows = match (at(args.from.as_deref(), now)?, at(args.until.as_deref(), now)?) {
        (Some(from), Some(until)) => RowsFrom::Range { from, until },
        _ if args.latest => RowsFrom::Latest {
            at: at(args.at.as_deref(), now)?.unwrap_or(now),
        },
        _ => RowsFrom::Entities,
    };
    if let Some(column) = &asked.time_column {
        parameters.time_column.clone_from(column);
    }
    parameters.timezone.clone_from(&asked.timezone);
    parameters.keys = asked.keys.iter().flat_map(|pairs| pairs.0.clone()).collect();
    parameters.knowledge = asked.knowledge.map(Mode::knowledge);
    parameters.full_names = asked.full_names;
    parameters.event_times = asked.event_times;
    parameters.limit = asked.limit;
    parameters.known_until = known_until;
    parameters.at_version = asked.at_version.map(Version);
    parameters.labels.clone_from(&asked.label);
    let split = asked.split.as_deref();
    parameters.split = split
        .map(|text| Split::parse(text, asked.embargo, asked.seed, now))
        .transpose()?;
    Ok(parameters)
}

/// A training set about to be made.
struct Begun {
    historical: Historical,
    /// What created time decides, per view of the report.
    modes: Vec<Knowledge>,
}

impl Begun {
    /// Puts the request together.
    async fn new(
        store: &FeatureStore,
        request: &Request,
        machine: &Machine,
        progress: Progress,
    ) -> Result<Self> {
        let (columns, modes) = needs(store, request).await?;
        let mut historical = store
            .historical(request.selection.clone())
            .with_parameters(request.parameters.clone())
            .options(machine.options(progress));
        if let Some(path) = request.entities.clone() {
            let rows = FileRows::new(path, columns, request.parameters.limit);
            historical = historical.entity_source(Arc::new(rows));
        }
        Ok(Self { historical, modes })
    }
}

/// What the definitions say about a request: the types of the key columns, for files that carry
/// none, and what created time decides per view.
async fn needs(store: &FeatureStore, request: &Request) -> Result<(Columns, Vec<Knowledge>)> {
    let parameters = &request.parameters;
    let snapshot = store.snapshot_at(parameters.at_version).await?;
    let resolved = request
        .selection
        .resolve(snapshot.catalog(), parameters.full_names)?;
    let mut columns = Columns {
        timezone: parameters.timezone.clone(),
        ..Columns::default()
    };
    columns.declare(&parameters.time_column, ValueType::TIMESTAMP);
    for (column, keys) in resolved.key_columns() {
        if let Some(key) = keys.first() {
            columns.declare(parameters.column_of(column.as_str()), key.value_type);
        }
    }
    let views = resolved.views.iter();
    let modes = views
        .map(|view| parameters.knowledge.unwrap_or(view.source.knowledge))
        .collect();
    Ok((columns, modes))
}

/// The file of the entity rows as a manifest in a folder records it.
fn entity_file(file: &Path, folder: &Path) -> Result<EntityFile> {
    let failed = |cause| Error::unavailable(format!("`{}` cannot be read", file.display())).source(cause);
    let (bytes, digest) = EntityFile::digest_of(rows::open(file)?).map_err(failed)?;
    let whole = file.canonicalize().map_err(failed)?;
    let folder = folder.canonicalize().map_err(failed)?;
    let path = whole.strip_prefix(&folder).unwrap_or(&whole);
    Ok(EntityFile::new(path.display().to_string(), bytes, digest))
}

/// Refuses outputs that would replace what is read.
fn refuse_replacing(entities: &Path, outputs: &[PathBuf]) -> Result<()> {
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    match outputs.iter().any(|output| same(entities, output)) {
        false => Ok(()),
        true => Err(
            Error::input(format!("`{}` would be replaced by --out", entities.display()))
                .help("write the training set to another file"),
        ),
    }
}

/// Refuses to write over the data that was read, where it was not there before it was read.
fn refuse_sources(outputs: &[PathBuf], sources: &[SourceFiles]) -> Result<()> {
    for output in outputs {
        // What is not there yet replaces nothing.
        let Ok(real) = output.canonicalize() else { continue };
        for source in sources {
            let same = |file: &SourceFile| {
                let path = Path::new(&file.path);
                path.file_name() == real.file_name() && path.canonicalize().is_ok_and(|path| path == real)
            };
            if source.files.iter().any(same) {
                return Err(Error::input(format!(
                    "`{}` is a data file of source `{}`, and would be replaced",
                    output.display(),
                    source.source
                ))
                .help("write the training set to another file; nothing was changed"));
            }
        }
    }
    Ok(())
}

/// Refuses early what could not be written in the end.
fn check_outputs(request: &Request, outputs: &[PathBuf]) -> Result<()> {
    outputs.iter().try_for_each(|path| RowsFile::check(path))?;
    match &request.entities {
        Some(entities) => refuse_replacing(entities, outputs),
        None => Ok(()),
    }
}
