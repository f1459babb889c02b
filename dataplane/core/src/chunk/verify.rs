//! The one place where bytes become believed.

use bytes::Bytes;

use super::ChunkId;
use crate::limits::CHUNK_BYTES_MAX;

/// Bytes whose BLAKE3 hash is their name. The fields are private and `of`, which hashes, is the only constructor:
/// holding one is the proof.
#[derive(Clone, Debug)]
pub struct VerifiedChunk {
    id: ChunkId,
    bytes: Bytes,
}

/// The bytes are not what they were asked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The hash differs.
    #[error("bytes asked as chunk {expected:?} hash to {actual:?}")]
    Hash {
        /// The name they were asked by.
        expected: ChunkId,
        /// The name they have.
        actual: ChunkId,
    },
    /// No chunk has this length.
    #[error("{len} bytes cannot be chunk {expected:?}: a chunk has 1 to {CHUNK_BYTES_MAX} bytes")]
    Length {
        /// The name they were asked by.
        expected: ChunkId,
        /// Their length.
        len: usize,
    },
}

impl VerifiedChunk {
    /// Names our own `bytes` by hashing them: the publisher's side.
    ///
    /// # Panics
    /// Where they are none or more than `CHUNK_BYTES_MAX`: a bug of ours, bytes from elsewhere go through `verify`.
    pub fn of(bytes: Bytes) -> Self {
        assert!(!bytes.is_empty(), "a chunk has bytes");
        assert!(bytes.len() <= CHUNK_BYTES_MAX as usize, "{} bytes are no chunk", bytes.len());
        Self {
            id: ChunkId::of(&bytes),
            bytes,
        }
    }

    /// Hashes `bytes` and believes them only if they are what `expected` names.
    pub fn verify(expected: ChunkId, bytes: Bytes) -> Result<Self, Mismatch> {
        if bytes.is_empty() || bytes.len() > CHUNK_BYTES_MAX as usize {
            return Err(Mismatch::Length {
                expected,
                len: bytes.len(),
            });
        }
        let chunk = Self::of(bytes);
        if chunk.id == expected {
            Ok(chunk)
        } else {
            Err(Mismatch::Hash {
                expected,
                actual: chunk.id,
            })
        }
    }

    /// Its name.
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// Its bytes; cloning them costs a reference count.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
