//! `larder validate`: are larder.yaml and the definitions right?

use larder::model::{Catalog, Kind};
use larder::{DefinitionSet, Diagnostic, Error, ErrorKind, Project, Result};
use serde_json::{Map, json};

use crate::context::Context;
use crate::output::{Report, diagnostic_json};

/// Options of `larder validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at the files only, and at the registry for what other definition sets define. What only this
build or machine lacks, such as a store or a variable, is a warning. `larder plan` also compares sources with their data.")]
pub(crate) struct Args {
    /// Do not ask the registry; references to other definition sets are then unknown
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let (project, store, definitions) = cx.with_definitions()?;
    let stores = stores(&project)?;
    let mut catalog = Catalog::default();
    // A registry that this build or machine cannot use is a warning already.
    if !args.offline && stores.registry {
        // What is in the registry of this very set is replaced by what the files say.
        let snapshot = store.snapshot().await?;
        catalog = others(&snapshot, &definitions)?;
    }
    catalog.extend(&definitions.definitions);
    let kinds = larder::plugins()?.source_kinds();
    let findings = larder::engine::definitions::check(&definitions, &catalog, &kinds);
    if !findings.is_empty() {
        return Err(Error::from_diagnostics(
            ErrorKind::Definition,
            "the definitions",
            findings,
        ));
    }
    let mut counts = Map::new();
    let mut texts = Vec::new();
    for kind in Kind::ALL {
        let found = definitions
            .definitions
            .ids()
            .filter(|id| id.known_kind() == Some(kind))
            .count();
        counts.insert(kind.plural().to_owned(), json!(found));
        if found > 0 {
            let name = if found == 1 { kind.as_str() } else { kind.plural() };
            texts.push(format!("{found} {}", name.replace('_', " ")));
        }
    }
    let document = json!({ "ok": true, "project": project.name, "set": definitions.set, "objects": counts,
        "warnings": stores.warnings.iter().map(diagnostic_json).collect::<Vec<_>>() });
    let what = if texts.is_empty() {
        "no definitions yet".to_owned()
    } else {
        texts.join(", ")
    };
    let mut report = Report::new(document).product(format!("fine: {what}"));
    for warning in &stores.warnings {
        report = report.product(format!("warning: {warning}"));
    }
    Ok(report)
}

/// What was found in the blocks of registry and stores.
struct Stores {
    /// What works elsewhere: another build, or a machine where a variable is set.
    warnings: Vec<Diagnostic>,
    /// Whether the registry can be used.
    registry: bool,
}

/// Reads every configured block; nothing is opened.
fn stores(project: &Project) -> Result<Stores> {
    let (mut wrong, mut warnings) = (Vec::new(), Vec::new());
    // A block that is not there has no place; whoever needs it says so.
    let mut note = |error: Option<Error>| {
        for found in error.iter().flat_map(|error| {
            let elsewhere = error.kind() == ErrorKind::Unsupported;
            error.diagnostics().iter().map(move |found| (found, elsewhere))
        }) {
            let (found, elsewhere) = (found.0.clone(), found.1 || of_this_machine(&found.0.message));
            let list = if elsewhere { &mut warnings } else { &mut wrong };
            if !list.contains(&found) {
                list.push(found);
            }
        }
    };
    let unusable = project.registry_config().err();
    let registry = unusable
        .as_ref()
        .is_none_or(|error| error.diagnostics().is_empty());
    note(unusable);
    for name in project.online_names() {
        note(project.online_config(&name).err());
    }
    for name in project.offline_names() {
        note(project.offline_config(&name).err());
    }
    if !wrong.is_empty() {
        let file = project.file.display().to_string();
        return Err(Error::from_diagnostics(ErrorKind::Config, &file, wrong));
    }
    Ok(Stores { warnings, registry })
}

/// Whether a finding is about what this machine has not got, such as a variable.
fn of_this_machine(message: &str) -> bool {
    message.starts_with("the variable `") || message.starts_with("cannot read `")
}

/// What other sets define.
fn others(snapshot: &larder::Snapshot, definitions: &DefinitionSet) -> Result<Catalog> {
    let mut document = snapshot.to_document();
    document.records.retain(|record| record.set != definitions.set);
    document.layouts.clear();
    Ok(larder::Snapshot::from_document(document)?.catalog().clone())
}
