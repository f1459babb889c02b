//! The values of a manifest: what a release, a directory, an entry and a chunk list are. How they are written is in `codec`.

use bytes::Bytes;

use super::{ManifestError, Name};
use crate::chunk::{ChunkId, ChunkRef, CutterId, ReleaseId, SizeClass, VerifiedChunk};

/// The root of a release. It holds no name: the same tree has the same hash whatever its directory is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// How its files were cut, so that the next release of the same publisher is cut alike.
    pub cutter: CutterId,
    /// What was published.
    pub top: Top,
}

/// What a release is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Top {
    /// A directory.
    Dir {
        /// Its own mode, mtime and xattrs.
        meta: Meta,
        /// Its entries.
        node: DirRef,
    },
    /// A single file.
    File {
        /// Its mode, mtime and xattrs.
        meta: Meta,
        /// Its bytes.
        file: File,
    },
}

/// Sums over everything below a node. What the node says is checked against its children whenever it is parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of all files.
    pub bytes: u64,
    /// Entries of all directories, directories included.
    pub entries: u64,
    /// Content chunks named, repeats included: chunks of files and packs. Inline files have none; manifest nodes do not count.
    pub chunks: u64,
}

/// What a directory holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// Mode, mtime, xattrs.
    pub meta: Meta,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry keeps besides its content. Owners are not kept: they mean nothing on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits, `0o777` at most: set-uid and the like are not published.
    pub mode: u16,
    /// Time of last modification.
    pub mtime: Mtime,
    /// Extended attributes of the `user.` namespace, by ascending key.
    pub xattrs: Vec<Xattr>,
}

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// Its name with the namespace: `user.something`.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// A moment as Linux `struct timespec` has it, since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    /// Seconds; before 1970 negative.
    pub secs: i64,
    /// Nanoseconds after them, below 1,000,000,000.
    pub nanos: u32,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Dir(DirRef),
    /// A symbolic link and its target: 1 to 4,095 bytes, any but NUL. It is stored, never followed.
    Symlink(Bytes),
    /// A regular file.
    File(File),
}

/// A regular file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Their number.
    pub bytes: u64,
    /// Where they are.
    pub content: Content,
    /// BLAKE3 of the whole file, what `b3sum` prints, where the publisher asked for it. Said by the publisher and not checked by
    /// reading: the chunks are what is verified.
    pub b3: Option<[u8; 32]>,
}

/// Where a file's bytes are. The form follows from the size: to `INLINE_BYTES_MAX` inline, to `PACKED_BYTES_MAX` packed, above
/// that chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Here.
    Inline(Bytes),
    /// In a chunk shared with siblings.
    Packed {
        /// The chunk.
        pack: ChunkRef,
        /// Where in it the file begins, in bytes.
        offset: u32,
    },
    /// In these, one after the other: 1 to `CHUNKS_IN_ENTRY_MAX`.
    Chunks(Vec<ChunkRef>),
    /// In the chunks of this list.
    List(ListRef),
}

/// Names a directory (or, in a branch, a piece of one) and says what is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirRef {
    /// The node.
    pub node: ChunkRef,
    /// Levels of branches above the leaves: 0 for a leaf.
    pub height: u8,
    /// Levels of directories nested below: 0 where there are none.
    pub depth: u16,
    /// Sums over everything below.
    pub totals: Totals,
}

/// What is expected of a directory node before it is seen: what its reference says, and the names that may stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirClaim {
    /// What the reference says.
    pub node: DirRef,
    /// In a piece of a big directory, its first name.
    pub first: Option<Name>,
    /// In a piece of a big directory, the first name of the next piece: all names stand before it.
    pub below: Option<Name>,
}

/// One node of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirNode {
    /// Entries by ascending name. Empty only in an empty directory.
    Leaf(Vec<Entry>),
    /// Pieces by ascending first name, at least two.
    Branch(Vec<DirChild>),
}

/// A piece of a big directory: the names from `first` up to the next piece's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirChild {
    /// The first name in it.
    pub first: Name,
    /// The piece.
    pub node: DirRef,
}

/// What a name leads to in a directory node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find<'a> {
    /// The entry.
    Entry(&'a Entry),
    /// It can only be in this piece; ask for that.
    Child(DirClaim),
    /// The directory has no such name.
    Absent,
}

/// Names a list of chunks and says what is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRef {
    /// The node.
    pub node: ChunkRef,
    /// Levels of branches above the leaves: 0 for a leaf.
    pub height: u8,
    /// File bytes below.
    pub bytes: u64,
    /// Chunks below.
    pub chunks: u64,
}

/// One node of a chunk list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListNode {
    /// Chunks in file order.
    Leaf(Vec<ChunkRef>),
    /// Pieces in file order, at least two.
    Branch(Vec<ListRef>),
}

/// What covers an offset in a chunk list node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListSpan {
    /// A chunk.
    Chunk {
        /// The chunk.
        chunk: ChunkRef,
        /// Where it begins, in bytes from the start of this node's part of the file.
        start: u64,
    },
    /// A piece.
    Child {
        /// The piece.
        node: ListRef,
        /// Where it begins, in bytes from the start of this node's part of the file.
        start: u64,
    },
}

impl Root {
    /// Reads the root of `release`. The bytes are the release's own, so only their form is to be judged.
    pub fn parse(chunk: &VerifiedChunk) -> Result<Self, ManifestError> {
        super::codec::parse_root(chunk)
    }

