//! Takes a FUSE mount away by the kernel, or by fusermount3 for ordinary users. Knows nothing of the mount's daemon.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::UnmountFlags;

use crate::admin::proto::Force;
use crate::error::{Failure, Kind};

/// What the kernel says about the mounts that this process sees (proc_pid_mountinfo(5)).
pub(crate) const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Takes the mount at `dir` away.
pub(crate) fn unmount(dir: &Path, force: Force) -> Result<(), Failure> {
    let flags = match force {
        Force::IfIdle => UnmountFlags::NOFOLLOW,
        Force::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    let error = match rustix::mount::unmount(dir, flags) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::PERM) => match by_helper(dir, force, flags) {
            Ok(()) => return Ok(()),
            Err(text) => text,
        },
        Err(e) => crate::error::plain(&io::Error::from(e)),
    };
    let is_busy = error.to_lowercase().contains("busy");
    let help = if is_busy {
        "close what uses it (`fuser -vm` names it), or take it away all the same with --lazy"
    } else {
        "run as the user that mounted it, or as root"
    };
    Err(Failure::new(Kind::Mount, format!("unmounting {}: {error}", dir.display())).help(help))
}

/// Ordinary users unmount through the set-uid helper of fuse3, and the system's daemon through its own.
fn by_helper(dir: &Path, force: Force, flags: UnmountFlags) -> Result<(), String> {
    if let Some(unmounted) = ares_fs::unmount_by_helper(dir, flags) {
        return unmounted.map_err(|e| e.to_string());
    }
    let mut command = Command::new("fusermount3");
    command.arg(match force {
        Force::IfIdle => "-u",
        Force::Lazy => "-uz",
    });
    let output = command.arg("--").arg(dir).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("fusermount3: {}", crate::error::plain(&e)))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Type of the filesystem mounted at `dir` by a table like /proc/self/mountinfo (proc_pid_mountinfo(5)); the topmost where there are several.
pub(crate) fn fstype_at(mountinfo: &[u8], dir: &Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut found = None;
    for line in mountinfo.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b' ');
        let is_here = fields.nth(4).is_some_and(|at| unescape(at) == dir.as_os_str().as_bytes());
        // Optional fields end with a single dash; the type follows it.
        let mut rest = fields.skip_while(|f| *f != b"-");
        if is_here && rest.next().is_some() {
            found = rest.next().map(|t| String::from_utf8_lossy(t).into_owned());
        }
    }
    found
}

/// Space, tab, newline and backslash are written as `\ooo` there.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let octal = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let value = octal
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(value.unwrap_or(field[at]));
        at += if value.is_some() { 4 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_mount_of_a_point_is_found_whatever_its_name() {
        let table = b"22 1 0:21 / /proc rw,nosuid shared:5 - proc proc rw\n\
            30 1 8:1 / /mnt/x rw - ext4 /dev/sda1 rw\n\
            31 1 0:50 / /mnt/x ro shared:1 master:2 - fuse.ares ares ro,user_id=0\n\
            32 1 0:51 / /mnt/a\\040b\\134 ro - fuse ares ro\n";
        let check = |dir: &str, expect: Option<&str>| assert_eq!(fstype_at(table, Path::new(dir)).as_deref(), expect, "{dir}");
        check("/mnt/x", Some("fuse.ares"));
        check("/mnt/a b\\", Some("fuse"));
        check("/proc", Some("proc"));
        check("/mnt", None);
        check("/", None);
    }
}
