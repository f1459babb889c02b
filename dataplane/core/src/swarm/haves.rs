//! Which chunks the peers hold that hold a part of a release, as far as they have said: who may be asked, and what is rare.
//!
//! A peer's chunks are looked at from its side: of what it holds and we need, some at random. So choosing costs the same however large the
//! release and the swarm are.

use std::collections::BTreeMap;

use crate::chunk::{ChunkRef, ChunkTag};
use crate::peer::PeerId;
use crate::rng::Rng;

/// Peers whose chunks are remembered: more than a node has links to in one swarm. What others say they hold is not.
const PEERS_MAX: usize = u64::BITS as usize;

/// Chunks remembered of one peer, of all releases: some 24 bytes each. What it says beyond is not believed.
const CHUNKS_PER_PEER_MAX: usize = 1 << 20;

/// Entries that no longer count in a peer's list beyond what it holds, before the list is cleaned.
const STALE_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Haves {
    /// Who holds a chunk: one bit for each peer's number.
    held: BTreeMap<ChunkTag, u64>,
    numbers: BTreeMap<PeerId, usize>,
    /// By number; never more than `PEERS_MAX`.
    told: Vec<Option<Told>>,
}

/// What one peer has said.
#[derive(Debug, Default)]
struct Told {
    count: usize,
    /// What it holds and was wanted when that was found out, some of it twice.
    offers: Vec<ChunkRef>,
}

impl Haves {
    /// The peer says that it holds these too, or nothing yet. Those of them that are news.
    pub(super) fn on_have(&mut self, peer: PeerId, chunks: &[ChunkTag]) -> Vec<ChunkTag> {
        let Some(number) = self.number(peer) else { return Vec::new() };
        let told = self.told[number].get_or_insert_default();
        let mut news = Vec::new();
        for chunk in chunks {
            if told.count == CHUNKS_PER_PEER_MAX {
                break;
            }
            let holders = self.held.entry(*chunk).or_default();
            if *holders & (1 << number) == 0 {
                *holders |= 1 << number;
                told.count += 1;
                news.push(*chunk);
            }
        }
        news
    }

    fn number(&mut self, peer: PeerId) -> Option<usize> {
        if let Some(number) = self.numbers.get(&peer) {
            return Some(*number);
        }
        let free = self.told.iter().position(Option::is_none);
        let number = free.unwrap_or(self.told.len());
        if number == PEERS_MAX {
            return None;
        }
        if number == self.told.len() {
            self.told.push(None);
        }
        self.numbers.insert(peer, number);
        Some(number)
    }

    /// The last path to the peer is gone: it will say again what it has.
    pub(super) fn on_gone(&mut self, peer: &PeerId) {
        if let Some(number) = self.numbers.remove(peer) {
            self.told[number] = None;
            self.held.retain(|_, holders| {
                *holders &= !(1 << number);
                *holders != 0
            });
        }
    }

    /// Whether the peer has said what it holds.
    pub(super) fn has_told(&self, peer: &PeerId) -> bool {
        self.numbers.contains_key(peer)
    }

    /// Whether the peer has said what it holds, and if so, whether it holds the chunk.
    pub(super) fn holds(&self, peer: &PeerId, chunk: ChunkTag) -> Option<bool> {
        let bit = self.bit(peer)?;
        Some(self.mask(chunk) & bit != 0)
    }

    /// The peer's bit in `mask`, if it has said what it holds.
    pub(super) fn bit(&self, peer: &PeerId) -> Option<u64> {
        self.numbers.get(peer).map(|number| 1 << number)
    }

    /// The bits of those who hold the chunk.
    pub(super) fn mask(&self, chunk: ChunkTag) -> u64 {
        self.held.get(&chunk).copied().unwrap_or(0)
    }

    /// How many peers with a part of its release hold the chunk.
    pub(super) fn holders(&self, chunk: ChunkTag) -> u32 {
        self.mask(chunk).count_ones()
    }

