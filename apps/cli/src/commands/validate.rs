//! `larder validate`: are larder.yaml and the definitions right?

use larder::model::{Catalog, Kind};
use larder::{DefinitionSet, Error, ErrorKind, Result};
use serde_json::{Map, json};

use crate::context::Context;
use crate::output::Report;

/// Options of `larder validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at the files only, and at the registry for what other definition sets define. `larder plan`
also compares sources with their data.")]
pub(crate) struct Args {
    /// Do not ask the registry; references to other definition sets are then unknown
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let (project, store, definitions) = cx.with_definitions()?;
    let mut catalog = Catalog::default();
    if !args.offline {
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
    let document = json!({ "ok": true, "project": project.name, "set": definitions.set, "objects": counts });
    let what = if texts.is_empty() {
        "no definitions yet".to_owned()
    } else {
        texts.join(", ")
    };
    Ok(Report::new(document).product(format!("fine: {what}")))
}

/// What other sets define.
fn others(snapshot: &larder::Snapshot, definitions: &DefinitionSet) -> Result<Catalog> {
    let mut document = snapshot.to_document();
    document.records.retain(|record| record.set != definitions.set);
    document.layouts.clear();
    Ok(larder::Snapshot::from_document(document)?.catalog().clone())
}
