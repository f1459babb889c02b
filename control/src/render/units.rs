//! Numbers for people. Scripts get plain bytes and seconds.

use std::fmt;
use std::time::Duration;

/// Bytes as `1.50 GB`: powers of ten, as disks and networks are sold.
pub(crate) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0 as f64, self.0)
    }
}

fn scaled(f: &mut fmt::Formatter<'_>, value: f64, exact: u64) -> fmt::Result {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if value < 1000.0 {
        return write!(f, "{exact} B");
    }
    let mut value = value / 1000.0;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value < 10.0 { 2 } else { 1 };
    write!(f, "{value:.decimals$} {}", UNITS[unit])
}

/// A time as `1.2 s` or `3 min 20 s`.
pub(crate) struct Seconds(pub f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s < 1.0 => write!(f, "{:.0} ms", s * 1000.0),
            s if s < 100.0 => write!(f, "{s:.1} s"),
            s if s < 3600.0 => write!(f, "{} min {} s", s as u64 / 60, s as u64 % 60),
            s => write!(f, "{} h {} min", s as u64 / 3600, s as u64 / 60 % 60),
        }
    }
}

/// `1 entry`, `2 entries`: a count with its noun, whose plural ends in `s` or `ies`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (n, Some(stem)) => format!("{n} {stem}ies"),
        (n, None) => format!("{n} {noun}s"),
    }
}

/// Bytes in a time as `410 MB/s`.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(1e-6);
    format!("{}/s", Bytes((bytes as f64 / seconds) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let check = |bytes: u64, expect: &str| assert_eq!(Bytes(bytes).to_string(), expect);
        check(0, "0 B");
        check(999, "999 B");
        check(1000, "1.00 kB");
        check(64 << 20, "67.1 MB");
        check(999_999, "1.00 MB");
        check(4 << 30, "4.29 GB");
        check(u64::MAX, "18.4 EB");
        let check = |s: f64, expect: &str| assert_eq!(Seconds(s).to_string(), expect);
        check(0.0123, "12 ms");
        check(1.26, "1.3 s");
        check(200.0, "3 min 20 s");
        check(7300.0, "2 h 1 min");
        let check = |n: u64, noun: &str, expect: &str| assert_eq!(count(n, noun), expect);
        check(1, "entry", "1 entry");
        check(0, "entry", "0 entries");
        check(2, "file", "2 files");
        assert_eq!(rate(1_000_000, Duration::from_millis(500)), "2.00 MB/s");
        assert_eq!(
            rate(5, Duration::ZERO),
            "5.00 MB/s",
            "a time too short to measure divides nothing by zero"
        );
    }
}
