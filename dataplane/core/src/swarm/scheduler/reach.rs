//! Wants for which nobody can be reached or nobody is left to ask, and that do not wait for somebody to come.

use std::collections::BTreeMap;

use super::{Scheduler, WantState};
use crate::chunk::{ChunkRef, ReleaseId};
use crate::peer::PeerId;
use crate::swarm::backoff::Trouble;
use crate::swarm::peers::Likely;
use crate::swarm::source::{Room, SourceState};
use crate::swarm::{AskId, FetchError, Unreached, WantKey};
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
        if want.unreached != Unreached::GiveUp {
            return false;
        }
        let chunk = &self.chunks[&want.chunk];
        let patience = want.until.since(want.since);
        let is_lost = |release| self.peers.are_out_of_reach(now, release, want.since, patience);
        let has_source = |release| {
            self.peers
                .likely(release)
                .any(|(peer, _)| self.sources_of(peer).next().is_some())
        };
        // What is being verified has come already.
        chunk.asks.is_empty()
            && chunk.releases.iter().all(|release| is_lost(*release))
            && !chunk
                .releases
                .iter()
                .any(|release| *known.entry(*release).or_insert_with(|| has_source(*release)))
    }

    /// Ends those wants of the chunk that are not to wait, where nobody who is connected may have it.
    pub(super) fn refuse_if_lacked(&mut self, now: Instant, chunk: ChunkRef) {
        let Some(state) = self.chunks.get(&chunk) else { return };
        // One that was asked of who has fallen silent is as good as not asked; what is being verified has come.
        let is_on_its_way = |ask: &AskId| !self.asks[ask].is_doubted || self.asks[ask].is_arrived;
        if state.asks.iter().any(is_on_its_way) {
            return;
        }
        let is_hasty = |key: &&WantKey| self.wants[*key].unreached == Unreached::Refuse;
        let hasty: Vec<WantKey> = state.wants.iter().filter(is_hasty).copied().collect();
        if hasty.is_empty() || self.may_be_had(now, chunk) {
            return;
        }
        let why = self.reason(now, chunk);
        for key in hasty {
            let why = why.clone();
            self.end_want(now, key, FetchError::Lacked { chunk: chunk.id, why });
        }
    }

    /// The same for all chunks: some peer is of no help any more.
    pub(super) fn refuse_all_lacked(&mut self, now: Instant) {
        let hasty = self.wants.values().filter(|want| want.unreached == Unreached::Refuse);
        let chunks: Vec<ChunkRef> = hasty.map(|want| want.chunk).collect();
        chunks.into_iter().for_each(|chunk| self.refuse_if_lacked(now, chunk));
    }

    /// Whether a peer is connected that has the chunk by its own word or a link's, answers, and has not just said that it lacks it. One with
    /// a part that has said nothing of this chunk is no reason to wait: mostly it is among those who want it.
    fn may_be_had(&self, now: Instant, chunk: ChunkRef) -> bool {
        let state = &self.chunks[&chunk];
        let lacks = |peer: &PeerId| {
            let has_said_so = matches!(state.backoffs.last(peer), Some((Trouble::NotHeld | Trouble::Gone, _)));
            has_said_so && state.backoffs.blocked_until(now, peer).is_some()
        };
        let is_said_to_have_it = |peer: &PeerId, likely| {
            let has_claimed = || state.releases.iter().any(|release| self.peers.has_claimed(*release, peer));
            likely == Likely::Complete || self.is_held_by(peer, chunk.id.into()) || !has_claimed()
        };
        let answers = |source: &SourceState| source.room(now, state.class, &self.config) != Room::Mute;
        let mut likely = self.peers.all_likely(&state.releases).into_iter();
        likely.any(|(peer, likely)| {
            let may_have_it = is_said_to_have_it(&peer, likely) && !lacks(&peer);
            may_have_it && self.sources_of(peer).any(|(_, source)| answers(source))
        })
    }
}
