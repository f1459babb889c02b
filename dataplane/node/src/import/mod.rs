//! Publishing: a directory or a file becomes a release, and its chunks are held by the store, large files in place.
//!
//! It never follows a symlink below the top, never writes to what it publishes, and makes the release known last.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::Published;
use crate::store::Store;

mod error;
mod progress;

pub use error::ImportError;
pub use progress::{ImportCounts, ImportProgress, LeftOut, Warning};

/// How something is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// Threads that read and hash; 0 for one per core.
    pub threads: usize,
    /// Where the bytes of files above 64 KiB are served from. Smaller ones are always copied, into packs.
    pub large_files: LargeFiles,
    /// What becomes of a file that changes while it is read, or may not be read.
    pub troubled: Troubled,
    /// Whether the hash of each whole file is recorded beside its chunks.
    pub file_hash: FileHash,
    /// Directories below the published one that are left out: the state directory of the store, above all.
    pub without: Vec<PathBuf>,
}

/// Where a large file's bytes are served from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LargeFiles {
    /// The file itself: no second copy on the disk. Once it changes, its chunks are gone.
    #[default]
    InPlace,
    /// A copy in the store, which lasts.
    Copy,
}

/// What becomes of a file that changes or vanishes each time it is read, or may not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Troubled {
    /// The publish ends with an error that names it.
    #[default]
    Fail,
    /// It is left out, with a warning.
    Skip,
}

/// Whether each whole file's BLAKE3 (what `b3sum` prints) is recorded. It hashes every byte a second time, and it changes the release's own hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileHash {
    /// Only the chunks are hashed.
    #[default]
    Leave,
    /// For whoever wants to check single files with a public tool.
    Record,
}

/// Publishes the directory or file at `path` (a symlink given here is followed). The release is complete in the store when this returns.
pub fn publish(
    store: &Arc<Store>,
    path: &Path,
    options: &PublishOptions,
    progress: &ImportProgress,
) -> Result<Published, ImportError> {
    let _ = (store, path, options, progress);
    Err(ImportError::Cancelled)
}
