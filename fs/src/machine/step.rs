//! What a request takes: one function per kind of request, which gives the answer or names the chunks it lacks.

use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef};
use ares_core::manifest::{Content, File, Xattr};
use ares_core::swarm::{BlobPlace, Class, Unreached, Want};
use ares_core::time::Instant;
use bytes::Bytes;

use super::{Machine, Need};
use crate::errno::Failure;
use crate::inode::{Attr, Folder, Inode, Kind, ROOT};
use crate::read;
use crate::request::{Listing, OFFSET_ENTRIES, Reply, Request};
use crate::shelf::{Pins, Shelf};
use crate::view::{self, Ahead, Found, NodeError, Piece, Spot};

/// Missing chunk list nodes that a request asks for at a time.
pub(super) const LIST_NODES_MAX: usize = 16;
/// Chunks of a file up to which `user.ares.held` is answered: 256 GiB of a large file.
const HELD_CHUNKS_MAX: u64 = 1 << 20;

/// How far a request got.
pub(super) enum Step {
    Done(Reply),
    Lacks(Vec<Need>),
}

/// Why a request ends without an answer: for the kernel, and for the log where a chunk is at fault.
pub(super) struct Fault {
    pub(super) failure: Failure,
    pub(super) chunk: Option<ChunkId>,
    pub(super) why: String,
}

impl<T> Machine<T> {
    /// Gets as far as it can without waiting.
    pub(super) fn step(&mut self, now: Instant, request: &Request, pins: &mut Pins) -> Result<Step, Fault> {
        if let Some(ino) = request.ino()
            && let Some(lacks) = self.recall(ino, pins)?
        {
            return Ok(lacks);
        }
        match request {
            Request::Lookup { parent, name } => self.lookup(*parent, name, pins),
            Request::Read { ino, offset, len } => self.read(*ino, *offset, *len, pins),
            Request::List { ino, offset } => self.list(now, *ino, *offset, pins),
            Request::Xattr { ino, name } => self.xattr(*ino, name, pins),
            Request::Recall { .. } => Ok(Step::Done(Reply::Known)),
            Request::Warm(part) => self.warm_part(part, pins),
        }
    }

    /// Makes sure that an inode is known, which whoever had this mount before may have told the kernel of. What it takes, if it is not at hand.
    fn recall(&mut self, ino: u64, pins: &mut Pins) -> Result<Option<Step>, Fault> {
        if self.knows(ino) {
            return Ok(None);
        }
        match self.locate(ino, pins)? {
            Found::Lacking(node) => Ok(Some(Step::lacks(node))),
            Found::Absent => Err(Fault::stale()),
            Found::Here((Spot { leaf, index, .. }, parent)) => {
                self.inodes.recall(ino, parent, &leaf.entries()[index]);
                Ok(None)
            }
        }
    }

    /// The entry that has a number, and the number of the directory it is in.
    pub(super) fn locate(&mut self, ino: u64, pins: &mut Pins) -> Result<Found<(Spot, u64)>, Fault> {
        Ok(match self.folder(ROOT)? {
            Folder::Tree(dir) => view::locate(&mut self.shelf(pins), ROOT, dir, ino)?,
            Folder::Around(leaf) if ino == ROOT + 1 => Found::Here((Spot { leaf, base: 0, index: 0 }, ROOT)),
            Folder::Around(_) => Found::Absent,
        })
    }

    /// The entry that has a name in a directory.
    pub(super) fn find_in(&mut self, folder: &Folder, name: &[u8], pins: &mut Pins) -> Result<Found<Spot>, Fault> {
        Ok(match folder {
            Folder::Tree(dir) => view::find(&mut self.shelf(pins), *dir, name)?,
            Folder::Around(leaf) => match view::find_here(leaf, name) {
                Some(index) => Found::Here(Spot {
                    leaf: leaf.clone(),
                    base: 0,
                    index,
                }),
                None => Found::Absent,
            },
        })
    }

    fn lookup(&mut self, parent: u64, name: &[u8], pins: &mut Pins) -> Result<Step, Fault> {
        if let b"." | b".." = name {
            return self.find_again(parent, name == b"..", pins);
        }
        let folder = self.folder(parent)?;
        Ok(match self.find_in(&folder, name, pins)? {
            Found::Lacking(node) => Step::lacks(node),
            Found::Absent => Step::Done(Reply::Absent),
            Found::Here(Spot { leaf, base, index }) => {
                let ino = parent + 1 + base + leaf.begin(index);
                let entry = &leaf.entries()[index];
                self.inodes.tell(ino, parent, entry);
                Step::Done(Reply::Entry(Attr::of(ino, entry)))
            }
        })
    }

