//! One file over one link, by every peer in turn: a run of each, then the next run of each, so that what else the machine does meets all.

use std::path::{Path, PathBuf};
use std::process::Command;

use ares_tests::scratch::{mount_tmpfs, quiet};
use ares_tests::{Lab, tree};
use serde_json::json;

use crate::error::{BenchError, Result, io};
use crate::meter::{self, Calls, Sample};
use crate::peers::{self, Peer, Server};
use crate::report::{Report, parse_size, say};
use crate::sink::hash_of;
use crate::stats::{cell, mib, table};

/// Bytes of the run in which system calls are counted: counting costs, and the number per MB does not depend on the size.
const COUNTED_BYTES: u64 = 512 << 20;

/// Room on the destination beside the file: journals, and a store that does not share blocks with the result.
const ROOM_BYTES: u64 = 1 << 30;

const FILE: &str = "file.bin";

/// `transfer`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of the file.
    #[arg(long, default_value = "4GiB", value_parser = parse_size)]
    size: u64,
    /// Runs of each peer.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// MTUs of the cable between two namespaces, bytes; `0` for none.
    #[arg(long, value_delimiter = ',', default_values_t = [1500, 9000])]
    mtu: Vec<u16>,
    /// Also over the loopback of this host.
    #[arg(long)]
    loopback: bool,
    /// Where the file lands.
    #[arg(long, value_delimiter = ',', default_values = ["tmpfs", "disk"])]
    dest: Vec<Dest>,
    /// Which programs.
    #[arg(long, value_delimiter = ',', default_values = ["ares", "nginx", "quinn", "dd"])]
    peers: Vec<Peer>,
    /// What the file is made of.
    #[arg(long, default_value = "random")]
    source: Source,
    /// Do not count system calls (a run more of each peer).
    #[arg(long)]
    no_syscalls: bool,
    /// Append one JSON line per run to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dest {
    /// A tmpfs made for it.
    Tmpfs,
    /// The filesystem of the temporary directory.
    Disk,
    /// Nowhere: what arrives is verified and dropped (by curl: written to `/dev/null`).
    Discard,
}

/// How the file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// Random bytes, on the filesystem of the temporary directory.
    Random,
    /// Random pages in a hole, on a tmpfs: for files larger than memory. No two chunks are alike, so all of them cross the wire.
    Sparse,
}

impl Source {
    /// Makes it.
    fn make(self, path: &Path, bytes: u64) -> Result<()> {
        match self {
            Self::Random => tree::big_file(path, bytes, 1),
            Self::Sparse => {
                let dir = path.parent().unwrap_or(Path::new("/"));
                if !mount_tmpfs(dir, &format!("size={}", bytes / 16 + ROOM_BYTES)) {
                    return Err(BenchError::NoLab);
                }
                tree::dotted_file(path, bytes, 1);
            }
        }
        Ok(())
    }
}

/// A link to measure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Veth { mtu: u16 },
    Loopback,
}

impl Link {
    fn name(self) -> String {
        match self {
            Self::Veth { mtu } => format!("veth {mtu}"),
            Self::Loopback => "loopback".to_owned(),
        }
    }

    fn mtu(self) -> u16 {
        match self {
            Self::Veth { mtu } => mtu,
            // Linux gives it 65,536, one more than a packet can hold.
            Self::Loopback => u16::MAX,
        }
    }
}

/// All runs of one peer on one link to one destination.
struct Series {
    peer: Peer,
    samples: Vec<Sample>,
    calls: Option<Calls>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let veths = args.mtu.iter().filter(|m| **m > 0).map(|mtu| Link::Veth { mtu: *mtu });
    let links: Vec<Link> = veths.chain(args.loopback.then_some(Link::Loopback)).collect();
    for link in links {
        for dest in &args.dest {
            let series = on_link(args, link, *dest, &mut report)?;
            println!(
                "\n{} bytes over {} to {dest:?}, median of {} (min-max)",
                args.size,
                link.name(),
                args.runs
            );
            print!("{}", show(&series, args.size));
        }
    }
    Ok(())
}

