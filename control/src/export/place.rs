//! Where DEST is: opened before anything is fetched, so that a place that cannot be written to is told at once.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ares_core::link::Link;
use ares_core::manifest::{EntryKind, Meta, Name};

use super::dir::Dir;
use super::draft::sweep;
use crate::error::{Failure, Kind};
use crate::tree::Found;

/// An opened destination.
pub(crate) enum Place {
    /// For the entries of a directory.
    Directory {
        /// It.
        dir: Dir,
        /// Whether it is all ours, so that its mode and time are the release's.
        ours: Ours,
    },
    /// For one file or symlink.
    Entry {
        /// The directory that it will stand in.
        dir: Dir,
        /// Its name there.
        name: Name,
    },
}

/// Whose the destination directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    /// Made by us, now or by an earlier run that was cut short; or empty.
    Yes,
    /// There before, with other things in it.
    No,
}

impl Place {
    /// Opens `dest` for `found`. A directory is made where it is absent; a file lands in `dest` where that is a directory, else at it.
    pub(crate) fn open(dest: &Path, found: &Found, link: &Link) -> Result<Self, Failure> {
        if matches!(found.kind, EntryKind::Dir(_)) {
            let made = make(dest)?;
            let dir = Dir::open(dest)?;
            let is_begun = mark::is_on(&dir, link.release);
            let ours = if made == Made::Now || is_begun || dir.is_empty()? {
                Ours::Yes
            } else {
                Ours::No
            };
            dir.check_writable()?;
            if ours == Ours::Yes && !is_begun {
                mark::set(&dir, link.release);
            }
            if made == Made::Before {
                sweep(&dir);
            }
            return Ok(Place::Directory { dir, ours });
        }
        let (parent, name) = match (dest.is_dir(), dest.file_name(), dest.parent()) {
            (true, _, _) => (dest, own_name(found, link)?),
            // `out/` that is no directory: the user meant one.
            _ if dest.as_os_str().as_bytes().ends_with(b"/") => {
                return Err(Failure::new(Kind::Disk, format!("{} is not a directory", dest.display()))
                    .help("make it first, or leave out the slash"));
            }
            (false, Some(name), Some(parent)) => {
                let name = Name::new(name.as_bytes().to_vec());
                (
                    parent,
                    name.map_err(|e| Failure::new(Kind::Usage, format!("{}: {e}", dest.display())))?,
                )
            }
            _ => return Err(Failure::new(Kind::Usage, format!("{} cannot be a file", dest.display()))),
        };
        make(parent)?;
        let dir = Dir::open(parent)?;
        dir.check_writable()?;
        sweep(&dir);
        Ok(Place::Entry { dir, name })
    }

    /// The directory, or the one that the entry will stand in.
    pub(super) fn dir(&self) -> &Dir {
        let (Place::Directory { dir, .. } | Place::Entry { dir, .. }) = self;
        dir
    }

    /// As a directory with `meta`, ready to be written into.
    pub(super) fn directory(self, meta: &Meta) -> Result<Dir, Failure> {
        match self {
            Place::Directory { dir, ours: Ours::Yes } => dir.owned(meta),
            Place::Directory { dir, ours: Ours::No } => Ok(dir),
            Place::Entry { .. } => Err(super::twice()),
        }
    }

    /// As a name in a directory.
    pub(super) fn entry(self) -> Result<(Dir, Name), Failure> {
        match self {
            Place::Entry { dir, name } => Ok((dir, name)),
            Place::Directory { .. } => Err(super::twice()),
        }
    }
}

/// An attribute of a destination that is all ours and not yet finished: a run that takes up a killed one knows by it that mode and time are
/// still to be set. A filesystem without attributes forgets.
pub(super) mod mark {
    use ares_core::chunk::ReleaseId;
    use rustix::fs::XattrFlags;

    use super::Dir;

    /// `publish` leaves out what begins like this.
    const KEY: &str = "user.ares.unfinished";

    pub(super) fn is_on(dir: &Dir, release: ReleaseId) -> bool {
        let mut held = [0; 65];
        rustix::fs::fgetxattr(dir.fd(), KEY, &mut held[..]).is_ok_and(|len| held[..len] == *release.to_string().as_bytes())
    }

    pub(super) fn set(dir: &Dir, release: ReleaseId) {
        if let Err(e) = rustix::fs::fsetxattr(dir.fd(), KEY, release.to_string().as_bytes(), XattrFlags::empty()) {
            tracing::debug!("{} is not marked as unfinished: {e}", dir.path().display());
        }
    }

    /// There may be none.
    pub(in super::super) fn remove(dir: impl std::os::fd::AsFd) {
        let _ = rustix::fs::fremovexattr(dir, KEY);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Now,
    Before,
}

fn make(dir: &Path) -> Result<Made, Failure> {
    if dir.is_dir() {
        return Ok(Made::Before);
    }
    std::fs::create_dir_all(dir).map(|()| Made::Now).map_err(|e| {
        // `create_dir_all` says EEXIST of a file in the way.
        let is_file = dir.ancestors().find(|a| a.exists()).filter(|a| !a.is_dir());
        match is_file {
            Some(file) => Failure::new(
                Kind::Disk,
                format!("making {}: {} is not a directory", dir.display(), file.display()),
            )
            .help("choose another destination"),
            None => Failure::io("making", dir, &e),
        }
    })
}

/// What the file is called in the release; the name in a link comes from a stranger and must be one component.
fn own_name(found: &Found, link: &Link) -> Result<Name, Failure> {
    if let Some(name) = &found.name {
        return Ok(name.clone());
    }
    let name = Name::new(link.name.clone().into_bytes());
    name.map_err(|e| {
        Failure::new(Kind::Usage, format!("the link's name cannot be a file's: {e}")).help("name a file as DEST, not a directory")
    })
}

/// For errors: where an entry is.
pub(super) fn at(dir: &Path, name: &Name) -> PathBuf {
    dir.join(super::meta::os(name))
}
