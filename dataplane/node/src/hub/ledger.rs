//! How many bytes of which release came from whom, since the node's start. For people; nothing is decided by it.

use std::collections::BTreeMap;

use ares_core::chunk::ReleaseId;
use ares_core::peer::PeerId;

/// Peers told apart in one release: many more than a node fetches from. What comes from others counts for the release alone.
const PEERS_MAX: usize = 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Ledger(BTreeMap<ReleaseId, Fetched>);

#[derive(Default)]
struct Fetched {
    bytes: u64,
    from: BTreeMap<PeerId, u64>,
}

impl Ledger {
    /// A chunk that was wanted for the release came from the peer.
    pub(super) fn on_fetched(&mut self, release: ReleaseId, peer: PeerId, bytes: u64) {
        let fetched = self.0.entry(release).or_default();
        fetched.bytes += bytes;
        if fetched.from.len() < PEERS_MAX || fetched.from.contains_key(&peer) {
            *fetched.from.entry(peer).or_default() += bytes;
        }
    }

    /// What came of the release, from all.
    pub(super) fn of(&self, release: &ReleaseId) -> u64 {
        self.0.get(release).map_or(0, |fetched| fetched.bytes)
    }

    /// What came of it from this peer.
    pub(super) fn of_peer(&self, release: &ReleaseId, peer: &PeerId) -> u64 {
        let fetched = self.0.get(release);
        fetched.and_then(|fetched| fetched.from.get(peer)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use ares_core::chunk::ChunkId;

    use super::*;

    #[test]
    fn bytes_are_told_by_release_and_by_peer_and_of_too_many_peers_by_release_alone() {
        let release = |name: &[u8]| ReleaseId(ChunkId::of(name));
        let peer = |n: usize| PeerId::from_bytes(*ChunkId::of(&n.to_be_bytes()).as_bytes());
        let mut ledger = Ledger::default();
        for n in 0..=PEERS_MAX {
            ledger.on_fetched(release(b"one"), peer(n), 5);
        }
        ledger.on_fetched(release(b"one"), peer(0), 5);
        ledger.on_fetched(release(b"other"), peer(0), 7);
        assert_eq!(ledger.of(&release(b"one")), 5 * (PEERS_MAX as u64 + 2));
        assert_eq!(ledger.of_peer(&release(b"one"), &peer(0)), 10);
        assert_eq!(ledger.of_peer(&release(b"other"), &peer(0)), 7);
        assert_eq!(ledger.of_peer(&release(b"one"), &peer(PEERS_MAX)), 0);
        assert_eq!(ledger.of(&release(b"none")), 0);
    }
}
