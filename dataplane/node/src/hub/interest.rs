//! Which peers go with which releases, and what each path was told of them. A node speaks of a release only to peers that a
//! link named for it or that asked about it first: its hash is what gives access to it.

use std::collections::{BTreeMap, BTreeSet};

use ares_core::chunk::ReleaseId;
use ares_core::peer::{PathId, PeerId};
use ares_core::wire::ClaimState;

/// Releases that one path is told about, as many as the scheduler remembers of what a peer claims; more are not answered.
const TOLD_PER_PATH_MAX: usize = 512;

/// See the module.
#[derive(Default)]
pub(super) struct Interests {
    hinted: BTreeMap<ReleaseId, BTreeSet<PeerId>>,
    told: BTreeMap<PathId, BTreeMap<ReleaseId, ClaimState>>,
}

impl Interests {
    /// A link says that this peer has the release.
    pub(super) fn on_hint(&mut self, release: ReleaseId, peer: PeerId) {
        self.hinted.entry(release).or_default().insert(peer);
    }

    /// The peer is not looked for on behalf of the release any more.
    pub(super) fn forget_hint(&mut self, release: &ReleaseId, peer: &PeerId) {
        if let Some(peers) = self.hinted.get_mut(release) {
            peers.remove(peer);
        }
    }

    /// This node takes no part in the release any more.
    pub(super) fn forget(&mut self, release: &ReleaseId) {
        self.hinted.remove(release);
    }

    /// Whether the path was told something of the release.
    pub(super) fn was_told(&self, path: &PathId, release: &ReleaseId) -> bool {
        self.told.get(path).is_some_and(|told| told.contains_key(release))
    }

    /// A path is gone.
    pub(super) fn on_path_down(&mut self, path: PathId) {
        self.told.remove(&path);
    }

    /// Whether this node takes part in the release.
    pub(super) fn knows(&self, release: &ReleaseId) -> bool {
        self.hinted.contains_key(release)
    }

    /// Whether the release is said to be had from this peer.
    pub(super) fn is_hinted_for(&self, release: &ReleaseId, peer: &PeerId) -> bool {
        self.hinted.get(release).is_some_and(|peers| peers.contains(peer))
    }

    /// Whether some release is said to be had from this peer.
    pub(super) fn is_hinted(&self, peer: &PeerId) -> bool {
        self.hinted.values().any(|peers| peers.contains(peer))
    }

    /// Peers that links name for the release.
    pub(super) fn hinted_peers(&self, release: &ReleaseId) -> Vec<PeerId> {
        self.hinted.get(release).into_iter().flatten().copied().collect()
    }

    /// Releases that links say this peer has.
    pub(super) fn hinted_releases(&self, peer: &PeerId) -> Vec<ReleaseId> {
        self.hinted
            .iter()
            .filter(|(_, peers)| peers.contains(peer))
            .map(|(release, _)| *release)
            .collect()
    }

    /// Whether the path was told nothing of the release yet, and may be. Who was told something is told again when that changes; a peer
    /// that says the same thing over and over must cost no more than hearing it.
    pub(super) fn may_be_told(&self, path: PathId, release: ReleaseId) -> bool {
        let told = self.told.get(&path);
        told.is_none_or(|told| told.len() < TOLD_PER_PATH_MAX && !told.contains_key(&release))
    }

    /// Whether the path has yet to be told this; if so it counts as told.
    pub(super) fn is_news(&mut self, path: PathId, release: ReleaseId, state: ClaimState) -> bool {
        let told = self.told.entry(path).or_default();
        if told.len() >= TOLD_PER_PATH_MAX && !told.contains_key(&release) {
            // What is not here is the least worth remembering.
            let nothing = told
                .iter()
                .find(|(_, state)| **state == ClaimState::None)
                .map(|(release, _)| *release);
            let Some(nothing) = nothing.filter(|_| state != ClaimState::None) else {
                return false;
            };
            told.remove(&nothing);
        }
        told.insert(release, state) != Some(state)
    }

    /// Paths whose peers care for the release.
    pub(super) fn paths_told_of(&self, release: ReleaseId) -> Vec<PathId> {
        self.told
            .iter()
            .filter(|(_, told)| told.contains_key(&release))
            .map(|(path, _)| *path)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use ares_core::chunk::ChunkId;

    use super::*;

    #[test]
    fn a_path_hears_of_a_release_once_by_itself_and_of_so_many_and_no_more() {
        let mut interests = Interests::default();
        let path = PathId(1);
        let release = |n: usize| ReleaseId(ChunkId::of(&n.to_le_bytes()));
        for n in 0..TOLD_PER_PATH_MAX {
            assert!(interests.may_be_told(path, release(n)), "{n}");
            assert!(interests.is_news(path, release(n), ClaimState::None));
            assert!(!interests.may_be_told(path, release(n)), "{n}");
        }
        assert!(!interests.may_be_told(path, release(TOLD_PER_PATH_MAX)), "one too many");
        assert!(interests.may_be_told(PathId(2), release(0)), "another path");
    }

    #[test]
    fn a_path_is_told_a_state_once_and_again_when_it_changes() {
        let release = ReleaseId(ChunkId::of(b"release"));
        let mut interests = Interests::default();
        let path = PathId(1);
        for (state, expect) in [
            (ClaimState::Partial, true),
            (ClaimState::Partial, false),
            (ClaimState::Complete, true),
            (ClaimState::Complete, false),
        ] {
            assert_eq!(interests.is_news(path, release, state), expect, "{state:?}");
        }
        assert_eq!(interests.paths_told_of(release), [path]);
        interests.on_path_down(path);
        assert!(interests.is_news(path, release, ClaimState::Complete));
    }
}
