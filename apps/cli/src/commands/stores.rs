//! `larder stores`: which stores does this build contain?

use larder::Result;
use larder::plugin::known::KNOWN;
use serde_json::json;

use crate::output::{Report, Table};

/// Runs the command.
pub(crate) fn run() -> Result<Report> {
    let plugins = larder::plugins()?;
    let mut documents = Vec::new();
    let mut table = Table::new(["role", "type", "in this build", "what", "can"]);
    for plugin in plugins.iter() {
        table.row([
            plugin.role.to_string(),
            plugin.name.to_owned(),
            format!("{} {}", plugin.package, plugin.version),
            plugin.summary.to_owned(),
            plugin.capabilities.join(" "),
        ]);
        documents.push(json!({
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
        }));
    }
    for (role, name, feature) in KNOWN {
        if plugins.get(*role, name).is_some() {
            continue;
        }
        let how = match feature {
            Some(feature) => format!("no: cargo feature `{feature}` brings it"),
            None => "no: comes in a later part".to_owned(),
        };
        table.row([
            role.to_string(),
            (*name).to_owned(),
            how,
            String::new(),
            String::new(),
        ]);
        documents.push(json!({
            "role": role.as_str(), "type": name, "available": false, "feature": feature,
        }));
    }
    Ok(Report::new(documents).table(table))
}
