//! What each connection of a shard may have in memory for its answers: an equal part of one whole among those that are being answered. Who
//! takes nothing keeps its own part from being used, and nobody else's.

use std::collections::BTreeSet;

/// The whole and who shares it.
#[derive(Debug)]
pub(super) struct Shares {
    /// Chunk bytes loaded for all connections of a shard and not yet handed to QUIC, and as many again that QUIC keeps for retransmission.
    whole_bytes: u64,
    /// Connections with answers under way, by handle.
    answered: BTreeSet<usize>,
}

impl Shares {
    pub(super) fn new(whole_bytes: u64) -> Self {
        Self {
            whole_bytes,
            answered: BTreeSet::new(),
        }
    }

    /// Another whole. Who has more than its part now keeps it and loads nothing until it has less.
    pub(super) fn set_whole_bytes(&mut self, bytes: u64) {
        self.whole_bytes = bytes;
    }

    /// Whether a connection has answers under way may have changed.
    pub(super) fn note(&mut self, handle: usize, is_answered: bool) {
        if is_answered {
            self.answered.insert(handle);
        } else {
            self.answered.remove(&handle);
        }
    }

    /// Bytes for each of them. No part is too small: whoever has nothing loaded may load a chunk, and QUIC has a least window.
    pub(super) fn each_bytes(&self) -> u64 {
        self.whole_bytes / self.answered.len().max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_together_are_the_whole_however_many_share_it() {
        const WHOLE_BYTES: u64 = 64 << 20;
        let mut shares = Shares::new(WHOLE_BYTES);
        assert_eq!(shares.each_bytes(), WHOLE_BYTES, "for the first to come");
        for handle in 0..1000 {
            shares.note(handle, true);
            shares.note(handle, true);
            assert!(shares.each_bytes() * (handle as u64 + 1) <= WHOLE_BYTES);
        }
        for handle in 1..1000 {
            shares.note(handle, false);
        }
        assert_eq!(shares.each_bytes(), WHOLE_BYTES, "for the last that stays");
        shares.note(1, true);
        shares.set_whole_bytes(1 << 20);
        assert_eq!(shares.each_bytes(), 1 << 19, "another whole is divided likewise");
    }
}
