//! What the caps of its lane and of its peer let one connection send and take now, and when more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ares_core::time::Instant;
use quinn_proto::StreamId;

use crate::pacer::{self, Asker, Paced, Turn};

/// A connection's place in the line of one pacer.
#[derive(Default)]
struct Spot {
    /// The next time it may send, once it has used up the one before: asked for then, or, with two pacers, when that begins.
    turn: Option<Turn>,
    /// Bytes that may leave; less than none after a datagram that was longer than what was left.
    credit: i64,
}

/// See the module. Open both ways where there are no caps.
#[derive(Default)]
pub(super) struct Gate {
    paced: Paced,
    askers: Vec<Asker>,
    /// Where it is in the line of each pacer of what leaves.
    spots: Vec<Spot>,
    /// Answers that have come and may not be read yet, longest first.
    held: VecDeque<StreamId>,
}

impl Gate {
    /// Its pacers are now these; another cap comes with another pacer. `asks`: this side has wanted something of the peer.
    pub(super) fn set(&mut self, paced: Paced, asks: bool) {
        let are_same = (self.paced.iter().flatten().map(Arc::as_ptr)).eq(paced.iter().flatten().map(Arc::as_ptr));
        if !are_same {
            self.spots = paced[0].iter().map(|_| Spot::default()).collect();
            self.askers.clear();
            self.paced = paced;
        }
        if asks && self.askers.is_empty() {
            self.askers = self.paced[1].iter().map(Asker::new).collect();
        }
    }

    /// How many datagrams of so many bytes may leave now; the last one may be longer than what is left.
    pub(super) fn datagrams(&mut self, now: Instant, bytes: usize) -> usize {
        // Who waits for one pacer stands in the line of the other meanwhile.
        let is_early = self.spots.len() > 1;
        for (up, spot) in self.paced[0].iter().zip(&mut self.spots) {
            while spot.credit <= 0 {
                let turn = spot.turn.take().unwrap_or_else(|| up.take(now));
                if turn.at > now {
                    spot.turn = Some(turn);
                    break;
                }
                spot.credit += turn.bytes as i64;
            }
            if is_early {
                spot.turn.get_or_insert_with(|| up.take(now));
            }
        }
        let credit = self.spots.iter().map(|spot| spot.credit).min();
        credit.map_or(usize::MAX, |credit| (credit.max(0) as usize).div_ceil(bytes))
    }

    /// So many bytes leave.
    pub(super) fn on_sent(&mut self, bytes: usize) {
        for spot in &mut self.spots {
            spot.credit -= bytes as i64;
        }
    }

    /// It has nothing more to send: what is left of its turns is for others.
    pub(super) fn on_all_sent(&mut self) {
        for (up, spot) in self.paced[0].iter().zip(&mut self.spots) {
            if spot.credit > 0 {
                let turn_bytes = spot.turn.take().map_or(0, |turn| turn.bytes);
                up.give_back(spot.credit as u64 + turn_bytes);
                spot.credit = 0;
            }
        }
    }

