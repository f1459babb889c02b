//! What the machine allows: how fast memory, ciphers, hashing, tmpfs and links are by themselves, so that a transfer's figures can be held
//! against their bounds. Rows take turns: a sample of each, then the next sample of each. Nothing of `ares` runs here but its ring.

mod crypto;
mod flow;
mod limit;
mod link;
mod memory;
mod udp;

use std::path::PathBuf;
use std::rc::Rc;

use ares_tests::Lab;
use serde_json::json;

use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::report::{Report, parse_size, say};
use crate::stats::{Spread, table};
use limit::{Limit, Sample};

pub(crate) use flow::{Args as FlowArgs, run as run_flow};

/// `limits`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_values = ["memory", "crypto", "links"])]
    parts: Vec<Part>,
    /// Samples of each row.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Bytes of one sample over a link.
    #[arg(long, default_value = "2GiB", value_parser = parse_size)]
    size: u64,
    /// Append one JSON line per sample to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Rows that make one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Copies, and pages of a tmpfs.
    Memory,
    /// AEADs and header masks of QUIC by two libraries, and BLAKE3.
    Crypto,
    /// UDP through the dataplane's ring and TCP through std's sockets, over two veth cables and the loopback.
    Links,
}

impl Part {
    fn title(self) -> &'static str {
        match self {
            Self::Memory => "Memory, one core",
            Self::Crypto => "Ciphers and hashing, one core",
            Self::Links => "Links, a sending and a receiving process",
        }
    }

    fn limits(self, args: &Args, host: &Rc<Lab>) -> Result<Vec<Limit>> {
        match self {
            Self::Memory => memory::limits(host),
            Self::Crypto => Ok(crypto::limits()),
            Self::Links => link::limits(host, args.size),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let mut report = Report::open(args.json.as_deref())?;
    // Before the rows, so that their files are closed when its tmpfs goes.
    let host = Rc::new(Lab::on_loopback("limits", 2));
    let mut parts = Vec::new();
    for part in &args.parts {
        let limits = interrupt.unless(part.limits(args, &host))?;
        parts.push((*part, limits));
    }
    for run in 1..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        for limit in parts.iter_mut().flat_map(|(_, limits)| limits) {
            let sample = interrupt.unless(limit.sample())?;
            report.row(&to_json(limit, run, sample));
        }
    }
    for (part, limits) in &parts {
        println!("\n{}, median of {} (min-max)", part.title(), args.runs);
        print!("{}", show(limits));
    }
    Ok(())
}

fn to_json(limit: &Limit, run: u64, sample: Sample) -> serde_json::Value {
    json!({
        "row": "limit",
        "what": limit.what,
        "by": limit.by,
        "bounds": limit.bounds,
        "run": run,
        "bytes": sample.bytes,
        "seconds": sample.seconds,
        "gb_per_s": sample.gb_per_s(),
        "ns_per_kib": sample.ns_per_kib(),
        "sender_cpu_s_per_gb": sample.cpu.map(|c| c.sender_s / sample.gb()),
        "receiver_cpu_s_per_gb": sample.cpu.map(|c| c.receiver_s / sample.gb()),
    })
}

/// The table of one part, without the columns that none of its rows fills.
fn show(limits: &[Limit]) -> String {
    let head = [
        "what",
        "by",
        "GB/s",
        "ns/KiB",
        "CPU tx s/GB",
        "CPU rx s/GB",
        "against",
        "bounds",
    ];
    let rows: Vec<_> = limits.iter().map(|limit| cells(limit, limits)).collect();
    let filled: Vec<bool> = (0..head.len()).map(|c| rows.iter().any(|row| !row[c].is_empty())).collect();
    let mut shown = vec![head.map(str::to_owned)];
    shown.extend(rows);
    let shown: Vec<Vec<String>> = shown
        .into_iter()
        .map(|row| {
            row.into_iter()
                .zip(&filled)
                .filter(|(_, filled)| **filled)
                .map(|(cell, _)| cell)
                .collect()
        })
        .collect();
    table(&shown)
}

fn cells(limit: &Limit, all: &[Limit]) -> [String; 8] {
    let spread = |f: &dyn Fn(&Sample) -> Option<f64>, digits| {
        Spread::of(limit.samples.iter().filter_map(f)).map_or(String::new(), |s| s.show(digits))
    };
    [
        limit.what.clone(),
        limit.by.to_owned(),
        spread(&|s| Some(s.gb_per_s()), 2),
        spread(&|s| Some(s.ns_per_kib()), 0),
        spread(&|s| s.cpu.map(|c| c.sender_s / s.gb()), 3),
        spread(&|s| s.cpu.map(|c| c.receiver_s / s.gb()), 3),
        against(limit, all).unwrap_or_default(),
        limit.bounds.to_owned(),
    ]
}

/// How many times as fast a row is as the row after it that does the same by other means.
fn against(limit: &Limit, all: &[Limit]) -> Option<String> {
    let mine = all.iter().position(|l| std::ptr::eq(l, limit))?;
    let other = all.get(mine + 1).filter(|l| l.what == limit.what)?;
    let speed = |limit: &Limit| Spread::of(limit.samples.iter().map(Sample::gb_per_s)).map(|s| s.median);
    Some(format!("{:.2} x {}", speed(limit)? / speed(other)?, other.by))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, by: &'static str, seconds: f64) -> Limit {
        let sample = Sample {
            bytes: 1_000_000_000,
            seconds,
            cpu: None,
        };
        let mut limit = Limit::new(what, by, "", move || Ok(sample));
        limit.sample().expect("it has no way to fail");
        limit
    }

    #[test]
    fn a_row_is_held_against_the_next_of_the_same_name() {
        let rows = [row("seal", "a", 0.5), row("seal", "b", 1.0), row("open", "a", 1.0)];
        let against: Vec<_> = rows.iter().map(|r| against(r, &rows)).collect();
        assert_eq!(against, [Some("2.00 x b".to_owned()), None, None]);
    }

    #[test]
    fn columns_that_no_row_fills_are_left_out() {
        let text = show(&[row("copy", "", 0.5)]);
        assert_eq!(text.lines().next(), Some("what  GB/s              ns/KiB"));
    }
}
