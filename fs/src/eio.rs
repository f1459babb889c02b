//! Why a mount has answered with EIO: an errno has no room for it, so it is said here, for logs and for people.

use std::time::Instant;

use ares_core::chunk::ChunkId;

/// One such answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eio {
    /// What was asked for: `read`, `lookup`, `readdir`, `getxattr`.
    pub request: &'static str,
    /// Of what: a path below the mount point.
    pub entry: String,
    /// The chunk at fault, where it is one.
    pub chunk: Option<ChunkId>,
    /// Why it could not be answered.
    pub why: String,
}

/// The last such answer of a mount.
#[derive(Clone, Debug)]
pub struct LastEio {
    /// When it was given.
    pub at: Instant,
    /// What it was.
    pub eio: Eio,
}
