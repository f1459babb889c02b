//! What crosses from one zone to another: what nobody near holds or has asked for, fetched by few. Nothing of that holds for what somebody
//! waits for; that is asked where it comes from first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::assign::Candidate;
use super::{AskState, Scheduler, named};
use crate::chunk::{ChunkRef, ChunkTag, ReleaseId};
use crate::path::health::Pulse;
use crate::peer::PeerId;
use crate::swarm::zone::{GATES, rank};
use crate::swarm::{Action, AskId, Class};
use crate::time::Instant;

/// How long what a near peer has asked for is waited for after it last said so, and how long that makes it a gate.
const COMING_MAX: Duration = Duration::from_secs(15);

/// And altogether.
const COMING_LONGEST: Duration = Duration::from_secs(120);

/// How long whoever others call a gate is taken for one, though it has not said itself what it asks: those who come at the same moment know
/// each other by then.
const NAMED_MAX: Duration = Duration::from_secs(1);

/// With so many gates known, no more are remembered because others name them: whoever does may lie.
const NAMED_GATES_MAX: usize = 64;

/// How often it is said of what is on its way for long.
const COMING_EVERY: Duration = Duration::from_secs(5);

/// How long near peers are left to bring something: nothing of a release for so long, and a far one is asked whatever they say.
const SILENT_MAX: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Crossing {
    /// This node's place among those who may be gates.
    rank: u64,
    /// Peers of other zones.
    far: BTreeSet<PeerId>,
    /// What near peers have asked of far ones, of what is wanted here.
    coming: BTreeMap<ChunkTag, Coming>,
    /// Near peers that ask far ones for what is wanted here, and until when they are believed to.
    pub(super) gates: BTreeMap<(ReleaseId, PeerId), Instant>,
    /// When bytes of a release last came from a near peer, or something of it was wanted first.
    near_at: BTreeMap<ReleaseId, Instant>,
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

    /// Something of the release is wanted.
    pub(super) fn on_want(&mut self, now: Instant, release: ReleaseId) {
        self.near_at.entry(release).or_insert(now);
    }

    /// Nothing is wanted any more.
    pub(super) fn on_idle(&mut self) {
        self.coming.clear();
        self.gates.clear();
        self.near_at.clear();
    }

    /// Bytes of the release came from the peer.
    fn on_bytes(&mut self, now: Instant, release: ReleaseId, from: &PeerId) {
        if !self.is_far(from) {
            self.near_at.insert(release, now);
        }
    }

    /// A near peer has asked a far one for the chunk. What it asks for again and again and does not get, it is not waited for.
    fn on_coming(&mut self, now: Instant, by: PeerId, chunk: ChunkTag) {
        match self.coming.get_mut(&chunk) {
            Some(coming) if coming.by == by => coming.until = (now + COMING_MAX).min(coming.since + COMING_LONGEST),
            Some(coming) if coming.until > now => {}
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

    /// The chunk is here, or not wanted any more.
    pub(super) fn on_end(&mut self, chunk: ChunkTag) {
        self.coming.remove(&chunk);
    }

    /// Whether what the peer was waited for had to be forgotten.
    pub(super) fn on_gone(&mut self, peer: &PeerId) -> bool {
        self.far.remove(peer);
        self.gates.retain(|(_, gate), _| gate != peer);
        let before = self.coming.len();
        self.coming.retain(|_, coming| coming.by != *peer);
        self.coming.len() != before
    }

    /// Whether a far peer may be asked for a chunk that no near one holds; when to look again, if not.
    fn may_cross(&self, now: Instant, release: ReleaseId, chunk: ChunkTag) -> Result<(), Instant> {
        if let Some(coming) = self.coming.get(&chunk)
            && coming.until > now
        {
            return Err(coming.until);
        }
        let of_release = self.gates.iter().filter(|((of, _), _)| *of == release);
        let before_us = of_release.filter(|((_, gate), until)| **until > now && rank(gate) < self.rank);
        // Until when so many of them are gates: the least of the latest.
        let mut latest = [Instant::ZERO; GATES];
        for (_, until) in before_us {
            if *until > latest[0] {
                latest[0] = *until;
                latest.sort_unstable();
            }
        }
        let near_at = self.near_at.get(&release).copied().unwrap_or_default();
        let until = latest[0].min(near_at + SILENT_MAX);
        if until > now { Err(until) } else { Ok(()) }
    }

    fn on_gate(&mut self, release: ReleaseId, gate: PeerId, until: Instant) {
        let known = self.gates.entry((release, gate)).or_insert(until);
        *known = until.max(*known);
    }
}

impl Scheduler {
    /// Who this node is among those of its zone.
    pub fn on_identity(&mut self, own: &PeerId) {
        self.crossing.rank = rank(own);
    }

    /// Whether the peer, to which there is a path, is in another zone.
    pub fn on_zone(&mut self, now: Instant, peer: PeerId, is_far: bool) {
        let is_news = match is_far {
            true => self.sources_of(peer).next().is_some() && self.crossing.far.insert(peer),
            false => self.crossing.far.remove(&peer),
        };
        if is_news {
            self.look_again(now);
        }
    }

    /// A peer of the same zone, which has a part of the release, has asked a far one for these. What is not wanted here is none of our business.
    pub fn on_coming(&mut self, now: Instant, peer: PeerId, release: ReleaseId, chunks: &[ChunkTag]) {
        if self.crossing.is_far(&peer) || self.sources_of(peer).next().is_none() {
            return;
        }
        for chunk in chunks {
            let [first, last] = chunk.names();
            if self.chunks.range(named(first, last)).next().is_some() {
                self.crossing.on_gate(release, peer, now + COMING_MAX);
                self.crossing.on_coming(now, peer, *chunk);
            }
        }
    }

    /// Others say who of this zone fetches from far what nobody here has of the release.
    pub fn on_gates_named(&mut self, now: Instant, release: ReleaseId, gates: &[PeerId]) {
        let Crossing {
            gates: known, near_at, ..
        } = &mut self.crossing;
        known.retain(|_, until| *until > now);
        // Those of what is not wanted here are nobody's business.
        if near_at.contains_key(&release) {
            let room = NAMED_GATES_MAX.saturating_sub(known.len());
            for gate in gates.iter().take(room) {
                self.crossing.on_gate(release, *gate, now + NAMED_MAX);
            }
        }
    }

    /// Bytes of an ask came from its source.
    pub(super) fn on_bytes_from(&mut self, now: Instant, ask: AskId) {
        let state = &self.asks[&ask];
        if let Some(wanted) = self.chunks.get(&state.chunk) {
            self.crossing.on_bytes(now, wanted.releases[0], &state.source.peer);
        }
        self.tell_near(now, ask);
    }

    /// Tells near peers of an ask that crosses, now and then.
    pub(super) fn tell_near(&mut self, now: Instant, ask: AskId) {
        let Some(state) = self.asks.get_mut(&ask) else { return };
        let is_due = state.told_at.is_none_or(|at| now.since(at) >= COMING_EVERY);
        // Whoever reads a little now and then is no gate.
        if !is_due || state.class == Class::Deadline || !self.crossing.is_far(&state.source.peer) {
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

    /// The same of all asks of a chunk that ends without being held.
    pub(super) fn tell_near_of_ends(&mut self, chunk: ChunkRef) {
        let asks = self.chunks.get(&chunk).into_iter().flat_map(|wanted| &wanted.asks);
        if asks.into_iter().any(|ask| self.asks[ask].told_at.is_some()) {
            self.say_crossing(chunk, false);
        }
    }

    pub(super) fn say_crossing(&mut self, chunk: ChunkRef, is_coming: bool) {
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
        // At the end, what has brought nothing yet may be taken back and asked elsewhere; and what a dead path owes always.
        let is_end = self.queues.is_empty();
        let is_crossing = |ask| {
            let AskState { source, came, .. } = &self.asks[ask];
            let is_dead = self.sources[source].pulse == Pulse::Suspect;
            self.crossing.is_far(&source.peer) && !is_dead && !(is_end && *came == 0)
        };
        let wanted = &self.chunks[&chunk];
        if wanted.asks.iter().any(is_crossing) {
            return Some(None);
        }
        let release = wanted.releases[0];
        let came_at = self.came_at.get(&release).copied().unwrap_or_default();
        let silent_until = came_at.max(wanted.urgent_at) + SILENT_MAX;
        if now >= silent_until {
            return None;
        }
        if has_near {
            return Some(Some(silent_until));
        }
        let until = self.crossing.may_cross(now, release, chunk.id.into()).err()?;
        Some(Some(until.min(silent_until)))
    }

    /// Whether one more chunk may be asked of far peers, as far as the way to them goes: one, or as many as come within a second at the rate
    /// that they have shown. What waits for a thin link between the zones is neither here nor asked by others.
    pub(super) fn has_far_room(&self, candidates: &[Candidate]) -> bool {
        let (mut outstanding, mut rate) = (0, 0);
        for candidate in candidates.iter().filter(|candidate| candidate.is_far) {
            let state = &self.sources[&candidate.source];
            if !state.is_suspect() {
                outstanding += state.window.outstanding();
                rate += state.window.rate();
            }
        }
        outstanding == 0 || outstanding < rate
    }
}
