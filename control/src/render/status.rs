//! `ares status` for people. The JSON is the daemon's own object and passes through untouched.

use serde_json::Value;

use super::{Bytes, Seconds, count, short, text};

/// The status object as a few lines.
pub(crate) fn status(status: &Value) -> String {
    let mut lines = Vec::new();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();

    let listen: Vec<String> = list(&status["listen"]).iter().map(text).collect();
    let uptime = Seconds(status["uptime_s"].as_f64().unwrap_or(0.0));
    lines.push(format!(
        "ares {} pid {} up {uptime}",
        text(&status["version"]),
        number(&status["pid"])
    ));
    lines.push(format!("  state   {}", text(&status["state"])));
    lines.push(format!("  peer    {}", text(&status["peer"])));
    lines.push(format!(
        "  listen  {}",
        if listen.is_empty() {
            "nothing".to_owned()
        } else {
            listen.join(" ")
        }
    ));
    if let Some(http) = status["http"].as_str() {
        lines.push(format!("  http    http://{http}/metrics"));
    }
    for set in list(&status["schedule"]["set"]) {
        let [key, value, when] = ["key", "value", "when"].map(|field| text(&set[field]));
        lines.push(format!("  by time {key} {value} ({when})"));
    }
    if let Some(next) = status["schedule"]["next_change"].as_str() {
        lines.push(format!("  by time something else from {next}"));
    }
    let store = &status["store"];
    let mut held = format!(
        "  store   {} in {}",
        Bytes(number(&store["bytes"])),
        count(number(&store["chunks"]), "chunk")
    );
    match number(&store["evicted_bytes"]) {
        0 => {}
        evicted => held.push_str(&format!(", {} had to make room", Bytes(evicted))),
    }
    match &store["intake_stopped"] {
        Value::Bool(true) => held.push_str("; INTAKE STOPPED: the disk is full"),
        Value::String(why) => held.push_str(&format!("; INTAKE STOPPED: {why}")),
        _ => {}
    }
    lines.push(held);
    let counters = &status["counters"];
    lines.push(format!(
        "  moved   {} fetched, {} served, {} refused, {}, {} refused",
        Bytes(number(&counters["fetched_bytes"])),
        Bytes(number(&counters["served_bytes"])),
        count(number(&counters["bad_chunks"]), "bad chunk"),
        count(number(&counters["failed_wants"]), "failed want"),
        count(number(&counters["refused_connections"]), "connection"),
    ));
    for release in list(&status["releases"]) {
        let state = if release["complete"] == Value::Bool(true) {
            "complete"
        } else {
            "partial"
        };
        lines.push(format!(
            "  release {} {state} {}",
            short(&release["release"]),
            text(&release["name"])
        ));
    }
    for pin in list(&status["pins"]) {
        lines.push(super::cut(format!("  pin     {}", super::pins::pin(&pin))));
    }
    for mount in list(&status["mounts"]) {
        let dir = mount["dir"].as_str().unwrap_or("(not UTF-8)");
        lines.push(match mount["why"].as_str() {
            Some(why) => super::cut(format!("  mount   not there: {dir}: {why}")),
            None if mount["release"].is_null() => {
                format!("  mount   {} {dir}", count(list(&mount["names"]).len() as u64, "name"))
            }
            None => format!("  mount   {} {dir}", short(&mount["release"])),
        });
        let eio = &mount["last_eio"];
        if let (Some(ago), Some(why)) = (eio["ago_s"].as_f64(), eio["why"].as_str()) {
            let (request, entry) = (text(&eio["request"]), text(&eio["entry"]));
            lines.push(super::cut(format!(
                "    EIO {} ago to {request} of {entry}: {why}",
                Seconds(ago)
            )));
        }
        for shown in list(&mount["names"]) {
            let name = shown["name"].as_str().unwrap_or("(not UTF-8)");
            lines.push(super::cut(format!("    {} {name}", short(&shown["release"]))));
        }
    }
    for peer in list(&status["peers"]) {
        lines.push(format!("  peer    {}", short(&peer["peer"])));
        for path in list(&peer["paths"]) {
            lines.push(format!(
                "    path {} shard {} {}{} rtt {:.2} ms mtu {} rx {} tx {} lost {} in flight {}",
                number(&path["path"]),
                number(&path["shard"]),
                text(&path["remote"]),
                from(&path),
                path["rtt_ms"].as_f64().unwrap_or(0.0),
                number(&path["mtu"]),
                Bytes(number(&path["rx_bytes"])),
                Bytes(number(&path["tx_bytes"])),
                number(&path["lost_packets"]),
                Bytes(number(&path["inflight_bytes"])),
            ));
        }
    }
    for (name, thing) in [
        ("releases", "release"),
        ("pins", "pin"),
        ("mounts", "mount"),
        ("peers", "peer"),
    ] {
        let left_out = number(&status["left_out"][name]);
        if left_out > 0 {
            lines.push(format!("  and {} more, too many to list", count(left_out, thing)));
        }
    }
    lines.join("\n")
}

