//! Where bytes land: a tmpfs for what readers keep, how much of it is in use, and what is in a file.

use std::path::{Path, PathBuf};
use std::process::Command;

use ares_tests::scratch::{mount_tmpfs, quiet};

use crate::error::{BenchError, Result, io};

/// A tmpfs for what readers keep. Unmounted when dropped.
pub(crate) struct Sink(PathBuf);

impl Sink {
    /// Makes `dir` and mounts a tmpfs of so many bytes on it.
    pub(crate) fn mount(dir: PathBuf, bytes: u64) -> Result<Self> {
        std::fs::create_dir_all(&dir).map_err(io("cannot make", &dir))?;
        if !mount_tmpfs(&dir, &format!("size={bytes}")) {
            return Err(BenchError::NoTmpfs);
        }
        Ok(Self(dir))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        quiet(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// Bytes in use on the filesystem of `dir`; on a tmpfs those of whole pages, at once.
pub(crate) fn used_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| BenchError::Io {
        what: "cannot ask for the free space of",
        path: dir.to_owned(),
        source: e.into(),
    })?;
    Ok((stat.f_blocks - stat.f_bfree) * stat.f_frsize)
}

/// The hash of what is in a file.
pub(crate) fn hash_of(path: &Path) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon(path).map_err(io("cannot read", path))?;
    Ok(hasher.finalize())
}
