//! What each connection of a shard may have in memory for its answers: an equal part of one whole among those that are being answered. Who
//! takes nothing keeps its own part from being used, and nobody else's.

use std::collections::BTreeSet;

/// Chunk bytes loaded for all connections of a shard and not yet handed to QUIC, and as many again that QUIC keeps for retransmission.
/// Ten readers at 50 ms fill 10 Gbit/s with it.
const SHARED_BYTES: u64 = 64 << 20;

/// Connections with answers under way, by handle.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeSet<usize>);

impl Shares {
    /// Whether a connection has answers under way may have changed.
    pub(super) fn note(&mut self, handle: usize, is_answered: bool) {
        if is_answered {
            self.0.insert(handle);
        } else {
            self.0.remove(&handle);
        }
    }

    /// Bytes for each of them. No part is too small: whoever has nothing loaded may load a chunk, and QUIC has a least window.
    pub(super) fn each_bytes(&self) -> u64 {
        SHARED_BYTES / self.0.len().max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_together_are_the_whole_however_many_share_it() {
        let mut shares = Shares::default();
        assert_eq!(shares.each_bytes(), SHARED_BYTES, "for the first to come");
        for handle in 0..1000 {
            shares.note(handle, true);
            shares.note(handle, true);
            assert!(shares.each_bytes() * (handle as u64 + 1) <= SHARED_BYTES);
        }
        for handle in 1..1000 {
            shares.note(handle, false);
        }
        assert_eq!(shares.each_bytes(), SHARED_BYTES, "for the last that stays");
    }
}
