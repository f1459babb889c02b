//! `ares peers` for people: two lines a peer, the figures and below them where it is and what it says it holds. Scripts get all of it.

use serde_json::Value;

use super::{Bytes, caps, count, cut, short, shortened, text};

/// Addresses of a peer that are named.
const ADDRESSES_MAX: usize = 2;

/// Characters of a release's name.
const NAME_MAX: usize = 20;

/// Dropped peers that are named, the last ones.
const DROPPED_MAX: usize = 5;

/// The picture of `cmd::peers` as a table.
pub(crate) fn peers(picture: &Value) -> String {
    let list = |name: &str| picture[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let left_out = |name: &str| picture["left_out"][name].as_u64().unwrap_or(0);
    let mut lines = Vec::new();
    match list("peers") {
        [] => lines.push("no peers: nobody is connected".to_owned()),
        peers => {
            lines.push(row(
                ["PEER", "PATHS", "RTT", "IN", "OUT", "FETCHED", "SERVED"].map(str::to_owned)
            ));
            lines.extend(peers.iter().flat_map(|peer| [figures(peer), place(peer)]));
        }
    }
    if left_out("peers") > 0 {
        lines.push(format!("and {} more, too many to list", count(left_out("peers"), "peer")));
    }
    let dropped = list("dropped");
    let named = &dropped[dropped.len().saturating_sub(DROPPED_MAX)..];
    let unnamed = left_out("dropped") + (dropped.len() - named.len()) as u64;
    if unnamed > 0 {
        lines.push(format!("{} dropped earlier", count(unnamed, "peer")));
    }
    lines.extend(
        named
            .iter()
            .map(|peer| cut(format!("dropped {}: {}", short(&peer["peer"]), text(&peer["why"])))),
    );
    let away = left_out("away") + list("away").len() as u64;
    if away > 0 {
        lines.push(format!(
            "{} known and not connected; --json says which and why",
            count(away, "peer")
        ));
    }
    lines.join("\n")
}

fn figures(peer: &Value) -> String {
    let bytes = |name: &str| Bytes(peer[name].as_u64().unwrap_or(0));
    row([
        short(&peer["peer"]),
        paths(peer),
        peer["rtt_ms"].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.2} ms")),
        format!("{}/s", bytes("rx_bytes_per_s")),
        format!("{}/s", bytes("tx_bytes_per_s")),
        bytes("fetched_bytes").to_string(),
        bytes("served_bytes").to_string(),
    ])
}

