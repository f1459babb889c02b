//! Makes the nodes of a release: the publisher's side. Finished nodes and packs go out at once, so a builder holds one node per level.

use bytes::{Bytes, BytesMut};

use super::plan::{NodeSplit, salted};
use super::{
    Content, Cut, DirChild, DirNode, DirRef, Entry, EntryKind, Fault, File, ListNode, ListRef, Meta, Name, Planner, Shape,
};
use super::{codec, rules};
use crate::chunk::{ChunkId, ChunkRef, VerifiedChunk};
use crate::limits::{CHUNKS_IN_ENTRY_MAX, FILE_BYTES_MAX, INLINE_BYTES_MAX};

/// Stands for the pack in the making, which has no name before it is whole. No chunk is empty, so it is taken for no other.
const UNNAMED: ChunkRef = ChunkRef {
    id: ChunkId::from_bytes([0; 32]),
    len: 0,
};

/// Why entries do not make a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry \"{name}\" cannot be published: {fault}")]
pub struct BuildError {
    /// The entry it was found at, escaped.
    pub name: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Builds one directory from its entries by ascending name.
#[derive(Debug, Default)]
pub struct DirBuilder {
    planner: Planner,
    /// Entries of the leaf in the making.
    leaf: Vec<Entry>,
    pack: Pack,
    spine: Spine<DirChild>,
    last: Option<Name>,
}

/// The pack in the making.
#[derive(Debug, Default)]
enum Pack {
    /// The next packed file begins one.
    #[default]
    Closed,
    /// Files were copied into it. Entries from `first` on wait for its name.
    Ours { bytes: BytesMut, first: usize },
    /// It was made elsewhere; its next file lies at `next`.
    Given { pack: ChunkRef, next: u32 },
}

impl DirBuilder {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry whose content is known: a directory, symlink, inline or big file, or a packed file in the pack that a `Planner` gave
    /// it.
    pub fn push(&mut self, entry: Entry, out: &mut dyn FnMut(VerifiedChunk)) -> Result<(), BuildError> {
        let place = match &entry.kind {
            EntryKind::File(File {
                content: Content::Packed { pack, offset },
                bytes,
                ..
            }) => Some((*pack, *offset, *bytes)),
            _ => None,
        };
        self.add(entry, out, |builder| match (place, &builder.pack) {
            (None, _) => Ok(()),
            (Some((pack, offset, bytes)), before) => {
                let (follows, first) = match *before {
                    Pack::Closed => (offset == 0, 0),
                    Pack::Given { pack: before, next } => (pack == before && offset == next, next),
                    Pack::Ours { .. } => (false, 0),
                };
                let end = u64::from(first) + bytes;
                if !follows || end > u64::from(pack.len) {
                    return Err(Fault::Form(
                        "a packed file that does not follow the one before it in its pack",
                    ));
                }
                let next = end as u32;
                builder.pack = if next == pack.len {
                    Pack::Closed
                } else {
                    Pack::Given { pack, next }
                };
                Ok(())
            }
        })
    }

    /// Adds a file of at most `PACKED_BYTES_MAX` bytes. The builder puts it inline or copies it into a pack of its own making.
    pub fn push_small(
        &mut self,
        name: Name,
        meta: Meta,
        bytes: Bytes,
        b3: Option<[u8; 32]>,
        out: &mut dyn FnMut(VerifiedChunk),
    ) -> Result<(), BuildError> {
        let size = bytes.len() as u64;
        let inline = size <= INLINE_BYTES_MAX;
        let offset = match &self.pack {
            Pack::Ours { bytes, .. } => bytes.len() as u32,
            Pack::Closed | Pack::Given { .. } => 0,
        };
        let content = if inline {
            Content::Inline(bytes.clone())
        } else {
            Content::Packed { pack: UNNAMED, offset }
        };
        let kind = EntryKind::File(File {
            bytes: size,
            content,
            b3,
        });
        self.add(Entry { name, meta, kind }, out, |builder| {
            let first = builder.leaf.len();
            match &mut builder.pack {
                _ if inline => {}
                Pack::Ours { bytes: pack, .. } => pack.extend_from_slice(&bytes),
                Pack::Closed => {
                    builder.pack = Pack::Ours {
                        bytes: BytesMut::from(&bytes[..]),
                        first,
                    }
                }
                Pack::Given { .. } => return Err(Fault::Form("a file to be packed within a pack made elsewhere")),
            }
            Ok(())
        })
    }

