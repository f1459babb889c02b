//! Writes what a link names to a place of the user's: files, directories and symlinks with modes, times and attributes. Nothing
//! appears under its final name before it is whole, nothing outside the place is touched, and what is there already and equal stays.
//! Bytes come from the store, verified; what is missing there is fetched.

mod big;
mod dir;
mod draft;
mod meta;
mod place;
pub(crate) mod room;
mod uring;
mod writers;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ares_core::chunk::{ChunkId, ChunkRef, VerifiedChunk};
use ares_core::manifest::{Content, EntryKind, File, Meta, Name, Root, Totals, Walk, WalkItem, WalkStep};
use ares_core::swarm::BlobPlace;
use ares_node::store::Dest;
use bytes::Bytes;

use self::big::BigFile;
use self::dir::{Dir, Standing, may_replace};
pub(crate) use self::place::Place;
use self::uring::Uring;
use self::writers::{Outbox, SmallFile};
use crate::admin::proto::Overwrite;
use crate::cancel::Cancel;
use crate::error::{Failure, Kind};
use crate::tree::{Chunks, Found};

/// Manifest nodes read at a time.
const AHEAD_NODES: usize = 4;

/// Where a blob's complete backing file may be had from instead of copying its bytes.
pub(crate) trait Blobs: Sync {
    /// Makes the backing file of `blob` the file `dest`, which does not exist; `dress` sets mode, times and attributes before.
    fn take(
        &self,
        blob: &ChunkId,
        dest: Dest<'_>,
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

/// Whether what the walk comes by is held yet: the same tree may still be on its way into the store.
pub(crate) trait Pace: Sync {
    /// Waits a moment until all that the first `items` items of the walk name is held. Says how many items that holds for: fewer than
    /// `items` if it is not so yet.
    fn held(&self, items: u64) -> Result<u64, Failure>;
}

/// Everything is held, or fetched when it is asked for.
pub(crate) struct Unhurried;

impl Pace for Unhurried {
    fn held(&self, _: u64) -> Result<u64, Failure> {
        Ok(u64::MAX)
    }
}

/// What an export reads from.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Nodes, packs and chunks.
    pub(crate) chunks: &'a dyn Chunks,
    /// Whole files.
    pub(crate) blobs: &'a dyn Blobs,
    /// When they may be asked for.
    pub(crate) pace: &'a dyn Pace,
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

/// Writes `found` to `place`. A directory gets its mode and time when the last thing in it is there.
pub(crate) fn run(
    sources: Sources<'_>,
    found: &Found,
    place: Place,
    overwrite: Overwrite,
    counters: &Counters,
    cancel: &Cancel,
) -> Result<(), Failure> {
    writers::beside(overwrite, counters, |outbox| {
        let mut export = Export {
            sources,
            overwrite,
            counters,
            cancel,
            outbox,
            dirs: Vec::new(),
            pack: None,
            big: None,
            uring: None,
            items: 0,
            held: 0,
        };
        match (found.as_root(), &found.kind) {
            (Some(root), _) => export.walk(&root, place),
            (None, EntryKind::Symlink(target)) => {
                let (dir, name) = place.entry()?;
                export.symlink(&dir, &name, &found.meta, target)
            }
            (None, _) => Err(twice()),
        }
    })
}

struct Export<'a, 'q> {
    sources: Sources<'a>,
    overwrite: Overwrite,
    counters: &'a Counters,
    cancel: &'a Cancel,
    outbox: &'a mut Outbox<'q>,
    /// Directories entered, the innermost last.
    dirs: Vec<Dir>,
    /// The last pack: files of a directory share it.
    pack: Option<VerifiedChunk>,
    /// The file whose chunks follow.
    big: Option<BigFile>,
    /// Made for the first file that is copied: many exports need none.
    uring: Option<Uring>,
    /// Items of the walk so far.
    items: u64,
    /// Of how many items all is held, as far as we know.
    held: u64,
}

impl Export<'_, '_> {
    fn walk(&mut self, root: &Root, place: Place) -> Result<(), Failure> {
        let mut top = Some(place);
        let mut walk = Walk::new(root, AHEAD_NODES);
        loop {
            if self.cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            match walk.poll()? {
                WalkStep::Node(node) => walk.on_node(self.sources.chunks.node(node)?),
                WalkStep::Item(item) => {
                    self.items += 1;
                    self.item(item, &mut top)?;
                }
                WalkStep::Done => return self.finish_big(),
                WalkStep::Wait => return Err(Failure::new(Kind::Failed, "the walk waits for a node that it was given")),
            }
        }
    }

    /// Waits until this item and the `more` that follow it are held.
    fn await_held(&mut self, more: u64) -> Result<(), Failure> {
        let items = self.items.saturating_add(more);
        while self.held < items {
            self.outbox.send()?;
            self.held = self.sources.pace.held(items)?;
            if self.cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
        }
        Ok(())
    }

    fn item(&mut self, item: WalkItem, top: &mut Option<Place>) -> Result<(), Failure> {
        if !matches!(item, WalkItem::Chunk { .. }) {
            self.finish_big()?;
        }
        match item {
            WalkItem::Enter { name, meta } => {
                let dir = match (name, top.take()) {
                    (_, Some(place)) => place.directory(&meta)?,
                    (Some(name), None) => self.here()?.enter(&name, meta)?,
                    (None, None) => return Err(twice()),
                };
                self.dirs.push(dir);
                Ok(())
            }
            WalkItem::Leave => {
                let Some(dir) = self.dirs.pop() else { return Err(twice()) };
                self.counters.entries.fetch_add(u64::from(!self.dirs.is_empty()), Relaxed);
                dir.close()
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
        self.dirs.last().ok_or_else(twice)
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
        let bytes = match &file.content {
            Content::Inline(bytes) => bytes.clone(),
            Content::Packed { pack, offset } => {
                self.await_held(0)?;
                let from = *offset as usize;
                // The manifest's codec has checked that the file lies inside its pack.
                self.pack(*pack)?.bytes().slice(from..from + file.bytes as usize)
            }
            Content::Chunks(_) | Content::List(_) => return self.begin_big(dir, name, meta, &file),
        };
        self.outbox.put(SmallFile { dir, name, meta, bytes })
    }

    fn pack(&mut self, pack: ChunkRef) -> Result<&VerifiedChunk, Failure> {
        if self.pack.as_ref().is_none_or(|held| held.id() != pack.id) {
            self.pack = Some(self.sources.chunks.node(pack)?);
        }
        self.pack.as_ref().ok_or_else(twice)
    }

    fn begin_big(&mut self, dir: Dir, name: Name, meta: Meta, file: &File) -> Result<(), Failure> {
        let Some(blob) = file.blob_id() else { return Err(twice()) };
        self.counters.entries.fetch_add(1, Relaxed);
        // A file is moved whole.
        self.await_held(file.own_chunks())?;
        let standing = dir.standing(&name)?;
        self.big = Some(match standing {
            Standing::Nothing => {
                let dest = Dest {
                    dir: dir.fd(),
                    name: meta::os(&name),
                    path: &place::at(dir.path(), &name),
                };
                let took = self
                    .sources
                    .blobs
                    .take(&blob, dest, &mut |backing| meta::file(backing, &meta))?;
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
        big.chunk(self.sources.chunks, self.uring.as_mut(), chunk, place)?;
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
