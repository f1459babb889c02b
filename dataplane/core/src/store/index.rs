//! What the store holds: chunk -> where it lies, folded from records. The only way to change it is `apply`, live and at replay alike, so
//! that a reopened store knows what the running one knew.
//!
//! One chunk costs 48 bytes of content, 76 with the slack of the tree (measured, a million chunks). A `BTreeMap` rather than a hash map: nearly the same memory
//! (a hash map is between half and seven eighths full), no pause of a second to rehash millions of entries, and the same order
//! everywhere. When an object goes, its chunks stay in the map and are looked through: that makes losing 50,000 files cheap.

use std::collections::{BTreeMap, BTreeSet};

use super::coverage::{Coverage, disk_bytes};
use super::evict::Uses;
use super::record::{COVERED_RANGES_MAX, HELD_CHUNKS_MAX, HeldChunk, READ_OBJECTS_MAX, Record};
use super::{BlobRef, Guard, ObjectNo, ReleaseInfo};
use crate::chunk::{ChunkId, ChunkRef, ReleaseId};

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// In which object.
    pub object: ObjectNo,
    /// Length, in bytes.
    pub len: u32,
    /// Where in it, in bytes.
    pub offset: u64,
}

const _: () = assert!(size_of::<Extent>() == 16, "tens of millions of these are kept in memory");

/// A file that chunks lie in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Chunks whose first place is here, and their bytes.
    chunks: u64,
    chunk_bytes: u64,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A pack segment of ours; `end` is behind the last chunk.
    Pack {
        /// Where to append, in bytes.
        end: u64,
    },
    /// A backing file of ours.
    Blob {
        /// Whose.
        blob: BlobRef,
        /// What is held of it.
        coverage: Coverage,
        /// Set while it is being renamed out of the store.
        moving: Option<(Guard, Box<[u8]>)>,
    },
    /// A file of the publisher.
    InPlace {
        /// Its blob.
        blob: BlobRef,
        /// What it must still be.
        guard: Guard,
        /// Where it is (absolute).
        path: Box<[u8]>,
    },
    /// A file that vanished or changed.
    Gone,
}

/// Totals of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexTotals {
    /// Chunks held.
    pub chunks: u64,
    /// Their bytes in pack segments and backing files.
    pub own_bytes: u64,
    /// Their bytes in the publisher's files.
    pub in_place_bytes: u64,
    /// Objects that are not gone.
    pub objects: u64,
    /// Further places of these chunks, in other objects.
    pub other_places: u64,
}

/// A record that contradicts those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// It names an object that was never introduced, or is of another kind.
    #[error("object {0:?} is not what the record takes it for")]
    Object(ObjectNo),
    /// It introduces an object again.
    #[error("object {0:?} exists already")]
    Again(ObjectNo),
    /// It places bytes outside their object.
    #[error("bytes outside object {0:?}")]
    Outside(ObjectNo),
}

/// The index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    chunks: BTreeMap<ChunkId, Extent>,
    /// Further objects that hold a chunk: equal chunks of several files. They step in when the first place is lost.
    others: BTreeMap<(ChunkId, ObjectNo), (u64, u32)>,
    objects: BTreeMap<ObjectNo, Object>,
    /// Backing files by blob.
    blobs: BTreeMap<ChunkId, ObjectNo>,
    /// In-place files by device and inode.
    in_place: BTreeMap<(u64, u64), ObjectNo>,
    /// In-place files by blob: there may be several of one.
    in_place_blobs: BTreeSet<(ChunkId, ObjectNo)>,
    releases: Vec<ReleaseInfo>,
    /// Links of the releases that are to be kept whole.
    pins: BTreeMap<ReleaseId, String>,
    /// Releases that were made here.
    published: BTreeSet<ReleaseId>,
    /// In which order objects were read last, as far as the journal was told.
    read: Uses,
    next_object: u32,
    own_bytes: u64,
}

