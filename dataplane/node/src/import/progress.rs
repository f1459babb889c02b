//! How far a publish is, seen from other threads; and how it is told to stop.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Warnings that are kept with their names; the rest is only counted.
const WARNINGS_MAX: usize = 1000;

/// Counters of a publish that runs. What is found grows until the walk is done, so a percentage is only true from then on.
#[derive(Debug, Default)]
pub struct ImportProgress {
    pub(super) files_found: AtomicU64,
    pub(super) bytes_found: AtomicU64,
    pub(super) files_done: AtomicU64,
    pub(super) bytes_done: AtomicU64,
    pub(super) walked: AtomicBool,
    cancelled: AtomicBool,
    current: Mutex<PathBuf>,
    warnings: Mutex<(Vec<Warning>, u64)>,
}

/// One look at a publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// Files found so far.
    pub files_found: u64,
    /// Their bytes.
    pub bytes_found: u64,
    /// Whether all are found.
    pub walked: bool,
    /// Files read and hashed.
    pub files_done: u64,
    /// Bytes read and hashed, of whole and partly read files. May exceed what was found where a file changed and was read again.
    pub bytes_done: u64,
}

/// Something that is not in the release, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub path: PathBuf,
    /// Why it was left out.
    pub what: LeftOut,
}

/// Why something was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// A named pipe.
    Fifo,
    /// A unix socket.
    Socket,
    /// A block or character device.
    Device,
    /// Of a kind that this program does not know.
    Unknown,
    /// One of `PublishOptions::without`.
    Excluded,
    /// A file that changed or vanished each time it was read, and `Troubled::Skip` was asked for.
    Changed,
    /// A file or directory that may not be read, and `Troubled::Skip` was asked for.
    Unreadable,
    /// Only its extended attributes: together they are longer than a release takes.
    Attributes,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fifo => "is a named pipe, which is not published",
            Self::Socket => "is a socket, which is not published",
            Self::Device => "is a device, which is not published",
            Self::Unknown => "is of an unknown kind, which is not published",
            Self::Excluded => "is excluded",
            Self::Changed => "was left out: it changed or vanished each time it was read",
            Self::Unreadable => "was left out: it cannot be read",
            Self::Attributes => "has more extended attributes than a release takes; it is published without them",
        })
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path.display(), self.what)
    }
}

impl ImportProgress {
    /// Nothing done so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// How far it is.
    pub fn counts(&self) -> ImportCounts {
        ImportCounts {
            files_found: self.files_found.load(Relaxed),
            bytes_found: self.bytes_found.load(Relaxed),
            walked: self.walked.load(Relaxed),
            files_done: self.files_done.load(Relaxed),
            bytes_done: self.bytes_done.load(Relaxed),
        }
    }

    /// A file or directory that is being read: for people.
    pub fn current(&self) -> PathBuf {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the publish end with `ImportError::Cancelled` soon.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// What was left out so far, at most the first thousand, and how much that is in all.
    pub fn warnings(&self) -> (Vec<Warning>, u64) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    pub(super) fn at(&self, path: &Path) {
        // Whoever looks at it just now must not hold up a worker.
        if let Ok(mut current) = self.current.try_lock() {
            path.clone_into(&mut current);
        }
    }

    pub(super) fn warn(&self, path: PathBuf, what: LeftOut) {
        let (kept, count) = &mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        if kept.len() < WARNINGS_MAX {
            kept.push(Warning { path, what });
        }
    }
}
