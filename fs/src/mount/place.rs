//! Decides whether a directory can take a mount, and clears away what a killed instance left there. Never touches a live mount.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;

use super::error::MountError;
use super::{attach, info};
use crate::options::Cover;

/// Filesystem type of our mounts in /proc/mounts.
pub const FSTYPE: &str = "fuse.ares";

/// Clearing away the mounts of killed instances: a process that dies by SIGKILL leaves its mount behind, and everyone who looks
/// there gets "Transport endpoint is not connected".
pub mod stale {
    use std::io;
    use std::path::{Path, PathBuf};

    use super::{MountError, attach, canonical, info, is_ours_and_dead};

    /// What `clean` found.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Cleaned {
        /// No dead mount of ours.
        Nothing,
        /// This many, detached; more than one where instances were killed one after the other.
        Detached(usize),
    }

    /// Detaches dead mounts of ours from `dir`. Live mounts, ours or others', and dead ones of others stay.
    pub fn clean(dir: &Path) -> Result<Cleaned, MountError> {
        let dir = canonical(dir)?;
        let mut detached = 0;
        while let Some(line) = info::at(&dir) {
            if !is_ours_and_dead(&line) {
                break;
            }
            if detached == MOUNTS_MAX {
                let error = io::Error::other("it is still there after many attempts");
                return Err(MountError::Stale { dir, error });
            }
            if let Err(error) = attach::detach(&dir) {
                return Err(MountError::Stale { dir, error });
            }
            tracing::warn!(dir = %dir.display(), "detached the dead mount of an earlier, killed instance");
            detached += 1;
        }
        Ok(if detached == 0 {
            Cleaned::Nothing
        } else {
            Cleaned::Detached(detached)
        })
    }

    /// Detaches the dead mounts of ours that have this source, wherever they are seen, and says where. Those of other sources stay, and those
    /// that something else was mounted over. Those whose devices have these minor numbers live, though nobody answers yet: they are not asked.
    pub fn clean_all(source: &str, live: &[u32]) -> Vec<Result<PathBuf, MountError>> {
        let dead = info::read().into_iter().rev().filter(|line| {
            let is_seen = || info::at(&line.dir).is_some_and(|top| top.device == line.device);
            line.source == source && !live.contains(&line.device.1) && is_seen() && is_ours_and_dead(line)
        });
        let detach = |line: info::MountLine| match attach::detach(&line.dir) {
            Ok(()) => Ok(line.dir),
            Err(error) => Err(MountError::Stale { dir: line.dir, error }),
        };
        dead.map(detach).collect()
    }

    /// Dead mounts on one directory that are cleared before we suspect that detaching does nothing.
    const MOUNTS_MAX: usize = 16;
}

/// Makes sure that `dir` can take a mount, and gives its absolute name without links.
pub(super) fn prepare(dir: &Path, cover: Cover) -> Result<PathBuf, MountError> {
    stale::clean(dir)?;
    let dir = canonical(dir)?;
    if cover == Cover::Refuse
        && let Some(line) = info::at(&dir)
    {
        return Err(MountError::AlreadyMounted {
            dir,
            fstype: line.fstype,
            from: line.source,
        });
    }
    let meta = match std::fs::metadata(&dir) {
        Ok(meta) => meta,
        Err(error) => return Err(inaccessible(&dir, error)),
    };
    if !meta.is_dir() {
        return Err(MountError::NotDirectory { dir });
    }
    match std::fs::read_dir(&dir).and_then(|mut entries| entries.next().transpose()) {
        Ok(Some(_)) if cover == Cover::Refuse => Err(MountError::NotEmpty { dir }),
        Ok(_) => Ok(dir),
        Err(error) => Err(inaccessible(&dir, error)),
    }
}

/// The name without links. The last component is not looked into where it can be helped: it may be a dead mount.
fn canonical(dir: &Path) -> Result<PathBuf, MountError> {
    let absolute = std::path::absolute(dir).map_err(|error| inaccessible(dir, error))?;
    if info::at(&absolute).is_some() {
        return Ok(absolute);
    }
    let dead_below = |parent: &Path, name: &OsStr| {
        let whole = parent.canonicalize().ok()?.join(name);
        info::at(&whole).is_some().then_some(whole)
    };
    if let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name())
        && let Some(whole) = dead_below(parent, name)
    {
        return Ok(whole);
    }
    absolute.canonicalize().map_err(|error| inaccessible(&absolute, error))
}

fn inaccessible(dir: &Path, error: io::Error) -> MountError {
    let dir = dir.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => MountError::Missing { dir },
        io::ErrorKind::NotADirectory => MountError::NotDirectory { dir },
        _ => MountError::Inaccessible { dir, error },
    }
}

/// A dead FUSE mount answers everything with ENOTCONN: its process is gone.
fn is_ours_and_dead(line: &info::MountLine) -> bool {
    line.fstype == FSTYPE && matches!(rustix::fs::statfs(&line.dir), Err(rustix::io::Errno::NOTCONN))
}

/// Flags of a detach that takes the mount out of sight whoever still uses it.
pub(super) const LAZY: UnmountFlags = UnmountFlags::DETACH.union(UnmountFlags::NOFOLLOW);
