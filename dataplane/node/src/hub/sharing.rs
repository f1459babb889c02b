//! Between the swarm machines and the paths: what peers say of a release and of one another reaches the machines, and what those say goes to
//! whom it is for.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ares_core::admission::{Access, Refusals};
use ares_core::chunk::{ChunkId, ReleaseId};
use ares_core::limits::TOLD_ADDRS_MAX;
use ares_core::peer::{PathId, PeerAt, PeerId};
use ares_core::store::ReleaseState;
use ares_core::swarm::{Class, Zone};
use ares_core::time::Instant;
use ares_core::wire::{ClaimState, Frame, Peers};

use super::{Hub, wanted};
use crate::api::Sink;
use crate::mailbox::ToShard;

/// How often the store hears what is rare.
const RARITY_EVERY: Duration = Duration::from_secs(1);

/// What a list of peers is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Who takes part.
    Others,
    /// Who fetches for this zone what nobody there has.
    Gates,
}

impl Hub {
    /// A peer says who else takes part in a release.
    pub(super) fn on_told(&mut self, now: Instant, by: PeerId, told: Peers, which: Told) {
        if self.interests.knows(&told.release) && self.sharing.is_member(&told.release, &by) {
            self.on_others(now, told, which);
        }
    }

    /// A peer says in which zone it is. One that turns up with a path is there already: its other paths say the same.
    pub(super) fn on_zone(&mut self, now: Instant, peer: PeerId, zone: String) {
        if self.paths_up_of(peer).is_empty() || self.scheduler.is_dropped(&peer) {
            return;
        }
        let is_far = self.sharing.on_zone(peer, Zone::of(&zone));
        self.zones.insert(peer, zone);
        self.scheduler.on_zone(now, peer, is_far);
    }

    /// A peer says how much of a release it has, and so asks what is here of it.
    pub(super) fn on_claim(&mut self, now: Instant, path: PathId, peer: PeerId, release: ReleaseId, state: ClaimState) {
        if self.parts.config.access.may_have(&peer, &release) {
            self.scheduler.on_claim(now, release, peer, state);
            self.on_takes_part(now, peer, release, state);
            if self.interests.knows(&release) || self.parts.store.release_state(release).is_some() {
                self.sharing.on_claim(now, release, peer, state);
            }
        } else if self.parts.totals.refused_releases.on_refused(now) {
            tracing::warn!(peer = %peer.short(), "a peer asked for a release that `access.releases` gives to others; {}", Refusals::UNSAID);
        }
        if self.interests.may_be_told(path, release) {
            self.tell_claim(path, release);
        }
    }

    /// Keys may something else now. Who may not have a release any more is told no more of it, nor others of it.
    pub(super) fn on_access(&mut self, now: Instant, access: Access) {
        for shard in &self.parts.shards {
            shard.send(ToShard::Access(access.clone()));
        }
        if let Some(pulling) = &mut self.pulling {
            pulling.on_access(&access);
        }
        let before = std::mem::replace(&mut self.parts.config.access, access);
        let access = &self.parts.config.access;
        let limited: BTreeSet<ReleaseId> = before.releases.keys().chain(access.releases.keys()).copied().collect();
        for release in limited {
            let connected: BTreeSet<PeerId> = self.paths.values().map(|known| known.peer).collect();
            for peer in connected {
                if !self.parts.config.access.may_have(&peer, &release) {
                    self.sharing.on_claim(now, release, peer, ClaimState::None);
                    self.scheduler.on_claim(now, release, peer, ClaimState::None);
                }
            }
            self.announce(release);
        }
    }

    /// Goes to some of those who are said to take part in a release, while not all of it is here. Whoever says so may lie: one that cannot be
    /// reached is forgotten, unless a link names it.
    pub(super) fn on_others(&mut self, now: Instant, told: Peers, which: Told) {
        let Peers { release, mut peers } = told;
        if self.claim_of(release) == ClaimState::Complete {
            return;
        }
        peers.retain(|told| told.peer != self.parts.identity && !self.scheduler.is_dropped(&told.peer));
        if let Told::Gates = which {
            let gates: Vec<PeerId> = peers.iter().map(|told| told.peer).collect();
            self.scheduler.on_gates_named(now, release, &gates);
        }
        let is_known = |told: &PeerAt| self.interests.is_hinted_for(&release, &told.peer);
        let (known, peers): (Vec<PeerAt>, _) = peers.into_iter().partition(is_known);
        for PeerAt { peer, addrs } in known {
            // It may be somewhere else than where it is looked for.
            if !self.sharing.is_member(&release, &peer) {
                let wanted = wanted(&self.waiting, &self.interests, self.pulling.as_ref(), &self.scheduler);
                self.dialer.on_hint(now, peer, &addrs, wanted);
            }
        }
        let told = Peers { release, peers };
        let links = match which {
            Told::Others => self.sharing.on_told(now, told),
            Told::Gates => self.sharing.on_gates_told(told),
        };
        self.on_hints(now, release, &links);
    }

