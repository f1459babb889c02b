//! The operator's rules for paths: which lanes they may leave from, how much each counts and carries, and how much each peer is sent. Which is
//! best is not asked here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::lane::share_prefix;
use super::{Lane, LaneCaps, PeerCaps};

/// The greatest weight a lane may be given; without a rule it is 1.
pub const WEIGHT_MAX: u32 = 1000;

/// Patterns that may have one, as with caps.
const WEIGHTS_MAX: usize = 64;

/// A weight that lanes cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWeight {
    /// It is none.
    #[error("a weight cannot be {shown:?}; give a number from 1 to {WEIGHT_MAX}, or none")]
    Value {
        /// The value, cut where it is long.
        shown: String,
    },
    /// There are enough.
    #[error("{WEIGHTS_MAX} patterns have a weight already; take one away with `none`")]
    Full,
}

/// Bytes of an interface's name at most (IFNAMSIZ of netdevice(7) less the final zero).
const NAME_BYTES_MAX: usize = 15;

/// Which lanes to use. The default is all of them, loopback only where there is no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneRules {
    /// Where not empty, lanes like none of these are left out.
    pub include: Vec<LanePattern>,
    /// Lanes like one of these are left out, whatever `include` says.
    pub exclude: Vec<LanePattern>,
    /// How much lanes like these count, from 1 to `WEIGHT_MAX`.
    pub weights: Vec<(LanePattern, u32)>,
    /// How much they may carry.
    pub caps: LaneCaps,
    /// How much peers may be sent and send, over whichever of them.
    pub peer_caps: PeerCaps,
}

impl LaneRules {
    /// Whether the lane is not ruled out.
    pub fn admits(&self, lane: &Lane) -> bool {
        (self.include.is_empty() || is_like_any(&self.include, lane)) && !is_like_any(&self.exclude, lane)
    }

    /// How much it counts beside others: the greatest weight that it has been given, else 1.
    pub fn weight(&self, lane: &Lane) -> u32 {
        let given = self.weights.iter().filter(|(pattern, _)| pattern.is_like(lane));
        given.map(|(_, weight)| *weight).max().unwrap_or(1)
    }

    /// What was given to lanes written like this.
    pub fn weight_given(&self, pattern: &LanePattern) -> Option<u32> {
        let given = self.weights.iter().find(|(known, _)| known == pattern);
        given.map(|(_, weight)| *weight)
    }

    /// Gives lanes like these another weight, or none. The one that they had; `Err` where too many have one.
    pub fn give_weight(&mut self, pattern: LanePattern, weight: Option<u32>) -> Result<Option<u32>, BadWeight> {
        let old = self.weight_given(&pattern);
        if old.is_none() && weight.is_some() && self.weights.len() >= WEIGHTS_MAX {
            return Err(BadWeight::Full);
        }
        self.weights.retain(|(known, _)| *known != pattern);
        self.weights.extend(weight.map(|weight| (pattern, weight)));
        Ok(old)
    }

    /// A weight as written: a number, or `none`.
    pub fn parse_weight(text: &str) -> Result<Option<u32>, BadWeight> {
        /// Characters of a wrong value that are worth repeating.
        const SHOWN_MAX: usize = 40;
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u32>().ok().filter(|_| is_number) {
            Some(weight @ 1..=WEIGHT_MAX) => Ok(Some(weight)),
            _ if text == "none" => Ok(None),
            _ => Err(BadWeight::Value {
                shown: text.chars().take(SHOWN_MAX).collect(),
            }),
        }
    }

    /// Those of the machine's lanes that are to be used. Loopback leads to this machine only: it is used where `include` asks for it or
    /// nothing else is there.
    pub fn choose(&self, lanes: impl IntoIterator<Item = Lane>) -> Vec<Lane> {
        let mut chosen: Vec<Lane> = lanes.into_iter().filter(|lane| self.admits(lane)).collect();
        if self.include.is_empty() && chosen.iter().any(|lane| !lane.ip.is_loopback()) {
            chosen.retain(|lane| !lane.ip.is_loopback());
        }
        chosen
    }
}

fn is_like_any(patterns: &[LanePattern], lane: &Lane) -> bool {
    patterns.iter().any(|pattern| pattern.is_like(lane))
}

