//! How the node fares, in numbers alone, and which of the machine's interfaces carried how much. Decides nothing.

use std::collections::BTreeMap;

use ares_core::path::Lane;
use ares_core::store::ReleaseState;
use ares_core::time::Instant;

use super::{Hub, path};
use crate::api::PathState;
use crate::counters::CarriedBy;
use crate::figures::{Figures, Traffic};

/// Interfaces told apart. A machine of containers has thousands, and makes new ones all day.
const INTERFACES_MAX: usize = 16;

/// Where it is not known which, and for those that are too many.
const OTHER: &str = "other";

/// What each interface has carried since the node's start.
#[derive(Debug, Default)]
pub(super) struct Interfaces(BTreeMap<String, Traffic>);

impl Interfaces {
    /// So much more, by the address it left from or came to. `lanes`: those that had these addresses.
    pub(super) fn add(&mut self, carried: CarriedBy, lanes: &[Lane]) {
        for (ip, traffic) in carried {
            let lane = lanes.iter().find(|lane| Some(lane.ip) == ip);
            let name = match (lane, ip) {
                (Some(lane), _) => lane.name.as_str(),
                (None, Some(ip)) if ip.is_loopback() => "lo",
                (None, _) => OTHER,
            };
            let is_known = self.0.contains_key(name);
            let name = if is_known || self.0.len() < INTERFACES_MAX {
                name
            } else {
                OTHER
            };
            *self.0.entry(name.to_owned()).or_default() += traffic;
        }
    }
}

impl Hub {
    /// Brings what interfaces have carried up to date. Before the machine's lanes change, so that it is known whose address each was.
    pub(super) fn settle_interfaces(&mut self) {
        let carried = self.parts.totals.carried.take();
        self.interfaces.add(carried, &self.lanes);
    }

    pub(super) fn figures(&mut self, now: Instant) -> Figures {
        self.settle_interfaces();
        let by_peer = self.measured();
        let mut paths = [0; PathState::ALL.len()];
        for figures in by_peer.values().flatten() {
            // As in `status`: one that has come or gone this very moment counts the next time.
            if let Some(state) = path::state_of(figures, &self.paths) {
                paths[state as usize] += 1;
            }
        }
        let releases = self.parts.store.releases();
        let complete = releases.iter().filter(|known| known.state == ReleaseState::Complete).count();
        let totals = &self.parts.totals;
        Figures {
            uptime: self.parts.clock.uptime(),
            queued_messages: self.parts.inbox.len(),
            counters: totals.snapshot(),
            fetched_bytes: totals.fetched_bytes(),
            reused_bytes: totals.reused_bytes(),
            failed_wants: totals.failed_wants(),
            tally: self.scheduler.tally().clone(),
            outstanding: self.scheduler.outstanding(now),
            peers: by_peer.len(),
            dropped_peers: self.scheduler.dropped().count(),
            paths,
            path_events: self.path_events,
            interfaces: self.interfaces.0.clone(),
            zones: totals.zones(),
            complete_releases: complete,
            partial_releases: releases.len() - complete,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn what_was_carried_is_told_by_interface_and_of_too_many_together() {
        let ip = |n: usize| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
        let lane = |n: usize| Lane {
            interface: n as u32,
            name: format!("veth{n}"),
            ip: ip(n),
            prefix_bits: 24,
            is_up: true,
        };
        let lanes: Vec<Lane> = (0..100).map(lane).collect();
        let one = Traffic {
            rx_bytes: 1,
            tx_bytes: 2,
        };
        let mut interfaces = Interfaces::default();
        let no_lane = [None, Some(IpAddr::from([127, 0, 0, 1])), Some(IpAddr::from([192, 0, 2, 1]))];
        interfaces.add(no_lane.map(|ip| (ip, one)).into(), &lanes);
        for _ in 0..2 {
            interfaces.add((0..100).map(|n| (Some(ip(n)), one)).collect(), &lanes);
        }
        let of = |name: &str| interfaces.0.get(name).copied();
        let times = |n| {
            Some(Traffic {
                rx_bytes: n,
                tx_bytes: 2 * n,
            })
        };
        assert_eq!((of("lo"), of("veth0")), (times(1), times(2)));
        assert_eq!(interfaces.0.len(), INTERFACES_MAX);
        let told_apart = INTERFACES_MAX as u64 - 2;
        assert_eq!(of(OTHER), times(2 + 2 * (100 - told_apart)));
    }
}