impl Index {
    /// Where a chunk lies.
    pub fn lookup(&self, chunk: &ChunkId) -> Option<Extent> {
        let first = self.chunks.get(chunk)?;
        if self.is_live(first.object) {
            return Some(*first);
        }
        self.others_of(chunk).find(|e| self.is_live(e.object))
    }

    /// An object by number.
    pub fn object(&self, object: ObjectNo) -> Option<&Object> {
        self.objects.get(&object)
    }

    /// The backing file of a blob, if it has one.
    pub fn blob(&self, blob: &ChunkId) -> Option<(ObjectNo, BlobRef, &Coverage)> {
        let object = *self.blobs.get(blob)?;
        match &self.objects.get(&object)?.kind {
            ObjectKind::Blob { blob, coverage, .. } => Some((object, *blob, coverage)),
            _ => None,
        }
    }

    /// The in-place object of a file, if it is one.
    pub fn in_place(&self, guard: &Guard) -> Option<(ObjectNo, &Object)> {
        let object = *self.in_place.get(&(guard.dev, guard.ino))?;
        Some((object, self.objects.get(&object)?))
    }

    /// The in-place files that are this blob, as far as is known.
    pub fn in_place_of(&self, blob: &ChunkId) -> impl Iterator<Item = ObjectNo> + '_ {
        let span = (*blob, ObjectNo(0))..=(*blob, ObjectNo(u32::MAX));
        self.in_place_blobs.range(span).map(|(_, object)| *object)
    }

    /// Whether this very object holds the chunk.
    pub fn holds(&self, object: ObjectNo, chunk: &ChunkId) -> bool {
        self.chunks.get(chunk).is_some_and(|e| e.object == object) || self.others.contains_key(&(*chunk, object))
    }

    /// The pack segment to append to: the newest one, and where.
    pub fn open_pack(&self) -> Option<(ObjectNo, u64)> {
        self.objects.iter().rev().find_map(|(no, object)| match object.kind {
            ObjectKind::Pack { end } => Some((*no, end)),
            _ => None,
        })
    }

    /// The number the next object gets.
    pub fn next_object(&self) -> ObjectNo {
        ObjectNo(self.next_object)
    }

    /// All objects that are not gone, in order.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectNo, &Object)> {
        self.objects
            .iter()
            .filter(|(_, o)| o.kind != ObjectKind::Gone)
            .map(|(no, o)| (*no, o))
    }

    /// Known releases, in the order they came.
    pub fn releases(&self) -> &[ReleaseInfo] {
        &self.releases
    }

    /// One release.
    pub fn release(&self, release: ReleaseId) -> Option<&ReleaseInfo> {
        self.releases.iter().find(|r| r.release == release)
    }

    /// The releases that are to be kept whole, and the link of each.
    pub fn pins(&self) -> &BTreeMap<ReleaseId, String> {
        &self.pins
    }

    /// The releases that were made here: nobody else need have them.
    pub fn published(&self) -> &BTreeSet<ReleaseId> {
        &self.published
    }

    /// About as many bytes as a journal has that says no more than it must.
    pub fn journal_bytes(&self) -> u64 {
        let places = self.chunks.len() + self.others.len();
        44 * places as u64 + 200 * self.objects.len() as u64
    }

    /// Up to `count` held chunks behind `after`, in order of their names.
    pub fn chunks_after(&self, after: Option<ChunkId>, count: usize) -> Vec<ChunkRef> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let held = self
            .chunks
            .range((from, Unbounded))
            .filter(|(id, _)| self.lookup(id).is_some());
        held.take(count).map(|(id, e)| ChunkRef { id: *id, len: e.len }).collect()
    }

    /// What files of our own take of the disk, in bytes: whole blocks, also of what is in a pack segment and forgotten.
    pub fn own_bytes(&self) -> u64 {
        self.own_bytes
    }

    /// Of these the ones in this object.
    pub fn own_bytes_of(&self, object: ObjectNo) -> u64 {
        self.objects.get(&object).map_or(0, |known| match &known.kind {
            ObjectKind::Pack { end } => disk_bytes(0, *end),
            ObjectKind::Blob { coverage, .. } => coverage.disk_bytes(),
            ObjectKind::InPlace { .. } | ObjectKind::Gone => 0,
        })
    }

    /// Every place of up to `count` chunks behind `after`, in order of their names, and the last of these; `None` when there are no more.
    pub fn places_after(&self, after: Option<ChunkId>, count: usize) -> (Vec<(ObjectNo, HeldChunk)>, Option<ChunkId>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut places = Vec::new();
        let mut last = None;
        for (id, first) in self.chunks.range((after.map_or(Unbounded, Excluded), Unbounded)).take(count) {
            let all = std::iter::once(*first).chain(self.others_of(id));
            let live = all.filter(|extent| self.is_live(extent.object));
            places.extend(live.map(|Extent { object, len, offset }| {
                let chunk = ChunkRef { id: *id, len };
                (object, HeldChunk { chunk, offset })
            }));
            last = Some(*id);
        }
        (places, last)
    }

    /// Forgets what is left of an object that is gone and of these chunks there: it costs memory and is looked through.
    pub fn sweep(&mut self, object: ObjectNo, chunks: impl IntoIterator<Item = ChunkId>) {
        if self.is_live(object) {
            return;
        }
        for chunk in chunks {
            self.others.remove(&(chunk, object));
            if self.chunks.get(&chunk).is_none_or(|first| first.object != object) {
                continue;
            }
            self.chunks.remove(&chunk);
            let next = self.others_of(&chunk).find(|extent| self.is_live(extent.object));
            if let Some(next) = next {
                self.others.remove(&(chunk, next.object));
                self.set_first(chunk, next);
            }
        }
        self.objects.remove(&object);
    }

    /// What is held in all.
    pub fn totals(&self) -> IndexTotals {
        let mut totals = IndexTotals {
            other_places: self.others.len() as u64,
            ..IndexTotals::default()
        };
        for (_, object) in self.objects() {
            totals.objects += 1;
            totals.chunks += object.chunks;
            match object.kind {
                ObjectKind::InPlace { .. } => totals.in_place_bytes += object.chunk_bytes,
                _ => totals.own_bytes += object.chunk_bytes,
            }
        }
        totals
    }

    /// Folds one record in. Where it is nonsense nothing has changed.
    pub fn apply(&mut self, record: &Record) -> Result<(), Nonsense> {
        let object = record.object();
        let own_bytes_of = |index: &Self| object.map_or(0, |object| index.own_bytes_of(object));
        let before = own_bytes_of(self);
        self.fold(record)?;
        self.own_bytes = self.own_bytes - before + own_bytes_of(self);
        Ok(())
    }

    fn fold(&mut self, record: &Record) -> Result<(), Nonsense> {
        match record {
            Record::Boot(_) | Record::Sync { .. } => Ok(()),
            Record::Pack { object } => self.introduce(*object, ObjectKind::Pack { end: 0 }),
            Record::Blob { object, blob } => self.on_blob(*object, blob),
            Record::InPlace {
                object,
                blob,
                guard,
                path,
            } => self.on_in_place(*object, blob, guard, path),
            Record::Held { object, chunks } => self.on_held(*object, chunks),
            Record::Forget { object, offset, chunk } => {
                self.on_forget(*object, *offset, *chunk);
                Ok(())
            }
            Record::Gone { object } => self.on_gone(*object),
            Record::Release(info) => {
                match self.releases.iter_mut().find(|r| r.release == info.release) {
                    Some(known) => *known = info.clone(),
                    None => self.releases.push(info.clone()),
                }
                Ok(())
            }
            Record::Moving { object, guard, path } => match self.objects.get_mut(object).map(|o| &mut o.kind) {
                Some(ObjectKind::Blob { moving, .. }) => {
                    *moving = Some((*guard, path.clone().into()));
                    Ok(())
                }
                _ => Err(Nonsense::Object(*object)),
            },
            Record::Covered { object, ranges } => self.on_covered(*object, ranges),
            Record::Pin { release, link } => {
                match link.is_empty() {
                    true => self.pins.remove(release),
                    false => self.pins.insert(*release, link.clone()),
                };
                Ok(())
            }
            Record::Published { release } => {
                self.published.insert(*release);
                Ok(())
            }
            Record::Read { objects } => {
                for object in objects {
                    if self.is_live(*object) {
                        self.read.on_read(*object);
                    }
                }
                Ok(())
            }
        }
    }

    /// The records that make this index but for its chunks.
    pub fn frame(&self) -> impl Iterator<Item = Record> + '_ {
        let releases = self.releases.iter().cloned().map(Record::Release);
        let pins = self.pins.iter().map(|(release, link)| Record::Pin {
            release: *release,
            link: link.clone(),
        });
        let published = self.published.iter().map(|release| Record::Published { release: *release });
        let objects = self.objects().flat_map(|(no, object)| object.records(no));
        let read = self.read_in_order();
        let parts = read.chunks(READ_OBJECTS_MAX).map(<[ObjectNo]>::to_vec);
        let read: Vec<Record> = parts.map(|objects| Record::Read { objects }).collect();
        objects.chain(releases).chain(pins).chain(published).chain(read)
    }

    /// Objects that were read or written to, the last one last, as far as records say so.
    pub fn read_in_order(&self) -> Vec<ObjectNo> {
        self.read.in_order()
    }

    /// The records that make this index, in an order that can be replayed. A few thousand chunks are held in memory at a time.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let all = self.chunks.iter().map(|(id, e)| (*id, *e));
        let firsts = InRuns {
            extents: all.filter(|(_, e)| self.is_live(e.object)),
            ready: Vec::new(),
        };
        let more = self.others.iter().map(|((id, object), (offset, len))| {
            let (object, offset, len) = (*object, *offset, *len);
            (*id, Extent { object, len, offset })
        });
        let others = InRuns {
            extents: more.filter(|(_, e)| self.is_live(e.object)),
            ready: Vec::new(),
        };
        self.frame().chain(firsts).chain(others)
    }

    fn is_live(&self, object: ObjectNo) -> bool {
        self.objects.get(&object).is_some_and(|o| o.kind != ObjectKind::Gone)
    }

    /// Our own files before the publisher's: they do not change behind our back.
    fn is_own(&self, object: ObjectNo) -> bool {
        self.objects
            .get(&object)
            .is_some_and(|o| matches!(o.kind, ObjectKind::Pack { .. } | ObjectKind::Blob { .. }))
    }

    fn others_of(&self, chunk: &ChunkId) -> impl Iterator<Item = Extent> + '_ {
        let span = (*chunk, ObjectNo(0))..=(*chunk, ObjectNo(u32::MAX));
        self.others.range(span).map(|((_, object), (offset, len))| Extent {
            object: *object,
            len: *len,
            offset: *offset,
        })
    }

    fn introduce(&mut self, object: ObjectNo, kind: ObjectKind) -> Result<(), Nonsense> {
        if object.0 < self.next_object {
            return Err(Nonsense::Again(object));
        }
        self.next_object = object.0.saturating_add(1);
        self.objects.insert(
            object,
            Object {
                kind,
                chunks: 0,
                chunk_bytes: 0,
            },
        );
        Ok(())
    }

    fn on_blob(&mut self, object: ObjectNo, blob: &BlobRef) -> Result<(), Nonsense> {
        if self.blobs.contains_key(&blob.id) {
            return Err(Nonsense::Again(object));
        }
        let coverage = Coverage::new(blob.bytes);
        self.introduce(
            object,
            ObjectKind::Blob {
                blob: *blob,
                coverage,
                moving: None,
            },
        )?;
        self.blobs.insert(blob.id, object);
        Ok(())
    }

    /// A new in-place file; or the backing file `object`, which now is one.
    fn on_in_place(&mut self, object: ObjectNo, blob: &BlobRef, guard: &Guard, path: &[u8]) -> Result<(), Nonsense> {
        let kind = ObjectKind::InPlace {
            blob: *blob,
            guard: *guard,
            path: path.into(),
        };
        match self.objects.get_mut(&object) {
            Some(known) => match &known.kind {
                ObjectKind::Blob { blob: was, .. } if was == blob => {
                    known.kind = kind;
                    self.blobs.remove(&blob.id);
                }
                _ => return Err(Nonsense::Again(object)),
            },
            None => self.introduce(object, kind)?,
        }
        self.in_place.insert((guard.dev, guard.ino), object);
        self.in_place_blobs.insert((blob.id, object));
        Ok(())
    }

    fn on_held(&mut self, object: ObjectNo, chunks: &[HeldChunk]) -> Result<(), Nonsense> {
        let known = self.objects.get_mut(&object).ok_or(Nonsense::Object(object))?;
        let fits = |h: &HeldChunk| match &known.kind {
            ObjectKind::Pack { .. } => true,
            ObjectKind::Blob { coverage, .. } => coverage.fits(h.offset, u64::from(h.chunk.len)),
            ObjectKind::InPlace { guard, .. } => h.offset + u64::from(h.chunk.len) <= guard.size,
            ObjectKind::Gone => true,
        };
        if !chunks.iter().all(fits) {
            return Err(Nonsense::Outside(object));
        }
        for held in chunks {
            let end = held.offset + u64::from(held.chunk.len);
            match &mut self.objects.get_mut(&object).expect("looked up above").kind {
                ObjectKind::Pack { end: tail } => *tail = (*tail).max(end),
                ObjectKind::Blob { coverage, .. } => coverage.insert(held.offset, end),
                ObjectKind::InPlace { .. } => {}
                ObjectKind::Gone => return Ok(()), // written while somebody found it gone
            }
            self.hold(
                held.chunk.id,
                Extent {
                    object,
                    len: held.chunk.len,
                    offset: held.offset,
                },
            );
        }
        Ok(())
    }

    /// One more place of a chunk.
    fn hold(&mut self, chunk: ChunkId, new: Extent) {
        if self.holds(new.object, &chunk) {
            return; // a second place in one object is only coverage
        }
        let Some(first) = self.chunks.get(&chunk).copied() else {
            self.set_first(chunk, new);
            return;
        };
        if !self.is_live(first.object) {
            self.set_first(chunk, new);
        } else if self.is_own(new.object) && !self.is_own(first.object) {
            self.uncount(&first);
            self.others.insert((chunk, first.object), (first.offset, first.len));
            self.set_first(chunk, new);
        } else {
            self.others.insert((chunk, new.object), (new.offset, new.len));
        }
    }

    fn set_first(&mut self, chunk: ChunkId, extent: Extent) {
        self.chunks.insert(chunk, extent);
        if let Some(object) = self.objects.get_mut(&extent.object) {
            object.chunks += 1;
            object.chunk_bytes += u64::from(extent.len);
        }
    }

    fn uncount(&mut self, extent: &Extent) {
        if let Some(object) = self.objects.get_mut(&extent.object) {
            object.chunks = object.chunks.saturating_sub(1);
            object.chunk_bytes = object.chunk_bytes.saturating_sub(u64::from(extent.len));
        }
    }

    fn on_forget(&mut self, object: ObjectNo, offset: u64, chunk: ChunkRef) {
        let first = self
            .chunks
            .get(&chunk.id)
            .copied()
            .filter(|e| e.object == object && e.offset == offset);
        if let Some(first) = first {
            self.uncount(&first);
            self.chunks.remove(&chunk.id);
            let next = self.others_of(&chunk.id).find(|e| self.is_live(e.object));
            if let Some(next) = next {
                self.others.remove(&(chunk.id, next.object));
                self.set_first(chunk.id, next);
            }
        } else if self.others.get(&(chunk.id, object)).is_some_and(|(o, _)| *o == offset) {
            self.others.remove(&(chunk.id, object));
        }
        if let Some(ObjectKind::Blob { coverage, .. }) = self.objects.get_mut(&object).map(|o| &mut o.kind) {
            coverage.remove(offset, offset + u64::from(chunk.len));
        }
    }

    fn on_gone(&mut self, object: ObjectNo) -> Result<(), Nonsense> {
        let known = self.objects.get_mut(&object).ok_or(Nonsense::Object(object))?;
        self.read.forget(object);
        match &known.kind {
            ObjectKind::Blob { blob, .. } => {
                self.blobs.remove(&blob.id);
            }
            ObjectKind::InPlace { guard, blob, .. } => {
                self.in_place_blobs.remove(&(blob.id, object));
                // The inode may have been published again meanwhile, under another number.
                let key = (guard.dev, guard.ino);
                if self.in_place.get(&key) == Some(&object) {
                    self.in_place.remove(&key);
                }
            }
            ObjectKind::Pack { .. } | ObjectKind::Gone => {}
        }
        *known = Object {
            kind: ObjectKind::Gone,
            chunks: 0,
            chunk_bytes: 0,
        };
        Ok(())
    }

    fn on_covered(&mut self, object: ObjectNo, ranges: &[(u64, u64)]) -> Result<(), Nonsense> {
        let Some(ObjectKind::Blob { coverage, .. }) = self.objects.get_mut(&object).map(|o| &mut o.kind) else {
            return Err(Nonsense::Object(object));
        };
        if !ranges
            .iter()
            .all(|(start, end)| start < end && coverage.fits(*start, end - start))
        {
            return Err(Nonsense::Outside(object));
        }
        ranges.iter().for_each(|(start, end)| coverage.insert(*start, *end));
        Ok(())
    }
}

