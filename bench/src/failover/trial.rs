//! One trial: the links, the servers and a reader; what strikes whom and when; what was seen.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ares_core::link::Link;
use ares_tests::lab::PORT;
use ares_tests::paths::{self, Direction, PATHS, Servers, TwoPaths};
use ares_tests::relay::Shape;
use ares_tests::rng::Rng;
use ares_tests::{Daemon, Running, tree, wait};
use rustix::process::Signal;

use super::looks::{self, Look};
use super::mptcp;
use super::reading::{self, Ended, Reader, Reading};
use super::scenario::{Scenario, Strike};
use crate::error::{BenchError, Result, io};
use crate::interrupt::Interrupt;
use crate::sink::{Sink, hash_of};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Bytes after which a transfer is under way.
const BEGUN_BYTES: u64 = 1 << 20;

/// From there to the strike, at least: windows have opened, further paths are there.
const WARM: Duration = Duration::from_millis(1_500);

/// What the strike comes later than that at most, milliseconds, by the trial's seed.
const WARM_MORE_MS: u64 = 500;

/// The stretch around the strike in which the longest gap is looked for, and before it for comparison.
const BEFORE: Duration = Duration::from_millis(100);
const AFTER: Duration = Duration::from_secs(3);
const COMPARED: Duration = Duration::from_secs(1);

/// A reader that has got nothing for so long has stalled.
const STALLED: Duration = Duration::from_secs(40);

/// How long a program may take to listen.
const READY: Duration = Duration::from_secs(30);

/// The links and the file; servers come and go with the trials.
pub(super) struct Scene {
    scenario: Scenario,
    lab: TwoPaths,
    shapes: [Shape; 2],
    file: PathBuf,
    bytes: u64,
    hash: blake3::Hash,
}

/// What came of a trial.
#[derive(Debug)]
pub(super) struct Trial {
    /// Longest time without bytes in the second before the strike.
    pub gap_before: Duration,
    /// The same around the strike and up to 3 s after it, to its end.
    pub gap: Duration,
    /// Bytes a second from the strike on.
    pub bytes_per_s: Option<f64>,
    /// That over what the scenario holds it against.
    pub of_bound: Option<f64>,
    /// Bytes that the paths carried to the reader, headers included, over those of the file.
    pub received: f64,
    /// From the healing of the path to its use.
    pub back_after: Option<Duration>,
    /// Which path was struck: 0 or 1.
    pub struck: usize,
    /// Why the file did not arrive.
    pub fault: Option<String>,
}

/// The processes that serve.
enum Serving {
    Ares { daemons: Vec<Option<Daemon>>, link: String },
    Mptcp { _sender: Running },
}

impl Scene {
    /// Joins the machines and makes a file that takes both paths so many seconds.
    pub(super) fn new(scenario: Scenario, shapes: [Shape; 2], seconds: u64, seed: u64) -> Result<Self> {
        let lab = TwoPaths::new("bench-failover", scenario.servers(), shapes).ok_or(BenchError::NoLab)?;
        if scenario.servers() == Servers::One {
            mptcp::use_both_paths(&lab)?;
        }
        let bytes = shapes.iter().map(|shape| u64::from(shape.mbit_per_s)).sum::<u64>() * 125_000 * seconds;
        let file = lab.lab().dir("served").join("file.bin");
        tree::big_file(&file, bytes, seed);
        let hash = hash_of(&file)?;
        let scene = Self {
            scenario,
            lab,
            shapes,
            file,
            bytes,
            hash,
        };
        scene.restore();
        Ok(scene)
    }

    /// Both links as they are before anything strikes.
    fn restore(&self) {
        PATHS.iter().for_each(|path| self.lab.heal(*path));
        if self.scenario == Scenario::Alone {
            self.lab.cut(paths::Path::B, Direction::Both);
        }
    }

    pub(super) fn lab(&self) -> &TwoPaths {
        &self.lab
    }

    /// An empty tmpfs at the reader's, with room for what it keeps and the file beside it.
    fn sink(&self, seed: u64) -> Result<Sink> {
        let dir = self.lab.reader().dir().join(format!("sink-{seed}"));
        Sink::mount(dir, 2 * self.bytes + (256 << 20))
    }

    /// Runs one reader to its end.
    pub(super) fn run(&self, reader: Reader, seed: u64, interrupt: &Interrupt) -> Result<Trial> {
        let sink = self.sink(seed)?;
        let carried_before = self.carried();
        let mut serving = self.serve(reader)?;
        let reading = Reading::start(reader, self.lab.reader(), serving.link(), sink.path())?;
        let strike_after = WARM + Duration::from_millis(Rng::new(seed).below(WARM_MORE_MS));
        let seen = self.watch(&reading, &mut serving, strike_after, interrupt)?;
        self.restore();
        let ended = interrupt.unless(reading.end())?;
        let received: u64 = [0, 1].map(|path| self.carried()[path] - carried_before[path]).iter().sum();
        Ok(self.judge(&seen, &ended, received))
    }

