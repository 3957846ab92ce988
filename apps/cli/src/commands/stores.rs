//! `larder stores`: which stores does this build contain, and which options has one?

use larder::error::suggest;
use larder::plugin::known::KNOWN;
use larder::{Error, Plugin, Result};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::output::{Report, Table};

/// Options of `larder stores`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show the options of this type, such as redis
    #[arg(value_name = "TYPE")]
    name: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Report> {
    let plugins = larder::plugins()?;
    match &args.name {
        None => Ok(all(&plugins.iter().collect::<Vec<_>>())),
        Some(name) => one(&plugins.iter().collect::<Vec<_>>(), name),
    }
}

/// An option, as the documentation of its store has it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct StoreOption {
    key: &'static str,
    default: &'static str,
    meaning: &'static str,
}

fn all(plugins: &[&'static Plugin]) -> Report {
    let mut documents: Vec<Json> = Vec::new();
    let mut table = Table::new(["role", "type", "in this build", "what", "can"]);
    for plugin in plugins {
        table.row([
            plugin.role.to_string(),
            plugin.name.to_owned(),
            format!("{} {}", plugin.package, plugin.version),
            plugin.summary.to_owned(),
            plugin.capabilities.join(" "),
        ]);
        documents.push(document(plugin));
    }
    for (role, name, feature) in KNOWN {
        if plugins
            .iter()
            .any(|plugin| (plugin.role, plugin.name) == (*role, *name))
        {
            continue;
        }
        let how = format!("no: {}", how_to_get(*feature));
        table.row([role.as_str(), name, &how, "", ""]);
        documents.push(json!({
            "role": role.as_str(), "type": name, "available": false, "feature": feature,
        }));
    }
    Report::new(documents)
        .table(table)
        .text("`larder stores TYPE` shows the options of one")
}

/// All roles of one type, each with its options.
fn one(plugins: &[&'static Plugin], name: &str) -> Result<Report> {
    let named: Vec<_> = plugins.iter().filter(|plugin| plugin.name == name).collect();
    if named.is_empty() {
        return Err(match KNOWN.iter().find(|(_, known, _)| *known == name) {
            Some((_, _, feature)) => Error::unsupported(format!("the type `{name}` is not in this build"))
                .help(how_to_get(*feature)),
            None => Error::not_found(format!("there is no type `{name}`"))
                .help(suggest(name, plugins.iter().map(|plugin| plugin.name))),
        });
    }
    let documents: Vec<Json> = named.iter().map(|plugin| document(plugin)).collect();
    let mut report = Report::new(documents);
    for plugin in named {
        let mut table =
            Table::new(["key", "default", "meaning"]).or_say("its documentation names no options");
        for option in options(plugin.docs) {
            table.row([option.key, option.default, option.meaning]);
        }
        report = report
            .text(format!("{} `{}`: {}", plugin.role, plugin.name, plugin.summary))
            .table(table)
            .text(format!("such as\n{}\n", indented(plugin.example)));
    }
    Ok(report)
}

fn how_to_get(feature: Option<&str>) -> String {
    match feature {
        Some(feature) => format!("cargo feature `{feature}` brings it"),
        None => "comes in a later part".to_owned(),
    }
}

fn document(plugin: &Plugin) -> Json {
    json!({
        "role": plugin.role.as_str(),
        "type": plugin.name,
        "available": true,
        "package": plugin.package,
        "version": plugin.version,
        "feature": plugin.feature,
        "summary": plugin.summary,
        "capabilities": plugin.capabilities,
        "sources": plugin.sources.iter().map(|source| source.name).collect::<Vec<_>>(),
        "example": plugin.example,
        "options": options(plugin.docs),
    })
}

/// The rows of all tables of options in a documentation.
fn options(docs: &'static str) -> Vec<StoreOption> {
    let mut found = Vec::new();
    let mut is_in_table = false;
    for line in docs.lines() {
        let row = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |"));
        let Some(row) = row else {
            is_in_table = false;
            continue;
        };
        let mut cells = row.splitn(3, " | ");
        let cells = (cells.next(), cells.next(), cells.next());
        match cells {
            (Some("key"), Some("default"), Some("meaning")) => is_in_table = true,
            (Some("---"), ..) => {}
            (Some(key), Some(default), Some(meaning)) if is_in_table => found.push(StoreOption {
                key,
                default,
                meaning,
            }),
            _ => {}
        }
    }
    found
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use larder::plugin::{OnlineStoreConfig, ProviderConfig, RegistryConfig};
    use larder::{OfflineStoreConfig, Role};

    use super::*;

    #[test]
    fn options_are_read_from_all_tables_of_options() {
        let docs = "# A\n\n| key | default | meaning |\n| --- | --- | --- |\n| `a` | 1 | x, or `{ b | c }` |\n\n\
                    | key | value |\n| --- | --- |\n| no | option |\n\n\
                    | key | default | meaning |\n| --- | --- | --- |\n| `b`, `c` | none | y |\n";
        let option = |key, default, meaning| StoreOption {
            key,
            default,
            meaning,
        };
        assert_eq!(
            options(docs),
            [
                option("`a`", "1", "x, or `{ b | c }`"),
                option("`b`, `c`", "none", "y")
            ]
        );
    }

    /// The options that a plugin takes: it names them when it is given another one.
    fn taken(plugin: &Plugin) -> Vec<String> {
        let config = json!({ "type": plugin.name, "no_such_option": 1 });
        let refused = match plugin.role {
            Role::Registry => serde_json::from_value::<Box<dyn RegistryConfig>>(config).map(drop),
            Role::Online => serde_json::from_value::<Box<dyn OnlineStoreConfig>>(config).map(drop),
            Role::Offline => serde_json::from_value::<Box<dyn OfflineStoreConfig>>(config).map(drop),
            _ => serde_json::from_value::<Box<dyn ProviderConfig>>(config).map(drop),
        };
        let refused = refused.unwrap_err().to_string();
        let (_, known) = refused.split_once("expected").unwrap_or_default();
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_option_is_documented() {
        for plugin in larder::plugins().unwrap().iter() {
            let documented: String = options(plugin.docs).iter().map(|option| option.key).collect();
            let taken = taken(plugin);
            assert_eq!(taken.is_empty(), plugin.name == "memory", "{plugin:?}");
            for key in taken {
                let quoted = format!("`{key}`");
                assert!(
                    documented.contains(&quoted),
                    "{} `{}` does not document {quoted}",
                    plugin.role,
                    plugin.name
                );
            }
        }
    }
}
