//! Where things are when nobody says: the XDG base directories, or those systemd hands a service. Makes no directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Failure, Kind};

const SYSTEM_FILE: &str = "/etc/ares/ares.toml";

type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// An absolute path from the environment; the XDG specification says that relative ones are to be ignored.
fn absolute(env: Env<'_>, name: &str) -> Option<PathBuf> {
    env(name).map(PathBuf::from).filter(|p| p.is_absolute())
}

/// The state directory: as told, else systemd's STATE_DIRECTORY, else XDG_STATE_HOME/ares, else ~/.local/state/ares.
pub(super) fn state_dir(told: Option<PathBuf>, env: Env<'_>) -> Result<PathBuf, Failure> {
    // systemd joins several directories by colons; ours is the first.
    let systemd = env("STATE_DIRECTORY").and_then(|v| v.into_string().ok());
    let systemd = systemd
        .and_then(|v| v.split(':').next().map(PathBuf::from))
        .filter(|p| p.is_absolute());
    let found = told
        .filter(|p| !p.as_os_str().is_empty())
        .or(systemd)
        .or_else(|| absolute(env, "XDG_STATE_HOME").map(|p| p.join("ares")))
        .or_else(|| absolute(env, "HOME").map(|p| p.join(".local/state/ares")));
    let Some(dir) = found else {
        return Err(
            Failure::new(Kind::Usage, "no state directory: neither XDG_STATE_HOME nor HOME is set")
                .help("name one with --state DIR or ARES_STATE"),
        );
    };
    std::path::absolute(&dir).map_err(|e| Failure::io("resolving", &dir, &e))
}

/// The config file: as told (must exist), else the first that exists of XDG_CONFIG_HOME/ares/ares.toml, ~/.config/ares/ares.toml
/// and /etc/ares/ares.toml.
pub(super) fn config_file(told: Option<&Path>, env: Env<'_>) -> Option<PathBuf> {
    if let Some(path) = told {
        return Some(path.to_owned());
    }
    user_file(env)
        .into_iter()
        .chain([PathBuf::from(SYSTEM_FILE)])
        .find(|p| p.exists())
}

/// Where one would be looked for that is not there yet: a service's is the system's.
pub(super) fn config_file_to_make(env: Env<'_>) -> PathBuf {
    let is_service = env("STATE_DIRECTORY").is_some();
    user_file(env)
        .filter(|_| !is_service)
        .unwrap_or_else(|| PathBuf::from(SYSTEM_FILE))
}

fn user_file(env: Env<'_>) -> Option<PathBuf> {
    let xdg = absolute(env, "XDG_CONFIG_HOME").or_else(|| absolute(env, "HOME").map(|p| p.join(".config")));
    xdg.map(|p| p.join("ares/ares.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_is_the_first_that_is_named() {
        let check = |told: Option<&str>, vars: &[(&str, &str)], expect: Option<&str>| {
            let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            let dir = state_dir(told.map(PathBuf::from), &env).ok();
            assert_eq!(dir, expect.map(PathBuf::from), "{told:?} {vars:?}");
        };
        let home = ("HOME", "/h");
        check(Some("/t"), &[("STATE_DIRECTORY", "/var/lib/ares"), home], Some("/t"));
        check(None, &[("STATE_DIRECTORY", "/var/lib/ares"), home], Some("/var/lib/ares"));
        check(None, &[("STATE_DIRECTORY", "/a:/b"), home], Some("/a"));
        check(None, &[("XDG_STATE_HOME", "/x"), home], Some("/x/ares"));
        check(None, &[("XDG_STATE_HOME", "relative"), home], Some("/h/.local/state/ares"));
        check(None, &[home], Some("/h/.local/state/ares"));
        check(None, &[], None);
        check(Some(""), &[home], Some("/h/.local/state/ares"));
    }
}
