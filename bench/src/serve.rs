//! One server, many readers: what all of them get together against what one gets alone, how evenly it is shared, what the server pays, and
//! what a connection costs it that asks nothing. Servers take turns, and so do one reader and many.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ares_tests::{Lab, tree};
use serde_json::{Value, json};

use crate::error::{BenchError, Result};
use crate::meter::{self, Sample};
use crate::peers::{Peer, Readers, Server, make_certificate};
use crate::report::{Report, parse_size, say};
use crate::stats::{cell, jain, mib, table};

/// Addresses of the readers' machine: one takes an eighth of the connections that `ares serve` lets in.
const ADDRESSES: u8 = 8;

/// Bytes of the file that is served to those who hardly ask.
const IDLE_FILE_BYTES: u64 = 1 << 20;

/// Length of the silence, seconds: two rounds of keep-alives (5 s) and what they leave behind.
const SILENCE_S: u64 = 12;

/// `serve`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of the file that all read.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// Readers at the same time.
    #[arg(long, default_value_t = 200)]
    readers: usize,
    /// Length of each measurement, seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Runs of each server.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// MTU of the cable, bytes.
    #[arg(long, default_value_t = 1500)]
    mtu: u16,
    /// Bytes that a reader of `ares serve` has asked for at any time while it is alone.
    #[arg(long, default_value = "4MiB", value_parser = parse_size)]
    window: u64,
    /// The same, of each among many.
    #[arg(long, default_value = "1MiB", value_parser = parse_size)]
    window_among_many: u64,
    /// Connections that ask nothing; `0` for none.
    #[arg(long, default_value_t = 5000)]
    idle: usize,
    /// Which servers.
    #[arg(long, value_delimiter = ',', default_values = ["ares", "nginx"])]
    peers: Vec<Peer>,
    /// Append one JSON line per run to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The two machines, and where the readers' one is.
struct Scene {
    lab: Lab,
    from: Vec<IpAddr>,
}

/// What some readers of one server got in one run.
struct Taken {
    sample: Sample,
    /// Megabytes a second, by reader.
    rates: Vec<f64>,
    /// Bytes of the whole run, those before the stretch that counts included.
    bytes_ever: u64,
}

/// All runs of one server.
struct Series {
    peer: Peer,
    /// One reader and many, a pair a run.
    pairs: Vec<[Taken; 2]>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let lab = Lab::pair("bench-serve", args.mtu).ok_or(BenchError::NoLab)?;
    let from = (0..ADDRESSES).map(|i| lab.node(1).add_address(100 + i)).collect();
    let scene = Scene { lab, from };
    let mut series: Vec<Series> = args
        .peers
        .iter()
        .map(|peer| Series {
            peer: *peer,
            pairs: Vec::new(),
        })
        .collect();
    if args.runs > 0 {
        let file = scene.file("file.bin", args.size)?;
        for run in 1..=args.runs {
            for series in &mut series {
                say(&format!("{}, run {run} of {}", series.peer.server_name(), args.runs));
                let pair = take_turns(args, &scene, &file, series.peer)?;
                for taken in &pair {
                    report.row(&taken.to_json(series.peer, run));
                }
                series.pairs.push(pair);
            }
        }
        println!(
            "\n{} s of one file over veth {}, median of {} (min-max)",
            args.seconds, args.mtu, args.runs
        );
        print!("{}", show(&series));
    }
    if args.idle > 0 {
        println!("\n{} connections that ask nothing, after {SILENCE_S} s", args.idle);
        print!("{}", idle(args, &scene, &mut report)?);
    }
    Ok(())
}

/// One reader, then many, of one fresh server.
fn take_turns(args: &Args, scene: &Scene, file: &Path, peer: Peer) -> Result<[Taken; 2]> {
    let server = peer.serve(scene.lab.node(0), file, args.mtu, args.readers)?;
    let take = |count: usize, window: u64| {
        let readers = Readers {
            count,
            seconds: args.seconds,
            window,
            idle: false,
        };
        let (said, sample) = scene.read(&server, file, &readers)?;
        Ok::<_, BenchError>(Taken::new(&said, sample))
    };
    Ok([take(1, args.window)?, take(args.readers, args.window_among_many)?])
}

