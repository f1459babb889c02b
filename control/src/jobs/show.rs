//! Gives releases names in a mount that is a directory of names, and takes names away.

use std::path::Path;

use ares_fs::Slot;

use super::mount::find;
use super::read_link;
use crate::admin::proto::{Outcome, Overwrite, Raw, Reach};
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::kept::Named;
use crate::mounts::{MountEntry, Showable};

pub(super) fn run(
    daemon: &Shared,
    dir: &Path,
    mut named: Named,
    overwrite: Overwrite,
    cancel: &Cancel,
) -> Result<Outcome, Failure> {
    let reach = daemon.mounts.get(dir).ok_or_else(|| absent(dir))?.reach;
    // What takes the network comes first, and what the mount is then is decided at once.
    let ready = Ready::new(daemon, &named, reach, cancel)?;
    let changed = daemon.mounts.change(dir, |entry| {
        let former = entry.names.get(&named.name.0).cloned();
        let release = ready.release.clone();
        named.slot = ready.show(entry, &named.name, overwrite)?;
        if let Some(kept) = &mut entry.kept {
            kept.on_shown(named);
        }
        Ok(Outcome::Shown { release, former })
    });
    changed.ok_or_else(|| absent(dir))?
}

/// A release that can be shown.
pub(super) struct Ready {
    release: String,
    what: Showable,
}

impl Ready {
    /// Waits for its manifest as far as that takes.
    pub(super) fn new(daemon: &Shared, named: &Named, reach: Reach, cancel: &Cancel) -> Result<Self, Failure> {
        let link = read_link(&named.link)?;
        let (root, file) = find(daemon, &link, reach, reach, cancel)?;
        Ok(Self {
            release: link.release.to_string(),
            what: Showable {
                source: daemon.source(reach, link.release, &root),
                root: root.encode(),
                file,
            },
        })
    }

    /// Shows it, and gives the mount's number for it.
    pub(super) fn show(self, entry: &mut MountEntry, name: &Raw, overwrite: Overwrite) -> Result<u64, Failure> {
        let slot = entry.mount.show(&name.0, self.what, overwrite)?;
        entry.names.insert(name.0.clone(), self.release);
        Ok(slot)
    }

    /// As it was shown before, under that name if any.
    pub(super) fn again(self, slot: u64, name: Option<&Raw>) -> (Slot, String) {
        let Showable { root, file, source } = self.what;
        let slot = Slot {
            number: slot,
            name: name.map(|name| name.0.clone()),
            root,
            file,
            source,
        };
        (slot, self.release)
    }
}

pub(super) fn undo(daemon: &Shared, dir: &Path, name: &Raw) -> Result<Outcome, Failure> {
    let changed = daemon.mounts.change(dir, |entry| {
        let absent = entry
            .kept
            .iter()
            .flat_map(|kept| &kept.names)
            .find(|named| named.name == *name);
        let absent = absent.and_then(|named| Some(read_link(&named.link).ok()?.release.to_string()));
        let release = entry.names.remove(&name.0).filter(|_| entry.mount.hide(&name.0)).or(absent);
        let release = release.ok_or_else(|| {
            let message = format!("{} has nothing called {}", dir.display(), name.lossy());
            Failure::new(Kind::NotFound, message).help("`ares status` lists what it has")
        })?;
        if let Some(kept) = &mut entry.kept {
            kept.on_hidden(name);
        }
        Ok(Outcome::Hidden { release })
    });
    changed.ok_or_else(|| absent(dir))?
}

pub(super) fn absent(dir: &Path) -> Failure {
    let message = format!("this daemon has no mount at {}", dir.display());
    Failure::new(Kind::NotFound, message)
        .help("make one with `ares mount --root DIR`, or name the --state of the `ares` that has it")
}
