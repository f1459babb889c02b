//! How much lanes may carry and peers be sent, by the operator's word: parsed, kept and looked up. Who holds back for it is not asked here.

use std::fmt;
use std::str::FromStr;

use super::{Lane, LanePattern};
use crate::knobs::{parse_bytes, show_bytes};
use crate::peer::PeerId;

/// The least and the greatest cap, in bytes per second. With less than the first a datagram waits as long as a path that is silent is given.
const CAP_MIN: u64 = 256 << 10;
const CAP_MAX: u64 = 128 << 30;

/// Caps of lanes that a node has at most, and of peers.
const CAPS_MAX: usize = 64;

/// What is written for no cap, as well as `0`.
const NONE: &str = "none";

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// What this node sends.
    Up,
    /// What comes.
    Down,
}

impl Direction {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// `up` or `down`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Bytes per second at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cap(u64);

/// No cap can be set so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCap {
    /// What is written is none.
    #[error(
        "a cap cannot be {shown:?}; give bytes per second from {} to {}, such as 20MiB, or `{NONE}`",
        Cap(CAP_MIN),
        Cap(CAP_MAX)
    )]
    Value {
        /// The value, cut where it is long.
        shown: String,
    },
    /// There are as many as can be.
    #[error(
        "there are {CAPS_MAX} such caps, and no more can be; set one of them to `{NONE}` first, or let a pattern stand for several"
    )]
    Full,
}

impl Cap {
    /// What a cap may be, in bytes per second.
    pub const RANGE: [u64; 2] = [CAP_MIN, CAP_MAX];

    /// From a value as written: bytes per second as `4194304`, `4096KiB`, `4MiB`; none is `none` or `0`.
    pub fn parse(text: &str) -> Result<Option<Self>, BadCap> {
        /// Characters of a wrong value that are worth repeating.
        const SHOWN_MAX: usize = 40;
        if text == NONE {
            return Ok(None);
        }
        match parse_bytes(text) {
            Some(0) => Ok(None),
            Some(bytes @ CAP_MIN..=CAP_MAX) => Ok(Some(Self(bytes))),
            _ => Err(BadCap::Value {
                shown: text.chars().take(SHOWN_MAX).collect(),
            }),
        }
    }

    /// Bytes per second.
    pub const fn bytes_per_s(self) -> u64 {
        self.0
    }

    /// As it may be written again, also where there is none.
    pub fn show(cap: Option<Self>) -> String {
        cap.map_or(NONE.to_owned(), |cap| cap.to_string())
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&show_bytes(self.0))
    }
}

/// A cap of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapRule<P> {
    /// Whose.
    pub pattern: P,
    /// Which way.
    pub direction: Direction,
    /// How much.
    pub cap: Cap,
}

/// All caps of one kind, in the order in which they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps<P>(Vec<CapRule<P>>);

/// Those of lanes. All lanes like a pattern share its cap; a lane with several obeys the least.
pub type LaneCaps = Caps<LanePattern>;

/// Those of peers, each of which has one by itself, over all of its paths.
pub type PeerCaps = Caps<PeerPattern>;

impl<P> Default for Caps<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P: PartialEq> Caps<P> {
    /// Gives those like this another cap, or none. The one that they had.
    pub fn set(&mut self, direction: Direction, pattern: P, cap: Option<Cap>) -> Result<Option<Cap>, BadCap> {
        let is_it = |rule: &CapRule<P>| rule.direction == direction && rule.pattern == pattern;
        Ok(match (self.0.iter().position(is_it), cap) {
            (Some(at), Some(cap)) => Some(std::mem::replace(&mut self.0[at].cap, cap)),
            (Some(at), None) => Some(self.0.remove(at).cap),
            (None, None) => None,
            (None, Some(_)) if self.0.len() == CAPS_MAX => return Err(BadCap::Full),
            (None, Some(cap)) => {
                self.0.push(CapRule { pattern, direction, cap });
                None
            }
        })
    }

