//! What a mount can be told, and the figures it uses where it is not.

use std::sync::Arc;
use std::time::Duration;

use ares_core::profile::Profile;

use crate::Figures;

/// How a release is mounted.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// What the release is called, as its link says. A release of a single file is shown as a directory with one file of this name.
    pub name: String,
    /// What `df` shows as its source: letters, digits and colons. Whoever starts after a kill knows its own dead mounts by it (`stale::clean_all`).
    pub source: String,
    /// Who may look into the mount.
    pub access: Access,
    /// Whose everything in it is, and with which permission bits.
    pub permissions: Permissions,
    /// What to do with a mount point that has something in it.
    pub cover: Cover,
    /// How long a request may wait for bytes before it ends with EIO. Every read, lookup and listing is bounded by it.
    pub patience: Duration,
    /// Threads that take requests from the kernel. They never wait for bytes, so a few are enough.
    pub threads: usize,
    /// What those take requests by.
    pub descriptors: Descriptors,
    /// Whether the kernel reads whole files by itself.
    pub passthrough: Passthrough,
    /// How requests and answers go between the kernel and us.
    pub transport: Transport,
    /// Bytes of content chunks kept in memory for reads that come soon: what the kernel asks for is smaller than a chunk.
    pub cache_bytes: u64,
    /// What is fetched ahead of whoever reads.
    pub prefetch: Prefetch,
    /// Where it is counted what the kernel asks, maybe together with other mounts.
    pub figures: Arc<Figures>,
}

/// Whether the kernel reads files that are held whole by itself (FUSE passthrough, Linux 6.9, root only). To decide that at every
/// open we must be told of opens, and where the kernel tells of one it tells of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passthrough {
    /// Where the files of the release are large enough on average for it to pay.
    WherePays,
    /// Wherever the kernel lets us.
    Always,
    /// Not at all.
    Never,
}

/// What the threads of a mount take requests by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// A descriptor for each: they disturb each other less. What was taken by them ends with this process, and whoever asked has an error.
    Each,
    /// One for all. As long as somebody else has it too, nothing that was asked is lost with this process (Linux 6.9).
    One,
}

/// How requests and answers go between the kernel and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By reading and writing /dev/fuse.
    Device,
    /// By io_uring, where the kernel offers it (Linux 6.14, its parameter `enable_uring`); else as `Device`.
    Ring,
    /// The same as the crate `fuser` does it: whoever waits for bytes cannot be interrupted.
    Fuser,
}

/// Which access profile a mount fetches ahead, behind everything that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// The one that is attached to what is mounted, where one is.
    OfRelease,
    /// None.
    Nothing,
    /// This one.
    This(Profile),
}

/// Who may look into a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The user who mounted it, and nobody else, not even root: what FUSE does where it is not told otherwise.
    Mounter,
    /// Everybody whom the modes in the release allow. Ordinary users need `user_allow_other` in /etc/fuse.conf for it.
    Everyone,
}

/// What to do with a mount point that is not an empty directory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// Refuse: what is in it would vanish from sight.
    Refuse,
    /// Mount over it.
    Allow,
}

/// Owner and permission bits that everything in a mount is shown with, where they are not the mounter and those of the release. Links have
/// all bits, as ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// User number; `None`: the mounter's.
    pub user: Option<u32>,
    /// Group number; `None`: the mounter's.
    pub group: Option<u32>,
    /// Bits of all files in place of the release's.
    pub file_mode: Option<u16>,
    /// Bits of all directories in place of the release's.
    pub dir_mode: Option<u16>,
    /// Bits taken away from all, at last.
    pub umask: u16,
}

/// What of a mount may be changed while it is used. Where nobody does, cache and patience are as in [`MountOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuned {
    /// How long requests may wait for bytes, from the next on; `None`: as before.
    pub patience: Option<Duration>,
    /// Bytes of content chunks kept in memory; half of it for each release that is shown beside others.
    pub cache_bytes: u64,
    /// Bytes fetched ahead of whoever reads on in a file, at most.
    pub lookahead_bytes: u64,
}

/// Of what a mount may keep in memory, what one release among others may.
pub(crate) const fn shared_cache_bytes(cache_bytes: u64) -> u64 {
    cache_bytes / 2
}

impl Tuned {
    /// As of one release among others, which share what a mount may keep in memory.
    pub(crate) fn shared(self) -> Self {
        Self {
            cache_bytes: shared_cache_bytes(self.cache_bytes),
            ..self
        }
    }
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            name: String::from("release"),
            source: String::from("ares"),
            access: Access::Mounter,
            permissions: Permissions::default(),
            cover: Cover::Refuse,
            patience: Duration::from_secs(30),
            threads: 2,
            descriptors: Descriptors::Each,
            passthrough: Passthrough::WherePays,
            transport: Transport::Device,
            cache_bytes: 64 << 20,
            prefetch: Prefetch::OfRelease,
            figures: Arc::default(),
        }
    }
}