/// Where a path leaves from, as far as that is known.
fn from(path: &Value) -> String {
    let word = |key: &str, before: &str| path[key].as_str().map(|text| format!("{before}{text}")).unwrap_or_default();
    format!("{}{}", word("local", " from "), word("interface", " by "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_shown_and_what_is_missing_harms_nobody() {
        let full = serde_json::json!({
            "version": "0.1.0", "pid": 7, "state": "/s", "peer": "ab", "listen": ["127.0.0.1:4227"], "uptime_s": 1.5,
            "store": {"chunks": 1, "bytes": 1000, "intake_stopped": true},
            "counters": {"fetched_bytes": 1, "served_bytes": 2, "bad_chunks": 0, "failed_wants": 1, "refused_connections": 3},
            "releases": [{"release": "0123456789abcdef", "name": "n", "complete": true}],
            "pins": [{"release": "0123456789abcdef", "name": "n", "state": "whole"}],
            "mounts": [{"dir": "/mnt", "release": "0123456789abcdef", "last_eio": {"ago_s": 1.5, "request": "read", "entry": "/f", "why": "no source"}},
                {"dir": "/many", "release": null, "names": [{"name": "v1", "release": "fedcba9876543210"}]}, {"dir": "/gone", "release": null, "why": "no such directory"}],
            "peers": [{"peer": "fedcba987654", "paths": [
                {"path": 1, "remote": "127.0.0.1:1", "rtt_ms": 0.5, "mtu": 1452, "local": null, "interface": null},
                {"path": 2, "remote": "10.0.1.1:1", "local": "10.0.1.2", "interface": "eth0"},
            ]}],
        });
        let text = status(&full);
        for expect in [
            "pid 7",
            "127.0.0.1:4227",
            "1 chunk;",
            "3 connections refused",
            "INTAKE STOPPED",
            "0123456789 complete n",
            "pin     0123456789 whole n",
            "0123456789 /mnt",
            "EIO 1.5 s ago to read of /f: no source",
            "not there: /gone: no such directory",
            "1 name /many",
            "fedcba9876 v1",
            "127.0.0.1:1 rtt 0.50 ms",
            "10.0.1.1:1 from 10.0.1.2 by eth0 rtt",
            "fedcba9876",
        ] {
            assert!(text.contains(expect), "{expect} in {text}");
        }
        assert!(!text.contains("more"), "{text}");
        let cut = serde_json::json!({"left_out": {"listen": 0, "releases": 1, "mounts": 0, "peers": 4321}});
        let text = status(&cut);
        assert!(
            text.contains("and 1 release more") && text.contains("and 4321 peers more"),
            "{text}"
        );
        assert!(status(&Value::Null).contains("nothing"));
    }
}
