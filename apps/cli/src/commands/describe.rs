//! `larder describe`: what is an object, and who uses it?

use std::fmt::Write as _;

use larder::error::suggest;
use larder::model::{Catalog, Kind, ObjectId};
use larder::{Error, Result};
use serde_json::{Value as Json, json};

use super::list;
use crate::context::Context;
use crate::output::Report;

/// Options of `larder describe`.
#[derive(Debug, clap::Args)]
#[command(after_help = "  larder describe view user_stats\n  larder describe service fraud_v1 --format json")]
pub(crate) struct Args {
    /// entity, source, view, on_demand_view, service or model
    kind: String,
    /// Its name
    name: String,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let kind = list::parse(&args.kind)?;
    let store = cx.store()?;
    let snapshot = store.snapshot().await?;
    let id = ObjectId::new(kind, &args.name);
    let record = snapshot.records().get(&id).ok_or_else(|| {
        let known: Vec<&str> = snapshot
            .records()
            .keys()
            .filter(|known| known.kind == id.kind)
            .map(|known| known.name.as_str())
            .collect();
        Error::not_found(format!("there is no {kind} `{}`", args.name)).help(suggest(&args.name, known))
    })?;
    let used_by = used_by(snapshot.catalog(), kind, &args.name);
    let mut document = json!({
        "kind": record.id.kind,
        "name": record.id.name,
        "set": record.set,
        "revision": record.revision,
        "spec": record.spec,
        "used_by": used_by.iter().map(|id| json!({ "kind": id.kind, "name": id.name })).collect::<Vec<_>>(),
    });
    let mut text = format!("{id}, set {}, revision {}\n", record.set, record.revision);
    if let Some(layout) = snapshot.layout(&args.name).filter(|_| kind == Kind::FeatureView) {
        document["generation"] = json!(layout.generation().to_string());
        let _ = writeln!(text, "generation {}", layout.generation());
    }
    text.push_str(&yaml(&record.spec, 1));
    if !used_by.is_empty() {
        text.push_str("used by\n");
        for id in &used_by {
            let _ = writeln!(text, "  {id}");
        }
    }
    Ok(Report::new(document).product(text))
}

/// Who names an object directly.
fn used_by(catalog: &Catalog, kind: Kind, name: &str) -> Vec<ObjectId> {
    let mut users = Vec::new();
    for view in catalog.feature_views.values() {
        let uses = match kind {
            Kind::Entity => view.entities.iter().any(|entity| entity.as_str() == name),
            Kind::Source => view.source.as_str() == name,
            _ => false,
        };
        if uses {
            users.push(ObjectId::new(Kind::FeatureView, &view.name));
        }
    }
    let is_view = matches!(kind, Kind::FeatureView | Kind::OnDemandView);
    for view in catalog.on_demand_views.values() {
        let names = |reference: &String| reference.split(':').next() == Some(name);
        if is_view && view.inputs.features.iter().any(names) {
            users.push(ObjectId::new(Kind::OnDemandView, &view.name));
        }
    }
    for service in catalog.feature_services.values() {
        if is_view && service.features.iter().any(|item| item.view.as_str() == name) {
            users.push(ObjectId::new(Kind::FeatureService, &service.name));
        }
    }
    for model in catalog.models.values() {
        if kind == Kind::FeatureService && model.service.as_str() == name {
            users.push(ObjectId::new(Kind::Model, &model.name));
        }
    }
    users
}

/// A document in the form of the files it came from; scalars in lists of maps stand on one line.
fn yaml(json: &Json, depth: usize) -> String {
    let pad = "  ".repeat(depth);
    let mut out = String::new();
    match json {
        Json::Object(map) => {
            for (key, value) in named_first(map) {
                match value {
                    Json::Object(inner) if !inner.is_empty() => {
                        let _ = write!(out, "{pad}{key}:\n{}", yaml(value, depth + 1));
                    }
                    Json::Array(items) if !items.is_empty() && items.iter().any(|i| i.is_object()) => {
                        let _ = writeln!(out, "{pad}{key}:");
                        for item in items {
                            let _ = writeln!(out, "{pad}  - {}", inline(item));
                        }
                    }
                    _ => {
                        let _ = writeln!(out, "{pad}{key}: {}", inline(value));
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, "{pad}{}", inline(other));
        }
    }
    out
}

fn inline(json: &Json) -> String {
    match json {
        Json::Object(map) => {
            let pairs: Vec<String> = named_first(map)
                .map(|(key, value)| format!("{key}: {}", inline(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Json::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What people look for first comes first.
fn named_first(map: &serde_json::Map<String, Json>) -> impl Iterator<Item = (&String, &Json)> {
    const FIRST: [&str; 2] = ["name", "type"];
    let first = FIRST.iter().filter_map(|key| map.get_key_value(*key));
    first.chain(map.iter().filter(|(key, _)| !FIRST.contains(&key.as_str())))
}

/// Whether YAML reads the text as a string without quotes, also inside of `{ }`.
fn plain(text: &str) -> bool {
    let safe = |c: char| {
        c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | '.' | '/' | '(' | ')' | '<' | '>' | '@')
    };
    let ends = |c: Option<char>| c.is_some_and(char::is_alphanumeric) || c == Some(')') || c == Some('>');
    ends(text.chars().next())
        && ends(text.chars().last())
        && text.chars().all(safe)
        // What reads as a number is another thing than the text; a duration such as 14d does not.
        && text.parse::<f64>().is_err()
        && !text.starts_with("0x")
        && !matches!(text, "true" | "false" | "null" | "yes" | "no")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_read_like_their_files() {
        let spec = json!({
            "name": "user",
            "join_keys": [{ "name": "user_id", "type": "int64" }],
            "tags": { "tier": "gold" },
            "entities": ["a", "b"],
            "filter": "x = 'y'",
        });
        let text = yaml(&spec, 0);
        assert!(
            text.contains("join_keys:\n  - { name: user_id, type: int64 }\n"),
            "{text}"
        );
        assert!(text.contains("entities: [a, b]\n"), "{text}");
        assert!(text.contains("tags:\n  tier: gold\n"), "{text}");
        assert!(text.contains("filter: \"x = 'y'\"\n"), "{text}");
    }
}
