//! Chunks waiting to be asked: one queue per class and release, so that no choice looks at more than the head of a few.

use std::collections::BTreeMap;

use super::Class;
use crate::chunk::{ChunkId, ChunkRef, ReleaseId};
use crate::rng::Rng;

/// Which of a queue's lines a chunk stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It was asked before and is needed from another source; goes first.
    Again = 0,
    /// It was not asked before, or was left to others, and nobody with a part of the release is known to hold it; goes before what others can give, so that it
    /// comes among them. What somebody waits for stands here, too: it goes in the order in which it was wanted.
    Fresh = 1,
    /// The same, and somebody with a part of the release holds it.
    Held = 2,
}

/// Where a chunk stands; the same in the queue of each of its releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) class: Class,
    pub(super) line: Line,
    seq: u64,
}

#[derive(Debug, Default)]
struct Queue([BTreeMap<u64, ChunkRef>; 3]);

#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: BTreeMap<(Class, ReleaseId), Queue>,
    next_seq: u64,
}

impl Queues {
    /// A ticket behind all others of its class and line.
    pub(super) fn ticket(&mut self, class: Class, line: Line) -> Ticket {
        self.next_seq += 1;
        Ticket {
            class,
            line,
            seq: self.next_seq,
        }
    }

    pub(super) fn insert(&mut self, ticket: Ticket, release: ReleaseId, chunk: ChunkRef) {
        let queue = self.queues.entry((ticket.class, release)).or_default();
        queue.0[ticket.line as usize].insert(ticket.seq, chunk);
    }

    pub(super) fn remove(&mut self, ticket: Ticket, release: ReleaseId) {
        let key = (ticket.class, release);
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.0[ticket.line as usize].remove(&ticket.seq);
            if queue.0.iter().all(BTreeMap::is_empty) {
                self.queues.remove(&key);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The releases with chunks of this class waiting: those after the last served first, so that each has its turn.
    pub(super) fn releases(&self, class: Class, last_served: Option<ReleaseId>) -> Vec<ReleaseId> {
        let lowest = ReleaseId(ChunkId::from_bytes([0; 32]));
        let from = self
            .queues
            .range((class, lowest)..)
            .map_while(|((c, r), _)| (*c == class).then_some(*r));
        let mut releases: Vec<ReleaseId> = from.collect();
        let served = releases.partition_point(|release| Some(*release) <= last_served);
        releases.rotate_left(served);
        releases
    }

    /// Some chunks of a line, up to `count`, at random and some of them twice.
    pub(super) fn sample(&self, class: Class, release: ReleaseId, line: Line, count: usize, rng: &mut Rng) -> Vec<ChunkRef> {
        let Some(line) = self.queues.get(&(class, release)).map(|queue| &queue.0[line as usize]) else {
            return Vec::new();
        };
        if line.len() <= count {
            return line.values().copied().collect();
        }
        let [first, last] = [line.first_key_value(), line.last_key_value()].map(|end| *end.expect("it is long").0);
        let mut at = || first + rng.next() % (last - first + 1);
        let chunk = |seq| line.range(seq..).next().map(|(_, chunk)| *chunk);
        (0..count).filter_map(|_| chunk(at())).collect()
    }

    /// The first chunks of a line, up to `count`.
    pub(super) fn head(&self, class: Class, release: ReleaseId, line: Line, count: usize) -> Vec<ChunkRef> {
        let queue = self.queues.get(&(class, release));
        queue
            .into_iter()
            .flat_map(|q| q.0[line as usize].values())
            .take(count)
            .copied()
            .collect()
    }
}
