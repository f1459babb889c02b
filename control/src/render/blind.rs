//! What is shown to strangers: names of releases and peers cut short, and nothing of where things are on this machine.

use serde_json::Value;

/// Digits of a release's hash that are shown: all of them would let whoever sees them fetch it.
const DIGITS_SHOWN: usize = 10;

/// Cuts every release's and peer's name of digits, wherever it stands, and leaves out where things are on this machine.
pub(crate) fn blind(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["state", "dir", "pid", "http", "config"] {
                // A path's and a release's state is a word.
                if fields
                    .get(key)
                    .is_some_and(|value| key != "state" || value.as_str().is_some_and(|text| text.starts_with('/')))
                {
                    fields.remove(key);
                }
            }
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("release" | "peer", Value::String(digits)) => digits.truncate(DIGITS_SHOWN),
                    (_, value) => blind(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(blind),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn digits_and_places_are_gone_and_the_rest_is_there() {
        let mut picture = json!({
            "state": "/var/lib/ares", "pid": 7, "config": "/etc/ares/ares.toml", "peer": "ab".repeat(32),
            "peers": [{"peer": "cd".repeat(32), "paths": [{"state": "up"}], "releases": [{"release": "ef".repeat(32)}]}],
            "mounts": [{"dir": "/home/somebody", "name": "rel"}],
        });
        blind(&mut picture);
        let expect = json!({
            "peer": "ababababab",
            "peers": [{"peer": "cdcdcdcdcd", "paths": [{"state": "up"}], "releases": [{"release": "efefefefef"}]}],
            "mounts": [{"name": "rel"}],
        });
        assert_eq!(picture, expect);
    }
}
