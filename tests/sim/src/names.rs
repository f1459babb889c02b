//! Names of nodes and chunks, made of their numbers and back. In the order of the names the numbers are shuffled, as hashes are.

use ares_core::chunk::{ChunkId, ChunkRef, ChunkTag, ReleaseId};
use ares_core::peer::PeerId;

/// An odd number, so that multiplying by it can be undone modulo 2^64.
const SHUFFLE: u64 = 0x9e37_79b9_7f4a_7c15;
const UNSHUFFLE: u64 = inverse(SHUFFLE);

/// Newton's iteration doubles the bits that are right; any odd number is its own inverse in the lowest three.
const fn inverse(odd: u64) -> u64 {
    let mut guess = odd;
    let mut step = 0;
    while step < 5 {
        guess = guess.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(guess)));
        step += 1;
    }
    guess
}

fn bytes_of(number: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    let shuffled = (u64::from(number) + 1).wrapping_mul(SHUFFLE);
    bytes[..8].copy_from_slice(&shuffled.to_be_bytes());
    bytes
}

fn number_of(bytes: [u8; 8]) -> u32 {
    (u64::from_be_bytes(bytes).wrapping_mul(UNSHUFFLE) - 1) as u32
}

/// The one release that all nodes take part in.
pub(crate) fn release() -> ReleaseId {
    ReleaseId(ChunkId::from_bytes([9; 32]))
}

pub(crate) fn peer(node: u32) -> PeerId {
    PeerId::from_bytes(bytes_of(node))
}

pub(crate) fn node_of(peer: &PeerId) -> u32 {
    number_of(*peer.as_bytes().first_chunk().expect("a key has 32 bytes"))
}

pub(crate) fn chunk(number: u32, len: u32) -> ChunkRef {
    ChunkRef {
        id: ChunkId::from_bytes(bytes_of(number)),
        len,
    }
}

pub(crate) fn chunk_of(tag: ChunkTag) -> u32 {
    number_of(tag.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in (0..100_000).chain([u32::MAX - 1, u32::MAX]) {
            assert_eq!(node_of(&peer(number)), number);
            assert_eq!(chunk_of(chunk(number, 1).id.into()), number);
        }
    }
}
