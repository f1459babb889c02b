//! How a release is mounted, as it is asked for on the admin socket and remembered in the state directory. Old files are read by new code: what
//! is added has a default.

use serde::{Deserialize, Serialize};

use super::proto::Raw;

/// What becomes of a mount when the command that asked for it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stay {
    /// The mount ends with the command.
    Attached,
    /// The mount stays until `umount` or the daemon's end.
    Detached,
}

/// Who may enter a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Audience {
    /// The user that mounts.
    Owner,
    /// Everybody, by the modes of the files.
    Everyone,
}

/// Whether the kernel reads whole files by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Passthrough {
    /// Where it pays.
    Auto,
    /// Wherever it can.
    Always,
    /// Not at all.
    Never,
}

/// How a mount speaks with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    /// Over /dev/fuse.
    Dev,
    /// By io_uring, where the kernel offers it.
    Uring,
    /// The same, by the crate `fuser`.
    Fuser,
}

/// How hard a mount is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Force {
    /// Only if nobody uses it.
    IfIdle,
    /// At once; open files go on until closed.
    Lazy,
}

/// Where a mount's bytes may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reach {
    /// From the store, and from peers what it lacks.
    #[default]
    Swarm,
    /// From the store alone: what it lacks cannot be read.
    Store,
}

/// Which access profile a mount fetches ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Prefetch {
    /// The one that is attached to what is mounted.
    #[default]
    OfRelease,
    /// None.
    Nothing,
    /// This text.
    This(Raw),
}

/// Owner and permission bits in place of the mounter and those of the release; `None` leaves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Modes {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Bits of all files.
    pub(crate) file: Option<u16>,
    /// Bits of all directories.
    pub(crate) dir: Option<u16>,
    /// Bits taken away from all.
    pub(crate) umask: u16,
}

/// How a mount is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountHow {
    pub(crate) audience: Audience,
    pub(crate) passthrough: Passthrough,
    pub(crate) transport: Transport,
    /// As long as its requests wait whatever `read-patience` says.
    pub(crate) patience_ms: Option<u64>,
    /// As `df` shows it; else the release's.
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) reach: Reach,
    #[serde(default)]
    pub(crate) modes: Modes,
    #[serde(default)]
    pub(crate) prefetch: Prefetch,
}