    /// The root as the chunk that names the release.
    pub fn encode(&self) -> VerifiedChunk {
        super::codec::encode_root(self)
    }

    /// The name of the release.
    pub fn release(&self) -> ReleaseId {
        ReleaseId(self.encode().id())
    }

    /// Sums over the release. A single file counts as one entry, a top directory does not count itself.
    pub fn totals(&self) -> Totals {
        match &self.top {
            Top::Dir { node, .. } => node.totals,
            Top::File { file, .. } => Totals {
                bytes: file.bytes,
                entries: 1,
                chunks: file
                    .own_chunks()
                    .max(u64::from(matches!(file.content, Content::Packed { .. }))),
            },
        }
    }
}

impl File {
    /// Identity of the file's blob: the hash of its root chunk list node, so that equal files are one blob whatever their names. `None`
    /// for inline and packed files, which have no chunks of their own.
    pub fn blob_id(&self) -> Option<ChunkId> {
        match &self.content {
            Content::Inline(_) | Content::Packed { .. } => None,
            Content::Chunks(chunks) => Some(super::codec::encode_list(&ListNode::Leaf(chunks.clone())).id()),
            Content::List(list) => Some(list.node.id),
        }
    }

    /// How finely a file of this size is cut; `None` where it is not cut.
    pub fn class(&self) -> Option<SizeClass> {
        match &self.content {
            Content::Inline(_) | Content::Packed { .. } => None,
            Content::Chunks(_) | Content::List(_) => Some(SizeClass::of(self.bytes)),
        }
    }

    /// Chunks that hold only this file's bytes.
    pub fn own_chunks(&self) -> u64 {
        match &self.content {
            Content::Inline(_) | Content::Packed { .. } => 0,
            Content::Chunks(chunks) => chunks.len() as u64,
            Content::List(list) => list.chunks,
        }
    }
}

impl DirRef {
    /// What is expected of the top node of this directory.
    pub fn claim(self) -> DirClaim {
        DirClaim {
            node: self,
            first: None,
            below: None,
        }
    }
}

impl DirNode {
    /// Reads a directory node and checks all that `claim` says of it.
    pub fn parse(chunk: &VerifiedChunk, claim: &DirClaim) -> Result<Self, ManifestError> {
        super::codec::parse_dir(chunk, claim)
    }

    /// Where `name` is: here, in a piece (`claim` is this node's own), or nowhere.
    pub fn find(&self, claim: &DirClaim, name: &[u8]) -> Find<'_> {
        match self {
            Self::Leaf(entries) => match entries.binary_search_by(|e| e.name.as_bytes().cmp(name)) {
                Ok(at) => Find::Entry(&entries[at]),
                Err(_) => Find::Absent,
            },
            Self::Branch(children) => match children.partition_point(|c| c.first.as_bytes() <= name) {
                0 => Find::Absent,
                after => Find::Child(child_claim(children, after - 1, claim)),
            },
        }
    }

    /// The pieces of a branch in order, each with what is expected of it (`claim` is this node's own). None for a leaf.
    pub fn children(&self, claim: &DirClaim) -> impl Iterator<Item = DirClaim> {
        let children: &[DirChild] = match self {
            Self::Leaf(_) => &[],
            Self::Branch(children) => children,
        };
        (0..children.len()).map(move |at| child_claim(children, at, claim))
    }
}

/// What is expected of the piece at this index of a branch, given what was expected of the branch.
pub(super) fn child_claim(children: &[DirChild], at: usize, parent: &DirClaim) -> DirClaim {
    DirClaim {
        node: children[at].node,
        first: Some(children[at].first.clone()),
        below: children
            .get(at + 1)
            .map(|next| next.first.clone())
            .or_else(|| parent.below.clone()),
    }
}

impl ListNode {
    /// Reads a chunk list node and checks all that `claim` says of it.
    pub fn parse(chunk: &VerifiedChunk, claim: &ListRef) -> Result<Self, ManifestError> {
        super::codec::parse_list(chunk, claim)
    }

    /// What covers `offset`, counted in bytes from the start of this node's part of the file; `None` at its end and past it.
    pub fn at(&self, offset: u64) -> Option<ListSpan> {
        self.spans().find(|span| match *span {
            ListSpan::Chunk { chunk, start } => offset < start + u64::from(chunk.len),
            ListSpan::Child { node, start } => offset < start + node.bytes,
        })
    }

    /// Everything in order, with its start.
    pub fn spans(&self) -> impl Iterator<Item = ListSpan> {
        let (chunks, nodes): (&[ChunkRef], &[ListRef]) = match self {
            Self::Leaf(chunks) => (chunks, &[]),
            Self::Branch(nodes) => (&[], nodes),
        };
        let mut start = 0;
        let mut from = move |bytes: u64| {
            start += bytes;
            start - bytes
        };
        let chunks = chunks.iter().map(|&chunk| (chunk.len.into(), Ok(chunk)));
        let nodes = nodes.iter().map(|&node| (node.bytes, Err(node)));
        chunks.chain(nodes).map(move |(bytes, span)| {
            let start = from(bytes);
            match span {
                Ok(chunk) => ListSpan::Chunk { chunk, start },
                Err(node) => ListSpan::Child { node, start },
            }
        })
    }
}
