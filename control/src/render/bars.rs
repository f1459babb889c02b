//! Draws what happens while a command runs: progress bars and notes on stderr, entries and data on stdout.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::admin::proto::{Event, Gone, Listed, ListedKind, Phase, Progress, Sink};
use crate::config::{Bars, Format, Output, Verbosity};
use crate::render::{Stdout, StdoutEnd, stdout};

/// Draws at most so often.
const DRAWS_PER_S: u8 = 10;

/// How `ls` prints an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    Names,
    Long,
}

/// The sink of a command that runs in a terminal, or in a script.
pub(crate) struct Terminal {
    output: Output,
    listing: Listing,
    bars: Option<MultiProgress>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bars: BTreeMap<&'static str, ProgressBar>,
    stdout_end: Option<StdoutEnd>,
}

impl Terminal {
    /// Draws bars where `output` and the terminal want them.
    pub(crate) fn new(output: Output, listing: Listing) -> Self {
        let is_drawn = match output.bars {
            Bars::Always => true,
            Bars::Never => false,
            Bars::Auto => std::io::stderr().is_terminal(),
        };
        let target = match output.bars {
            // Forced where there is no terminal: indicatif would hide it, so it is handed plain text with carriage returns.
            Bars::Always if !std::io::stderr().is_terminal() => {
                ProgressDrawTarget::term_like_with_hz(Box::new(super::plain::PlainTerm), DRAWS_PER_S)
            }
            _ => ProgressDrawTarget::stderr_with_hz(DRAWS_PER_S),
        };
        Self {
            output,
            listing,
            bars: is_drawn.then(|| MultiProgress::with_draw_target(target)),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Bars are only drawn: whatever a panicking thread left of them will do.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line on stderr, above the bars.
    pub(crate) fn note(&self, text: &str) {
        if self.output.verbosity == Verbosity::Quiet {
            return;
        }
        self.above_bars(|| super::note_line(text));
    }

    /// Runs what writes to stderr while the bars are out of the way.
    pub(crate) fn above_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// Takes the bars away: what is printed next stands alone.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.bars {
            for bar in self.state().bars.values() {
                bar.finish_and_clear();
            }
            drop(bars.clear());
        }
    }

    fn progress(&self, progress: Progress) {
        let Some(bars) = &self.bars else { return };
        let label = match progress.phase {
            Phase::Scan => "scan",
            Phase::Publish => "publish",
            Phase::Fetch => "fetch",
            Phase::Write => "write",
            Phase::Verify => "verify",
        };
        let mut state = self.state();
        if progress.phase == Phase::Publish
            && let Some(scan) = state.bars.remove("scan")
        {
            scan.finish_and_clear();
        }
        let bar = state.bars.entry(label).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(0).with_prefix(label));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let bytes = progress.bytes_total > 0 || progress.items_total == 0;
        let (done, total) = match bytes {
            true => (progress.bytes_done, progress.bytes_total),
            false => (progress.items_done, progress.items_total),
        };
        if bar.length() != Some(total) || bar.position() == 0 {
            bar.set_style(style(total > 0, bytes));
        }
        bar.set_length(total);
        bar.set_position(done);
        if progress.items_total > 0 {
            bar.set_message(format!("{}/{} files", progress.items_done, progress.items_total));
        } else if progress.items_done > 0 {
            bar.set_message(format!("{} files", progress.items_done));
        }
        if total > 0 && done >= total {
            bar.abandon();
        }
    }

    fn entry(&self, entry: &Listed) -> Result<(), Gone> {
        let mut line = match (self.output.format, self.listing) {
            (Format::Json, _) => serde_json::to_vec(entry).unwrap_or_default(),
            (Format::Text, Listing::Names) => {
                let slash: &[u8] = if entry.kind == ListedKind::Dir { b"/" } else { b"" };
                [&entry.name.0, slash].concat()
            }
            (Format::Text, Listing::Long) => long(entry),
        };
        line.push(b'\n');
        self.write(&line)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Gone> {
        let end = match stdout(bytes) {
            Ok(Stdout::Open) => return Ok(()),
            Ok(Stdout::Closed) => StdoutEnd::Closed,
            Err(failure) => StdoutEnd::Failed(failure),
        };
        self.state().stdout_end = Some(end);
        Err(Gone)
    }

    /// How stdout ended, if it did: the reason why a command was told that nobody listens.
    pub(crate) fn stdout_end(&self) -> Option<StdoutEnd> {
        self.state().stdout_end.clone()
    }
}

