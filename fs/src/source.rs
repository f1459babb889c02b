//! What the filesystem needs from the world. `control` implements it over a node; fs never imports node.

use ares_core::swarm::{FetchError, Want};
use bytes::Bytes;

/// Takes the answer to a `Source::chunk` call: the chunk's verified bytes (all of it), or why there are none. Called once, from any thread.
pub type Reply = Box<dyn FnOnce(Result<Bytes, FetchError>) + Send>;

/// Where chunk bytes come from: the local store, else the swarm.
pub trait Source: Send + Sync + 'static {
    /// Starts to get one chunk and returns at once. `reply` is called exactly once, at the latest when `want.patience` has passed.
    fn chunk(&self, want: Want, reply: Reply);

    /// Whether the chunk can be had without the network.
    fn is_held(&self, want: &Want) -> bool;
}
