//! Big files: read in windows by any number of workers, cut in order, hashed by whoever cut.
//!
//! ```text
//! worker A   read 0, search 0 | cut 0 | hash what ended in 0   | read 2, search 2 | cut 2 | ..
//! worker B   read 1, search 1 | (waits for cut 0) cut 1 | hash what ended in 1    | read 3 ..
//! ```
//! Only the choice of cuts among the anchors found goes in file order; it takes microseconds. Holes of sparse files are neither read nor
//! hashed, with the same cuts as if they were.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use ares_core::chunk::{Anchor, Chooser, ChunkId, ChunkRef, LOOKBACK, SizeClass, VerifiedChunk, anchors};
use ares_core::limits::{INLINE_BYTES_MAX, PACKED_BYTES_MAX};
use ares_core::manifest::{Content, EntryKind, File as FileEntry, ListBuilder, Meta, Top, Xattr};
use ares_core::store::BlobRef;
use ares_core::swarm::BlobPlace;
use bytes::Bytes;
use rustix::fs::FileType;

use super::buffers::{Buffer, WINDOW};
use super::look::{self, Attributed, Attributes, Look};
use super::tree::{Dir, Listing};
use super::work::{Job, TRIES_MAX, Worker};
use super::{FileHash, ImportError, LargeFiles, LeftOut};
use crate::store::StoreError;

/// Files of fewer windows are read by one worker alone: the others have files of their own.
const SHARED_WINDOWS_MIN: u64 = 8;

const _: () = assert!(
    SizeClass::Large.max() as usize <= WINDOW,
    "what is not yet cut lies in the last window and the one before"
);

/// What stands for every hole. Only read, so all of it is the kernel's one page of zeros.
static ZEROS: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; WINDOW].into());

/// Opens a big file.
pub(super) struct BigJob {
    place: Place,
    tries: u32,
}

/// Where a big file was found.
#[derive(Clone)]
enum Place {
    Below {
        dir: Arc<Dir>,
        listing: Arc<Listing>,
        slot: usize,
    },
    Top {
        path: PathBuf,
    },
}

/// A big file that is being read.
pub(super) struct Big {
    place: Place,
    path: PathBuf,
    tries: u32,
    file: File,
    /// What it was when it was opened.
    look: Look,
    class: SizeClass,
    windows: u64,
    /// The next window that nobody has taken.
    next: AtomicU64,
    /// Windows of which not everything is hashed.
    unfinished: AtomicU64,
    /// Somebody found that it changed, or failed.
    broken: AtomicBool,
    turn: Mutex<Turn>,
    next_turn: Condvar,
    chunks: Mutex<Vec<ChunkRef>>,
    /// Hash of a longest chunk of zeros.
    zeros: OnceLock<ChunkId>,
}

/// What goes from window to window, in file order.
struct Turn {
    /// The window whose turn it is.
    window: u64,
    chooser: Option<Chooser>,
    /// Windows with bytes of the chunk that has not ended.
    open: VecDeque<Arc<Window>>,
    /// Chunks that have ended.
    chunks: usize,
    cuts: Vec<u64>,
    hasher: Option<blake3::Hasher>,
}

/// Bytes of the file from `start` on.
struct Window {
    start: u64,
    end: u64,
    /// `None` where they are a hole. Else `LOOKBACK` bytes before `start` come first, or as many as there are.
    read: Option<Buffer>,
}

/// A chunk that has ended: its number in the file, its bytes.
struct Ended {
    number: usize,
    start: u64,
    end: u64,
    windows: [Option<Arc<Window>>; 2],
}

impl BigJob {
    pub(super) fn below(dir: Arc<Dir>, listing: Arc<Listing>, slot: usize) -> Self {
        Self {
            place: Place::Below { dir, listing, slot },
            tries: 0,
        }
    }

    pub(super) fn top(path: PathBuf) -> Self {
        Self {
            place: Place::Top { path },
            tries: 0,
        }
    }

