//! What peers have asked of this node and QUIC has not taken yet, in all shards, and what goes out altogether: told to each of them as the
//! load of the others (`ares_core::swarm::LoadTeller` says when). Numbers that any shard adds to; a lock is taken only when a connection
//! begins or ends, and when a load is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ares_core::peer::PeerId;
use ares_core::swarm::BUSY_MIN;
use ares_core::time::Instant;
use ares_core::wire::Load;

/// The shortest time over which a rate is measured, and the longest: of what was before a pause nothing is learnt.
const EPOCH_MIN: Duration = Duration::from_millis(50);
const EPOCH_MAX: Duration = Duration::from_secs(1);

/// Of the whole node. Relaxed: each number is a hint of its own.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    queued_bytes: AtomicU64,
    /// Peers that wait for some of it.
    peers: AtomicU64,
    /// Peers that have not heard all of what they asked for: QUIC takes whole chunks long before a slow line does.
    owed_peers: AtomicU64,
    of_peer: Mutex<BTreeMap<PeerId, Arc<OfPeer>>>,
    rate: Mutex<Rate>,
}

/// Over all connections to one peer.
#[derive(Debug, Default)]
struct OfPeer {
    queued_bytes: AtomicU64,
    /// Connections with answers under way.
    owing: AtomicU64,
}

/// What goes out altogether.
#[derive(Debug, Default)]
struct Rate {
    since: Instant,
    /// Bytes that had gone out by then.
    served_bytes: u64,
    bytes_per_s: u64,
}

impl Rate {
    fn on_served(&mut self, now: Instant, served_bytes: u64) -> u64 {
        let passed = now.since(self.since);
        if passed >= EPOCH_MIN {
            let sample = u128::from(served_bytes.saturating_sub(self.served_bytes)) * 1_000_000_000 / passed.as_nanos();
            self.bytes_per_s = match self.bytes_per_s {
                _ if passed > EPOCH_MAX => 0,
                0 => sample as u64,
                rate => rate.midpoint(sample as u64),
            };
            (self.since, self.served_bytes) = (now, served_bytes);
        }
        self.bytes_per_s
    }
}

impl Backlog {
    /// The part of one more connection to the peer.
    pub(crate) fn join(self: &Arc<Self>, peer: PeerId) -> Part {
        let mut of_peer = self.of_peer.lock().unwrap_or_else(PoisonError::into_inner);
        Part {
            backlog: self.clone(),
            peer,
            of_peer: of_peer.entry(peer).or_default().clone(),
            bytes: 0,
            is_owing: false,
        }
    }

    /// Whether answers to many are under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.owed_peers.load(Ordering::Relaxed) > BUSY_MIN as u64
    }
}

/// What is queued over one connection.
pub(crate) struct Part {
    backlog: Arc<Backlog>,
    peer: PeerId,
    of_peer: Arc<OfPeer>,
    bytes: u64,
    is_owing: bool,
}