    /// Starts who serves this reader.
    fn serve(&self, reader: Reader) -> Result<Serving> {
        if reader == Reader::Mptcp {
            let server = self.lab.server(paths::Path::A);
            let sender = server.start(mptcp::sender(server, &self.file));
            wait::until(READY, "the sender over MPTCP to listen", || {
                assert!(sender.is_running(), "it ended by itself:\n{}", sender.stderr());
                sender.stdout().contains(mptcp::READY).then_some(())
            });
            return Ok(Serving::Mptcp { _sender: sender });
        }
        let [a, b] = PATHS.map(|path| format!("{}:{PORT}", path.server()));
        let daemons = match self.scenario.servers() {
            Servers::One => vec![Daemon::serve_with(self.lab.server(paths::Path::A), ["--listen", &b])],
            Servers::Two => PATHS.map(|path| Daemon::serve(self.lab.server(path))).into(),
        };
        let links: Vec<String> = daemons.iter().map(|daemon| daemon.publish(&self.file).link).collect();
        let link = joined(&links)?;
        if self.scenario.servers() == Servers::One && !names(&link, &[&a, &b])? {
            return Err(BenchError::WrongResult {
                peer: "ares",
                what: format!("the link names other addresses than {a} and {b}"),
            });
        }
        Ok(Serving::Ares {
            daemons: daemons.into_iter().map(Some).collect(),
            link,
        })
    }

    /// Looks every millisecond until the reader has ended or stalled; strikes and heals meanwhile.
    fn watch(&self, reading: &Reading, serving: &mut Serving, strike_after: Duration, interrupt: &Interrupt) -> Result<Seen> {
        let mut seen = Seen::default();
        let (mut had, mut grown) = (0, Instant::now());
        let mut begun = None;
        while !reading.has_ended() {
            interrupt.check()?;
            let look = Look {
                at: Instant::now(),
                bytes: reading.bytes()?,
                carried: self.carried(),
            };
            seen.looks.push(look);
            if look.bytes > had {
                (had, grown) = (look.bytes, look.at);
            }
            if look.at - grown > STALLED {
                seen.has_stalled = true;
                return Ok(seen);
            }
            if look.bytes >= BEGUN_BYTES {
                begun.get_or_insert(look.at);
            }
            if seen.struck_at.is_none() && begun.is_some_and(|begun| look.at >= begun + strike_after) {
                seen.struck = looks::busier(&seen.looks);
                self.strike(PATHS[seen.struck], serving);
                seen.struck_at = Some(Instant::now());
            }
            let heals_at = seen.struck_at.zip(self.scenario.heals_after()).map(|(at, after)| at + after);
            if seen.healed_at.is_none() && heals_at.is_some_and(|at| look.at >= at) {
                self.lab.heal(PATHS[seen.struck]);
                seen.healed_at = Some(Instant::now());
            }
            thread::sleep(LOOK);
        }
        Ok(seen)
    }

    fn strike(&self, path: paths::Path, serving: &mut Serving) {
        match self.scenario.strike() {
            Strike::Nothing => {}
            Strike::Cut(direction) => self.lab.cut(path, direction),
            Strike::LinkDown => self.lab.unplug(path),
            Strike::Flap(every) => self.lab.flap(path, every),
            Strike::Kill => {
                serving.daemon_of(path).take().map(Daemon::kill);
            }
            Strike::Stop => {
                if let Some(daemon) = serving.daemon_of(path) {
                    daemon.signal(Signal::STOP);
                }
            }
        }
    }

    fn carried(&self) -> [u64; 2] {
        PATHS.map(|path| self.lab.tallies(path)[0].bytes)
    }

    fn judge(&self, seen: &Seen, ended: &Ended, received: u64) -> Trial {
        let fault = match ended {
            Ended::With(hash) if *hash == self.hash => None,
            Ended::With(_) => Some("the file that arrived is another one".to_owned()),
            Ended::Badly(why) => Some(why.clone()),
        };
        let fault = fault.or_else(|| seen.struck_at.is_none().then(|| "it ended before the strike".to_owned()));
        let gap = |from, until| looks::longest_gap(&seen.looks, from, until, seen.has_stalled);
        let now = seen.struck_at.unwrap_or_else(Instant::now);
        let bytes_per_s = looks::rate_since(&seen.looks, now);
        let bound = f64::from(self.scenario.bound_mbit_per_s(self.shapes, seen.struck)) * 125_000.0;
        Trial {
            gap_before: gap(now - COMPARED, now - BEFORE),
            gap: gap(now - BEFORE, now + AFTER),
            bytes_per_s,
            of_bound: bytes_per_s.map(|rate| rate / bound),
            received: received as f64 / self.bytes as f64,
            back_after: seen.healed_at.and_then(|healed| {
                let mbit_per_s = self.shapes[seen.struck].mbit_per_s;
                looks::back_after(&seen.looks, healed, seen.struck, mbit_per_s)
            }),
            struck: seen.struck,
            fault,
        }
    }
}

