//! What lanes are told as `ares set` has it: `cap-up.LANES`, `cap-down.LANES` and `weight.LANES`, one for each pattern that has been given.

use ares_core::path::{BadCap, BadPattern, BadWeight, Cap, Direction, LanePattern, LaneRules, WEIGHT_MAX};

use crate::admin::proto::{KnobState, KnobValue, Outcome};
use crate::admin::socket::Caller;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::log;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Cap(Direction),
    Weight,
}

impl What {
    const ALL: [Self; 3] = [Self::Cap(Direction::ALL[0]), Self::Cap(Direction::ALL[1]), Self::Weight];

    fn name(self) -> String {
        match self {
            Self::Cap(direction) => format!("cap-{}", direction.name()),
            Self::Weight => "weight".to_owned(),
        }
    }
}

/// A value of one of these, if it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Cap(Option<Cap>),
    Weight(Option<u32>),
}

/// Which lanes, and what of them.
pub(super) struct LaneKey {
    what: What,
    pattern: LanePattern,
}

impl LaneKey {
    /// `None` where the key is one of something else.
    pub(super) fn parse(key: &str) -> Option<Result<Self, Failure>> {
        let of = |what: What| Some((what, key.strip_prefix(what.name().as_str())?));
        let (what, rest) = What::ALL.into_iter().find_map(of)?;
        let Some(pattern) = rest.strip_prefix('.').filter(|pattern| !pattern.is_empty()) else {
            let why = format!("`{key}` does not say which lanes");
            let help = format!("name them, such as `{0}.eth0`, `{0}.eth*` or `{0}.10.0.0.0/16`", what.name());
            return matches!(rest, "" | ".").then(|| Err(Failure::new(Kind::Usage, why).help(help)));
        };
        let parsed = pattern.parse().map(|pattern| Self { what, pattern });
        Some(parsed.map_err(Failure::from))
    }

    /// Whether it could be told so.
    pub(super) fn check(&self, value: &str) -> Result<(), Failure> {
        self.read(value).map(drop)
    }

    fn name(&self) -> String {
        format!("{}.{}", self.what.name(), self.pattern)
    }

    fn unit(&self) -> Option<&'static str> {
        matches!(self.what, What::Cap(_)).then_some("bytes/s")
    }

    fn read(&self, value: &str) -> Result<Value, Failure> {
        Ok(match self.what {
            What::Cap(_) => Value::Cap(Cap::parse(value)?),
            What::Weight => Value::Weight(LaneRules::parse_weight(value)?),
        })
    }

    fn of(&self, rules: &LaneRules) -> Value {
        match self.what {
            What::Cap(direction) => Value::Cap(rules.caps.get(direction, &self.pattern)),
            What::Weight => Value::Weight(rules.weight_given(&self.pattern)),
        }
    }

    fn state(&self, rules: &LaneRules) -> KnobState {
        let value = self.of(rules);
        let (range, default, effect) = match self.what {
            What::Cap(Direction::Up) => (
                Cap::RANGE,
                Value::Cap(None),
                "lanes like these send no more than this a second, together",
            ),
            What::Cap(Direction::Down) => (
                Cap::RANGE,
                Value::Cap(None),
                "no more than this a second comes over lanes like these, together; what was let come before still does",
            ),
            What::Weight => (
                [1, WEIGHT_MAX.into()],
                Value::Weight(None),
                "which lanes `path-mode` standby prefers; none counts as 1",
            ),
        };
        KnobState {
            key: self.name(),
            value: value_of(value),
            default: value_of(default),
            unit: self.unit().map(str::to_owned),
            range: Some(range),
            choices: None,
            effect: effect.to_owned(),
            schedule: None,
        }
    }
}

/// All that are set.
pub(super) fn list(daemon: &Shared) -> Vec<KnobState> {
    let rules = daemon.handle.lane_rules();
    let caps = rules.caps.rules().iter().map(|rule| LaneKey {
        what: What::Cap(rule.direction),
        pattern: rule.pattern.clone(),
    });
    let weights = rules.weights.iter().map(|(pattern, _)| LaneKey {
        what: What::Weight,
        pattern: pattern.clone(),
    });
    caps.chain(weights).map(|key| key.state(&rules)).collect()
}

/// One of them, set or not.
pub(super) fn show(daemon: &Shared, key: &LaneKey) -> KnobState {
    key.state(&daemon.handle.lane_rules())
}

/// Sets one, or takes it away.
pub(super) fn run(daemon: &Shared, caller: Caller, key: &LaneKey, value: &str) -> Result<Outcome, Failure> {
    let value = key.read(value)?;
    let pattern = key.pattern.clone();
    let old = daemon.handle.change_lane_rules(|rules| {
        let old = key.of(rules);
        match (key.what, value) {
            (What::Cap(direction), Value::Cap(cap)) => drop(rules.caps.set(direction, pattern, cap)?),
            (_, Value::Weight(weight)) => drop(rules.give_weight(pattern, weight)?),
            (What::Weight, Value::Cap(_)) => unreachable!("a weight is read as one"),
        }
        Ok::<Value, Failure>(old)
    })?;
    let (name, Caller { uid, pid }) = (key.name(), caller);
    tracing::info!(target: log::AUDIT, uid, pid, "set {name}: {} -> {}", show_value(old), show_value(value));
    Ok(Outcome::Set {
        key: name,
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