    /// Finishes the directory.
    pub fn finish(mut self, out: &mut dyn FnMut(VerifiedChunk)) -> Result<DirRef, BuildError> {
        if !self.leaf.is_empty() {
            self.end_leaf(out)?;
        }
        let top = match std::mem::take(&mut self.spine).finish(out) {
            Ok(Some(top)) => Ok(top.node),
            Ok(None) => seal_dir(&DirNode::Leaf(Vec::new()), 0, out),
            Err(fault) => Err(fault),
        };
        top.map_err(|fault| self.failed(fault))
    }

    fn add(
        &mut self,
        entry: Entry,
        out: &mut dyn FnMut(VerifiedChunk),
        pack: impl FnOnce(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), BuildError> {
        let checked = rules::ascend(self.last.as_ref().map(Name::as_bytes), entry.name.as_bytes())
            .and_then(|()| rules::check_entry(&entry))
            .and_then(|()| pack(self));
        if let Err(fault) = checked {
            return Err(BuildError {
                name: entry.name.as_bytes().escape_ascii().to_string(),
                fault,
            });
        }
        let cut = self.planner.push(&entry.name, &entry.meta, Shape::of(&entry.kind));
        self.last = Some(entry.name.clone());
        self.leaf.push(entry);
        match cut {
            Cut::None => Ok(()),
            Cut::Pack => self.end_pack(out),
            Cut::Node => self.end_leaf(out),
        }
    }

    fn end_pack(&mut self, out: &mut dyn FnMut(VerifiedChunk)) -> Result<(), BuildError> {
        match std::mem::take(&mut self.pack) {
            Pack::Closed => Ok(()),
            Pack::Ours { bytes, first } => {
                let chunk = VerifiedChunk::of(bytes.freeze());
                let named = chunk_ref(&chunk);
                for entry in &mut self.leaf[first..] {
                    if let EntryKind::File(File {
                        content: Content::Packed { pack, .. },
                        ..
                    }) = &mut entry.kind
                    {
                        *pack = named;
                    }
                }
                out(chunk);
                Ok(())
            }
            Pack::Given { .. } => Err(self.failed(Fault::Form("the end of its pack is missing"))),
        }
    }

    fn end_leaf(&mut self, out: &mut dyn FnMut(VerifiedChunk)) -> Result<(), BuildError> {
        self.end_pack(out)?;
        let leaf = DirNode::Leaf(std::mem::take(&mut self.leaf));
        let node = seal_dir(&leaf, 0, out).map_err(|fault| self.failed(fault))?;
        if let DirNode::Leaf(entries) = leaf {
            let first = entries[0].name.clone();
            self.spine
                .push(DirChild { first, node }, out)
                .map_err(|fault| self.failed(fault))?;
        }
        Ok(())
    }

    fn failed(&self, fault: Fault) -> BuildError {
        let name = self.last.as_ref().map(|name| name.as_bytes().escape_ascii().to_string());
        BuildError {
            name: name.unwrap_or_default(),
            fault,
        }
    }
}

/// Builds the content of one big file from its chunks in order.
#[derive(Debug, Default)]
pub struct ListBuilder {
    /// Chunks of the leaf in the making.
    leaf: Vec<ChunkRef>,
    split: NodeSplit,
    spine: Spine<ListRef>,
    bytes: u64,
}

impl ListBuilder {
    /// A file without bytes so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk.
    ///
    /// # Panics
    /// Beyond `FILE_BYTES_MAX` bytes: no file system has such a file.
    pub fn push(&mut self, chunk: ChunkRef, out: &mut dyn FnMut(VerifiedChunk)) {
        self.bytes += u64::from(chunk.len);
        assert!(self.bytes <= FILE_BYTES_MAX, "a file of {} bytes", self.bytes);
        self.leaf.push(chunk);
        if self.split.push(CHUNK_REF_WEIGHT, || salted(&chunk.id, 0)) {
            self.end_leaf(out);
        }
    }

    /// Finishes the file: its size in bytes and where they are. A file has one chunk at least.
    pub fn finish(mut self, out: &mut dyn FnMut(VerifiedChunk)) -> (u64, Content) {
        // A leaf never ends below the chunks that fit an entry, so a short list is all in the first.
        if self.spine.is_empty() && self.leaf.len() <= CHUNKS_IN_ENTRY_MAX {
            return (self.bytes, Content::Chunks(self.leaf));
        }
        if !self.leaf.is_empty() {
            self.end_leaf(out);
        }
        let top = self.spine.finish(out).ok().flatten();
        (
            self.bytes,
            Content::List(top.expect("sums stay below the size of the file, and a long list has leaves")),
        )
    }

