//! Whom a node goes to because others told of them.

use std::collections::{BTreeSet, VecDeque};

use super::zone::GATES;
use crate::peer::{PeerAt, PeerId};

/// Peers of a release that this node goes to because others told of them. About as many come to it, since all are told of alike.
pub(super) const LINKS_MAX: usize = 10;

/// Links beyond `LINKS_MAX`, to gates of the own zone: there are others until all have come.
const GATE_LINKS: usize = 2 * GATES;

/// Peers remembered beside those, for when one of them cannot be reached; the one told first is forgotten for a new one.
const SPARE_MAX: usize = 256;

/// Of one release.
#[derive(Debug, Default)]
pub(super) struct Links {
    peers: BTreeSet<PeerId>,
    spare: VecDeque<PeerAt>,
}

impl Links {
    /// This node goes to the peer on another account.
    pub(super) fn on_named(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
        self.spare.retain(|spare| spare.peer != *peer);
    }

    /// Others say who else is there. Those of them to go to.
    pub(super) fn on_told(&mut self, told: Vec<PeerAt>, is_member: impl Fn(&PeerId) -> bool) -> Vec<PeerAt> {
        for told in told {
            if self.peers.contains(&told.peer) || is_member(&told.peer) {
                continue;
            }
            self.spare.retain(|spare| spare.peer != told.peer);
            if self.spare.len() == SPARE_MAX {
                self.spare.pop_front();
            }
            self.spare.push_back(told);
        }
        self.take(is_member)
    }

    /// Others say who are the gates of the own zone. Those of them to go to.
    pub(super) fn on_gates_told(&mut self, mut gates: Vec<PeerAt>, is_member: impl Fn(&PeerId) -> bool) -> Vec<PeerAt> {
        gates.truncate(GATES);
        gates.retain(|gate| {
            let is_new = self.peers.len() < LINKS_MAX + GATE_LINKS && !is_member(&gate.peer);
            is_new && self.peers.insert(gate.peer)
        });
        self.spare.retain(|spare| !self.peers.contains(&spare.peer));
        gates
    }

    /// Nobody is needed any more.
    pub(super) fn on_complete(&mut self) {
        self.spare.clear();
    }

    /// The peer could not be reached. Whom to go to in its place; `None` where it was none of these.
    pub(super) fn on_unreached(&mut self, peer: &PeerId, is_member: impl Fn(&PeerId) -> bool) -> Option<Vec<PeerAt>> {
        self.peers.remove(peer).then(|| self.take(is_member))
    }

    fn take(&mut self, is_member: impl Fn(&PeerId) -> bool) -> Vec<PeerAt> {
        let mut new = Vec::new();
        while self.peers.len() < LINKS_MAX
            && let Some(told) = self.spare.pop_front()
        {
            if !is_member(&told.peer) && self.peers.insert(told.peer) {
                new.push(told);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(from: u16, count: u16) -> Vec<PeerAt> {
        let at = |n: u16| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            PeerAt {
                peer: PeerId::from_bytes(bytes),
                addrs: vec![([10, 0, 0, 1], 7411).into()],
            }
        };
        (from..from + count).map(at).collect()
    }

    #[test]
    fn gates_are_gone_to_however_many_others_are_and_not_without_end() {
        let mut links = Links::default();
        assert_eq!(links.on_told(told(0, 32), |_| false).len(), LINKS_MAX);
        assert_eq!(links.on_gates_told(told(20, 9), |_| false), told(20, GATES as u16));
        assert!(links.on_gates_told(told(20, 4), |_| false).is_empty());
        let more = (0..20)
            .flat_map(|n| links.on_gates_told(told(100 + 4 * n, 4), |_| false))
            .count();
        assert_eq!(more, GATE_LINKS - GATES);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for_and_the_latest_told() {
        let mut links = Links::default();
        links.on_told(told(0, 1000), |_| false);
        assert_eq!(links.spare.len(), SPARE_MAX - LINKS_MAX);
        assert_eq!(links.spare.back(), told(999, 1).first());
    }
}