    /// What was set for those written like this.
    pub fn get(&self, direction: Direction, pattern: &P) -> Option<Cap> {
        let is_it = |rule: &&CapRule<P>| rule.direction == direction && rule.pattern == *pattern;
        self.0.iter().find(is_it).map(|rule| rule.cap)
    }

    /// All of them.
    pub fn rules(&self) -> &[CapRule<P>] {
        &self.0
    }
}

impl LaneCaps {
    /// Which of them the lane obeys, and its number in `rules`.
    pub fn rule_of(&self, direction: Direction, lane: &Lane) -> Option<usize> {
        let rules = self.0.iter().enumerate();
        let of_lane = rules.filter(|(_, rule)| rule.direction == direction && rule.pattern.is_like(lane));
        of_lane.min_by_key(|(_, rule)| rule.cap).map(|(at, _)| at)
    }
}

impl PeerCaps {
    /// What the peer may be sent, or send: its own cap, else that of each.
    pub fn of(&self, direction: Direction, peer: &PeerId) -> Option<Cap> {
        let own = self.get(direction, &PeerPattern::One(*peer));
        own.or_else(|| self.get(direction, &PeerPattern::Each))
    }
}

/// Whom a cap of peers is about: `*`, or the 64 hex digits of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPattern {
    /// Each peer that has none of its own.
    Each,
    /// This one.
    One(PeerId),
}

/// What is written names no peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is no peer; write `*` for each, or the 64 hex digits of one (`ares peers --json`)")]
pub struct BadPeer {
    shown: String,
}

impl fmt::Display for PeerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each => f.write_str("*"),
            Self::One(peer) => peer.fmt(f),
        }
    }
}

impl FromStr for PeerPattern {
    type Err = BadPeer;

