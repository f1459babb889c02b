//! What lanes may carry and peers be sent at most, for all shards together: one number that all add to, no lock. A lane with caps has a pacer
//! for each direction, which other lanes that obey the same rule have too; so has a peer, whichever lanes its paths leave from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ares_core::path::{Cap, Direction, Lane, LaneCaps, LaneRules, PeerCaps};
use ares_core::peer::PeerId;
use ares_core::time::Instant;

/// Peers from which on it is looked for those that are gone.
const SWEEP_AT_MIN: usize = 64;

/// How long a turn lasts, as far as that gives the bytes of a datagram or of a burst.
const TURN: Duration = Duration::from_millis(5);
const TURN_BYTES_MIN: u64 = 1500;
const TURN_BYTES_MAX: u64 = 64 << 10;

/// Time of which nobody made use counts for this long and no longer: whoever wakes too late loses nothing by it, nor does a peer whose bytes
/// come a round trip after they were asked for.
const UNUSED_MAX: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];

/// What may come before it is read, beside that of a round trip, to all connections that ask over the lane. With it and `UNUSED_MAX` no
/// second brings a tenth more than the cap.
const AHEAD: Duration = Duration::from_millis(30);
const AHEAD_BYTES_MIN: u64 = 8 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pacer {
    bytes_per_s: u64,
    unused_max: Duration,
    /// When the lane would be done with all that was counted and promised, in nanoseconds.
    free_at: AtomicU64,
    /// Connections that ask for something.
    askers: AtomicU64,
}

/// So many bytes may leave from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) at: Instant,
    pub(crate) bytes: u64,
}

impl Pacer {
    fn new(direction: Direction, cap: Cap) -> Self {
        Self {
            bytes_per_s: cap.bytes_per_s(),
            unused_max: UNUSED_MAX[direction as usize],
            free_at: AtomicU64::new(0),
            askers: AtomicU64::new(0),
        }
    }

    /// Takes the next turn. Turns follow one another at the cap's rate and in the order in which they are taken, so connections that always
    /// have something to send get as much each.
    pub(crate) fn take(&self, now: Instant) -> Turn {
        let bytes = self.bytes_in(TURN).clamp(TURN_BYTES_MIN, TURN_BYTES_MAX);
        Turn {
            at: self.count(now, bytes),
            bytes,
        }
    }

    /// So many bytes were carried, or will be. When the lane was free for them.
    pub(crate) fn count(&self, now: Instant, bytes: u64) -> Instant {
        let nanos = bytes * 1_000_000_000 / self.bytes_per_s;
        let earliest = (now - self.unused_max).as_nanos();
        let after = |free_at: u64| Some(free_at.max(earliest) + nanos);
        let before = self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        Instant::from_nanos(before.unwrap_or_else(|same| same).max(earliest))
    }

    /// So many bytes of a turn are not used.
    pub(crate) fn give_back(&self, bytes: u64) {
        let nanos = bytes * 1_000_000_000 / self.bytes_per_s;
        let after = |free_at: u64| Some(free_at.saturating_sub(nanos));
        // It never fails: there is always a next value.
        let _ = self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
    }

    /// When all that was counted is over.
    pub(crate) fn free_at(&self) -> Instant {
        Instant::from_nanos(self.free_at.load(Ordering::Relaxed))
    }

    /// What each of the peers that are asked may send before it is read, where this one is at this distance.
    pub(crate) fn ahead_bytes(&self, rtt: Duration) -> u64 {
        let askers = self.askers.load(Ordering::Relaxed).max(1);
        (self.bytes_in(AHEAD + rtt) / askers).max(AHEAD_BYTES_MIN)
    }

    fn bytes_in(&self, time: Duration) -> u64 {
        (u128::from(self.bytes_per_s) * time.as_nanos() / 1_000_000_000) as u64
    }
}

/// A connection that asks for something.
#[derive(Debug)]
pub(crate) struct Asker(Arc<Pacer>);

