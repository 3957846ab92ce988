//! `larder apply`: how do definitions become the new version of a project?

use std::path::{Path, PathBuf};

use larder::{Applied, ApplyOptions, Error, Result, SavedPlan};
use serde_json::json;

use super::plan;
use crate::context::Context;
use crate::output::Report;

/// Options of `larder apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
All changes of one apply are committed together or not at all. Applying the same files again
changes nothing and says so. Objects of other definition sets are never touched.

  larder apply -m 'baskets for fraud'
  larder plan --out plan.json && larder apply plan.json")]
pub(crate) struct Args {
    /// A plan saved by `larder plan --out`; refused when it would do something else by now
    plan: Option<PathBuf>,
    /// Also do what destroys something that others use
    #[arg(long)]
    allow_destructive: bool,
    /// Do not look at the data of the sources
    #[arg(long)]
    offline: bool,
    /// Why, for the history
    #[arg(short, long, value_name = "MSG", default_value = "")]
    message: String,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let (project, store, definitions) = cx.with_definitions()?;
    let options = ApplyOptions::new()
        .with_allow_destructive(args.allow_destructive)
        .with_offline(args.offline)
        .with_message(args.message);
    let applied = match &args.plan {
        None => store.apply(&definitions, &options).await?,
        Some(path) => {
            let saved = read(path)?;
            if saved.project != project.name.as_str() {
                return Err(Error::input(format!(
                    "the plan is for project `{}`, this is project `{}`",
                    saved.project, project.name
                )));
            }
            store.apply_plan(&definitions, &saved, &options).await?
        }
    };
    Ok(report(&applied))
}

fn read(path: &Path) -> Result<SavedPlan> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::input(format!("the plan `{}` cannot be read", path.display())).source(e))?;
    serde_json::from_str(&text).map_err(|e| {
        Error::input(format!("`{}` is no saved plan", path.display()))
            .help("`larder plan --out FILE` writes one")
            .source(e)
    })
}

/// What an apply or rollback did.
pub(crate) fn report(applied: &Applied) -> Report {
    let document = json!({
        "version": applied.version,
        "changed": applied.changed,
        "attempts": applied.attempts,
        "prepared": applied.prepared,
        "plan": plan::document(&applied.plan),
    });
    let report = Report::new(document).product(plan::for_people(&applied.plan));
    match applied.changed {
        true => report.text(format!("committed as version {}", applied.version)),
        false => applied.prepared.iter().fold(report, |report, store| {
            report.text(format!("online store `{store}` had nothing of this project and was prepared; `larder materialize` fills it"))
        }),
    }
}
