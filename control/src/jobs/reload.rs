//! Reads the config file again, and obeys what has changed in it since it was last read, as far as a running daemon can. A file that is
//! wrong changes nothing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use ares_core::knobs::ROWS;
use ares_core::link::Link;
use ares_core::path::{Cap, Caps, LaneRules};

use super::set;
use crate::admin::proto::Outcome;
use crate::admin::socket::Caller;
use crate::config::Config;
use crate::daemon::Shared;
use crate::error::Failure;
use crate::log;

pub(super) fn run(daemon: &Shared, caller: Caller) -> Result<Outcome, Failure> {
    let mut read = daemon.read_config();
    let new = read.again()?;
    daemon.notify.say("RELOADING=1");
    // What a schedule has set is no news, and the file may say something else for when it is over.
    daemon.times.replace(daemon, Vec::new());
    let changes = obey(daemon, &read, &new);
    daemon.times.replace(daemon, new.schedule.clone());
    daemon.notify.say("READY=1");
    let Caller { uid, pid } = caller;
    let needs_restart = needing_restart(&read, &new);
    let (changed, refused) = changes?;
    tracing::info!(target: log::AUDIT, uid, pid, ?changed, ?refused, ?needs_restart, "config file read again");
    *read = Arc::new(new);
    Ok(Outcome::Reloaded {
        changed,
        refused,
        needs_restart: needs_restart.into_iter().map(str::to_owned).collect(),
    })
}

type Changes = (Vec<String>, Vec<String>);

/// What was changed, and what the kernel or the table of caps refused, with the reason.
fn obey(daemon: &Shared, old: &Config, new: &Config) -> Result<Changes, Failure> {
    let (mut changed, mut refused) = (Vec::new(), Vec::new());
    let mut note = |what: String, done: Result<(), String>| match done {
        Ok(()) => changed.push(what),
        Err(why) => refused.push(format!("{what}: {why}")),
    };
    for row in &ROWS {
        let (before, setting) = (old.settings.get(row.knob), new.settings.get(row.knob));
        if before != setting {
            let done = set::turn(daemon, setting);
            note(
                format!("{} {setting}", row.key),
                done.map(drop).map_err(|failure| failure.message),
            );
        }
    }
    if old.lanes != new.lanes {
        let change = |rules: &mut LaneRules| obey_lanes(rules, &old.lanes, &new.lanes, &mut note);
        daemon.handle.change_lane_rules(change);
    }
    if old.access != new.access {
        daemon.handle.set_access(new.access.clone());
        note("access".to_owned(), Ok(()));
    }
    if old.schedule != new.schedule {
        note(format!("{} schedules", new.schedule.len()), Ok(()));
    }
    let by_release = |links: &[Link]| -> BTreeMap<_, _> { links.iter().map(|link| (link.release, link.clone())).collect() };
    let (old_pins, new_pins) = (by_release(&old.pins), by_release(&new.pins));
    if old_pins != new_pins {
        daemon.pins.reconfigure(daemon.handle.store(), &old_pins, &new_pins);
        note(format!("{} pins", new_pins.len()), Ok(()));
    }
    Ok((changed, refused))
}

/// The same for lanes and peers, in one step: a lane that is let in carries nothing before its cap is known.
fn obey_lanes(rules: &mut LaneRules, old: &LaneRules, new: &LaneRules, note: &mut impl FnMut(String, Result<(), String>)) {
    obey_caps("cap", &mut rules.caps, &old.caps, &new.caps, note);
    obey_caps("peer-cap", &mut rules.peer_caps, &old.peer_caps, &new.peer_caps, note);
    let of = |rules: &LaneRules| (rules.include.clone(), rules.exclude.clone(), rules.weights.clone());
    if of(old) != of(new) {
        (rules.include, rules.exclude, rules.weights) = of(new);
        note("lanes".to_owned(), Ok(()));
    }
}

fn obey_caps<P: PartialEq + Clone + Display>(
    name: &str,
    caps: &mut Caps<P>,
    old: &Caps<P>,
    new: &Caps<P>,
    note: &mut impl FnMut(String, Result<(), String>),
) {
    for rule in old.rules().iter().chain(new.rules()) {
        let (direction, pattern) = (rule.direction, &rule.pattern);
        let cap = new.get(direction, pattern);
        if old.get(direction, pattern) != cap && caps.get(direction, pattern) != cap {
            let done = caps.set(direction, pattern.clone(), cap);
            let what = format!("{name}-{}.{pattern} {}", direction.name(), Cap::show(cap));
            note(what, done.map(drop).map_err(|error| error.to_string()));
        }
    }
}

/// Keys of the file whose values have changed and that are read at the start alone.
fn needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    // An edge that is one obeys at once.
    let is_edge = |config: &Config| config.edge.for_node(&[], &config.access).is_edge();
    let rows = [
        ("state", old.state != new.state),
        ("listen", old.listen != new.listen),
        ("node", (old.shards, old.workers) != (new.shards, new.workers)),
        ("mount", old.allow_other != new.allow_other),
        ("swarm", (&old.seeds, old.mdns) != (&new.seeds, new.mdns)),
        (
            "dht",
            (old.dht, &old.dht_bootstrap, old.dht_port) != (new.dht, &new.dht_bootstrap, new.dht_port),
        ),
        ("edge", old.edge != new.edge || is_edge(old) != is_edge(new)),
        ("http", (old.http, old.http_gateway) != (new.http, new.http_gateway)),
    ];
    rows.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}
