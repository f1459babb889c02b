//! Mounts and unmounts: mount(2) where we may, else the set-uid helper fusermount3. Never decides where or what.
//!
//! The crate fuser could mount as well. It is not used for it because its unmounting goes by the directory's name alone and may hit what
//! somebody else mounted there later, because it turns names that are not UTF-8 into others, and because its errors do not say
//! which of device, helper, configuration and mount point was at fault.
//!
//! `auto_unmount` is not used: it keeps a helper process per mount, wants `allow_other`, and dies with the service's control
//! group. The mount of a killed instance is cleared away by the next one instead (`stale::clean`).

use std::ffi::CString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};
use rustix::path::Arg;

use super::error::MountError;
use super::helper;
use super::place::{FSTYPE, LAZY};
use crate::options::Access;

/// The device that FUSE servers talk through.
pub(super) const DEVICE: &str = "/dev/fuse";
/// Where the helper is looked for besides `PATH`: services and cron have a short one.
const HELPER_DIRS: [&str; 5] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];

/// Mounts on `dir` and gives the connection to the kernel.
pub(super) fn attach(dir: &Path, source: &str, access: Access) -> Result<OwnedFd, MountError> {
    let device = match open_device() {
        Ok(device) => device,
        Err(error) => {
            let denied = match error.kind() {
                io::ErrorKind::NotFound => MountError::NoDevice,
                _ => MountError::DeviceDenied { error },
            };
            return helper::mount(dir, source, access).unwrap_or(Err(denied));
        }
    };
    let refused = match attach_direct(dir, source, &device, access) {
        Ok(()) => return Ok(device),
        Err(error) => error,
    };
    let error = io::Error::from(refused);
    if refused != rustix::io::Errno::PERM {
        return Err(MountError::Refused { dir: dir.into(), error });
    }
    drop(device);
    if let Some(mounted) = helper::mount(dir, source, access) {
        return mounted;
    }
    match find_helper() {
        Some(helper) => attach_by_helper(dir, source, &helper, access),
        // Root without the right to mount is in a container: the helper would not help.
        None if rustix::process::geteuid().is_root() => Err(MountError::Refused { dir: dir.into(), error }),
        None => Err(MountError::NoHelper),
    }
}

/// A descriptor that is not connected yet.
pub(super) fn open_device() -> io::Result<OwnedFd> {
    Ok(std::fs::OpenOptions::new().read(true).write(true).open(DEVICE)?.into())
}

fn attach_direct(dir: &Path, source: &str, device: &OwnedFd, access: Access) -> rustix::io::Result<()> {
    let mode = rustix::fs::stat(dir)?.st_mode;
    let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    mount(dir, source, device, mode, owner, access)
}

/// Mounts on what is a directory of this mode, for this user and group.
pub(super) fn mount(
    dir: impl Arg,
    source: impl Arg,
    device: &OwnedFd,
    mode: u32,
    (user, group): (u32, u32),
    access: Access,
) -> rustix::io::Result<()> {
    let (fd, others) = (device.as_raw_fd(), others_option(access));
    let data = format!("fd={fd},rootmode={mode:o},user_id={user},group_id={group},default_permissions{others}");
    let data = CString::new(data).map_err(|_| rustix::io::Errno::INVAL)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(source, dir, FSTYPE, flags, data.as_c_str())
}

/// One more option of a mount.
const fn others_option(access: Access) -> &'static str {
    match access {
        Access::Mounter => "",
        Access::Everyone => ",allow_other",
    }
}

pub(super) fn find_helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(HELPER_DIRS.iter().map(PathBuf::from))
        .collect();
    let is_program = |file: &PathBuf| std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    ["fusermount3", "fusermount"]
        .iter()
        .find_map(|name| dirs.iter().map(|dir| dir.join(name)).find(is_program))
}

/// The helper mounts with root's rights and sends the connection over a socket, which is its standard input here: so no other
/// child of this process inherits it.
fn attach_by_helper(dir: &Path, source: &str, helper: &Path, access: Access) -> Result<OwnedFd, MountError> {
    let broken = |error: io::Error| MountError::HelperBroken {
        helper: helper.into(),
        error,
    };
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(|e| broken(e.into()))?;
    // A comma would begin another option.
    assert!(
        source.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':'),
        "{source:?} as a source"
    );
    let others = others_option(access);
    let options = format!("ro,nosuid,nodev,default_permissions,fsname={source},subtype=ares{others}");
    let output = Command::new(helper)
        .arg("-o")
        .arg(options)
        .arg("--")
        .arg(dir)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(broken)?;
    if let Some(connection) = receive_fd(&ours).map_err(|e| broken(e.into()))? {
        return Ok(connection);
    }
    let says = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if says.contains("user_allow_other") {
        MountError::OthersForbidden
    } else if says.is_empty() {
        let error = io::Error::other(format!("it ended with {} and no word", output.status));
        broken(error)
    } else {
        MountError::HelperRefused { dir: dir.into(), says }
    })
}

