//! How a store comes up: lock, replay, mend what a crash left. After this the journal and the index say the same.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use ares_core::store::{
    BlobRef, BootId, Guard, Index, ObjectKind, ObjectNo, Record, Replay, Tail, TailEnd, Unsynced, layout, worth_compacting,
};
use rustix::fs::FlockOperation;

use super::StoreError;
use super::evict::Room;
use super::journal::Journal;
use super::object::{OpenFiles, guard_from};
use super::rewrite::NewJournal;
use super::shared::{Dirty, Shared, Signal, own_names};
use super::state::{StateError, prepare_state_dir};

/// Bytes of the journal read or written at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Where the kernel tells the boot id (proc(5)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Opens the store in `dir`. On an error nothing in it has changed, but for directories that were absent.
pub(super) fn open(dir: &Path) -> Result<Arc<Shared>, StoreError> {
    prepare_state_dir(dir)?;
    let dir = fs::canonicalize(dir).map_err(|e| StateError::of(dir, "look at it", e))?;
    let lock = lock(&dir)?;
    let boot = boot_id();
    let path = dir.join(layout::JOURNAL);
    let (mut index, tail) = match read_journal(&path, boot)? {
        Some(replayed) => replayed,
        None => (Index::default(), nothing_yet()),
    };
    for data in [layout::PACKS, layout::BLOBS] {
        let path = dir.join(data);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|e| in_state(&path, "create it", e))?;
    }
    say_what_was_lost(&path, &tail);
    if matches!(tail.end, TailEnd::Corrupt | TailEnd::Nonsense(_))
        && let Err(e) = keep_damaged(&dir, &path, tail.valid_bytes)
    {
        tracing::warn!("cannot keep {}: {e}", layout::JOURNAL_DAMAGED);
    }
    let mut settled = settle_moves(&dir, &index);
    settled
        .iter()
        .for_each(|record| index.apply(record).expect("made from the index itself"));
    let (journal, unsynced) = if must_rewrite(&index, &tail) {
        settled.clear(); // the rewritten journal says so already
        forget_unsyncable(&dir, &mut index, &tail.unsynced);
        (rewrite(&dir, &path, &index, boot)?, Unsynced::new())
    } else {
        let unsynced = tail.unsynced.clone();
        (go_on(path, tail, boot)?, unsynced)
    };
    settled.iter().for_each(|record| {
        journal.push(record);
    });
    let pack = index.open_pack();
    let room = Room::new(index.read_in_order());
    Ok(Arc::new_cyclic(|weak| Shared {
        dir,
        _lock: lock,
        index: RwLock::new(index),
        journal,
        dirty: Mutex::new(Dirty {
            objects: unsynced,
            ..Dirty::default()
        }),
        files: OpenFiles::default(),
        loans: Default::default(),
        intake: Mutex::default(),
        start: std::time::Instant::now(),
        boot,
        pack: Mutex::new(pack),
        configured_pins: Mutex::default(),
        names: Mutex::new(()),
        flushing: Mutex::new(()),
        signal: Signal::default(),
        gone_objects: Default::default(),
        bad_chunks: Default::default(),
        evicted_bytes: Default::default(),
        room,
        weak: weak.clone(),
    }))
}

/// An I/O error on a file of ours, before anything was written to it.
fn in_state(path: &Path, what: &'static str, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => {
            StateError::of(path.parent().unwrap_or(path), what, source).into()
        }
        _ => StoreError::of_write(path, what, 0, source),
    }
}

/// The lock on a state directory, held until dropped.
pub(super) struct StateLock(File);

impl Drop for StateLock {
    fn drop(&mut self) {
        // Closing alone would not do while another thread is between fork and exec: its child has the descriptor, too.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// One store, one process. The kernel drops the lock when its holder dies, however it dies.
fn lock(dir: &Path) -> Result<StateLock, StoreError> {
    let path = dir.join(layout::LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(|e| in_state(&path, "open it", e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // For whoever comes second; if the disk is too full for it, they see no number.
            let _ = file
                .set_len(0)
                .and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
            Ok(StateLock(file))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = Read::take(&mut file, 32).read_to_string(&mut text);
            Err(StoreError::Locked {
                path: dir.to_owned(),
                holder: text.trim().parse().ok(),
            })
        }
        Err(e) => Err(in_state(&path, "lock it", e.into())),
    }
}

/// This boot's id. Where the kernel does not tell, one that never was: then nothing unsynced is believed.
fn boot_id() -> BootId {
    let text = fs::read_to_string(BOOT_ID).unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    match u128::from_str_radix(&digits, 16) {
        Ok(id) if digits.len() == 32 => BootId(id.to_be_bytes()),
        _ => BootId(random()),
    }
}

pub(super) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // Without entropy zeros do: the nonce only tells reused disk blocks apart.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

fn nothing_yet() -> Tail {
    Tail {
        end: TailEnd::Clean,
        valid_bytes: 0,
        cut_bytes: 0,
        dropped_records: 0,
        boot_is_current: false,
        unsynced: Unsynced::new(),
        all_covered: true,
        encoder: None,
    }
}

/// Replays the journal, if there is one. Only reads.
fn read_journal(path: &Path, boot: BootId) -> Result<Option<(Index, Tail)>, StoreError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(in_state(path, "open it", e)),
    };
    let mut replay = Replay::new(boot);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(Some(replay.finish())),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(StoreError::Disk {
                    path: path.to_owned(),
                    what: "read it",
                    source,
                });
            }
        };
        let taken = replay.on_bytes(&piece[..read]);
        taken.map_err(|why| StoreError::Journal {
            path: path.to_owned(),
            why,
        })?;
    }
}

