//! Medians, spreads, fairness and units, and the table people read.

/// Median, smallest and largest of some runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of these values; `None` where there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        };
        Some(Self { median, min, max })
    }

    /// As `median (min-max)` with so many digits after the point.
    pub(crate) fn show(self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.min, self.max)
    }
}

/// `show` of the values, or a dash.
pub(crate) fn cell(values: impl IntoIterator<Item = f64>, digits: usize) -> String {
    Spread::of(values).map_or("-".to_owned(), |s| s.show(digits))
}

/// Median and the worst, whichever end that is; a dash of nothing.
pub(crate) fn cell_with_worst(values: impl IntoIterator<Item = f64>, digits: usize, worst: fn(Spread) -> f64) -> String {
    Spread::of(values).map_or("-".to_owned(), |s| format!("{:.digits$} ({:.digits$})", s.median, worst(s)))
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How evenly something is shared: 1 where all have the same, `1/n` where one has all (Jain, Chiu, Hawe, DEC-TR-301, 1984). NaN of nothing.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    sum * sum / (shares.len() as f64 * squares)
}

/// Rows of text in columns as wide as they need to be; the first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter()
            .filter_map(|r| r.get(c))
            .map(|t| t.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expect) in [
            (vec![], None),
            (vec![3.0], Some((3.0, 3.0, 3.0))),
            (vec![9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0))),
            (vec![4.0, 1.0, 2.0, 9.0], Some((3.0, 1.0, 9.0))),
        ] {
            assert_eq!(Spread::of(values).map(|s| (s.median, s.min, s.max)), expect);
        }
    }

    #[test]
    fn fairness_is_one_where_all_have_the_same() {
        for (shares, expect) in [
            (&[3.0, 3.0, 3.0][..], 1.0),
            (&[5.0, 0.0, 0.0, 0.0, 0.0], 0.2),
            (&[1.0, 3.0], 0.8),
        ] {
            assert!((jain(shares) - expect).abs() < 1e-9, "{shares:?}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "bb"], ["ccc", "d"]].map(|r| r.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "a    bb\nccc  d\n");
    }
}
