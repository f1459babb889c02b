//! Writes chunks: to their place in a backing file, or to a pack segment. Decides where.
//!
//! Writes are plain `pwrite`s of the worker that has just hashed the bytes, while they are in its cache. No filesystem takes a buffered write
//! without being allowed to wait, so a ring would hand each one to a kernel thread on another core, and measured that costs a receiver
//! 0.1 to 0.3 CPU seconds a GB.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use ares_core::chunk::{ChunkRef, VerifiedChunk};
use ares_core::store::{BlobRef, HeldChunk, ObjectNo, Record, layout};
use ares_core::swarm::BlobPlace;
use rustix::fs::FallocateFlags;

use super::object::ObjectFile;
use super::shared::{Completed, Shared, Unusable};
use super::{Filled, ReadError, Store, StoreError, locked};

/// Times an object that vanishes under our hands is made anew before that is an error.
const VANISHED_MAX: u32 = 3;

/// Writes chunks; one per worker thread.
pub struct StoreWriter {
    store: Arc<Store>,
}

/// Where a chunk is to be written.
struct Target {
    object: ObjectNo,
    file: Arc<ObjectFile>,
    offset: u64,
}

impl StoreWriter {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Writes a chunk to its place, or to a pack. Returns once it is readable by everybody; it survives a crash of this process within
    /// 50 ms and a crash of the machine within about 2 s. Putting what is there already costs nothing.
    ///
    /// On a full disk intake stops ([`StoreError::Full`]); later calls try again by themselves, at first every quarter of a second.
    pub fn put(&self, chunk: &VerifiedChunk, place: Option<BlobPlace>) -> Result<(), StoreError> {
        let named = ChunkRef {
            id: chunk.id(),
            len: chunk.bytes().len() as u32,
        };
        let mut lost = 0;
        loop {
            let Some(target) = self.store.shared.target(&named, place)? else {
                return Ok(());
            };
            self.write(&target, chunk, place.is_some())
                .inspect_err(|e| self.store.shared.on_write_failed(e))?;
            let held = HeldChunk {
                chunk: named,
                offset: target.offset,
            };
            match self.store.shared.commit(target.object, vec![held]) {
                Some(Completed::No) => return Ok(()),
                Some(Completed::Blob(blob)) => {
                    self.store.shared.rename_blob(&blob);
                    return Ok(());
                }
                // Somebody found the object's file gone meanwhile.
                None if lost < VANISHED_MAX => lost += 1,
                None => {
                    return Err(StoreError::Vanished {
                        path: target.file.path.clone(),
                    });
                }
            }
        }
    }

    /// Copies a held chunk to another place, so that it need not be fetched again. Its bytes are verified on the way. (Chunks are cut by
    /// content, so two places hardly ever agree in alignment, and a reflink of the range is not possible.)
    pub fn fill(&self, chunk: ChunkRef, place: BlobPlace) -> Result<Filled, StoreError> {
        if self.store.has_at(&place, &chunk) {
            return Ok(Filled::There);
        }
        match self.store.read(chunk) {
            Ok(verified) => self.put(&verified, Some(place)).map(|()| Filled::Copied),
            Err(ReadError::Disk { path, source, .. }) => Err(StoreError::Disk {
                path,
                what: "read it",
                source,
            }),
            Err(ReadError::NotHeld(_) | ReadError::Bad { .. } | ReadError::Short { .. } | ReadError::Changed { .. }) => {
                Ok(Filled::NotHeld)
            }
        }
    }

    fn write(&self, target: &Target, chunk: &VerifiedChunk, sparse: bool) -> Result<(), StoreError> {
        let bytes = chunk.bytes();
        if sparse && is_zero(bytes) && punch_hole(&target.file.file, target.offset, bytes.len() as u64) {
            return Ok(());
        }
        let written = target.file.write_all_at(bytes, target.offset);
        written.map_err(|e| StoreError::of_write(&target.file.path, "write to it", bytes.len() as u64, e))?;
        self.store.shared.on_written();
        Ok(())
    }
}

