//! Names for paths, unique within a node's life whoever makes them: the hub for dials, shards for connections they accept.

use std::sync::atomic::{AtomicU64, Ordering};

use ares_core::peer::PathId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PathIds(AtomicU64);

impl PathIds {
    /// A name nobody else has.
    pub(crate) fn next(&self) -> PathId {
        PathId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}
