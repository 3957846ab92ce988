//! How does what a command found reach people and programs?
//!
//! Commands return a [`Report`]; only this module and the progress bars write to the terminal.

mod errors;
mod progress;
mod table;
mod values;

pub(crate) use errors::{diagnostic_json, render_error};
pub(crate) use progress::Bars;
pub(crate) use table::{Align, Table};
pub(crate) use values::{batch_json, batch_table, cell_text, transposed};

use std::io::{self, Write};

use clap::ValueEnum;
use larder::Error;
use serde::Serialize;
use serde_json::Value as Json;

/// The form of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences for people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// Tables as CSV
    Csv,
    /// For `larder plan`: a comment for a merge request
    #[value(hide = true)]
    Markdown,
}

/// What a command found, for people and for programs.
#[derive(Debug)]
pub(crate) struct Report {
    /// The one document for `--format json`.
    pub(crate) json: Json,
    blocks: Vec<Block>,
    /// 0, or 3 for findings that were asked for with `--check` or `--exit-code`.
    pub(crate) exit: u8,
    /// What failed beside what was done; told after the report, and the command failed.
    pub(crate) failed: Vec<Error>,
}

#[derive(Debug)]
enum Block {
    Table(Table),
    Text(String),
    /// Text that stands alone as the command's product, such as YAML; printed in all but JSON.
    Product(String),
}

impl Report {
    /// A report with its document for programs.
    ///
    /// What cannot be written as JSON (it always can) becomes `null` rather than a panic.
    pub(crate) fn new(document: impl Serialize) -> Self {
        Self {
            json: serde_json::to_value(document).unwrap_or(Json::Null),
            blocks: Vec::new(),
            exit: 0,
            failed: Vec::new(),
        }
    }

    /// Adds a table.
    #[must_use]
    pub(crate) fn table(mut self, table: Table) -> Self {
        self.blocks.push(Block::Table(table));
        self
    }

    /// Adds a line for people.
    #[must_use]
    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text(text.into()));
        self
    }

    /// Adds text that is what the command makes.
    #[must_use]
    pub(crate) fn product(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Product(text.into()));
        self
    }

    /// Sets the exit code.
    #[must_use]
    pub(crate) fn exit(mut self, code: u8) -> Self {
        self.exit = code;
        self
    }

    /// Adds what failed.
    #[must_use]
    pub(crate) fn failed(mut self, errors: Vec<Error>) -> Self {
        self.failed = errors;
        self
    }

    /// What is printed in a format; on a terminal of so many columns, if it is one.
    pub(crate) fn render(&self, format: Format, quiet: bool, terminal: Option<usize>) -> String {
        let mut out = String::new();
        match format {
            Format::Json => {
                out = serde_json::to_string_pretty(&self.json).unwrap_or_else(|_| "null".to_owned());
                out.push('\n');
            }
            Format::Table | Format::Markdown => {
                for block in &self.blocks {
                    match block {
                        Block::Table(table) => out.push_str(&table.render(terminal)),
                        Block::Text(_) if quiet => {}
                        Block::Text(text) | Block::Product(text) => {
                            out.push_str(text);
                            if !text.ends_with('\n') {
                                out.push('\n');
                            }
                        }
                    }
                }
            }
            Format::Csv => {
                for block in &self.blocks {
                    match block {
                        Block::Table(table) => out.push_str(&table.csv()),
                        Block::Product(text) => out.push_str(text),
                        Block::Text(_) => {}
                    }
                }
            }
        }
        out
    }
}

/// Writes to stdout; a reader that went away is no error of ours.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Columns of the terminal that stdout is, if it is one.
pub(crate) fn terminal() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(width.0.into())
}

/// Writes to stderr; where even that fails there is nobody left to tell.
pub(crate) fn complain(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// A number with its thousands set apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration that people read at a glance: `12.3 µs`, `45 ms`, `6.7 s`.
pub(crate) fn elapsed(of: std::time::Duration) -> String {
    let micros = of.as_secs_f64() * 1e6;
    if micros < 100.0 {
        format!("{micros:.1} µs")
    } else if micros < 1_000.0 {
        format!("{micros:.0} µs")
    } else if micros < 1_000_000.0 {
        format!("{:.0} ms", micros / 1e3)
    } else {
        format!("{:.1} s", micros / 1e6)
    }
}

/// An age in µs that people read at a glance: `350 ms`, `2.5 h`, `40 d`.
pub(crate) fn age(micros: u64) -> String {
    larder::Span(i64::try_from(micros).unwrap_or(i64::MAX)).about()
}

/// A size that people read at a glance.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// `1 row`, `2 rows`.
pub(crate) fn plural(number: usize, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        count(number as u64),
        if number == 1 { one } else { many }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn numbers_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(elapsed(Duration::from_nanos(12_300)), "12.3 µs");
        assert_eq!(elapsed(Duration::from_millis(45)), "45 ms");
        assert_eq!(elapsed(Duration::from_millis(6_700)), "6.7 s");
        assert_eq!(size(1_536), "1.5 KiB");
        assert_eq!(age(40 * 86_400_000_000), "40 d");
    }

    #[test]
    fn quiet_keeps_products_and_tables() {
        let report = Report::new(1).text("a remark").product("a: 1\n");
        assert_eq!(report.render(Format::Table, true, None), "a: 1\n");
        assert_eq!(report.render(Format::Table, false, None), "a remark\na: 1\n");
        assert_eq!(report.render(Format::Json, false, None), "1\n");
    }
}
