//! What is known of peers: what they claim, what links say of them, which cannot be reached or were dropped, and why the last ones
//! left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::DropReason;
use crate::chunk::ReleaseId;
use crate::peer::PeerId;
use crate::time::Instant;
use crate::wire::ClaimState;

/// Releases remembered per peer; what it claims beyond is not believed, so that claims cost bounded memory: 64 KiB a peer, and a shard
/// may have thousands that nobody knows.
const CLAIMS_MAX: usize = 512;
/// Dropped peers remembered; the earliest is forgotten for a new one.
const DROPPED_MAX: usize = 4096;
/// Departures remembered, for the reasons of failed wants.
const DEPARTED_MAX: usize = 4;

/// How likely a peer has a chunk of a release. Earlier ones are asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likely {
    /// It claims all of the release.
    Complete,
    /// It claims a part, or a link names it.
    Perhaps,
}

/// The way to a peer that a link names.
#[derive(Debug, Default)]
struct Way {
    /// When it was last lost.
    left_at: Option<Instant>,
    /// When each of its addresses was last dialled in vain, and when before that; since a path to it was last up.
    failed_at: [Option<Instant>; 2],
}

#[derive(Debug, Default)]
pub(super) struct Peers {
    claims: BTreeMap<PeerId, BTreeMap<ReleaseId, ClaimState>>,
    hints: BTreeSet<(ReleaseId, PeerId)>,
    /// What follows from both, looked at for every ask: most peers have nothing of what we want, and none of them is here.
    likely: BTreeMap<ReleaseId, BTreeMap<PeerId, Likely>>,
    ways: BTreeMap<PeerId, Way>,
    dropped: BTreeMap<PeerId, DropReason>,
    dropped_order: VecDeque<PeerId>,
    departed: VecDeque<(PeerId, String)>,
}

impl Peers {
    /// Whether that is news.
    pub(super) fn on_claim(&mut self, release: ReleaseId, peer: PeerId, state: ClaimState) -> bool {
        let claims = self.claims.entry(peer).or_default();
        let is_known = claims.contains_key(&release);
        if claims.len() == CLAIMS_MAX && !is_known && state != ClaimState::None {
            // That it has nothing of something is the least worth remembering.
            let nothing = claims
                .iter()
                .find(|(_, state)| **state == ClaimState::None)
                .map(|(release, _)| *release);
            if let Some(nothing) = nothing {
                claims.remove(&nothing);
                self.judge(nothing, peer);
            }
        }
        let claims = self.claims.entry(peer).or_default();
        let is_remembered = claims.len() < CLAIMS_MAX || is_known;
        if !is_remembered || claims.insert(release, state) == Some(state) {
            return false;
        }
        self.judge(release, peer);
        true
    }

    /// Whether that is news.
    pub(super) fn on_hint(&mut self, release: ReleaseId, peer: PeerId) -> bool {
        self.ways.entry(peer).or_default();
        let is_news = self.hints.insert((release, peer));
        self.judge(release, peer);
        is_news
    }

    /// Nobody names the peer for the release any more.
    pub(super) fn on_hint_gone(&mut self, release: ReleaseId, peer: PeerId) {
        self.hints.remove(&(release, peer));
        self.judge(release, peer);
        if !self.hints.iter().any(|(_, other)| *other == peer) {
            self.ways.remove(&peer);
        }
    }

    /// A path to the peer is up.
    pub(super) fn on_up(&mut self, peer: &PeerId) {
        if let Some(way) = self.ways.get_mut(peer) {
            way.failed_at = [None; 2];
        }
    }

    /// All addresses of the peer were dialled in vain.
    pub(super) fn on_unreached(&mut self, now: Instant, peer: &PeerId) {
        if let Some(way) = self.ways.get_mut(peer) {
            way.failed_at = [way.failed_at[1], Some(now)];
        }
    }

