//! Big files: cut and hashed in parts by any number of workers.
//!
//! ```text
//! part 0             part 1             part 2             equal lengths; a worker each
//! |--c--c---c---c---c|-c---c--c---c---c--|-c--c---c----c--|  c: cuts
//! [ worker A ...........[ worker B ............[ A .......]
//! ```
//! Each part is cut as if the file began there. Its worker goes on into the next until it cuts where the next part's chain does, which is
//! soon (`Meeting`); what that chain has before is dropped. How a part is cut is in `part`; here is who does which and what becomes of it.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ares_core::chunk::{ChunkId, ChunkRef, SizeClass, VerifiedChunk};
use ares_core::limits::{INLINE_BYTES_MAX, PACKED_BYTES_MAX};
use ares_core::manifest::{Content, EntryKind, File as FileEntry, ListBuilder, Meta, Top, Xattr};
use ares_core::store::BlobRef;
use ares_core::swarm::BlobPlace;
use bytes::Bytes;
use rustix::fs::FileType;

use super::buffers::STEP;
use super::look::{self, Attributed, Attributes, Look};
use super::part::{Chain, Part};
use super::tree::{Dir, Listing};
use super::work::{Job, TRIES_MAX, Worker};
use super::{FileHash, ImportError, LargeFiles, LeftOut};
use crate::store::StoreError;

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
    pub(super) file: File,
    /// What it was when it was opened.
    pub(super) look: Look,
    pub(super) class: SizeClass,
    pub(super) part_bytes: u64,
    /// The next part that nobody has taken.
    next: AtomicU64,
    /// Parts that are not done.
    unfinished: AtomicU64,
    /// It is not what it was, or cannot be read: what is still to do is in vain.
    broken: AtomicBool,
    parts: Mutex<Vec<Chain>>,
    zeros: OnceLock<ChunkId>,
}

/// Largest file that is published, in bytes: the list of its chunks is made in memory, here up to 900 MB of it. What ext4 holds at most.
const BIG_BYTES_MAX: u64 = 16 << 40;

/// Length of a part: some hundred chunks, so that the few that are hashed twice where parts meet do not matter. A multiple of the longest, so
/// that parts of a stretch of zeros meet.
const fn part_bytes(class: SizeClass) -> u64 {
    let longest = match class {
        // Tests have small files.
        _ if cfg!(test) => 10,
        SizeClass::Small => 336,
        SizeClass::Medium | SizeClass::Large => 168,
    };
    class.max() * longest
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
        if look.guard.size > BIG_BYTES_MAX {
            return Err(ImportError::Large {
                path,
                bytes: look.guard.size,
                limit: BIG_BYTES_MAX,
            });
        }
        let class = SizeClass::of(look.guard.size);
        let part_bytes = part_bytes(class);
        let parts = look.guard.size.div_ceil(part_bytes);
        let big = Arc::new(Big {
            place: self.place,
            path,
            tries: self.tries + 1,
            file,
            look,
            class,
            part_bytes,
            next: AtomicU64::new(0),
            unfinished: AtomicU64::new(parts),
            broken: AtomicBool::new(false),
            parts: Mutex::new(std::iter::repeat_with(Chain::default).take(parts as usize).collect()),
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
    /// Takes parts until none is left. The worker that finishes the last one finishes the file.
    pub(super) fn help(self: Arc<Self>, worker: &mut Worker<'_>) -> Result<(), ImportError> {
        let parts = self.parts().len() as u64;
        let mut invited = false;
        loop {
            let number = self.next.fetch_add(1, Relaxed);
            if number >= parts {
                return Ok(());
            }
            if !std::mem::replace(&mut invited, true) && number + 1 < parts {
                // Whoever takes it invites the next.
                worker.work.pool.push([Job::Parts(self.clone())]);
            }
            if !self.is_in_vain(worker) {
                match Part::new(&self, worker, number * self.part_bytes).cut() {
                    Ok(Some(chain)) => self.parts()[number as usize] = chain,
                    Ok(None) => self.broken.store(true, Relaxed),
                    Err(error) => {
                        self.broken.store(true, Relaxed);
                        return Err(ImportError::unreadable(&self.path, "read it", error));
                    }
                }
            }
            if self.unfinished.fetch_sub(1, AcqRel) == 1 {
                return if worker.work.is_over() { Ok(()) } else { self.finish(worker) };
            }
        }
    }

    /// Looked at between the steps of a part.
    pub(super) fn is_in_vain(&self, worker: &Worker<'_>) -> bool {
        self.broken.load(Relaxed) || worker.work.is_over()
    }

    /// The name of a longest chunk of zeros, which is hashed once.
    pub(super) fn zeros(&self) -> ChunkId {
        *self.zeros.get_or_init(|| ChunkId::of(&vec![0; self.class.max() as usize]))
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Chain>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunks of the file. `None` if the parts do not join: then the file changed while it was read, or the work is in vain.
    fn join(&self, worker: &Worker<'_>) -> Result<Option<Vec<ChunkRef>>, ImportError> {
        let mut parts = std::mem::take(&mut *self.parts());
        let mut chunks = Vec::new();
        let (mut at, mut part) = (0, Some(0));
        while at < self.look.guard.size {
            let chain = match part {
                Some(part) => std::mem::take(&mut parts[part as usize]),
                None => match Part::new(self, worker, at).cut() {
                    Ok(Some(chain)) => chain,
                    Ok(None) => return Ok(None),
                    Err(error) => return Err(ImportError::unreadable(&self.path, "read it", error)),
                },
            };
            let mut begin = chain.begin;
            chunks.extend(chain.chunks.into_iter().skip_while(|chunk| {
                let dropped = begin < at;
                begin += if dropped { u64::from(chunk.len) } else { 0 };
                dropped
            }));
            if begin != at || chain.end <= at {
                return Ok(None);
            }
            (at, part) = (chain.end, chain.next);
        }
        Ok(Some(chunks))
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
        let Some(chunks) = self.join(worker)? else {
            return Ok(None);
        };
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
        let b3 = match worker.work.options.file_hash {
            FileHash::Leave => None,
            FileHash::Record => match self.whole_hash(worker)? {
                None => return Ok(None),
                hash => hash,
            },
        };
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

    /// Hashes the file once more, as a whole. `None` if it is shorter by now.
    fn whole_hash(&self, worker: &Worker<'_>) -> Result<Option<[u8; 32]>, ImportError> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = worker.work.buffers.take();
        let mut at = 0;
        while at < self.look.guard.size {
            if worker.work.is_over() {
                return Err(ImportError::Cancelled);
            }
            let step = &mut buffer.space()[..STEP.min((self.look.guard.size - at) as usize)];
            match look::read_at(&self.file, step, at).map_err(|e| ImportError::unreadable(&self.path, "read it", e))? {
                0 => return Ok(None),
                read => {
                    hasher.update(&step[..read]);
                    at += read as u64;
                }
            }
        }
        Ok(Some(*hasher.finalize().as_bytes()))
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
