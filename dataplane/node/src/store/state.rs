//! The state directory itself: made where absent, refused where it cannot be trusted. Never looks at what is inside.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The state directory cannot be used. Nothing in it was touched.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The path names something else.
    #[error("state directory {}: it exists and is not a directory; name another with --state", .0.display())]
    NotADirectory(PathBuf),
    /// Anybody could replace the identity and the journal.
    #[error("state directory {}: mode {mode:04o} lets any user of this machine write to it; run: chmod 700 {}", .path.display(), .path.display())]
    WorldWritable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user, who could replace the identity and the journal; and what root wrote there the owner could not read.
    #[error("state directory {}: owned by uid {owner}, and this process runs as uid {uid}; run as its owner (sudo -u '#{owner}' ..), start its daemon and ask that, or name another with --state", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// The filesystem is mounted read-only.
    #[error("state directory {}: the filesystem is read-only; remount it or name another with --state", .0.display())]
    ReadOnly(PathBuf),
    /// The kernel refuses us.
    #[error("state directory {}: permission denied while trying to {what}; run as its owner or name another with --state", .path.display())]
    Denied {
        /// What it was refused for.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
    },
    /// Any other answer of the kernel.
    #[error("state directory {}: cannot {what}: {source}", .path.display())]
    Io {
        /// What it failed for.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl StateError {
    /// Names the guilty behind an I/O error.
    pub(crate) fn of(path: &Path, what: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path),
            io::ErrorKind::PermissionDenied => Self::Denied { path, what },
            io::ErrorKind::NotADirectory => Self::NotADirectory(path),
            _ => Self::Io { path, what, source },
        }
    }
}

/// Makes `path` (mode 0700, parents too) where it is absent and checks that nobody but us (or root) can write to it, and that it is ours if
/// we are root.
pub fn prepare_state_dir(path: &Path) -> Result<(), StateError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    let meta = match (fs::metadata(path), made) {
        (Ok(meta), _) => meta,
        (Err(_), Err(e)) if e.kind() != io::ErrorKind::AlreadyExists => return Err(StateError::of(path, "create it", e)),
        (Err(e), _) => return Err(StateError::of(path, "look at it", e)),
    };
    check(path, &meta, rustix::process::geteuid().as_raw())
}

fn check(path: &Path, meta: &Metadata, uid: u32) -> Result<(), StateError> {
    let path = path.to_owned();
    if !meta.is_dir() {
        return Err(StateError::NotADirectory(path));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o002 != 0 {
        return Err(StateError::WorldWritable { path, mode });
    }
    let owner = meta.uid();
    if owner != uid && owner != 0 {
        return Err(StateError::Foreign { path, owner, uid });
    }
    Ok(())
}