    /// Whether there is no hope for whoever has waited for the release since `since`: links name peers for it, and each was dropped or,
    /// since then, dialled in vain twice. A peer that was there less than `patience` ago may just be restarting.
    pub(super) fn are_out_of_reach(&self, now: Instant, release: ReleaseId, since: Instant, patience: Duration) -> bool {
        let mut hinted = self.hinted(release).peekable();
        hinted.peek().is_some()
            && hinted.all(|peer| {
                let is_lost = |way: &Way| {
                    let is_long_gone = way.left_at.is_none_or(|at| now.since(at) >= patience);
                    is_long_gone && way.failed_at[0].is_some_and(|at| at >= since)
                };
                self.dropped.contains_key(&peer) || self.ways.get(&peer).is_some_and(is_lost)
            })
    }

    fn hinted(&self, release: ReleaseId) -> impl Iterator<Item = PeerId> {
        peers_of(&self.hints, release)
    }

    /// The peers that may have a chunk of the release, in order, connected or not.
    pub(super) fn likely(&self, release: ReleaseId) -> impl ExactSizeIterator<Item = (PeerId, Likely)> {
        static NOBODY: BTreeMap<PeerId, Likely> = BTreeMap::new();
        let known = self.likely.get(&release).unwrap_or(&NOBODY);
        known.iter().map(|(peer, likely)| (*peer, *likely))
    }

    /// The same of one of these releases.
    pub(super) fn all_likely(&self, releases: &[ReleaseId]) -> Vec<(PeerId, Likely)> {
        let mut all: Vec<(PeerId, Likely)> = releases.iter().flat_map(|release| self.likely(*release)).collect();
        if releases.len() > 1 {
            all.sort_unstable();
            all.dedup_by_key(|(peer, _)| *peer);
        }
        all
    }

    /// The last path to the peer is gone: it will say again what it has.
    pub(super) fn on_gone(&mut self, peer: &PeerId) {
        for release in self.claims.remove(peer).into_iter().flatten().map(|(release, _)| release) {
            self.judge(release, *peer);
        }
    }

    /// The last path to the peer is gone.
    pub(super) fn on_departed(&mut self, now: Instant, peer: PeerId, why: String) {
        if let Some(way) = self.ways.get_mut(&peer) {
            way.left_at = Some(now);
        }
        self.departed.retain(|(known, _)| *known != peer);
        if self.departed.len() == DEPARTED_MAX {
            self.departed.pop_front();
        }
        self.departed.push_back((peer, why));
    }

    /// The peers that left last, and why.
    pub(super) fn departed(&self) -> impl Iterator<Item = &(PeerId, String)> {
        self.departed.iter()
    }

    /// Whether the peer was not dropped before.
    pub(super) fn on_drop(&mut self, now: Instant, peer: PeerId, why: DropReason) -> bool {
        if self.dropped.contains_key(&peer) {
            return false;
        }
        if self.dropped.len() == DROPPED_MAX
            && let Some(earliest) = self.dropped_order.pop_front()
        {
            self.dropped.remove(&earliest);
        }
        self.on_departed(now, peer, format!("dropped: {why}"));
        self.dropped.insert(peer, why);
        self.dropped_order.push_back(peer);
        true
    }

    pub(super) fn dropped(&self, peer: &PeerId) -> Option<&DropReason> {
        self.dropped.get(peer)
    }

    /// All that were dropped and are remembered, the last one last.
    pub(super) fn all_dropped(&self) -> impl Iterator<Item = (PeerId, &DropReason)> {
        let why = |peer: &PeerId| Some((*peer, self.dropped.get(peer)?));
        self.dropped_order.iter().filter_map(why)
    }

    /// Who says that it has all of the release.
    pub(super) fn who_has_all(&self, release: ReleaseId) -> impl Iterator<Item = PeerId> {
        let known = self.likely(release);
        known.filter(|(_, likely)| *likely == Likely::Complete).map(|(peer, _)| peer)
    }

