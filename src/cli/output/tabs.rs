//! Elastic tabs, as Go's text/tabwriter lays out what `describe` writes: a column is as wide as
//! the widest of the cells that stand under each other in adjacent lines, plus two.

const PADDING: usize = 2;

/// `text` with its tabs replaced by spaces. A tab ends a cell; what follows a line's last tab
/// belongs to no column.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let widths = widths(&lines);
    let mut out = String::with_capacity(text.len() * 2);
    for (line, widths) in lines.iter().zip(&widths) {
        for (index, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(index) {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

/// For each line, the width of each cell that a tab ends.
fn widths(lines: &[Vec<&str>]) -> Vec<Vec<usize>> {
    let mut widths: Vec<Vec<usize>> =
        lines.iter().map(|line| vec![0; line.len().saturating_sub(1)]).collect();
    let most = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..most {
        let mut start = 0;
        while start < lines.len() {
            let run = widths.iter().skip(start).take_while(|cells| cells.len() > column).count();
            let cells = lines.iter().skip(start).take(run).filter_map(|line| line.get(column));
            let widest = cells.map(|cell| cell.chars().count() + PADDING).max().unwrap_or(0);
            for cells in widths.iter_mut().skip(start).take(run) {
                if let Some(width) = cells.get_mut(column) {
                    *width = widest;
                }
            }
            start += run + 1;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_ends_where_a_line_does_not_have_it() {
        let text =
            "Name:\tweb\nNamespace:\tdefault\nContainers:\n  c:\n    Id:\t1\nA:\tb\tc\nAAAA:\t\td";
        let aligned = "Name:       web\nNamespace:  default\nContainers:\n  c:\n    Id:  1\n\
                       A:       b  c\nAAAA:       d\n";
        assert_eq!(align(text), aligned);
    }
}