/// How many are in which state.
fn paths(peer: &Value) -> String {
    let paths = || peer["paths"].as_array().into_iter().flatten();
    let of_state = |state: &&str| match paths().filter(|path| path["state"] == **state).count() {
        0 => None,
        n => Some(format!("{n} {state}")),
    };
    ["up", "standby", "suspect"]
        .iter()
        .filter_map(of_state)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Where it is and what it says it holds.
fn place(peer: &Value) -> String {
    let mut addresses: Vec<String> = Vec::new();
    for path in peer["paths"].as_array().into_iter().flatten() {
        let remote = text(&path["remote"]);
        if !addresses.contains(&remote) {
            addresses.push(remote);
        }
    }
    let others = addresses.len().saturating_sub(ADDRESSES_MAX);
    addresses.truncate(ADDRESSES_MAX);
    let mut place = addresses.join(" ");
    if others > 0 {
        place.push_str(&format!(" +{others}"));
    }
    if let Some(zone) = peer["zone"].as_str().filter(|zone| !zone.is_empty()) {
        place.push_str(&format!(" zone {zone}"));
    }
    cut(format!("  {place}{}: {}", caps(peer), holds(peer)))
}

/// One release by name; of more, the sum.
fn holds(peer: &Value) -> String {
    let releases = peer["releases"].as_array().map(Vec::as_slice).unwrap_or_default();
    let left_out = peer["left_out"]["releases"].as_u64().unwrap_or(0);
    let is_complete = |release: &&Value| release["state"] == "complete";
    let told = |release: &Value| release["chunks_told"].as_u64().unwrap_or(0);
    let mut parts = Vec::new();
    match releases {
        [] => return "has told of no release".to_owned(),
        [one] => {
            let name = match one["name"].as_str() {
                Some(name) if !name.is_empty() => {
                    format!("{} ({})", shortened(name.to_owned(), NAME_MAX), short(&one["release"]))
                }
                _ => short(&one["release"]),
            };
            parts.push(match is_complete(&one) {
                true => format!("all of {name}"),
                false => format!("{} of {name}", count(told(one), "chunk")),
            });
        }
        many => {
            let complete = many.iter().filter(is_complete).count() as u64;
            let partial = many.len() as u64 - complete;
            let chunks = many.iter().map(told).sum();
            if complete > 0 {
                parts.push(format!("all of {}", count(complete, "release")));
            }
            if partial > 0 {
                parts.push(format!("{} of {}", count(chunks, "chunk"), count(partial, "release")));
            }
        }
    }
    if left_out > 0 {
        parts.push(format!("some of {} more", count(left_out, "release")));
    }
    parts.join(", ")
}

fn row([peer, paths, rtt, rx, tx, fetched, served]: [String; 7]) -> String {
    cut(format!(
        "{peer:<10} {paths:<26} {rtt:>11} {rx:>11} {tx:>11} {fetched:>10} {served:>10}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_head_two_lines_a_peer_and_who_is_not_there() {
        let seed = json!({
            "peer": "0123456789abcdef", "rtt_ms": 12.345, "rx_bytes_per_s": 24_000_000, "tx_bytes_per_s": 100_000,
            "fetched_bytes": 1_048_576, "served_bytes": 0, "rx_bytes": 1_100_000, "tx_bytes": 5000,
            "paths": [
                {"state": "up", "remote": "10.0.1.2:7411"}, {"state": "standby", "remote": "10.0.2.2:7411"},
                {"state": "up", "remote": "10.0.1.2:7412"},
            ],
            "releases": [{"release": "65f4a17319ab", "name": "rel", "state": "complete", "chunks_told": null}],
        });
        let reader = json!({
            "peer": "fedcba9876543210", "rtt_ms": 0.2, "rx_bytes_per_s": 0, "tx_bytes_per_s": 0, "fetched_bytes": 5, "served_bytes": 7,
            "cap_up_bytes_per_s": 1 << 20, "cap_down_bytes_per_s": null,
            "paths": [{"state": "suspect", "remote": "10.0.1.3:7411"}],
            "releases": [{"release": "65f4a17319ab", "name": null, "state": "partial", "chunks_told": 12}],
        });
        let picture = json!({
            "peers": [seed, reader], "away": [{}, {}],
            "dropped": [{"peer": "0bad0bad0bad", "why": "it sent wrong bytes"}],
        });
        let expect = "\
PEER       PATHS                              RTT          IN         OUT    FETCHED     SERVED
0123456789 2 up, 1 standby               12.35 ms   24.0 MB/s  100.0 kB/s    1.05 MB        0 B
  10.0.1.2:7411 10.0.2.2:7411 +1: all of rel (65f4a17319)
fedcba9876 1 suspect                      0.20 ms       0 B/s       0 B/s        5 B        7 B
  10.0.1.3:7411 [up 1MiB/s at most]: 12 chunks of 65f4a17319
dropped 0bad0bad0b: it sent wrong bytes
2 peers known and not connected; --json says which and why";
        assert_eq!(peers(&picture), expect);
        assert_eq!(peers(&json!({"peers": []})), "no peers: nobody is connected");
    }

    #[test]
    fn a_peer_with_many_releases_is_summed_up() {
        let check = |releases: Value, left_out: u64, expect: &str| {
            let peer = json!({"releases": releases, "left_out": {"releases": left_out}});
            assert_eq!(holds(&peer), expect);
        };
        let complete = json!({"state": "complete"});
        let partial = |chunks: u64| json!({"state": "partial", "chunks_told": chunks});
        check(json!([]), 0, "has told of no release");
        check(json!([complete, complete]), 0, "all of 2 releases");
        check(
            json!([complete, partial(1), partial(2)]),
            9,
            "all of 1 release, 3 chunks of 2 releases, some of 9 releases more",
        );
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_what_is_missing_harms_nobody() {
        let path = |n: u16| json!({"state": "suspect", "remote": format!("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:{n}")});
        let wide = json!({
            "peer": "f".repeat(64), "paths": (60_000..60_020).map(path).collect::<Vec<_>>(), "rtt_ms": 1e9,
            "rx_bytes_per_s": u64::MAX, "tx_bytes_per_s": u64::MAX, "fetched_bytes": u64::MAX, "served_bytes": u64::MAX,
            "releases": [{"release": "e".repeat(64), "name": "n".repeat(500), "state": "partial", "chunks_told": u64::MAX}],
        });
        let dropped = json!({"peer": "d".repeat(64), "why": "x".repeat(500)});
        let picture = json!({
            "peers": [wide, null], "dropped": vec![dropped; 9], "left_out": {"peers": 3, "dropped": 2, "away": 1},
        });
        let text = peers(&picture);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for expect in ["3 peers more", "6 peers dropped earlier", "1 peer known", "? "] {
            assert!(text.contains(expect), "{expect} in {text}");
        }
        assert!(peers(&Value::Null).contains("nobody"));
    }
}
