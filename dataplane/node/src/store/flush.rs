//! Brings what was written to stable storage, about once a second, and says so in the journal: data, then Sync record, then journal. Decides
//! what is dropped when the disk fails.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ares_core::store::{self as core, HeldChunk, ObjectNo, READ_OBJECTS_MAX, Record};

use super::shared::{Shared, SignalState, Unusable};
use super::{StoreError, locked};

/// Records reach the file within this time: what kill -9 may cost.
const APPEND_AFTER: Duration = Duration::from_millis(40);
/// The order in which files were read is written down this often: what a kill may cost of it.
const TELL_READ_EVERY: Duration = Duration::from_secs(60);
/// What was written is on stable storage within about twice this time: what a power cut may cost.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// A Sync record on stable storage: where it begins and ends in the journal, and before where all is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Synced {
    pub(super) upto: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The body of the flush thread; ends when told to stop, after a last flush.
pub(super) fn run(store: &Arc<Shared>) {
    let (mut last_flush, mut last_told) = (Instant::now(), Instant::now());
    let mut last_error = String::new();
    let mut complain = |result: Result<(), StoreError>| {
        let text = result.map_err(|e| e.to_string()).err().unwrap_or_default();
        if !text.is_empty() && text != last_error {
            tracing::error!("{text}");
        }
        last_error = text;
    };
    let mut failed = false;
    let mut due = true; // whatever the replay left uncovered
    while wait(store, due) {
        if last_told.elapsed() >= TELL_READ_EVERY {
            store.tell_read();
            last_told = Instant::now();
        }
        let appended = store.append();
        if appended.is_ok() && failed {
            store.on_written(); // the journal was what had no room
        }
        failed = appended.is_err();
        complain(appended);
        due = failed || !store.journal.is_covered();
        if due && last_flush.elapsed() >= FLUSH_EVERY {
            complain(store.flush().and_then(|()| store.compact()));
            last_flush = Instant::now();
            due = !store.journal.is_covered();
        }
    }
    store.tell_read();
    complain(store.flush());
}

/// Waits for work (or, with a flush due, for one batch of records to gather), and not for ever. False when it is time to stop.
fn wait(store: &Shared, due: bool) -> bool {
    let mut state = locked(&store.signal.state);
    if !due {
        let idle = |state: &mut SignalState| !state.work && !state.stop;
        let waited = store.signal.changed.wait_timeout_while(state, TELL_READ_EVERY, idle);
        state = waited.expect("no thread panics while it holds the signal").0;
    }
    let gathered = store.signal.changed.wait_timeout_while(state, APPEND_AFTER, |s| !s.stop);
    let (mut state, _) = gathered.expect("no thread panics while it holds the signal");
    state.work = false;
    !state.stop
}

impl Shared {
    /// Has the journal know in which order files were read and written to.
    fn tell_read(&self) {
        let news = locked(&self.room.uses).take_news();
        for objects in news.chunks(READ_OBJECTS_MAX) {
            let objects = objects.to_vec();
            self.record(&mut self.index_mut(), &Record::Read { objects });
        }
    }

    /// Writes the journal's batch: it then survives this process.
    pub(super) fn append(&self) -> Result<(), StoreError> {
        self.journal.append().inspect_err(|e| self.on_write_failed(e))
    }

    /// Returns when all that was put before is on stable storage.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let _flushing = locked(&self.flushing);
        let mut failed = None;
        loop {
            // The journal's end first, what is dirty after it: see `commit`.
            let upto = self.journal.end();
            let (objects, dirs) = self.take_dirty();
            if objects.is_empty() && dirs.is_empty() && self.journal.is_covered() {
                break;
            }
            match self.sync_all(objects, dirs) {
                Ok(()) => {}
                Err(Unsynced::Lost(e)) => {
                    failed.get_or_insert(e);
                    continue; // the records that forget what was lost must be covered, too
                }
                Err(Unsynced::Later(e)) => return Err(e),
            }
            if let Err(e) = self.journal.sync(upto) {
                self.on_write_failed(&e);
                return Err(e);
            }
            break;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Brings what was written so far to stable storage, without a word of that in the journal. Called with `flushing` held.
    pub(super) fn sync_data(&self) -> Result<(), StoreError> {
        let (objects, dirs) = self.take_dirty();
        self.sync_all(objects, dirs)
            .map_err(|(Unsynced::Lost(e) | Unsynced::Later(e))| e)
    }

    fn take_dirty(&self) -> (core::Unsynced, BTreeSet<PathBuf>) {
        let mut dirty = locked(&self.dirty);
        (std::mem::take(&mut dirty.objects), std::mem::take(&mut dirty.dirs))
    }

    fn sync_all(&self, objects: core::Unsynced, dirs: BTreeSet<PathBuf>) -> Result<(), Unsynced> {
        let (mut lost, mut later) = (None, None);
        for (object, chunks) in objects {
            match self.sync_object(object, chunks) {
                Ok(()) => {}
                Err(Unsynced::Lost(e)) => lost = lost.or(Some(e)),
                Err(Unsynced::Later(e)) => later = Some(e),
            }
        }
        for dir in dirs {
            if let Err(e) = File::open(&dir).and_then(|d| d.sync_all()) {
                later = Some(StoreError::of_write(&dir, "sync it", 0, e));
                locked(&self.dirty).dirs.insert(dir);
            }
        }
        match (later, lost) {
            (Some(e), _) => Err(Unsynced::Later(e)),
            (None, Some(e)) => Err(Unsynced::Lost(e)),
            (None, None) => Ok(()),
        }
    }

    /// After a failed fsync the kernel may have thrown the pages away and called them clean: the chunks written since the last good one are
    /// forgotten, and unless it was for want of room the file is never written again.
    fn sync_object(&self, object: ObjectNo, chunks: Vec<HeldChunk>) -> Result<(), Unsynced> {
        let file = match self.file(object) {
            Ok(file) => file,
            Err(Unusable::Gone) => return Ok(()),
            Err(Unusable::Refused(path, e)) => {
                locked(&self.dirty).objects.entry(object).or_default().extend(chunks);
                return Err(Unsynced::Later(StoreError::Disk {
                    path,
                    what: "open it",
                    source: e,
                }));
            }
        };
        let Err(errno) = rustix::fs::fdatasync(&file.file) else {
            return Ok(());
        };
        let bytes = chunks.iter().map(|held| u64::from(held.chunk.len)).sum();
        let error = StoreError::of_write(&file.path, "sync it", bytes, errno.into());
        if matches!(error, StoreError::Full { .. }) {
            self.on_write_failed(&error);
        } else {
            locked(&self.dirty).distrusted.insert(object);
        }
        tracing::error!(
            "{error}: {} chunks written there last are forgotten and fetched again when needed",
            chunks.len()
        );
        for held in chunks {
            self.forget_at(object, held.offset, held.chunk);
        }
        Err(Unsynced::Lost(error))
    }
}

/// Why an object is not on stable storage.
enum Unsynced {
    /// Its last chunks are forgotten.
    Lost(StoreError),
    /// Its file cannot be opened for now.
    Later(StoreError),
}
