//! The store on disk: what is held, read, written, handed out. `core::store` decides what the bytes of the journal mean, where files lie
//! and when there is room; this reads and writes them.
//!
//! ```text
//!            put, fill                    locate, read                 about every second
//!                |                             |                              |
//!            StoreWriter                     Store                      flush thread
//!       target -> write -> commit     index -> open file        fdatasync dirty objects
//!                |             \           /                            |
//!        data/packs, data/blobs  \  index /  <- replay at open    Sync record, fdatasync
//!                                 \   |                                 |
//!                                  journal (appended within 50 ms) <----+
//! ```
//! The state directory is drawn in [`ares_core::store::layout`], the journal's bytes and what a crash leaves of them in
//! `ares_core::store::journal`. The order is always data, then journal; a Sync record vouches for what was synced before it.
//!
//! Architecture invariants: nothing is ever deleted but by name of the journal; a chunk is in the index only after its bytes are written; no
//! lock on the index is held while a disk works; a file that is not ours is only ever opened for reading.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use ares_core::chunk::{ChunkId, ChunkRef, ChunkTag, ReleaseId, VerifiedChunk};
use ares_core::store::{BlobRef, Guard, ObjectKind, QUOTA_BYTES_MAX, Quota, Record, ReleaseInfo, ReleaseState};
use ares_core::swarm::BlobPlace;
use bytes::Bytes;

mod error;
mod evict;
mod flush;
mod hand_over;
mod journal;
mod lend;
mod object;
mod open;
mod pins;
mod read;
mod rewrite;
mod shared;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{FullBy, ReadError, StoreError};
pub use lend::{Lease, Lent};
pub use object::{Extent, ObjectFile, guard_of};
pub use pins::{PINS_MAX, Pin, PinnedBy};
pub use state::{StateError, prepare_state_dir};
pub use writer::StoreWriter;

use shared::Shared;

/// Longest name of a release that is kept, in bytes: it is for people only.
const RELEASE_NAME_BYTES_MAX: usize = 1024;

/// Chunks on disk and what is known about them. `Send + Sync`. `has`, `kept`, `has_at`, `releases` and `totals` answer from memory; everything else may
/// wait for the disk.
pub struct Store {
    shared: Arc<Shared>,
    flusher: Option<JoinHandle<()>>,
}

/// Where `take_blob` puts a file: a name in a directory that is held open.
#[derive(Clone, Copy, Debug)]
pub struct Dest<'a> {
    /// The directory.
    pub dir: BorrowedFd<'a>,
    /// The file's name in it: one component.
    pub name: &'a OsStr,
    /// The path by which both are known: where the file is found later, and for errors.
    pub path: &'a Path,
}

/// In what sort of file a chunk is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// One of the store's own.
    Own,
    /// One of the publisher's, served where it is.
    InPlace,
}

/// What became of `take_blob`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The backing file now is the destination; its chunks are held there, in place.
    Moved,
    /// Another filesystem, or the bytes are not in a file of our own, or that is lent: read the chunks and write them.
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

/// Totals of a store at one moment. A chunk that lies in several files counts where it is read from.
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
    /// Files that changed or vanished since this store was opened.
    pub gone_objects: u64,
    /// Chunks found bad since this store was opened.
    pub bad_chunks: u64,
    /// What the quota bounds: bytes in files of our own, where chunks that are there twice count twice.
    pub quota_used_bytes: u64,
    /// Chunk bytes in files of our own that were taken away to make room, since this store was opened.
    pub evicted_bytes: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Why intake is stopped (disk full), if it is.
    pub intake_stopped: Option<String>,
}

/// What is not held any more, since it had to make room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Releases that were complete.
    pub releases: Vec<ReleaseId>,
    /// Chunks.
    pub chunks: Vec<ChunkTag>,
}

/// Progress and result of `verify`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Chunks read; one that lies in several files counts in each.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes there were to read when it began.
    pub bytes_total: u64,
    /// Chunks that were bad or unreadable, and are no longer held there.
    pub lost_chunks: u64,
}

impl Store {
    /// Creates (mode 0700) or opens, locks, replays the journal. A torn tail is cut off and told in the log. On an error nothing that was in
    /// the directory has changed.
    pub fn open(state: &Path) -> Result<Arc<Self>, StoreError> {
        let shared = open::open(state)?;
        let flushed = shared.clone();
        let spawned = std::thread::Builder::new()
            .name("ares-flush".to_owned())
            .spawn(move || flush::run(&flushed));
        let flusher = spawned.map_err(|source| StoreError::Disk {
            path: state.to_owned(),
            what: "start a thread to flush it",
            source,
        })?;
        Ok(Arc::new(Self {
            shared,
            flusher: Some(flusher),
        }))
    }

    /// Whether the chunk is held anywhere (an in-place file that vanished unnoticed counts until it is read).
    pub fn has(&self, chunk: &ChunkId) -> bool {
        self.shared.index().lookup(chunk).is_some()
    }

