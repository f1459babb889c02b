//! Decides whether a directory can take a mount, and clears away what a killed instance left there. Never touches a live mount.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

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

    use super::{FSTYPE, MountError, attach, canonical, info};
    pub use super::{Pulse, pulse};

    /// What `clean` found.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Cleaned {
        /// No dead mount of ours.
        Nothing,
        /// This many, detached; more than one where instances were killed one after the other.
        Detached(usize),
    }

    /// Detaches dead mounts of ours from `dir`. Live mounts, ours or others', those that do not answer, and dead ones of others stay.
    pub fn clean(dir: &Path) -> Result<Cleaned, MountError> {
        let dir = canonical(dir)?;
        let mut detached = 0;
        while let Some(line) = info::at(&dir) {
            if line.fstype != FSTYPE || pulse(&line.dir) != Pulse::Dead {
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

    /// What becomes of a mount that does not answer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Silent {
        /// Somebody else may take it over.
        Waits,
        /// Nobody will.
        Dead,
    }

    /// Detaches the dead mounts of ours that have this source, wherever they are seen, and says where. Those of other sources stay, and those
    /// that something else was mounted over. Those whose devices have these minor numbers live, though nobody answers yet: they are not asked.
    /// One of the others that does not answer waits for a server that is to come and take it over, where there may be one, or is dead as well: a
    /// process that was killed while it gave files to the kernel keeps the connection, and is gone only when that is broken off.
    pub fn clean_all(source: &str, live: &[u32], silent: Silent) -> Vec<Result<PathBuf, MountError>> {
        let dead = info::read().into_iter().rev().filter(|line| {
            let is_seen = || info::at(&line.dir).is_some_and(|top| top.device == line.device);
            let is_ours = line.fstype == FSTYPE && line.source == source && !live.contains(&line.device.1);
            is_ours
                && is_seen()
                && match pulse(&line.dir) {
                    Pulse::Lives => false,
                    Pulse::Silent => silent == Silent::Dead,
                    Pulse::Dead => true,
                }
        });
        let detach = |line: info::MountLine| match attach::detach_busy(&line.dir, line.device.1) {
            Ok(()) => Ok(line.dir),
            Err(error) => Err(MountError::Stale { dir: line.dir, error }),
        };
        dead.map(detach).collect()
    }

    /// Detaches the mount at `dir`, whoever uses it, and breaks its connection off: all who wait for its server are let go of.
    pub fn break_off(dir: &Path) -> Result<(), MountError> {
        let dir = canonical(dir)?;
        let Some(line) = info::at(&dir) else { return Ok(()) };
        attach::detach_busy(&dir, line.device.1).map_err(|error| MountError::Stale { dir, error })
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

/// What became of the server of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// It answers.
    Lives,
    /// The connection is over.
    Dead,
    /// The connection is there, and it did not answer.
    Silent,
}

/// Asks a mount something that its server answers at once, for a few seconds at most.
pub fn pulse(dir: &Path) -> Pulse {
    let (tell, told) = sync_channel(1);
    let dir = dir.to_owned();
    // Without an answer the thread is left behind: it ends with this process, or with the mount.
    let asks = move || tell.send(rustix::fs::statfs(&dir).err());
    match thread::Builder::new().name("ares-fs-pulse".into()).spawn(asks) {
        Ok(_) => match told.recv_timeout(SILENCE) {
            Ok(Some(rustix::io::Errno::NOTCONN)) => Pulse::Dead,
            Ok(_) => Pulse::Lives,
            Err(_) => Pulse::Silent,
        },
        Err(error) => {
            tracing::warn!(%error, "no thread to ask a mount: it is left as it is");
            Pulse::Lives
        }
    }
}

/// How long a server may take for an answer that takes it no time, on a busy machine.
const SILENCE: Duration = Duration::from_secs(5);

/// Flags of a detach that takes the mount out of sight whoever still uses it.
pub(super) const LAZY: UnmountFlags = UnmountFlags::DETACH.union(UnmountFlags::NOFOLLOW);
