//! How things are now, for people: what the machines, the shards and the store know, in one picture. Decides nothing.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use ares_core::chunk::ReleaseId;
use ares_core::path::Direction;
use ares_core::peer::PeerId;
use ares_core::store::{ReleaseInfo, ReleaseState};
use ares_core::time::Instant;
use ares_core::wire::ClaimState;
use crossbeam::channel::bounded;

use super::{Hub, path};
use crate::api::{ClaimStatus, Claimed, DroppedStatus, PathFigures, PeerStatus, ReleaseStatus, Status, StoreStatus};
use crate::mailbox::{ShardPost, ToShard};

/// How long a shard may take to answer for its paths before `status` goes on without it.
const SHARD_REPLY_MAX: Duration = Duration::from_millis(500);

impl Hub {
    pub(super) fn status(&self, now: Instant) -> Status {
        let paths = self.measured();
        let mut members: BTreeMap<ReleaseId, [usize; 2]> = BTreeMap::new();
        for (release, state) in paths.keys().flat_map(|peer| self.scheduler.claims_of(peer)) {
            let [complete, partial] = members.entry(release).or_default();
            *(if state == ClaimState::Complete { complete } else { partial }) += 1;
        }
        let mut peers: Vec<PeerStatus> = paths
            .into_iter()
            .map(|(peer, paths)| self.peer_status(now, peer, paths))
            .collect();
        peers.sort_by_key(|peer| Reverse(peer.bytes.fetched_bytes + peer.bytes.served_bytes));
        let dropped: Vec<DroppedStatus> = self
            .scheduler
            .dropped()
            .map(|(peer, why)| DroppedStatus {
                peer: peer.to_string(),
                why: why.to_string(),
            })
            .collect();
        let releases = self.parts.store.releases();
        Status {
            peer: self.parts.identity.to_string(),
            listen: self.parts.listen.clone(),
            uptime_s: self.parts.clock.uptime().as_secs_f64(),
            away: self.dialer.away(|peer| self.scheduler.is_dropped(peer)),
            peers,
            dropped,
            releases: releases
                .into_iter()
                .map(|known| {
                    let members = members.get(&known.release).copied().unwrap_or_default();
                    self.release_status(known, members)
                })
                .collect(),
            counters: self.parts.totals.snapshot(),
            store: self.store_status(),
        }
    }

    /// What all shards measure, by peer.
    pub(super) fn measured(&self) -> BTreeMap<PeerId, Vec<PathFigures>> {
        let mut peers: BTreeMap<PeerId, Vec<PathFigures>> = BTreeMap::new();
        let ask = |shard: &ShardPost| {
            let (reply, paths) = bounded(1);
            shard.send(ToShard::Paths(reply));
            paths
        };
        // All are asked before the first has answered.
        let answers: Vec<_> = self.parts.shards.iter().map(ask).collect();
        for paths in answers {
            for (peer, path) in paths.recv_timeout(SHARD_REPLY_MAX).unwrap_or_default() {
                peers.entry(peer).or_default().push(path);
            }
        }
        peers
    }

    fn peer_status(&self, now: Instant, peer: PeerId, paths: Vec<PathFigures>) -> PeerStatus {
        let claim = |(release, state): (ReleaseId, ClaimState)| {
            let is_complete = state == ClaimState::Complete;
            ClaimStatus {
                release: release.to_string(),
                state: if is_complete { Claimed::Complete } else { Claimed::Partial },
                chunks_told: (!is_complete).then(|| self.sharing.chunks_told_by(&release, &peer)),
                fetched_bytes: self.ledger.of_peer(&release, &peer),
            }
        };
        let cap = |direction| Some(self.parts.config.lanes.peer_caps.of(direction, &peer)?.bytes_per_s());
        PeerStatus {
            peer: peer.to_string(),
            cap_up_bytes_per_s: cap(Direction::Up),
            cap_down_bytes_per_s: cap(Direction::Down),
            zone: self.zones.get(&peer).cloned().unwrap_or_default(),
            paths: path::statuses(now, paths, &self.paths, &self.lanes, &self.parts.config.lanes.caps),
            bytes: self.parts.totals.peers.of(&peer),
            releases: self.scheduler.claims_of(&peer).map(claim).collect(),
        }
    }

    fn release_status(&self, known: ReleaseInfo, [peers_complete, peers_partial]: [usize; 2]) -> ReleaseStatus {
        let complete = known.state == ReleaseState::Complete;
        let seen = self.sharing.held(&known.release).filter(|_| !complete);
        ReleaseStatus {
            release: known.release.to_string(),
            name: known.name,
            complete,
            pinned: self.parts.store.is_pinned(known.release),
            bytes: known.bytes,
            entries: known.entries,
            seen_chunks: seen.map(|(chunks, _)| chunks),
            seen_bytes: seen.map(|(_, bytes)| bytes),
            fetched_bytes: self.ledger.of(&known.release),
            peers_complete,
            peers_partial,
        }
    }

    fn store_status(&self) -> StoreStatus {
        let totals = self.parts.store.totals();
        StoreStatus {
            chunks: totals.chunks,
            bytes: totals.own_bytes + totals.in_place_bytes,
            in_place_bytes: totals.in_place_bytes,
            quota_used_bytes: totals.quota_used_bytes,
            evicted_bytes: totals.evicted_bytes,
            intake_stopped: totals.intake_stopped,
        }
    }
}
