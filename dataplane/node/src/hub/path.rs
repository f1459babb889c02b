//! A path as the hub knows it, and as `status` shows it: since when it is what it is, and why. Judges nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ares_core::path::health::Pulse;
use ares_core::path::{Direction, Lane, LaneCaps};
use ares_core::peer::{PathId, PeerId};
use ares_core::time::Instant;

use crate::api::{PathFigures, PathState, PathStatus};

/// See the module.
pub(super) struct Path {
    pub(super) shard: usize,
    /// Known from the start for a dial, from the handshake on for an accepted one.
    pub(super) peer: PeerId,
    pub(super) remote: SocketAddr,
    /// By this side.
    pub(super) is_dialed: bool,
    /// Of a path that was dialed from one.
    pub(super) lane: Option<Lane>,
    /// Of the life of the peer that this path leads to, where it was dialed and has told.
    pub(super) nonce: Option<u64>,
    up_since: Option<Instant>,
    is_suspect: bool,
    switched_at: Instant,
    switched_why: String,
}

impl Path {
    /// The peer has dialed it.
    pub(super) fn of_peer(shard: usize, peer: PeerId, remote: SocketAddr) -> Self {
        Self {
            is_dialed: false,
            ..Self::dialed(shard, peer, remote, "opened by the peer")
        }
    }

    /// It is being dialed for this reason.
    pub(super) fn dialed(shard: usize, peer: PeerId, remote: SocketAddr, why: &str) -> Self {
        Self {
            shard,
            peer,
            remote,
            is_dialed: true,
            lane: None,
            nonce: None,
            up_since: None,
            is_suspect: false,
            switched_at: Instant::ZERO,
            switched_why: why.to_owned(),
        }
    }

    /// Chunks may be asked over it.
    pub(super) fn on_up(&mut self, now: Instant) {
        self.up_since = Some(now);
        self.switched_at = now;
    }

    /// Whether they may.
    pub(super) fn is_up(&self) -> bool {
        self.up_since.is_some()
    }

    /// Something expected does not come over it, or comes again. Whether that is news.
    pub(super) fn on_pulse(&mut self, now: Instant, pulse: Pulse) -> bool {
        let is_suspect = pulse == Pulse::Suspect;
        let is_news = self.is_suspect != is_suspect;
        if is_news {
            self.is_suspect = is_suspect;
            self.on_switch(now, if is_suspect { "went silent" } else { "was heard again" }.to_owned());
        }
        is_news
    }

    /// It is something else from now on.
    pub(super) fn on_switch(&mut self, now: Instant, why: String) {
        self.switched_at = now;
        self.switched_why = why;
    }

    fn state(&self, figures: &PathFigures) -> PathState {
        match bytes_per_s(figures) + figures.inflight_bytes {
            _ if self.is_suspect => PathState::Suspect,
            0..STANDBY_BYTES => PathState::Standby,
            _ => PathState::Up,
        }
    }

    fn status(&self, now: Instant, figures: PathFigures, all_bytes_per_s: u64, lanes: &[Lane], caps: &LaneCaps) -> PathStatus {
        let carried = bytes_per_s(&figures);
        let by_address = || lanes.iter().find(|lane| Some(lane.ip) == figures.local);
        let lane = self.lane.as_ref().or_else(by_address);
        let [cap_up_bytes_per_s, cap_down_bytes_per_s] =
            Direction::ALL.map(|direction| Some(caps.rules()[caps.rule_of(direction, lane?)?].cap.bytes_per_s()));
        PathStatus {
            cap_up_bytes_per_s,
            cap_down_bytes_per_s,
            interface: lane.map(|lane| lane.name.clone()),
            state: self.state(&figures),
            share: (all_bytes_per_s > 0).then(|| carried as f64 / all_bytes_per_s as f64),
            age_s: self.up_since.map_or(0.0, |since| now.since(since).as_secs_f64()),
            switched_s: now.since(self.switched_at).as_secs_f64(),
            switched_why: self.switched_why.clone(),
            figures,
        }
    }
}

