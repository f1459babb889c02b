//! Caps of lanes as `ares set` has them: `cap-up.LANES` and `cap-down.LANES`, one for each pattern that has been given.

use ares_core::path::{BadCap, BadPattern, Cap, Direction, LanePattern};

use crate::admin::proto::{KnobState, KnobValue, Outcome};
use crate::admin::socket::Caller;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::log;

/// Which lanes, and which way.
pub(super) struct CapKey {
    direction: Direction,
    pattern: LanePattern,
}

impl CapKey {
    /// `None` where the key is one of something else.
    pub(super) fn parse(key: &str) -> Option<Result<Self, Failure>> {
        let of_direction = |direction: Direction| Some((direction, key.strip_prefix("cap-")?.strip_prefix(direction.name())?));
        let (direction, rest) = Direction::ALL.into_iter().find_map(of_direction)?;
        let Some(pattern) = rest.strip_prefix('.').filter(|pattern| !pattern.is_empty()) else {
            let why = format!("`{key}` does not say which lanes");
            let help = format!(
                "name them, such as `cap-{0}.eth0`, `cap-{0}.eth*` or `cap-{0}.10.0.0.0/16`",
                direction.name()
            );
            return matches!(rest, "" | ".").then(|| Err(Failure::new(Kind::Usage, why).help(help)));
        };
        let parsed = pattern.parse().map(|pattern| Self { direction, pattern });
        Some(parsed.map_err(Failure::from))
    }

    fn of(direction: Direction, pattern: LanePattern) -> Self {
        Self { direction, pattern }
    }

    fn state(&self, cap: Option<Cap>) -> KnobState {
        let effect = match self.direction {
            Direction::Up => "lanes like these send no more than this a second, together",
            Direction::Down => "no more than this a second comes over lanes like these, together",
        };
        KnobState {
            key: format!("cap-{}.{}", self.direction.name(), self.pattern),
            value: value_of(cap),
            default: value_of(None),
            unit: Some("bytes/s".to_owned()),
            range: Some(Cap::RANGE),
            choices: None,
            effect: effect.to_owned(),
            schedule: None,
        }
    }
}

/// All that are set.
pub(super) fn list(daemon: &Shared) -> Vec<KnobState> {
    let caps = daemon.handle.lane_caps();
    let rules = caps.rules().iter();
    rules
        .map(|rule| CapKey::of(rule.direction, rule.pattern.clone()).state(Some(rule.cap)))
        .collect()
}

/// One of them, set or not.
pub(super) fn show(daemon: &Shared, key: &CapKey) -> KnobState {
    key.state(daemon.handle.lane_caps().get(key.direction, &key.pattern))
}

/// Sets one, or takes it away.
pub(super) fn run(daemon: &Shared, caller: Caller, key: CapKey, value: &str) -> Result<Outcome, Failure> {
    let cap = Cap::parse(value)?;
    let KnobState { key: name, .. } = key.state(cap);
    let old = daemon.handle.set_lane_cap(key.direction, key.pattern, cap)?;
    let Caller { uid, pid } = caller;
    tracing::info!(target: log::AUDIT, uid, pid, "set {name}: {} -> {}", Cap::show(old), Cap::show(cap));
    Ok(Outcome::Set {
        key: name,
        old: value_of(old),
        value: value_of(cap),
    })
}

fn value_of(cap: Option<Cap>) -> KnobValue {
    match cap {
        Some(cap) => KnobValue::Bytes(cap.bytes_per_s()),
        None => KnobValue::Word(Cap::show(None)),
    }
}

impl From<BadCap> for Failure {
    fn from(error: BadCap) -> Self {
        Failure::told(Kind::Usage, &error.to_string())
    }
}

impl From<BadPattern> for Failure {
    fn from(error: BadPattern) -> Self {
        Failure::told(Kind::Usage, &error.to_string())
    }
}
