//! Medians, shares, and numbers and tables as text.

/// Returns the median; NaN without values.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the value that a share of all values does not exceed; NaN without values.
#[must_use]
pub fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1) as f64 * part).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Writes a number with three significant digits, and from 100 on as a whole number with
/// separators.
#[must_use]
pub fn short(value: f64) -> String {
    match value {
        v if v.is_nan() => "-".into(),
        v if v < 1.0 => format!("{v:.3}"),
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => grouped(v.round() as u64),
    }
}

/// Writes a whole number with separators.
#[must_use]
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Lays out lines in columns: the first column to the left, all others, which are numbers, to the
/// right.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    columns(head, rows, 1)
}

/// Lays out lines in columns: the first `left` columns to the left, all others to the right.
#[must_use]
pub fn columns(head: &[&str], rows: &[Vec<String>], left: usize) -> String {
    let cell = |row: &[String], column| row.get(column).map_or(0, |cell: &String| width(cell));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let rows = rows.iter().map(|row| cell(row, column));
            rows.chain([width(head[column])]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, (cell, &wide)) in cells.zip(&widths).enumerate() {
            let space = " ".repeat(wide - width(cell));
            line += if column > 0 { "  " } else { "" };
            match column < left {
                true => line.extend([cell, &space]),
                false => line.extend([&space, cell]),
            }
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).to_bits(), 2f64.to_bits());
        assert!(median(Vec::new()).is_nan());
        let mut values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.99).to_bits(), 99f64.to_bits());
    }

    #[test]
    fn numbers_are_short() {
        let shorts = [0.1234, 1.234, 12.34, 123.4, 1234567.0].map(short);
        assert_eq!(shorts, ["0.123", "1.23", "12.3", "123", "1,234,567"]);
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".into(), "1,000".into()],
            vec!["long".into(), "µ".into()],
        ];
        assert_eq!(
            columns(&["x", "y"], &rows, 2),
            "x     y\na     1,000\nlong  µ\n"
        );
        assert_eq!(
            table(&["x", "y"], &rows),
            "x         y\na     1,000\nlong      µ\n"
        );
    }
}
