//! Mounts read for minutes while what they hang on is killed, stopped and cut again and again: no byte may be wrong, no read may outlast its
//! deadline by much, and nothing may pile up. Fails where one of that is not so.
//!
//! ```text
//! publisher ─┬─ network ─┬─ a daemon with a mount, killed now and then: the next one makes the mount again
//! mirror ────┘           └─ a mount of names that lives through all of it: `current` leads to a new release every round
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ares_tests::mount::{answers, unmount};
use ares_tests::rng::Rng;
use ares_tests::run::Running;
use ares_tests::{Daemon, Lab, Node, compare, procfs, tree, wait};
use rustix::process::Signal;
use serde_json::json;

use crate::error::{BenchError, Result, io};
use crate::report::{Report, say};

/// `soak`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long, in minutes.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// What happens when is drawn from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Append one JSON line per round to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How long a release is current.
const ROUND: Duration = Duration::from_secs(20);
/// Between two blows, and how long a cut or a stop lasts.
const PAUSE: Duration = Duration::from_secs(2);
/// Seconds that a read may wait, and what it may take at the worst: a file is read in several requests, on a busy machine.
const PATIENCE_S: u32 = 5;
const READ_MAX: Duration = Duration::from_secs(30);
const BIG_BYTES: u64 = 24 << 20;
const READERS: u64 = 3;
/// By then the mount of names has as many releases as keep bytes in memory at a time, and more.
const STEADY_ROUND: u64 = 6;
/// What the process that lives through all of it may have more of at the end than after the first rounds.
const FDS_MORE_MAX: usize = 32;
/// And for each round: the store keeps the file of a large one open, of which a release has two.
const FDS_A_ROUND: usize = 2;
const THREADS_MORE_MAX: usize = 8;
const RSS_MORE_MAX: u64 = 128 << 20;
const LIMIT: Duration = Duration::from_secs(60);

/// What all readers saw.
#[derive(Default)]
struct Seen {
    reads: u64,
    bytes: u64,
    wrong: Vec<String>,
    errors: BTreeMap<i32, u64>,
    longest: Duration,
}

/// What a process has taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    fds: usize,
    threads: usize,
    rss: u64,
}

impl Taken {
    fn by(pid: u32) -> Self {
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        Self {
            fds: count("fd"),
            threads: count("task"),
            rss: procfs::rss_bytes(pid).unwrap_or(0),
        }
    }
}

/// The machines and what runs on them.
struct Scene<'a> {
    lab: &'a Lab,
    reader: Node,
    publisher: Option<Daemon>,
    mirror: Option<Daemon>,
    daemon: Option<Daemon>,
    seeds: Vec<String>,
    plain: PathBuf,
    names: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let lab = Lab::new("bench-soak", 3).ok_or(BenchError::NoLab)?;
    let mut scene = Scene::new(&lab)?;
    let mut root = scene
        .reader
        .with_state(lab.node(2).dir().join("state-names"))
        .ares(["mount", "--root"]);
    root.arg(&scene.names).args(&scene.seeds);
    let lasting = scene.reader.start(root);
    wait::until(LIMIT, "the mount of names", || answers(&scene.names).then_some(()));
    let (stop, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    let mut first = None;
    let begun = Instant::now();
    thread::scope(|scope| {
        let ends = Ends(&stop);
        for n in 0..READERS {
            for dir in [scene.plain.clone(), scene.names.join("current")] {
                let (stop, seen, sources) = (&stop, &seen, lab.node(0).dir().to_owned());
                scope.spawn(move || read_on(&dir, &sources, n + args.seed, stop, seen));
            }
        }
        let mut rng = Rng::new(args.seed);
        for round in 1_u64.. {
            let link = scene.publish(round)?;
            scene.flip(&link);
            let end = Instant::now() + ROUND;
            let mut blows = Vec::new();
            while Instant::now() < end {
                blows.push(scene.strike(&mut rng));
                // The pause is the thing made here: readers read on.
                thread::sleep(PAUSE);
            }
            let taken = Taken::by(lasting.pid());
            if round == STEADY_ROUND {
                first = Some(taken);
            }
            let now = seen.lock().unwrap_or_else(PoisonError::into_inner);
            say(&format!(
                "round {round}: {} reads, {} wrong, {taken:?}, {}",
                now.reads,
                now.wrong.len(),
                blows.join(", ")
            ));
            report.row(
                &json!({"row": "soak", "round": round, "reads": now.reads, "wrong": now.wrong.len(), "fds": taken.fds,
                "threads": taken.threads, "rss": taken.rss}),
            );
            drop(now);
            if begun.elapsed() >= Duration::from_secs_f64(args.minutes * 60.0) {
                break;
            }
        }
        drop(ends);
        Ok::<_, BenchError>(())
    })?;
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    finish(&scene, &lasting, first, &seen, begun.elapsed())?;
    unmount(&scene.reader.with_state(lab.node(2).dir().join("state-names")), &scene.names).expect_ok();
    lasting.wait(LIMIT).expect_ok();
    Ok(())
}

