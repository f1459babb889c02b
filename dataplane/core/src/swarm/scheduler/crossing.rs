//! What crosses from one zone to another: what nobody near holds or has asked for, fetched by few. Nothing of that holds for what somebody
//! waits for; that is asked where it comes from first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{AskState, Scheduler, named};
use crate::chunk::{ChunkRef, ChunkTag};
use crate::peer::PeerId;
use crate::swarm::zone::{GATES, rank};
use crate::swarm::{Action, AskId};
use crate::time::Instant;

/// How long what a near peer has asked for is waited for after it last said so, and how long that makes it a gate.
const COMING_MAX: Duration = Duration::from_secs(15);

/// And altogether.
const COMING_LONGEST: Duration = Duration::from_secs(120);

/// How often it is said of what is on its way for long.
const COMING_EVERY: Duration = Duration::from_secs(5);

/// How long those who are no gates wait where nothing at all comes from near peers.
const NEAR_SILENT_MAX: Duration = Duration::from_secs(15);

/// Chunks that others have asked for and that are remembered.
const CHUNKS_MAX: usize = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Crossing {
    /// This node's place among those who may be gates.
    rank: u64,
    /// Peers of other zones.
    far: BTreeSet<PeerId>,
    /// What near peers have asked of far ones.
    coming: BTreeMap<ChunkTag, Coming>,
    /// Near peers that ask far ones, and when they last did.
    gates: BTreeMap<PeerId, Instant>,
    /// When bytes last came from a near peer.
    near_at: Instant,
}

/// A chunk that a near peer has asked of a far one.
#[derive(Clone, Copy, Debug)]
struct Coming {
    by: PeerId,
    since: Instant,
    until: Instant,
}

impl Crossing {
    pub(super) fn is_far(&self, peer: &PeerId) -> bool {
        self.far.contains(peer)
    }

    /// Something is wanted again, after nothing was.
    pub(super) fn on_start(&mut self, now: Instant) {
        self.near_at = now;
    }

    /// Bytes came from the peer.
    pub(super) fn on_bytes(&mut self, now: Instant, from: &PeerId) {
        if !self.is_far(from) {
            self.near_at = now;
        }
    }

    /// A near peer has asked a far one for the chunk. What it asks for again and again and does not get, it is not waited for.
    fn on_coming(&mut self, now: Instant, by: PeerId, chunk: ChunkTag) {
        if self.coming.len() >= CHUNKS_MAX {
            self.coming.retain(|_, coming| coming.until > now);
        }
        let is_full = self.coming.len() >= CHUNKS_MAX;
        match self.coming.get_mut(&chunk) {
            Some(coming) if coming.by == by => coming.until = (now + COMING_MAX).min(coming.since + COMING_LONGEST),
            Some(coming) if coming.until > now => {}
            None if is_full => {}
            _ => {
                let until = now + COMING_MAX;
                self.coming.insert(chunk, Coming { by, since: now, until });
            }
        }
    }

    /// Whether the peer was waited for.
    fn on_not_coming(&mut self, now: Instant, by: PeerId, chunk: ChunkTag) -> bool {
        let coming = self
            .coming
            .get_mut(&chunk)
            .filter(|coming| coming.by == by && coming.until > now);
        let was_waited_for = coming.is_some();
        if let Some(coming) = coming {
            coming.until = now;
        }
        was_waited_for
    }

    /// The chunk is here.
    pub(super) fn on_held(&mut self, chunk: ChunkTag) {
        self.coming.remove(&chunk);
    }

    /// Whether what the peer was waited for had to be forgotten.
    pub(super) fn on_gone(&mut self, peer: &PeerId) -> bool {
        self.far.remove(peer);
        self.gates.remove(peer);
        let before = self.coming.len();
        self.coming.retain(|_, coming| coming.by != *peer);
        self.coming.len() != before
    }

