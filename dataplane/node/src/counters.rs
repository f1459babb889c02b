//! Totals that any thread adds to and `status` reads.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::Counters;

/// Totals since the node's start. Relaxed: each is a figure of its own, read for people.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) fetched_bytes: AtomicU64,
    pub(crate) fetched_chunks: AtomicU64,
    pub(crate) served_bytes: AtomicU64,
    pub(crate) bad_chunks: AtomicU64,
    pub(crate) failed_wants: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
    pub(crate) evicted_connections: AtomicU64,
}

/// Adds to a total.
pub(crate) fn add(total: &AtomicU64, amount: u64) {
    total.fetch_add(amount, Ordering::Relaxed);
}

impl Totals {
    /// The figures now.
    pub(crate) fn snapshot(&self) -> Counters {
        let get = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Counters {
            fetched_bytes: get(&self.fetched_bytes),
            fetched_chunks: get(&self.fetched_chunks),
            served_bytes: get(&self.served_bytes),
            bad_chunks: get(&self.bad_chunks),
            failed_wants: get(&self.failed_wants),
            refused_connections: get(&self.refused_connections),
            evicted_connections: get(&self.evicted_connections),
        }
    }
}
