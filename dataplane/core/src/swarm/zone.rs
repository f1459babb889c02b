//! Zones: sites, racks or subnets inside which bytes are cheap. Who belongs to which, and who of a zone fetches what nobody there has.

use std::collections::BTreeMap;

use super::turn::lot;
use crate::peer::PeerId;

/// Members of a zone that fetch from others what nobody in it has, about: enough that one slow or dead one does not matter, and few, since
/// what two of them fetch at the same moment crosses twice.
pub(super) const GATES: usize = 4;

/// A zone, told by its label. Nodes that were given no label are in one zone together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(u64);

impl Zone {
    /// The zone with this label; none where that is empty.
    pub fn of(label: &str) -> Self {
        if label.is_empty() {
            return Self::default();
        }
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = *blake3::hash(label.as_bytes()).as_bytes();
        Self(u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]))
    }
}

/// Who is in which zone, as far as they have said.
#[derive(Debug, Default)]
pub(super) struct Zones {
    of: BTreeMap<PeerId, Zone>,
    /// How many are in each.
    counts: BTreeMap<Zone, usize>,
}

impl Zones {
    pub(super) fn of(&self, peer: &PeerId) -> Zone {
        self.of.get(peer).copied().unwrap_or_default()
    }

    pub(super) fn insert(&mut self, peer: PeerId, zone: Zone) {
        self.remove(&peer);
        self.of.insert(peer, zone);
        *self.counts.entry(zone).or_default() += 1;
    }

    pub(super) fn remove(&mut self, peer: &PeerId) {
        let Some(zone) = self.of.remove(peer) else { return };
        let count = self.counts.entry(zone).or_default();
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&zone);
        }
    }

    /// Whether all are in one.
    pub(super) fn are_one(&self) -> bool {
        self.counts.len() <= 1
    }
}

/// An order of peers that all nodes agree on and nobody's key is chosen for: the first ones are the gates of their zone.
pub(super) fn rank(peer: &PeerId) -> u64 {
    lot(peer, 0)
}
