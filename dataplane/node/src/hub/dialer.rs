//! Which peers to connect to and at which address, when. Decides; the hub carries it out.
//!
//! A peer's addresses are tried best first, each a little after the one before while none has answered (RFC 8305's idea);
//! a peer that cannot be reached is tried again with growing pauses for as long as somebody wants something from it.
//!
//! Further paths come behind the first one, which is used meanwhile; `further` says whether and where. While a path is up all attempts
//! are for further ones: the first ended the others. What becomes of them is nobody's trouble; a peer is lost with its last path.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ares_core::path::Lane;
use ares_core::peer::{PathId, PeerId};
use ares_core::time::Instant;

use super::further::Further;
use crate::mailbox::End;

/// How long after one address the next one is tried.
const STAGGER: Duration = Duration::from_millis(300);

/// Pause after all addresses of a peer have failed: the first one, and what it doubles up to.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// A path that has lived this long was a good one: its end is no reason to wait before the next dial.
const LIVED_MIN: Duration = Duration::from_secs(5);

/// Peers and addresses per peer that are remembered; more are ignored, oldest kept.
const PEERS_MAX: usize = 1024;
const ADDRS_MAX: usize = 16;

/// All peers this node was told of.
pub(super) struct Dialer {
    peers: BTreeMap<PeerId, Target>,
    timeout: Duration,
    own: PeerId,
    shards: usize,
}

/// What the hub is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Connect; report back with `on_started`.
    Dial { peer: PeerId, remote: SocketAddr },
    /// The attempt has taken too long.
    GiveUp { path: PathId },
}

/// What the end of a path or an attempt means for the round of dials it may have been part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// All addresses were tried and each has failed for good.
    InVain,
    /// It goes on, or a peer was met that will take us later, or there was none.
    Open,
}

#[derive(Default)]
struct Target {
    addrs: Vec<SocketAddr>,
    /// Addresses of this round still to try, as an index into `addrs`.
    next: usize,
    next_at: Instant,
    pause: Duration,
    attempts: Vec<Attempt>,
    paths_up: BTreeMap<PathId, Up>,
    further: Further,
    failures: BTreeMap<SocketAddr, String>,
    /// Whether the peer was met in this round and had no place for us.
    is_crowded: bool,
}

/// A path that is up.
struct Up {
    /// Where it was dialed; `None` where the peer came by itself.
    remote: Option<SocketAddr>,
    since: Instant,
}

struct Attempt {
    path: PathId,
    remote: SocketAddr,
    deadline: Instant,
}

impl Dialer {
    /// For the node `own`, which has so many shards. A dial without an answer for `timeout` has failed.
    pub(super) fn new(own: PeerId, shards: usize, timeout: Duration) -> Self {
        Self {
            peers: BTreeMap::new(),
            timeout,
            own,
            shards,
        }
    }

