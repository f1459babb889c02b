//! The programs that spread a file over many machines: ours and `aria2c`. Each has one who publishes and readers who go on serving others
//! once they have all of it. Whatever is dropped here is killed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ares_tests::mount::Mounted;
use ares_tests::{Daemon, Node, Running, daemon, wait};
use rustix::process::Signal;

use super::torrent;
use super::tracker::Tracker;
use crate::error::{BenchError, Result, io};

/// TCP port of every `aria2c`.
const ARIA2_PORT: u16 = 6881;

/// How long a publisher may take to be found, and a command to be gone.
const READY: Duration = Duration::from_secs(60);

/// A program under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Program {
    /// `ares serve` everywhere, `ares get` through it.
    Ares,
    /// `ares mount` by every reader, and `cp` from it.
    AresMount,
    /// BitTorrent by `aria2c`, with a tracker of this program.
    Aria2,
}

impl Program {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ares => "ares",
            Self::AresMount => "ares-mount",
            Self::Aria2 => "aria2",
        }
    }

    /// An error where it is not installed.
    pub(crate) fn find(self) -> Result<()> {
        match self {
            Self::Aria2 if !ares_tests::scratch::quiet(Command::new("aria2c").arg("--version")) => Err(BenchError::NoTool {
                tool: "aria2c",
                remedy: "apt-get install aria2",
            }),
            Self::Ares | Self::AresMount | Self::Aria2 => Ok(()),
        }
    }
}

/// One who has the file, ready to serve it.
pub(crate) struct Publisher {
    offer: Offer,
    process: Option<Process>,
}

/// What readers are told.
enum Offer {
    Link(String),
    Torrent { file: PathBuf, _tracker: Tracker },
}

/// A process that serves.
#[expect(dead_code, reason = "kept for what dropping it does")]
enum Process {
    Ares(Daemon),
    Aria2(Running),
}

impl Publisher {
    /// Publishes `file` on `node`, keeping what is its own in `dir`. Peers of `aria2c` meet at a tracker on `meeting`.
    pub(crate) fn start(program: Program, node: &Node, meeting: &Node, file: &Path, dir: &Path) -> Result<Self> {
        match program {
            Program::Ares | Program::AresMount => {
                let daemon = Daemon::serve(&node.with_state(dir.join("state")));
                Ok(Self {
                    offer: Offer::Link(daemon.publish(file).link),
                    process: Some(Process::Ares(daemon)),
                })
            }
            Program::Aria2 => {
                let tracker = Tracker::start(meeting)?;
                let torrent = dir.join("file.torrent");
                let described = torrent::describe(file, &tracker.url()).map_err(io("cannot read", file))?;
                std::fs::write(&torrent, described).map_err(io("cannot write", &torrent))?;
                let mut command = aria2(node, file.parent().unwrap_or(Path::new("/")));
                // It has just been made: what readers got of it is compared in the end.
                command.arg("--bt-seed-unverified=true").arg(&torrent);
                let seeder = node.start(command);
                wait::until(READY, "the first announce of aria2c", || {
                    assert!(seeder.is_running(), "aria2c ended by itself:\n{}", seeder.stdout());
                    tracker.knows_any().then_some(())
                });
                Ok(Self {
                    offer: Offer::Torrent {
                        file: torrent,
                        _tracker: tracker,
                    },
                    process: Some(Process::Aria2(seeder)),
                })
            }
        }
    }

    /// What describes the file to other programs of BitTorrent.
    pub(crate) fn torrent(&self) -> Option<&Path> {
        match &self.offer {
            Offer::Link(_) => None,
            Offer::Torrent { file, .. } => Some(file),
        }
    }

    /// Kills it. Readers still find each other.
    pub(super) fn leave(&mut self) {
        self.process = None;
    }

    pub(super) fn has_left(&self) -> bool {
        self.process.is_none()
    }
}

/// A machine that is about to read.
pub(super) struct Standby {
    node: Node,
    dir: PathBuf,
    /// Of `ares`: serves what `get` brings to it.
    daemon: Option<Daemon>,
    mounted: Option<Mounted>,
}

/// One that reads, and serves others meanwhile and afterwards.
pub(super) struct Reader {
    running: Running,
    _daemon: Option<Daemon>,
    mounted: Option<Mounted>,
    file: PathBuf,
    /// Made when the file is complete, by one that goes on running then.
    marker: Option<PathBuf>,
}

