//! Where figures go: one JSON line each to a file, tables to stdout, what is being done to stderr.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::error::{BenchError, Result, io};
use crate::host;

/// The report of one job.
pub(crate) struct Report {
    file: Option<File>,
}

impl Report {
    /// Opens the file, if one is wanted, to append to, and states the host's facts.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map_err(io("cannot write", path))
        };
        let mut report = Self {
            file: path.map(open).transpose()?,
        };
        let facts = host::facts();
        println!("{}", host::headline(&facts));
        report.row(&facts);
        Ok(report)
    }

    /// One line of JSON.
    pub(crate) fn row(&mut self, row: &Value) {
        if let Some(file) = &mut self.file {
            // A full disk must not end a long measurement: the table is still printed.
            let _ = writeln!(file, "{row}");
        }
    }
}

/// Says what is being done.
pub(crate) fn say(line: &str) {
    eprintln!("bench: {line}");
}

/// `4GiB`, `512MiB`, `100MB` or plain bytes.
pub(crate) fn parse_size(text: &str) -> std::result::Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(usage(text)),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| *n > 0)
        .ok_or_else(|| usage(text))
}

fn usage(given: &str) -> String {
    BenchError::Usage {
        given: given.to_owned(),
        wanted: "a size such as 4GiB",
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expect) in [
            ("4GiB", Some(4 << 30)),
            ("512MiB", Some(512 << 20)),
            ("1gb", Some(1_000_000_000)),
            ("7", Some(7)),
            ("0", None),
            ("", None),
            ("GiB", None),
            ("4TiB", None),
            ("-1", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse_size(text).ok(), expect, "{text:?}");
        }
    }
}
