//! Who carries a shard's operations out. Everything else that a shard does is the same whoever it is.

use ares_ring::{Op, Ring};

/// The kernel through its ring, or links that are simulated. The answer is a completion with the same tag.
pub(crate) trait Submit {
    /// Takes an operation, with all its buffers.
    fn submit(&mut self, op: Op, tag: u64);
}

impl Submit for Ring {
    fn submit(&mut self, op: Op, tag: u64) {
        Self::submit(self, op, tag);
    }
}