    /// Whether the peer has said how much it has of the release.
    pub(super) fn has_claimed(&self, release: ReleaseId, peer: &PeerId) -> bool {
        self.claims.get(peer).is_some_and(|claims| claims.contains_key(&release))
    }

    /// The releases that the peer says it has something of.
    pub(super) fn claims_of(&self, peer: &PeerId) -> impl Iterator<Item = (ReleaseId, ClaimState)> {
        let claims = self.claims.get(peer).into_iter().flatten();
        let claims = claims.map(|(release, state)| (*release, *state));
        claims.filter(|(_, state)| *state != ClaimState::None)
    }

    /// What a peer has said of a release, or a link of the peer, has changed. One that says it has nothing of the release is not likely, nor
    /// is a stranger, which neither claimed any of it nor is named for it by a link: a question for a chunk tells its name, and the name of a
    /// release gives access to it.
    fn judge(&mut self, release: ReleaseId, peer: PeerId) {
        let likely = match self.claims.get(&peer).and_then(|claims| claims.get(&release)) {
            Some(ClaimState::Complete) => Some(Likely::Complete),
            Some(ClaimState::Partial) => Some(Likely::Perhaps),
            Some(ClaimState::None) => None,
            None => self.hints.contains(&(release, peer)).then_some(Likely::Perhaps),
        };
        let of_release = self.likely.entry(release).or_default();
        match likely {
            Some(likely) => drop(of_release.insert(peer, likely)),
            None => drop(of_release.remove(&peer)),
        }
        if of_release.is_empty() {
            self.likely.remove(&release);
        }
    }
}

fn peers_of(pairs: &BTreeSet<(ReleaseId, PeerId)>, release: ReleaseId) -> impl Iterator<Item = PeerId> {
    let lowest = PeerId::from_bytes([0; 32]);
    let from = pairs.range((release, lowest)..);
    from.map_while(move |(of, peer)| (*of == release).then_some(*peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkId;
    use crate::rng::Rng;

    /// Against what each peer has said and each link says, by itself.
    #[test]
    fn who_is_likely_is_found_without_looking_at_the_others() {
        let release = |n: usize| ReleaseId(ChunkId::from_bytes([n as u8; 32]));
        let peer = |n: usize| PeerId::from_bytes([n as u8; 32]);
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut peers = Peers::default();
            for step in 0..300 {
                let (of, who) = (release(rng.below(4)), peer(rng.below(8)));
                let state = [ClaimState::None, ClaimState::Partial, ClaimState::Complete][rng.below(3)];
                match rng.below(9) {
                    0 => drop(peers.on_hint(of, who)),
                    1 => peers.on_gone(&who),
                    2 => peers.on_hint_gone(of, who),
                    _ => drop(peers.on_claim(of, who, state)),
                }
                let asked = [release(rng.below(4)), release(rng.below(4))];
                let one_by_one = |who| {
                    let likely = |of: &ReleaseId| match peers.claims.get(&who).and_then(|claims| claims.get(of)) {
                        Some(ClaimState::Complete) => Some(Likely::Complete),
                        Some(ClaimState::Partial) => Some(Likely::Perhaps),
                        Some(ClaimState::None) => None,
                        None => peers.hints.contains(&(*of, who)).then_some(Likely::Perhaps),
                    };
                    asked.iter().filter_map(likely).min().map(|likely| (who, likely))
                };
                let expect: Vec<_> = (0..8).map(peer).filter_map(one_by_one).collect();
                assert_eq!(peers.all_likely(&asked), expect, "seed {seed}, step {step}");
            }
            for n in 0..8 {
                peers.on_gone(&peer(n));
                (0..4).for_each(|of| peers.on_hint_gone(release(of), peer(n)));
            }
            assert!(peers.likely.is_empty(), "seed {seed}");
        }
    }
}
