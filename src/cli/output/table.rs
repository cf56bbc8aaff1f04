//! Tables as kubectl's: columns at least six wide, three spaces between, none at a line's end.

use crate::cli::colours::{Colours, of_status};
use crate::kube::table::Table;

const MIN_WIDTH: usize = 6;
const PADDING: usize = 3;

/// Columns whose words are painted by what they tell.
const PAINTED: [&str; 4] = ["REASON", "STATUS", "STEP", "TYPE"];

/// Lays rows out. It remembers the widths, so that the rows of `--watch` stay in their columns.
#[derive(Debug, Default)]
pub struct Writer {
    widths: Vec<usize>,
    colours: Colours,
}

impl Writer {
    /// One for standard output, with its colours.
    pub fn of_stdout() -> Self {
        Self { colours: Colours::of_stdout(), ..Self::default() }
    }

    /// The rows of `table`, aligned with each other and with all before them.
    pub fn rows(&mut self, table: &Table) -> String {
        self.lay_out(table, &[])
    }

    /// `table` under its headers.
    pub fn table(&mut self, table: &Table) -> String {
        self.lay_out(table, std::slice::from_ref(&table.headers))
    }

    fn lay_out(&mut self, table: &Table, headers: &[Vec<String>]) -> String {
        let rows = headers.iter().chain(&table.rows);
        let rows: Vec<Vec<String>> =
            rows.map(|row| row.iter().map(|text| cell(text)).collect()).collect();
        for row in &rows {
            self.widths.resize(self.widths.len().max(row.len()), MIN_WIDTH);
            for (width, text) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count() + PADDING);
            }
        }
        let is_painted = |header: &String| PAINTED.contains(&header.as_str());
        let painted: Vec<bool> = table.headers.iter().map(is_painted).collect();
        let mut out = String::with_capacity(rows.len() * self.widths.iter().sum::<usize>());
        for row in &rows {
            for (index, (text, width)) in row.iter().zip(&self.widths).enumerate() {
                match painted.get(index) {
                    Some(true) => out.push_str(&self.colours.paint(of_status(text), text)),
                    _ => out.push_str(text),
                }
                if index + 1 < row.len() {
                    let spaces = width.saturating_sub(text.chars().count());
                    out.extend(std::iter::repeat_n(' ', spaces));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// `table` alone, or only its rows (`--no-headers`), for standard output.
pub fn text(table: &Table, no_headers: bool) -> String {
    let mut writer = Writer::of_stdout();
    if no_headers { writer.rows(table) } else { writer.table(table) }
}

/// A cell is one line, and cannot speak to the terminal.
fn cell(text: &str) -> String {
    let (line, more) = match text.find(['\n', '\r', '\u{c}']) {
        Some(at) => (text.get(..at).unwrap_or_default(), "..."),
        None => (text, ""),
    };
    format!("{}{more}", line.replace('\u{1b}', "^["))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Table {
        let texts = |row: &[&str]| row.iter().map(|cell| (*cell).to_owned()).collect();
        let headers = texts(&["NAME", "STATUS", "AGE"]);
        Table { headers, rows: rows.iter().map(|row| texts(row)).collect() }
    }

    #[test]
    fn aligns_and_remembers() {
        let mut writer = Writer::default();
        let table = rows(&[&["nginx", "1", "5m"], &["é", "", ""]]);
        let text = "NAME    STATUS   AGE\nnginx   1        5m\né                \n";
        assert_eq!(writer.table(&table), text);
        assert_eq!(writer.rows(&rows(&[&["a", "b", "c"]])), "a       b        c\n");
        let wider = writer.rows(&rows(&[&["a-long-name", "b", "c"]]));
        assert_eq!(wider, "a-long-name   b        c\n");
        assert_eq!(writer.rows(&rows(&[&["a", "b", "c"]])), "a             b        c\n");
    }

    #[test]
    fn paint_takes_no_column() {
        let mut writer = Writer { colours: Colours::On, ..Writer::default() };
        let table = rows(&[&["web", "Running", "5m"], &["Error", "Error", "5m"]]);
        let text = "NAME    STATUS    AGE\nweb     \u{1b}[32mRunning\u{1b}[0m   5m\n\
                    Error   \u{1b}[31mError\u{1b}[0m     5m\n";
        assert_eq!(writer.table(&table), text);
    }

    #[test]
    fn a_cell_is_one_harmless_line() {
        let mut writer = Writer::default();
        let text = writer.rows(&rows(&[&["a\nb", "\u{1b}[31m"]]));
        assert_eq!(text, "a...   ^[[31m\n");
    }
}
