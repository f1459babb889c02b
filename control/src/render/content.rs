//! `ares content` for people: a line a release, or one release in a few lines. Scripts get the daemon's own objects.

use serde_json::Value;

use super::{Bytes, count, cut, percent, pins, short, shortened, text};

/// Characters of a release's name.
const NAME_MAX: usize = 24;

/// All releases as a table.
pub(crate) fn contents(contents: &Value) -> String {
    let releases = contents["releases"].as_array().map(Vec::as_slice).unwrap_or_default();
    if releases.is_empty() {
        return "no releases: `ares publish` makes one, `ares get` and `ares mount` bring one".to_owned();
    }
    let head = row(["RELEASE", "NAME", "SIZE", "ENTRIES", "HELD", "FETCHED", "PEERS"].map(str::to_owned));
    let mut lines: Vec<String> = std::iter::once(head).chain(releases.iter().map(line)).collect();
    let left_out = number(&contents["left_out"]["releases"]);
    if left_out > 0 {
        lines.push(format!("and {} more, too many to list", count(left_out, "release")));
    }
    let pins = contents["pins"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.extend(pins.iter().map(|pin| cut(format!("pinned {}", pins::pin(pin)))));
    lines.join("\n")
}

fn line(release: &Value) -> String {
    let held = match release["seen_bytes"].as_u64() {
        _ if is_complete(release) => "all".to_owned(),
        Some(bytes) => format!("{}, {} %", Bytes(bytes), percent(bytes, number(&release["bytes"]))),
        None => "some".to_owned(),
    };
    let [complete, partial] = ["peers_complete", "peers_partial"].map(|name| number(&release[name]));
    row([
        short(&release["release"]),
        shortened(text(&release["name"]), NAME_MAX),
        Bytes(number(&release["bytes"])).to_string(),
        number(&release["entries"]).to_string(),
        held,
        Bytes(number(&release["fetched_bytes"])).to_string(),
        format!("{complete} all, {partial} some"),
    ])
}

/// One release.
pub(crate) fn one_content(content: &Value) -> String {
    let bytes = |name: &str| Bytes(number(&content[name]));
    let chunks = |name: &str| count(number(&content[name]), "chunk");
    let state = if is_complete(content) { "complete" } else { "partial" };
    let pinned = if content["pinned"] == Value::Bool(true) {
        ", pinned"
    } else {
        ""
    };
    let (held, missing) = (number(&content["held_bytes"]), number(&content["missing_bytes"]));
    let nodes = number(&content["missing_nodes"]);
    let mut lines = vec![
        text(&content["name"]),
        format!("  release {}", text(&content["release"])),
        format!(
            "  size    {} in {}",
            bytes("bytes"),
            count(number(&content["entries"]), "entry")
        ),
        format!("  state   {state}{pinned}"),
        format!(
            "  held    {} in {}: {} in the store, {} in place",
            Bytes(held),
            chunks("held_chunks"),
            bytes("own_bytes"),
            bytes("in_place_bytes"),
        ),
        match number(&content["missing_chunks"]) {
            0 => "  missing nothing".to_owned(),
            _ => format!("  missing {} in {}", Bytes(missing), chunks("missing_chunks")),
        },
    ];
    if nodes > 0 {
        let nodes = count(nodes, "manifest node");
        lines.push(format!("          and whatever is named by {nodes} among them"));
    } else {
        lines.push(format!("  percent {}", percent(held, held + missing)));
    }
    lines.push(format!("  fetched {} since the daemon's start", bytes("fetched_bytes")));
    for peer in content["peers"].as_array().into_iter().flatten() {
        let has = match peer["chunks_told"].as_u64() {
            Some(chunks) => format!("{} told", count(chunks, "chunk")),
            None => "all".to_owned(),
        };
        let fetched = Bytes(number(&peer["fetched_bytes"]));
        lines.push(format!("  peer    {} {has}, {fetched} fetched from it", short(&peer["peer"])));
    }
    let left_out = number(&content["left_out"]["peers"]);
    if left_out > 0 {
        lines.push(format!("  and {} more, too many to list", count(left_out, "peer")));
    }
    lines.into_iter().map(cut).collect::<Vec<_>>().join("\n")
}

fn is_complete(release: &Value) -> bool {
    release["complete"] == Value::Bool(true)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn row([release, name, size, entries, held, fetched, peers]: [String; 7]) -> String {
    cut(format!(
        "{release:<10} {name:<NAME_MAX$} {size:>8} {entries:>8} {held:>14} {fetched:>8}  {peers}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_head_and_a_line_a_release() {
        let release = |digits: &str, complete: bool, seen: Option<u64>| {
            json!({
                "release": digits.repeat(64), "name": "rel", "bytes": 966_900_000, "entries": 53374, "complete": complete,
                "seen_bytes": seen, "fetched_bytes": 1_010_000_000, "peers_complete": 1, "peers_partial": 3,
            })
        };
        let all = [
            release("a", true, None),
            release("b", false, Some(96_000_000)),
            release("c", false, None),
        ];
        let expect = "\
RELEASE    NAME                         SIZE  ENTRIES           HELD  FETCHED  PEERS
aaaaaaaaaa rel                      966.9 MB    53374            all  1.01 GB  1 all, 3 some
bbbbbbbbbb rel                      966.9 MB    53374   96.0 MB, 9 %  1.01 GB  1 all, 3 some
cccccccccc rel                      966.9 MB    53374           some  1.01 GB  1 all, 3 some
and 2 releases more, too many to list";
        assert_eq!(contents(&json!({"releases": all, "left_out": {"releases": 2}})), expect);
        assert!(contents(&json!({"releases": []})).starts_with("no releases"));
    }

    #[test]
    fn one_release_is_told_with_who_has_it() {
        let mut content = json!({
            "release": "ab".repeat(32), "name": "rel", "bytes": 4000, "entries": 2, "complete": false, "pinned": true, "fetched_bytes": 1000,
            "held_chunks": 3, "held_bytes": 3000, "own_bytes": 1000, "in_place_bytes": 2000,
            "missing_chunks": 1, "missing_bytes": 1000, "missing_nodes": 0,
            "peers": [
                {"peer": "c".repeat(64), "state": "complete", "chunks_told": null, "fetched_bytes": 1000},
                {"peer": "d".repeat(64), "state": "partial", "chunks_told": 1, "fetched_bytes": 0},
            ],
        });
        let hash = "ab".repeat(32);
        let expect = format!(
            "\
rel
  release {hash}
  size    4.00 kB in 2 entries
  state   partial, pinned
  held    3.00 kB in 3 chunks: 1.00 kB in the store, 2.00 kB in place
  missing 1.00 kB in 1 chunk
  percent 75
  fetched 1.00 kB since the daemon's start
  peer    cccccccccc all, 1.00 kB fetched from it
  peer    dddddddddd 1 chunk told, 0 B fetched from it"
        );
        assert_eq!(one_content(&content), expect);
        content["missing_nodes"] = json!(1);
        assert!(one_content(&content).contains("\n          and whatever is named by 1 manifest node among them\n"));
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_what_is_missing_harms_nobody() {
        let wide = json!({
            "release": "f".repeat(64), "name": "n".repeat(500), "bytes": u64::MAX, "entries": u64::MAX, "seen_bytes": 1, "fetched_bytes": u64::MAX,
            "peers_complete": u64::MAX, "peers_partial": u64::MAX,
        });
        let text = contents(&json!({"releases": [wide, null]}));
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains('?'), "{text}");
        assert!(one_content(&wide).lines().all(|line| line.chars().count() <= 100));
        assert!(one_content(&Value::Null).contains("missing nothing"));
    }
}
