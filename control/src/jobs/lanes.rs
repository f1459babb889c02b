//! What lanes and peers are told as `ares set` has it: `cap-up.LANES`, `cap-down.LANES`, `weight.LANES`, `peer-cap-up.PEER` and
//! `peer-cap-down.PEER`, one for each pattern that has been given.

use std::fmt;

use ares_core::path::{BadCap, BadPattern, BadPeer, BadWeight, Cap, Direction, LanePattern, LaneRules, PeerPattern, WEIGHT_MAX};

use crate::admin::proto::{KnobState, KnobValue, Outcome};
use crate::admin::socket::Caller;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::log;

/// What is told, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuleKey {
    Cap(Direction, LanePattern),
    Weight(LanePattern),
    PeerCap(Direction, PeerPattern),
}

/// A value of one of these, if it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Cap(Option<Cap>),
    Weight(Option<u32>),
}

impl RuleKey {
    /// `None` where the key is one of something else.
    pub(super) fn parse(key: &str) -> Option<Result<Self, Failure>> {
        const NAMES: [&str; 5] = ["cap-up", "cap-down", "weight", "peer-cap-up", "peer-cap-down"];
        let of = |name: &'static str| Some((name, key.strip_prefix(name)?));
        let (name, rest) = NAMES.into_iter().find_map(of)?;
        let is_of_peers = name.starts_with("peer");
        let Some(of) = rest.strip_prefix('.').filter(|of| !of.is_empty()) else {
            let whom = if is_of_peers { "peer" } else { "lanes" };
            let why = format!("`{key}` does not say which {whom}");
            let help = match is_of_peers {
                true => format!("write `{name}.*` for each, or `{name}.` and the 64 digits that `ares peers --json` has"),
                false => format!("name them, such as `{name}.eth0`, `{name}.eth*` or `{name}.10.0.0.0/16`"),
            };
            return matches!(rest, "" | ".").then(|| Err(Failure::new(Kind::Usage, why).help(help)));
        };
        let direction = Direction::ALL[usize::from(name.ends_with("down"))];
        Some(match (is_of_peers, name) {
            (true, _) => of.parse().map(|of| Self::PeerCap(direction, of)).map_err(Failure::from),
            (false, "weight") => of.parse().map(Self::Weight).map_err(Failure::from),
            (false, _) => of.parse().map(|of| Self::Cap(direction, of)).map_err(Failure::from),
        })
    }

    /// Whether it could be told so.
    pub(super) fn check(&self, value: &str) -> Result<(), Failure> {
        self.read(value).map(drop)
    }

    fn unit(&self) -> Option<&'static str> {
        (!matches!(self, Self::Weight(_))).then_some("bytes/s")
    }

    fn read(&self, value: &str) -> Result<Value, Failure> {
        Ok(match self {
            Self::Weight(_) => Value::Weight(LaneRules::parse_weight(value)?),
            Self::Cap(..) | Self::PeerCap(..) => Value::Cap(Cap::parse(value)?),
        })
    }

    fn of(&self, rules: &LaneRules) -> Value {
        match self {
            Self::Cap(direction, lanes) => Value::Cap(rules.caps.get(*direction, lanes)),
            Self::PeerCap(direction, peers) => Value::Cap(rules.peer_caps.get(*direction, peers)),
            Self::Weight(lanes) => Value::Weight(rules.weight_given(lanes)),
        }
    }

    fn effect(&self) -> &'static str {
        use Direction::{Down, Up};
        match self {
            Self::Cap(Up, _) => "lanes like these send no more than this a second, together",
            Self::Cap(Down, _) => {
                "no more than this a second comes over lanes like these, together; what was let come before still does"
            }
            Self::Weight(_) => "which lanes `path-mode` standby prefers; none counts as 1",
            Self::PeerCap(Up, PeerPattern::Each) => {
                "each peer is sent no more than this a second, but those with a cap of their own"
            }
            Self::PeerCap(Down, PeerPattern::Each) => {
                "no more than this a second comes from each peer, but from those with a cap of their own"
            }
            Self::PeerCap(Up, PeerPattern::One(_)) => "this peer is sent no more than this a second, whatever holds for each",
            Self::PeerCap(Down, PeerPattern::One(_)) => {
                "no more than this a second comes from this peer, whatever holds for each"
            }
        }
    }

    fn state(&self, rules: &LaneRules) -> KnobState {
        let (range, default) = match self {
            Self::Weight(_) => ([1, WEIGHT_MAX.into()], Value::Weight(None)),
            Self::Cap(..) | Self::PeerCap(..) => (Cap::RANGE, Value::Cap(None)),
        };
        KnobState {
            key: self.to_string(),
            value: value_of(self.of(rules)),
            default: value_of(default),
            unit: self.unit().map(str::to_owned),
            range: Some(range),
            choices: None,
            effect: self.effect().to_owned(),
            schedule: None,
        }
    }
}