/// How a path fares, if it is known.
pub(super) fn state_of(figures: &PathFigures, known: &BTreeMap<PathId, Path>) -> Option<PathState> {
    Some(known.get(&PathId(figures.path))?.state(figures))
}

/// Keep-alives and what else an idle path carries a second stay below.
const STANDBY_BYTES: u64 = 1000;

/// All paths to one peer, with what the hub knows of them.
pub(super) fn statuses(
    now: Instant,
    figures: Vec<PathFigures>,
    known: &BTreeMap<PathId, Path>,
    lanes: &[Lane],
    caps: &LaneCaps,
) -> Vec<PathStatus> {
    let all = figures.iter().map(bytes_per_s).sum();
    // A path that has come up or gone this very moment is shown the next time.
    let status = |figures: PathFigures| Some(known.get(&PathId(figures.path))?.status(now, figures, all, lanes, caps));
    figures.into_iter().filter_map(status).collect()
}

fn bytes_per_s(figures: &PathFigures) -> u64 {
    figures.rx_bytes_per_s + figures.tx_bytes_per_s
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn figures(path: u64, rx_bytes_per_s: u64, inflight_bytes: u64) -> PathFigures {
        PathFigures {
            path,
            shard: 0,
            remote: ([10, 0, 0, 1], 7411).into(),
            local: None,
            rtt_ms: 1.0,
            mtu: 1452,
            rx_bytes: 0,
            tx_bytes: 0,
            rx_bytes_per_s,
            tx_bytes_per_s: 0,
            lost_packets: 0,
            loss_percent: 0.0,
            inflight_bytes,
            congestion: "cubic",
        }
    }

    #[test]
    fn states_and_shares_are_those_of_the_last_seconds() {
        let at_s = |s| Instant::ZERO + Duration::from_secs(s);
        let peer = PeerId::from_bytes([7; 32]);
        let mut known = BTreeMap::new();
        for path in 0..3 {
            let mut opened = Path::dialed(0, peer, ([10, 0, 0, 1], 7411).into(), "opened first");
            opened.on_up(at_s(1));
            known.insert(PathId(path), opened);
        }
        let look = |known: &BTreeMap<PathId, Path>| {
            let all = vec![
                figures(0, 3_000_000, 0),
                figures(1, 1_000_000, 9),
                figures(2, 0, 0),
                figures(9, 7, 7),
            ];
            statuses(at_s(10), all, known, &[], &LaneCaps::default())
        };
        let shown = look(&known);
        let states: Vec<PathState> = shown.iter().map(|path| path.state).collect();
        assert_eq!(
            states,
            [PathState::Up, PathState::Up, PathState::Standby],
            "path 9 is not known yet"
        );
        let shares: Vec<Option<f64>> = shown
            .iter()
            .map(|path| path.share.map(|share| (share * 100.0).round()))
            .collect();
        assert_eq!(shares, [Some(75.0), Some(25.0), Some(0.0)]);
        assert_eq!((shown[0].age_s, shown[0].switched_s), (9.0, 9.0));

        let tell = |known: &mut BTreeMap<PathId, Path>, s, pulse| {
            let path = known.get_mut(&PathId(0)).expect("it is known");
            path.on_pulse(at_s(s), pulse)
        };
        assert!(tell(&mut known, 8, Pulse::Suspect));
        assert!(!tell(&mut known, 8, Pulse::Suspect), "no news");
        let shown = look(&known);
        assert_eq!((shown[0].state, shown[0].switched_s), (PathState::Suspect, 2.0));
        assert_eq!(shown[0].switched_why, "went silent");
        assert!(tell(&mut known, 9, Pulse::Well));
        assert_eq!(look(&known)[0].state, PathState::Up);
        assert!(
            statuses(at_s(10), vec![figures(0, 0, 0)], &known, &[], &LaneCaps::default())[0]
                .share
                .is_none()
        );
    }
}
