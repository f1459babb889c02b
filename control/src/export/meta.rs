//! Modes, times and attributes of what was written, set through descriptors. Sets only what differs: the store watches the change
//! time of files that it serves in place.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

use ares_core::manifest::{Meta, Mtime, Name};
use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::dir::Dir;
use crate::error::Failure;

/// A name as the operating system takes it.
pub(super) fn os(name: &Name) -> &OsStr {
    OsStr::from_bytes(name.as_bytes())
}

fn times(mtime: Mtime) -> Timestamps {
    let keep = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    };
    Timestamps {
        last_access: keep,
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: i64::from(mtime.nanos),
        },
    }
}

/// Sets attributes, mode and time of an open file or directory, in the order in which none undoes another.
pub(super) fn file(file: &std::fs::File, meta: &Meta) -> io::Result<()> {
    let fd = file.as_fd();
    for xattr in &meta.xattrs {
        let key = OsStr::from_bytes(&xattr.key);
        // Longer than any value: the kernel's limit is 64 KiB.
        let mut held = vec![0; xattr.value.len() + 1];
        if rustix::fs::fgetxattr(fd, key, &mut held[..]).is_ok_and(|n| held[..n] == xattr.value[..]) {
            continue;
        }
        match rustix::fs::fsetxattr(fd, key, &xattr.value, XattrFlags::empty()) {
            // A filesystem without user attributes keeps the rest.
            Err(Errno::NOTSUP | Errno::PERM) => {
                tracing::warn!("attribute {} not kept: this filesystem has none", key.to_string_lossy())
            }
            other => other?,
        }
    }
    let stat = rustix::fs::fstat(fd)?;
    if stat.st_mode & 0o7777 != u32::from(meta.mode) {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(u32::from(meta.mode)))?;
    }
    if (stat.st_mtime, stat.st_mtime_nsec as u64) != (meta.mtime.secs, u64::from(meta.mtime.nanos)) {
        rustix::fs::futimens(fd, &times(meta.mtime))?;
    }
    Ok(())
}

/// Sets the time of a symlink: it has nothing else.
pub(super) fn symlink(dir: &Dir, name: &Name, meta: &Meta) -> Result<(), Failure> {
    let set = rustix::fs::utimensat(dir.fd(), os(name), &times(meta.mtime), AtFlags::SYMLINK_NOFOLLOW);
    set.map_err(|e| Failure::io("setting the time of", &super::place::at(dir.path(), name), &e.into()))
}
