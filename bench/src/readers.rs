//! Many readers of one server in one process, at the other end of the cable: what each receives in the same stretch of time, or what the
//! server pays for them while they ask nothing. Started by `serve`; prints one JSON object and judges nothing.

mod ares;
mod https;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ares_tests::reader::Over;
use ares_tests::{procfs, wait};
use serde_json::{Value, json};

use crate::error::{BenchError, Result};

/// Longest until every reader has received something.
const START_MAX: Duration = Duration::from_secs(60);

/// `readers`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many.
    #[arg(long)]
    readers: usize,
    /// Length of the stretch that counts, or of the silence, seconds.
    #[arg(long)]
    seconds: u64,
    /// Let them ask nothing, and measure the memory of these processes before them and with them.
    #[arg(long, value_delimiter = ',')]
    idle_on: Vec<u32>,
    #[command(subcommand)]
    server: Server,
}

/// Whom they read from.
#[derive(Debug, clap::Subcommand)]
enum Server {
    /// `ares serve`: chunks, each verified and discarded.
    Ares(ares::Source),
    /// A web server: one file, discarded.
    Https(https::Source),
}

/// What each reader has received so far, bytes, and why the first of those that failed did.
struct Tally {
    bytes: Vec<AtomicU64>,
    failed: Mutex<Option<String>>,
}

/// Connections that are up and ask nothing.
trait Idle {
    /// How many of them are still up.
    fn open(&self) -> usize;

    /// Asks for something on one of them, and returns how many bytes came.
    fn ask(&mut self) -> std::result::Result<u64, Over>;
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let said = match (&args.server, args.idle_on.is_empty()) {
        (Server::Ares(source), true) => read(args, |tally| ares::start(source, tally)),
        (Server::Https(source), true) => read(args, |tally| https::start(source, tally)),
        (Server::Ares(source), false) => idle(args, || ares::Silent::gather(source, args.readers)),
        (Server::Https(source), false) => idle(args, || https::Silent::gather(source, args.readers)),
    };
    let said = said.map_err(|error| BenchError::WrongResult {
        peer: "readers",
        what: error.to_string(),
    })?;
    println!("{said}");
    Ok(())
}

/// Starts the readers and counts what each receives in a stretch that begins when all of them have received something. What `start`
/// returns lives until then.
fn read<T>(args: &Args, start: impl FnOnce(&Arc<Tally>) -> std::result::Result<T, Over>) -> std::result::Result<Value, Over> {
    let tally = Arc::new(Tally {
        bytes: (0..args.readers).map(|_| AtomicU64::new(0)).collect(),
        failed: Mutex::new(None),
    });
    let _running = start(&tally)?;
    let all_read = || tally.now().iter().all(|bytes| *bytes > 0) || tally.failure().is_some();
    wait::within(START_MAX, || all_read().then_some(())).ok_or("some readers received nothing at all")?;
    let (before, from) = (tally.now(), Instant::now());
    // The length of the measurement: nothing is awaited.
    thread::sleep(Duration::from_secs(args.seconds));
    let (after, took) = (tally.now(), from.elapsed());
    if let Some(why) = tally.failure() {
        return Err(why.into());
    }
    let each: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    Ok(json!({ "seconds": took.as_secs_f64(), "bytes_each": each, "bytes_ever": after.iter().sum::<u64>() }))
}

/// Opens the connections, lets them be silent, and looks at the server's memory before and after.
fn idle<T: Idle>(args: &Args, gather: impl FnOnce() -> std::result::Result<T, Over>) -> std::result::Result<Value, Over> {
    let memory = || args.idle_on.iter().filter_map(|pid| procfs::rss_bytes(*pid)).sum::<u64>();
    let before = memory();
    let mut silent = gather()?;
    let at_once = silent.open();
    // The length of the silence: long enough for what keeps a silent connection alive.
    thread::sleep(Duration::from_secs(args.seconds));
    let (after, open) = (memory(), silent.open());
    let answered = silent.ask()?;
    Ok(json!({
        "rss_before": before, "rss_after": after, "open_at_first": at_once, "open_at_last": open, "answered_bytes": answered,
    }))
}

impl Tally {
    /// A reader has received more.
    fn add(&self, reader: usize, bytes: u64) {
        self.bytes[reader].fetch_add(bytes, Ordering::Relaxed);
    }

    /// A reader has ended: they read for ever, so it failed.
    fn fail(&self, reader: usize, why: &Over) {
        let mut failed = self.failed.lock().expect("nobody panics with it");
        failed.get_or_insert_with(|| format!("reader {reader}: {why}"));
    }

    fn now(&self) -> Vec<u64> {
        self.bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect()
    }

    fn failure(&self) -> Option<String> {
        self.failed.lock().expect("nobody panics with it").clone()
    }

    fn readers(&self) -> usize {
        self.bytes.len()
    }
}
