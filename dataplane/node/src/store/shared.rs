//! What every part of an open store works on: the index, the journal behind it, the files beside it. Keeps index and journal in one order,
//! opens objects, and drops those that are no longer what they were.
//!
//! **Locks**, in this order: `rosters` of `room`, `flushing`, `names`, `pack`, `index`, then one of the small ones (`dirty`, `files`, `intake`,
//! `quota`, `uses` and `whole_nearby` of `room`, `loans`, inside `journal`, `signal`). Disk I/O happens under `flushing`, `names` and `pack` only, never under `index`: readers do not wait for a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId};
use ares_core::limits::CHUNK_BYTES_MAX;
use ares_core::store::{Admit, BootId, Guard, HeldChunk, Index, Intake, ObjectKind, ObjectNo, Record, Unsynced, layout};
use ares_core::time::Instant;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::evict::Room;
use super::journal::Journal;
use super::lend::Loans;
use super::object::{Extent, ObjectFile, OpenFiles, guard_of};
use super::open::StateLock;
use super::{StoreError, error::free_bytes, locked};

/// An open store.
pub(super) struct Shared {
    /// The state directory.
    pub(super) dir: PathBuf,
    /// Locked as long as it is open.
    pub(super) _lock: StateLock,
    pub(super) index: RwLock<Index>,
    pub(super) journal: Journal,
    pub(super) dirty: Mutex<Dirty>,
    pub(super) files: OpenFiles,
    /// Read past the store, by object.
    pub(super) loans: Loans,
    pub(super) intake: Mutex<Intake>,
    /// What `core` calls zero.
    pub(super) start: std::time::Instant,
    /// This boot of the machine.
    pub(super) boot: BootId,
    /// The pack segment appended to, and where.
    pub(super) pack: Mutex<Option<(ObjectNo, u64)>>,
    /// Pins that last as long as it is open, and the link of each.
    pub(super) configured_pins: Mutex<BTreeMap<ReleaseId, String>>,
    /// Held while a file gets its name: created, completed, taken out. Also gives object numbers one order.
    pub(super) names: Mutex<()>,
    /// Held by a flush.
    pub(super) flushing: Mutex<()>,
    pub(super) signal: Signal,
    pub(super) gone_objects: AtomicU64,
    pub(super) bad_chunks: AtomicU64,
    pub(super) evicted_bytes: AtomicU64,
    pub(super) room: Room,
    /// For `ObjectFile`s, which outlive nothing.
    pub(super) weak: Weak<Shared>,
}

/// What the next flush must bring to stable storage.
#[derive(Default)]
pub(super) struct Dirty {
    /// Chunks written, by object.
    pub(super) objects: Unsynced,
    /// Directories with new names.
    pub(super) dirs: BTreeSet<PathBuf>,
    /// Objects whose fsync failed: nothing more is written to them.
    pub(super) distrusted: BTreeSet<ObjectNo>,
}

/// Wakes the flush thread.
#[derive(Default)]
pub(super) struct Signal {
    pub(super) state: Mutex<SignalState>,
    pub(super) changed: Condvar,
}

/// What it is woken for.
#[derive(Default)]
pub(super) struct SignalState {
    pub(super) work: bool,
    pub(super) stop: bool,
}

/// Why an object's file cannot be used.
pub(super) enum Unusable {
    /// It vanished or changed, and is dropped from the index.
    Gone,
    /// The kernel refuses for now (no descriptor left, no memory).
    Refused(PathBuf, io::Error),
}

/// Where an object's file is, and what it must be.
enum Whereabouts {
    Own(Vec<PathBuf>),
    InPlace(PathBuf, Guard),
}

