//! How are inferred definitions written down, for people to go on with?

use std::fmt::Write as _;

use super::decide::{Column, Inferred};
use crate::output::plural;

impl Inferred {
    /// The definitions as YAML with comments.
    pub(crate) fn yaml(&self) -> String {
        let mut out = String::new();
        if self.footers.files > 0 {
            let _ = writeln!(
                out,
                "# Inferred from {} in {}. Look through it, then: larder plan",
                plural(self.footers.rows as usize, "row", "rows"),
                plural(self.footers.files, "Parquet file", "Parquet files")
            );
        }
        out.push_str("entities:\n");
        for key in &self.keys {
            let _ = writeln!(out, "  - name: {}", quoted(Self::entity(key)));
            let _ = writeln!(
                out,
                "    join_keys: [{{ name: {}, type: {} }}]",
                quoted(&key.name),
                quoted(&key.of.to_string())
            );
            out.push_str("    # description: …\n    # owner: …\n");
        }
        self.source(&mut out);
        if self.features.is_empty() {
            out.push_str("# No column is left that could be a feature, so there is no view yet:\n");
            let mut view = String::new();
            self.view(&mut view);
            for line in view.lines() {
                let _ = writeln!(out, "# {line}");
            }
        } else {
            self.view(&mut out);
        }
        out
    }

    fn source(&self, out: &mut String) {
        let _ = write!(
            out,
            "sources:\n  - name: {}\n    type: parquet\n    path: {}   # {}\n    event_time: {}\n",
            quoted(&self.name),
            quoted(&self.path),
            self.path_from,
            quoted(&self.time)
        );
        match &self.created {
            Some(created) => {
                let _ = writeln!(out, "    created_time: {}", quoted(created));
            }
            None => out.push_str("    # created_time: …   # when a row was written, if a column says so\n"),
        }
        if !self.naive.is_empty() {
            let columns: Vec<String> = self.naive.iter().map(|c| json(c)).collect();
            let _ = writeln!(
                out,
                "    timezone: UTC   # without a zone in the data: {}; make sure that UTC is meant",
                columns.join(", ")
            );
        }
        let renamed: Vec<String> = self
            .renamed()
            .map(|c| format!("{}: {}", quoted(&c.name), json(&c.column)))
            .collect();
        if !renamed.is_empty() {
            let _ = writeln!(out, "    columns: {{ {} }}", renamed.join(", "));
        }
    }

    fn view(&self, out: &mut String) {
        let entities: Vec<String> = self.keys.iter().map(|key| quoted(Self::entity(key))).collect();
        let _ = write!(
            out,
            "feature_views:\n  - name: {name}\n    entities: [{}]\n    source: {name}\n    # ttl: 7d        # how long a value is good\n    # lateness: 2d   # how late rows may arrive, where there is no created_time\n    features:\n",
            entities.join(", "),
            name = quoted(&self.name),
        );
        for feature in &self.features {
            let _ = writeln!(
                out,
                "      - {{ name: {}, type: {} }}{}",
                quoted(&feature.name),
                quoted(&feature.of.to_string()),
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
            .all(|c| c.is_ascii_alphanumeric() || "_-./=<>".contains(c))
        && !matches!(
            text.to_lowercase().as_str(),
            "true" | "false" | "null" | "nan" | "inf" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain { text.to_owned() } else { json(text) }
}
