//! The knobs of this daemon and what its lanes and peers are told: what they are at, and turning one. Who turned what is written to the log, whatever its level.

use ares_core::chunk::ReleaseId;
use ares_core::knobs::{BadValue, Domain, Knob, ROWS, Setting, Settings};
use ares_core::path::Mode;
use ares_fs::Tuned;
use ares_node::TuneError;

use super::lanes::{self, RuleKey};
use crate::admin::proto::{KnobState, KnobValue, Outcome};
use crate::admin::socket::Caller;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::log;
use crate::nearest::nearest;
use crate::render;

/// All of them, or the one that is asked for.
pub(super) fn list(daemon: &Shared, key: Option<&str>) -> Result<Outcome, Failure> {
    let mut settings = daemon.handle.settings();
    settings.set(log::level());
    let knobs = match key {
        Some(key) => vec![match RuleKey::parse(key) {
            Some(rule) => lanes::show(daemon, &rule?),
            None => state_of(find(key)?, &settings),
        }],
        None => {
            let knobs = ROWS.iter().map(|row| state_of(row.knob, &settings));
            knobs.chain(lanes::list(daemon)).collect()
        }
    };
    let by_time = |mut knob: KnobState| {
        knob.schedule = daemon.times.of(&knob.key);
        knob
    };
    let knobs = knobs.into_iter().map(by_time).collect();
    Ok(Outcome::Knobs { knobs })
}

/// Turns one. On an error it is at what it was.
pub(super) fn run(daemon: &Shared, caller: Caller, key: &str, value: &str) -> Result<Outcome, Failure> {
    if let Some(rule) = RuleKey::parse(key) {
        return lanes::run(daemon, caller, &rule?, value);
    }
    let setting = Setting::parse(find(key)?, value)?;
    let old = turn(daemon, setting)?;
    let Caller { uid, pid } = caller;
    tracing::info!(target: log::AUDIT, uid, pid, "set {key}: {old} -> {setting}");
    Ok(Outcome::Set {
        key: key.to_owned(),
        old: value_of(old),
        value: value_of(setting),
        unit: unit_of(setting.knob()),
    })
}

/// Obeys a setting, whoever wants it. What it was before.
pub(super) fn turn(daemon: &Shared, setting: Setting) -> Result<Setting, Failure> {
    if setting.knob() == Knob::LogLevel {
        return log::set_level(setting);
    }
    let old = daemon.handle.tune(setting)?;
    if let Knob::ReadPatience | Knob::MountCache | Knob::Lookahead = setting.knob() {
        tune_mounts(daemon);
    }
    Ok(old)
}

/// Mounts obey what is set.
pub(super) fn tune_mounts(daemon: &Shared) {
    let settings = daemon.handle.settings();
    daemon.mounts.tune(Tuned {
        patience: Some(settings.time(Knob::ReadPatience)),
        cache_bytes: settings.bytes(Knob::MountCache),
        lookahead_bytes: settings.bytes(Knob::Lookahead),
    });
}

/// Turns one because it is time. What it was.
pub(crate) fn by_time(daemon: &Shared, key: &str, value: &str) -> Result<String, Failure> {
    match run(daemon, Caller::own(), key, value)? {
        Outcome::Set { old, unit, .. } => Ok(render::knob_value(&old, unit.as_deref())),
        // Nothing else comes of it.
        _ => Ok(value.to_owned()),
    }
}

/// Whether one could be turned so.
pub(crate) fn check(key: &str, value: &str) -> Result<(), Failure> {
    match RuleKey::parse(key) {
        Some(rule) => rule.and_then(|rule| rule.check(value)),
        None => Ok(Setting::parse(find(key)?, value).map(drop)?),
    }
}

/// Turns one for a release.
pub(super) fn run_for(daemon: &Shared, caller: Caller, key: &str, value: &str, release: ReleaseId) -> Result<Outcome, Failure> {
    let mode = match RuleKey::parse(key) {
        None => Some(find(key)?).filter(|knob| *knob == Knob::PathMode),
        Some(_) => None,
    };
    let Some(knob) = mode else {
        let why = format!("`{key}` is the same for all releases");
        return Err(Failure::new(Kind::Usage, why).help("leave --release out; `path-mode` may differ from release to release"));
    };
    let setting = Setting::parse(knob, value)?;
    let mode = Mode::ALL[setting.value() as usize];
    let old = daemon.handle.set_path_mode(release, mode).map_err(TuneError::from)?;
    let Caller { uid, pid } = caller;
    let name = release.0.short();
    tracing::info!(target: log::AUDIT, uid, pid, "set {key} of release {name}: {} -> {setting}", old.name());
    Ok(Outcome::Set {
        key: key.to_owned(),
        old: KnobValue::Word(old.name().to_owned()),
        value: value_of(setting),
        unit: None,
    })
}

fn find(key: &str) -> Result<Knob, Failure> {
    /// Characters of a wrong key that are worth repeating.
    const SHOWN_MAX: usize = 40;
    Knob::named(key).ok_or_else(|| {
        let shown: String = key.chars().take(SHOWN_MAX).collect();
        let keys = || ROWS.iter().map(|row| row.key);
        let help = match nearest(key, keys()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "knobs: {}, cap-up.LANES, cap-down.LANES, weight.LANES, peer-cap-up.PEER, peer-cap-down.PEER",
                keys().collect::<Vec<_>>().join(", ")
            ),
        };
        Failure::new(Kind::Usage, format!("no knob is called {shown:?}")).help(help)
    })
}

fn state_of(knob: Knob, settings: &Settings) -> KnobState {
    let row = knob.row();
    let choices = match row.domain {
        Domain::Choice(words) => Some(words.iter().map(|word| (*word).to_owned()).collect()),
        _ => None,
    };
    KnobState {
        key: row.key.to_owned(),
        value: value_of(settings.get(knob)),
        default: value_of(Setting::default_of(knob)),
        unit: unit_of(knob),
        range: row.domain.range(),
        choices,
        effect: row.effect.to_owned(),
        schedule: None,
    }
}

fn value_of(setting: Setting) -> KnobValue {
    match setting.word() {
        Some(word) => KnobValue::Word(word.to_owned()),
        None => KnobValue::Number(setting.value()),
    }
}

fn unit_of(knob: Knob) -> Option<String> {
    knob.row().domain.unit().map(str::to_owned)
}

impl From<BadValue> for Failure {
    fn from(error: BadValue) -> Self {
        Failure::told(Kind::Usage, &error.to_string())
    }
}

impl From<TuneError> for Failure {
    fn from(error: TuneError) -> Self {
        match error {
            // The value may be meant, but not on this machine as it is.
            TuneError::Socket(error) => Failure::told(Kind::Usage, &error.to_string()),
            TuneError::Stopping(error) => Failure::new(Kind::Interrupted, error.to_string()),
        }
    }
}
