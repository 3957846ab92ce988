//! Which commands and options are there?

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use larder::{Micros, Span};

use crate::commands;
use crate::output::Format;

const EXAMPLES: &str = "\
Begin here:
  larder demo                    the whole story in ten seconds, on this machine
  larder init shop               a project of your own that runs
  larder infer data/ --entity user_id:int64 --time event_timestamp > features/user.yaml

The daily round, in a folder with a larder.yaml:
  larder validate && larder plan && larder apply -m 'add basket features'
  larder historical --entities labels.parquet --service fraud_v1 --out training.parquet
  larder materialize --incremental
  larder get --service fraud_v1 --entity user_id=7

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 changes or findings (with --exit-code or --check, and
of historical --verify), 130 interrupted.";

/// A feature store: define features once, train without leaks, serve in microseconds.
#[derive(Debug, Parser)]
#[command(name = "larder", version, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Folder with the project's larder.yaml
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = ".",
        help_heading = "Global options"
    )]
    pub(crate) project_dir: PathBuf,
    /// Environment of larder.yaml; LARDER_ENV where absent
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(crate) env: Option<String>,
    /// Form of what is printed; json is one document on stdout, and errors as JSON on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        help_heading = "Global options"
    )]
    pub(crate) format: Format,
    /// Only what was asked for: no remarks, no progress
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Tell more: about errors, and how long work goes on; RUST_LOG says which notes in full
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) verbose: bool,
}

/// The commands, in the order in which they are needed.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole story on generated data, and prove it
    Demo(commands::demo::Args),
    /// Make a project that runs
    Init(commands::init::Args),
    /// Write definitions for data files that exist
    Infer(commands::infer::Args),
    /// Check larder.yaml and the definitions
    Validate(commands::validate::Args),
    /// Show what apply would change and what that touches
    Plan(commands::plan::Args),
    /// Make the definitions the new version of the project
    Apply(commands::apply::Args),
    /// List the versions of the project
    History(commands::history::Args),
    /// Show what a version changed
    Show(commands::show::Args),
    /// Restore the definitions of an earlier version, as a new version
    Rollback(commands::rollback::Args),
    /// Free what earlier applies retired
    Gc(commands::gc::Args),
    /// List objects: entities, sources, views, features, services, models
    List(commands::list::Args),
    /// Show one object and who uses it
    Describe(commands::describe::Args),
    /// Make a training set: entity rows in, the same rows with features out
    Historical(Box<commands::historical::Args>),
    /// Look at the values of a service or view
    Preview(commands::preview::Args),
    /// Show why a view has its values for one entity at one time
    Why(commands::why::Args),
    /// Bring offline rows to the online store
    Materialize(commands::materialize::Args),
    /// Read features online
    Get(commands::get::Args),
    /// Push rows to a source's history and its online values
    Push(commands::push::Args),
    /// Merge the small files that pushes leave in the history
    Compact(commands::compact::Args),
    /// Delete online values of entities
    Delete(commands::delete::Args),
    /// Show how fresh each view is
    Status(commands::status::Args),
    /// List the stores in this build, or the options of one
    Stores(commands::stores::Args),
    /// Check that everything configured works
    Doctor(commands::doctor::Args),
    /// Print a JSON Schema for editors
    Schema(commands::schema::Args),
    /// What is no command, so that it can be answered well.
    #[command(external_subcommand)]
    Unknown(Vec<OsString>),
}

/// Which features: a service, or references one by one.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Select {
    /// Feature service
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Features one by one: view:feature, or view for all of its features
    #[arg(long, value_name = "a:x,b", value_delimiter = ',')]
    pub(crate) features: Vec<String>,
}

impl Select {
    /// As the engine wants it.
    pub(crate) fn selection(&self) -> larder::Selection {
        match &self.service {
            Some(service) => larder::Selection::service(service),
            None => larder::Selection::features(self.features.iter().map(String::as_str)),
        }
    }
}

/// Names and values as they were typed: `user_id=1,product_id=7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

/// Reads [`Pairs`]. A comma parts only where a name and `=` follow, so values may hold commas;
/// `\,` is always a comma of a value, `\\` a backslash.
pub(crate) fn pairs(text: &str) -> Result<Pairs, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in &parts(text) {
        let named = part
            .split_once('=')
            .filter(|(name, _)| larder::ColumnName::new(name.trim()).is_ok());
        let twice = named.filter(|(name, _)| pairs.iter().any(|(there, _)| there == name.trim()));
        if let Some((name, _)) = twice {
            return Err(format!(
                "`{}` is named twice; repeat the option for another one, or write a comma of a value as `\\,`",
                name.trim()
            ));
        }
        match (named, pairs.last_mut()) {
            (Some((name, value)), _) => pairs.push((name.trim().to_owned(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(part);
            }
            (None, None) => return Err("write name=value, several parted by commas".to_owned()),
        }
    }
    Ok(Pairs(pairs))
}

/// The text between commas without a backslash.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let part = match c {
            ',' => {
                parts.push(String::new());
                continue;
            }
            // Any other backslash stands for itself.
            '\\' => rest.next_if(|next| matches!(next, ',' | '\\')).unwrap_or(c),
            c => c,
        };
        if let Some(last) = parts.last_mut() {
            last.push(part);
        }
    }
    parts
}

/// Checks an instant; it is turned into one when the command runs, because of `now`.
pub(crate) fn instant(text: &str) -> Result<String, String> {
    Micros::parse(text, Micros(0))
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

/// Reads a duration.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    text.parse::<Span>().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pairs_and_their_commas() {
        let owned = |list: &[(&str, &str)]| {
            Pairs(
                list.iter()
                    .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                    .collect(),
            )
        };
        assert_eq!(
            pairs("user_id=1,product_id=7").unwrap(),
            owned(&[("user_id", "1"), ("product_id", "7")])
        );
        assert_eq!(
            pairs("name=Smith, John,country=SE").unwrap(),
            owned(&[("name", "Smith, John"), ("country", "SE")])
        );
        assert_eq!(pairs("a=b=c").unwrap(), owned(&[("a", "b=c")]));
        assert_eq!(pairs("a=").unwrap(), owned(&[("a", "")]));
        assert_eq!(
            pairs(r"name=a\,b=c,path=x\\,dir=C:\d").unwrap(),
            owned(&[("name", "a,b=c"), ("path", r"x\"), ("dir", r"C:\d")])
        );
        assert!(pairs("a=7,a=8").unwrap_err().contains("twice"));
        assert!(pairs("1").is_err());
    }
}
