//! Zones: sites, racks or subnets inside which bytes are cheap. Who belongs to which, and who of a zone fetches what nobody there has.

use crate::peer::PeerId;
use crate::rng::Rng;

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

/// An order of peers that all nodes agree on and nobody's key is chosen for: the first ones are the gates of their zone.
pub(super) fn rank(peer: &PeerId) -> u64 {
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = *peer.as_bytes();
    Rng::new(u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7])).next()
}
