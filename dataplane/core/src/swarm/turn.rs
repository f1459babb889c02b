//! In which order others are told of those who take part in a release.

use crate::peer::PeerId;
use crate::rng::Rng;

/// A member's place among all that others are told of: another one, at random, each time it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) lot: u64,
    pub(super) peer: PeerId,
    /// How often others were told of it.
    pub(super) times: u32,
}

impl Turn {
    pub(super) fn new(peer: PeerId, times: u32) -> Self {
        let lot = lot(&peer, times);
        Self { lot, peer, times }
    }
}

/// A number for the peer that nobody chooses, another one each time.
pub(super) fn lot(peer: &PeerId, times: u32) -> u64 {
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = *peer.as_bytes();
    let seed = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]) ^ u64::from(times).rotate_left(32);
    Rng::new(seed).next()
}
