//! Small files: those between two cuts of a directory are read into one pack, or into their entries.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use ares_core::chunk::{ChunkRef, VerifiedChunk};
use ares_core::limits::PACKED_BYTES_MAX;
use ares_core::manifest::{Content, EntryKind, File as FileEntry, Meta, Shape};
use bytes::Bytes;
use rustix::fs::FileType;

use super::buffers::Buffer;
use super::look::{self, Look};
use super::tree::{Dir, Found, Listing, Slot};
use super::work::{TRIES_MAX, Worker};
use super::{FileHash, ImportError};

/// The small files of these entries. At most one pack's worth: the directory's planner cut there.
pub(super) struct SmallJob {
    pub(super) dir: Arc<Dir>,
    pub(super) listing: Arc<Listing>,
    pub(super) slots: Range<usize>,
}

/// A file that was read to its place in the buffer.
struct Read {
    slot: usize,
    offset: u32,
    meta: Meta,
    b3: Option<[u8; 32]>,
}

impl SmallJob {
    pub(super) fn run(self, worker: &mut Worker<'_>) -> Result<(), ImportError> {
        let mut pack = worker.work.buffers.take();
        if let Some(read) = self.read(worker, &mut pack)? {
            self.finish(worker, pack, &read)?;
        }
        worker.end_job_of(&self.dir)
    }

    /// Reads the packed files side by side, and puts inline ones where they go. `None` where one is not what was listed.
    fn read(&self, worker: &Worker<'_>, pack: &mut Buffer) -> Result<Option<Vec<Read>>, ImportError> {
        let mut packed = Vec::new();
        for at in self.slots.clone() {
            let slot = &self.listing.slots[at];
            let Found::File(listed) = &slot.found else { continue };
            if listed.guard.size > PACKED_BYTES_MAX {
                continue;
            }
            let size = listed.guard.size as usize;
            let offset = pack.len;
            let Some(meta) = self.read_file(worker, slot, listed, &mut pack.space()[offset..=offset + size])? else {
                return Ok(None);
            };
            let bytes = &pack.space()[offset..offset + size];
            let b3 = (worker.work.options.file_hash == FileHash::Record).then(|| *blake3::hash(bytes).as_bytes());
            if Shape::File(listed.guard.size).is_packed() {
                packed.push(Read {
                    slot: at,
                    offset: offset as u32,
                    meta,
                    b3,
                });
                pack.len += size;
            } else {
                let content = Content::Inline(Bytes::copy_from_slice(bytes));
                let _ = slot.done.set((
                    meta,
                    EntryKind::File(FileEntry {
                        bytes: listed.guard.size,
                        content,
                        b3,
                    }),
                ));
            }
            worker.count_done(1, listed.guard.size);
        }
        Ok(Some(packed))
    }

    /// Reads one file into a buffer with one byte more than it had, which stays empty unless it grew. `None` where it is not what was
    /// listed, so that the directory must be planned anew.
    fn read_file(&self, worker: &Worker<'_>, slot: &Slot, listed: &Look, buffer: &mut [u8]) -> Result<Option<Meta>, ImportError> {
        let file = match look::open_at(self.dir.fd.as_fd(), &slot.name, FileType::RegularFile) {
            Ok(fd) => File::from(fd),
            Err(error) => {
                self.dir.trouble(worker, &slot.name, "open it", error)?;
                return Ok(None);
            }
        };
        let unreadable = |error| ImportError::unreadable(&self.dir.path_of(&slot.name), "read it", error);
        let mut before = *listed;
        for _ in 0..TRIES_MAX {
            let read = look::read_at(&file, buffer, 0);
            let after = look::look(&file).map_err(unreadable)?;
            if after.guard.size != listed.guard.size || after.kind != FileType::RegularFile {
                break;
            }
            if read.map_err(unreadable)? as u64 == listed.guard.size && after.guard == before.guard {
                return Ok(Some(Meta {
                    mode: after.mode,
                    mtime: after.mtime,
                    xattrs: slot.meta.xattrs.clone(),
                }));
            }
            // Written to, or replaced by one of the same size: it fits the plan, and may hold still now.
            before = after;
        }
        self.dir.changed(&slot.name);
        Ok(None)
    }

    fn finish(&self, worker: &mut Worker<'_>, pack: Buffer, packed: &[Read]) -> Result<(), ImportError> {
        if packed.is_empty() {
            return Ok(());
        }
        let chunk = VerifiedChunk::of(Bytes::from_owner(pack));
        worker.put(&chunk)?;
        let pack = ChunkRef {
            id: chunk.id(),
            len: chunk.bytes().len() as u32,
        };
        for Read { slot, offset, meta, b3 } in packed {
            let slot = &self.listing.slots[*slot];
            let Found::File(listed) = &slot.found else {
                unreachable!("only files are read")
            };
            let content = Content::Packed { pack, offset: *offset };
            let file = FileEntry {
                bytes: listed.guard.size,
                content,
                b3: *b3,
            };
            let _ = slot.done.set((meta.clone(), EntryKind::File(file)));
        }
        Ok(())
    }
}
