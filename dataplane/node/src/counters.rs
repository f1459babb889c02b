//! Totals that any thread adds to and `status` reads.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ares_core::admission::Refusals;
use ares_core::peer::PeerId;
use ares_core::swarm::{Class, FetchError};

use crate::api::{Counters, PeerBytes};
use crate::figures::Traffic;

/// Peers whose bytes are remembered: as many as all shards may be connected to and more; the one met first is forgotten for a new one.
const PEERS_MAX: usize = 1 << 16;

/// Local addresses told apart between two looks; what more of them carry counts as carried by none.
const ADDRESSES_MAX: usize = 256;

/// What was carried, by the local address, where that is known.
pub(crate) type CarriedBy = BTreeMap<Option<IpAddr>, Traffic>;

/// Totals since the node's start. Relaxed: each is a figure of its own, read for people.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// By class, as the next but one is by cause.
    pub(crate) fetched_bytes: [AtomicU64; Class::ALL.len()],
    pub(crate) reused_bytes: AtomicU64,
    pub(crate) failed_wants: [AtomicU64; FetchError::CAUSES.len()],
    pub(crate) fetched_chunks: AtomicU64,
    pub(crate) served_bytes: AtomicU64,
    pub(crate) bad_chunks: AtomicU64,
    pub(crate) pulled_chunks: AtomicU64,
    pub(crate) refused_pulls: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
    pub(crate) evicted_connections: AtomicU64,
    pub(crate) refused_keys: Refusals,
    /// Of whom nothing is fetched for: they count as `refused_pulls`, too.
    pub(crate) refused_roles: Refusals,
    pub(crate) refused_releases: Refusals,
    pub(crate) failed_handshakes: Refusals,
    pub(crate) peers: PeerTotals,
    pub(crate) carried: Carried,
    /// UDP payload that came and went, from and to the own zone and all others.
    pub(crate) zones: [[AtomicU64; 2]; 2],
}

/// Bytes that paths have carried since the hub last took them. Shards add as they do for `PeerTotals`.
#[derive(Debug, Default)]
pub(crate) struct Carried(Mutex<CarriedBy>);

impl Carried {
    /// So much more.
    pub(crate) fn add(&self, local: Option<IpAddr>, more: Traffic) {
        let mut carried = self.lock();
        let is_known = carried.contains_key(&local);
        let local = local.filter(|_| is_known || carried.len() < ADDRESSES_MAX);
        *carried.entry(local).or_default() += more;
    }

    /// All since the last time.
    pub(crate) fn take(&self) -> CarriedBy {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, CarriedBy> {
        // As with those of peers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes to and from each peer since the node's start, over all its paths. Shards add about once a second and where a path ends, workers
/// once a chunk.
#[derive(Debug, Default)]
pub(crate) struct PeerTotals(Mutex<ByPeer>);

#[derive(Debug, Default)]
struct ByPeer {
    bytes: BTreeMap<PeerId, PeerBytes>,
    /// As they were met.
    order: VecDeque<PeerId>,
}

impl PeerBytes {
    fn add(&mut self, more: &Self) {
        self.fetched_bytes += more.fetched_bytes;
        self.served_bytes += more.served_bytes;
        self.rx_bytes += more.rx_bytes;
        self.tx_bytes += more.tx_bytes;
    }

    /// How much more than that of earlier.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            fetched_bytes: self.fetched_bytes - earlier.fetched_bytes,
            served_bytes: self.served_bytes - earlier.served_bytes,
            rx_bytes: self.rx_bytes - earlier.rx_bytes,
            tx_bytes: self.tx_bytes - earlier.tx_bytes,
        }
    }
}

impl PeerTotals {
    /// So much more.
    pub(crate) fn add(&self, peer: PeerId, more: PeerBytes) {
        let mut by_peer = self.lock();
        if !by_peer.bytes.contains_key(&peer) {
            if by_peer.order.len() == PEERS_MAX
                && let Some(first) = by_peer.order.pop_front()
            {
                by_peer.bytes.remove(&first);
            }
            by_peer.order.push_back(peer);
        }
        by_peer.bytes.entry(peer).or_default().add(&more);
    }

    /// So much so far.
    pub(crate) fn of(&self, peer: &PeerId) -> PeerBytes {
        self.lock().bytes.get(peer).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, ByPeer> {
        // Figures for people: each is one even where another was not added.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to a total.
pub(crate) fn add(total: &AtomicU64, amount: u64) {
    total.fetch_add(amount, Ordering::Relaxed);
}

impl Totals {
    /// The figures now.
    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            fetched_bytes: self.fetched_bytes().iter().sum(),
            fetched_chunks: get(&self.fetched_chunks),
            served_bytes: get(&self.served_bytes),
            bad_chunks: get(&self.bad_chunks),
            failed_wants: self.failed_wants().iter().sum(),
            pulled_chunks: get(&self.pulled_chunks),
            refused_pulls: get(&self.refused_pulls),
            refused_connections: get(&self.refused_connections),
            evicted_connections: get(&self.evicted_connections),
            refused_keys: self.refused_keys.count(),
            refused_roles: self.refused_roles.count(),
            refused_releases: self.refused_releases.count(),
            failed_handshakes: self.failed_handshakes.count(),
        }
    }

    /// By class.
    pub(crate) fn fetched_bytes(&self) -> [u64; Class::ALL.len()] {
        std::array::from_fn(|class| get(&self.fetched_bytes[class]))
    }

    /// Bytes that were wanted and here.
    pub(crate) fn reused_bytes(&self) -> u64 {
        get(&self.reused_bytes)
    }

    /// From and to the own zone, and all others.
    pub(crate) fn zones(&self) -> [Traffic; 2] {
        self.zones.each_ref().map(|[rx, tx]| Traffic {
            rx_bytes: get(rx),
            tx_bytes: get(tx),
        })
    }

    /// By cause.
    pub(crate) fn failed_wants(&self) -> [u64; FetchError::CAUSES.len()] {
        std::array::from_fn(|cause| get(&self.failed_wants[cause]))
    }
}

fn get(total: &AtomicU64) -> u64 {
    total.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: usize) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    #[test]
    fn bytes_of_peers_add_up_and_who_was_met_first_is_forgotten() {
        let totals = PeerTotals::default();
        let more = PeerBytes {
            fetched_bytes: 1,
            served_bytes: 2,
            rx_bytes: 3,
            tx_bytes: 4,
        };
        (0..PEERS_MAX).for_each(|n| totals.add(peer(n), more));
        totals.add(peer(0), more);
        let twice = PeerBytes {
            fetched_bytes: 2,
            served_bytes: 4,
            rx_bytes: 6,
            tx_bytes: 8,
        };
        assert_eq!(totals.of(&peer(0)), twice);
        totals.add(peer(PEERS_MAX), more);
        assert_eq!(totals.of(&peer(0)), PeerBytes::default());
        assert_eq!(totals.of(&peer(PEERS_MAX)), more);
        assert_eq!(totals.lock().bytes.len(), PEERS_MAX);
    }
}