    /// When more may leave, where nothing may now.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        let waiting = self.spots.iter().filter(|spot| spot.credit <= 0);
        waiting.filter_map(|spot| Some(spot.turn?.at)).max()
    }

    /// So many bytes have come, whatever they are.
    pub(super) fn on_received(&self, now: Instant, bytes: usize) {
        for down in &self.paced[1] {
            down.count(now, bytes as u64);
        }
    }

    /// More of an answer has come. Whether it is to be read now; if not, it is held.
    pub(super) fn admits(&mut self, now: Instant, stream: StreamId) -> bool {
        let is_open = self.is_open(now);
        if !is_open && !self.held.contains(&stream) {
            self.held.push_back(stream);
        }
        is_open
    }

    /// An answer that was held and may be read now.
    pub(super) fn next_held(&mut self, now: Instant) -> Option<StreamId> {
        if self.is_open(now) { self.held.pop_front() } else { None }
    }

    /// When held answers may be read.
    pub(super) fn reads_at(&self) -> Option<Instant> {
        let free_at = self.free_at()?;
        (!self.held.is_empty()).then_some(free_at)
    }

    /// What the peer may send before it is read, where that is bounded.
    pub(super) fn ahead_bytes(&self, rtt: Duration) -> Option<u64> {
        pacer::ahead_bytes(&self.paced[1], rtt)
    }

    fn is_open(&self, now: Instant) -> bool {
        self.free_at().is_none_or(|free_at| free_at <= now)
    }

    /// When all that has come is counted as over.
    fn free_at(&self) -> Option<Instant> {
        self.paced[1].iter().map(|down| down.free_at()).max()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use ares_core::path::{Cap, Direction, Lane, LaneRules, PeerPattern};
    use ares_core::peer::PeerId;
    use quinn_proto::{Dir, Side};

    use super::*;
    use crate::pacer::Pacers;

    const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn lane() -> Lane {
        Lane {
            interface: 1,
            name: "eth0".to_owned(),
            ip: IP,
            prefix_bits: 24,
            is_up: true,
        }
    }

    /// One megabyte a second both ways.
    fn gate() -> Gate {
        let mut rules = LaneRules::default();
        for direction in Direction::ALL {
            let cap = Cap::parse("1000000").expect("a cap");
            let old = rules.caps.set(direction, "eth0".parse().expect("a pattern"), cap);
            assert_eq!(old, Ok(None));
        }
        let mut gate = Gate::default();
        gate.set(Pacers::new(&rules, &[lane()]).of(Some(IP), None), true);
        gate
    }

    fn at_ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn who_has_used_its_turn_waits_for_the_next_and_who_sends_nothing_for_none() {
        let mut gate = gate();
        let mut sent = 0;
        let mut now = at_ms(1000);
        while now < at_ms(2000) {
            match gate.datagrams(now, 1000) {
                0 => now = gate.opens_at().expect("its next turn"),
                datagrams => {
                    gate.on_sent(datagrams * 1000);
                    sent += datagrams * 1000;
                }
            }
        }
        assert!((990_000..=1_015_000).contains(&sent), "{sent} bytes");
        for _ in 0..1000 {
            assert!(gate.datagrams(at_ms(9000), 1000) > 0, "who sends nothing takes nothing");
            gate.on_all_sent();
        }
        assert_eq!(gate.opens_at(), None, "nothing waits");
    }

    /// A lane of 20 MB/s with nineteen that take all they can, and one whose peer has a cap of 800 kB/s, less than its part of the lane.
    #[test]
    fn who_has_two_caps_gets_what_both_leave_it() {
        let slow = PeerId::from_bytes([1; 32]);
        let cap = |text: &str| Cap::parse(text).expect("a cap");
        let mut rules = LaneRules::default();
        let all = "eth0".parse().expect("a pattern");
        rules.caps.set(Direction::Up, all, cap("20000000")).expect("there is room");
        let one = PeerPattern::One(slow);
        rules.peer_caps.set(Direction::Up, one, cap("800000")).expect("there is room");
        let pacers = Pacers::new(&rules, &[lane()]);
        let mut gates: Vec<Gate> = (0..20).map(|_| Gate::default()).collect();
        for (number, gate) in gates.iter_mut().enumerate() {
            gate.set(pacers.of(Some(IP), (number == 0).then_some(&slow)), false);
        }
        let mut sent = vec![0; gates.len()];
        let mut now = at_ms(1000);
        while now < at_ms(3000) {
            for (gate, sent) in gates.iter_mut().zip(&mut sent) {
                while let datagrams @ 1.. = gate.datagrams(now, 1000) {
                    gate.on_sent(datagrams * 1000);
                    *sent += datagrams * 1000;
                }
            }
            now = gates.iter().filter_map(Gate::opens_at).min().expect("all wait");
        }
        let [slow, rest @ ..] = sent.as_slice() else {
            unreachable!("twenty")
        };
        assert!((1_400_000..=1_640_000).contains(slow), "{slow} bytes in 2 s");
        let all: usize = slow + rest.iter().sum::<usize>();
        assert!((38_000_000..=41_400_000).contains(&all), "{all} bytes in 2 s");
    }

    #[test]
    fn an_answer_is_read_once_the_lane_is_done_with_what_came() {
        let mut gate = gate();
        let [first, second] = [0, 1].map(|index| StreamId::new(Side::Client, Dir::Bi, index));
        assert!(gate.admits(at_ms(1000), first));
        assert_eq!(gate.reads_at(), None, "nothing is held");
        gate.on_received(at_ms(1000), 150_000);
        for stream in [first, second, first] {
            assert!(!gate.admits(at_ms(1050), stream));
        }
        assert_eq!(gate.reads_at(), Some(at_ms(1100)), "150 ms from 50 ms ago");
        assert_eq!(gate.next_held(at_ms(1099)), None);
        let held: Vec<StreamId> = std::iter::from_fn(|| gate.next_held(at_ms(1100))).collect();
        assert_eq!(held, [first, second]);
        assert_eq!(gate.reads_at(), None);
        gate.on_received(at_ms(1100), 150_000);
        assert!(!gate.admits(at_ms(1100), first));
        gate.set(Paced::default(), true);
        assert_eq!(gate.next_held(at_ms(1100)), Some(first), "there is no cap any more");
        assert_eq!(gate.datagrams(at_ms(1100), 1000), usize::MAX);
    }
}