    fn from_str(entry: &str) -> Result<Self, BadPeer> {
        /// Characters of a wrong key that are worth repeating: one more than of a right one.
        const SHOWN_MAX: usize = 65;
        // As it is written everywhere: the file and the command must name a peer alike.
        let one = PeerId::from_hex(entry)
            .filter(|peer| peer.to_string() == entry)
            .map(Self::One);
        let is_each = (entry == "*").then_some(Self::Each);
        one.or(is_each).ok_or_else(|| BadPeer {
            shown: entry.chars().take(SHOWN_MAX).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cap(text: &str) -> Option<Cap> {
        Cap::parse(text).expect(text)
    }

    #[test]
    fn a_cap_is_bytes_per_second_or_none() {
        for none in ["none", "0", "0MiB"] {
            assert_eq!(cap(none), None, "{none}");
        }
        for (text, bytes) in [("256KiB", 256 << 10), ("1048576", 1 << 20), ("128GiB", 128 << 30)] {
            assert_eq!(cap(text).map(Cap::bytes_per_s), Some(bytes));
            assert_eq!(Cap::parse(&Cap::show(cap(text))), Ok(cap(text)));
        }
        assert_eq!(Cap::show(None), NONE);
        for bad in ["", "-1", "262143", "255KiB", "129GiB", "10MB", "fast", "None"] {
            let said = Cap::parse(bad).expect_err(bad).to_string();
            let expect =
                format!("a cap cannot be {bad:?}; give bytes per second from 256KiB to 128GiB, such as 20MiB, or `none`");
            assert_eq!(said, expect);
        }
    }

    #[test]
    fn a_lane_obeys_the_least_cap_of_its_direction() {
        let lane = |name: &str, ip: &str| Lane {
            interface: 1,
            name: name.to_owned(),
            ip: ip.parse().expect("an address"),
            prefix_bits: 24,
            is_up: true,
        };
        let pattern = |text: &str| text.parse::<LanePattern>().expect("a pattern");
        let mut caps = LaneCaps::default();
        assert_eq!(caps.set(Direction::Up, pattern("eth*"), cap("2MiB")), Ok(None));
        assert_eq!(caps.set(Direction::Up, pattern("10.0.1.0/24"), cap("1MiB")), Ok(None));
        assert_eq!(caps.set(Direction::Down, pattern("wg0"), cap("1MiB")), Ok(None));
        let check = |caps: &LaneCaps, name: &str, ip: &str, expect: [Option<usize>; 2]| {
            let found = Direction::ALL.map(|direction| caps.rule_of(direction, &lane(name, ip)));
            assert_eq!(found, expect, "{name} {ip}");
        };
        check(&caps, "eth0", "10.0.1.2", [Some(1), None]);
        check(&caps, "eth1", "10.0.2.2", [Some(0), None]);
        check(&caps, "wg0", "10.0.3.2", [None, Some(2)]);
        check(&caps, "lo", "127.0.0.1", [None, None]);
        assert_eq!(caps.set(Direction::Up, pattern("eth*"), cap("512KiB")), Ok(cap("2MiB")));
        check(&caps, "eth0", "10.0.1.2", [Some(0), None]);
        assert_eq!(caps.set(Direction::Down, pattern("eth*"), None), Ok(None));
        assert_eq!(caps.set(Direction::Up, pattern("eth*"), None), Ok(cap("512KiB")));
        check(&caps, "eth0", "10.0.1.2", [Some(0), None]);
        check(&caps, "eth1", "10.0.2.2", [None, None]);
    }

    #[test]
    fn a_peer_obeys_its_own_cap_whatever_that_of_each_is() {
        let [named, other] = [7, 8].map(|byte| PeerId::from_bytes([byte; 32]));
        let hex = named.to_string();
        let mut caps = PeerCaps::default();
        let pattern = |text: &str| text.parse::<PeerPattern>().expect("a pattern");
        let check = |caps: &PeerCaps, expect: [Option<Cap>; 2]| {
            assert_eq!([named, other].map(|peer| caps.of(Direction::Up, &peer)), expect);
            assert_eq!(caps.of(Direction::Down, &named), None);
        };
        check(&caps, [None, None]);
        assert_eq!(caps.set(Direction::Up, pattern("*"), cap("1MiB")), Ok(None));
        check(&caps, [cap("1MiB"); 2]);
        assert_eq!(caps.set(Direction::Up, pattern(&hex), cap("2MiB")), Ok(None));
        check(&caps, [cap("2MiB"), cap("1MiB")]);
        assert_eq!(caps.set(Direction::Up, pattern("*"), None), Ok(cap("1MiB")));
        check(&caps, [cap("2MiB"), None]);
        for text in ["*", &hex] {
            assert_eq!(pattern(text).to_string(), text);
        }
        for bad in ["", "7", "eth0", &hex[1..], &format!("{hex}0"), "**"] {
            let said = bad.parse::<PeerPattern>().expect_err(bad).to_string();
            assert!(said.contains("ares peers --json") && said.contains(bad), "{said}");
        }
    }

    #[test]
    fn there_are_not_more_caps_than_can_be_looked_through() {
        let mut caps = LaneCaps::default();
        let pattern = |number: usize| format!("eth{number}").parse::<LanePattern>().expect("a pattern");
        for number in 0..CAPS_MAX {
            assert_eq!(caps.set(Direction::Up, pattern(number), cap("1MiB")), Ok(None));
        }
        assert_eq!(caps.set(Direction::Up, pattern(CAPS_MAX), cap("1MiB")), Err(BadCap::Full));
        assert_eq!(caps.set(Direction::Up, pattern(7), cap("2MiB")), Ok(cap("1MiB")));
        assert_eq!(caps.set(Direction::Up, pattern(7), None), Ok(cap("2MiB")));
        assert_eq!(caps.set(Direction::Up, pattern(CAPS_MAX), cap("1MiB")), Ok(None));
    }
}
