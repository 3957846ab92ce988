//! What does a table look like, for people and as CSV?

use std::fmt::Write as _;

/// Which side the cells of a column stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows of text under a header.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
    /// Said where there are no rows.
    empty: Option<&'static str>,
}

/// Longest cell shown to people; CSV and JSON have it whole.
const WIDEST: usize = 72;

impl Table {
    /// A table; a header that begins with `>` stands on the right.
    pub(crate) fn new<S: AsRef<str>>(header: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self::default();
        for name in header {
            let name = name.as_ref();
            let (name, align) = match name.strip_prefix('>') {
                Some(name) => (name, Align::Right),
                None => (name, Align::Left),
            };
            table.header.push(name.to_owned());
            table.align.push(align);
        }
        table
    }

    /// What people read where there are no rows.
    #[must_use]
    pub(crate) fn or_say(mut self, text: &'static str) -> Self {
        self.empty = Some(text);
        self
    }

    /// Adds a row.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Sets the side of a column.
    pub(crate) fn set_align(&mut self, column: usize, align: Align) {
        if let Some(side) = self.align.get_mut(column) {
            *side = align;
        }
    }

    /// The table for people.
    pub(crate) fn render(&self) -> String {
        if self.rows.is_empty() {
            return self.empty.map(|text| format!("{text}\n")).unwrap_or_default();
        }
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| shortened(cell)).collect())
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .chain(self.header.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let mut out = String::new();
        self.line(&mut out, &self.header, &widths);
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        self.line(&mut out, &rule, &widths);
        for row in &rows {
            self.line(&mut out, row, &widths);
        }
        out
    }

    fn line(&self, out: &mut String, cells: &[String], widths: &[usize]) {
        let mut line = String::new();
        for (i, cell) in cells.iter().enumerate() {
            if i > 0 {
                line.push_str("  ");
            }
            let width = widths.get(i).copied().unwrap_or(0);
            let _ = match self.align.get(i) {
                Some(Align::Right) => write!(line, "{cell:>width$}"),
                _ => write!(line, "{cell:<width$}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }

    /// The table as CSV.
    pub(crate) fn csv(&self) -> String {
        let mut out = String::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            for (i, cell) in row.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                if cell.contains(['"', ',', '\n', '\r']) {
                    let _ = write!(out, "\"{}\"", cell.replace('"', "\"\""));
                } else {
                    out.push_str(cell);
                }
            }
            out.push('\n');
        }
        out
    }
}

fn shortened(cell: &str) -> String {
    let one_line = cell.replace(['\n', '\r', '\t'], " ");
    if one_line.chars().count() <= WIDEST {
        return one_line;
    }
    let mut short: String = one_line.chars().take(WIDEST - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let mut table = Table::new(["name", ">rows"]);
        table.row(["user_stats", "7"]);
        table.row(["b", "1,234"]);
        assert_eq!(
            table.render(),
            "name         rows\n──────────  ─────\nuser_stats      7\nb           1,234\n"
        );
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        let mut table = Table::new(["a", "b"]);
        table.row(["x,y", "say \"hi\""]);
        assert_eq!(table.csv(), "a,b\n\"x,y\",\"say \"\"hi\"\"\"\n");
    }

    #[test]
    fn nothing_is_said_in_words() {
        let table = Table::new(["a"]).or_say("no rows");
        assert_eq!(table.render(), "no rows\n");
        assert_eq!(table.csv(), "a\n");
    }
}
