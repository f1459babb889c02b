//! Why a publish ended without a release. Nothing of it is known to peers then; chunks already stored only save the next try some work.

use std::io;
use std::path::{Path, PathBuf};

use ares_core::limits::XATTRS_BYTES_MAX;
use ares_core::manifest::BuildError;
use rustix::io::Errno;

use crate::store::StoreError;

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The kernel does not let us read it.
    #[error("{}: cannot {what}: {source}{}", .path.display(), remedy(.source))]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody writes to it.
    #[error("{}: changed or vanished each of the {tries} times it was read; publish when nobody writes to it, publish a snapshot, or leave it out with --skip-changed", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// How often it was tried.
        tries: u32,
    },
    /// Neither a file nor a directory.
    #[error("{}: is {what}; only a directory or a regular file can be published", .path.display())]
    Kind {
        /// What was to be published.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Its list of chunks would not fit into memory.
    #[error("{}: is {bytes} bytes long (holes count); a file of a release has at most {limit}: split it", .path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        bytes: u64,
        /// How long it may be.
        limit: u64,
    },
    /// Directories in directories in directories.
    #[error("{}: directories nest deeper than {limit} levels here; a release holds no more", .path.display())]
    Deep {
        /// The first that is too deep.
        path: PathBuf,
        /// How deep is allowed.
        limit: usize,
    },
    /// Attributes of its own leave no room for an access profile.
    #[error(
        "the extended attributes of what is published and the access profile have {bytes} bytes together, and {} is the most",
        XATTRS_BYTES_MAX
    )]
    Attributes {
        /// How long they are.
        bytes: usize,
    },
    /// The kernel lists what a release cannot hold: a fault of the filesystem.
    #[error("{}: {error}", .path.display())]
    Entry {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        error: BuildError,
    },
    /// The store takes no more.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `ImportProgress::cancel` was called.
    #[error("cancelled; nothing was published")]
    Cancelled,
}

fn remedy(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::MFILE) => "; raise the limit of open files (ulimit -n)",
        Some(Errno::ACCESS | Errno::PERM) => "; run as who may read it, or leave it out with --skip-changed",
        _ => "",
    }
}

impl ImportError {
    pub(super) fn unreadable(path: &Path, what: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            what,
            source: source.into(),
        }
    }
}