    /// Whether somebody says what it holds.
    pub(super) fn has_any(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// The chunk is waiting to be asked.
    pub(super) fn on_queued(&mut self, chunk: ChunkRef) {
        let mut holders = self.mask(chunk.id.into());
        while holders != 0 {
            self.offer(holders.trailing_zeros() as usize, chunk);
            holders &= holders - 1;
        }
    }

    /// The same, of one that the peer has just said it holds.
    pub(super) fn on_queued_at(&mut self, peer: &PeerId, chunk: ChunkRef) {
        if let Some(number) = self.numbers.get(peer) {
            self.offer(*number, chunk);
        }
    }

    fn offer(&mut self, number: usize, chunk: ChunkRef) {
        if let Some(told) = &mut self.told[number] {
            told.offers.push(chunk);
            if told.offers.len() > 2 * told.count + STALE_MAX {
                told.offers.sort_unstable();
                told.offers.dedup();
            }
        }
    }

    /// Whether there may be chunks that the peer with this bit holds and that wait.
    pub(super) fn may_offer(&self, bit: u64) -> bool {
        matches!(self.told.get(bit.trailing_zeros() as usize), Some(Some(told)) if !told.offers.is_empty())
    }

    /// Some chunks that the peer holds and that wait, up to `count`, rarest first. Forgets those met that do not wait any more.
    pub(super) fn sample(
        &mut self,
        peer: &PeerId,
        count: usize,
        rng: &mut Rng,
        waits: impl Fn(&ChunkRef) -> bool,
    ) -> Vec<ChunkRef> {
        let number = self.numbers.get(peer);
        let Some(told) = number.and_then(|number| self.told[*number].as_mut()) else {
            return Vec::new();
        };
        let mut sample = Vec::with_capacity(count);
        for _ in 0..count {
            while !told.offers.is_empty() {
                let at = rng.below(told.offers.len());
                let chunk = told.offers[at];
                if waits(&chunk) {
                    sample.push(chunk);
                    break;
                }
                told.offers.swap_remove(at);
            }
        }
        self.sort_rarest_first(&mut sample);
        sample
    }

    /// Those that are held alike often stay in order.
    pub(super) fn sort_rarest_first(&self, chunks: &mut [ChunkRef]) {
        chunks.sort_by_cached_key(|chunk| self.holders(chunk.id.into()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chunk::ChunkId;

    fn peer(n: usize) -> PeerId {
        PeerId::from_bytes([n as u8; 32])
    }

    fn chunk(n: usize) -> ChunkRef {
        ChunkRef {
            id: ChunkId::of(&n.to_le_bytes()),
            len: 1,
        }
    }

    fn tag(n: usize) -> ChunkTag {
        chunk(n).id.into()
    }

    /// Against sets.
    #[test]
    fn who_holds_what_is_remembered_and_forgotten() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut haves = Haves::default();
            let mut sets: BTreeMap<PeerId, BTreeSet<ChunkTag>> = BTreeMap::new();
            for step in 0..400 {
                let (who, what) = (peer(rng.below(5)), [tag(rng.below(9)), tag(rng.below(9))]);
                if rng.below(10) == 0 {
                    haves.on_gone(&who);
                    sets.remove(&who);
                } else {
                    let known = sets.entry(who).or_default();
                    let news: Vec<ChunkTag> = what.into_iter().filter(|tag| known.insert(*tag)).collect();
                    assert_eq!(haves.on_have(who, &what), news, "seed {seed}, step {step}");
                }
                for (who, what) in (0..5).flat_map(|who| (0..9).map(move |what| (peer(who), tag(what)))) {
                    let expect = sets.get(&who).map(|known| known.contains(&what));
                    assert_eq!(haves.holds(&who, what), expect, "seed {seed}, step {step}");
                    let holders = sets.values().filter(|known| known.contains(&what)).count();
                    assert_eq!(haves.holders(what) as usize, holders, "seed {seed}, step {step}");
                }
            }
            (0..5).for_each(|n| haves.on_gone(&peer(n)));
            assert!(haves.held.is_empty() && haves.told.iter().all(Option::is_none), "seed {seed}");
        }
    }

    #[test]
    fn a_peer_offers_what_it_holds_and_waits_rarest_first() {
        let mut rng = Rng::new(1);
        let mut haves = Haves::default();
        haves.on_have(peer(1), &[tag(1), tag(2), tag(3)]);
        haves.on_have(peer(2), &[tag(2), tag(4)]);
        (1..=4).for_each(|n| haves.on_queued(chunk(n)));
        let mut sample = |peer, waiting: &[usize]| {
            let waits = |known: &ChunkRef| waiting.iter().any(|n| chunk(*n) == *known);
            let mut sample = haves.sample(&peer, 64, &mut rng, waits);
            sample.dedup();
            sample
        };
        assert_eq!(sample(peer(1), &[1, 2]), [chunk(1), chunk(2)]);
        assert_eq!(sample(peer(2), &[2]), [chunk(2)]);
        assert_eq!(
            sample(peer(2), &[2, 4]),
            [chunk(2)],
            "what did not wait is forgotten until it is queued again"
        );
        assert_eq!(sample(peer(3), &[1, 2, 3, 4]), []);
    }

    #[test]
    fn what_peers_say_costs_bounded_memory() {
        let mut haves = Haves::default();
        for n in 0..200 {
            haves.on_have(peer(n), &[tag(n)]);
        }
        assert_eq!(haves.held.len(), PEERS_MAX);
        for _ in 0..10_000 {
            haves.on_queued(chunk(0));
        }
        let offers = haves.told[0].as_ref().map(|told| told.offers.len());
        assert!(offers.is_some_and(|len| len <= 2 + STALE_MAX + 1), "{offers:?}");
    }
}