    /// A peer and where it may be reached. New addresses are tried at once.
    pub(super) fn on_hint(&mut self, now: Instant, peer: PeerId, addrs: &[SocketAddr]) {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            return;
        }
        let target = self.peers.entry(peer).or_default();
        for addr in addrs {
            if target.addrs.len() < ADDRS_MAX && !target.addrs.contains(addr) {
                target.addrs.push(*addr);
                target.next_at = target.next_at.min(now);
            }
        }
    }

    /// The machine's lanes have changed. Who could not be reached a moment ago may be reached now.
    pub(super) fn on_lanes(&mut self, now: Instant, lanes: &[Lane]) {
        if lanes.iter().any(|lane| lane.is_up) {
            for target in self.peers.values_mut().filter(|target| target.next == 0) {
                target.next_at = target.next_at.min(now);
            }
        }
    }

    /// The hub has begun the dial asked for.
    pub(super) fn on_started(&mut self, now: Instant, peer: PeerId, remote: SocketAddr, path: PathId) {
        if let Some(target) = self.peers.get_mut(&peer) {
            target.attempts.push(Attempt {
                path,
                remote,
                deadline: now + self.timeout,
            });
        }
    }

    /// A path to the peer is up. Returns attempts that are no longer needed.
    pub(super) fn on_up(&mut self, now: Instant, peer: PeerId, path: PathId) -> Vec<PathId> {
        // A stranger that came by itself has no addresses to keep.
        let Some(target) = self.peers.get_mut(&peer) else {
            return Vec::new();
        };
        let remote = target
            .attempts
            .iter()
            .find(|attempt| attempt.path == path)
            .map(|attempt| attempt.remote);
        target.attempts.retain(|attempt| attempt.path != path);
        if let Some(remote) = remote {
            target.further.on_up(remote);
        }
        let is_first = target.paths_up.is_empty();
        target.paths_up.insert(path, Up { remote, since: now });
        if !is_first {
            return Vec::new();
        }
        target.attempts.drain(..).map(|attempt| attempt.path).collect()
    }

    /// The peer told over a path which ports its shards have.
    pub(super) fn on_ports(&mut self, peer: PeerId, path: PathId, ports: &[u16]) {
        // The keys of readers are random: a peer's shards get equal shares of them.
        let turn = usize::from(self.own.as_bytes()[0]);
        if let Some(target) = self.peers.get_mut(&peer)
            && let Some(remote) = target.paths_up.get(&path).and_then(|up| up.remote)
        {
            target.further.on_ports(remote, ports, turn);
        }
    }

    /// So many bulk bytes were asked of the peer.
    pub(super) fn on_asked(&mut self, now: Instant, peer: &PeerId, bytes: u32) {
        if let Some(target) = self.peers.get_mut(peer) {
            target.further.on_asked(now, bytes);
        }
    }

    /// An attempt has failed, or a path that was up is down.
    pub(super) fn on_down(&mut self, now: Instant, peer: PeerId, path: PathId, end: &End) -> Round {
        let Some(target) = self.peers.get_mut(&peer) else {
            return Round::Open;
        };
        let why = end.why();
        if let Some(at) = target.attempts.iter().position(|attempt| attempt.path == path) {
            let attempt = target.attempts.remove(at);
            if !target.paths_up.is_empty() {
                target.further.on_failed(now, attempt.remote);
                return Round::Open;
            }
            target.failures.insert(attempt.remote, why.to_owned());
            // The next address need not wait for its turn.
            target.next_at = target.next_at.min(now);
            target.is_crowded |= *end == End::Crowded;
            return target.end_round_if_over(now);
        } else if let Some(up) = target.paths_up.remove(&path) {
            if now.since(up.since) >= LIVED_MIN {
                target.pause = Duration::ZERO;
                target.failures.clear();
            }
            if !target.paths_up.is_empty() {
                up.remote.inspect(|remote| target.further.on_failed(now, *remote));
                return Round::Open;
            }
            // Remembered for the reason of a failed want, and so that a peer that lets us in only to close is not stormed. Its ports will
            // be others in its next life.
            let addrs = &target.addrs;
            target.failures.retain(|remote, _| addrs.contains(remote));
            if let Some(remote) = up.remote {
                target.failures.insert(remote, why.to_owned());
            }
            target.further = Further::default();
            target.restart(now);
        }
        Round::Open
    }

    /// What to do now. `wanted`: whether somebody waits for something from that peer; unwanted peers are not tried again.
    pub(super) fn poll(&mut self, now: Instant, wanted: impl Fn(&PeerId) -> bool) -> Option<Action> {
        for (peer, target) in &mut self.peers {
            if let Some(late) = target.attempts.iter_mut().find(|attempt| attempt.deadline <= now) {
                late.deadline = now + self.timeout;
                return Some(Action::GiveUp { path: late.path });
            }
            if let Some(remote) = target.further_remote(now, self.shards)
                && wanted(peer)
            {
                return Some(Action::Dial { peer: *peer, remote });
            }
            if !target.may_dial() || target.next_at > now {
                continue;
            }
            if target.next == 0 && !target.failures.is_empty() && !wanted(peer) {
                continue;
            }
            let remote = target.addrs[target.next];
            target.next += 1;
            target.next_at = now + STAGGER;
            return Some(Action::Dial { peer: *peer, remote });
        }
        None
    }

    /// When `poll` may have something to do next.
    pub(super) fn deadline(&self, wanted: impl Fn(&PeerId) -> bool) -> Option<Instant> {
        self.peers
            .iter()
            .flat_map(|(peer, target)| {
                let tried = target.next == 0 && !target.failures.is_empty();
                let dial = (target.may_dial() && (!tried || wanted(peer))).then_some(target.next_at);
                dial.into_iter().chain(target.attempts.iter().map(|attempt| attempt.deadline))
            })
            .min()
    }

    /// What is known of the ways to these peers, for the reason of a failed want.
    pub(super) fn explain(&self, peers: impl IntoIterator<Item = PeerId>) -> Option<String> {
        let mut said = Vec::new();
        for peer in peers {
            let Some(target) = self.peers.get(&peer) else { continue };
            if target.addrs.is_empty() && target.paths_up.is_empty() {
                said.push(format!("peer {} has no known address", peer.short()));
            }
            said.extend(
                target
                    .failures
                    .iter()
                    .map(|(remote, why)| format!("peer {} at {remote}: {why}", peer.short())),
            );
            said.extend(
                target
                    .attempts
                    .iter()
                    .filter(|_| target.paths_up.is_empty())
                    .map(|a| format!("peer {} at {}: no answer yet", peer.short(), a.remote)),
            );
        }
        (!said.is_empty()).then(|| said.join("; "))
    }
}

