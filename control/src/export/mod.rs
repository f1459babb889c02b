//! Writes what a link names to a place of the user's: files, directories and symlinks with modes, times and attributes. Nothing
//! appears under its final name before it is whole, nothing outside the place is touched, and what is there already and equal stays.
//! Bytes come from the store, verified; what is missing there is fetched.

mod big;
mod dir;
mod draft;
mod meta;
mod place;
mod uring;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ares_core::chunk::{ChunkId, ChunkRef, VerifiedChunk};
use ares_core::manifest::{Content, EntryKind, File, Meta, Name, Totals, Walk, WalkItem, WalkStep};
use ares_core::swarm::BlobPlace;
use bytes::Bytes;

use self::big::BigFile;
use self::dir::{Dir, Standing, may_replace};
pub(crate) use self::place::Place;
use self::uring::Uring;
use crate::admin::proto::Overwrite;
use crate::cancel::Cancel;
use crate::error::{Failure, Kind};
use crate::tree::{Chunks, Found};

/// Manifest nodes read at a time.
const AHEAD_NODES: usize = 4;

/// Where a blob's complete backing file may be had from instead of copying its bytes.
pub(crate) trait Blobs {
    /// Makes the backing file of `blob` the file `dest`, which does not exist; `dress` sets mode, times and attributes before.
    fn take(
        &self,
        blob: &ChunkId,
        dest: &Path,
        dress: &mut dyn FnMut(&std::fs::File) -> std::io::Result<()>,
    ) -> Result<Took, Failure>;
}

/// What became of `Blobs::take`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Took {
    /// The file is there.
    Moved,
    /// It is not: copy the bytes.
    MustCopy,
}

/// Counts on the way, for the progress bar and the summary.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Bytes of files written or found equal.
    pub(crate) bytes: AtomicU64,
    /// Entries done.
    pub(crate) entries: AtomicU64,
    /// Files that were there and equal.
    pub(crate) unchanged: AtomicU64,
}

/// What there is to write.
pub(crate) fn totals(found: &Found) -> Totals {
    match &found.kind {
        EntryKind::Dir(dir) => dir.totals,
        EntryKind::File(file) => Totals {
            bytes: file.bytes,
            entries: 1,
            chunks: file.own_chunks(),
        },
        EntryKind::Symlink(_) => Totals {
            bytes: 0,
            entries: 1,
            chunks: 0,
        },
    }
}

/// Writes `found` to `place`.
pub(crate) fn run(
    sources: (&dyn Chunks, &dyn Blobs),
    found: &Found,
    place: Place,
    overwrite: Overwrite,
    counters: &Counters,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let (chunks, blobs) = sources;
    let mut export = Export {
        chunks,
        blobs,
        overwrite,
        counters,
        dirs: Vec::new(),
        pack: None,
        big: None,
        uring: None,
    };
    let root = match (found.as_root(), &found.kind) {
        (Some(root), _) => root,
        (None, EntryKind::Symlink(target)) => {
            let (dir, name) = place.entry()?;
            return export.symlink(&dir, &name, &found.meta, target);
        }
        (None, _) => return Err(twice()),
    };
    let mut top = Some(place);
    let mut walk = Walk::new(&root, AHEAD_NODES);
    loop {
        if cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        match walk.poll()? {
            WalkStep::Node(node) => walk.on_node(chunks.node(node)?),
            WalkStep::Item(item) => export.item(item, &mut top)?,
            WalkStep::Done => return export.finish_big(),
            WalkStep::Wait => return Err(Failure::new(Kind::Failed, "the walk waits for a node that it was given")),
        }
    }
}

struct Export<'a> {
    chunks: &'a dyn Chunks,
    blobs: &'a dyn Blobs,
    overwrite: Overwrite,
    counters: &'a Counters,
    /// Directories entered, the innermost last.
    dirs: Vec<(Dir, Meta)>,
    /// The last pack: files of a directory share it.
    pack: Option<VerifiedChunk>,
    /// The file whose chunks follow.
    big: Option<BigFile>,
    /// Made for the first file that is copied: many exports need none.
    uring: Option<Uring>,
}