    /// As `has`, and in what sort of file it would be read.
    pub fn kept(&self, chunk: &ChunkId) -> Option<Kept> {
        let index = self.shared.index();
        let object = index.object(index.lookup(chunk)?.object)?;
        Some(match object.kind {
            ObjectKind::InPlace { .. } => Kept::InPlace,
            ObjectKind::Pack { .. } | ObjectKind::Blob { .. } | ObjectKind::Gone => Kept::Own,
        })
    }

    /// Whether the bytes at this place of the blob are held in a file of the blob's own: its backing file, or an in-place file that is the
    /// blob. (One that changed unnoticed counts until it is read.)
    pub fn has_at(&self, place: &BlobPlace, chunk: &ChunkRef) -> bool {
        let Some(end) = place.offset.checked_add(u64::from(chunk.len)) else {
            return false;
        };
        let index = self.shared.index();
        // A chunk that recurs in a file is known there at its first place only, and the blob's name says that it is at the others too.
        if index.in_place_of(&place.blob).any(|object| index.holds(object, &chunk.id)) {
            return true;
        }
        let backing = index.blob(&place.blob);
        backing.is_some_and(|(_, _, coverage)| coverage.has(place.offset, end)) && index.lookup(&chunk.id).is_some()
    }

    /// Where the chunk's bytes are. After reading them, ask `Extent::still_valid` before they are sent.
    pub fn locate(&self, chunk: &ChunkId) -> Option<Extent> {
        let refused = |(path, e): (PathBuf, io::Error)| {
            tracing::warn!(path = %path.display(), "cannot open a file that chunks lie in for now: {e}");
            None
        };
        self.shared.locate(chunk).unwrap_or_else(refused)
    }

    /// Reads and verifies; a length of `LEN_UNKNOWN` fits any. A place whose bytes are bad is no longer believed, and the next one is tried.
    pub fn read(&self, chunk: ChunkRef) -> Result<VerifiedChunk, ReadError> {
        self.shared.read(chunk)
    }

    /// Like `read`, of a chunk at its place in a blob that is whole in a file of our own, and at less cost: what was found right there since the file
    /// was opened and is in the kernel's memory still is not hashed again. `None` where it is not so; `read` may have it.
    pub fn read_warm(&self, chunk: ChunkRef, place: &BlobPlace) -> Option<Bytes> {
        self.shared.read_warm(chunk, place)
    }

    /// One per worker thread.
    pub fn writer(self: &Arc<Self>) -> StoreWriter {
        StoreWriter::new(self.clone())
    }

    /// Holds the chunks of a file where it is, without copying. `guard` is [`guard_of`] the file, taken before its bytes were hashed; if it no
    /// longer fits, that is [`StoreError::Changed`].
    pub fn add_in_place(&self, path: &Path, guard: Guard, blob: BlobRef, chunks: &[(u64, ChunkRef)]) -> Result<(), StoreError> {
        self.shared.add_in_place(path, guard, blob, chunks)
    }

    /// No longer believes the bytes of the chunk at the place it is read from. Who has an [`Extent`] in hand says `forget_at`: meanwhile
    /// another, good place may have stepped in.
    pub fn forget(&self, chunk: &ChunkId) {
        if let Some(extent) = self.locate(chunk) {
            self.forget_at(chunk, &extent);
        }
    }

    /// No longer believes the bytes of the chunk at this place: they were short, or hash to something else. Where the file itself has changed
    /// all of it is dropped, as `Extent::still_valid` does. Another place of the chunk, where there is one, steps in.
    pub fn forget_at(&self, chunk: &ChunkId, extent: &Extent) {
        if extent.still_valid() {
            let named = ChunkRef {
                id: *chunk,
                len: extent.len,
            };
            self.shared.forget_at(extent.file.object, extent.offset, named);
        }
    }

    /// Remembers a release; one that is known keeps its state. An error if the journal can no longer be trusted to keep it.
    pub fn add_release(&self, release: ReleaseId, name: &str, bytes: u64, entries: u64) -> Result<(), StoreError> {
        self.shared.journal.check_trust()?;
        let cut = (0..=name.len().min(RELEASE_NAME_BYTES_MAX))
            .rev()
            .find(|n| name.is_char_boundary(*n))
            .unwrap_or(0);
        let mut index = self.shared.index_mut();
        let state = index.release(release).map_or(ReleaseState::Partial, |known| known.state);
        let info = ReleaseInfo {
            release,
            name: name[..cut].to_owned(),
            bytes,
            entries,
            state,
        };
        if index.release(release) != Some(&info) {
            self.shared.record(&mut index, &Record::Release(info));
        }
        Ok(())
    }

    /// Remembers that every chunk of a known release is held. False where it was, and some of it has had to make room since.
    pub fn mark_complete(&self, release: ReleaseId) -> Result<bool, StoreError> {
        self.shared.journal.check_trust()?;
        let _nobody_evicts = match self.shared.hold_all_of(release) {
            Some(held) => held,
            None => return Ok(false),
        };
        let mut index = self.shared.index_mut();
        let known = index.release(release).filter(|r| r.state != ReleaseState::Complete).cloned();
        if let Some(info) = known {
            self.shared.record(
                &mut index,
                &Record::Release(ReleaseInfo {
                    state: ReleaseState::Complete,
                    ..info
                }),
            );
        }
        Ok(true)
    }

