//! Writes a knob to the config file, where the daemon finds it when it starts again. Everything else in the file stays as it is, comments too.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, Value, value};

use crate::error::{Failure, Kind};

/// Sets `key`, as `ares set` has it, to this value; `None` takes it out.
pub(super) fn persist(path: &Path, key: &str, to: Option<&str>) -> Result<(), Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Failure::io("reading", path, &e)),
    };
    let text = edited(&text, key, to).map_err(|why| Failure::new(Kind::Usage, format!("config {}: {why}", path.display())))?;
    replace(path, &text)
}

fn edited(text: &str, key: &str, to: Option<&str>) -> Result<String, String> {
    let mut file: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.to_string())?;
    let of_rules = [
        ("cap-up.", ["lanes", "cap_up"]),
        ("cap-down.", ["lanes", "cap_down"]),
        ("weight.", ["lanes", "weight"]),
        ("peer-cap-up.", ["peers", "cap_up"]),
        ("peer-cap-down.", ["peers", "cap_down"]),
    ];
    let of_rules = of_rules.map(|(prefix, names)| Some((names, key.strip_prefix(prefix)?)));
    let (names, last): (&[&str], &str) = match of_rules.iter().flatten().next() {
        Some((names, whom)) => (names, whom),
        None => (&["set"], key),
    };
    let mut table: &mut dyn toml_edit::TableLike = file.as_table_mut();
    for name in names {
        let next = table.entry(name).or_insert_with(|| {
            let mut made = Table::new();
            made.set_implicit(names.len() > 1 && *name == names[0]);
            Item::Table(made)
        });
        table = next.as_table_like_mut().ok_or_else(|| format!("`{name}` is no table"))?;
    }
    match (to, table.get_mut(last)) {
        (None, _) => drop(table.remove(last)),
        // What stands behind it on its line stays there.
        (Some(to), Some(Item::Value(known))) => {
            let decor = known.decor().clone();
            *known = Value::from(to);
            *known.decor_mut() = decor;
        }
        (Some(to), _) => drop(table.insert(last, value(to))),
    }
    Ok(file.to_string())
}

/// Never half a file: beside it first, then in its place.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(dir) = real.parent() {
        fs::create_dir_all(dir).map_err(|e| Failure::io("creating", dir, &e))?;
    }
    let mode = fs::metadata(&real).map_or(0o644, |meta| meta.permissions().mode() & 0o7777);
    let mut aside = real.clone().into_os_string();
    aside.push(format!(".{}", std::process::id()));
    let aside = Path::new(&aside);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(aside, &real)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(aside);
        Failure::io("writing", path, &e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_where_it_belongs_and_nothing_else_is_touched() {
        let check = |text: &str, key: &str, to: Option<&str>, expect: &str| {
            assert_eq!(edited(text, key, to).as_deref(), Ok(expect), "{key}");
        };
        check("", "congestion", Some("bbr"), "[set]\ncongestion = \"bbr\"\n");
        let file = "# ours\npins = [] # none\n\n[set]\n# fast\ncongestion = \"cubic\" # was bbr\nget-window = 8388608\n";
        check(
            file,
            "congestion",
            Some("bbr"),
            "# ours\npins = [] # none\n\n[set]\n# fast\ncongestion = \"bbr\" # was bbr\nget-window = 8388608\n",
        );
        check(
            file,
            "congestion",
            None,
            "# ours\npins = [] # none\n\n[set]\nget-window = 8388608\n",
        );
        check("", "cap-up.eth*", Some("20MiB"), "[lanes.cap_up]\n\"eth*\" = \"20MiB\"\n");
        check(
            "[lanes]\ncap_up = { eth0 = \"1MiB\" }\n",
            "cap-up.10.0.0.0/16",
            Some("2MiB"),
            "[lanes]\ncap_up = { eth0 = \"1MiB\" , \"10.0.0.0/16\" = \"2MiB\" }\n",
        );
        check(
            "[lanes]\ncap_up = { eth0 = \"1MiB\" }\n",
            "cap-up.eth0",
            None,
            "[lanes]\ncap_up = {}\n",
        );
        check("", "peer-cap-up.*", Some("4MiB"), "[peers.cap_up]\n\"*\" = \"4MiB\"\n");
        check("", "weight.eth0", Some("2"), "[lanes.weight]\neth0 = \"2\"\n");
        assert!(edited("set = 1\n", "congestion", Some("bbr")).is_err());
        assert!(edited("[set\n", "congestion", Some("bbr")).is_err());
    }

    #[test]
    fn the_file_keeps_its_mode_and_is_made_where_there_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("new/ares.toml");
        persist(&path, "congestion", Some("bbr")).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        persist(&path, "get-window", Some("8MiB")).expect("writable");
        let text = fs::read_to_string(&path).expect("written");
        assert_eq!(text, "[set]\ncongestion = \"bbr\"\nget-window = \"8MiB\"\n");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(path.parent().expect("a directory")).expect("there").count(),
            1,
            "nothing beside it"
        );
    }
}