    /// A chunk of the release is in the store.
    pub(super) fn on_held(&mut self, now: Instant, release: ReleaseId, chunk: ChunkId, bytes: u64) {
        if self.parts.config.sink == Sink::Store && self.claim_of(release) == ClaimState::Partial {
            self.sharing.on_held(now, release, chunk.into(), bytes);
        }
    }

    /// Tells those who take part in releases what is here and who else is, and the store what is rare near here.
    pub(super) fn share(&mut self, now: Instant) {
        if now >= self.rarity_at && self.parts.store.is_bounded() {
            self.rarity_at = now + RARITY_EVERY;
            self.parts.store.set_whole_nearby(self.sharing.whole_nearby().collect());
        }
        for (peer, coming) in self.sharing.poll_coming(now) {
            // Who may ask an edge for all of it need not wait for more.
            let is_relayed = self.pulling.as_ref().is_some_and(|pulling| pulling.relays(&coming.release));
            if let (false, Some(path)) = (is_relayed, self.told_path(peer, &coming.release)) {
                self.say(path, Frame::Coming(coming));
            }
        }
        self.go_further(now);
        if self.sharing.deadline().is_none_or(|at| at > now) {
            return;
        }
        let store = &self.parts.store;
        let is_relayed = |release: &ReleaseId| self.pulling.as_ref().is_some_and(|pulling| pulling.relays(release));
        let is_partial = |release: &ReleaseId| {
            // Who may ask for all of it need not know what is here.
            store.release_state(*release) != Some(ReleaseState::Complete) && !is_relayed(release)
        };
        let scheduler = &self.scheduler;
        let haves = self
            .sharing
            .poll_have(now, is_partial, |peer, chunk| scheduler.is_held_by(peer, chunk));
        for (peer, have) in haves {
            match self.told_path(peer, &have.release) {
                Some(path) => self.say(path, Frame::Have(have)),
                None => self.sharing.on_path_gone(now, &peer),
            }
        }
        for tell in self.sharing.poll_peers(now) {
            let Some(path) = self.told_path(tell.peer, &tell.release) else {
                continue;
            };
            let is_here = self.paths[&path].remote.ip().is_loopback();
            for (others, frame) in [(tell.gates, Frame::Gates as fn(Peers) -> Frame), (tell.others, Frame::Peers)] {
                let met = others.into_iter().filter_map(|other| self.where_met(other, is_here));
                let (release, peers) = (tell.release, met.collect::<Vec<PeerAt>>());
                if !peers.is_empty() {
                    self.say(path, frame(Peers { release, peers }));
                }
            }
        }
    }

    /// Goes to more of those who take part in what is downloaded, where others leave this node behind. Looked at when something else is to be done:
    /// while others get on they say so.
    fn go_further(&mut self, now: Instant) {
        let store = &self.parts.store;
        // Costs a look at every chunk that is wanted.
        let is_downloading = LazyCell::new(|| {
            self.parts.config.sink == Sink::Store && self.scheduler.outstanding(now)[Class::Bulk as usize].wants > 0
        });
        let is_relayed = |release: &ReleaseId| self.pulling.as_ref().is_some_and(|pulling| pulling.relays(release));
        let is_partial = |release: &ReleaseId| {
            store.release_state(*release) == Some(ReleaseState::Partial) && !is_relayed(release) && *is_downloading
        };
        for (release, further) in self.sharing.poll_lag(now, is_partial) {
            tracing::debug!(release = %release.0.short(), peer = %further.peer.short(), "others leave us behind: going to one more");
            self.on_hints(now, release, &[further]);
        }
    }

    /// A path over which the peer was told what is claimed here of the release.
    fn told_path(&self, peer: PeerId, release: &ReleaseId) -> Option<PathId> {
        let mut up = self.paths_up_of(peer).into_iter();
        up.find(|path| self.interests.was_told(path, release))
    }

    /// Where a peer is, as its paths have it; loopback is none for a peer on another machine.
    fn where_met(&self, peer: PeerId, is_here: bool) -> Option<PeerAt> {
        let mut addrs: Vec<SocketAddr> = self
            .paths_up_of(peer)
            .into_iter()
            .map(|path| self.paths[&path].remote)
            .filter(|at| is_here || !at.ip().is_loopback())
            .collect();
        addrs.sort_unstable();
        addrs.dedup_by_key(|at| at.ip());
        addrs.truncate(TOLD_ADDRS_MAX);
        (!addrs.is_empty()).then_some(PeerAt { peer, addrs })
    }
}