/// Ends the readers, also where the rest fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Says what was seen, and whether that may be.
fn finish(scene: &Scene<'_>, lasting: &Running, first: Option<Taken>, seen: &Seen, took: Duration) -> Result<()> {
    let last = Taken::by(lasting.pid());
    let first = first.unwrap_or(last);
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(io("cannot read", Path::new("/proc/self/mountinfo")))?;
    let mounts = table
        .lines()
        .filter(|line| line.contains("fuse.ares") && line.contains(&*scene.lab.path().to_string_lossy()))
        .count();
    println!(
        "{:.1} min: {} reads of {} bytes in all, {} wrong",
        took.as_secs_f64() / 60.0,
        seen.reads,
        seen.bytes,
        seen.wrong.len()
    );
    println!("failed reads by errno: {:?}; longest read {:?}", seen.errors, seen.longest);
    println!("the mount that lived: {first:?} after {STEADY_ROUND} rounds, {last:?} at the end; {mounts} mounts");
    let fds_max = first.fds + FDS_MORE_MAX + FDS_A_ROUND * (took.as_secs() / ROUND.as_secs()) as usize;
    let grown = last.fds > fds_max || last.threads > first.threads + THREADS_MORE_MAX || last.rss > first.rss + RSS_MORE_MAX;
    let faults = [
        (!seen.wrong.is_empty()).then(|| format!("wrong bytes: {:?}", seen.wrong)),
        grown.then(|| format!("{first:?} has become {last:?}")),
        (mounts != 2).then(|| format!("{mounts} mounts where two are")),
        (seen.longest > READ_MAX).then(|| format!("a read took {:?}", seen.longest)),
        (seen.reads == 0).then(|| "nothing was read".to_owned()),
    ];
    match faults.into_iter().flatten().next() {
        Some(what) => Err(BenchError::WrongResult { peer: "ares", what }),
        None => Ok(()),
    }
}

fn source(sources: &Path, round: &str) -> PathBuf {
    sources.join(format!("release-{round}"))
}

