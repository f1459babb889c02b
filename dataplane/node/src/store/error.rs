//! What can go wrong with a store, each with the guilty, the values and the remedy.

use std::io;
use std::path::{Path, PathBuf};

use ares_core::chunk::ChunkId;
use rustix::io::Errno;

use super::StateError;

/// The store cannot do what it was asked. What it holds stays readable unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory itself is at fault.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another process (or another open of this one) uses this store.
    #[error("store {}: in use by process {}; stop it, talk to it instead, or name another directory with --state", .path.display(), holder_name(*.holder))]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// Process id of the holder, where the lock file tells.
        holder: Option<u32>,
    },
    /// The journal is not one that this version can read. It was left as it is.
    #[error("journal {}: {why}", .path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: ares_core::store::JournalError,
    },
    /// The disk or the quota of this user is full: intake stops and resumes by itself once there is room.
    #[error("store {}: no room for {needed_bytes} bytes ({free_bytes} free, limited by {by}); free some space there or move the state directory; intake resumes by itself", .path.display())]
    Full {
        /// File that could not grow.
        path: PathBuf,
        /// What was to be written, in bytes.
        needed_bytes: u64,
        /// What the filesystem says is free for this user, in bytes.
        free_bytes: u64,
        /// Disk or quota.
        by: FullBy,
    },
    /// The filesystem cannot hold a file of this size.
    #[error("store {}: {bytes} bytes are more than one file may have on this filesystem (or under `ulimit -f`); keep the state directory on another", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The size it was to get.
        bytes: u64,
    },
    /// Reading or writing failed for another reason.
    #[error("store {}: cannot {what}: {source}", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An earlier fsync of this file failed, so what the kernel says about it is no longer believed (<https://lwn.net/Articles/752063/>).
    #[error("store {}: an earlier fsync failed, so nothing more is written to it; check the disk (dmesg), then restart", .path.display())]
    Distrusted {
        /// The file.
        path: PathBuf,
    },
    /// Something removes the store's files as fast as they are made.
    #[error("store {}: vanished while it was written; something else removes files from the state directory", .path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// The place a chunk was put to does not fit its blob.
    #[error("blob {blob:?}: {len} bytes at {offset} do not lie within its {blob_bytes} bytes{}", known_as(*.known_bytes))]
    Misplaced {
        /// The blob.
        blob: ChunkId,
        /// Its size as the place says, in bytes.
        blob_bytes: u64,
        /// Its size as first told, where that differs.
        known_bytes: Option<u64>,
        /// Where the chunk was to go.
        offset: u64,
        /// Its length.
        len: u64,
    },
    /// `take_blob` of a blob that is not wholly held.
    #[error("blob {blob:?}: not wholly held, so it cannot be handed out")]
    Incomplete {
        /// The blob.
        blob: ChunkId,
    },
    /// `take_blob` to a name that is taken.
    #[error("{}: already exists; name another destination or remove it", .0.display())]
    DestinationExists(PathBuf),
    /// The file being added in place is not (any longer) what its guard says.
    #[error("{}: changed or vanished while it was read; publish it again when nobody writes to it", .0.display())]
    Changed(PathBuf),
}

/// What sets the limit that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullBy {
    /// ENOSPC.
    Disk,
    /// EDQUOT.
    Quota,
    /// The knobs `store-quota` and `store-free`.
    Knobs,
}

impl std::fmt::Display for FullBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Disk => "the disk's size",
            Self::Quota => "this user's quota",
            Self::Knobs => "`ares set store-quota` or `store-free`, and what else is here is pinned or in use",
        })
    }
}

fn holder_name(holder: Option<u32>) -> String {
    holder.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
}

fn known_as(known: Option<u64>) -> String {
    known.map_or_else(String::new, |bytes| format!(" (it is known to have {bytes})"))
}

impl StoreError {
    /// Names the guilty behind the kernel's answer to a write of `needed_bytes` to `path`.
    pub(crate) fn of_write(path: &Path, what: &'static str, needed_bytes: u64, source: io::Error) -> Self {
        let path = path.to_owned();
        let full = |path: PathBuf, by| {
            let free_bytes = free_bytes(&path);
            Self::Full {
                path,
                needed_bytes,
                free_bytes,
                by,
            }
        };
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC) => full(path, FullBy::Disk),
            Some(Errno::DQUOT) => full(path, FullBy::Quota),
            Some(Errno::FBIG) => Self::TooLarge {
                path,
                bytes: needed_bytes,
            },
            _ => Self::Disk { path, what, source },
        }
    }
}

/// What the filesystem around `path` has free for us, in bytes; 0 where it does not say.
pub(crate) fn free_bytes(path: &Path) -> u64 {
    let there = path.ancestors().find_map(|p| rustix::fs::statvfs(p).ok());
    there.map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

/// A chunk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not in the store (any more).
    #[error("chunk {0:?} is not held")]
    NotHeld(ChunkId),
    /// The bytes on disk are not what was written there: the chunk is forgotten and may be fetched again.
    #[error("chunk {chunk:?}: {} holds other bytes at {offset} (they hash to {actual:?}); it was forgotten and is fetched again when needed", .path.display())]
    Bad {
        /// The chunk.
        chunk: ChunkId,
        /// The file it was read from.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What those bytes hash to.
        actual: ChunkId,
    },
    /// The file ends before the chunk does.
    #[error("chunk {chunk:?}: {} ends before it, at {offset} or later; it was forgotten and is fetched again when needed", .path.display())]
    Short {
        /// The chunk.
        chunk: ChunkId,
        /// The file it was read from.
        path: PathBuf,
        /// Where it should start.
        offset: u64,
    },
    /// The publisher's file changed or vanished: its chunks are forgotten.
    #[error("chunk {chunk:?}: {} changed or vanished since it was published; publish it again", .path.display())]
    Changed {
        /// The chunk.
        chunk: ChunkId,
        /// The file.
        path: PathBuf,
    },
    /// The disk's answer.
    #[error("chunk {chunk:?}: cannot read {}: {source}", .path.display())]
    Disk {
        /// The chunk.
        chunk: ChunkId,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}
