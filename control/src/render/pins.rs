//! `ares pin` for people: a line a release, and why it is not whole.

use serde_json::Value;

use super::{Bytes, count, cut, percent, short, text};

/// All that is pinned.
pub(crate) fn pins(status: &Value) -> String {
    let pins = status["pins"].as_array().map(Vec::as_slice).unwrap_or_default();
    if pins.is_empty() {
        return "nothing is pinned: `ares pin LINK` keeps a release whole".to_owned();
    }
    let mut lines: Vec<String> = pins.iter().map(pin).collect();
    let left_out = status["left_out"]["pins"].as_u64().unwrap_or(0);
    if left_out > 0 {
        lines.push(format!("and {} more, too many to list", count(left_out, "pin")));
    }
    lines.into_iter().map(cut).collect::<Vec<_>>().join("\n")
}

/// One of them in a line.
pub(super) fn pin(pin: &Value) -> String {
    let number = |name: &str| pin[name].as_u64().unwrap_or(0);
    let (held, bytes) = (number("held_bytes"), number("bytes"));
    let mut line = format!("{} {} {}", short(&pin["release"]), text(&pin["state"]), text(&pin["name"]));
    if bytes > 0 {
        line.push_str(&format!(": {} of {}, {} %", Bytes(held), Bytes(bytes), percent(held, bytes)));
    }
    if pin["by"] == "config" {
        line.push_str(" (config file)");
    }
    if let Some(why) = pin["why"].as_str() {
        line.push_str(&format!("; {} failed: {why}", count(number("failed_tries"), "try")));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pin_is_told_with_how_far_it_is_and_what_stands_in_its_way() {
        let pin = |state: &str, held: u64, why: Option<&str>| {
            json!({
                "release": "a".repeat(64), "name": "rel", "by": "command", "state": state, "held_bytes": held, "bytes": 2000 * held.min(1),
                "failed_tries": 2, "why": why,
            })
        };
        let mut all = [
            pin("whole", 2000, None),
            pin("fetching", 500, None),
            pin("waiting", 0, Some("nobody")),
        ];
        all[2]["by"] = json!("config");
        let expect = "\
aaaaaaaaaa whole rel: 2.00 kB of 2.00 kB, 100 %
aaaaaaaaaa fetching rel: 500 B of 2.00 kB, 25 %
aaaaaaaaaa waiting rel (config file); 2 tries failed: nobody
and 3 pins more, too many to list";
        assert_eq!(pins(&json!({"pins": all, "left_out": {"pins": 3}})), expect);
        assert!(pins(&json!({"pins": []})).starts_with("nothing is pinned"));
        assert!(pins(&json!({"pins": [null]})).starts_with('?'));
    }
}
