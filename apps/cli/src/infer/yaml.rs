//! How are inferred definitions written down, for people to go on with?

use std::fmt::Write as _;

use super::decide::{Column, Inferred};
use crate::output::count;

impl Inferred {
    /// The definitions as YAML with comments.
    pub(crate) fn yaml(&self) -> String {
        let mut out = String::new();
        if self.footers.files > 0 {
            let _ = writeln!(
                out,
                "# Inferred from {} rows in {} Parquet files. Look through it, then: larder plan",
                count(self.footers.rows),
                count(self.footers.files as u64)
            );
        }
        out.push_str("entities:\n");
        for key in &self.keys {
            let _ = writeln!(out, "  - name: {}", Self::entity(key));
            let _ = writeln!(out, "    join_keys: [{{ name: {}, type: {} }}]", key.name, key.of);
            out.push_str("    # description: …\n    # owner: …\n");
        }
        self.source(&mut out);
        self.view(&mut out);
        out
    }

    fn source(&self, out: &mut String) {
        let _ = write!(
            out,
            "sources:\n  - name: {}\n    type: parquet\n    path: {}   # below `root` of the offline store\n    event_time: {}\n",
            self.name,
            quoted(&self.path),
            quoted(&self.time)
        );
        match &self.created {
            Some(created) => {
                let _ = writeln!(out, "    created_time: {}", quoted(created));
            }
            None => out.push_str("    # created_time: …   # when a row was written, if a column says so\n"),
        }
        if !self.naive.is_empty() {
            let columns: Vec<String> = self.naive.iter().map(|c| format!("`{c}`")).collect();
            let _ = writeln!(
                out,
                "    timezone: UTC   # without a zone in the data: {}; make sure that UTC is meant",
                columns.join(", ")
            );
        }
        let renamed: Vec<String> = self
            .renamed()
            .map(|c| format!("{}: {}", c.name, json(&c.column)))
            .collect();
        if !renamed.is_empty() {
            let _ = writeln!(out, "    columns: {{ {} }}", renamed.join(", "));
        }
    }

    fn view(&self, out: &mut String) {
        let entities: Vec<&str> = self.keys.iter().map(Self::entity).collect();
        let _ = write!(
            out,
            "feature_views:\n  - name: {name}\n    entities: [{}]\n    source: {name}\n    # ttl: 7d        # how long a value is good\n    # lateness: 2d   # how late rows may arrive, where there is no created_time\n    features:{}\n",
            entities.join(", "),
            if self.features.is_empty() { " []" } else { "" },
            name = self.name,
        );
        for feature in &self.features {
            let _ = writeln!(
                out,
                "      - {{ name: {}, type: {} }}{}",
                feature.name,
                feature.of,
                self.nulls(feature)
            );
        }
        for (column, reason) in &self.skipped {
            let _ = writeln!(out, "      # - {}: {reason}", json(column));
        }
    }

    fn nulls(&self, feature: &Column) -> String {
        match self.footers.nulls.get(&feature.column) {
            Some(nulls) if *nulls > 0 && self.footers.rows > 0 => {
                let share = *nulls as f64 * 100.0 / self.footers.rows as f64;
                format!("   # {share:.1} % null")
            }
            _ => String::new(),
        }
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Quoted only where YAML would read something else.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./=".contains(c))
        && !matches!(
            text.to_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain { text.to_owned() } else { json(text) }
}
