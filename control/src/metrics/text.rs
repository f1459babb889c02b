//! Prometheus' text exposition, version 0.0.4: families of samples, each with its help and its type. Knows no metric.

use std::fmt::{Display, Write as _};

use ares_core::histogram::Histogram;

/// What sort of figure a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up, and begins anew with the daemon. Its name ends with `_total`.
    Counter,
    /// Is what it is now.
    Gauge,
}

/// A page in the making.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// The next family; `help` is one line that says what is counted, in which unit.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        debug_assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "{name}");
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.head(kind, name, help);
        Family { page: self, name }
    }

    /// A family of one sample.
    pub(super) fn one(&mut self, kind: Kind, name: &'static str, help: &str, value: impl Display) {
        self.family(kind, name, help).sample(value);
    }

    /// A family of durations, in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str, histogram: &Histogram) {
        self.head("histogram", name, help);
        self.durations(name, "", histogram);
    }

    /// A family of durations, in seconds, for each of those that a label tells apart.
    pub(super) fn histograms<'n>(
        &mut self,
        name: &'static str,
        help: &str,
        label: &'static str,
        all: impl IntoIterator<Item = (&'n str, Histogram)>,
    ) {
        self.head("histogram", name, help);
        for (of, histogram) in all {
            self.durations(name, &format!("{label}=\"{}\"", Escaped(of)), &histogram);
        }
    }

    /// `labels`: without braces; may be empty.
    fn durations(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let count = histogram.count();
        let (comma, braced) = match labels {
            "" => ("", String::new()),
            _ => (",", format!("{{{labels}}}")),
        };
        for (bound, below) in histogram.buckets() {
            let bound = bound.as_secs_f64();
            self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"));
        }
        self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"));
        self.line(format_args!("{name}_sum{braced} {}", histogram.sum().as_secs_f64()));
        self.line(format_args!("{name}_count{braced} {count}"));
    }

    /// What was written.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, kind: &str, name: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        // Strings take everything.
        let _ = writeln!(self.0, "{line}");
    }
}

/// A family whose samples are being written.
pub(super) struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Family<'_> {
    /// The one that has no label.
    pub(super) fn sample(&mut self, value: impl Display) {
        self.page.line(format_args!("{} {value}", self.name));
    }

    /// One of those that a label tells apart.
    pub(super) fn labelled(&mut self, label: &'static str, of: &str, value: impl Display) {
        let of = Escaped(of);
        self.page.line(format_args!("{}{{{label}=\"{of}\"}} {value}", self.name));
    }

    /// One for each.
    pub(super) fn each<'n, V: Display>(&mut self, label: &'static str, all: impl IntoIterator<Item = (&'n str, V)>) {
        all.into_iter().for_each(|(of, value)| self.labelled(label, of, value));
    }
}

/// A label's value as the format wants it.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}
