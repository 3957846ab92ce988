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

/// Longest cell shown on a terminal that has no room for more, but for those of the last column, where nothing stands
/// behind. What is piped is whole.
const WIDEST: usize = 72;

/// What stands between two columns.
const GAP: &str = "  ";

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

    /// The table for people, on a terminal of so many columns, or whole where it goes to a file or another program.
    pub(crate) fn render(&self, terminal: Option<usize>) -> String {
        if self.rows.is_empty() {
            return self.empty.map(|text| format!("{text}\n")).unwrap_or_default();
        }
        let last = self.header.len().saturating_sub(1);
        let mut rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| one_line(cell)).collect())
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let cells = cells.chain(self.header.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        if let Some(terminal) = terminal {
            let most = widest(&widths, terminal);
            for row in &mut rows {
                row.iter_mut().take(last).for_each(|cell| shorten(cell, most));
            }
            widths.iter_mut().for_each(|width| *width = (*width).min(most));
        }
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
                line.push_str(GAP);
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

/// How long cells may be so that columns of these widths fit beside each other; no shorter than [`WIDEST`].
fn widest(widths: &[usize], terminal: usize) -> usize {
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    let fits = |most: &usize| widths.iter().map(|width| width.min(most)).sum::<usize>() + gaps <= terminal;
    (WIDEST..=terminal).rev().find(fits).unwrap_or(WIDEST)
}

fn shorten(cell: &mut String, most: usize) {
    if cell.chars().count() > most {
        *cell = cell.chars().take(most.saturating_sub(1)).collect();
        cell.push('…');
    }
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
            table.render(None),
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
        assert_eq!(table.render(None), "no rows\n");
        assert_eq!(table.csv(), "a\n");
    }

    #[test]
    fn the_last_column_is_whole_and_nothing_steers_the_terminal() {
        let mut table = Table::new(["a", "b"]);
        table.row(["\u{1b}[31mred\u{7}".to_owned(), "x".repeat(200)]);
        let shown = table.render(Some(80));
        assert!(shown.contains(&"x".repeat(200)), "{shown}");
        assert!(
            shown.contains("\\u{1b}[31mred\\u{7}") && !shown.contains('\u{1b}'),
            "{shown}"
        );
    }

    #[test]
    fn cells_are_cut_only_where_a_terminal_has_no_room() {
        let mut table = Table::new(["a", "b", "c"]);
        let (long, last) = ("x".repeat(100), "z".repeat(200));
        table.row([long.as_str(), "y", last.as_str()]);
        let cells = |terminal: Option<usize>| {
            let text = table.render(terminal);
            let row = text.lines().nth(2).unwrap();
            row.split("  ")
                .map(|cell| cell.trim().to_owned())
                .collect::<Vec<_>>()
        };
        let cut = |at: usize| vec![format!("{}…", "x".repeat(at - 1)), "y".to_owned(), last.clone()];
        let whole = vec![long.clone(), "y".to_owned(), last.clone()];
        assert_eq!(cells(None), whole);
        assert_eq!(cells(Some(400)), whole);
        assert_eq!(cells(Some(0)), cut(WIDEST));
        assert_eq!(cells(Some(80)), cut(WIDEST));
        // What the terminal has is shared: 80 + 2 + 1 + 2 + 80 columns.
        assert_eq!(cells(Some(165)), cut(80));
        let wide = |text: String| text.lines().map(|line| line.chars().count()).max();
        assert_eq!(wide(table.render(Some(305))), Some(305));
    }

    #[test]
    fn numbers_in_csv_are_numbers() {
        let mut table = Table::new(["name", ">rows", ">when"]);
        table.row(["1,5", "1,234,567", "a, b"]);
        assert_eq!(table.csv(), "name,rows,when\n\"1,5\",1234567,\"a, b\"\n");
    }
}
