//! Why a release cannot be mounted or a mount not taken away. Each names the guilty and the remedy.

use std::io;
use std::path::PathBuf;

use ares_core::manifest::ManifestError;

/// Why there is no mount.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The release cannot be shown.
    #[error(transparent)]
    Release(#[from] ManifestError),
    /// No FUSE in this kernel or container.
    #[error(
        "/dev/fuse does not exist: load the kernel module (`modprobe fuse`), or give the container the device (`--device /dev/fuse`)"
    )]
    NoDevice,
    /// FUSE is there and closed to this user.
    #[error(
        "/dev/fuse cannot be opened: {error}; it wants mode 0666 (`chmod 666 /dev/fuse`), or, in a container, a device rule that allows it"
    )]
    DeviceDenied {
        /// The kernel's answer.
        error: io::Error,
    },
    /// An ordinary user needs the set-uid helper.
    #[error(
        "this user may not mount without `fusermount3`, which is not installed: install fuse3 (`apt install fuse3`, `dnf install fuse3`), or mount as root"
    )]
    NoHelper,
    /// The helper is there and cannot be run.
    #[error("{} cannot be run: {error}; reinstall fuse3, or mount as root", helper.display())]
    HelperBroken {
        /// Its file.
        helper: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The helper said no.
    #[error("fusermount3 refused to mount on {}: {says}", dir.display())]
    HelperRefused {
        /// The mount point.
        dir: PathBuf,
        /// Its own words.
        says: String,
    },
    /// The helper of the system's daemon said no.
    #[error("the mount helper (ares-mount.socket) refused to mount on {}: {says}", dir.display())]
    ServiceRefused {
        /// The mount point.
        dir: PathBuf,
        /// Its own words.
        says: String,
    },
    /// Ordinary users may not open mounts to others here.
    #[error(
        "users may not open their mounts to others here: add the line `user_allow_other` to /etc/fuse.conf, or mount for yourself only"
    )]
    OthersForbidden,
    /// The kernel said no.
    #[error("the kernel refused to mount on {}: {error}{}", dir.display(), refusal_hint(error))]
    Refused {
        /// The mount point.
        dir: PathBuf,
        /// Its answer.
        error: io::Error,
    },
    /// Nothing there.
    #[error("mount point {} does not exist: make it first (`mkdir -p`)", dir.display())]
    Missing {
        /// The mount point.
        dir: PathBuf,
    },
    /// Something else there.
    #[error("mount point {} is not a directory", dir.display())]
    NotDirectory {
        /// The mount point.
        dir: PathBuf,
    },
    /// Something in it.
    #[error("mount point {} is not empty: what is in it would vanish from sight; choose another, or allow covering it", dir.display())]
    NotEmpty {
        /// The mount point.
        dir: PathBuf,
    },
    /// Something mounted there already.
    #[error("{} is a mount point already ({fstype} from {from}): unmount that first (`umount {}`)", dir.display(), dir.display())]
    AlreadyMounted {
        /// The mount point.
        dir: PathBuf,
        /// Filesystem type of what is there.
        fstype: String,
        /// Source of what is there.
        from: String,
    },
    /// Out of sight.
    #[error("mount point {} cannot be used: {error}", dir.display())]
    Inaccessible {
        /// The mount point.
        dir: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The remains of a killed instance that could not be cleared away.
    #[error("{} holds the dead mount of an earlier, killed instance, and it cannot be detached: {error}; as root: `umount -l {}`", dir.display(), dir.display())]
    Stale {
        /// The mount point.
        dir: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The kernel and we did not come to terms.
    #[error("the FUSE session on {} failed to start: {error}; `ares doctor` tells what this kernel lacks", dir.display())]
    Session {
        /// The mount point.
        dir: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
}

/// Why a release is not shown under a name.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// The release cannot be shown.
    #[error(transparent)]
    Release(#[from] ManifestError),
    /// No file can be called that.
    #[error("{name:?} cannot be a name in a directory")]
    BadName {
        /// What was asked for.
        name: String,
    },
    /// It is a mount of one release.
    #[error("{} shows one release and has no names", dir.display())]
    NoNames {
        /// The mount point.
        dir: PathBuf,
    },
    /// Another release has the name.
    #[error("{} has something called {name} already", dir.display())]
    Taken {
        /// The mount point.
        dir: PathBuf,
        /// The name.
        name: String,
    },
    /// All numbers are taken.
    #[error("{} has been given millions of releases and takes no more: unmount it, and mount it again", dir.display())]
    Full {
        /// The mount point.
        dir: PathBuf,
    },
    /// More entries than a mount of many can number.
    #[error("the release has too many entries to be shown beside others: mount it by itself")]
    TooLarge,
}

/// Why a mount is still there.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// Something was mounted over it.
    #[error("{} is covered by another mount ({fstype} from {from}): unmount that first (`umount {}`)", dir.display(), dir.display())]
    Covered {
        /// The mount point.
        dir: PathBuf,
        /// Filesystem type of what covers it.
        fstype: String,
        /// Source of what covers it.
        from: String,
    },
    /// The kernel or the helper said no.
    #[error("{} cannot be unmounted: {error}; as root: `umount -l {}`", dir.display(), dir.display())]
    Refused {
        /// The mount point.
        dir: PathBuf,
        /// The answer.
        error: io::Error,
    },
}

/// What the bare errno does not say.
fn refusal_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; mounting wants CAP_SYS_ADMIN or a set-uid fusermount3: in a container `--cap-add SYS_ADMIN`, in a service no NoNewPrivileges"
        }
        Some(libc::ENODEV) => "; this kernel has no FUSE: `modprobe fuse`",
        Some(libc::ENOSPC) => "; too many mounts: raise fs.mount-max",
        _ => "",
    }
}
