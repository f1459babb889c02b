//! What the user sees: results on stdout, everything else on stderr. Nothing here decides what happens.

mod bars;
mod blind;
mod content;
mod knobs;
mod paths;
mod peers;
mod pins;
mod plain;
mod status;
mod units;

use std::io::{self, Write as _};

use ares_core::knobs::show_bytes;

pub(crate) use bars::{Listing, Terminal};
pub(crate) use blind::blind;
pub(crate) use content::{contents, one_content};
pub(crate) use knobs::{knob_value, knobs};
pub(crate) use paths::paths;
pub(crate) use peers::peers;
pub(crate) use pins::pins;
pub(crate) use status::status;
pub(crate) use units::{Bytes, Seconds, count, rate};

use crate::config::{Format, Output};
use crate::error::Failure;

/// Prints a result: `text` for people, or `json` on one line. A closed stdout is no failure: nobody reads any more.
pub(crate) fn result(output: Output, text: &str, json: &serde_json::Value) -> Result<(), Failure> {
    let line = match output.format {
        Format::Text => text.to_owned(),
        Format::Json => json.to_string(),
    };
    stdout(format!("{}\n", line.trim_end_matches('\n')).as_bytes()).map(|_open| ())
}

/// Columns of a line of a table; what is longer is cut.
const COLUMNS_MAX: usize = 100;

fn cut(line: String) -> String {
    shortened(line, COLUMNS_MAX)
}

/// So many characters at most.
fn shortened(text: String, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text;
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

/// Rounded down, and what is not all is never 100: manifest nodes count on one side only.
fn percent(held: u64, all: u64) -> u64 {
    match u128::from(held) * 100 / u128::from(all.max(1)) {
        percent if held < all => percent as u64,
        _ if held == all => 100,
        _ => 99,
    }
}

/// What is missing is shown as such: an older daemon may not tell it.
fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

/// What a path or a peer may carry at most, where there is a bound.
fn caps(of: &serde_json::Value) -> String {
    let cap = |name: &str, arrow: &str| {
        let bytes = of[name].as_u64().map(show_bytes);
        bytes.map_or_else(String::new, |bytes| format!(" [{arrow} {bytes}/s at most]"))
    };
    cap("cap_up_bytes_per_s", "up") + &cap("cap_down_bytes_per_s", "down")
}

/// The first ten digits of a hash or key.
pub(crate) fn short(value: &serde_json::Value) -> String {
    text(value).chars().take(10).collect()
}

/// Whether anybody reads stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdout {
    Open,
    Closed,
}

/// Writes to stdout at once. EPIPE is told as `Closed`; a full disk is a failure.
pub(crate) fn stdout(bytes: &[u8]) -> Result<Stdout, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Stdout::Open),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Stdout::Closed),
        Err(e) => Err(Failure::io("writing to", std::path::Path::new("stdout"), &e)),
    }
}

/// How stdout ended, where it did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StdoutEnd {
    /// The reader left.
    Closed,
    /// It takes no bytes.
    Failed(Failure),
}

/// Prints how it failed: in words on stderr; with --json also as an object on stdout, so that a script reads one stream.
pub(crate) fn failure(format: Format, failure: &Failure) {
    note_line(&failure.to_string());
    if format == Format::Json {
        // Stdout may be closed, too: the exit code says it all the same.
        drop(stdout(format!("{}\n", failure.to_json()).as_bytes()));
    }
}

/// One line on stderr; a closed stderr is nobody's failure.
pub(crate) fn note_line(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_all_is_never_100_percent() {
        let check = |held: u64, all: u64, expect: u64| assert_eq!(percent(held, all), expect, "{held} of {all}");
        check(0, 0, 100);
        check(0, 5, 0);
        check(999, 1000, 99);
        check(1001, 1000, 99);
        check(5, 5, 100);
        check(u64::MAX, u64::MAX, 100);
    }
}