fn say_what_was_lost(path: &Path, tail: &Tail) {
    let (cut, at, path) = (tail.cut_bytes, tail.valid_bytes, path.display());
    match tail.end {
        TailEnd::Clean => {}
        TailEnd::Torn => {
            tracing::warn!(%path, "the journal ended within a record, as a crash leaves it: its last {cut} bytes are cut off")
        }
        TailEnd::Corrupt => tracing::error!(
            %path,
            "the journal is damaged at byte {at}: {cut} bytes are kept as {} and not believed; chunks named there are fetched (or published) again",
            layout::JOURNAL_DAMAGED
        ),
        TailEnd::Nonsense(why) => tracing::error!(
            %path,
            "the journal contradicts itself at byte {at} ({why}), please report this: {cut} bytes are kept as {} and not believed",
            layout::JOURNAL_DAMAGED
        ),
    }
    if tail.dropped_records > 0 {
        let records = tail.dropped_records;
        tracing::warn!(%path, "the machine was started anew before {records} records were on stable storage: they are dropped");
    }
}

/// Copies what is not believed, for whoever wants to look at it.
fn keep_damaged(dir: &Path, path: &Path, from: u64) -> io::Result<()> {
    let mut journal = File::open(path)?;
    journal.seek(SeekFrom::Start(from))?;
    let mut options = OpenOptions::new();
    let mut kept = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(dir.join(layout::JOURNAL_DAMAGED))?;
    io::copy(&mut journal, &mut kept).map(|_| ())
}

/// What became of backing files that were being taken out of the store when a crash came: see `hand_over`.
fn settle_moves(dir: &Path, index: &Index) -> Vec<Record> {
    let moving = index.objects().filter_map(|(no, object)| match &object.kind {
        ObjectKind::Blob {
            blob,
            moving: Some((guard, path)),
            ..
        } => {
            let stayed = own_names(no, &object.kind)?.iter().any(|name| dir.join(name).exists());
            if stayed { None } else { arrived(no, *blob, guard, path) }
        }
        _ => None,
    });
    moving.collect()
}

/// The record that says a backing file arrived at `path`, if it did. Its ctime is not compared: the rename itself set it.
fn arrived(object: ObjectNo, blob: BlobRef, was: &Guard, path: &[u8]) -> Option<Record> {
    let guard = guard_from(&fs::symlink_metadata(OsStr::from_bytes(path)).ok()?);
    let same = Guard {
        ctime_ns: was.ctime_ns,
        ..guard
    } == *was;
    same.then(|| Record::InPlace {
        object,
        blob,
        guard,
        path: path.to_vec(),
    })
}

fn must_rewrite(index: &Index, tail: &Tail) -> bool {
    tail.encoder.is_none()
        || tail.dropped_records > 0
        || matches!(tail.end, TailEnd::Nonsense(_))
        || worth_compacting(tail.valid_bytes, index.journal_bytes())
}

/// A rewritten journal says that all is on stable storage, so what no Sync covered is synced first, or forgotten.
fn forget_unsyncable(dir: &Path, index: &mut Index, unsynced: &BTreeMap<ObjectNo, Vec<ares_core::store::HeldChunk>>) {
    for (object, chunks) in unsynced {
        let Some(known) = index.object(*object) else { continue };
        let Some(names) = own_names(*object, &known.kind) else {
            continue;
        };
        let file = names.iter().find_map(|name| File::open(dir.join(name)).ok());
        if file.is_some_and(|file| rustix::fs::fdatasync(&file).is_ok()) {
            continue;
        }
        tracing::error!(
            "a file of the store cannot be synced: {} chunks written there last are forgotten",
            chunks.len()
        );
        for held in chunks {
            let forget = Record::Forget {
                object: *object,
                offset: held.offset,
                chunk: held.chunk,
            };
            index.apply(&forget).expect("forgetting is never nonsense");
        }
    }
}

/// Writes a journal that says what the index says, and puts it in the old one's place.
fn rewrite(dir: &Path, path: &Path, index: &Index, boot: BootId) -> Result<Journal, StoreError> {
    let aside = dir.join(layout::JOURNAL_NEW);
    let result = write_journal(&aside, index, boot).and_then(|written| {
        fs::rename(&aside, path)?;
        File::open(dir)?.sync_all()?;
        Ok(written)
    });
    match result {
        Ok(new) => {
            let end = new.end();
            Ok(Journal::new(path.to_owned(), new.file, new.encoder, end, None, true))
        }
        Err(e) => {
            let _ = fs::remove_file(&aside);
            Err(StoreError::of_write(&aside, "write it", index.totals().chunks * 44, e))
        }
    }
}

fn write_journal(path: &Path, index: &Index, boot: BootId) -> io::Result<NewJournal> {
    let mut new = NewJournal::create(path, boot)?;
    index.records().try_for_each(|record| new.push(&record))?;
    new.finish(new.end())?;
    Ok(new)
}

/// Opens the journal for appending behind its last whole record.
fn go_on(path: PathBuf, tail: Tail, boot: BootId) -> Result<Journal, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|e| in_state(&path, "open it", e))?;
    if tail.cut_bytes > 0 {
        file.set_len(tail.valid_bytes)
            .map_err(|e| StoreError::of_write(&path, "truncate it", 0, e))?;
    }
    // A process killed between its last Sync record and the fsync behind it left a Sync that only the page cache has.
    let covered = tail.all_covered && rustix::fs::fdatasync(&file).is_ok();
    let boot = (!tail.boot_is_current).then_some(boot);
    let encoder = tail.encoder.expect("a journal without a header is rewritten");
    Ok(Journal::new(path, file, encoder, tail.valid_bytes, boot, covered))
}