    pub(super) fn run(self, worker: &mut Worker<'_>) -> Result<(), ImportError> {
        let (opened, path) = match &self.place {
            Place::Top { path } => (File::open(path), path.clone()),
            Place::Below { dir, listing, slot } => {
                let name = &listing.slots[*slot].name;
                (
                    look::open_at(dir.fd.as_fd(), name, FileType::RegularFile).map(File::from),
                    dir.path_of(name),
                )
            }
        };
        worker.at(&path);
        let file = match (opened, &self.place) {
            (Ok(file), _) => file,
            (Err(error), Place::Top { .. }) => return Err(ImportError::unreadable(&path, "open it", error)),
            (Err(error), Place::Below { dir, listing, slot }) => {
                dir.trouble(worker, &listing.slots[*slot].name, "open it", error)?;
                return worker.end_job_of(dir);
            }
        };
        let look = look::look(&file).map_err(|e| ImportError::unreadable(&path, "look at it", e))?;
        if let Place::Top { .. } = self.place
            && look.guard.size <= INLINE_BYTES_MAX
        {
            return self.inline_top(worker, &file, &look, path);
        }
        // Below the packed size the directory's plan is another one.
        let fits = match &self.place {
            Place::Below { .. } => look.guard.size > PACKED_BYTES_MAX,
            Place::Top { .. } => true,
        };
        if look.kind != FileType::RegularFile || !fits {
            return self.place.give_up(worker, path);
        }
        let class = SizeClass::of(look.guard.size);
        let windows = look.guard.size.div_ceil(WINDOW as u64);
        let hasher = (worker.work.options.file_hash == FileHash::Record).then(blake3::Hasher::new);
        let turn = Turn {
            window: 0,
            chooser: Some(Chooser::new(class)),
            open: VecDeque::new(),
            chunks: 0,
            cuts: Vec::new(),
            hasher,
        };
        let big = Arc::new(Big {
            place: self.place,
            path,
            tries: self.tries + 1,
            file,
            look,
            class,
            windows,
            next: AtomicU64::new(0),
            unfinished: AtomicU64::new(windows),
            broken: AtomicBool::new(false),
            turn: Mutex::new(turn),
            next_turn: Condvar::new(),
            chunks: Mutex::new(Vec::new()),
            zeros: OnceLock::new(),
        });
        big.help(worker)
    }
}

impl BigJob {
    /// A file that is the whole release and has no chunk: it sits in the root.
    fn inline_top(self, worker: &Worker<'_>, file: &File, look: &Look, path: PathBuf) -> Result<(), ImportError> {
        let unreadable = |what, error| ImportError::unreadable(&path, what, error);
        let mut bytes = vec![0; look.guard.size as usize + 1];
        let read = look::read_at(file, &mut bytes, 0).map_err(|e| unreadable("read it", e))?;
        bytes.truncate(read);
        let now = look::look(file).map_err(|e| unreadable("look at it", e))?;
        if now.guard == look.guard && read as u64 == look.guard.size {
            let b3 = (worker.work.options.file_hash == FileHash::Record).then(|| *blake3::hash(&bytes).as_bytes());
            let content = Content::Inline(bytes.into());
            worker.count_done(1, look.guard.size);
            let meta = look.meta(top_xattrs(worker, file, &path)?);
            worker.work.end(Ok(Top::File {
                meta,
                file: FileEntry {
                    bytes: look.guard.size,
                    content,
                    b3,
                },
            }));
        } else if self.tries + 1 < TRIES_MAX {
            worker.work.pool.push([Job::Open(Self {
                tries: self.tries + 1,
                ..self
            })]);
        } else {
            return Err(ImportError::Changed { path, tries: TRIES_MAX });
        }
        Ok(())
    }
}

fn top_xattrs(worker: &Worker<'_>, file: &File, path: &Path) -> Result<Vec<Xattr>, ImportError> {
    match look::xattrs(&Attributed::Open(file.as_fd())) {
        Ok(Attributes::Fit(xattrs)) => Ok(xattrs),
        Ok(Attributes::TooMany) => {
            worker.work.progress.warn(path.to_owned(), LeftOut::Attributes);
            Ok(Vec::new())
        }
        Err(error) => Err(ImportError::unreadable(path, "read the attributes", error)),
    }
}

impl Place {
    /// The file is not what it was found as.
    fn give_up(&self, worker: &mut Worker<'_>, path: PathBuf) -> Result<(), ImportError> {
        match self {
            Self::Top { .. } => Err(ImportError::Changed { path, tries: TRIES_MAX }),
            Self::Below { dir, listing, slot } => {
                dir.changed(&listing.slots[*slot].name);
                worker.end_job_of(dir)
            }
        }
    }
}

impl Big {
    /// Takes windows until none is left. The worker that finishes the last one finishes the file.
    pub(super) fn help(self: Arc<Self>, worker: &mut Worker<'_>) -> Result<(), ImportError> {
        let mut found = Vec::new();
        let mut ended = Vec::new();
        let mut invite = self.windows >= SHARED_WINDOWS_MIN;
        loop {
            let window = self.next.fetch_add(1, Relaxed);
            if window >= self.windows {
                return Ok(());
            }
            if std::mem::take(&mut invite) && window + 1 < self.windows {
                // Whoever takes it invites the next.
                worker.work.pool.push([Job::Windows(self.clone())]);
            }
            if worker.work.is_over() {
                self.break_off();
                return Ok(());
            }
            let bytes = self
                .window(worker, window, &mut found, &mut ended)
                .inspect_err(|_| self.break_off())?;
            worker.count_done(0, bytes);
            if self.unfinished.fetch_sub(1, AcqRel) == 1 {
                return self.finish(worker);
            }
        }
    }