impl Target {
    fn may_dial(&self) -> bool {
        self.paths_up.is_empty() && self.next < self.addrs.len()
    }

    /// Where to open a further path. A peer that came by itself opens what it wants.
    fn further_remote(&self, now: Instant, shards: usize) -> Option<SocketAddr> {
        let (_, first) = self.paths_up.first_key_value()?;
        first.remote?;
        let paths = self.paths_up.len() + self.attempts.len();
        self.further.next(now, shards, paths, |remote| {
            self.paths_up.values().any(|up| up.remote == Some(remote)) || self.attempts.iter().any(|a| a.remote == remote)
        })
    }

    fn restart(&mut self, now: Instant) {
        self.next = 0;
        self.next_at = now + self.pause;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    }

    fn end_round_if_over(&mut self, now: Instant) -> Round {
        if !self.attempts.is_empty() || self.next < self.addrs.len() || !self.paths_up.is_empty() {
            return Round::Open;
        }
        self.pause = self.pause.max(PAUSE_MIN);
        self.restart(now);
        if std::mem::take(&mut self.is_crowded) {
            Round::Open
        } else {
            Round::InVain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId::from_bytes([7; 32]);
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn dialer(addrs: &[SocketAddr]) -> Dialer {
        let mut dialer = Dialer::new(PeerId::from_bytes([1; 32]), 4, TIMEOUT);
        dialer.on_hint(Instant::ZERO, PEER, addrs);
        dialer
    }

    fn because(why: &str) -> End {
        End::Because(why.to_owned())
    }

    #[test]
    fn a_round_is_in_vain_when_its_last_address_has_failed_unless_the_peer_was_met() {
        let check = |ends: [End; 2], expect: Round| {
            let mut d = dialer(&[addr(1), addr(2)]);
            for (path, remote) in [(1, addr(1)), (2, addr(2))] {
                let now = Instant::ZERO + STAGGER * path as u32;
                assert_eq!(d.poll(now, |_| true), Some(Action::Dial { peer: PEER, remote }));
                d.on_started(now, PEER, remote, PathId(path));
            }
            let now = Instant::ZERO + TIMEOUT;
            assert_eq!(
                d.on_down(now, PEER, PathId(1), &ends[0]),
                Round::Open,
                "the second is awaited"
            );
            assert_eq!(d.on_down(now, PEER, PathId(2), &ends[1]), expect, "{ends:?}");
        };
        check([because("no answer"), because("another key")], Round::InVain);
        check([End::Crowded, because("no answer")], Round::Open);
        check([because("no answer"), End::Crowded], Round::Open);
    }

    #[test]
    fn second_address_waits_for_its_turn_or_for_the_first_to_fail() {
        for fail_first in [false, true] {
            let mut d = dialer(&[addr(1), addr(2)]);
            assert_eq!(
                d.poll(Instant::ZERO, |_| true),
                Some(Action::Dial {
                    peer: PEER,
                    remote: addr(1)
                })
            );
            d.on_started(Instant::ZERO, PEER, addr(1), PathId(1));
            assert_eq!(d.poll(Instant::ZERO, |_| true), None);
            let at = if fail_first {
                d.on_down(Instant::ZERO, PEER, PathId(1), &because("refused"));
                Instant::ZERO
            } else {
                assert_eq!(d.deadline(|_| true), Some(Instant::ZERO + STAGGER));
                Instant::ZERO + STAGGER
            };
            assert_eq!(
                d.poll(at, |_| true),
                Some(Action::Dial {
                    peer: PEER,
                    remote: addr(2)
                }),
                "fail_first {fail_first}"
            );
        }
    }

    #[test]
    fn a_silent_address_is_given_up_and_tried_again_only_while_wanted() {
        let mut d = dialer(&[addr(1)]);
        let _ = d.poll(Instant::ZERO, |_| true);
        d.on_started(Instant::ZERO, PEER, addr(1), PathId(1));
        let late = Instant::ZERO + TIMEOUT;
        assert_eq!(d.poll(late, |_| true), Some(Action::GiveUp { path: PathId(1) }));
        assert_eq!(d.on_down(late, PEER, PathId(1), &because("no answer")), Round::InVain);
        assert_eq!(
            d.explain([PEER]).as_deref(),
            Some("peer 0707070707 at 127.0.0.1:1: no answer")
        );
        let later = late + PAUSE_MAX;
        assert_eq!(d.poll(later, |_| false), None);
        assert_eq!(d.deadline(|_| false), None);
        assert_eq!(
            d.poll(later, |_| true),
            Some(Action::Dial {
                peer: PEER,
                remote: addr(1)
            })
        );
    }

    #[test]
    fn a_lane_that_comes_up_ends_the_pause() {
        let mut d = dialer(&[addr(1)]);
        let _ = d.poll(Instant::ZERO, |_| true);
        d.on_started(Instant::ZERO, PEER, addr(1), PathId(1));
        assert_eq!(d.on_down(Instant::ZERO, PEER, PathId(1), &because("no way")), Round::InVain);
        let lane = |is_up| Lane {
            interface: 2,
            name: "eth0".to_owned(),
            ip: addr(1).ip(),
            prefix_bits: 24,
            is_up,
        };
        for (lanes, expect) in [
            (vec![], PAUSE_MIN),
            (vec![lane(false)], PAUSE_MIN),
            (vec![lane(true)], Duration::ZERO),
        ] {
            d.on_lanes(Instant::ZERO, &lanes);
            assert_eq!(d.deadline(|_| true), Some(Instant::ZERO + expect), "{lanes:?}");
        }
    }

    #[test]
    fn a_path_that_is_up_ends_the_other_attempts() {
        let mut d = dialer(&[addr(1), addr(2)]);
        for path in [1, 2] {
            let now = Instant::ZERO + STAGGER * path as u32;
            let Some(Action::Dial { remote, .. }) = d.poll(now, |_| true) else {
                panic!("no dial {path}")
            };
            d.on_started(now, PEER, remote, PathId(path));
        }
        assert_eq!(d.on_up(Instant::ZERO, PEER, PathId(2)), [PathId(1)]);
        assert_eq!(d.poll(Instant::ZERO + TIMEOUT, |_| true), None);
    }

    #[test]
    fn a_peer_that_lets_us_in_only_to_close_is_not_stormed() {
        let mut d = dialer(&[addr(1)]);
        let mut now = Instant::ZERO;
        let mut pauses = Vec::new();
        for path in 1..5 {
            let at = d.deadline(|_| true).expect("it is wanted");
            pauses.push(at.since(now));
            now = at;
            assert_eq!(
                d.poll(now, |_| true),
                Some(Action::Dial {
                    peer: PEER,
                    remote: addr(1)
                })
            );
            d.on_started(now, PEER, addr(1), PathId(path));
            assert_eq!(d.on_up(now, PEER, PathId(path)), []);
            assert_eq!(
                d.on_down(now, PEER, PathId(path), &because("go away")),
                Round::Open,
                "it was met"
            );
            assert_eq!(d.deadline(|_| false), None, "nobody wants anything of it");
        }
        assert_eq!(pauses, [0, 0, 250, 500].map(Duration::from_millis));
        assert_eq!(d.explain([PEER]).as_deref(), Some("peer 0707070707 at 127.0.0.1:1: go away"));
    }

    /// A dialer whose first path to a peer with three shards is up, and the peer is asked much.
    fn asked_much() -> Dialer {
        let mut d = dialer(&[addr(1)]);
        let _ = d.poll(Instant::ZERO, |_| true);
        d.on_started(Instant::ZERO, PEER, addr(1), PathId(1));
        assert_eq!(d.on_up(Instant::ZERO, PEER, PathId(1)), []);
        d.on_ports(PEER, PathId(1), &[1, 2, 3]);
        d.on_asked(Instant::ZERO, &PEER, u32::MAX);
        d
    }

    /// Dials whatever is to be dialed, over paths from `path` on. Where it went.
    fn dial_all(d: &mut Dialer, now: Instant, path: u64) -> Vec<u16> {
        let mut ports = Vec::new();
        while let Some(Action::Dial { remote, .. }) = d.poll(now, |_| true) {
            d.on_started(now, PEER, remote, PathId(path + ports.len() as u64));
            ports.push(remote.port());
        }
        ports
    }

    #[test]
    fn a_peer_that_is_asked_much_gets_further_paths_and_keeps_them_all() {
        let mut d = asked_much();
        assert_eq!(d.poll(Instant::ZERO, |_| false), None, "nobody waits for anything of it");
        assert_eq!(dial_all(&mut d, Instant::ZERO, 2), [2, 3]);
        assert_eq!(
            d.on_up(Instant::ZERO, PEER, PathId(2)),
            [],
            "the other attempt is no less needed"
        );
        assert_eq!(d.on_up(Instant::ZERO, PEER, PathId(3)), []);
        assert_eq!(dial_all(&mut d, Instant::ZERO, 4), [], "one for each port");
    }

    #[test]
    fn a_further_path_that_fails_is_nobodys_trouble_while_another_lives() {
        let mut d = asked_much();
        assert_eq!(dial_all(&mut d, Instant::ZERO, 2), [2, 3]);
        assert_eq!(d.explain([PEER]), None);
        let late = Instant::ZERO + TIMEOUT;
        assert_eq!(d.deadline(|_| true), Some(late));
        for path in [PathId(2), PathId(3)] {
            assert_eq!(d.poll(late, |_| true), Some(Action::GiveUp { path }));
            assert_eq!(d.on_down(late, PEER, path, &because("no answer")), Round::Open);
        }
        d.on_asked(late, &PEER, u32::MAX);
        assert_eq!(dial_all(&mut d, late, 4), [], "not at once again");
        assert_eq!(d.explain([PEER]), None);
        let later = late + Duration::from_secs(10);
        d.on_asked(later, &PEER, u32::MAX);
        assert_eq!(dial_all(&mut d, later, 4), [2, 3]);
    }

    #[test]
    fn a_peer_is_lost_with_its_last_path_whichever_that_is() {
        let mut d = asked_much();
        assert_eq!(dial_all(&mut d, Instant::ZERO, 2), [2, 3]);
        d.on_up(Instant::ZERO, PEER, PathId(2));
        assert_eq!(d.on_down(Instant::ZERO, PEER, PathId(1), &because("cut")), Round::Open);
        assert_eq!(dial_all(&mut d, Instant::ZERO, 4), [], "it is still there");
        assert_eq!(d.explain([PEER]), None);
        assert_eq!(d.on_down(Instant::ZERO, PEER, PathId(2), &because("cut")), Round::Open);
        assert_eq!(
            dial_all(&mut d, Instant::ZERO, 4),
            [1],
            "it is looked for where the link says"
        );
        // The attempt at its third port counts in that round now, and its ports may be others by the time it is back.
        assert_eq!(d.on_down(Instant::ZERO, PEER, PathId(4), &because("nobody")), Round::Open);
        assert_eq!(d.on_down(Instant::ZERO, PEER, PathId(3), &because("nobody")), Round::InVain);
        let explained = d.explain([PEER]).expect("it failed");
        assert!(explained.contains("127.0.0.1:1: nobody"), "{explained}");
    }

    #[test]
    fn a_peer_that_came_by_itself_opens_what_it_wants() {
        let mut d = dialer(&[addr(1)]);
        d.on_up(Instant::ZERO, PEER, PathId(1));
        d.on_ports(PEER, PathId(1), &[1, 2, 3]);
        d.on_asked(Instant::ZERO, &PEER, u32::MAX);
        assert_eq!(dial_all(&mut d, Instant::ZERO, 2), []);
    }
}
