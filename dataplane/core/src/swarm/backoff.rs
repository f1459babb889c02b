//! How long a peer is left alone about one chunk after it could not give it, and what it said. Bounded per chunk.

use std::time::Duration;

use crate::peer::PeerId;
use crate::time::Instant;

/// First wait after a peer lacked a chunk: about what it takes to fetch one itself.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait after a peer lacked a chunk.
const LONGEST: Duration = Duration::from_secs(2);
/// Wait after a peer lost a chunk for good; it may still get it again.
const AFTER_GONE: Duration = Duration::from_secs(60);
/// Wait after a peer said that others will have it soon; if they do, they are asked before.
const AFTER_ELSEWHERE: Duration = Duration::from_secs(1);
/// First wait after it said so to somebody who waits.
const AFTER_ELSEWHERE_URGENT: Duration = Duration::from_millis(50);
/// Peers remembered per chunk; the one whose wait ends first is forgotten for a new one.
const PEERS_MAX: usize = 32;

/// `first` doubled `times` times, at most `longest`.
pub(super) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

/// What stood in the way of having a chunk from one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    NotHeld,
    Gone,
    /// `urgent`: it said so to somebody who waits.
    Elsewhere {
        urgent: bool,
    },
    Failed(String),
}

#[derive(Debug)]
struct Entry {
    peer: PeerId,
    times: u32,
    until: Instant,
    last: Trouble,
}

/// The peers that could not give one chunk.
#[derive(Debug, Default)]
pub(super) struct Backoffs(Vec<Entry>);

impl Backoffs {
    /// The peer could not give the chunk: leave it alone for longer than the last time.
    pub(super) fn note(&mut self, now: Instant, peer: PeerId, trouble: Trouble) {
        let known = self.0.iter().position(|e| e.peer == peer);
        let times = known.map_or(0, |i| self.0[i].times);
        let wait = match trouble {
            Trouble::Gone => AFTER_GONE,
            Trouble::Elsewhere { urgent: false } => AFTER_ELSEWHERE,
            Trouble::Elsewhere { urgent: true } => doubled(AFTER_ELSEWHERE_URGENT, times, AFTER_ELSEWHERE),
            Trouble::NotHeld | Trouble::Failed(_) => doubled(FIRST, times, LONGEST),
        };
        let entry = Entry {
            peer,
            times: times + 1,
            until: now + wait,
            last: trouble,
        };
        match known {
            Some(i) => self.0[i] = entry,
            None => {
                if self.0.len() == PEERS_MAX
                    && let Some(oldest) = (0..PEERS_MAX).min_by_key(|i| self.0[*i].until)
                {
                    self.0.swap_remove(oldest);
                }
                self.0.push(entry);
            }
        }
    }

    /// Until when the peer is left alone; `None` if it may be asked.
    pub(super) fn blocked_until(&self, now: Instant, peer: &PeerId) -> Option<Instant> {
        self.0
            .iter()
            .find(|e| e.peer == *peer)
            .map(|e| e.until)
            .filter(|until| *until > now)
    }

    /// How often peers have left it to others, those that are remembered.
    pub(super) fn times_left(&self) -> u32 {
        let left = self.0.iter().filter(|e| matches!(e.last, Trouble::Elsewhere { .. }));
        left.map(|e| e.times).sum()
    }

    /// What the peer said last, and how often it could not give the chunk.
    pub(super) fn last(&self, peer: &PeerId) -> Option<(&Trouble, u32)> {
        self.0.iter().find(|e| e.peer == *peer).map(|e| (&e.last, e.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_two_seconds_and_memory_is_bounded() {
        let mut backoffs = Backoffs::default();
        let peer = PeerId::from_bytes([0; 32]);
        for ms in [100, 200, 400, 800, 1600, 2000, 2000] {
            backoffs.note(Instant::ZERO, peer, Trouble::NotHeld);
            let until = Instant::ZERO + Duration::from_millis(ms);
            assert_eq!(backoffs.blocked_until(Instant::ZERO, &peer), Some(until));
            assert_eq!(backoffs.blocked_until(until, &peer), None);
        }
        (0..=255).for_each(|n| backoffs.note(Instant::ZERO, PeerId::from_bytes([n; 32]), Trouble::Gone));
        assert_eq!(backoffs.0.len(), PEERS_MAX);
    }
}