/// What lanes may be like: `eth0`, `eth*`, `10.0.1.2`, `10.0.0.0/16`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanePattern(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The interface's name; `*` stands for any bytes, `?` for one.
    Name(String),
    /// The address has the first so many bits of this one.
    Subnet { ip: IpAddr, prefix_bits: u8 },
}

/// What is written is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}` is {why}: write an interface (`eth0`, `eth*`), an address or a subnet (`10.0.0.0/16`)")]
pub struct BadPattern {
    entry: String,
    why: &'static str,
}

impl LanePattern {
    /// Whether the lane is like this.
    pub fn is_like(&self, lane: &Lane) -> bool {
        match &self.0 {
            Kind::Name(pattern) => matches(pattern.as_bytes(), lane.name.as_bytes()),
            Kind::Subnet { ip, prefix_bits } => share_prefix(*ip, lane.ip, *prefix_bits),
        }
    }
}

impl fmt::Display for LanePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Name(pattern) => f.write_str(pattern),
            Kind::Subnet { ip, prefix_bits } => write!(f, "{ip}/{prefix_bits}"),
        }
    }
}

impl FromStr for LanePattern {
    type Err = BadPattern;

    fn from_str(entry: &str) -> Result<Self, BadPattern> {
        parse(entry).map(Self).map_err(|why| BadPattern {
            entry: entry.to_owned(),
            why,
        })
    }
}

fn parse(entry: &str) -> Result<Kind, &'static str> {
    if let Some((ip, bits)) = entry.split_once('/') {
        let ip: IpAddr = ip.parse().map_err(|_| "no subnet, for what is before `/` is no address")?;
        let bits_max = if ip.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.parse().ok().filter(|bits| *bits <= bits_max);
        let prefix_bits = prefix_bits.ok_or("no subnet, for what follows `/` is no number of bits of its address")?;
        return Ok(Kind::Subnet { ip, prefix_bits });
    }
    if let Ok(ip) = entry.parse::<IpAddr>() {
        let prefix_bits = if ip.is_ipv4() { 32 } else { 128 };
        return Ok(Kind::Subnet { ip, prefix_bits });
    }
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    if entry.contains(':') || entry.chars().all(is_number) {
        return Err("neither an address nor the name of an interface");
    }
    if entry.len() > NAME_BYTES_MAX {
        return Err("longer than the name of any interface");
    }
    if entry.contains(char::is_whitespace) {
        return Err("no name of an interface, for it has spaces");
    }
    Ok(Kind::Name(entry.to_owned()))
}

