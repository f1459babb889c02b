//! Chunks: how bytes are named and believed.

mod cutter;
mod id;
mod verify;

pub use cutter::{Cutter, CutterId, Meeting, SizeClass};
pub use id::{ChunkId, ChunkTag, ReleaseId};
pub use verify::{Mismatch, VerifiedChunk};

/// A chunk as a manifest names it: its hash and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef {
    /// BLAKE3 hash of the bytes.
    pub id: ChunkId,
    /// Length in bytes, `1..=CHUNK_BYTES_MAX`; `LEN_UNKNOWN` for a release's root, whose hash is all that a link tells.
    pub len: u32,
}

/// A length that nobody has said yet: the chunk is asked whole and is as long as it turns out to be.
pub const LEN_UNKNOWN: u32 = 0;