    /// Whether a far peer may be asked for a chunk that no near one holds; when to look again, if not.
    pub(super) fn may_cross(&self, now: Instant, chunk: ChunkTag) -> Result<(), Instant> {
        if let Some(coming) = self.coming.get(&chunk)
            && coming.until > now
        {
            return Err(coming.until);
        }
        let is_before_us = |(peer, at): &(&PeerId, &Instant)| now.since(**at) < COMING_MAX && rank(peer) < self.rank;
        let enough = self.gates.iter().filter(is_before_us).count() >= GATES;
        let until = self.near_at + NEAR_SILENT_MAX;
        if enough && until > now { Err(until) } else { Ok(()) }
    }
}

impl Scheduler {
    /// Who this node is among those of its zone.
    pub fn on_identity(&mut self, own: &PeerId) {
        self.crossing.rank = rank(own);
    }

    /// Whether the peer is in another zone.
    pub fn on_zone(&mut self, now: Instant, peer: PeerId, is_far: bool) {
        let is_news = match is_far {
            true => self.crossing.far.insert(peer),
            false => self.crossing.far.remove(&peer),
        };
        if is_news {
            self.look_again(now);
        }
    }

    /// A peer of the same zone has asked a far one for these.
    pub fn on_coming(&mut self, now: Instant, peer: PeerId, chunks: &[ChunkTag]) {
        if self.crossing.is_far(&peer) || self.sources_of(peer).next().is_none() {
            return;
        }
        self.crossing.gates.insert(peer, now);
        for chunk in chunks {
            self.crossing.on_coming(now, peer, *chunk);
        }
    }

    /// Tells near peers of an ask that crosses, now and then.
    pub(super) fn tell_near(&mut self, now: Instant, ask: AskId) {
        let Some(state) = self.asks.get_mut(&ask) else { return };
        let is_due = state.told_at.is_none_or(|at| now.since(at) >= COMING_EVERY);
        if !is_due || !self.crossing.is_far(&state.source.peer) {
            return;
        }
        state.told_at = Some(now);
        let chunk = state.chunk;
        self.say_crossing(chunk, true);
    }

    /// An ask ended without its chunk: if near peers were told of it, they had better not wait.
    pub(super) fn tell_near_of_end(&mut self, state: &AskState) {
        if state.told_at.is_some() {
            self.say_crossing(state.chunk, false);
        }
    }

    fn say_crossing(&mut self, chunk: ChunkRef, is_coming: bool) {
        if let Some(wanted) = self.chunks.get(&chunk) {
            self.actions.push_back(Action::Crossing {
                release: wanted.releases[0],
                chunk: chunk.id.into(),
                is_coming,
            });
        }
    }

    /// What a near peer has asked far ones for does not come from there.
    pub fn on_not_coming(&mut self, now: Instant, peer: PeerId, chunks: &[ChunkTag]) {
        for chunk in chunks {
            if !self.crossing.on_not_coming(now, peer, *chunk) {
                continue;
            }
            let [first, last] = chunk.names();
            let waiting: Vec<ChunkRef> = self.chunks.range(named(first, last)).map(|(chunk, _)| *chunk).collect();
            for chunk in waiting {
                self.unpark(chunk);
            }
        }
    }

    /// Whether a far peer may not be asked for the chunk now, and when to look again. `has_near`: a near one has it to give.
    pub(super) fn kept_near(&self, now: Instant, chunk: ChunkRef, has_near: bool) -> Option<Option<Instant>> {
        // At the end, what has brought nothing yet may be taken back and asked elsewhere.
        let is_end = self.queues.is_empty();
        let is_crossing = |ask| {
            let state = &self.asks[ask];
            self.crossing.is_far(&state.source.peer) && !(is_end && state.came == 0)
        };
        if has_near || self.chunks[&chunk].asks.iter().any(is_crossing) {
            return Some(None);
        }
        self.crossing.may_cross(now, chunk.id.into()).err().map(Some)
    }

    /// Whether one more chunk may be asked of far peers, as far as the way to them goes: one, or as many as come within a second at the rate
    /// that they have shown. What waits for a thin link between the zones is neither here nor asked by others.
    pub(super) fn has_far_room(&self) -> bool {
        let (mut outstanding, mut rate) = (0, 0);
        for peer in &self.crossing.far {
            for (_, state) in self.sources_of(*peer) {
                outstanding += state.window.outstanding();
                rate += state.window.rate();
            }
        }
        outstanding == 0 || outstanding < rate
    }
}
