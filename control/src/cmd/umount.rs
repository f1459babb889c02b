//! `ares umount`: takes a mount away through the daemon that has it; one whose daemon is of another state directory, or dead, by the kernel.

use std::path::Path;

use ares_fs::stale::{self, Pulse};
use serde_json::json;

use super::{Context, mount_point};
use crate::admin::proto::{Force, Outcome, Raw, Request};
use crate::error::{Failure, Kind};
use crate::kept::KeptFile;
use crate::lowargs::UmountArgs;
use crate::session::Session;
use crate::unmount::{MOUNTINFO, fstype_at, unmount};

pub(super) fn run(context: &Context, args: UmountArgs) -> Result<(), Failure> {
    let dir = mount_point(&args.dir)?;
    let force = if args.lazy { Force::Lazy } else { Force::IfIdle };
    if let Ok(mut daemon) = Session::attach(&context.config) {
        let request = Request::Umount {
            dir: Raw::from(dir.as_path()),
            force,
        };
        match daemon.run(&request, &*context.sink(), &context.cancel).map_err(Failure::from) {
            Ok(Outcome::Unmounted { .. }) => return done(context, &dir),
            Ok(other) => return Err(super::unexpected(&other)),
            // Not its mount: perhaps another's.
            Err(failure) if failure.kind == Kind::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    let table = std::fs::read(MOUNTINFO).map_err(|e| Failure::io("reading", Path::new(MOUNTINFO), &e))?;
    match fstype_at(&table, &dir) {
        None => {
            return Err(Failure::new(
                Kind::NotFound,
                format!("{} is not a mount point: nothing is mounted there", dir.display()),
            )
            .help("`ares status` and /proc/mounts list mounts"));
        }
        // Another's FUSE mount is another program's business, dead or alive.
        Some(fstype) if fstype != ares_fs::FSTYPE => {
            return Err(Failure::new(
                Kind::Usage,
                format!("{} is no mount of ares but of type {fstype}", dir.display()),
            )
            .help("use umount(8), or what that filesystem comes with"));
        }
        Some(_) => {}
    }
    match (stale::pulse(&dir), force) {
        // One whose server is dead cannot be busy with anything worth waiting for.
        (Pulse::Dead, _) => unmount(&dir, Force::Lazy)?,
        // Whoever waits for an answer, a killed server among them, is let go of.
        (Pulse::Silent, Force::Lazy) => stale::break_off(&dir)?,
        (Pulse::Lives | Pulse::Silent, force) => unmount(&dir, force)?,
    }
    if Session::attach(&context.config).is_err() {
        KeptFile::of(&context.config.state).forget(&dir)?;
    }
    done(context, &dir)
}

fn done(context: &Context, dir: &Path) -> Result<(), Failure> {
    context.print(&format!("unmounted {}", dir.display()), &json!({"dir": Raw::from(dir)}))
}
