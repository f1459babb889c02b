//! The giving side of a swarm: what nobody else has goes out before what others have been given already, so that what leaves here once
//! is spread by those who have it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::chunk::ChunkTag;
use crate::peer::PeerId;
use crate::time::Instant;

/// How long whoever was given a chunk is believed to have it and to be there.
const MEMORY: Duration = Duration::from_secs(60);

/// Chunks remembered; the one given first is forgotten for a new one.
const CHUNKS_MAX: usize = 1 << 16;

/// There is something new to give as long as the last was given so recently: who answers many at once gives in waves.
const FRESH_MAX: Duration = Duration::from_secs(1);

/// With answers to more peers under way, a chunk takes longer than to be had of one that has it already: what somebody waits for may be left
/// to others then, too.
pub const BUSY_MIN: usize = 2;

/// How long what was given may still be on its way: answers to many share one line.
const ON_WAY_MAX: Duration = Duration::from_secs(1);

/// Remembers what was given to whom.
#[derive(Debug, Default)]
pub struct Spread {
    given: BTreeMap<ChunkTag, (PeerId, Instant)>,
    /// The same, first given first; some of it since given anew.
    order: VecDeque<(Instant, ChunkTag)>,
    fresh_at: Option<Instant>,
}

impl Spread {
    /// A chunk is about to be given to a peer that could have it of others as well. Whether it had better ask them.
    pub fn on_give(&mut self, now: Instant, peer: PeerId, chunk: ChunkTag) -> bool {
        self.forget(now);
        match self.given.get(&chunk) {
            Some((other, given_at)) if *other != peer => {
                now.since(*given_at) < ON_WAY_MAX || self.fresh_at.is_some_and(|at| now.since(at) < FRESH_MAX)
            }
            Some(_) => false,
            None => {
                self.given.insert(chunk, (peer, now));
                self.order.push_back((now, chunk));
                self.fresh_at = Some(now);
                false
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, chunk)) = self.order.front().copied()
            && (now.since(at) >= MEMORY || self.order.len() >= CHUNKS_MAX)
        {
            self.order.pop_front();
            self.given.remove(&chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_given_once_while_there_are_new_ones_to_give() {
        let ms = |ms| Instant::ZERO + Duration::from_millis(ms);
        let peer = |n| PeerId::from_bytes([n; 32]);
        let tag = |n: u64| ChunkTag::from_bytes(n.to_be_bytes());
        let mut spread = Spread::default();
        assert!(!spread.on_give(ms(0), peer(1), tag(1)), "nobody has it");
        assert!(
            !spread.on_give(ms(1), peer(1), tag(1)),
            "the same peer again: it was lost on the way"
        );
        assert!(spread.on_give(ms(999), peer(2), tag(1)), "it may be on its way");
        assert!(
            !spread.on_give(ms(1000), peer(2), tag(1)),
            "nothing new was given for a while"
        );
        assert!(!spread.on_give(ms(1990), peer(2), tag(2)));
        assert!(spread.on_give(ms(2000), peer(3), tag(1)));
        assert!(!spread.on_give(ms(60_000), peer(3), tag(1)), "whoever got it may be gone");
    }

    #[test]
    fn what_was_given_is_remembered_up_to_a_bound() {
        let mut spread = Spread::default();
        for n in 0..200_000_u64 {
            spread.on_give(
                Instant::ZERO,
                PeerId::from_bytes([1; 32]),
                ChunkTag::from_bytes(n.to_be_bytes()),
            );
        }
        assert!(spread.given.len() <= CHUNKS_MAX && spread.order.len() <= CHUNKS_MAX);
    }
}
