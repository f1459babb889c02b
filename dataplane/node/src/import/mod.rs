//! Publishing: a directory or a file becomes a release, and its chunks are held by the store, large files in place.
//!
//! It never follows a symlink below the top, never writes to what it publishes, and makes the release known last.

use std::fs::FileType;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ares_core::chunk::{CutterId, ReleaseId};
use ares_core::limits::XATTRS_BYTES_MAX;
use ares_core::link::Link;
use ares_core::manifest::{Root, Top, Xattr};
use ares_core::profile::{PROFILE_XATTR, Profile};
use bytes::Bytes;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::api::Published;
use crate::store::Store;

mod big;
mod buffers;
mod error;
mod look;
mod part;
mod pool;
mod progress;
mod small;
mod tree;
mod work;

use big::BigJob;
use tree::DirJob;
use work::{Job, Work, Worker};

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
    /// The access profile that is attached to it, for mounts to fetch ahead.
    pub profile: Option<Profile>,
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

/// Attaches a profile to what is published, in whose place there is none: attributes of ours are not published.
fn attach(profile: &Profile, top: &mut Top) -> Result<(), ImportError> {
    let (Top::Dir { meta, .. } | Top::File { meta, .. }) = top;
    let xattr = Xattr {
        key: Bytes::from_static(PROFILE_XATTR),
        value: profile.text().into(),
    };
    let bytes: usize = meta
        .xattrs
        .iter()
        .chain([&xattr])
        .map(|xattr| xattr.key.len() + xattr.value.len())
        .sum();
    if bytes > XATTRS_BYTES_MAX {
        return Err(ImportError::Attributes { bytes });
    }
    let at = meta.xattrs.partition_point(|other| other.key < xattr.key);
    meta.xattrs.insert(at, xattr);
    Ok(())
}

/// Publishes the directory or file at `path` (a symlink given here is followed). The release is complete in the store when this returns.
pub fn publish(
    store: &Arc<Store>,
    path: &Path,
    options: &PublishOptions,
    progress: &ImportProgress,
) -> Result<Published, ImportError> {
    let real = path.canonicalize().map_err(|e| ImportError::unreadable(path, "find it", e))?;
    let kind = real.metadata().map_err(|e| ImportError::unreadable(&real, "look at it", e))?;
    let first = match kind.file_type() {
        kind if kind.is_dir() => Job::Dir(DirJob::Top { path: real.clone() }),
        kind if kind.is_file() => {
            progress.walked.store(true, Relaxed);
            progress.files_found.fetch_add(1, Relaxed);
            progress
                .bytes_found
                .fetch_add(real.metadata().map_or(0, |meta| meta.len()), Relaxed);
            Job::Open(BigJob::top(real.clone()))
        }
        kind => {
            return Err(ImportError::Kind {
                path: real,
                what: kind_of(kind),
            });
        }
    };
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        threads => threads,
    };
    raise_open_files();
    let without = options
        .without
        .iter()
        .filter_map(|dir| dir.metadata().ok())
        .map(|meta| (meta.dev(), meta.ino()));
    let work = Work::new(store, options, progress, threads, without.collect(), first);
    let mut top = run(work, threads)?;
    if let Some(profile) = &options.profile {
        attach(profile, &mut top)?;
    }
    let root = Root {
        cutter: CutterId::CURRENT,
        top,
    };
    let chunk = root.encode();
    store.writer().put(&chunk, None)?;

    // Known last: before this, nobody is told of the release.
    let name = Link::name_from(real.file_name().map_or(b"root", |name| name.as_bytes()));
    let (release, totals) = (ReleaseId(chunk.id()), root.totals());
    store.add_release(release, &name, totals.bytes, totals.entries)?;
    store.mark_published(release)?;
    if !store.mark_complete(release)? {
        return Err(store.no_room(totals.bytes).into());
    }
    store.settle()?;
    Ok(Published {
        release,
        name,
        bytes: totals.bytes,
        entries: totals.entries,
    })
}

/// A directory is open while anything in it is published, and directories may nest as deep as 1,024, which is what most systems allow a process
/// to open unless it asks for more. Where that is refused the error names the limit.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                ..limit
            },
        );
    }
}

fn kind_of(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

fn run(work: Work<'_>, threads: usize) -> Result<Top, ImportError> {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| Worker::new(&work).run());
        }
    });
    work.outcome()
}

#[cfg(test)]
mod tests;
