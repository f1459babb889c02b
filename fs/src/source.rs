//! What the filesystem needs from the world. `control` implements it over a node; fs never imports node.

use std::os::fd::AsFd;
use std::sync::Arc;

use ares_core::chunk::ChunkId;
use ares_core::swarm::{FetchError, Want};
use bytes::Bytes;

/// Takes the answer to a `Source::chunk` call: the chunk's verified bytes (all of it), or why there are none. Called once, from any thread.
pub type Reply = Box<dyn FnOnce(Result<Bytes, FetchError>) + Send>;

/// A fetch under way, by whatever number the source knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetching(pub u64);

/// Where chunk bytes come from: the local store, else the swarm.
pub trait Source: Send + Sync + 'static {
    /// Starts to get one chunk and returns at once. `reply` is called exactly once, at the latest when `want.patience` has passed.
    fn chunk(&self, want: Want, reply: Reply) -> Fetching;

    /// Nobody waits for that any more. It may have ended already; if not, its `reply` is still called.
    fn let_go(&self, fetching: Fetching);

    /// Whether the chunk can be had without the network.
    fn is_held(&self, want: &Want) -> bool;

    /// File bytes of the release that are here, as far as that is known now. Must not wait.
    fn held_bytes(&self) -> u64;

    /// The file that has all of a blob of `bytes` bytes, verified, for the kernel to read by itself. `None` where there is none that
    /// nobody else can change: the reader is then served by chunks. Must not wait.
    fn backing(&self, blob: ChunkId, bytes: u64) -> Option<Backing>;
}

/// A file for the kernel to read.
pub struct Backing {
    /// The file, open for reading. It is needed only until the kernel has it too.
    pub file: Arc<dyn AsFd + Send + Sync>,
    /// As long as this lives, the bytes of the file stay what they are.
    pub lease: Box<dyn Send + Sync>,
}