    /// An entry that the kernel may have forgotten, or the directory it is in: whoever exports the mount knows it by its number alone.
    fn find_again(&mut self, ino: u64, wants_parent: bool, pins: &mut Pins) -> Result<Step, Fault> {
        let mut ino = ino;
        let mut wants_parent = wants_parent;
        loop {
            if ino <= ROOT {
                let attr = self.attr(ROOT).map_err(Fault::new)?;
                return Ok(Step::Done(Reply::Entry(attr)));
            }
            let (Spot { leaf, index, .. }, parent) = match self.locate(ino, pins)? {
                Found::Lacking(node) => return Ok(Step::lacks(node)),
                Found::Absent => return Err(Fault::stale()),
                Found::Here(found) => found,
            };
            if !std::mem::take(&mut wants_parent) {
                let entry = &leaf.entries()[index];
                self.inodes.tell(ino, parent, entry);
                return Ok(Step::Done(Reply::Entry(Attr::of(ino, entry))));
            }
            ino = parent;
        }
    }

    fn list(&mut self, now: Instant, ino: u64, offset: u64, pins: &mut Pins) -> Result<Step, Fault> {
        let at = offset.saturating_sub(OFFSET_ENTRIES);
        let parent = self.inodes.get(ino).ok_or_else(Fault::stale)?.parent;
        let mut ahead = Ahead::default();
        let found = match self.folder(ino)? {
            Folder::Tree(dir) => view::seek(&mut self.shelf(pins), dir, at, &mut ahead)?,
            Folder::Around(leaf) => match usize::try_from(at) {
                Ok(index) if index < leaf.entries().len() => Found::Here(Spot { leaf, base: 0, index }),
                _ => Found::Absent,
            },
        };
        let spot = match found {
            Found::Lacking(node) => return Ok(Step::lacks(node)),
            Found::Absent => None,
            Found::Here(spot) => Some(spot),
        };
        for node in ahead.nodes {
            self.fetch_bulk(
                now,
                Need {
                    chunk: node,
                    place: None,
                },
            );
        }
        Ok(Step::Done(Reply::Listing(Listing {
            dir: ino,
            parent,
            offset,
            spot,
        })))
    }

    fn read(&mut self, ino: u64, offset: u64, len: u32, pins: &mut Pins) -> Result<Step, Fault> {
        let inode = self.inodes.get(ino).ok_or_else(Fault::stale)?;
        let file = file_of(inode)?;
        let end = file.bytes.min(offset.saturating_add(len.into()));
        if offset >= end {
            return Ok(Step::Done(Reply::Data(Vec::new())));
        }
        let mut shelf = Shelf {
            nodes: &mut self.nodes,
            chunks: &mut self.chunks,
            pins,
        };
        let skew = match &file.content {
            Content::Inline(bytes) => {
                let bytes = read::slice(bytes, offset..end);
                let bytes = bytes.ok_or_else(|| Fault::malformed(None, "an inline file is shorter than it says"))?;
                return Ok(Step::Done(Reply::Data(vec![bytes])));
            }
            // The file's bytes are somewhere in the middle of its pack.
            Content::Packed { offset, .. } => u64::from(*offset),
            Content::Chunks(_) | Content::List(_) => 0,
        };
        let (pieces, lacking) = view::pieces_in(&mut shelf, file, offset..end, LIST_NODES_MAX)?;
        if !lacking.is_empty() {
            let node = |chunk| Need { chunk, place: None };
            return Ok(Step::Lacks(lacking.into_iter().map(node).collect()));
        }
        let path = || self.inodes.path(ino);
        self.recorder.on_read(ino, file, &pieces, path);
        let bytes: Vec<Option<Bytes>> = pieces.iter().map(|piece| shelf.bytes(&piece.chunk.id)).collect();
        let lacks = |(piece, bytes): (&Piece, &Option<Bytes>)| {
            let place = place(inode.blob(), file, piece);
            bytes.is_none().then_some(Need {
                chunk: piece.chunk,
                place,
            })
        };
        let needs: Vec<Need> = pieces.iter().zip(&bytes).filter_map(lacks).collect();
        if !needs.is_empty() {
            let here = pieces
                .iter()
                .zip(bytes)
                .filter_map(|(piece, bytes)| Some((piece.chunk.id, bytes?)));
            pins.chunks.extend(here);
            return Ok(Step::Lacks(needs));
        }
        let parts = pieces.into_iter().zip(bytes.into_iter().flatten());
        match read::join(parts, offset + skew..end + skew) {
            Ok(data) => Ok(Step::Done(Reply::Data(data))),
            Err(chunk) => Err(Fault::malformed(chunk, "the file's chunks are not as long as the file says")),
        }
    }

