//! `larder plan`: what would apply change, and what does that touch?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use larder::{Action, ApplyOptions, Error, Plan, Result};
use serde_json::json;

use crate::context::Context;
use crate::output::{Format, Report};

/// Options of `larder plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes nothing to the registry. Sources are compared with their data, unless --offline.

  larder plan --exit-code                    exit code 3 when there is something to apply
  larder plan --out plan.json                to be applied exactly so: larder apply plan.json
  larder plan --format markdown              a comment for a merge request")]
pub(crate) struct Args {
    /// Save the plan, to be applied exactly so
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 3 when there are changes
    #[arg(long)]
    exit_code: bool,
    /// Do not look at the data of the sources
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let (project, store, definitions) = cx.with_definitions()?;
    // What apply would refuse is shown here, not refused.
    let options = ApplyOptions::new().with_offline(args.offline);
    let plan = store.plan(&definitions, &options).await?;
    if let Some(path) = &args.out {
        save(path, &plan, project.name.as_str())?;
    }
    let text = match cx.format {
        Format::Markdown => markdown(&plan),
        _ => for_people(&plan),
    };
    let exit = if args.exit_code && !plan.is_empty() { 3 } else { 0 };
    let mut report = Report::new(document(&plan)).product(text);
    if let Some(path) = &args.out {
        report = report.text(format!(
            "saved; `larder apply {}` applies exactly this",
            path.display()
        ));
    }
    Ok(report.exit(exit))
}

/// The plan with what programs want to know at once.
pub(crate) fn document(plan: &Plan) -> serde_json::Value {
    let mut document = serde_json::to_value(plan).unwrap_or_default();
    document["empty"] = json!(plan.is_empty());
    document["summary"] = json!(plan.summary());
    document
}

fn save(path: &Path, plan: &Plan, project: &str) -> Result<()> {
    let text = serde_json::to_string_pretty(&plan.save(project))
        .map_err(|e| Error::internal("the plan cannot be written as JSON").source(e))?;
    std::fs::write(path, text + "\n")
        .map_err(|e| Error::unavailable(format!("`{}` cannot be written", path.display())).source(e))
}

fn sign(action: Action) -> char {
    match action {
        Action::Create => '+',
        Action::Update => '~',
        Action::Delete => '-',
    }
}

/// The plan as people read it.
pub(crate) fn for_people(plan: &Plan) -> String {
    let mut out = String::new();
    if plan.is_empty() {
        let _ = writeln!(
            out,
            "nothing to change: version {} is what the files say",
            plan.base
        );
    } else {
        let _ = writeln!(out, "on version {}: {}", plan.base, plan.summary());
    }
    for change in &plan.changes {
        let _ = writeln!(out, "  {} {}", sign(change.action), change.id);
        for detail in &change.details {
            let _ = writeln!(out, "      {detail}");
        }
    }
    section(&mut out, "touches", &plan.impacts);
    let backfills: Vec<String> = plan
        .backfills
        .iter()
        .map(|b| format!("{}: {}", b.view, b.reason))
        .collect();
    section(
        &mut out,
        "needs backfill (`larder materialize` does it)",
        &backfills,
    );
    let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
    section(&mut out, "warnings", &warnings);
    section(
        &mut out,
        "destructive (apply needs --allow-destructive)",
        &plan.destructive,
    );
    out
}

fn section(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "{title}:");
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

fn markdown(plan: &Plan) -> String {
    let mut out = format!("### larder plan: {}\n\n", plan.summary());
    if !plan.changes.is_empty() {
        out.push_str("| | object | set | differences |\n| --- | --- | --- | --- |\n");
    }
    for change in &plan.changes {
        let details: Vec<String> = change
            .details
            .iter()
            .map(|d| format!("`{}`", d.replace('|', "\\|")))
            .collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            change.action.as_str(),
            change.id,
            change.set,
            details.join("<br>")
        );
    }
    let backfills: Vec<String> = plan
        .backfills
        .iter()
        .map(|b| format!("`{}`: {}", b.view, b.reason))
        .collect();
    let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
    for (title, lines) in [
        ("Touches", &plan.impacts),
        ("Needs backfill", &backfills),
        ("Warnings", &warnings),
        ("Destructive", &plan.destructive),
    ] {
        if !lines.is_empty() {
            let _ = writeln!(out, "\n**{title}**\n");
            for line in lines {
                let _ = writeln!(out, "- {line}");
            }
        }
    }
    out
}