fn on_link(args: &Args, link: Link, dest: Dest, report: &mut Report) -> Result<Vec<Series>> {
    let lab = match link {
        Link::Veth { mtu } => Lab::pair("bench", mtu).ok_or(BenchError::NoLab)?,
        Link::Loopback => Lab::on_loopback("bench", 2),
    };
    let source = lab.dir("source").join(FILE);
    let counted = lab.dir("counted").join(FILE);
    args.source.make(&source, args.size)?;
    Source::Random.make(&counted, args.size.min(COUNTED_BYTES))?;
    let hash = match dest {
        Dest::Discard => None,
        Dest::Tmpfs | Dest::Disk => Some(hash_of(&source)?),
    };
    let sink = lab.node(1).dir().join("sink");
    std::fs::create_dir(&sink).map_err(io("cannot make", &sink))?;
    if dest == Dest::Tmpfs {
        let size = format!("size={}", args.size + args.size / 4 + ROOM_BYTES);
        if !mount_tmpfs(&sink, &size) {
            return Err(BenchError::NoLab);
        }
    }
    // Without a destination there is nothing that `dd` could tell.
    let is_fit = |peer: &&Peer| dest != Dest::Discard || **peer != Peer::Dd;
    let mut series: Vec<Series> = args
        .peers
        .iter()
        .filter(is_fit)
        .map(|peer| Series {
            peer: *peer,
            samples: Vec::new(),
            calls: None,
        })
        .collect();
    for run in 1..=args.runs {
        for series in &mut series {
            say(&format!(
                "{} over {} to {dest:?}, run {run} of {}",
                series.peer.name(),
                link.name(),
                args.runs
            ));
            let sample = with_server(&lab, series.peer, &source, link, |server| {
                let (state, out) = clean(&sink)?;
                let command = server.fetch(lab.node(1), FILE, &state, hash.map(|_| &*out));
                let (sample, _) = meter::measure(lab.node(1), command, &server.pids());
                match hash {
                    Some(hash) => verify(series.peer, &out, hash)?,
                    None => verify_sent(series.peer, &sample, args.size)?,
                }
                clean(&sink)?;
                Ok(sample)
            })?;
            let head = json!({ "row": "transfer", "link": link.name(), "dest": format!("{dest:?}"), "peer": series.peer.name(), "run": run });
            report.row(&sample.to_json(head, args.size));
            series.samples.push(sample);
        }
    }
    for series in series.iter_mut().filter(|_| !args.no_syscalls) {
        series.calls = with_server(&lab, series.peer, &counted, link, |server| {
            let (state, out) = clean(&sink)?;
            let command = server.fetch(lab.node(1), FILE, &state, hash.map(|_| &*out));
            let calls = meter::count_calls(lab.node(1), &command, &server.pids());
            clean(&sink)?;
            Ok(calls)
        })?;
        if let Some(calls) = series.calls {
            let mb = args.size.min(COUNTED_BYTES) as f64 / 1e6;
            report.row(&json!({
                "row": "syscalls", "link": link.name(), "dest": format!("{dest:?}"), "peer": series.peer.name(),
                "client_per_mb": calls.client as f64 / mb, "server_per_mb": calls.server as f64 / mb,
            }));
        }
    }
    Ok(series)
}

/// A fresh server for each run: none profits from another's, and its memory is that of one transfer.
fn with_server<T>(lab: &Lab, peer: Peer, file: &Path, link: Link, job: impl FnOnce(&Server) -> Result<T>) -> Result<T> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    if !dir.join("cert.pem").exists() {
        peers::make_certificate(dir)?;
    }
    let server = peer.serve(lab.node(0), file, link.mtu(), 1)?;
    job(&server)
}

