//! A need for one chunk, as the filesystem or a download states it, and how it can end without bytes.

use std::time::Duration;

use crate::chunk::{ChunkId, ChunkRef, ReleaseId};

/// How urgent a want is. Earlier classes go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Somebody waits for it: a FUSE miss, a manifest node on the way to one.
    Deadline,
    /// Part of a download or of lookahead.
    Bulk,
    /// Repair of what is held.
    Heal,
}

impl Class {
    /// All of them, in the order in which `as usize` numbers them.
    pub const ALL: [Self; 3] = [Self::Deadline, Self::Bulk, Self::Heal];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Bulk => "bulk",
            Self::Heal => "heal",
        }
    }
}

/// What becomes of a want while nobody who may have its chunk can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreached {
    /// It waits until its patience ends: what is mounted is read on as soon as a peer is back.
    Wait,
    /// It ends early, by `FetchError::Unreached`, unless a peer was there less than its patience ago: a command to which nobody has
    /// answered yet tells its user so, and one that is under way waits for a peer that restarts.
    GiveUp,
    /// It ends at once, by `FetchError::Lacked`, when no peer that answers may have the chunk and has not just said that it lacks it: who
    /// wants it on behalf of others tells them, and they can turn to somebody else.
    Refuse,
}

/// Where a chunk of a large file belongs: at `offset` in the backing file of its blob. Chunks without a place (packs, manifest
/// nodes) go to a pack segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobPlace {
    /// Identity of the blob: the hash of its root chunk list, so that equal files share one backing file.
    pub blob: ChunkId,
    /// Size of the whole blob, in bytes.
    pub blob_bytes: u64,
    /// Offset of this chunk in it, in bytes.
    pub offset: u64,
}

/// A need for one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// What.
    pub chunk: ChunkRef,
    /// Where it goes once verified.
    pub place: Option<BlobPlace>,
    /// How urgent.
    pub class: Class,
    /// The release it is part of: tells which peers to ask.
    pub release: ReleaseId,
    /// How long the asker waits before it takes `FetchError::Deadline` for an answer.
    pub patience: Duration,
    /// Whether to wait that long where nobody can be reached.
    pub unreached: Unreached,
}

/// Why a want ended without bytes. Each names the guilty and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Time is up.
    #[error("chunk {chunk:?} did not arrive within {waited_ms} ms: {why}")]
    Deadline {
        /// The chunk.
        chunk: ChunkId,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
        /// What stood in the way: no peer connected, peers lack it, peers too slow, last error of each.
        why: String,
    },
    /// Nobody who may have it can be reached, and the asker does not wait for somebody to come.
    #[error("nobody who may have chunk {chunk:?} could be reached in {waited_ms} ms: {why}")]
    Unreached {
        /// The chunk.
        chunk: ChunkId,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
        /// What stood in the way, address by address.
        why: String,
    },
    /// No peer that is connected has it, and the asker does not wait for one that has.
    #[error("nobody who is connected has chunk {chunk:?}: {why}")]
    Lacked {
        /// The chunk.
        chunk: ChunkId,
        /// What they said.
        why: String,
    },
    /// The store took no more bytes.
    #[error("the store cannot take chunk {chunk:?}: {why}")]
    Store {
        /// The chunk.
        chunk: ChunkId,
        /// The disk's answer and the remedy.
        why: String,
    },
    /// The asker gave up.
    #[error("cancelled")]
    Cancelled,
    /// The node is stopping.
    #[error("the node is shutting down")]
    Shutdown,
}

impl FetchError {
    /// What it can be called, in the order of `cause`.
    pub const CAUSES: [&'static str; 6] = ["deadline", "unreached", "lacked", "store", "cancelled", "shutdown"];

    /// Which of `CAUSES` it is.
    pub const fn cause(&self) -> usize {
        match self {
            Self::Deadline { .. } => 0,
            Self::Unreached { .. } => 1,
            Self::Lacked { .. } => 2,
            Self::Store { .. } => 3,
            Self::Cancelled => 4,
            Self::Shutdown => 5,
        }
    }
}
