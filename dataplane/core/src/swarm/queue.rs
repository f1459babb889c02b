//! Chunks waiting to be asked: one queue per class and release, so that no choice looks at more than the head of a few.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Class;
use crate::chunk::{ChunkId, ChunkRef, ReleaseId};
use crate::rng::Rng;
use crate::time::Instant;

/// What becomes urgent within so long of one another goes in the order of the file: the kernel reads ahead in several requests at once, which
/// reach us by several threads, and the reader waits for the first.
const AT_ONCE: Duration = Duration::from_millis(16);

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
    place: Place,
}

/// Where in its line; a lower one is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// When it became urgent, in units of `AT_ONCE`; 0 where nobody waits for it.
    moment: u64,
    /// Its offset in the file; 0 where that does not matter.
    offset: u64,
    seq: u64,
}

#[derive(Debug, Default)]
struct Queue([BTreeMap<Place, ChunkRef>; 3]);

#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: BTreeMap<(Class, ReleaseId), Queue>,
    next_seq: u64,
}

impl Queues {
    /// A ticket behind all others of its class and line; in the line of what somebody waits for, by when it became urgent and by its offset
    /// in the file.
    pub(super) fn ticket(&mut self, class: Class, line: Line, urgent_at: Instant, offset: u64) -> Ticket {
        self.next_seq += 1;
        let (moment, offset) = match class {
            Class::Deadline => (urgent_at.as_nanos() / AT_ONCE.as_nanos() as u64, offset),
            Class::Bulk | Class::Heal => (0, 0),
        };
        let seq = self.next_seq;
        Ticket {
            class,
            line,
            place: Place { moment, offset, seq },
        }
    }

    pub(super) fn insert(&mut self, ticket: Ticket, release: ReleaseId, chunk: ChunkRef) {
        let queue = self.queues.entry((ticket.class, release)).or_default();
        queue.0[ticket.line as usize].insert(ticket.place, chunk);
    }

    pub(super) fn remove(&mut self, ticket: Ticket, release: ReleaseId) {
        let key = (ticket.class, release);
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.0[ticket.line as usize].remove(&ticket.place);
            if queue.0.iter().all(BTreeMap::is_empty) {
                self.queues.remove(&key);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether a chunk of this class waits.
    pub(super) fn has(&self, class: Class) -> bool {
        self.from(class).next().is_some()
    }

    /// The releases with chunks of this class waiting, in order.
    fn from(&self, class: Class) -> impl Iterator<Item = ReleaseId> {
        let lowest = ReleaseId(ChunkId::from_bytes([0; 32]));
        let from = self.queues.range((class, lowest)..);
        from.map_while(move |((c, release), _)| (*c == class).then_some(*release))
    }

    /// The releases with chunks of this class waiting: those after the last served first, so that each has its turn.
    pub(super) fn releases(&self, class: Class, last_served: Option<ReleaseId>) -> Vec<ReleaseId> {
        let mut releases: Vec<ReleaseId> = self.from(class).collect();
        let served = releases.partition_point(|release| Some(*release) <= last_served);
        releases.rotate_left(served);
        releases
    }

    /// Some chunks of a line that nobody waits for, up to `count`, at random and where there are more than that, some of them twice.
    pub(super) fn sample(&self, class: Class, release: ReleaseId, line: Line, count: usize, rng: &mut Rng) -> Vec<ChunkRef> {
        let Some(line) = self.queues.get(&(class, release)).map(|queue| &queue.0[line as usize]) else {
            return Vec::new();
        };
        if line.len() <= count {
            // In another order for everybody: who goes in the same order asks for the same chunk as all others.
            let mut all: Vec<ChunkRef> = line.values().copied().collect();
            (1..all.len()).for_each(|at| all.swap(at, rng.below(at + 1)));
            return all;
        }
        let [first, last] = [line.first_key_value(), line.last_key_value()].map(|end| *end.expect("it is long").0);
        let mut at = || Place {
            seq: first.seq + rng.next() % (last.seq - first.seq + 1),
            ..first
        };
        let chunk = |place| line.range(place..).next().map(|(_, chunk)| *chunk);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn numbered(n: u8) -> ChunkRef {
        let id = ChunkId::from_bytes([n; 32]);
        ChunkRef { id, len: 1 }
    }

    #[test]
    fn what_becomes_urgent_at_once_goes_in_the_order_of_the_file_and_nothing_overtakes_what_waits_longer() {
        let release = ReleaseId(numbered(0).id);
        // When each became urgent, in ms, and its offset.
        let wants = [(32, 7), (33, 9), (40, 1), (47, 2), (48, 0), (100, 0), (64, 5)];
        let order_of = |class: Class| -> Vec<u8> {
            let mut queues = Queues::default();
            for (n, (ms, offset)) in (0..).zip(wants) {
                let ticket = queues.ticket(class, Line::Fresh, Instant::ZERO + Duration::from_millis(ms), offset);
                queues.insert(ticket, release, numbered(n));
            }
            let head = queues.head(class, release, Line::Fresh, wants.len());
            head.iter().map(|chunk| chunk.id.as_bytes()[0]).collect()
        };
        assert_eq!(order_of(Class::Deadline), [2, 3, 0, 1, 4, 6, 5]);
        assert_eq!(order_of(Class::Bulk), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn what_nobody_waits_for_is_sampled_in_another_order_by_everybody() {
        let release = ReleaseId(numbered(0).id);
        let mut queues = Queues::default();
        for n in 1..=12 {
            let ticket = queues.ticket(Class::Bulk, Line::Fresh, Instant::ZERO, 0);
            queues.insert(ticket, release, numbered(n));
        }
        let firsts = (0..400).map(|seed| {
            let sample = queues.sample(Class::Bulk, release, Line::Fresh, 16, &mut Rng::new(seed));
            let all: BTreeSet<u8> = sample.iter().map(|chunk| chunk.id.as_bytes()[0]).collect();
            assert!(all.into_iter().eq(1..=12), "each of them once");
            sample[0].id.as_bytes()[0]
        });
        let mut times = [0; 13];
        firsts.for_each(|first| times[usize::from(first)] += 1);
        assert!(times[1..].iter().all(|times| (10..80).contains(times)), "{times:?}");
    }
}
