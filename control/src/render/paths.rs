//! `ares paths` for people: two lines a path, the figures and below them the ends. Scripts get the daemon's own objects.

use serde_json::Value;

use super::{Bytes, Seconds, caps, cut, text};

/// The paths as a table.
pub(crate) fn paths(paths: &[Value]) -> String {
    if paths.is_empty() {
        return "no paths: nobody is connected".to_owned();
    }
    let head = row(["PEER", "PATH", "STATE", "RTT", "RATE", "LOSS", "IN FLIGHT", "SHARE", "AGE"].map(str::to_owned));
    let lines = paths.iter().flat_map(|path| [figures(path), ends(path)]);
    let lines: Vec<String> = std::iter::once(head).chain(lines).collect();
    lines.join("\n")
}

fn figures(path: &Value) -> String {
    let number = |name: &str| path[name].as_u64().unwrap_or(0);
    let real = |name: &str| path[name].as_f64().unwrap_or(0.0);
    let rate = number("rx_bytes_per_s") + number("tx_bytes_per_s");
    row([
        text(&path["peer"]).chars().take(10).collect(),
        number("path").to_string(),
        text(&path["state"]),
        format!("{:.2} ms", real("rtt_ms")),
        format!("{}/s", Bytes(rate)),
        format!("{:.1} %", real("loss_percent")),
        Bytes(number("inflight_bytes")).to_string(),
        path["share"]
            .as_f64()
            .map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
        Seconds(real("age_s")).to_string(),
    ])
}

/// Where it leaves from and leads to, and what last became of it.
fn ends(path: &Value) -> String {
    let local = path["local"].as_str().unwrap_or("any address");
    let interface = path["interface"].as_str().unwrap_or("any interface");
    let ago = Seconds(path["switched_s"].as_f64().unwrap_or(0.0));
    let (remote, why) = (text(&path["remote"]), text(&path["switched_why"]));
    let caps = caps(path);
    cut(format!("  {interface} {local}{caps} > {remote}, {ago} ago: {why}"))
}

fn row([peer, path, state, rtt, rate, loss, inflight, share, age]: [String; 9]) -> String {
    let line = format!("{peer:<10} {path:>6} {state:<7} {rtt:>11} {rate:>11} {loss:>7} {inflight:>9} {share:>6} {age:>13}");
    cut(line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_head_and_two_lines_a_path() {
        let path = json!({
            "peer": "0123456789abcdef", "path": 3, "state": "up", "rtt_ms": 12.345, "rx_bytes_per_s": 24_000_000, "tx_bytes_per_s": 100_000,
            "loss_percent": 0.04, "inflight_bytes": 1_048_576, "share": 0.5, "age_s": 12.3, "switched_s": 12.3,
            "switched_why": "opened as another way", "local": "10.0.1.5", "interface": "eth1", "remote": "10.0.1.2:7411",
        });
        let expect = "\
PEER         PATH STATE           RTT        RATE    LOSS IN FLIGHT  SHARE           AGE
0123456789      3 up         12.35 ms   24.1 MB/s   0.0 %   1.05 MB   50 %        12.3 s
  eth1 10.0.1.5 > 10.0.1.2:7411, 12.3 s ago: opened as another way";
        assert_eq!(paths(std::slice::from_ref(&path)), expect);
        let mut capped = path;
        capped["cap_up_bytes_per_s"] = json!(20 << 20);
        capped["cap_down_bytes_per_s"] = json!(1_000_000);
        let shown = paths(&[capped]);
        assert!(
            shown.contains("eth1 10.0.1.5 [up 20MiB/s at most] [down 1000000/s at most] > 10.0.1.2:7411,"),
            "{shown}"
        );
        assert_eq!(paths(&[]), "no paths: nobody is connected");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_what_is_missing_harms_nobody() {
        let wide = json!({
            "peer": "f".repeat(64), "path": u64::MAX, "state": "suspect", "rtt_ms": 1e9, "rx_bytes_per_s": u64::MAX / 2, "tx_bytes_per_s": 1,
            "loss_percent": 100.0, "inflight_bytes": u64::MAX, "share": 1.0, "age_s": 1e9, "switched_s": 1e9, "switched_why": "x".repeat(500),
            "local": "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]", "remote": "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        });
        let text = paths(&[wide, Value::Null]);
        assert_eq!(text.lines().count(), 5);
        assert!(
            text.lines().all(|line| line.chars().count() <= crate::render::COLUMNS_MAX),
            "{text}"
        );
    }
}