    /// Remembers that a release was made here: nobody else need have it, so none of it ever makes room.
    pub fn mark_published(&self, release: ReleaseId) -> Result<(), StoreError> {
        self.shared.journal.check_trust()?;
        let mut index = self.shared.index_mut();
        if !index.published().contains(&release) {
            self.shared.record(&mut index, &Record::Published { release });
        }
        Ok(())
    }

    /// Remembers that a release that was whole is so no more.
    pub fn mark_partial(&self, release: ReleaseId) {
        self.shared.lessen(vec![release], Vec::new());
    }

    /// In the order they were added.
    pub fn releases(&self) -> Vec<ReleaseInfo> {
        self.shared.index().releases().to_vec()
    }

    /// How much of a release is held; `None` for one that is not known.
    pub fn release_state(&self, release: ReleaseId) -> Option<ReleaseState> {
        self.shared.index().release(release).map(|known| known.state)
    }

    /// Hands the complete backing file of a blob out as `dest`, which must not exist; a blob that is in place somewhere is copied. `dress` gets the file before it appears there, to set mode,
    /// times and attributes (afterwards they would count as a change). If the answer is `MustCopy`, `dress` may have been called.
    pub fn take_blob(
        &self,
        blob: &ChunkId,
        dest: Dest<'_>,
        dress: &mut dyn FnMut(&File) -> io::Result<()>,
    ) -> Result<Taken, StoreError> {
        self.shared.take_blob(blob, dest, dress)
    }

    /// The backing file of a wholly held blob, to be read past the store: every byte of it was verified when it was written. While it is lent
    /// `take_blob` answers `MustCopy`. `None` where the blob is not whole in a file of our own, or cannot be opened right now.
    pub fn lend(&self, blob: &ChunkId) -> Option<Lent> {
        self.shared.lend(blob)
    }

    /// Returns when what was put before survives the end of this process (not of the machine). Runs by itself within 50 ms.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.shared.append()
    }

    /// Returns when all that was put before is on stable storage. Runs by itself about every second, and when the store is dropped.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.shared.flush()
    }

    /// What is held, and what went wrong since the store was opened.
    pub fn totals(&self) -> Totals {
        use std::sync::atomic::Ordering::Relaxed;
        let (index, quota_used_bytes) = {
            let index = self.shared.index();
            (index.totals(), index.own_bytes())
        };
        Totals {
            quota_used_bytes,
            chunks: index.chunks,
            own_bytes: index.own_bytes,
            in_place_bytes: index.in_place_bytes,
            objects: index.objects,
            gone_objects: self.shared.gone_objects.load(Relaxed),
            bad_chunks: self.shared.bad_chunks.load(Relaxed),
            evicted_bytes: self.shared.evicted_bytes.load(Relaxed),
            journal_bytes: self.shared.journal.written_bytes(),
            intake_stopped: self.shared.intake_stopped(),
        }
    }

    /// How much of the disk may be used from now on. Nothing goes yet: see `make_room`.
    pub fn set_quota(&self, quota: Quota) {
        *locked(&self.shared.room.quota) = quota;
    }

    /// Whether something may have to go one day.
    pub(crate) fn is_bounded(&self) -> bool {
        let quota = *locked(&self.shared.room.quota);
        quota.own_bytes_max < QUOTA_BYTES_MAX || quota.free_bytes_min > 0
    }

    /// Releases that another peer of the zone has whole: where room is needed they go before what is rare there.
    pub(crate) fn set_whole_nearby(&self, releases: BTreeSet<ReleaseId>) {
        *locked(&self.shared.room.whole_nearby) = releases;
    }

    /// Takes away what is over the quota, as far as it may go; [`StoreError::Full`] where some of it may not.
    pub fn make_room(&self) -> Result<(), StoreError> {
        self.shared.make_room(0)
    }

    /// That so many bytes do not fit what the knobs leave.
    pub(crate) fn no_room(&self, needed_bytes: u64) -> StoreError {
        self.shared.full_by(needed_bytes, FullBy::Knobs)
    }

    /// What made room since this was last asked, so that whoever was told otherwise is told.
    pub fn take_evicted(&self) -> Evicted {
        std::mem::take(&mut *locked(&self.shared.room.evicted))
    }

    /// Re-reads every held chunk wherever it lies. `progress` may take its time, and may end it early by answering false.
    pub fn verify(&self, progress: &mut dyn FnMut(&Verified) -> bool) -> Verified {
        self.shared.verify(progress)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        locked(&self.shared.signal.state).stop = true;
        self.shared.signal.changed.notify_all();
        if let Some(flusher) = self.flusher.take()
            && flusher.join().is_err()
        {
            tracing::error!("the flush thread panicked: what was put last may not be on stable storage");
        }
    }
}

/// Locks. A thread that panicked while it held the lock left something half-done, and nobody goes on from there.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds a lock of the store")
}
