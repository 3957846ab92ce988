//! `larder infer`: which definitions fit data files that exist?

use larder::{Result, Role, StoreName, ValueType};

use crate::context::Context;
use crate::infer::{self, Question};
use crate::output::Report;

/// Options of `larder infer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints YAML on stdout. Columns that cannot be features are commented out with the reason.

  larder infer data/user_daily/ --entity user_id --time event_timestamp > features/user_daily.yaml
  larder infer rides.parquet --entity driver_id:int64,city --time pickup_at --created loaded_at")]
pub(crate) struct Args {
    /// A Parquet file, or a folder of them; hive partitions are understood
    path: String,
    /// Join keys, each perhaps with its type: user_id, or user_id:int64
    #[arg(long, value_name = "KEY[:TYPE],..", value_delimiter = ',', value_parser = key, required = true)]
    entity: Vec<(String, Option<ValueType>)>,
    /// Column with the time at which a row's values became true
    #[arg(long, value_name = "COLUMN")]
    time: String,
    /// Column with the time at which a row was written
    #[arg(long, value_name = "COLUMN")]
    created: Option<String>,
    /// Name of source and view; from the path where absent
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

fn key(text: &str) -> Result<(String, Option<ValueType>), String> {
    match text.split_once(':') {
        None => Ok((text.to_owned(), None)),
        Some((name, of)) => {
            let of: ValueType = of.parse().map_err(|e: larder::Error| e.to_string())?;
            Ok((name.to_owned(), Some(of)))
        }
    }
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    // Definitions are also inferred before there is a project.
    let root = cx.project().ok().and_then(|project| {
        let store = StoreName::default_store();
        let parquet = project.type_of(Role::Offline, &store)? == "parquet";
        let root = project.text_of(Role::Offline, &store, "root");
        let root = root.as_deref().unwrap_or(".");
        parquet.then(|| project.dir.join(root.trim_start_matches("file://")))
    });
    let question = Question {
        path: args.path,
        keys: args.entity,
        time: args.time,
        created: args.created,
        name: args.name,
        root,
    };
    let found = infer::infer(&question).await?;
    Ok(Report::new(found.document()).product(found.yaml()))
}
