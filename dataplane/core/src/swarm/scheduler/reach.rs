//! Wants for which nobody can be reached, and that do not wait for somebody to come.

use std::collections::BTreeMap;

use super::{Scheduler, WantState};
use crate::chunk::ReleaseId;
use crate::peer::PeerId;
use crate::swarm::{FetchError, Unreached, WantKey};
use crate::time::Instant;

impl Scheduler {
    /// All addresses of a peer were dialled, and each has failed for good: nobody there, somebody else, no way. A peer that is there and
    /// has no place for us is not meant: it will have one.
    pub fn on_unreached(&mut self, now: Instant, peer: PeerId) {
        self.peers.on_unreached(now, &peer);
        self.give_up(now);
    }

    /// Ends the wants that nobody is left for.
    pub(super) fn give_up(&mut self, now: Instant) {
        let mut known = BTreeMap::new();
        let hopeless: Vec<WantKey> = self
            .wants
            .iter()
            .filter(|(_, want)| self.is_hopeless(now, want, &mut known))
            .map(|(key, _)| *key)
            .collect();
        for key in hopeless {
            let want = &self.wants[&key];
            let error = FetchError::Unreached {
                chunk: want.chunk.id,
                waited_ms: now.since(want.since).as_millis() as u64,
                why: self.reason_of_nobody(),
            };
            self.end_want(now, key, error);
        }
    }

    /// `known`: releases of which a source is known to have something or not, as far as was looked.
    fn is_hopeless(&self, now: Instant, want: &WantState, known: &mut BTreeMap<ReleaseId, bool>) -> bool {
        if want.unreached == Unreached::Wait {
            return false;
        }
        let chunk = &self.chunks[&want.chunk];
        let patience = want.until.since(want.since);
        let is_lost = |release| self.peers.are_out_of_reach(now, release, want.since, patience);
        let has_source = |release| {
            let mut likely = self.peers.all_likely(&[release]).into_iter();
            likely.any(|(peer, _)| self.sources_of(peer).next().is_some())
        };
        // What is being verified has come already.
        chunk.asks.is_empty()
            && chunk.releases.iter().all(|release| is_lost(*release))
            && !chunk
                .releases
                .iter()
                .any(|release| *known.entry(*release).or_insert_with(|| has_source(*release)))
    }
}
