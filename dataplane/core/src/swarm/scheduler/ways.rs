//! Which sources of a peer may be asked, where not all its ways are used at once.

use std::collections::{BTreeMap, VecDeque};

use super::Scheduler;
use crate::chunk::ReleaseId;
use crate::path::health::Pulse;
use crate::path::{Mode, Policy, Way, WayFigures};
use crate::peer::{PeerId, Source};
use crate::swarm::source::SourceState;
use crate::time::Instant;

/// Releases whose mode is remembered; the one named first is forgotten for a new one.
const MODES_MAX: usize = 256;

/// The modes, and the choice for each peer.
#[derive(Debug, Default)]
pub(super) struct Ways {
    mode: Mode,
    /// Where another one was asked for.
    of_release: VecDeque<(ReleaseId, Mode)>,
    /// Empty while all ways are used for everything.
    policies: BTreeMap<PeerId, Policy>,
}

impl Ways {
    /// Whether chunks of one of these releases may be asked of the source.
    pub(super) fn uses(&self, releases: &[ReleaseId], peer: PeerId, source: &SourceState) -> bool {
        let (Some((way, _)), Some(policy)) = (source.way, self.policies.get(&peer)) else {
            return true;
        };
        releases.iter().any(|release| policy.uses(self.mode_of(release), &way))
    }

    fn mode_of(&self, release: &ReleaseId) -> Mode {
        let own = self.of_release.iter().find(|(known, _)| known == release);
        own.map_or(self.mode, |(_, mode)| *mode)
    }

    fn are_all_used(&self) -> bool {
        self.mode == Mode::Aggregate && self.of_release.is_empty()
    }
}

impl Scheduler {
    /// The way that a source takes, and how much that counts. Sources of one way are used together.
    pub fn on_way(&mut self, now: Instant, source: Source, way: Way, weight: u32) {
        self.at_source(now, source, |state| state.way = Some((way, weight)));
        self.judge_ways(now, source.peer);
    }

    /// How the ways to each peer are used from now on: for one release, or for all that were not named. What was said of it before.
    pub fn on_mode(&mut self, now: Instant, release: Option<ReleaseId>, mode: Mode) -> Mode {
        let of_release = &mut self.ways.of_release;
        let old = match release {
            None => std::mem::replace(&mut self.ways.mode, mode),
            Some(release) => {
                let known = of_release.iter().position(|(known, _)| *known == release);
                let old = known.and_then(|at| of_release.remove(at));
                if of_release.len() == MODES_MAX {
                    of_release.pop_front();
                }
                of_release.push_back((release, mode));
                old.map_or(self.ways.mode, |(_, mode)| mode)
            }
        };
        self.ways.policies.clear();
        let mut peers: Vec<PeerId> = self.sources.keys().map(|source| source.peer).collect();
        peers.dedup();
        peers.into_iter().for_each(|peer| self.judge_ways(now, peer));
        self.look_again(now);
        old
    }

    /// Something about the ways to a peer may have changed.
    pub(super) fn judge_ways(&mut self, now: Instant, peer: PeerId) {
        if self.ways.are_all_used() {
            return;
        }
        let mut ways: Vec<WayFigures> = Vec::new();
        for state in self.sources_of(peer).map(|(_, state)| state) {
            let Some((way, weight)) = state.way else { continue };
            let rtt = state.window.rtt();
            // A path that acknowledges everything and brings nothing is no use either.
            let pulse = if state.is_suspect() { Pulse::Suspect } else { state.pulse };
            match ways.iter_mut().find(|known| known.way == way) {
                Some(known) => {
                    known.rtt = known.rtt.min(rtt);
                    known.pulse = known.pulse.min(pulse);
                }
                None => ways.push(WayFigures { way, weight, rtt, pulse }),
            }
        }
        if ways.is_empty() {
            self.ways.policies.remove(&peer);
        } else if self.ways.policies.entry(peer).or_default().on_ways(now, &ways) {
            self.look_again(now);
        }
    }
}
