//! Those who read while paths die: `ares get`, a program on an `ares mount`, a receiver over MPTCP. All are asked the same: how many
//! bytes are there by now.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ares_tests::mount::Mounted;
use ares_tests::scratch::quiet;
use ares_tests::{Node, Running, daemon};

use super::mptcp;
use crate::error::{BenchError, Result, io};
use crate::sink::{hash_of, used_bytes};

/// Bytes of one read of a mounted file.
const READ_BYTES: usize = 64 << 10;

/// How long a reader may take to end once all bytes are there, or it has been killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Reader {
    /// `ares get` to a tmpfs.
    Get,
    /// The same with `path-mode` standby.
    GetStandby,
    /// `ares mount` with its state on a tmpfs, and 64 KiB after 64 KiB read from it.
    Mount,
    /// A receiver over MPTCP that writes to a tmpfs.
    Mptcp,
}

impl Reader {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetStandby => "get-standby",
            Self::Mount => "mount",
            Self::Mptcp => "mptcp",
        }
    }
}

/// One that reads.
pub(super) struct Reading {
    kind: Kind,
    sink: PathBuf,
    used_before: u64,
}

enum Kind {
    /// A process that writes a file.
    Fetch { running: Running, dest: PathBuf },
    /// A thread that reads a mounted one.
    Mount {
        mounted: Mounted,
        bytes: Arc<AtomicU64>,
        thread: JoinHandle<std::io::Result<blake3::Hash>>,
    },
}

fn fetch(node: &Node, link: &str, dest: PathBuf) -> Kind {
    Kind::Fetch {
        running: node.start(daemon::get(node, link, &dest)),
        dest,
    }
}

/// How it ended.
pub(super) enum Ended {
    /// With a file of this hash.
    With(blake3::Hash),
    /// Without, and why.
    Badly(String),
}

impl Reading {
    /// Starts reading what `link` names into an empty `sink`, a tmpfs.
    pub(super) fn start(reader: Reader, node: &Node, link: &str, sink: &Path) -> Result<Self> {
        let used_before = used_bytes(sink)?;
        let dest = sink.join("file");
        let node = node.with_state(sink.join("state"));
        let kind = match reader {
            Reader::Get => fetch(&node, link, dest),
            Reader::GetStandby => {
                let standby = node.with_config("standby", "[set]\npath-mode = \"standby\"\n");
                fetch(&standby, link, dest)
            }
            Reader::Mptcp => Kind::Fetch {
                running: node.start(mptcp::receiver(&node, &dest)),
                dest,
            },
            Reader::Mount => {
                let dir = sink.join("mounted");
                std::fs::create_dir(&dir).map_err(io("cannot make", &dir))?;
                let mounted = Mounted::new(&node, link, &dir);
                let file = only_entry(&dir)?;
                let bytes = Arc::new(AtomicU64::new(0));
                let count = bytes.clone();
                Kind::Mount {
                    mounted,
                    bytes,
                    thread: std::thread::spawn(move || read(&file, &count)),
                }
            }
        };
        Ok(Self {
            kind,
            sink: sink.to_owned(),
            used_before,
        })
    }

    /// Bytes that are there: those of the tmpfs in use, or those that reads have returned.
    pub(super) fn bytes(&self) -> Result<u64> {
        match &self.kind {
            Kind::Fetch { .. } => Ok(used_bytes(&self.sink)?.saturating_sub(self.used_before)),
            Kind::Mount { bytes, .. } => Ok(bytes.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        match &self.kind {
            Kind::Fetch { running, .. } => !running.is_running(),
            Kind::Mount { thread, .. } => thread.is_finished(),
        }
    }

    /// Ends it, if it has not ended by itself, and says how.
    pub(super) fn end(self) -> Result<Ended> {
        match self.kind {
            Kind::Fetch { running, dest } => {
                if running.is_running() {
                    running.kill();
                    return Ok(Ended::Badly("it got no more bytes".to_owned()));
                }
                let outcome = running.wait(PATIENCE);
                if !outcome.status.success() {
                    return Ok(Ended::Badly(last_error(&outcome.stderr)));
                }
                hash_of(&dest).map(Ended::With)
            }
            Kind::Mount { mounted, thread, .. } => {
                if !thread.is_finished() {
                    // The thread's read fails with it.
                    let dir = mounted.dir().to_owned();
                    mounted.kill();
                    quiet(Command::new("umount").arg("-l").arg(dir));
                    return Ok(Ended::Badly("it got no more bytes".to_owned()));
                }
                let read = thread
                    .join()
                    .unwrap_or_else(|_| Err(std::io::Error::other("the reader panicked")));
                let log = last_error(&mounted.log());
                mounted.end_by(rustix::process::Signal::TERM);
                Ok(read.map_or_else(|e| Ended::Badly(format!("{e}; {log}")), Ended::With))
            }
        }
    }
}

/// What a command or a log ends with, the advice of `ares` apart.
fn last_error(text: &str) -> String {
    let line = text
        .lines()
        .rev()
        .find(|line| !line.is_empty() && !line.starts_with("help: "));
    line.unwrap_or_default().trim().to_owned()
}

/// A published file is the one entry of its mount.
pub(super) fn only_entry(dir: &Path) -> Result<PathBuf> {
    let entry = std::fs::read_dir(dir).and_then(|mut entries| entries.next().transpose());
    let entry = entry.map_err(io("cannot list", dir))?;
    entry.map(|e| e.path()).ok_or_else(|| BenchError::WrongResult {
        peer: "ares",
        what: "a mount without an entry".to_owned(),
    })
}

fn read(path: &Path, bytes: &AtomicU64) -> std::io::Result<blake3::Hash> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; READ_BYTES];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finalize()),
            len => {
                bytes.fetch_add(len as u64, Ordering::Relaxed);
                hasher.update(&block[..len]);
            }
        }
    }
}
