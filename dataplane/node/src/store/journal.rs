//! The journal file: records are encoded in the order they come, written in batches, and covered by Sync records. Decides nothing about
//! what they mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ares_core::store::{BootId, Encoder, Record};

use super::{StoreError, locked};

/// An open journal. Locks: `file` before `pending`.
pub(super) struct Journal {
    path: PathBuf,
    /// An fsync failed: what the kernel says about the file is no longer believed, and no Sync is written any more.
    distrusted: AtomicBool,
    pending: Mutex<Pending>,
    file: Mutex<JournalFile>,
}

/// Records encoded and not yet handed to the file.
struct Pending {
    encoder: Encoder,
    bytes: Vec<u8>,
    /// Journal offset behind the last record.
    end: u64,
    /// Written before the first record: the journal's last boot is not this one.
    boot: Option<BootId>,
}

struct JournalFile {
    file: File,
    /// Bytes that the file would not take yet (disk full), from `written` on.
    unwritten: Vec<u8>,
    /// Bytes in the file.
    written: u64,
    /// The last Sync, once it is on stable storage.
    synced: Option<Synced>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Synced {
    upto: u64,
    start: u64,
    end: u64,
}

impl Journal {
    /// Goes on behind the `end` bytes of `file`. `boot`: to be written first. `covered`: all of it is on stable storage.
    pub(super) fn new(path: PathBuf, file: File, encoder: Encoder, end: u64, boot: Option<BootId>, covered: bool) -> Self {
        let synced = covered.then_some(Synced {
            upto: end,
            start: end,
            end,
        });
        Self {
            path,
            distrusted: AtomicBool::new(false),
            pending: Mutex::new(Pending {
                encoder,
                bytes: Vec::new(),
                end,
                boot,
            }),
            file: Mutex::new(JournalFile {
                file,
                unwritten: Vec::new(),
                written: end,
                synced,
            }),
        }
    }

    /// Hands over a record. True if there was none waiting to be written: wake who writes.
    pub(super) fn push(&self, record: &Record) -> bool {
        let mut pending = locked(&self.pending);
        let first = pending.bytes.is_empty();
        pending.push(record);
        first
    }

    /// Journal offset behind all records handed over.
    pub(super) fn end(&self) -> u64 {
        locked(&self.pending).end
    }

    /// Bytes in the file.
    pub(super) fn written_bytes(&self) -> u64 {
        locked(&self.file).written
    }

    /// Writes what was handed over, without fsync: it then survives this process.
    pub(super) fn append(&self) -> Result<(), StoreError> {
        self.append_to(&mut locked(&self.file))
    }

    /// Refuses once an fsync failed.
    pub(super) fn check_trust(&self) -> Result<(), StoreError> {
        match self.distrusted.load(Ordering::Acquire) {
            true => Err(StoreError::Distrusted { path: self.path.clone() }),
            false => Ok(()),
        }
    }

    /// Whether a Sync on stable storage covers every record.
    pub(super) fn is_covered(&self) -> bool {
        let file = locked(&self.file);
        let end = locked(&self.pending).end;
        file.synced.is_some_and(|s| s.end == end && s.upto == s.start)
    }

    /// Says, on stable storage, that all before the journal offset `upto` is on stable storage.
    pub(super) fn sync(&self, upto: u64) -> Result<(), StoreError> {
        let mut file = locked(&self.file);
        self.check_trust()?;
        let synced = {
            let mut pending = locked(&self.pending);
            let start = pending.end;
            pending.push(&Record::Sync { upto });
            Synced {
                upto,
                start,
                end: pending.end,
            }
        };
        self.append_to(&mut file)?;
        if let Err(errno) = rustix::fs::fdatasync(&file.file) {
            self.distrusted.store(true, Ordering::Release);
            let (path, source) = (self.path.clone(), errno.into());
            return Err(StoreError::Disk {
                path,
                what: "sync it",
                source,
            });
        }
        file.synced = Some(synced);
        Ok(())
    }

    fn append_to(&self, journal: &mut JournalFile) -> Result<(), StoreError> {
        let bytes = std::mem::take(&mut locked(&self.pending).bytes);
        if journal.unwritten.is_empty() {
            journal.unwritten = bytes;
        } else {
            journal.unwritten.extend(bytes);
        }
        if journal.unwritten.is_empty() {
            return Ok(());
        }
        // At a fixed offset: a write that stopped half-way (disk full) is done again over itself.
        let needed = journal.unwritten.len() as u64;
        let done: io::Result<()> = journal.file.write_all_at(&journal.unwritten, journal.written);
        done.map_err(|e| StoreError::of_write(&self.path, "append to it", needed, e))?;
        journal.written += needed;
        journal.unwritten.clear();
        Ok(())
    }
}

impl Pending {
    fn push(&mut self, record: &Record) {
        let before = self.bytes.len();
        if let Some(boot) = self.boot.take() {
            self.encoder.push(&Record::Boot(boot), &mut self.bytes);
        }
        self.encoder.push(record, &mut self.bytes);
        self.end += (self.bytes.len() - before) as u64;
    }
}