impl Asker {
    pub(crate) fn new(pacer: &Arc<Pacer>) -> Self {
        pacer.askers.fetch_add(1, Ordering::Relaxed);
        Self(pacer.clone())
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.askers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pacers of one connection, by direction: that of its lane and that of its peer, where there are such.
pub(crate) type Paced = [Vec<Arc<Pacer>>; 2];

/// What the peer at this distance may send before it is read, where any of these bounds that.
pub(crate) fn ahead_bytes(pacers: &[Arc<Pacer>], rtt: Duration) -> Option<u64> {
    pacers.iter().map(|pacer| pacer.ahead_bytes(rtt)).min()
}

/// Those of all lanes and peers. Whoever has a clone has the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pacers(Arc<All>);

#[derive(Debug, Default)]
struct All {
    /// By address, of lanes that have any.
    lanes: Vec<(IpAddr, Paced)>,
    peer_caps: PeerCaps,
    /// Looked into when a connection is new or another cap is set, by one thread at a time.
    peers: Mutex<Peers>,
}

/// Of peers that somebody is connected with, those that have any; and a few that nobody is any more.
#[derive(Debug, Default)]
struct Peers {
    of: BTreeMap<PeerId, [Weak<Pacer>; 2]>,
    /// With so many, those that nobody holds are let go.
    sweep_at: usize,
}

impl Pacers {
    pub(crate) fn new(rules: &LaneRules, lanes: &[Lane]) -> Self {
        let caps: &LaneCaps = &rules.caps;
        let pacers: Vec<Arc<Pacer>> = (caps.rules().iter())
            .map(|rule| Arc::new(Pacer::new(rule.direction, rule.cap)))
            .collect();
        let of_lane = |lane: &Lane| Direction::ALL.map(|direction| caps.rule_of(direction, lane).map(|at| pacers[at].clone()));
        let all = lanes.iter().map(|lane| (lane.ip, of_lane(lane).map(Vec::from_iter)));
        Self(Arc::new(All {
            lanes: all.filter(|(_, paced)| paced.iter().any(|of| !of.is_empty())).collect(),
            peer_caps: rules.peer_caps.clone(),
            peers: Mutex::default(),
        }))
    }

    /// Those of a connection from this address with this peer.
    pub(crate) fn of(&self, ip: Option<IpAddr>, peer: Option<&PeerId>) -> Paced {
        let found = ip.and_then(|ip| self.0.lanes.iter().find(|(lane, _)| *lane == ip.to_canonical()));
        let mut paced = found.map_or_else(Paced::default, |(_, paced)| paced.clone());
        if let Some(peer) = peer {
            let of_peer = self.of_peer(peer);
            paced.iter_mut().zip(of_peer).for_each(|(all, one)| all.extend(one));
        }
        paced
    }

    /// Whether these are the same and not others like them.
    pub(crate) fn are(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn of_peer(&self, peer: &PeerId) -> [Option<Arc<Pacer>>; 2] {
        let caps = Direction::ALL.map(|direction| self.0.peer_caps.of(direction, peer));
        if caps == [None, None] {
            return [None, None];
        }
        // Nothing that panics is done meanwhile.
        let mut peers = self.0.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.of.len() >= peers.sweep_at {
            peers.of.retain(|_, known| known.iter().any(|of| of.strong_count() > 0));
            peers.sweep_at = (2 * peers.of.len()).max(SWEEP_AT_MIN);
        }
        let known = peers.of.entry(*peer).or_default();
        Direction::ALL.map(|direction| {
            let (known, cap) = (&mut known[direction as usize], caps[direction as usize]?);
            Some(known.upgrade().unwrap_or_else(|| {
                let made = Arc::new(Pacer::new(direction, cap));
                *known = Arc::downgrade(&made);
                made
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn pacer(cap: &str) -> Pacer {
        Pacer::new(Direction::Up, Cap::parse(cap).expect("a cap").expect("not none"))
    }

    /// Takes turns for a second, each as soon as the one before may leave and the taker wakes. Bytes of each taker.
    fn taken(pacer: &Pacer, takers: usize, late: Duration) -> Vec<u64> {
        let start = Instant::from_nanos(100_000 * MS);
        let end = start + Duration::from_secs(1);
        let mut turns: Vec<Turn> = (0..takers).map(|_| pacer.take(start)).collect();
        let mut bytes = vec![0; takers];
        let mut now = start;
        loop {
            let next = turns.iter().enumerate().map(|(who, turn)| (turn.at + late, who)).min();
            let (at, who) = next.expect("somebody takes");
            now = now.max(at);
            if now >= end {
                return bytes;
            }
            bytes[who] += turns[who].bytes;
            turns[who] = pacer.take(now);
        }
    }

    #[test]
    fn all_who_take_get_the_cap_together_and_as_much_each() {
        for (cap, rate) in [
            ("256KiB", 256 << 10),
            ("1MiB", 1 << 20),
            ("25000000", 25_000_000),
            ("1GiB", 1_u64 << 30),
        ] {
            for late in [Duration::ZERO, Duration::from_millis(3)] {
                for takers in [1, 2, 4] {
                    let bytes = taken(&pacer(cap), takers, late);
                    let all: u64 = bytes.iter().sum();
                    assert!(all <= rate + rate / 50 + TURN_BYTES_MAX, "{cap}, {takers} takers: {all}");
                    // Whoever takes one turn at a time and wakes late cannot fill more than its turns.
                    let is_fast = late.is_zero() || TURN_BYTES_MAX * 300 * takers as u64 > rate;
                    assert!(
                        all >= rate - rate / 20 || !is_fast,
                        "{cap}, {takers} takers, {late:?} late: {all}"
                    );
                    let spread = bytes.iter().max().expect("one") - bytes.iter().min().expect("one");
                    assert!(spread <= TURN_BYTES_MAX, "{cap}: {bytes:?}");
                }
            }
        }
    }

    #[test]
    fn what_was_not_taken_in_a_pause_is_not_made_up_for() {
        let pacer = pacer("1MiB");
        let at = |ms: u64| Instant::from_nanos(ms * MS);
        assert_eq!(pacer.take(at(1000)).at, at(995));
        assert_eq!(pacer.take(at(9000)).at, at(8995));
        let next = pacer.take(at(9000)).at;
        assert!(next > at(8999) && next <= at(9000), "{next:?}");
    }

    #[test]
    fn lanes_that_obey_one_rule_share_a_pacer() {
        let lane = |name: &str, last: u8| Lane {
            interface: 1,
            name: name.to_owned(),
            ip: [10, 0, 0, last].into(),
            prefix_bits: 24,
            is_up: true,
        };
        let mut rules = LaneRules::default();
        let cap = Cap::parse("1MiB").expect("a cap");
        let old = rules.caps.set(Direction::Down, "eth*".parse().expect("a pattern"), cap);
        assert_eq!(old, Ok(None));
        let pacers = Pacers::new(&rules, &[lane("eth0", 1), lane("eth1", 2), lane("wg0", 3)]);
        let down = |last: u8| pacers.of(Some([10, 0, 0, last].into()), None)[Direction::Down as usize].clone();
        assert!(Arc::ptr_eq(&down(1)[0], &down(2)[0]));
        assert!(down(3).is_empty() && down(4).is_empty());
        assert!(pacers.of(Some([10, 0, 0, 1].into()), None)[Direction::Up as usize].is_empty());
    }

    #[test]
    fn a_peer_has_one_pacer_as_long_as_it_is_connected_and_others_have_others() {
        let peer = |byte: u8| PeerId::from_bytes([byte; 32]);
        let mut rules = LaneRules::default();
        let mut set = |of: &str, cap: &str| {
            let (of, cap) = (of.parse().expect("a pattern"), Cap::parse(cap).expect("a cap"));
            rules.peer_caps.set(Direction::Up, of, cap).expect("there is room");
        };
        set("*", "1MiB");
        set(&peer(1).to_string(), "2MiB");
        let pacers = Pacers::new(&rules, &[]);
        let up = |byte: u8| pacers.clone().of(None, Some(&peer(byte)))[0][0].clone();
        let (first, second) = (up(1), up(2));
        assert_eq!((first.bytes_per_s, second.bytes_per_s), (2 << 20, 1 << 20));
        assert!(Arc::ptr_eq(&first, &up(1)) && !Arc::ptr_eq(&second, &up(3)));
        assert!(pacers.of(None, Some(&peer(1)))[1].is_empty() && pacers.of(None, None)[0].is_empty());
        (4..=255).for_each(|byte| drop(up(byte)));
        let kept = pacers.0.peers.lock().expect("whole").of.len();
        assert!(kept <= SWEEP_AT_MIN, "{kept} for two that are connected");
        assert!(Arc::ptr_eq(&first, &up(1)), "and for those it is the same");
    }
}