    /// Lets nobody wait for a turn that does not come.
    fn break_off(&self) {
        self.broken.store(true, Relaxed);
        drop(self.turn());
        self.next_turn.notify_all();
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chunks(&self) -> MutexGuard<'_, Vec<ChunkRef>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(
        &self,
        worker: &Worker<'_>,
        number: u64,
        found: &mut Vec<Anchor>,
        ended: &mut Vec<Ended>,
    ) -> Result<u64, ImportError> {
        let window = match self.broken.load(Relaxed) {
            true => None,
            false => self
                .read(worker, number, found)
                .map_err(|e| ImportError::unreadable(&self.path, "read it", e))?,
        };
        let Some(window) = window else {
            // Shorter than it was: it changed, and the turn after this one must not wait for it.
            self.break_off();
            return Ok(0);
        };
        let bytes = window.end - window.start;
        if !self.cut(number, &Arc::new(window), found, ended) {
            return Ok(bytes);
        }
        for chunk in ended.drain(..) {
            let id = self.hash(&chunk);
            self.chunks()[chunk.number].id = id;
        }
        Ok(bytes)
    }

    /// Reads a window and finds its anchors. `None` if the file ends before the window does.
    fn read(&self, worker: &Worker<'_>, number: u64, found: &mut Vec<Anchor>) -> io::Result<Option<Window>> {
        let start = number * WINDOW as u64;
        let end = (start + WINDOW as u64).min(self.look.guard.size);
        let back = start.min(LOOKBACK as u64);
        found.clear();
        if self.look.sparse && look::is_hole(&self.file, start, end) {
            // Only places that look back over the beginning of the hole may be anchors: a run of zeros has none.
            let mut head = [0; 2 * LOOKBACK];
            let back = look::read_at(&self.file, &mut head[..back as usize], start - back)?;
            let len = (end - start).min(LOOKBACK as u64) as usize;
            anchors(&head[..back + len], back, start, found);
            return Ok(Some(Window { start, end, read: None }));
        }
        let mut buffer = worker.work.buffers.take();
        buffer.len = (back + end - start) as usize;
        let len = buffer.len;
        if look::read_at(&self.file, &mut buffer.space()[..len], start - back)? < len {
            return Ok(None);
        }
        anchors(buffer.as_ref(), back as usize, start, found);
        Ok(Some(Window {
            start,
            end,
            read: Some(buffer),
        }))
    }