    fn xattr(&mut self, ino: u64, name: &[u8], pins: &mut Pins) -> Result<Step, Fault> {
        let inode = self.inodes.get(ino).ok_or_else(Fault::stale)?;
        let value = match (name, &inode.kind) {
            (b"user.ares.release", _) if ino == ROOT => Some(Bytes::from(self.settings.release.to_string())),
            (b"user.ares.hash", Kind::File(file)) => file.b3.map(|b3| Bytes::from(ChunkId::from_bytes(b3).to_string())),
            (b"user.ares.held", Kind::File(_)) => return self.held(ino, pins),
            _ => {
                let stored = |xattr: &Xattr| (xattr.key == name).then(|| xattr.value.clone());
                inode.meta.xattrs.iter().find_map(stored)
            }
        };
        value
            .map(|value| Step::Done(Reply::Xattr(value)))
            .ok_or_else(Fault::no_attribute)
    }

    /// Names every chunk of a file, for counting those that are held.
    fn held(&mut self, ino: u64, pins: &mut Pins) -> Result<Step, Fault> {
        let inode = self.inodes.get(ino).ok_or_else(Fault::stale)?;
        let file = file_of(inode)?;
        let mut shelf = Shelf {
            nodes: &mut self.nodes,
            chunks: &mut self.chunks,
            pins,
        };
        match &file.content {
            Content::Inline(_) => {
                let value = Bytes::from(file.bytes.to_string());
                return Ok(Step::Done(Reply::Xattr(value)));
            }
            Content::List(list) if list.chunks > HELD_CHUNKS_MAX => return Err(Fault::no_attribute()),
            // As much of a pack as the file is: it is held whole or not at all.
            Content::Packed { .. } | Content::Chunks(_) | Content::List(_) => {}
        }
        let (pieces, lacking) = view::pieces_in(&mut shelf, file, 0..file.bytes, LIST_NODES_MAX)?;
        if !lacking.is_empty() {
            let node = |chunk| Need { chunk, place: None };
            return Ok(Step::Lacks(lacking.into_iter().map(node).collect()));
        }
        let want = |piece: &Piece| Want {
            chunk: piece.chunk,
            place: place(inode.blob(), file, piece),
            class: Class::Bulk,
            release: self.settings.release,
            patience: Duration::ZERO,
            unreached: Unreached::Wait,
        };
        let wants = pieces.iter().map(want).collect();
        Ok(Step::Done(Reply::Held {
            wants,
            bytes: file.bytes,
        }))
    }

    pub(super) fn folder(&self, ino: u64) -> Result<Folder, Fault> {
        match &self.inodes.get(ino).ok_or_else(Fault::stale)?.kind {
            Kind::Dir(folder) => Ok(folder.clone()),
            Kind::File(_) | Kind::Symlink(_) => Err(Fault::new(Failure::NotDirectory)),
        }
    }

    pub(super) fn shelf<'a>(&'a mut self, pins: &'a mut Pins) -> Shelf<'a> {
        Shelf {
            nodes: &mut self.nodes,
            chunks: &mut self.chunks,
            pins,
        }
    }
}

impl Step {
    pub(super) fn lacks(chunk: ChunkRef) -> Self {
        Self::Lacks(vec![Need { chunk, place: None }])
    }
}

impl Fault {
    fn new(failure: Failure) -> Self {
        Self {
            failure,
            chunk: None,
            why: String::new(),
        }
    }

    fn stale() -> Self {
        Self::new(Failure::Stale)
    }

    fn no_attribute() -> Self {
        Self::new(Failure::NoAttribute)
    }

    fn malformed(chunk: Option<ChunkId>, why: &str) -> Self {
        Self {
            failure: Failure::Unreadable,
            chunk,
            why: format!("the release is malformed: {why}"),
        }
    }
}

impl From<NodeError> for Fault {
    fn from(error: NodeError) -> Self {
        Self {
            failure: Failure::Unreadable,
            chunk: None,
            why: error.to_string(),
        }
    }
}

fn file_of(inode: &Inode) -> Result<&File, Fault> {
    match &inode.kind {
        Kind::File(file) => Ok(file),
        Kind::Dir(_) => Err(Fault::new(Failure::IsDirectory)),
        Kind::Symlink(_) => Err(Fault::new(Failure::NotLink)),
    }
}

/// Where a chunk of a file with this blob belongs on disk; packs have no file of their own.
pub(super) fn place(blob: Option<ChunkId>, file: &File, piece: &Piece) -> Option<BlobPlace> {
    Some(BlobPlace {
        blob: blob?,
        blob_bytes: file.bytes,
        offset: piece.start,
    })
}
