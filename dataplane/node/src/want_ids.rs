//! Names for wants, unique within a node's life.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::WantId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct WantIds(AtomicU64);

impl WantIds {
    /// A name nobody else has.
    pub(crate) fn next(&self) -> WantId {
        WantId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}