/// What a trial is judged by.
#[derive(Default)]
struct Seen {
    looks: Vec<Look>,
    struck: usize,
    struck_at: Option<Instant>,
    healed_at: Option<Instant>,
    has_stalled: bool,
}

impl Serving {
    fn link(&self) -> &str {
        match self {
            Self::Ares { link, .. } => link,
            Self::Mptcp { .. } => "",
        }
    }

    /// The server at the end of a path, unless it has been killed.
    fn daemon_of(&mut self, path: paths::Path) -> &mut Option<Daemon> {
        match self {
            Self::Ares { daemons, .. } => &mut daemons[path as usize],
            Self::Mptcp { .. } => unreachable!("two peers are no question to MPTCP"),
        }
    }
}

/// One link that names the peers of all.
fn joined(links: &[String]) -> Result<String> {
    let parse = |text: &String| text.parse::<Link>();
    let mut all = links
        .iter()
        .map(parse)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| wrong(&e.to_string()))?;
    let mut first = all.remove(0);
    first.peers.extend(all.into_iter().flat_map(|link| link.peers));
    Ok(first.to_string())
}

/// Whether a link names all of these addresses.
fn names(link: &str, addresses: &[&String]) -> Result<bool> {
    let link: Link = link.parse().map_err(|e: ares_core::link::LinkError| wrong(&e.to_string()))?;
    let named: Vec<String> = link
        .peers
        .iter()
        .flat_map(|peer| &peer.addrs)
        .map(ToString::to_string)
        .collect();
    Ok(addresses.iter().all(|address| named.contains(address)))
}

fn wrong(what: &str) -> BenchError {
    BenchError::WrongResult {
        peer: "ares",
        what: what.to_owned(),
    }
}

/// A mount that nobody reads: what its paths carry meanwhile, and how the first read after that fares.
pub(super) struct Idle {
    /// Bits a second of each path, both directions together.
    pub bits_per_s: [f64; 2],
    /// From the first read after the silence to its return.
    pub first_read: Duration,
}

impl Scene {
    /// Mounts, reads a little, is silent for so long, reads again.
    pub(super) fn idle(&self, silence: Duration, seed: u64, interrupt: &Interrupt) -> Result<Idle> {
        let sink = self.sink(seed)?;
        let serving = self.serve(Reader::Mount)?;
        let node = self.lab.reader().with_state(sink.path().join("state"));
        let dir = sink.path().join("mounted");
        std::fs::create_dir(&dir).map_err(io("cannot make", &dir))?;
        let mounted = ares_tests::mount::Mounted::new(&node, serving.link(), &dir);
        let file = reading::only_entry(&dir)?;
        read_at(&file, 0)?;
        // What is read ahead and what closes a transfer comes first.
        quiet_for(AFTER, interrupt)?;
        let before = self.both_ways();
        quiet_for(silence, interrupt)?;
        let bits = |path: usize| (self.both_ways()[path] - before[path]) as f64 * 8.0 / silence.as_secs_f64();
        let bits_per_s = [0, 1].map(bits);
        let began = Instant::now();
        read_at(&file, self.bytes - (1 << 20))?;
        let first_read = began.elapsed();
        mounted.end_by(Signal::TERM);
        Ok(Idle { bits_per_s, first_read })
    }

    fn both_ways(&self) -> [u64; 2] {
        PATHS.map(|path| self.lab.tallies(path).iter().map(|tally| tally.bytes).sum())
    }
}

/// Lets time pass, as far as nobody interrupts: silence is what is measured.
fn quiet_for(silence: Duration, interrupt: &Interrupt) -> Result<()> {
    let ends = Instant::now() + silence;
    while Instant::now() < ends {
        interrupt.check()?;
        thread::sleep(LOOK);
    }
    Ok(())
}

fn read_at(file: &Path, offset: u64) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let open = std::fs::File::open(file).map_err(io("cannot open", file))?;
    open.read_exact_at(&mut [0; 64 << 10], offset)
        .map_err(io("cannot read", file))
}
