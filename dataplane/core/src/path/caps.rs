//! How much lanes may carry, by the operator's word: parsed, kept and looked up. Who holds back for it is not asked here.

use std::fmt;

use super::{Lane, LanePattern};
use crate::knobs::{parse_bytes, show_bytes};

/// The least and the greatest cap, in bytes per second. With less than the first a datagram waits as long as a path that is silent is given.
const CAP_MIN: u64 = 256 << 10;
const CAP_MAX: u64 = 128 << 30;

/// Caps that a node has at most.
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

/// Bytes per second that lanes carry at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cap(u64);

/// No cap can be set so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCap {
    /// What is written is none.
    #[error(
        "a lane's cap cannot be {shown:?}; give bytes per second from {} to {}, such as 20MiB, or `{NONE}`",
        Cap(CAP_MIN),
        Cap(CAP_MAX)
    )]
    Value {
        /// The value, cut where it is long.
        shown: String,
    },
    /// There are as many as can be.
    #[error(
        "there are {CAPS_MAX} caps of lanes, and no more can be; set one of them to `{NONE}` first, or let a pattern stand for several"
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

/// A cap of one direction. All lanes like the pattern share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapRule {
    /// Which lanes.
    pub pattern: LanePattern,
    /// Which way.
    pub direction: Direction,
    /// How much.
    pub cap: Cap,
}

/// All caps, in the order in which they were given. A lane with several obeys the least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneCaps(Vec<CapRule>);

impl LaneCaps {
    /// Gives lanes like these another cap, or none. The one that they had.
    pub fn set(&mut self, direction: Direction, pattern: LanePattern, cap: Option<Cap>) -> Result<Option<Cap>, BadCap> {
        let is_it = |rule: &CapRule| rule.direction == direction && rule.pattern == pattern;
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

    /// What was set for lanes written like this.
    pub fn get(&self, direction: Direction, pattern: &LanePattern) -> Option<Cap> {
        let is_it = |rule: &&CapRule| rule.direction == direction && rule.pattern == *pattern;
        self.0.iter().find(is_it).map(|rule| rule.cap)
    }

    /// All of them.
    pub fn rules(&self) -> &[CapRule] {
        &self.0
    }

    /// Which of them the lane obeys, and its number in `rules`.
    pub fn rule_of(&self, direction: Direction, lane: &Lane) -> Option<usize> {
        let rules = self.0.iter().enumerate();
        let of_lane = rules.filter(|(_, rule)| rule.direction == direction && rule.pattern.is_like(lane));
        of_lane.min_by_key(|(_, rule)| rule.cap).map(|(at, _)| at)
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
                format!("a lane's cap cannot be {bad:?}; give bytes per second from 256KiB to 128GiB, such as 20MiB, or `none`");
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
