//! What is known of peers: what they claim, what links say of them, which were dropped, and why the last ones left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::DropReason;
use crate::chunk::ReleaseId;
use crate::peer::PeerId;
use crate::wire::ClaimState;

/// Releases remembered per peer; what it claims beyond is not believed, so that claims cost bounded memory.
const CLAIMS_MAX: usize = 4096;
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

#[derive(Debug, Default)]
pub(super) struct Peers {
    claims: BTreeMap<PeerId, BTreeMap<ReleaseId, ClaimState>>,
    hints: BTreeSet<(ReleaseId, PeerId)>,
    dropped: BTreeMap<PeerId, DropReason>,
    dropped_order: VecDeque<PeerId>,
    departed: VecDeque<(PeerId, String)>,
}

impl Peers {
    /// Whether that is news.
    pub(super) fn on_claim(&mut self, release: ReleaseId, peer: PeerId, state: ClaimState) -> bool {
        let claims = self.claims.entry(peer).or_default();
        let is_remembered = claims.len() < CLAIMS_MAX || claims.contains_key(&release);
        is_remembered && claims.insert(release, state) != Some(state)
    }

    /// Whether that is news.
    pub(super) fn on_hint(&mut self, release: ReleaseId, peer: PeerId) -> bool {
        self.hints.insert((release, peer))
    }

    /// The last path to the peer is gone: it will say again what it has.
    pub(super) fn on_gone(&mut self, peer: &PeerId) {
        self.claims.remove(peer);
    }

    /// A path to the peer is gone.
    pub(super) fn on_departed(&mut self, peer: PeerId, why: String) {
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
    pub(super) fn on_drop(&mut self, peer: PeerId, why: DropReason) -> bool {
        if self.dropped.contains_key(&peer) {
            return false;
        }
        if self.dropped.len() == DROPPED_MAX
            && let Some(earliest) = self.dropped_order.pop_front()
        {
            self.dropped.remove(&earliest);
        }
        self.on_departed(peer, format!("dropped: {why}"));
        self.dropped.insert(peer, why);
        self.dropped_order.push_back(peer);
        true
    }

    pub(super) fn dropped(&self, peer: &PeerId) -> Option<&DropReason> {
        self.dropped.get(peer)
    }

    /// `None` for a peer that says it has nothing of the release, and for a stranger, which neither claimed any of it nor is named for it
    /// by a link: a question for a chunk tells its name, and the name of a release gives access to it.
    pub(super) fn likely(&self, release: ReleaseId, peer: PeerId) -> Option<Likely> {
        match self.claims.get(&peer).and_then(|claims| claims.get(&release)) {
            Some(ClaimState::Complete) => Some(Likely::Complete),
            Some(ClaimState::Partial) => Some(Likely::Perhaps),
            Some(ClaimState::None) => None,
            None => self.hints.contains(&(release, peer)).then_some(Likely::Perhaps),
        }
    }
}
