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

/// Longest cell shown to people, but for those of the last column, where nothing stands behind; CSV and JSON have it
/// whole.
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
            .map(|row| {
                let cells = row.iter().enumerate();
                cells
                    .map(|(column, cell)| match column + 1 == self.header.len() {
                        true => one_line(cell),
                        false => shortened(cell),
                    })
                    .collect()
            })
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .chain(self.header.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .min(WIDEST)
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
                let cell = match self.align.get(i) {
                    Some(Align::Right) => &plain(cell),
                    _ => cell,
                };
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

/// A cell as one line that a terminal shows as it is: what would steer it is spelled out.
fn one_line(cell: &str) -> String {
    let mut line = String::with_capacity(cell.len());
    for c in cell.chars() {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}

/// A number without what sets its thousands apart, for programs.
fn plain(cell: &str) -> String {
    let digits = cell.replace(',', "");
    match digits.parse::<f64>() {
        Ok(_) => digits,
        Err(_) => cell.to_owned(),
    }
}

fn shortened(cell: &str) -> String {
    let one_line = one_line(cell);
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

    #[test]
    fn the_last_column_is_whole_and_nothing_steers_the_terminal() {
        let mut table = Table::new(["a", "b"]);
        table.row(["\u{1b}[31mred\u{7}".to_owned(), "x".repeat(200)]);
        let shown = table.render();
        assert!(shown.contains(&"x".repeat(200)), "{shown}");
        assert!(
            shown.contains("\\u{1b}[31mred\\u{7}") && !shown.contains('\u{1b}'),
            "{shown}"
        );
    }

    #[test]
    fn numbers_in_csv_are_numbers() {
        let mut table = Table::new(["name", ">rows", ">when"]);
        table.row(["1,5", "1,234,567", "a, b"]);
        assert_eq!(table.csv(), "name,rows,when\n\"1,5\",1234567,\"a, b\"\n");
    }
}