/// Whether every byte is zero.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}

/// Leaves zeros as a hole; false where the filesystem cannot. The file has its full size since it was made, so on a fresh one there is nothing
/// to punch, but after a chunk was found bad there is.
fn punch_hole(file: &File, offset: u64, len: u64) -> bool {
    rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len).is_ok()
}

impl Shared {
    /// Where the chunk goes; `None` if it is there.
    fn target(&self, chunk: &ChunkRef, place: Option<BlobPlace>) -> Result<Option<Target>, StoreError> {
        match place {
            Some(place) => self.place_target(chunk, &place),
            None => self.pack_target(chunk),
        }
    }

    fn place_target(&self, chunk: &ChunkRef, place: &BlobPlace) -> Result<Option<Target>, StoreError> {
        let (offset, len) = (place.offset, u64::from(chunk.len));
        let misplaced = |known_bytes| StoreError::Misplaced {
            blob: place.blob,
            blob_bytes: place.blob_bytes,
            known_bytes,
            offset,
            len,
        };
        if offset.checked_add(len).is_none_or(|end| end > place.blob_bytes) {
            return Err(misplaced(None));
        }
        let mut admitted = false;
        for _ in 0..2 * VANISHED_MAX {
            let known = {
                let index = self.index();
                let blob = index.blob(&place.blob);
                if blob.is_some_and(|(_, _, c)| c.has(offset, offset + len)) && index.lookup(&chunk.id).is_some() {
                    return Ok(None);
                }
                blob.map(|(object, blob, _)| (object, blob))
            };
            if !admitted {
                self.admit(len)?;
                admitted = true;
            }
            let object = match known {
                Some((_, blob)) if blob.bytes != place.blob_bytes => return Err(misplaced(Some(blob.bytes))),
                Some((object, _)) => object,
                None => {
                    self.create_blob(BlobRef {
                        id: place.blob,
                        bytes: place.blob_bytes,
                    })?;
                    continue; // another writer may have made it, with another size
                }
            };
            match self.file(object) {
                Ok(file) => {
                    self.check_trust(object, &file.path)?;
                    return Ok(Some(Target { object, file, offset }));
                }
                Err(Unusable::Gone) => {}
                Err(Unusable::Refused(path, source)) => {
                    return Err(StoreError::Disk {
                        path,
                        what: "open it",
                        source,
                    });
                }
            }
        }
        Err(StoreError::Vanished {
            path: self.dir.join(layout::blob_partial(&place.blob)),
        })
    }

    fn pack_target(&self, chunk: &ChunkRef) -> Result<Option<Target>, StoreError> {
        if self.index().lookup(&chunk.id).is_some() {
            return Ok(None);
        }
        self.admit(u64::from(chunk.len))?;
        self.segment_target(chunk.len).map(Some)
    }

    /// Appends a chunk that is held to a pack segment once more, whether or not there is room.
    pub(super) fn append_to_pack(&self, chunk: &VerifiedChunk) -> Result<(), StoreError> {
        let (id, len) = (chunk.id(), chunk.bytes().len() as u32);
        let Target { object, file, offset } = self.segment_target(len)?;
        let written = file.write_all_at(chunk.bytes(), offset);
        written.map_err(|e| StoreError::of_write(&file.path, "write to it", len.into(), e))?;
        let chunk = ChunkRef { id, len };
        match self.commit(object, vec![HeldChunk { chunk, offset }]) {
            Some(_) => Ok(()),
            None => Err(StoreError::Vanished { path: file.path.clone() }),
        }
    }

    fn segment_target(&self, len: u32) -> Result<Target, StoreError> {
        for _ in 0..VANISHED_MAX {
            // `names` before `pack`: making a segment needs both.
            let (object, offset) = self.reserve(len)?;
            match self.file(object) {
                Ok(file) => return Ok(Target { object, file, offset }),
                Err(Unusable::Gone) => {
                    locked(&self.pack).take_if(|(open, _)| *open == object);
                }
                Err(Unusable::Refused(path, source)) => {
                    return Err(StoreError::Disk {
                        path,
                        what: "open it",
                        source,
                    });
                }
            }
        }
        Err(StoreError::Vanished {
            path: self.dir.join(layout::PACKS),
        })
    }