    fn end_leaf(&mut self, out: &mut dyn FnMut(VerifiedChunk)) {
        let chunks = std::mem::take(&mut self.leaf);
        let (bytes, count) = (chunks.iter().map(|c| u64::from(c.len)).sum(), chunks.len() as u64);
        let node = codec::encode_list(&ListNode::Leaf(chunks));
        let list = ListRef {
            node: chunk_ref(&node),
            height: 0,
            bytes,
            chunks: count,
        };
        out(node);
        self.spine.push(list, out).expect("sums stay below the size of the file");
    }
}

const CHUNK_REF_WEIGHT: u64 = 39;

fn chunk_ref(chunk: &VerifiedChunk) -> ChunkRef {
    ChunkRef {
        id: chunk.id(),
        len: chunk.bytes().len() as u32,
    }
}

fn seal_dir(node: &DirNode, height: u8, out: &mut dyn FnMut(VerifiedChunk)) -> Result<DirRef, Fault> {
    let (totals, depth) = rules::sums(node)?;
    let chunk = codec::encode_dir(node);
    let node = chunk_ref(&chunk);
    out(chunk);
    Ok(DirRef {
        node,
        height,
        depth,
        totals,
    })
}

/// The levels of branches above the leaves of a directory or a chunk list.
#[derive(Debug)]
struct Spine<P> {
    /// Pieces of height 0, 1, ..: those that wait for their branch to end.
    levels: Vec<(Vec<P>, NodeSplit)>,
}

impl<P> Default for Spine<P> {
    fn default() -> Self {
        Self { levels: Vec::new() }
    }
}

/// A reference to a node, as a branch holds it.
trait Piece: Sized {
    /// Estimated bytes when written.
    fn weight(&self) -> u64;
    /// What decides whether a branch ends behind it.
    fn split_hash(&self) -> ChunkId;
    /// Makes the branch over these, of this height.
    fn branch(children: Vec<Self>, height: u8, out: &mut dyn FnMut(VerifiedChunk)) -> Result<Self, Fault>;
}

impl<P: Piece> Spine<P> {
    fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    fn push(&mut self, leaf: P, out: &mut dyn FnMut(VerifiedChunk)) -> Result<(), Fault> {
        self.push_at(0, leaf, out)
    }

    fn push_at(&mut self, mut height: usize, mut piece: P, out: &mut dyn FnMut(VerifiedChunk)) -> Result<(), Fault> {
        loop {
            if self.levels.len() == height {
                self.levels.push((Vec::new(), NodeSplit::default()));
            }
            let (pieces, split) = &mut self.levels[height];
            let ends = split.push(piece.weight(), || salted(&piece.split_hash(), height + 1));
            pieces.push(piece);
            if !ends {
                return Ok(());
            }
            height += 1;
            piece = P::branch(std::mem::take(pieces), height as u8, out)?;
        }
    }

    /// The top; `None` if there was no piece.
    fn finish(mut self, out: &mut dyn FnMut(VerifiedChunk)) -> Result<Option<P>, Fault> {
        let mut height = 0;
        while height < self.levels.len() {
            let is_top = height + 1 == self.levels.len();
            let mut pieces = std::mem::take(&mut self.levels[height].0);
            height += 1;
            if is_top && pieces.len() == 1 {
                return Ok(pieces.pop());
            }
            if !pieces.is_empty() {
                let branch = P::branch(pieces, height as u8, out)?;
                self.push_at(height, branch, out)?;
            }
        }
        Ok(None)
    }
}

impl Piece for DirChild {
    fn weight(&self) -> u64 {
        self.first.as_bytes().len() as u64 + 60
    }

    /// By name, so that an edit below does not move the splits above.
    fn split_hash(&self) -> ChunkId {
        ChunkId::of(self.first.as_bytes())
    }

    fn branch(children: Vec<Self>, height: u8, out: &mut dyn FnMut(VerifiedChunk)) -> Result<Self, Fault> {
        let first = children[0].first.clone();
        let node = seal_dir(&DirNode::Branch(children), height, out)?;
        Ok(Self { first, node })
    }
}

impl Piece for ListRef {
    fn weight(&self) -> u64 {
        CHUNK_REF_WEIGHT + 10
    }

    fn split_hash(&self) -> ChunkId {
        self.node.id
    }

    fn branch(children: Vec<Self>, height: u8, out: &mut dyn FnMut(VerifiedChunk)) -> Result<Self, Fault> {
        let (bytes, chunks) = (
            children.iter().map(|c| c.bytes).sum(),
            children.iter().map(|c| c.chunks).sum(),
        );
        let node = codec::encode_list(&ListNode::Branch(children));
        let list = Self {
            node: chunk_ref(&node),
            height,
            bytes,
            chunks,
        };
        out(node);
        Ok(list)
    }
}
