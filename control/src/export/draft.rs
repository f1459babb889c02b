//! A file that is not there yet: written without its name, which it gets when it is whole.
//!
//! A large one has no name at all (O_TMPFILE), so that a kill leaves nothing of it. A small one has a draft's name instead, because on ext4
//! making and linking a nameless file costs four times as much (88 against 20 us of system time); the one draft that a kill can leave
//! behind is swept by the next run.

use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ares_core::manifest::{Meta, Name};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::dir::{Dir, disk};
use super::meta::{self, os};
use super::place::at;
use crate::admin::proto::Overwrite;
use crate::error::Failure;

/// What the names of drafts begin with; process and number follow.
const PREFIX: &str = ".ares-draft-";

/// A file in the making.
pub(super) struct Draft {
    dir: Dir,
    name: Name,
    pub(super) file: File,
    /// Its temporary name, on filesystems where a file cannot be without one.
    temporary: Option<String>,
}

impl Draft {
    /// An empty file in `dir` that will be `name`, for a large file: a kill leaves nothing of it where the filesystem has O_TMPFILE.
    pub(super) fn large(dir: &Dir, name: &Name) -> Result<Self, Failure> {
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::openat(dir.fd(), ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
            Ok(fd) => Ok(Self::of(dir, name, fd, None)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => Self::named(dir, name, mode),
            Err(e) => Err(disk("making", &at(dir.path(), name), &e.into())),
        }
    }

    /// An empty file in `dir` that will be `name` and have `meta`, for a small file.
    pub(super) fn small(dir: &Dir, name: &Name, meta: &Meta) -> Result<Self, Failure> {
        // Its own mode at once saves a call per file; attributes can only be set while it may be written to.
        let is_plain = meta.xattrs.is_empty();
        let mode = if is_plain { u32::from(meta.mode) } else { 0o600 };
        Self::named(dir, name, Mode::from_raw_mode(mode))
    }

    fn named(dir: &Dir, name: &Name, mode: Mode) -> Result<Self, Failure> {
        let temporary = draft_name();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir.fd(), &temporary, flags, mode);
        let fd = fd.map_err(|e| disk("making", &at(dir.path(), name), &e.into()))?;
        Ok(Self::of(dir, name, fd, Some(temporary)))
    }

    fn of(dir: &Dir, name: &Name, fd: OwnedFd, temporary: Option<String>) -> Self {
        Self {
            dir: dir.clone(),
            name: name.clone(),
            file: File::from(fd),
            temporary,
        }
    }

    /// What it will be.
    pub(super) fn path(&self) -> PathBuf {
        at(self.dir.path(), &self.name)
    }

    /// Gives it its mode, times, attributes and its name.
    pub(super) fn publish(mut self, meta: &Meta, overwrite: Overwrite) -> Result<(), Failure> {
        let path = self.path();
        meta::file(&self.file, meta).map_err(|e| disk("setting mode and time of", &path, &e))?;
        let fd = self.dir.fd();
        if let (None, Overwrite::Replace) = (&self.temporary, overwrite) {
            // A nameless file cannot take a name that is in use: it gets one of its own first.
            let temporary = draft_name();
            self.link(&temporary)?;
            self.temporary = Some(temporary);
        }
        let named = match (&self.temporary, overwrite) {
            (None, _) => return self.link(os(&self.name)),
            (Some(temporary), Overwrite::Refuse) => {
                match rustix::fs::renameat_with(fd, temporary, fd, os(&self.name), RenameFlags::NOREPLACE) {
                    // Some filesystems only know how to replace; that the name was free was seen a moment ago.
                    Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(fd, temporary, fd, os(&self.name)),
                    other => other,
                }
            }
            (Some(temporary), Overwrite::Replace) => rustix::fs::renameat(fd, temporary, fd, os(&self.name)),
        };
        named.map_err(|e| disk("writing", &path, &e.into()))?;
        self.temporary = None;
        Ok(())
    }

    /// Through /proc, which any user may do (open(2), O_TMPFILE).
    fn link(&self, name: impl rustix::path::Arg) -> Result<(), Failure> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let linked = rustix::fs::linkat(CWD, own, self.dir.fd(), name, AtFlags::SYMLINK_FOLLOW);
        linked.map_err(|e| disk("writing", &self.path(), &e.into()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What stays behind is a hidden file that says whose it is.
            let _ = rustix::fs::unlinkat(self.dir.fd(), temporary, AtFlags::empty());
        }
    }
}

/// A name of its own: process and number.
pub(super) fn draft_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed))
}

/// Removes drafts of processes that are no more from a directory that was there before. What cannot be removed is in nobody's way.
pub(super) fn sweep(dir: &Dir) {
    let Ok(entries) = rustix::fs::Dir::read_from(dir.fd()) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        let process = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
            .map(|(pid, _)| pid);
        let is_dead = |pid: &str| pid.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(pid).exists();
        if process.is_some_and(is_dead) {
            tracing::info!("removing {name}, which a killed run left in {}", dir.path().display());
            let _ = rustix::fs::unlinkat(dir.fd(), name, AtFlags::empty());
        }
    }
}
