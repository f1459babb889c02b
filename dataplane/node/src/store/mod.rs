//! The store on disk.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId, VerifiedChunk};
use ares_core::store::{BlobRef, Guard, ReleaseInfo};
use ares_core::swarm::BlobPlace;

#[expect(dead_code, reason = "signatures land first")]
mod error;
mod state;
#[cfg(test)]
pub(crate) mod testing;

pub use error::{FullBy, ReadError, StoreError};
pub use state::{StateError, prepare_state_dir};

/// Chunks on disk and what is known about them. Send + Sync; every call may block on the disk but `has`, `has_at`, `releases`, `totals`.
pub struct Store {}

/// An open file that chunks lie in. Reads go through its descriptor (`AsFd`).
pub struct ObjectFile {}

/// Where a chunk's bytes are, for serving.
#[derive(Clone)]
pub struct Extent {
    /// The file, open for reading.
    pub file: Arc<ObjectFile>,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Length, in bytes.
    pub len: u32,
}

/// What became of `take_blob`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The backing file now is the destination; its chunks are held there, in place.
    Moved,
    /// Another filesystem, or the bytes are not in a file of our own: read the chunks and write them.
    MustCopy,
}

/// What became of `StoreWriter::fill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The chunk was held elsewhere and now is at the place, too.
    Copied,
    /// It was there already.
    There,
    /// The store does not hold it: fetch it, then `put`.
    NotHeld,
}

/// Totals of a store at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Chunks held.
    pub chunks: u64,
    /// Their bytes, in files of our own.
    pub own_bytes: u64,
    /// Their bytes, in files of the publisher.
    pub in_place_bytes: u64,
    /// Objects: pack segments, blobs, in-place files.
    pub objects: u64,
    /// In-place files that changed or vanished since this store was opened.
    pub gone_objects: u64,
    /// Chunks found bad since this store was opened.
    pub bad_chunks: u64,
    /// Why intake is stopped (disk full), if it is.
    pub intake_stopped: Option<String>,
}

/// Progress and result of `verify`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Chunks read.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Chunks that were bad or unreadable, and are forgotten.
    pub lost_chunks: u64,
}

#[expect(clippy::todo, reason = "signatures land first: others build on them")]
#[expect(unused_variables, reason = "signatures land first")]
#[expect(missing_docs, reason = "signatures land first")]
impl Store {
    /// Creates (mode 0700) or opens, locks, replays the journal. A torn tail is cut off and told in the log.
    pub fn open(state: &Path) -> Result<Arc<Self>, StoreError> {
        todo!()
    }

    /// Whether the chunk is held anywhere (an in-place file that vanished unnoticed counts until it is read).
    pub fn has(&self, chunk: &ChunkId) -> bool {
        todo!()
    }

    /// Whether the bytes at this place of the blob's own backing file are held.
    pub fn has_at(&self, place: &BlobPlace, chunk: &ChunkRef) -> bool {
        todo!()
    }

    /// Where the chunk's bytes are. After reading them, ask `Extent::still_valid` before they are sent.
    pub fn locate(&self, chunk: &ChunkId) -> Option<Extent> {
        todo!()
    }

    /// Reads and verifies; blocks. A bad chunk is forgotten.
    pub fn read(&self, chunk: ChunkRef) -> Result<VerifiedChunk, ReadError> {
        todo!()
    }

    /// One per worker thread.
    pub fn writer(self: &Arc<Self>) -> StoreWriter {
        todo!()
    }

    /// Holds the chunks of a file where it is, without copying. `guard` is `Guard` of the file (see `guard_of`) taken before its bytes were
    /// hashed; it must still fit.
    pub fn add_in_place(&self, path: &Path, guard: Guard, blob: BlobRef, chunks: &[(u64, ChunkRef)]) -> Result<(), StoreError> {
        todo!()
    }

    /// No longer believes the chunk's bytes (they were found wrong by a receiver or a reader).
    pub fn forget(&self, chunk: &ChunkId) {
        todo!()
    }

    /// Remembers a release; keeps the state it has if it is known.
    pub fn add_release(&self, release: ReleaseId, name: &str, bytes: u64, entries: u64) -> Result<(), StoreError> {
        todo!()
    }

    pub fn mark_complete(&self, release: ReleaseId) -> Result<(), StoreError> {
        todo!()
    }

    /// In the order they were added.
    pub fn releases(&self) -> Vec<ReleaseInfo> {
        todo!()
    }

    /// Hands the complete backing file of a blob out as `dest`, which must not exist. `dress` gets the file before it appears there, to set
    /// mode, times and xattrs (afterwards they would count as a change).
    pub fn take_blob(
        &self,
        blob: &ChunkId,
        dest: &Path,
        dress: &mut dyn FnMut(&File) -> std::io::Result<()>,
    ) -> Result<Taken, StoreError> {
        todo!()
    }

    /// The backing file of a wholly held blob.
    pub fn blob_file(&self, blob: &ChunkId) -> Option<Arc<ObjectFile>> {
        todo!()
    }

    /// Returns when all that was put before is on stable storage. Runs by itself about every second.
    pub fn flush(&self) -> Result<(), StoreError> {
        todo!()
    }

    pub fn totals(&self) -> Totals {
        todo!()
    }

    /// Re-reads every held chunk. `progress` may end it early by returning false.
    pub fn verify(&self, progress: &mut dyn FnMut(&Verified) -> bool) -> Verified {
        todo!()
    }
}

#[expect(clippy::todo, reason = "signatures land first: others build on them")]
#[expect(missing_docs, reason = "signatures land first")]
impl ObjectFile {
    pub fn path(&self) -> &Path {
        todo!()
    }
}

impl std::os::fd::AsFd for ObjectFile {
    #[expect(clippy::todo, reason = "signatures land first: others build on them")]
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        todo!()
    }
}

impl Extent {
    /// Whether the file is still the one the chunk was found in. One `fstat` for an in-place file, free for our own. Where it is
    /// not, all its chunks are gone from the store from here on.
    #[expect(clippy::todo, reason = "signatures land first: others build on them")]
    pub fn still_valid(&self) -> bool {
        todo!()
    }
}

/// What a file's `Guard` is now.
#[expect(clippy::todo, reason = "signatures land first: others build on them")]
#[expect(unused_variables, reason = "signatures land first")]
pub fn guard_of(file: &File) -> std::io::Result<Guard> {
    todo!()
}

/// Writes chunks; one per worker thread. Not Sync.
pub struct StoreWriter {}

#[expect(clippy::todo, reason = "signatures land first: others build on them")]
#[expect(unused_variables, reason = "signatures land first")]
impl StoreWriter {
    /// Writes a chunk to its place, or to a pack. Returns once it is readable by everybody; it survives a crash of this process within 50 ms
    /// and a crash of the machine within about 2 s. Putting what is there already costs nothing.
    pub fn put(&mut self, chunk: &VerifiedChunk, place: Option<BlobPlace>) -> Result<(), StoreError> {
        todo!()
    }

    /// Copies a held chunk to another place, so that it need not be fetched again.
    pub fn fill(&mut self, chunk: ChunkRef, place: BlobPlace) -> Result<Filled, StoreError> {
        todo!()
    }
}