impl<'a> Scene<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        let reader = lab.node(2).with_patience(PATIENCE_S);
        let [publisher, mirror] = [0, 1].map(|n| Daemon::serve(lab.node(n)));
        let seed = |n: usize, daemon: &Daemon| {
            let peer = daemon.status()["peer"].as_str().unwrap_or_default().to_owned();
            format!("--seed={peer}@{}", lab.node(n).listen())
        };
        let seeds = vec![seed(0, &publisher), seed(1, &mirror)];
        let [plain, names] = ["plain", "names"].map(|name| lab.node(2).dir().join(name));
        for dir in [&plain, &names] {
            fs::create_dir(dir).map_err(io("cannot make", dir))?;
        }
        let daemon = Some(Daemon::serve_with(&reader, &seeds));
        Ok(Self {
            lab,
            reader,
            publisher: Some(publisher),
            mirror: Some(mirror),
            daemon,
            seeds,
            plain,
            names,
        })
    }

    /// Publishes the release of a round, and has the mirror fetch half of it.
    fn publish(&mut self, round: u64) -> Result<String> {
        let release = source(self.lab.node(0).dir(), &round.to_string());
        tree::source(&release, 300, round);
        for n in 0..2 {
            tree::big_file(&release.join(format!("big-{n}")), BIG_BYTES, 2 * round + n);
        }
        fs::write(release.join("round"), round.to_string()).map_err(io("cannot write in", &release))?;
        let link = ares_tests::daemon::publish(self.lab.node(0), &release).link;
        let mirror = self.lab.node(1);
        mirror.run(mirror.ares(["warm", &link, "big-0"])).expect_ok();
        Ok(link)
    }

    /// Makes a release the current one of both mounts.
    fn flip(&self, link: &str) {
        let lasting = self.reader.with_state(self.lab.node(2).dir().join("state-names"));
        let mut add = lasting.ares(["mount", "add", "--replace", link]);
        add.arg(self.names.join("current"));
        lasting.run(add).expect_ok();
        // In use, most likely. It may be dead as well.
        let mut away = self.reader.ares(["umount", "-z"]);
        away.arg(&self.plain);
        self.reader.run(away);
        let mut mount = self.reader.ares(["mount", "--detach", link]);
        mount.arg(&self.plain);
        self.reader.run(mount).expect_ok();
    }

    /// One blow, healed before it returns.
    fn strike(&mut self, rng: &mut Rng) -> &'static str {
        let lab = self.lab;
        let cut = |n: usize| {
            lab.node(n).cut("eth0");
            thread::sleep(PAUSE);
            lab.node(n).mend("eth0");
        };
        let stop = |daemon: &Option<Daemon>| {
            if let Some(daemon) = daemon {
                daemon.signal(Signal::STOP);
                thread::sleep(PAUSE);
                daemon.signal(Signal::CONT);
            }
        };
        let restart = |daemon: &mut Option<Daemon>, node: &Node, seeds: &[String]| {
            drop(daemon.take().map(Daemon::kill));
            *daemon = Some(Daemon::serve_with(node, seeds));
        };
        match rng.below(8) {
            0 => (cut(0), "publisher cut").1,
            1 => (cut(1), "mirror cut").1,
            2 => (cut(2), "reader cut").1,
            3 => (stop(&self.publisher), "publisher stopped").1,
            4 => (stop(&self.mirror), "mirror stopped").1,
            5 => (restart(&mut self.publisher, lab.node(0), &[]), "publisher killed").1,
            6 => (restart(&mut self.mirror, lab.node(1), &[]), "mirror killed").1,
            _ => {
                restart(&mut self.daemon, &self.reader, &self.seeds);
                wait::until(LIMIT, "the mount made again", || answers(&self.plain).then_some(()));
                "daemon killed"
            }
        }
    }
}

/// Reads files of whatever release `dir` leads to, again and again, and compares them with what was published.
fn read_on(dir: &Path, sources: &Path, seed: u64, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let mut rng = Rng::new(seed);
    while !stop.load(Relaxed) {
        let start = Instant::now();
        let read = read_one(dir, sources, &mut rng);
        let took = start.elapsed();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.longest = seen.longest.max(took);
        match read {
            Ok(Ok(bytes)) => {
                seen.reads += 1;
                seen.bytes += bytes;
            }
            Ok(Err(wrong)) => seen.wrong.push(wrong),
            Err(error) => *seen.errors.entry(error.raw_os_error().unwrap_or(0)).or_default() += 1,
        }
        drop(seen);
        // Whoever finds nothing there must not keep the others from the processor.
        thread::sleep(Duration::from_millis(2));
    }
}

/// How many bytes were right, or which were not.
fn read_one(dir: &Path, sources: &Path, rng: &mut Rng) -> std::io::Result<std::result::Result<u64, String>> {
    // All of it below one open directory, and so in one release whatever becomes of the name.
    let top = File::open(dir)?;
    let top = PathBuf::from(format!("/proc/self/fd/{}", top.as_raw_fd()));
    let release = source(sources, &fs::read_to_string(top.join("round"))?);
    let files = compare::files_below(&release);
    let want = if rng.below(3) == 0 {
        release.join(format!("big-{}", rng.below(2)))
    } else {
        files[rng.below(files.len() as u64) as usize].clone()
    };
    let inside = want.strip_prefix(&release).expect("it is below");
    let (got, want) = (File::open(top.join(inside))?, File::open(&want)?);
    let bytes = want.metadata()?.len();
    let at = rng.below(bytes.max(1));
    let len = (bytes - at).min(1 + rng.below(3 << 20)) as usize;
    let (mut have, mut right) = (vec![0; len], vec![0; len]);
    got.read_exact_at(&mut have, at)?;
    want.read_exact_at(&mut right, at)?;
    let what = || format!("{} of {} at {at}, {len} bytes", inside.display(), release.display());
    Ok(if have == right { Ok(len as u64) } else { Err(what()) })
}