impl Shared {
    pub(super) fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().expect("no thread panics while it holds the index")
    }

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().expect("no thread panics while it holds the index")
    }

    /// Folds a record in and hands it to the journal, both under the index's lock: one order for both.
    pub(super) fn record(&self, index: &mut Index, record: &Record) {
        index
            .apply(record)
            .unwrap_or_else(|e| panic!("records are checked before they are made: {e}: {record:?}"));
        if self.journal.push(record) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        locked(&self.signal.state).work = true;
        self.signal.changed.notify_all();
    }

    /// Remembers chunks that were written to an object. `None` if the object is gone meanwhile; else whether that made a blob whole.
    pub(super) fn commit(&self, object: ObjectNo, chunks: Vec<HeldChunk>) -> Option<Completed> {
        // Dirty before journalled: a flush takes the journal's end first and what is dirty after it, so every record before
        // that end has its chunks among the dirty ones.
        locked(&self.dirty).objects.entry(object).or_default().extend(&chunks);
        locked(&self.room.uses).on_written(self.now(), object);
        let mut index = self.index_mut();
        let was_complete = match index.object(object).map(|o| &o.kind) {
            None | Some(ObjectKind::Gone) => return None,
            Some(ObjectKind::Blob { coverage, .. }) => coverage.is_complete(),
            Some(_) => true,
        };
        self.record(&mut index, &Record::Held { object, chunks });
        match index.object(object).map(|o| &o.kind) {
            Some(ObjectKind::Blob { blob, coverage, .. }) if coverage.is_complete() && !was_complete => {
                Some(Completed::Blob(blob.id))
            }
            _ => Some(Completed::No),
        }
    }

    /// Where a chunk is that somebody is to read: as `find`, and remembers that.
    pub(super) fn locate(&self, chunk: &ChunkId) -> Result<Option<Extent>, (PathBuf, io::Error)> {
        self.find(chunk).inspect(|found| {
            if let Some(extent) = found {
                locked(&self.room.uses).on_read(extent.file.object);
            }
        })
    }

    /// Where a chunk is, its file opened; `None` if it is not held. Places that turn out to be lost are dropped on the way.
    pub(super) fn find(&self, chunk: &ChunkId) -> Result<Option<Extent>, (PathBuf, io::Error)> {
        loop {
            let Some(extent) = self.index().lookup(chunk) else {
                return Ok(None);
            };
            match self.file(extent.object) {
                Ok(file) => {
                    return Ok(Some(Extent {
                        file,
                        offset: extent.offset,
                        len: extent.len,
                    }));
                }
                Err(Unusable::Gone) => {} // and with it this place: each turn has one fewer
                Err(Unusable::Refused(path, e)) => return Err((path, e)),
            }
        }
    }

    /// The open file of an object.
    pub(super) fn file(&self, object: ObjectNo) -> Result<Arc<ObjectFile>, Unusable> {
        if let Some(file) = self.files.get(object) {
            return Ok(file);
        }
        match self.open(object) {
            Err(Unusable::Refused(_, e)) if !is_passing(&e) => {
                // Perhaps it was being renamed just then; what cannot be opened while nobody renames is lost.
                let names = locked(&self.names);
                let again = self.open(object);
                drop(names);
                match again {
                    Err(Unusable::Refused(path, e)) if !is_passing(&e) => {
                        self.lose(object, &path, &e.to_string());
                        Err(Unusable::Gone)
                    }
                    other => other,
                }
            }
            other => other,
        }
    }

    pub(super) fn open(&self, object: ObjectNo) -> Result<Arc<ObjectFile>, Unusable> {
        let whereabouts = self.whereabouts(object).ok_or(Unusable::Gone)?;
        let (file, path, guard) = match whereabouts {
            Whereabouts::Own(paths) => {
                let (file, path) = open_own(&paths)?;
                (file, path, None)
            }
            Whereabouts::InPlace(path, guard) => {
                // Whatever took the file's place must not block us (a FIFO) nor become our terminal.
                let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
                let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&path);
                let file = opened.map_err(|e| Unusable::Refused(path.clone(), e))?;
                match guard_of(&file) {
                    Ok(now) if now == guard => (file, path, Some(guard)),
                    Ok(_) => {
                        self.lose(object, &path, "it changed");
                        return Err(Unusable::Gone);
                    }
                    Err(e) => return Err(Unusable::Refused(path, e)),
                }
            }
        };
        let file = Arc::new(ObjectFile {
            file,
            path,
            object,
            guard,
            store: self.weak.clone(),
            writing: Mutex::default(),
            seen: OnceLock::new(),
        });
        // Kept only if the object still is what was opened: it may have been taken out of the store meanwhile. The index's lock
        // makes this and the drop of a stale file (`hand_over`) one after the other.
        let index = self.index();
        let still = match index.object(object).map(|o| &o.kind) {
            Some(ObjectKind::InPlace { guard, .. }) => file.guard == Some(*guard),
            Some(ObjectKind::Pack { .. } | ObjectKind::Blob { .. }) => file.guard.is_none(),
            Some(ObjectKind::Gone) | None => return Err(Unusable::Gone),
        };
        if still {
            self.files.insert(file.clone());
        }
        Ok(file)
    }

    fn whereabouts(&self, object: ObjectNo) -> Option<Whereabouts> {
        let index = self.index();
        match &index.object(object)?.kind {
            ObjectKind::InPlace { guard, path, .. } => Some(Whereabouts::InPlace(OsStr::from_bytes(path).into(), *guard)),
            own => own_names(object, own).map(|names| Whereabouts::Own(names.iter().map(|n| self.dir.join(n)).collect())),
        }
    }

    /// Drops an object whose file is not what it was, with all chunks that are only there, and says so once.
    pub(super) fn lose(&self, object: ObjectNo, path: &Path, how: &str) {
        let mut index = self.index_mut();
        let kind = match index.object(object).map(|o| &o.kind) {
            None | Some(ObjectKind::Gone) => return,
            Some(ObjectKind::InPlace { .. }) => "a published file",
            Some(ObjectKind::Pack { .. } | ObjectKind::Blob { .. }) => "a file of the store",
        };
        self.record(&mut index, &Record::Gone { object });
        self.files.remove(object);
        drop(index);
        self.gone_objects.fetch_add(1, Ordering::Relaxed);
        let path = path.display();
        tracing::warn!(%path, "{kind} is lost ({how}): its chunks are no longer held here; publish it again, or they are fetched when needed");
    }

    /// No longer believes one place of a chunk.
    pub(super) fn forget_at(&self, object: ObjectNo, offset: u64, chunk: ChunkRef) {
        let mut index = self.index_mut();
        let partial = match index.object(object).map(|o| &o.kind) {
            None | Some(ObjectKind::Gone) => return,
            Some(ObjectKind::Blob { blob, coverage, .. }) => coverage.is_complete().then_some(blob.id),
            Some(_) => None,
        };
        self.record(&mut index, &Record::Forget { object, offset, chunk });
        drop(index);
        self.bad_chunks.fetch_add(1, Ordering::Relaxed);
        if let Some(blob) = partial {
            self.rename_blob(&blob);
        }
    }

    /// Gives a backing file the name that says whether it is whole. A crash before it is harmless: either name is found.
    pub(super) fn rename_blob(&self, blob: &ChunkId) {
        let _names = locked(&self.names);
        let (object, complete) = match self.index().blob(blob) {
            Some((object, _, coverage)) => (object, coverage.is_complete()),
            None => return,
        };
        let (partial, whole) = (self.dir.join(layout::blob_partial(blob)), self.dir.join(layout::blob(blob)));
        let (from, to) = if complete { (partial, whole) } else { (whole, partial) };
        if let Err(e) = fs::rename(&from, &to)
            && !to.exists()
        {
            tracing::warn!(from = %from.display(), to = %to.display(), "cannot rename a backing file: {e}");
        }
        self.files.remove(object); // the next to open it learns its new name
    }

    /// Why intake is stopped, if it is: what any chunk would be told.
    pub(super) fn intake_stopped(&self) -> Option<String> {
        let is_stopped = locked(&self.intake).is_stopped();
        is_stopped.then(|| self.full(CHUNK_BYTES_MAX.into()).to_string())
    }

    pub(super) fn full(&self, needed_bytes: u64) -> StoreError {
        let by = match self.lacking(needed_bytes.max(1)) {
            0 => super::FullBy::Disk,
            _ => super::FullBy::Knobs,
        };
        self.full_by(needed_bytes, by)
    }

    pub(super) fn full_by(&self, needed_bytes: u64, by: super::FullBy) -> StoreError {
        let free_bytes = free_bytes(&self.dir);
        StoreError::Full {
            path: self.dir.clone(),
            needed_bytes,
            free_bytes,
            by,
        }
    }

    /// Whether something may be written now, after making room; `Full` if the disk was full a moment ago, `Distrusted` if the journal no longer says what is held.
    pub(super) fn admit(&self, needed_bytes: u64) -> Result<(), StoreError> {
        self.journal.check_trust()?;
        let admitted = locked(&self.intake).admit(self.now());
        match admitted {
            Admit::Open | Admit::Probe => self.make_room(needed_bytes).inspect_err(|e| self.on_write_failed(e)),
            Admit::Stopped => Err(self.full(needed_bytes)),
        }
    }

    /// A write went well: if the disk was full, it no longer is.
    pub(super) fn on_written(&self) {
        if let Some(stopped) = locked(&self.intake).on_written(self.now()) {
            tracing::info!(
                "there is room on disk again: intake goes on after {:.1} s",
                stopped.as_secs_f64()
            );
        }
    }

    /// A write failed: where that is for want of room, intake stops.
    pub(super) fn on_write_failed(&self, error: &StoreError) {
        if matches!(error, StoreError::Full { .. }) && locked(&self.intake).on_full(self.now()) {
            tracing::error!("intake stops, what is held is served on: {error}");
        }
    }

    /// Refuses objects whose fsync failed.
    pub(super) fn check_trust(&self, object: ObjectNo, path: &Path) -> Result<(), StoreError> {
        if locked(&self.dirty).distrusted.contains(&object) {
            return Err(StoreError::Distrusted { path: path.to_owned() });
        }
        Ok(())
    }
}

