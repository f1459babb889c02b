//! What chunks lie in: pack segments, backing files of blobs, files of the publisher; and the releases they are part of.

use crate::chunk::{ChunkId, ReleaseId};

/// Number of an object within one journal. Given in order, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectNo(pub u32);

/// What tells whether a file that is not ours is still the one that was hashed: any write, truncation or replacement changes one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guard {
    /// Device number (`st_dev`).
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size, in bytes.
    pub size: u64,
    /// Last change of the bytes, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of bytes or metadata, nanoseconds since 1970; set by the kernel alone.
    pub ctime_ns: i64,
}

/// How much of a release is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReleaseState {
    /// Some of it.
    Partial,
    /// Every chunk.
    Complete,
}

/// A release the store knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseInfo {
    /// Its hash.
    pub release: ReleaseId,
    /// Name given at publish or by the link; for people only.
    pub name: String,
    /// Bytes of all files.
    pub bytes: u64,
    /// Entries of all directories.
    pub entries: u64,
    /// How much is held.
    pub state: ReleaseState,
}

/// A blob's identity and size, as its manifest entry gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// Identity: the hash of its root chunk list.
    pub id: ChunkId,
    /// Size, in bytes.
    pub bytes: u64,
}

/// Tells one start of the machine from another (`/proc/sys/kernel/random/boot_id`): what a file's page cache held does not outlive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub [u8; 16]);
