//! Names of chunks and releases.

use std::cmp::Ordering;
use std::fmt;

use super::{ChunkRef, LEN_UNKNOWN};
use crate::order::cmp_names;

/// The BLAKE3 hash of a chunk's bytes (32 bytes). Shown as 64 hex digits, as `b3sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkId([u8; 32]);

impl Ord for ChunkId {
    fn cmp(&self, other: &Self) -> Ordering {
        cmp_names(&self.0, &other.0)
    }
}

impl PartialOrd for ChunkId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ChunkId {
    /// The name of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// From the 32 bytes of a hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 64 hex digits; `None` where it is anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        Some(Self(*blake3::Hash::from_hex(text).ok()?.as_bytes()))
    }

    /// The first ten hex digits: enough for a person to tell chunks apart in a log line.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({})", self.short())
    }
}

/// A release: the hash of its root manifest node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseId(pub ChunkId);

impl ReleaseId {
    /// Its root, whose length nobody says.
    pub const fn root(self) -> ChunkRef {
        ChunkRef {
            id: self.0,
            len: LEN_UNKNOWN,
        }
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first eight bytes of a chunk's name: enough to tell the chunks of a release apart in what peers say they hold. Two chunks with one
/// tag cost a question in vain and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkTag(u64);

impl ChunkTag {
    /// From the bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The bytes.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The lowest and the highest name with this tag.
    pub fn names(self) -> [ChunkId; 2] {
        [0x00, 0xff].map(|rest| {
            let mut bytes = [rest; 32];
            bytes[..8].copy_from_slice(&self.to_bytes());
            ChunkId::from_bytes(bytes)
        })
    }
}

impl From<ChunkId> for ChunkTag {
    fn from(id: ChunkId) -> Self {
        let first = id.as_bytes().first_chunk().expect("a name has 32 bytes");
        Self::from_bytes(*first)
    }
}
