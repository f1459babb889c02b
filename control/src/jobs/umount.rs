//! Takes a mount of this daemon away. Mounts of others are the command's own business.

use std::path::Path;

use crate::admin::proto::{Force, Outcome, Raw};
use crate::daemon::Shared;
use crate::error::{Failure, Kind};

pub(super) fn run(daemon: &Shared, dir: &Path, force: Force) -> Result<Outcome, Failure> {
    let Some(entry) = daemon.mounts.get(dir) else {
        if daemon.mounts.forget(dir) {
            return Ok(Outcome::Unmounted { dir: Raw::from(dir) });
        }
        return Err(Failure::new(
            Kind::NotFound,
            format!("this daemon has no mount at {}", dir.display()),
        ));
    };
    entry.mount.take_away(force)?;
    daemon.mounts.on_ended(dir, &entry.mount, false);
    daemon.mounts.on_ended(dir, &entry.mount, false);
    Ok(Outcome::Unmounted { dir: Raw::from(dir) })
}