/// The descriptor that was sent, if one was. The sender has ended: nothing is waited for.
fn receive_fd(socket: &OwnedFd) -> rustix::io::Result<Option<OwnedFd>> {
    let mut byte = [0_u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    match recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags) {
        Err(rustix::io::Errno::AGAIN) => return Ok(None),
        other => other?,
    };
    Ok(first_fd(&mut control))
}

/// Of those that came with a message.
pub(super) fn first_fd(control: &mut RecvAncillaryBuffer<'_>) -> Option<OwnedFd> {
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.next()?.next()
}

/// Takes a mount away that nobody uses. EBUSY where somebody does.
pub(super) fn detach_idle(dir: &Path) -> io::Result<()> {
    match rustix::mount::unmount(dir, UnmountFlags::NOFOLLOW) {
        Err(rustix::io::Errno::PERM) => match helper_unmount(dir, UnmountFlags::empty()) {
            // The helper says why in words only; the one case that has another way out is a busy mount.
            Err(error) if error.to_string().contains("busy") => Err(rustix::io::Errno::BUSY.into()),
            other => other.map(drop),
        },
        other => Ok(other?),
    }
}

/// Takes a mount out of sight whoever uses it.
pub(super) fn detach(dir: &Path) -> io::Result<()> {
    match rustix::mount::unmount(dir, LAZY) {
        Err(rustix::io::Errno::PERM) => helper_unmount(dir, LAZY).map(drop),
        other => Ok(other?),
    }
}

/// Takes our mount at `dir` out of sight whoever uses it, and ends its connection (FUSE device number `minor`): every request
/// fails at once, every thread is let go. Root and the mount helper need nothing else for it; by fusermount3 it takes fusectl on
/// /sys/fs/fuse/connections, and where that is not mounted the log says so and the connection ends with the last open file.
pub(super) fn detach_busy(dir: &Path, minor: u32) -> io::Result<()> {
    // MNT_FORCE is what aborts.
    match rustix::mount::unmount(dir, UnmountFlags::FORCE | LAZY) {
        Err(rustix::io::Errno::PERM) => match helper_unmount(dir, UnmountFlags::FORCE | LAZY)? {
            Helper::Ours => return Ok(()),
            Helper::Fusermount => {}
        },
        other => return Ok(other?),
    }
    let file = format!("/sys/fs/fuse/connections/{minor}/abort");
    if let Err(error) = std::fs::write(&file, "1") {
        let remedy = "mount -t fusectl fusectl /sys/fs/fuse/connections";
        tracing::warn!(file, %error, remedy, "out of sight, but its connection lives until the last open file is closed");
    }
    Ok(())
}

/// Who unmounts for those who may not.
enum Helper {
    /// A process of root that `help_to_mount`; it breaks off what it takes away whoever uses it.
    Ours,
    /// fusermount3, which leaves the connection.
    Fusermount,
}

fn helper_unmount(dir: &Path, how: UnmountFlags) -> io::Result<Helper> {
    if let Some(unmounted) = helper::unmount_by_helper(dir, how) {
        return unmounted.map(|()| Helper::Ours);
    }
    let Some(helper) = find_helper() else {
        return Err(io::Error::other("fusermount3 is not installed (install fuse3)"));
    };
    let output = Command::new(helper)
        .arg(if how.contains(UnmountFlags::DETACH) { "-uz" } else { "-u" })
        .arg("--")
        .arg(dir)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(Helper::Fusermount);
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Lets the kernel read this far ahead. Root only; others stay with the kernel's 128 KiB.
pub(super) fn raise_readahead(device: (u32, u32), kib: u32) {
    let file = format!("/sys/class/bdi/{}:{}/read_ahead_kb", device.0, device.1);
    if let Err(error) = std::fs::write(&file, kib.to_string()) {
        tracing::debug!(file, %error, "the kernel's readahead stays as it is");
    }
}
