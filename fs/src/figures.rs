//! What the kernel has asked of mounts and how that went, in numbers for people. Mounts may share them. Decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ares_core::histogram::Histogram;

/// What the kernel asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A name in a directory.
    Lookup,
    /// Bytes of a file.
    Read,
    /// Entries of a directory.
    List,
    /// An extended attribute, or their names.
    Xattr,
    /// Attributes.
    Attr,
    /// The target of a symlink.
    Link,
    /// How large the release is.
    Statfs,
    /// A file, where the kernel tells of it.
    Open,
}

impl Op {
    /// All of them, in the order in which `as usize` numbers them.
    pub const ALL: [Self; 8] = [
        Self::Lookup,
        Self::Read,
        Self::List,
        Self::Xattr,
        Self::Attr,
        Self::Link,
        Self::Statfs,
        Self::Open,
    ];

    /// Those that may take time, of which it is known how long each took: opens until the kernel has the file to read by itself, all
    /// others until what they ask for is here.
    pub const TIMED: [Self; 5] = [Self::Lookup, Self::Read, Self::List, Self::Xattr, Self::Open];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Read => "read",
            Self::List => "readdir",
            Self::Xattr => "getxattr",
            Self::Attr => "getattr",
            Self::Link => "readlink",
            Self::Statfs => "statfs",
            Self::Open => "open",
        }
    }
}

/// Totals since they were made. Relaxed: each is a figure of its own.
#[derive(Debug, Default)]
pub struct Figures {
    requests: [AtomicU64; Op::ALL.len()],
    unreadable: [AtomicU64; Op::ALL.len()],
    read_bytes: AtomicU64,
    took: [Mutex<Histogram>; Op::ALL.len()],
}

impl Figures {
    /// Requests of this sort.
    pub fn requests(&self, op: Op) -> u64 {
        self.requests[op as usize].load(Ordering::Relaxed)
    }

    /// Those of them that were answered with EIO: what they took did not come in time, or is malformed.
    pub fn unreadable(&self, op: Op) -> u64 {
        self.unreadable[op as usize].load(Ordering::Relaxed)
    }

    /// Bytes of files given to the kernel.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// How long requests of this sort took, from the request to the answer, failed ones too. Nothing but of [`Op::TIMED`]; of
    /// [`Op::Xattr`] those alone that ask for a value.
    pub fn took(&self, op: Op) -> Histogram {
        self.lock(op).clone()
    }

    pub(crate) fn on_request(&self, op: Op) {
        self.requests[op as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_unreadable(&self, op: Op) {
        self.unreadable[op as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A request was answered.
    pub(crate) fn on_answer(&self, op: Op, took: Duration) {
        self.lock(op).observe(took);
    }

    /// A read was answered with so many bytes.
    pub(crate) fn on_read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn lock(&self, op: Op) -> MutexGuard<'_, Histogram> {
        // Figures for people: one that was not counted is no harm.
        self.took[op as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