/// As it may be typed again.
impl fmt::Display for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cap(direction, lanes) => write!(f, "cap-{}.{lanes}", direction.name()),
            Self::Weight(lanes) => write!(f, "weight.{lanes}"),
            Self::PeerCap(direction, peers) => write!(f, "peer-cap-{}.{peers}", direction.name()),
        }
    }
}

/// All that are set, and those of each peer.
pub(super) fn list(daemon: &Shared) -> Vec<KnobState> {
    let rules = daemon.handle.lane_rules();
    let each = Direction::ALL.map(|direction| RuleKey::PeerCap(direction, PeerPattern::Each));
    let of_peers = (rules.peer_caps.rules().iter()).map(|rule| RuleKey::PeerCap(rule.direction, rule.pattern));
    let of_peers = of_peers.filter(|key| !each.contains(key));
    let caps = (rules.caps.rules().iter()).map(|rule| RuleKey::Cap(rule.direction, rule.pattern.clone()));
    let weights = (rules.weights.iter()).map(|(lanes, _)| RuleKey::Weight(lanes.clone()));
    let keys = each.iter().cloned().chain(of_peers).chain(caps).chain(weights);
    keys.map(|key| key.state(&rules)).collect()
}

/// One of them, set or not.
pub(super) fn show(daemon: &Shared, key: &RuleKey) -> KnobState {
    key.state(&daemon.handle.lane_rules())
}

/// Sets one, or takes it away.
pub(super) fn run(daemon: &Shared, caller: Caller, key: &RuleKey, value: &str) -> Result<Outcome, Failure> {
    let value = key.read(value)?;
    let old = daemon.handle.change_lane_rules(|rules| {
        let old = key.of(rules);
        match (key, value) {
            (RuleKey::Cap(direction, lanes), Value::Cap(cap)) => drop(rules.caps.set(*direction, lanes.clone(), cap)?),
            (RuleKey::PeerCap(direction, peers), Value::Cap(cap)) => drop(rules.peer_caps.set(*direction, *peers, cap)?),
            (RuleKey::Weight(lanes), Value::Weight(weight)) => drop(rules.give_weight(lanes.clone(), weight)?),
            (RuleKey::Weight(_), Value::Cap(_)) | (_, Value::Weight(_)) => unreachable!("each is read as what it is"),
        }
        Ok::<Value, Failure>(old)
    })?;
    let Caller { uid, pid } = caller;
    tracing::info!(target: log::AUDIT, uid, pid, "set {key}: {} -> {}", show_value(old), show_value(value));
    Ok(Outcome::Set {
        key: key.to_string(),
        old: value_of(old),
        value: value_of(value),
        unit: key.unit().map(str::to_owned),
    })
}

fn show_value(value: Value) -> String {
    match value {
        Value::Cap(cap) => Cap::show(cap),
        Value::Weight(weight) => weight.map_or_else(|| Cap::show(None), |weight| weight.to_string()),
    }
}

fn value_of(value: Value) -> KnobValue {
    match value {
        Value::Cap(Some(cap)) => KnobValue::Number(cap.bytes_per_s()),
        // A number without a unit is a word among the values.
        Value::Cap(None) | Value::Weight(_) => KnobValue::Word(show_value(value)),
    }
}

impl From<BadCap> for Failure {
    fn from(error: BadCap) -> Self {
        Failure::told(Kind::Usage, &error.to_string())
    }
}

impl From<BadWeight> for Failure {
    fn from(error: BadWeight) -> Self {
        Failure::told(Kind::Usage, &error.to_string())
    }
}

impl From<BadPattern> for Failure {
    fn from(error: BadPattern) -> Self {
        Failure::told(Kind::Usage, &error.to_string())
    }
}

impl From<BadPeer> for Failure {
    fn from(error: BadPeer) -> Self {
        Failure::told(Kind::Usage, &error.to_string())
    }
}
