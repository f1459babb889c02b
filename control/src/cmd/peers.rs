//! `ares peers`: who is connected, how it fares and what it holds. A part of the daemon's status.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Context, unexpected};
use crate::admin::proto::{Outcome, Request};
use crate::error::Failure;
use crate::render;
use crate::session::Session;

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut daemon = Session::attach(&context.config)?;
    match daemon.run(&Request::Status, &*context.sink(), &context.cancel)? {
        Outcome::Status { status } => {
            let picture = picture(&status);
            context.print(&render::peers(&picture), &picture)
        }
        other => Err(unexpected(&other)),
    }
}

/// The part of a status that is of peers, each with the sums over its paths and the names of its releases. `peer` says whose picture it is:
/// those of several nodes, put together, say who sends what to whom.
fn picture(status: &Value) -> Value {
    let names: BTreeMap<&str, &Value> = list(&status["releases"])
        .filter_map(|release| Some((release["release"].as_str()?, &release["name"])))
        .collect();
    let peers: Vec<Value> = list(&status["peers"]).map(|peer| with_sums(peer, &names)).collect();
    let left_out: Map<String, Value> = ["peers", "away", "dropped"]
        .map(|name| (name.to_owned(), status["left_out"][name].clone()))
        .into_iter()
        .collect();
    json!({
        "peer": status["peer"],
        "uptime_s": status["uptime_s"],
        "peers": peers,
        "away": status["away"],
        "dropped": status["dropped"],
        "left_out": left_out,
    })
}

fn with_sums(peer: &Value, names: &BTreeMap<&str, &Value>) -> Value {
    let paths = || list(&peer["paths"]);
    let sum = |key: &str| paths().filter_map(|path| path[key].as_u64()).sum::<u64>();
    let best = |is_meant: fn(&Value) -> bool| {
        let rtts = paths()
            .filter(|path| is_meant(&path["state"]))
            .filter_map(|path| path["rtt_ms"].as_f64());
        rtts.min_by(f64::total_cmp)
    };
    let mut with = peer.clone();
    for release in with["releases"].as_array_mut().into_iter().flatten() {
        let name = release["release"].as_str().and_then(|release| names.get(release));
        release["name"] = name.map_or(Value::Null, |name| (*name).clone());
    }
    if let Value::Object(with) = &mut with {
        // What is silent says nothing of how near the peer is.
        let rtt_ms = best(|state| state != "suspect").or_else(|| best(|_| true));
        with.insert("rtt_ms".into(), rtt_ms.into());
        for rate in ["rx_bytes_per_s", "tx_bytes_per_s"] {
            with.insert(rate.into(), sum(rate).into());
        }
    }
    with
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_the_sums_of_its_paths_and_the_names_of_its_releases() {
        let status = json!({
            "peer": "00", "uptime_s": 2.5, "listen": [],
            "peers": [{
                "peer": "aa", "fetched_bytes": 7,
                "paths": [
                    {"state": "suspect", "rtt_ms": 0.5, "rx_bytes_per_s": 1, "tx_bytes_per_s": 10},
                    {"state": "up", "rtt_ms": 9.5, "rx_bytes_per_s": 2, "tx_bytes_per_s": 20},
                ],
                "releases": [{"release": "r1", "state": "complete"}, {"release": "r2", "state": "partial"}],
            }],
            "releases": [{"release": "r1", "name": "one"}],
            "away": [{"peer": "bb"}], "dropped": [{"peer": "cc"}],
            "left_out": {"peers": 1, "away": 2, "dropped": 3, "mounts": 4},
        });
        let picture = picture(&status);
        let peer = &picture["peers"][0];
        assert_eq!(
            [
                &peer["rtt_ms"],
                &peer["rx_bytes_per_s"],
                &peer["tx_bytes_per_s"],
                &peer["fetched_bytes"]
            ],
            [&json!(9.5), &json!(3), &json!(30), &json!(7)]
        );
        assert_eq!(peer["releases"][0]["name"], "one");
        assert_eq!(peer["releases"][1]["name"], Value::Null);
        assert_eq!(picture["left_out"], json!({"peers": 1, "away": 2, "dropped": 3}));
        assert_eq!(
            [&picture["peer"], &picture["away"], &picture["dropped"]],
            [&json!("00"), &status["away"], &status["dropped"]]
        );
    }

    #[test]
    fn what_an_older_daemon_does_not_tell_harms_nobody() {
        assert_eq!(picture(&Value::Null)["peers"], json!([]));
        let bare = picture(&json!({"peers": [{"peer": "aa", "paths": [{"state": "suspect", "rtt_ms": 3.0}]}]}));
        assert_eq!(bare["peers"][0]["rtt_ms"], 3.0, "a silent path is better than none");
    }
}