/// What `commit` brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completed {
    /// Nothing special.
    No,
    /// The last bytes of this blob: rename its file.
    Blob(ChunkId),
}

/// Names a file of ours may have, the likelier first; `None` for files that are not ours.
pub(super) fn own_names(object: ObjectNo, kind: &ObjectKind) -> Option<Vec<String>> {
    match kind {
        ObjectKind::Pack { .. } => Some(vec![layout::pack(object)]),
        ObjectKind::Blob { blob, coverage, .. } => {
            let (partial, whole) = (layout::blob_partial(&blob.id), layout::blob(&blob.id));
            Some(if coverage.is_complete() {
                vec![whole, partial]
            } else {
                vec![partial, whole]
            })
        }
        ObjectKind::InPlace { .. } | ObjectKind::Gone => None,
    }
}

/// Opens the first of these names that is there, for writing where that is allowed.
fn open_own(paths: &[PathBuf]) -> Result<(File, PathBuf), Unusable> {
    let mut absent = None;
    for path in paths {
        match open_one(path) {
            Ok(file) => return Ok((file, path.clone())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => absent = absent.or(Some((path.clone(), e))),
            Err(e) => return Err(Unusable::Refused(path.clone(), e)),
        }
    }
    let (path, e) = absent.unwrap_or_else(|| (PathBuf::new(), io::ErrorKind::NotFound.into()));
    Err(Unusable::Refused(path, e))
}

fn open_one(path: &Path) -> io::Result<File> {
    let both = || OpenOptions::new().read(true).write(true).open(path);
    match both() {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            // A crash may have left it with the mode it was to have as the user's file (see `hand_over`).
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            both()
        }
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path),
        other => other,
    }
}

/// Whether an error says nothing about the file: no descriptor or memory left, interrupted.
fn is_passing(e: &io::Error) -> bool {
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    Errno::from_io_error(e).is_some_and(|errno| passing.contains(&errno))
}
