//! Numbers and tables for people.

/// Columns of a table, each as wide as its widest cell; numbers stand right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The lines, each with `indent` spaces before it; the first `left` columns stand left.
    pub(crate) fn render(&self, indent: usize, left: usize) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell =
            |row: &Vec<String>, at: usize| row.get(at).map_or(0, |cell| cell.chars().count());
        let width = |at| self.rows.iter().map(|row| cell(row, at)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| {
                if at < left { format!("{cell:width$}") } else { format!("{cell:>width$}") }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            text.push_str(&" ".repeat(indent));
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `20,000`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `13.4 µs`, `1.20 ms`, `2.50 s`: three digits and a unit.
pub(crate) fn seconds(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "µs"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0, 999, 1_000, 20_000, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "20,000", "1,234,567"]);
    }

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        let texts = [0.0, 0.000_013_4, 0.000_999, 0.001_2, 0.25, 2.5].map(seconds);
        assert_eq!(texts, ["0.00 µs", "13.4 µs", "999 µs", "1.20 ms", "250 ms", "2.50 s"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::default();
        table.row(["status", "runs"]);
        table.row(["ok", "20,000"]);
        assert_eq!(table.render(2, 1), "  status    runs\n  ok      20,000\n");
    }
}