    /// Waits for its turn and ends the chunks that end there. False if the file is broken off.
    fn cut(&self, number: u64, window: &Arc<Window>, found: &[Anchor], ended: &mut Vec<Ended>) -> bool {
        let mut turn = self.turn();
        while turn.window != number {
            if self.broken.load(Relaxed) {
                return false;
            }
            turn = self.next_turn.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        let Turn {
            window: at,
            chooser,
            open,
            chunks,
            cuts,
            hasher,
        } = &mut *turn;
        open.push_back(window.clone());
        cuts.clear();
        let Some(choice) = chooser else {
            unreachable!("the last window has no successor")
        };
        let mut start = choice.start();
        choice.on_window(found, window.end, cuts);
        if window.end == self.look.guard.size
            && let Some(choice) = chooser.take()
        {
            choice.finish(window.end, cuts);
        }
        {
            let mut named = self.chunks();
            for &end in cuts.iter() {
                let mut with = open.iter().filter(|w| w.start < end && w.end > start).cloned();
                ended.push(Ended {
                    number: *chunks,
                    start,
                    end,
                    windows: [with.next(), with.next()],
                });
                // The name follows when it is hashed.
                named.push(ChunkRef {
                    id: ChunkId::from_bytes([0; 32]),
                    len: (end - start) as u32,
                });
                *chunks += 1;
                start = end;
            }
        }
        if let Some(hasher) = hasher {
            hasher.update(window.bytes(window.start, window.end));
        }
        while open.front().is_some_and(|w| w.end <= start) {
            open.pop_front();
        }
        *at += 1;
        drop(turn);
        self.next_turn.notify_all();
        true
    }

    fn hash(&self, chunk: &Ended) -> ChunkId {
        let windows = || chunk.windows.iter().flatten();
        let is_longest_zeros = chunk.end - chunk.start == self.class.max() && windows().all(|w| w.read.is_none());
        if is_longest_zeros {
            return *self.zeros.get_or_init(|| ChunkId::of(&ZEROS[..self.class.max() as usize]));
        }
        match &chunk.windows {
            [Some(window), None] => ChunkId::of(window.bytes(chunk.start, chunk.end)),
            _ => {
                let mut hasher = blake3::Hasher::new();
                for window in windows() {
                    hasher.update(window.bytes(chunk.start.max(window.start), chunk.end.min(window.end)));
                }
                ChunkId::from_bytes(*hasher.finalize().as_bytes())
            }
        }
    }

    /// Everything is hashed: makes the entry, if the file is still what was read.
    fn finish(&self, worker: &mut Worker<'_>) -> Result<(), ImportError> {
        let now = look::look(&self.file).map_err(|e| ImportError::unreadable(&self.path, "look at it", e))?;
        let published = if self.broken.load(Relaxed) || now.guard != self.look.guard {
            None
        } else {
            self.entry(worker)?
        };
        let Some((meta, entry)) = published else {
            if self.tries < TRIES_MAX {
                let again = BigJob {
                    place: self.place.clone(),
                    tries: self.tries,
                };
                worker.work.pool.push([Job::Open(again)]);
                return Ok(());
            }
            return self.place.give_up(worker, self.path.clone());
        };
        worker.count_done(1, 0);
        match &self.place {
            Place::Top { .. } => {
                worker.work.end(Ok(Top::File { meta, file: entry }));
                Ok(())
            }
            Place::Below { dir, listing, slot } => {
                let _ = listing.slots[*slot].done.set((meta, EntryKind::File(entry)));
                worker.end_job_of(dir)
            }
        }
    }

    /// Stores the chunk list and takes the file in. `None` if it changed meanwhile.
    fn entry(&self, worker: &mut Worker<'_>) -> Result<Option<(Meta, FileEntry)>, ImportError> {
        let chunks = std::mem::take(&mut *self.chunks());
        let mut list = ListBuilder::new();
        let mut stored = Ok(());
        let mut out = |node| {
            if stored.is_ok() {
                stored = worker.put(&node);
            }
        };
        chunks.iter().for_each(|&chunk| list.push(chunk, &mut out));
        let (bytes, content) = list.finish(&mut out);
        stored?;
        let b3 = self.turn().hasher.take().map(|hasher| *hasher.finalize().as_bytes());
        let entry = FileEntry { bytes, content, b3 };
        let Some(blob) = entry.blob_id() else {
            unreachable!("a big file has chunks of its own")
        };
        let mut at = 0;
        let places: Vec<(u64, ChunkRef)> = chunks
            .iter()
            .map(|&chunk| {
                at += u64::from(chunk.len);
                (at - u64::from(chunk.len), chunk)
            })
            .collect();
        let taken = match worker.work.options.large_files {
            LargeFiles::InPlace => {
                worker
                    .work
                    .store
                    .add_in_place(&self.path, self.look.guard, BlobRef { id: blob, bytes }, &places)
            }
            LargeFiles::Copy => return self.copy(worker, entry, blob, &places),
        };
        match taken {
            Ok(()) => Ok(Some((self.meta(worker)?, entry))),
            Err(StoreError::Changed(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads every chunk again, now that the blob it belongs to has its name, and stores it there.
    fn copy(
        &self,
        worker: &mut Worker<'_>,
        entry: FileEntry,
        blob: ChunkId,
        places: &[(u64, ChunkRef)],
    ) -> Result<Option<(Meta, FileEntry)>, ImportError> {
        for (offset, chunk) in places {
            if worker.work.is_over() {
                return Err(ImportError::Cancelled);
            }
            let mut buffer = worker.work.buffers.take();
            let space = &mut buffer.space()[..chunk.len as usize];
            buffer.len =
                look::read_at(&self.file, space, *offset).map_err(|e| ImportError::unreadable(&self.path, "read it", e))?;
            let Ok(verified) = VerifiedChunk::verify(chunk.id, Bytes::from_owner(buffer)) else {
                return Ok(None);
            };
            let place = BlobPlace {
                blob,
                blob_bytes: entry.bytes,
                offset: *offset,
            };
            worker.writer().put(&verified, Some(place))?;
        }
        Ok(Some((self.meta(worker)?, entry)))
    }

    fn meta(&self, worker: &Worker<'_>) -> Result<Meta, ImportError> {
        match &self.place {
            Place::Below { listing, slot, .. } => Ok(self.look.meta(listing.slots[*slot].meta.xattrs.clone())),
            Place::Top { path } => Ok(self.look.meta(top_xattrs(worker, &self.file, path)?)),
        }
    }
}

impl Window {
    /// The file's bytes from `start` to `end`, which lie in the window.
    fn bytes(&self, start: u64, end: u64) -> &[u8] {
        let (from, len) = ((start - self.start) as usize, (end - start) as usize);
        match &self.read {
            None => &ZEROS[..len],
            Some(buffer) => {
                let back = buffer.len - (self.end - self.start) as usize;
                &buffer.as_ref()[back + from..back + from + len]
            }
        }
    }
}