fn style(is_bounded: bool, is_bytes: bool) -> ProgressStyle {
    let template = match (is_bounded, is_bytes) {
        (true, true) => {
            "{prefix:>8} {wide_bar:.cyan/blue} {percent:>3}% {decimal_bytes:>9}/{decimal_total_bytes:<9} {decimal_bytes_per_sec:>11} ETA {eta:<4} {msg}"
        }
        (true, false) => "{prefix:>8} {wide_bar:.cyan/blue} {percent:>3}% {per_sec:>11} ETA {eta:<4} {msg}",
        (false, _) => "{prefix:>8} {spinner} {decimal_bytes:>9} {decimal_bytes_per_sec:>11} {msg}",
    };
    // The templates are constants that a test parses; the default bar is a fine fallback.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

/// As `ls -l` prints it, less what a release does not keep: links and owners.
fn long(entry: &Listed) -> Vec<u8> {
    let kind = match entry.kind {
        ListedKind::Dir => 'd',
        ListedKind::File => '-',
        ListedKind::Symlink => 'l',
    };
    let bits: String = (0..9)
        .rev()
        .map(|n| {
            if entry.mode >> n & 1 == 1 {
                [b'x', b'w', b'r'][n % 3] as char
            } else {
                '-'
            }
        })
        .collect();
    let head = format!("{kind}{bits} {:>14} {} ", entry.bytes, utc(entry.mtime_s));
    let mut line = [head.as_bytes(), &entry.name.0].concat();
    match &entry.target {
        Some(target) => line.extend([b" -> ".as_slice(), &target.0].concat()),
        None if entry.kind == ListedKind::Dir => line.push(b'/'),
        None => {}
    }
    line
}

/// `2026-01-31 12:34:56` UTC, by the civil calendar (days-from-civil, H. Hinnant).
fn utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = i128::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

impl Sink for Terminal {
    fn event(&self, event: Event) -> Result<(), Gone> {
        match event {
            Event::Progress(progress) => self.progress(progress),
            Event::Note { text } => self.note(&text),
            // The command that mounts says so itself: on stderr where it stays, as its result where it does not.
            Event::Mounted { .. } => {}
            Event::Entry(entry) => return self.entry(&entry),
            Event::Data { data } => return self.write(&data),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::proto::Raw;

    #[test]
    fn templates_parse() {
        for (bounded, bytes) in [(true, true), (true, false), (false, true), (false, false)] {
            let style = style(bounded, bytes);
            assert!(ProgressStyle::with_template("{prefix}").is_ok());
            drop(style);
        }
    }

    #[test]
    fn times_are_civil() {
        let check = |s: i64, expect: &str| assert_eq!(utc(s), expect);
        check(0, "1970-01-01 00:00:00");
        check(-1, "1969-12-31 23:59:59");
        check(951_782_400, "2000-02-29 00:00:00");
        check(1_735_689_599, "2024-12-31 23:59:59");
        check(4_102_444_800, "2100-01-01 00:00:00");
    }

    #[test]
    fn a_long_line_is_that_of_ls() {
        let mut entry = Listed {
            name: Raw(b"n\xff".to_vec()),
            kind: ListedKind::Symlink,
            mode: 0o754,
            bytes: 3,
            mtime_s: 0,
            mtime_ns: 0,
            target: Some(Raw(b"../t".to_vec())),
            b3: None,
        };
        assert_eq!(long(&entry), b"lrwxr-xr--              3 1970-01-01 00:00:00 n\xff -> ../t");
        entry.kind = ListedKind::Dir;
        entry.target = None;
        assert!(long(&entry).starts_with(b"d") && long(&entry).ends_with(b"n\xff/"));
    }
}