/// What connections cost that ask nothing, of each server.
fn idle(args: &Args, scene: &Scene, report: &mut Report) -> Result<String> {
    let file = scene.file("small.bin", IDLE_FILE_BYTES)?;
    let mut rows = vec![
        ["server", "connections", "RSS before MiB", "RSS with MiB", "KiB each"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for peer in &args.peers {
        say(&format!("{}, {} idle connections", peer.server_name(), args.idle));
        let server = peer.serve(scene.lab.node(0), &file, args.mtu, args.idle)?;
        let readers = Readers {
            count: args.idle,
            seconds: SILENCE_S,
            window: 1,
            idle: true,
        };
        let (said, sample) = scene.read(&server, &file, &readers)?;
        let number = |key: &str| said[key].as_u64().unwrap_or(0);
        let (open, answered) = (number("open_at_first").min(number("open_at_last")), number("answered_bytes"));
        if open < args.idle as u64 || answered == 0 {
            return Err(BenchError::WrongResult {
                peer: peer.server_name(),
                what: format!(
                    "{open} of {} connections stayed up, and one was answered {answered} bytes",
                    args.idle
                ),
            });
        }
        let (before, with) = (number("rss_before"), number("rss_after"));
        let each = with.saturating_sub(before) as f64 / args.idle as f64;
        report.row(&json!({
            "row": "serve-idle", "peer": peer.server_name(), "connections": args.idle, "rss_before": before, "rss_with": with,
            "bytes_each": each, "server_peak_rss": sample.server_peak, "answered_bytes": answered, "load": sample.load,
        }));
        rows.push(vec![
            peer.server_name().to_owned(),
            args.idle.to_string(),
            format!("{:.1}", mib(before)),
            format!("{:.1}", mib(with)),
            format!("{:.1}", each / 1024.0),
        ]);
    }
    Ok(table(&rows))
}

impl Scene {
    /// An incompressible file on the server's machine, beside a certificate.
    fn file(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let dir = self.lab.dir(&format!("dir-of-{name}"));
        make_certificate(&dir)?;
        let file = dir.join(name);
        tree::big_file(&file, bytes, 5);
        Ok(file)
    }

    /// Runs readers to their end; what they said, and what it took.
    fn read(&self, server: &Server, file: &Path, readers: &Readers) -> Result<(Value, Sample)> {
        let client = self.lab.node(1);
        let command = server.readers(client, file, &self.from, readers)?;
        let (sample, outcome) = meter::measure(client, command, &server.pids());
        Ok((outcome.json(), sample))
    }
}

impl Taken {
    fn new(said: &Value, sample: Sample) -> Self {
        let seconds = said["seconds"].as_f64().unwrap_or(f64::NAN);
        let each = said["bytes_each"].as_array().map_or(&[][..], Vec::as_slice);
        let rates = each.iter().filter_map(Value::as_f64).map(|bytes| bytes / 1e6 / seconds);
        Self {
            sample,
            rates: rates.collect(),
            bytes_ever: said["bytes_ever"].as_u64().unwrap_or(0),
        }
    }

    fn mb_per_s(&self) -> f64 {
        self.rates.iter().sum()
    }

    fn slowest(&self) -> f64 {
        self.rates.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn fastest(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// Processor seconds of the server per 10^9 bytes it was asked for.
    fn server_s_per_gb(&self) -> f64 {
        self.sample.server.total_s() / (self.bytes_ever as f64 / 1e9)
    }

    fn client_s_per_gb(&self) -> f64 {
        self.sample.client.total_s() / (self.bytes_ever as f64 / 1e9)
    }

    fn to_json(&self, peer: Peer, run: usize) -> Value {
        json!({
            "row": "serve", "peer": peer.server_name(), "run": run, "readers": self.rates.len(), "mb_per_s": self.mb_per_s(),
            "jain": jain(&self.rates), "slowest_mb_per_s": self.slowest(), "fastest_mb_per_s": self.fastest(),
            "server_cpu_s_per_gb": self.server_s_per_gb(), "client_cpu_s_per_gb": self.client_s_per_gb(),
            "server_peak_rss": self.sample.server_peak, "steal_percent": self.sample.steal_percent, "load": self.sample.load,
        })
    }
}

fn show(series: &[Series]) -> String {
    let head = [
        "server",
        "readers",
        "MB/s",
        "of one's",
        "Jain",
        "slowest MB/s",
        "fastest MB/s",
        "CPU tx s/GB",
        "CPU rx s/GB",
        "RSS tx MiB",
        "steal %",
        "load",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for Series { peer, pairs } in series {
        for side in [0, 1] {
            let each = |f: fn(&Taken) -> f64| pairs.iter().map(|pair| f(&pair[side])).collect::<Vec<f64>>();
            let readers = pairs.first().map_or(0, |pair| pair[side].rates.len());
            rows.push(vec![
                peer.server_name().to_owned(),
                readers.to_string(),
                cell(each(Taken::mb_per_s), 0),
                cell(pairs.iter().map(|pair| pair[side].mb_per_s() / pair[0].mb_per_s()), 2),
                cell(each(|t| jain(&t.rates)), 3),
                cell(each(Taken::slowest), 2),
                cell(each(Taken::fastest), 2),
                cell(each(Taken::server_s_per_gb), 2),
                cell(each(Taken::client_s_per_gb), 2),
                cell(each(|t| mib(t.sample.server_peak)), 0),
                cell(each(|t| t.sample.steal_percent), 0),
                cell(each(|t| t.sample.load), 1),
            ]);
        }
    }
    table(&rows)
}
