//! `larder list`: which objects does the project have?

use larder::model::{Catalog, Kind};
use larder::{Error, Result, Snapshot};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::output::{Report, Table};

/// Options of `larder list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
  larder list views
  larder list features --format csv
  larder list services --format json")]
pub(crate) struct Args {
    /// entities, sources, views, on_demand_views, features, services or models
    #[arg(value_parser = kind)]
    kind: String,
}

fn kind(text: &str) -> Result<String, String> {
    match text {
        "feature" | "features" => Ok(text.to_owned()),
        _ => parse(text)
            .map(|_| text.to_owned())
            .map_err(|e| format!("{e}, features")),
    }
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let store = cx.store()?;
    let snapshot = store.snapshot().await?;
    if matches!(args.kind.as_str(), "feature" | "features") {
        return Ok(features(snapshot.catalog()));
    }
    let kind = parse(&args.kind)?;
    let mut documents = Vec::new();
    let mut table =
        Table::new(["name", "what", "owner", "set", ">revision", "description"]).or_say("none yet");
    for record in snapshot
        .records()
        .values()
        .filter(|r| r.id.known_kind() == Some(kind))
    {
        let mut document = json!({ "kind": record.id.kind, "name": record.id.name, "set": record.set, "revision": record.revision });
        if let (Some(document), Some(spec)) = (document.as_object_mut(), record.spec.as_object()) {
            document.extend(
                spec.iter()
                    .filter(|(key, _)| *key != "name")
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
        }
        documents.push(document);
        let text = |key: &str| {
            record
                .spec
                .get(key)
                .and_then(Json::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        table.row([
            record.id.name.clone(),
            what(&snapshot, kind, &record.id.name),
            text("owner"),
            record.set.to_string(),
            record.revision.to_string(),
            text("description"),
        ]);
    }
    Ok(Report::new(documents).table(table))
}

/// Reads the kind of an object as people type it.
pub(crate) fn parse(text: &str) -> Result<Kind> {
    Kind::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.plural()).collect();
        Error::input(format!("there is no kind of object `{text}`"))
            .help(format!("known: {}", known.join(", ")))
    })
}

/// The one thing people want to know of an object beside its name.
fn what(snapshot: &Snapshot, kind: Kind, name: &str) -> String {
    let catalog = snapshot.catalog();
    match kind {
        Kind::Entity => catalog.entities.get(name).map(|entity| {
            let keys: Vec<String> = entity
                .join_keys
                .iter()
                .map(|k| format!("{} {}", k.name, k.value_type))
                .collect();
            keys.join(", ")
        }),
        Kind::Source => catalog.sources.get(name).map(|source| source.kind.clone()),
        Kind::FeatureView => catalog.feature_views.get(name).map(|view| {
            let entities: Vec<&str> = view.entities.iter().map(|e| e.as_str()).collect();
            format!("{} features of {}", view.features.len(), entities.join(", "))
        }),
        Kind::OnDemandView => catalog
            .on_demand_views
            .get(name)
            .map(|view| format!("{} features", view.features.len())),
        Kind::FeatureService => catalog.feature_services.get(name).map(|service| {
            let items: Vec<&str> = service.features.iter().map(|item| item.view.as_str()).collect();
            items.join(", ")
        }),
        Kind::Model => catalog
            .models
            .get(name)
            .map(|model| format!("{} {}", model.service, model.stage)),
        _ => None,
    }
    .unwrap_or_default()
}

fn features(catalog: &Catalog) -> Report {
    let mut documents = Vec::new();
    let mut table = Table::new(["feature", "type", "description"]).or_say("none yet");
    for view in catalog.feature_views.values() {
        for feature in &view.features {
            let reference = format!("{}:{}", view.name, feature.name);
            table.row([
                reference.clone(),
                feature.value_type.to_string(),
                feature.description.clone(),
            ]);
            documents.push(json!({
                "feature": reference,
                "view": view.name,
                "name": feature.name,
                "type": feature.value_type,
                "description": feature.description,
                "sensitivity": feature.sensitivity,
            }));
        }
    }
    Report::new(documents).table(table)
}