/// Whether a name is what a pattern with `*` and `?` stands for.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| matches(rest, &name[at..])),
        ([b'?', pattern @ ..], [_, name @ ..]) => matches(pattern, name),
        ([one, pattern @ ..], [other, name @ ..]) => one == other && matches(pattern, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str, ip: &str) -> Lane {
        Lane {
            interface: 1,
            name: name.to_owned(),
            ip: ip.parse().expect("an address"),
            prefix_bits: 24,
            is_up: true,
        }
    }

    fn patterns(entries: &[&str]) -> Vec<LanePattern> {
        entries.iter().map(|entry| entry.parse().expect("a pattern")).collect()
    }

    #[test]
    fn a_pattern_is_a_name_an_address_or_a_subnet() {
        let check = |pattern: &str, name: &str, ip: &str, expect: bool| {
            let parsed = patterns(&[pattern]).remove(0);
            assert_eq!(parsed.is_like(&lane(name, ip)), expect, "{pattern} and {name} {ip}");
            assert_eq!(parsed.to_string().parse().as_ref(), Ok(&parsed), "{pattern}");
        };
        check("eth0", "eth0", "10.0.1.2", true);
        check("eth0", "eth01", "10.0.1.2", false);
        check("eth*", "eth01", "10.0.1.2", true);
        check("eth*", "eth", "10.0.1.2", true);
        check("*", "wg0", "::1", true);
        check("e?h0", "eth0", "10.0.1.2", true);
        check("eth?", "eth", "10.0.1.2", false);
        check("*.100", "eth0.100", "10.0.1.2", true);
        check("en*p?s*", "enp12s0", "10.0.1.2", false);
        check("en*p?s*", "enxp1s0", "10.0.1.2", true);
        check("10.0.1.2", "eth0", "10.0.1.2", true);
        check("10.0.1.2", "eth0", "10.0.1.20", false);
        check("10.0.0.0/16", "eth0", "10.0.1.2", true);
        check("10.1.0.0/16", "eth0", "10.0.1.2", false);
        check("0.0.0.0/0", "eth0", "10.0.1.2", true);
        check("0.0.0.0/0", "eth0", "fd00::1", false);
        check("fd00::/8", "eth0", "fd12::1", true);
        check("::1", "lo", "::1", true);
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        for (entry, why) in [
            ("10.0.0.300", "neither an address"),
            ("10.0.0", "neither an address"),
            ("", "neither an address"),
            ("fe80:::1", "neither an address"),
            ("eth0/24", "is no address"),
            ("10.0.0.0/33", "number of bits"),
            ("fd00::/129", "number of bits"),
            ("10.0.0.0/", "number of bits"),
            ("eth0 eth1", "spaces"),
            ("sixteen-bytes-it", "longer"),
        ] {
            let error = entry.parse::<LanePattern>().expect_err(entry).to_string();
            assert!(
                error.contains(why) && error.contains(&format!("`{entry}`")),
                "{entry}: {error}"
            );
        }
    }

    #[test]
    fn lanes_are_chosen_by_what_is_included_and_excluded() {
        let all = [
            lane("eth0", "10.0.1.2"),
            lane("docker0", "172.17.0.1"),
            lane("wg0", "10.9.0.2"),
            lane("lo", "127.0.0.1"),
        ];
        let check = |include: &[&str], exclude: &[&str], expect: &[&str]| {
            let rules = LaneRules {
                include: patterns(include),
                exclude: patterns(exclude),
                ..LaneRules::default()
            };
            let chosen = rules.choose(all.clone());
            let names: Vec<&str> = chosen.iter().map(|lane| lane.name.as_str()).collect();
            assert_eq!(names, expect, "include {include:?} exclude {exclude:?}");
        };
        check(&[], &[], &["eth0", "docker0", "wg0"]);
        check(&[], &["docker*", "10.9.0.0/16"], &["eth0"]);
        check(&["eth*", "wg0"], &["wg0"], &["eth0"]);
        check(&["eth0", "lo"], &[], &["eth0", "lo"]);
        check(&[], &["eth0", "docker0", "wg0"], &["lo"]);
        check(&[], &["*"], &[]);
        check(&["eth7"], &[], &[]);
    }

    #[test]
    fn weights_are_given_and_taken_away_within_bounds() {
        let pattern = |n: usize| patterns(&[&format!("eth{n}")]).remove(0);
        let mut rules = LaneRules::default();
        assert_eq!(rules.give_weight(pattern(0), Some(3)), Ok(None));
        assert_eq!(rules.give_weight(pattern(0), Some(5)), Ok(Some(3)));
        assert_eq!((rules.weight_given(&pattern(0)), rules.weights.len()), (Some(5), 1));
        (1..WEIGHTS_MAX).for_each(|n| assert_eq!(rules.give_weight(pattern(n), Some(1)), Ok(None)));
        assert_eq!(rules.give_weight(pattern(WEIGHTS_MAX), Some(1)), Err(BadWeight::Full));
        assert_eq!(rules.give_weight(pattern(0), None), Ok(Some(5)));
        assert_eq!(rules.give_weight(pattern(WEIGHTS_MAX), Some(1)), Ok(None));
        for (text, expect) in [
            ("1", Some(Some(1))),
            ("1000", Some(Some(1000))),
            ("none", Some(None)),
            ("0", None),
            ("1001", None),
            ("+1", None),
            ("", None),
            ("1.5", None),
        ] {
            assert_eq!(LaneRules::parse_weight(text).ok(), expect, "{text}");
        }
    }

    #[test]
    fn the_greatest_weight_given_counts() {
        let weights = [("eth*", 2), ("10.0.1.0/24", 5), ("eth1", 3)];
        let rules = LaneRules {
            weights: weights.map(|(entry, weight)| (patterns(&[entry]).remove(0), weight)).to_vec(),
            ..LaneRules::default()
        };
        for (name, ip, expect) in [
            ("eth0", "10.0.1.2", 5),
            ("eth0", "10.0.2.2", 2),
            ("eth1", "10.0.2.2", 3),
            ("wg0", "10.9.0.2", 1),
        ] {
            assert_eq!(rules.weight(&lane(name, ip)), expect, "{name} {ip}");
        }
    }
}
