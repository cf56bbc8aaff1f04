//! Tables as kubectl's: columns at least six wide, three spaces between, none at a line's end.

use crate::kube::table::Table;

const MIN_WIDTH: usize = 6;
const PADDING: usize = 3;

/// Lays rows out. It remembers the widths, so that the rows of `--watch` stay in their columns.
#[derive(Debug, Default)]
pub struct Writer {
    widths: Vec<usize>,
}

impl Writer {
    /// The lines of `rows`, aligned with each other and with all before them.
    pub fn rows(&mut self, rows: &[Vec<String>]) -> String {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
        for row in &rows {
            self.widths.resize(self.widths.len().max(row.len()), MIN_WIDTH);
            for (width, text) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count() + PADDING);
            }
        }
        let mut out = String::with_capacity(rows.len() * self.widths.iter().sum::<usize>());
        for row in &rows {
            for (index, (text, width)) in row.iter().zip(&self.widths).enumerate() {
                out.push_str(text);
                if index + 1 < row.len() {
                    let spaces = width.saturating_sub(text.chars().count());
                    out.extend(std::iter::repeat_n(' ', spaces));
                }
            }
            out.push('\n');
        }
        out
    }

    /// `table` under its headers.
    pub fn table(&mut self, table: &Table) -> String {
        let mut rows = Vec::with_capacity(table.rows.len() + 1);
        rows.push(table.headers.clone());
        rows.extend_from_slice(&table.rows);
        self.rows(&rows)
    }
}

/// `table` alone, or only its rows (`--no-headers`).
pub fn text(table: &Table, no_headers: bool) -> String {
    let mut writer = Writer::default();
    if no_headers { writer.rows(&table.rows) } else { writer.table(table) }
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

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn aligns_and_remembers() {
        let mut writer = Writer::default();
        let headers = ["NAME", "X", "AGE"].map(str::to_owned).to_vec();
        let table = Table { headers, rows: rows(&[&["nginx", "1", "5m"], &["é", "", ""]]) };
        assert_eq!(writer.table(&table), "NAME    X     AGE\nnginx   1     5m\né             \n");
        assert_eq!(writer.rows(&rows(&[&["a", "b", "c"]])), "a       b     c\n");
        let wider = writer.rows(&rows(&[&["a-long-name", "b", "c"]]));
        assert_eq!(wider, "a-long-name   b     c\n");
        assert_eq!(writer.rows(&rows(&[&["a", "b", "c"]])), "a             b     c\n");
    }

    #[test]
    fn a_cell_is_one_harmless_line() {
        let mut writer = Writer::default();
        let text = writer.rows(&rows(&[&["a\nb", "\u{1b}[31m"]]));
        assert_eq!(text, "a...   ^[[31m\n");
    }
}
