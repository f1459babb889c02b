//! Access profiles: what was read of a mount, and what users bring.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ares_core::profile::Profile;

use super::show::absent;
use crate::admin::proto::{Outcome, Raw};
use crate::daemon::Shared;
use crate::error::{Failure, Kind};

pub(super) fn run(daemon: &Shared, at: &Path) -> Result<Outcome, Failure> {
    let recorded = match daemon.mounts.get(at) {
        Some(entry) => entry.mount.recorded(None),
        None => {
            let named = at.parent().and_then(|dir| daemon.mounts.get(dir));
            let name = at.file_name().map(|name| name.as_bytes());
            named.ok_or_else(|| absent(at))?.mount.recorded(name)
        }
    };
    let profile = recorded.ok_or_else(|| {
        let message = format!("{} shows no release", at.display());
        Failure::new(Kind::NotFound, message).help("of a mount of names write DIR/NAME; `ares status` lists them")
    })?;
    let profile = Raw(profile.text());
    Ok(Outcome::Recorded { profile })
}

/// A profile that somebody has written.
pub(super) fn read(text: &Raw) -> Result<Profile, Failure> {
    Profile::parse(&text.0).map_err(|e| Failure::new(Kind::Usage, format!("the access profile: {e}")))
}
