//! A mount over a long link with nothing held: what a read of 4 KiB at a random place waits, and a program that starts by reading a few places
//! of many files, without an access profile and with the one that was recorded of it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ares_tests::mount::Mounted;
use ares_tests::paths::{self, Direction, Servers, TwoPaths};
use ares_tests::relay::Shape;
use ares_tests::rng::Rng;
use ares_tests::{Daemon, tree};
use rustix::process::Signal;
use serde_json::json;

use crate::error::{BenchError, Result, io};
use crate::report::{Report, parse_size, say};
use crate::stats::{Spread, cell, table};

/// `far`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of the file that is read at random places.
    #[arg(long, default_value = "256MiB", value_parser = parse_size)]
    size: u64,
    /// Random reads of a run.
    #[arg(long, default_value_t = 100)]
    reads: usize,
    /// Runs of each.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Round trip, ms.
    #[arg(long, default_value_t = 20)]
    rtt_ms: u64,
    /// Megabits a second.
    #[arg(long, default_value_t = 200)]
    mbit: u32,
    /// Append one JSON line per run to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

const PAGE: usize = 4096;
/// What the program reads that starts: some of the files of some directories, and places of a large file.
const DIRS: usize = 30;
const FILES: usize = 20;
const PLACES: u64 = 60;

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let shape = Shape::new(args.mbit, Duration::from_millis(args.rtt_ms) / 2);
    let far = TwoPaths::new("bench-far", Servers::One, [shape; 2]).ok_or(BenchError::NoLab)?;
    // One link is what is measured.
    far.cut(paths::Path::B, Direction::Both);
    let (publisher, reader) = (far.server(paths::Path::A), far.reader());
    let release = publisher.dir().join("release");
    for dir in 0..DIRS {
        let dir = release.join(format!("lib/d{dir:02}"));
        fs::create_dir_all(&dir).map_err(io("cannot make", &dir))?;
        for n in 0..FILES {
            tree::big_file(&dir.join(format!("f{n:02}")), 20_000, n as u64);
        }
    }
    tree::big_file(&release.join("big"), args.size, 1);
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    let dir = reader.dir().join("mounted");
    fs::create_dir(&dir).map_err(io("cannot make", &dir))?;
    let profile = reader.dir().join("start.profile");
    let with = format!("--profile={}", profile.display());
    let (mut waits, mut chunk_bytes, mut plain, mut warmed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 1..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        let fresh = |what: &str| reader.with_state(reader.dir().join(format!("state-{what}-{run}")));
        let node = fresh("random");
        let mounted = Mounted::new(&node, &link, &dir);
        let of_run = random(&dir.join("big"), args, run as u64)?;
        let status = node.run(node.ares(["status", "--json"])).expect_ok().json();
        let number = |key: &str| status["store"][key].as_f64().unwrap_or(f64::NAN);
        chunk_bytes.push(number("bytes") / number("chunks"));
        mounted.end_by(Signal::TERM).expect_ok();
        report.row(&json!({"row": "far", "run": run, "what": "random", "ms": of_run}));
        waits.extend(of_run);

        let node = fresh("plain");
        let mounted = Mounted::with(&node, &link, &dir, &["--no-profile"]);
        let took = start(&dir, args)?.as_secs_f64();
        let mut recorded = node.ares(["mount", "profile"]);
        recorded.arg(&dir);
        let text = node.run(recorded).expect_ok().stdout;
        fs::write(&profile, text).map_err(io("cannot write", &profile))?;
        mounted.end_by(Signal::TERM).expect_ok();
        plain.push(took);

        let node = fresh("warmed");
        let mounted = Mounted::with(&node, &link, &dir, &[&with]);
        let took = start(&dir, args)?.as_secs_f64();
        mounted.end_by(Signal::TERM).expect_ok();
        warmed.push(took);
        report.row(&json!({"row": "far", "run": run, "what": "start", "plain_s": plain.last(), "warmed_s": warmed.last()}));
    }
    waits.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        waits
            .get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    };
    let chunk = Spread::of(chunk_bytes.iter().copied()).map_or(f64::NAN, |spread| spread.median);
    let chunk_ms = chunk * 8.0 / (f64::from(args.mbit) * 1e3);
    println!(
        "\nRTT {} ms, {} Mbit/s, {} runs; chunks of {:.0} KiB take {chunk_ms:.1} ms",
        args.rtt_ms,
        args.mbit,
        args.runs,
        chunk / 1024.0
    );
    let rows = [
        [
            "random 4 KiB, cold: p50 ms",
            "p99 ms",
            "RTT and 2 chunk times, ms",
            "start s",
            "start with profile s",
        ]
        .map(str::to_owned)
        .to_vec(),
        vec![
            format!("{:.1}", at(50)),
            format!("{:.1}", at(99)),
            format!("{:.1}", args.rtt_ms as f64 + 2.0 * chunk_ms),
            cell(plain, 2),
            cell(warmed, 2),
        ],
    ];
    print!("{}", table(&rows));
    Ok(())
}

/// How long each read took, ms.
fn random(path: &Path, args: &Args, seed: u64) -> Result<Vec<f64>> {
    let file = File::open(path).map_err(io("cannot open", path))?;
    let mut rng = Rng::new(seed);
    let mut page = [0; PAGE];
    let mut read = || {
        let at = rng.below(args.size / PAGE as u64) * PAGE as u64;
        let begun = Instant::now();
        file.read_exact_at(&mut page, at).map_err(io("cannot read", path))?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    // The first is of the list of chunks, too.
    read()?;
    (0..args.reads).map(|_| read()).collect()
}

/// The same reads each time, one after the other.
fn start(dir: &Path, args: &Args) -> Result<Duration> {
    let begun = Instant::now();
    for n in 0..DIRS {
        for file in [n % FILES, (n * 7 + 3) % FILES] {
            let path = dir.join(format!("lib/d{n:02}/f{file:02}"));
            fs::read(&path).map_err(io("cannot read", &path))?;
        }
    }
    let path = dir.join("big");
    let file = File::open(&path).map_err(io("cannot open", &path))?;
    for n in 0..PLACES {
        let at = (n * 7_919 % PLACES) * (args.size / PLACES);
        file.read_exact_at(&mut [0; PAGE], at).map_err(io("cannot read", &path))?;
    }
    Ok(begun.elapsed())
}