/// Empties the destination and lets the disk come to rest; the places of the reader's state and of the file.
fn clean(sink: &Path) -> Result<(PathBuf, PathBuf)> {
    let (state, out) = (sink.join("state"), sink.join(FILE));
    if state.exists() {
        std::fs::remove_dir_all(&state).map_err(io("cannot remove", &state))?;
    }
    if out.exists() {
        std::fs::remove_file(&out).map_err(io("cannot remove", &out))?;
    }
    quiet(Command::new("sync").arg("--file-system").arg(sink));
    Ok((state, out))
}

fn verify(peer: Peer, out: &Path, hash: blake3::Hash) -> Result<()> {
    if hash_of(out)? == hash {
        return Ok(());
    }
    Err(BenchError::WrongResult {
        peer: peer.name(),
        what: "the file that arrived is another one".to_owned(),
    })
}

/// Nothing is left to hash, so the interface is asked whether all of it was sent.
fn verify_sent(peer: Peer, sample: &Sample, bytes: u64) -> Result<()> {
    if sample.sent_bytes >= bytes {
        return Ok(());
    }
    Err(BenchError::WrongResult {
        peer: peer.name(),
        what: format!("only {} bytes of {bytes} crossed the wire", sample.sent_bytes),
    })
}

fn show(series: &[Series], bytes: u64) -> String {
    let head = [
        "peer",
        "MB/s",
        "CPU tx s/GB",
        "CPU rx s/GB",
        "machine s/GB",
        "RSS tx MiB",
        "RSS rx MiB",
        "sent GB",
        "calls/MB tx",
        "calls/MB rx",
        "steal %",
        "load",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let gb = bytes as f64 / 1e9;
    let counted_mb = bytes.min(COUNTED_BYTES) as f64 / 1e6;
    for series in series {
        let each = |f: fn(&Sample) -> f64| series.samples.iter().map(f).collect::<Vec<f64>>();
        let calls = |f: fn(Calls) -> u64| {
            series
                .calls
                .map_or("-".to_owned(), |c| format!("{:.2}", f(c) as f64 / counted_mb))
        };
        rows.push(vec![
            series.peer.name().to_owned(),
            cell(series.samples.iter().map(|s| s.mb_per_s(bytes)), 0),
            cell(each(|s| s.server.total_s()).into_iter().map(|s| s / gb), 2),
            cell(each(|s| s.client.total_s()).into_iter().map(|s| s / gb), 2),
            cell(each(|s| s.machine_s).into_iter().map(|s| s / gb), 2),
            cell(each(|s| mib(s.server_peak)), 0),
            cell(each(|s| mib(s.client_peak)), 0),
            cell(each(|s| s.sent_bytes as f64 / 1e9), 2),
            calls(|c| c.server),
            calls(|c| c.client),
            cell(each(|s| s.steal_percent), 0),
            cell(each(|s| s.load), 1),
        ]);
    }
    let mut text = table(&rows);
    for series in series {
        let each = |memory: [u64; 4]| memory.map(|bytes| (bytes >> 20).to_string()).join(" ");
        let Some(last) = series.samples.last() else { continue };
        text.push_str(&format!(
            "{} RSS by quarters of the last run, MiB: tx {}, rx {}\n",
            series.peer.name(),
            each(last.server_memory),
            each(last.client_memory)
        ));
    }
    let median = |peer: Peer| {
        let series = series.iter().find(|s| s.peer == peer)?;
        crate::stats::Spread::of(series.samples.iter().map(|s| s.mb_per_s(bytes))).map(|s| s.median)
    };
    for other in [Peer::Nginx, Peer::Quinn, Peer::Dd] {
        if let (Some(ours), Some(theirs)) = (median(Peer::Ares), median(other)) {
            text.push_str(&format!("ares / {} = {:.2}\n", other.name(), ours / theirs));
        }
    }
    text
}