impl Object {
    /// The records that introduce it.
    fn records(&self, object: ObjectNo) -> Vec<Record> {
        match &self.kind {
            ObjectKind::Pack { .. } => vec![Record::Pack { object }],
            ObjectKind::Blob { blob, coverage, moving } => {
                let ranges: Vec<_> = coverage.ranges().collect();
                let covered = ranges.chunks(COVERED_RANGES_MAX).map(|part| Record::Covered {
                    object,
                    ranges: part.to_vec(),
                });
                let moving = moving.iter().map(|(guard, path)| Record::Moving {
                    object,
                    guard: *guard,
                    path: path.to_vec(),
                });
                std::iter::once(Record::Blob { object, blob: *blob })
                    .chain(covered)
                    .chain(moving)
                    .collect()
            }
            ObjectKind::InPlace { blob, guard, path } => {
                vec![Record::InPlace {
                    object,
                    blob: *blob,
                    guard: *guard,
                    path: path.to_vec(),
                }]
            }
            ObjectKind::Gone => Vec::new(),
        }
    }
}

/// Extents in order of chunk names, given out as Held records by object: sorted in windows, so that memory stays bounded.
struct InRuns<I> {
    extents: I,
    /// Records of the window in hand, last first.
    ready: Vec<Record>,
}

/// Chunks sorted at a time.
const WINDOW: usize = 64 << 10;

impl<I: Iterator<Item = (ChunkId, Extent)>> Iterator for InRuns<I> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.ready.is_empty() {
            let mut window: Vec<_> = self.extents.by_ref().take(WINDOW).collect();
            window.sort_unstable_by_key(|(_, e)| (e.object, e.offset));
            for run in window
                .chunk_by(|(_, a), (_, b)| a.object == b.object)
                .flat_map(|run| run.chunks(HELD_CHUNKS_MAX))
            {
                let held = |(id, e): &(ChunkId, Extent)| HeldChunk {
                    chunk: ChunkRef { id: *id, len: e.len },
                    offset: e.offset,
                };
                self.ready.push(Record::Held {
                    object: run[0].1.object,
                    chunks: run.iter().map(held).collect(),
                });
            }
            self.ready.reverse();
        }
        self.ready.pop()
    }
}