impl Export<'_> {
    fn item(&mut self, item: WalkItem, top: &mut Option<Place>) -> Result<(), Failure> {
        if !matches!(item, WalkItem::Chunk { .. }) {
            self.finish_big()?;
        }
        match item {
            WalkItem::Enter { name, meta } => {
                let dir = match (name, top.take()) {
                    (_, Some(place)) => place.directory(&meta)?,
                    (Some(name), None) => self.here()?.enter(&name)?,
                    (None, None) => return Err(twice()),
                };
                self.dirs.push((dir, meta));
                Ok(())
            }
            WalkItem::Leave => {
                let Some((dir, meta)) = self.dirs.pop() else {
                    return Err(twice());
                };
                self.counters.entries.fetch_add(u64::from(!self.dirs.is_empty()), Relaxed);
                dir.leave(&meta)
            }
            WalkItem::Symlink { name, meta, target } => {
                let Some(name) = name else { return Err(twice()) };
                let dir = self.here()?.clone();
                self.symlink(&dir, &name, &meta, &target)
            }
            WalkItem::File { name, meta, file } => {
                let (dir, name) = match (name, top.take()) {
                    (_, Some(place)) => place.entry()?,
                    (Some(name), None) => (self.here()?.clone(), name),
                    (None, None) => return Err(twice()),
                };
                self.file(dir, name, meta, file)
            }
            WalkItem::Chunk { chunk, place } => self.big_chunk(chunk, place),
        }
    }

    fn here(&self) -> Result<&Dir, Failure> {
        self.dirs.last().map(|(dir, _)| dir).ok_or_else(twice)
    }

    fn symlink(&mut self, dir: &Dir, name: &Name, meta: &Meta, target: &Bytes) -> Result<(), Failure> {
        match dir.standing(name)? {
            Standing::Symlink(there) if there == target[..] => drop(self.counters.unchanged.fetch_add(1, Relaxed)),
            Standing::Nothing => dir.symlink(name, target, Overwrite::Refuse)?,
            standing => {
                may_replace(dir, name, standing.in_the_way(), self.overwrite)?;
                dir.symlink(name, target, Overwrite::Replace)?;
            }
        }
        self.counters.entries.fetch_add(1, Relaxed);
        meta::symlink(dir, name, meta)
    }

    fn file(&mut self, dir: Dir, name: Name, meta: Meta, file: File) -> Result<(), Failure> {
        self.counters.entries.fetch_add(1, Relaxed);
        let bytes = match &file.content {
            Content::Inline(bytes) => bytes.clone(),
            Content::Packed { pack, offset } => {
                let from = *offset as usize;
                // The manifest's codec has checked that the file lies inside its pack.
                self.pack(*pack)?.bytes().slice(from..from + file.bytes as usize)
            }
            Content::Chunks(_) | Content::List(_) => return self.begin_big(dir, name, meta, &file),
        };
        self.counters.bytes.fetch_add(file.bytes, Relaxed);
        match dir.standing(&name)? {
            Standing::Nothing => dir.file(&name, &bytes, &meta, Overwrite::Refuse),
            Standing::File(there) if there.holds(&bytes)? => {
                self.counters.unchanged.fetch_add(1, Relaxed);
                there.dress(&meta)
            }
            standing => {
                may_replace(&dir, &name, standing.in_the_way(), self.overwrite)?;
                dir.file(&name, &bytes, &meta, Overwrite::Replace)
            }
        }
    }

    fn pack(&mut self, pack: ChunkRef) -> Result<&VerifiedChunk, Failure> {
        if self.pack.as_ref().is_none_or(|held| held.id() != pack.id) {
            self.pack = Some(self.chunks.node(pack)?);
        }
        self.pack.as_ref().ok_or_else(twice)
    }

    fn begin_big(&mut self, dir: Dir, name: Name, meta: Meta, file: &File) -> Result<(), Failure> {
        let Some(blob) = file.blob_id() else { return Err(twice()) };
        let standing = dir.standing(&name)?;
        self.big = Some(match standing {
            Standing::Nothing => {
                let dest = dir.path().join(meta::os(&name));
                let took = self.blobs.take(&blob, &dest, &mut |backing| meta::file(backing, &meta))?;
                match took {
                    Took::Moved => BigFile::skip(),
                    Took::MustCopy => BigFile::write(&dir, &name, meta, file.bytes, Overwrite::Refuse)?,
                }
            }
            Standing::File(there) if there.bytes == file.bytes => {
                BigFile::compare(dir, name, meta, file.bytes, there, self.overwrite)
            }
            other => {
                may_replace(&dir, &name, other.in_the_way(), self.overwrite)?;
                BigFile::write(&dir, &name, meta, file.bytes, Overwrite::Replace)?
            }
        });
        Ok(())
    }

    fn big_chunk(&mut self, chunk: ChunkRef, place: BlobPlace) -> Result<(), Failure> {
        let Some(big) = &mut self.big else { return Err(twice()) };
        if big.needs_uring() && self.uring.is_none() {
            self.uring = Some(Uring::new()?);
        }
        big.chunk(self.chunks, self.uring.as_mut(), chunk, place)?;
        self.counters.bytes.fetch_add(u64::from(chunk.len), Relaxed);
        Ok(())
    }

    fn finish_big(&mut self) -> Result<(), Failure> {
        let Some(big) = self.big.take() else { return Ok(()) };
        match big.finish(self.uring.as_mut())? {
            big::End::Unchanged => drop(self.counters.unchanged.fetch_add(1, Relaxed)),
            big::End::Written => {}
        }
        Ok(())
    }
}

/// The walk gave something out of order: a defect of ours, said instead of trusted.
fn twice() -> Failure {
    Failure::new(Kind::Failed, "the manifest walk gave an entry out of order; please report it")
}

#[cfg(test)]
mod tests;
