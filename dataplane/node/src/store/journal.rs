//! The journal file: records are encoded in the order they come, written in batches, and covered by Sync records. Decides nothing about
//! what they mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ares_core::store::{BootId, Encoder, Record};

use super::flush::Synced;
use super::rewrite::NewJournal;
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
    /// Records since `follow`, for a journal that is to take this one's place.
    followed: Option<Vec<Record>>,
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
                followed: None,
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

    /// Records are remembered from now on, or no more.
    pub(super) fn follow(&self, is_on: bool) {
        locked(&self.pending).followed = is_on.then(Vec::new);
    }

    /// Those that have come since this was last asked, or since `follow`.
    pub(super) fn take_followed(&self) -> Vec<Record> {
        let mut pending = locked(&self.pending);
        pending.followed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts a journal in this one's place that says the same but for the records that `take_followed` would give.
    pub(super) fn replace(&self, (new, synced): (NewJournal, Synced), from: &Path) -> Result<(), StoreError> {
        let mut file = locked(&self.file);
        std::fs::rename(from, &self.path).map_err(|e| StoreError::of_write(&self.path, "rename a journal to it", 0, e))?;
        let mut pending = locked(&self.pending);
        let end = new.end();
        *file = JournalFile {
            file: new.file,
            unwritten: Vec::new(),
            written: end,
            synced: Some(synced),
        };
        // What waited to be written stands in the new one, or is followed.
        let followed = pending.followed.take();
        *pending = Pending {
            encoder: new.encoder,
            bytes: Vec::new(),
            end,
            boot: None,
            followed: None,
        };
        followed.iter().flatten().for_each(|record| pending.push(record));
        Ok(())
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
        if let Some(followed) = &mut self.followed {
            followed.push(record.clone());
        }
        self.end += (self.bytes.len() - before) as u64;
    }
}