    /// Room for `len` bytes in a pack segment. What is reserved and then not written stays empty.
    fn reserve(&self, len: u32) -> Result<(ObjectNo, u64), StoreError> {
        let _names = locked(&self.names);
        let mut pack = locked(&self.pack);
        let end_max = locked(&self.room.quota).segment_bytes();
        let fits = |end: u64| end + u64::from(len) <= end_max;
        let usable = pack.filter(|(object, end)| fits(*end) && !locked(&self.dirty).distrusted.contains(object));
        let (object, offset) = match usable {
            Some(open) => open,
            None => (self.create_pack()?, 0),
        };
        *pack = Some((object, offset + u64::from(len)));
        Ok((object, offset))
    }

    /// A new, empty segment. Called with `names` held.
    fn create_pack(&self) -> Result<ObjectNo, StoreError> {
        let object = self.index().next_object();
        let path = self.dir.join(layout::pack(object));
        let file = create(&path, 0).inspect_err(|e| self.on_write_failed(e))?;
        self.introduce(object, file, &path, &Record::Pack { object });
        Ok(object)
    }

    /// The backing file of a blob: sparse, of its final size.
    fn create_blob(&self, blob: BlobRef) -> Result<(), StoreError> {
        if self.is_going(&blob.id) {
            self.flush()?; // no journal takes the new file for the one that is going
        }
        let _names = locked(&self.names);
        if self.index().blob(&blob.id).is_some() {
            return Ok(()); // another writer was faster
        }
        let dir = self.dir.join(layout::blob_dir(&blob.id));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|e| StoreError::of_write(&dir, "create it", 0, e))
            .inspect_err(|e| self.on_write_failed(e))?;
        // A whole one that the index does not know is a leftover; it would be found first.
        let _ = fs::remove_file(self.dir.join(layout::blob(&blob.id)));
        let object = self.index().next_object();
        let path = self.dir.join(layout::blob_partial(&blob.id));
        let file = create(&path, blob.bytes).inspect_err(|e| self.on_write_failed(e))?;
        locked(&self.dirty).dirs.insert(self.dir.join(layout::BLOBS));
        self.introduce(object, file, &path, &Record::Blob { object, blob });
        Ok(())
    }

    /// Makes a new file of ours known. Called with `names` held, which keeps object numbers in order.
    fn introduce(&self, object: ObjectNo, file: File, path: &Path, record: &Record) {
        {
            let mut dirty = locked(&self.dirty);
            dirty.dirs.extend(path.parent().map(Path::to_owned));
            dirty.objects.entry(object).or_default();
        }
        self.record(&mut self.index_mut(), record);
        let (path, store) = (path.to_owned(), self.weak.clone());
        self.files.insert(Arc::new(ObjectFile {
            file,
            path,
            object,
            guard: None,
            writing: Mutex::default(),
            seen: OnceLock::new(),
            store,
        }));
    }
}

/// Creates a file of `bytes` zeros, all hole. Whatever was there under this name is unknown to the index and goes; who has it open reads on.
fn create(path: &Path, bytes: u64) -> Result<File, StoreError> {
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options
        .open(path)
        .map_err(|e| StoreError::of_write(path, "create it", bytes, e))?;
    if let Err(e) = file.set_len(bytes) {
        let _ = fs::remove_file(path);
        return Err(match e.kind() {
            // Some filesystems say EINVAL where the size is beyond what they can count.
            std::io::ErrorKind::InvalidInput => StoreError::TooLarge {
                path: path.to_owned(),
                bytes,
            },
            _ => StoreError::of_write(path, "give it its size", bytes, e),
        });
    }
    Ok(file)
}