impl Part {
    /// So much is queued now, and whether the peer has not heard all that it asked for.
    pub(crate) fn set(&mut self, bytes: u64, is_owing: bool) {
        match (std::mem::replace(&mut self.is_owing, is_owing), is_owing) {
            (false, true) if self.of_peer.owing.fetch_add(1, Ordering::Relaxed) == 0 => {
                self.backlog.owed_peers.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) if self.of_peer.owing.fetch_sub(1, Ordering::Relaxed) == 1 => {
                self.backlog.owed_peers.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
        let before = std::mem::replace(&mut self.bytes, bytes);
        if before == bytes {
            return;
        }
        // Wraps where it is less: the sums of all parts never do.
        let change = bytes.wrapping_sub(before);
        let of_peer = self.of_peer.queued_bytes.fetch_add(change, Ordering::Relaxed);
        self.backlog.queued_bytes.fetch_add(change, Ordering::Relaxed);
        match (of_peer, of_peer.wrapping_add(change)) {
            (0, _) => drop(self.backlog.peers.fetch_add(1, Ordering::Relaxed)),
            (_, 0) => drop(self.backlog.peers.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }

    /// The load of all peers but this one. `served_bytes`: what has gone out since the node began.
    pub(crate) fn others(&self, now: Instant, served_bytes: u64) -> Load {
        let own = self.of_peer.queued_bytes.load(Ordering::Relaxed);
        let mut rate = self.backlog.rate.lock().unwrap_or_else(PoisonError::into_inner);
        Load {
            // Other shards count meanwhile.
            queued_bytes: self.backlog.queued_bytes.load(Ordering::Relaxed).saturating_sub(own),
            peers: (self.backlog.peers.load(Ordering::Relaxed)).saturating_sub(u64::from(own > 0)),
            bytes_per_s: rate.on_served(now, served_bytes),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0, false);
        let mut of_peer = self.backlog.of_peer.lock().unwrap_or_else(PoisonError::into_inner);
        // Let go under the lock, so that of two who end at once one is the last: then only the map has it.
        let own = std::mem::take(&mut self.of_peer);
        if Arc::strong_count(&own) == 2 {
            of_peer.remove(&self.peer);
        }
        drop(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn each_peer_is_told_of_the_others_however_many_connections_it_has() {
        let backlog = Arc::<Backlog>::default();
        let peer = |n| PeerId::from_bytes([n; 32]);
        let mut parts = [1, 1, 2, 3].map(|n| backlog.join(peer(n)));
        let mut check = |queued: [u64; 4], expect: [(u64, u64); 4]| {
            for (part, mb) in parts.iter_mut().zip(queued) {
                part.set(mb * MB, mb > 0);
            }
            for (part, (mb, peers)) in parts.iter().zip(expect) {
                let load = part.others(Instant::ZERO, 0);
                assert_eq!((load.queued_bytes, load.peers), (mb * MB, peers), "{queued:?}");
            }
        };
        check([0, 0, 0, 0], [(0, 0); 4]);
        check([4, 2, 0, 0], [(0, 0), (0, 0), (6, 1), (6, 1)]);
        check([4, 2, 3, 1], [(4, 2), (4, 2), (7, 2), (9, 2)]);
        check([0, 2, 0, 1], [(1, 1), (1, 1), (3, 2), (2, 1)]);
        let [one, rest @ ..] = parts;
        drop(rest);
        assert_eq!(one.others(Instant::ZERO, 0), Load::default());
        drop(one);
        assert!(backlog.of_peer.lock().expect("nobody panicked").is_empty());
    }

    #[test]
    fn it_is_busy_while_more_than_two_peers_are_owed_something_over_whatever_connections() {
        let backlog = Arc::<Backlog>::default();
        let mut parts = [1, 1, 2, 3].map(|n| backlog.join(PeerId::from_bytes([n; 32])));
        for part in &mut parts[..3] {
            part.set(0, true);
            part.set(0, true);
        }
        assert!(!backlog.is_busy(), "two peers");
        parts[3].set(0, true);
        assert!(backlog.is_busy(), "QUIC has taken all, and they have not");
        parts[0].set(0, false);
        assert!(backlog.is_busy(), "the other connection to the first");
        parts[1].set(0, false);
        assert!(!backlog.is_busy());
        parts[1].set(0, true);
        assert!(backlog.is_busy());
        drop(parts);
        assert_eq!(backlog.owed_peers.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_rate_is_that_of_the_last_while_and_a_pause_is_none() {
        let backlog = Arc::<Backlog>::default();
        let part = backlog.join(PeerId::from_bytes([1; 32]));
        let mut served_bytes = 0;
        let mut rate_at = |ms: u64, more: u64| {
            served_bytes += more;
            part.others(Instant::ZERO + Duration::from_millis(ms), served_bytes)
                .bytes_per_s
        };
        assert_eq!(rate_at(10_000, MB), 0, "nothing is known");
        assert_eq!(rate_at(10_020, MB), 0, "too short");
        assert_eq!(rate_at(10_100, MB), 20 * MB);
        assert_eq!(rate_at(10_200, MB), 15 * MB);
        assert_eq!(rate_at(20_000, 0), 0);
        assert_eq!(rate_at(20_100, MB), 10 * MB);
    }
}
