//! Chunks: how bytes are named and believed.

mod cutter;
mod id;
mod verify;

pub use cutter::{Cutter, CutterId, SizeClass};
pub use id::{ChunkId, ReleaseId};
pub use verify::{Mismatch, VerifiedChunk};

/// A chunk as a manifest names it: its hash and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef {
    /// BLAKE3 hash of the bytes.
    pub id: ChunkId,
    /// Length in bytes, `1..=CHUNK_BYTES_MAX`.
    pub len: u32,
}