impl Standby {
    /// Makes `dir`, where all lands that this reader keeps, and starts what runs before anybody reads.
    pub(super) fn start(program: Program, node: &Node, publisher: &Publisher, dir: PathBuf) -> Result<Self> {
        std::fs::create_dir(&dir).map_err(io("cannot make", &dir))?;
        let node = node.with_state(dir.join("state"));
        let daemon = (program == Program::Ares).then(|| Daemon::serve(&node));
        let mounted = match (program, &publisher.offer) {
            (Program::AresMount, Offer::Link(link)) => {
                let point = dir.join("mounted");
                std::fs::create_dir(&point).map_err(io("cannot make", &point))?;
                Some(Mounted::new(&node, link, &point))
            }
            _ => None,
        };
        Ok(Self {
            node,
            dir,
            daemon,
            mounted,
        })
    }

    /// Starts reading. `name` is that of the published file.
    pub(super) fn read(self, publisher: &Publisher, name: &str) -> Result<Reader> {
        let file = self.dir.join(name);
        let (command, marker) = match &publisher.offer {
            Offer::Link(_) if let Some(mounted) = &self.mounted => {
                let mut command = self.node.command("cp");
                command.arg(mounted.dir().join(name)).arg(&file);
                (command, None)
            }
            Offer::Link(link) => (daemon::get(&self.node, link, &file), None),
            Offer::Torrent { file: torrent, .. } => {
                let mut command = aria2(&self.node, &self.dir);
                command.arg(on_complete(&self.dir)?).arg(torrent);
                (command, Some(self.dir.join(MARKER)))
            }
        };
        Ok(Reader {
            running: self.node.start(command),
            _daemon: self.daemon,
            mounted: self.mounted,
            file,
            marker,
        })
    }
}

impl Reader {
    /// Whether it says that it has the file, or has given up.
    pub(super) fn has_ended(&self) -> bool {
        self.marker.as_ref().is_some_and(|marker| marker.exists()) || !self.running.is_running()
    }

    /// Where the file is, or why it is not there. Ends it.
    pub(super) fn end(mut self) -> std::result::Result<PathBuf, String> {
        let mounted = self.mounted.take();
        let file = self.end_reading();
        if let Some(mounted) = mounted {
            mounted.end_by(Signal::INT);
        }
        file
    }

    fn end_reading(self) -> std::result::Result<PathBuf, String> {
        let has_file = match &self.marker {
            Some(marker) => marker.exists(),
            None => !self.running.is_running(),
        };
        if !has_file && self.running.is_running() {
            self.running.kill();
            return Err("it got no more bytes".to_owned());
        }
        if self.marker.is_some() && has_file {
            self.running.kill();
            return Ok(self.file);
        }
        let outcome = self.running.wait(READY);
        if self.marker.is_none() && outcome.status.success() {
            return Ok(self.file);
        }
        // `aria2c` says on stdout what is wrong.
        let said = [outcome.stderr.clone(), outcome.text()].concat();
        Err(said.lines().find(|line| !line.is_empty()).unwrap_or("it ended").to_owned())
    }
}

/// `aria2c` with files in `dir`, as good as it can be for this: all peers at once, nothing but the tracker to find them by, an interval of a
/// second, no file of its own beside the data, and serving without end.
fn aria2(node: &Node, dir: &Path) -> Command {
    let mut command = node.command("aria2c");
    command.args([
        "--no-conf",
        "--summary-interval=0",
        "--show-console-readout=false",
        "--console-log-level=warn",
        "--bt-max-peers=0",
        "--bt-tracker-interval=1",
        "--enable-peer-exchange=true",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--disable-ipv6=true",
        // Minutes; and no ratio, at which it would stop first.
        "--seed-time=60",
        "--seed-ratio=0.0",
        "--file-allocation=none",
        "--auto-save-interval=0",
    ]);
    command.arg(format!("--listen-port={ARIA2_PORT}"));
    command.arg(format!("--dir={}", dir.display()));
    command
}

const MARKER: &str = "complete";

/// The option that makes `aria2c` leave a mark in `dir` as soon as it has verified the last piece.
fn on_complete(dir: &Path) -> Result<String> {
    let hook = dir.join("on-complete");
    let script = format!("#!/bin/sh\n: > '{}'\n", dir.join(MARKER).display());
    std::fs::write(&hook, script).map_err(io("cannot write", &hook))?;
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).map_err(io("cannot write", &hook))?;
    Ok(format!("--on-bt-download-complete={}", hook.display()))
}
