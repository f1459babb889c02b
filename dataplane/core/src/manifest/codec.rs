//! Manifest nodes as bytes and back. What is parsed has been checked in full against what its parent says of it; what cannot be
//! does not become a value.
//!
//! ```text
//! node     = [version = 1, kind, ..]                           kind: NodeKind
//! root     = [version, 0, cutter, top]                         top = [0, meta, dirref] | [1, meta, file]
//! dirleaf  = [version, 1, [(id, len)*], [entry*]]              the packs of this node, then its entries
//! dirbranch= [version, 2, [(first name, dirref)*]]
//! listleaf = [version, 3, [(id, len)*]]
//! listbr.  = [version, 4, [listref*]]
//! entry    = [name, meta, dirref | symlink | file]
//! meta     = [mode, mtime s, mtime ns] | [mode, mtime s, mtime ns, [(key, value)+]]
//! dirref   = [0, id, len, height, depth, bytes, entries, chunks]
//! symlink  = [1, target]
//! file     = [2, bytes] inline | [3, size] packed | [4, [(id, len)+]] chunks | [5, listref]     each with the BLAKE3 of the file
//! listref  = [id, len, height, bytes, chunks]                                                   as one more item where it is known
//! ```
//! Pairs `(a, b)` are two items of the array around them. Where a packed file lies is not written: the packed files of a node, in
//! order, are the bytes of its packs, in order.

use std::sync::Arc;

use bytes::Bytes;

use super::cbor::{Reader, Writer};
use super::rules;
use super::{
    Content, DirChild, DirClaim, DirNode, DirRef, Entry, EntryKind, Fault, File, ListNode, ListRef, ManifestError, Meta, Mtime,
    Name, NodeKind, Root, Top, Totals, Xattr,
};
use crate::chunk::{ChunkId, ChunkRef, CutterId, VerifiedChunk};
use crate::limits::{CHUNK_BYTES_MAX, DIR_DEPTH_MAX, FILE_BYTES_MAX, NODE_HEIGHT_MAX, PACKED_BYTES_MAX};

/// The version that this program writes, and the newest that it reads.
const VERSION: u64 = 1;

const WHAT_DIR: u64 = 0;
const WHAT_SYMLINK: u64 = 1;
const WHAT_INLINE: u64 = 2;
const WHAT_PACKED: u64 = 3;
const WHAT_CHUNKS: u64 = 4;
const WHAT_LIST: u64 = 5;

// Parsing.

pub(super) fn parse_root(chunk: &VerifiedChunk) -> Result<Root, ManifestError> {
    parse(chunk, chunk.id(), NodeKind::Root, 4, root, write_root)
}

pub(super) fn parse_dir(chunk: &VerifiedChunk, claim: &DirClaim) -> Result<DirNode, ManifestError> {
    let node = claim.node;
    let id = node.node.id;
    let parsed = match node.height {
        0 => parse(chunk, id, NodeKind::DirLeaf, 4, |r| leaf(r).map(DirNode::Leaf), write_dir),
        _ => parse(
            chunk,
            id,
            NodeKind::DirBranch,
            3,
            |r| branch(r, node.height).map(DirNode::Branch),
            write_dir,
        ),
    }?;
    rules::check_dir(&parsed, claim).map_err(|fault| ManifestError::Malformed { node: id, fault })?;
    Ok(parsed)
}

pub(super) fn parse_list(chunk: &VerifiedChunk, claim: &ListRef) -> Result<ListNode, ManifestError> {
    let id = claim.node.id;
    let parsed = match claim.height {
        0 => parse(
            chunk,
            id,
            NodeKind::ListLeaf,
            3,
            |r| chunk_refs(r).map(ListNode::Leaf),
            write_list,
        ),
        _ => parse(
            chunk,
            id,
            NodeKind::ListBranch,
            3,
            |r| list_branch(r, claim.height).map(ListNode::Branch),
            write_list,
        ),
    }?;
    rules::check_list(&parsed, claim).map_err(|fault| ManifestError::Malformed { node: id, fault })?;
    Ok(parsed)
}

/// The frame that all nodes share: the right chunk, a known version, the right kind, nothing behind it, and canonical.
fn parse<T>(
    chunk: &VerifiedChunk,
    asked: ChunkId,
    expected: NodeKind,
    items: usize,
    body: impl FnOnce(&mut Reader<'_>) -> Result<T, Fault>,
    write: impl FnOnce(&T) -> Vec<u8>,
) -> Result<T, ManifestError> {
    if chunk.id() != asked {
        return Err(ManifestError::WrongChunk { asked, got: chunk.id() });
    }
    let malformed = |fault| ManifestError::Malformed { node: asked, fault };
    let mut r = Reader::new(chunk.bytes());
    let found_items = r.array().map_err(malformed)?;
    let version = r.uint().map_err(malformed)?;
    if version > VERSION {
        return Err(ManifestError::Newer { version, known: VERSION });
    }
    let value = (|| {
        if version < VERSION {
            return Err(Fault::Limit {
                what: "the manifest format",
                value: version,
                least: VERSION,
                most: VERSION,
            });
        }
        let found = match r.uint()? {
            0 => NodeKind::Root,
            1 => NodeKind::DirLeaf,
            2 => NodeKind::DirBranch,
            3 => NodeKind::ListLeaf,
            4 => NodeKind::ListBranch,
            _ => return Err(r.fault("a node of unknown kind")),
        };
        if found != expected {
            return Err(Fault::Kind { expected, found });
        }
        if found_items != items {
            return Err(r.fault("a node with another number of parts than its kind has"));
        }
        let value = body(&mut r)?;
        r.end()?;
        let again = write(&value);
        match again.iter().zip(chunk.bytes()).position(|(a, b)| a != b) {
            Some(at) => Err(Fault::NotCanonical { at }),
            None if again.len() != chunk.bytes().len() => Err(Fault::NotCanonical {
                at: again.len().min(chunk.bytes().len()),
            }),
            None => Ok(value),
        }
    })();
    value.map_err(malformed)
}

fn root(r: &mut Reader<'_>) -> Result<Root, Fault> {
    let cutter = CutterId(r.uint_in("the cutter", 0, 255)? as u8);
    r.array_of(3)?;
    let top = match r.uint()? {
        0 => Top::Dir {
            meta: meta(r)?,
            node: {
                what(r, WHAT_DIR, 8)?;
                dir_ref(r)?
            },
        },
        1 => {
            let meta = meta(r)?;
            let mut packs = Packs::default();
            match entry_kind(r, &mut packs)? {
                EntryKind::File(file) => {
                    rules::check_top_file(&file)?;
                    Top::File { meta, file }
                }
                _ => return Err(Fault::Form("a release of a single file holds something else")),
            }
        }
        _ => return Err(r.fault("a release of an unknown kind")),
    };
    Ok(Root { cutter, top })
}

fn what(r: &mut Reader<'_>, expected: u64, items: usize) -> Result<(), Fault> {
    r.array_of(items)?;
    if r.uint()? != expected {
        return Err(r.fault("something else than its place asks for"));
    }
    Ok(())
}

/// Where the next packed file of a leaf lies.
#[derive(Clone, Debug, Default)]
struct Packs {
    packs: Arc<[ChunkRef]>,
    at: usize,
    offset: u32,
}

impl Packs {
    fn place(&mut self, bytes: u64) -> Result<Content, Fault> {
        let pack = *self.packs.get(self.at).ok_or(Fault::Form("a packed file without a pack"))?;
        let offset = self.offset;
        let end = u64::from(offset) + bytes;
        if end > u64::from(pack.len) {
            return Err(Fault::Form("a packed file reaches beyond its pack"));
        }
        self.offset = end as u32;
        if self.offset == pack.len {
            self.at += 1;
            self.offset = 0;
        }
        Ok(Content::Packed { pack, offset })
    }

    fn end(&self) -> Result<(), Fault> {
        if self.at < self.packs.len() {
            return Err(Fault::Form("a pack with bytes of no file"));
        }
        Ok(())
    }
}

fn leaf(r: &mut Reader<'_>) -> Result<Vec<Entry>, Fault> {
    let mut packs = Packs {
        packs: chunk_refs(r)?.into(),
        ..Packs::default()
    };
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..r.array()? {
        let entry = entry(r, &mut packs)?;
        rules::ascend(entries.last().map(|e| e.name.as_bytes()), entry.name.as_bytes())?;
        rules::check_entry(&entry)?;
        entries.push(entry);
    }
    packs.end()?;
    Ok(entries)
}

fn entry(r: &mut Reader<'_>, packs: &mut Packs) -> Result<Entry, Fault> {
    r.array_of(3)?;
    Ok(Entry {
        name: Name::new(r.bytes()?)?,
        meta: meta(r)?,
        kind: entry_kind(r, packs)?,
    })
}

/// Goes through the entries of a leaf that was parsed before, and keeps no more than its bytes: an entry of a dozen bytes takes two hundred
/// once it is parsed.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    bytes: Bytes,
    /// Where the next entry begins.
    at: usize,
    left: usize,
    packs: Packs,
}

impl Entries {
    /// Of a chunk that `parse_dir` took for a leaf.
    pub(super) fn new(leaf: &VerifiedChunk) -> Result<Self, ManifestError> {
        let read = || {
            let mut r = Reader::new(leaf.bytes());
            r.array()?;
            r.uint()?;
            r.uint()?;
            let packs = chunk_refs(&mut r)?.into();
            let left = r.array()?;
            Ok((r.place(), left, packs))
        };
        let (at, left, packs) = read().map_err(|fault| ManifestError::Malformed { node: leaf.id(), fault })?;
        Ok(Self {
            bytes: leaf.bytes().clone(),
            at,
            left,
            packs: Packs {
                packs,
                ..Packs::default()
            },
        })
    }

    /// How many are still to come.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// The next one; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Fault> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        let mut r = Reader::at(&self.bytes, self.at);
        let entry = entry(&mut r, &mut self.packs)?;
        (self.at, self.left) = (r.place(), left);
        Ok(Some(entry))
    }
}

fn branch(r: &mut Reader<'_>, height: u8) -> Result<Vec<DirChild>, Fault> {
    let mut children: Vec<DirChild> = Vec::new();
    for _ in 0..pairs(r)? {
        let first = Name::new(r.bytes()?)?;
        rules::ascend(children.last().map(|c| c.first.as_bytes()), first.as_bytes())?;
        what(r, WHAT_DIR, 8)?;
        let node = dir_ref(r)?;
        check_height(node.height, height)?;
        if node.totals.entries == 0 {
            return Err(Fault::Form("a piece of a directory without entries"));
        }
        children.push(DirChild { first, node });
    }
    Ok(children)
}

fn list_branch(r: &mut Reader<'_>, height: u8) -> Result<Vec<ListRef>, Fault> {
    let mut children = Vec::new();
    for _ in 0..r.array()? {
        let node = list_ref(r)?;
        check_height(node.height, height)?;
        children.push(node);
    }
    Ok(children)
}

fn check_height(child: u8, parent: u8) -> Result<(), Fault> {
    if child.checked_add(1) == Some(parent) {
        return Ok(());
    }
    Err(Fault::Claim {
        what: "height",
        claimed: parent.into(),
        actual: u64::from(child) + 1,
    })
}

fn pairs(r: &mut Reader<'_>) -> Result<usize, Fault> {
    let items = r.array()?;
    if items % 2 == 1 {
        return Err(r.fault("an array of pairs with half a pair"));
    }
    Ok(items / 2)
}

fn meta(r: &mut Reader<'_>) -> Result<Meta, Fault> {
    let start = r.fault("an entry's mode and times with another number of parts");
    let items = r.array()?;
    if items != 3 && items != 4 {
        return Err(start);
    }
    let mode = r.uint_in("a mode", 0, 0o777)? as u16;
    let mtime = Mtime {
        secs: r.int()?,
        nanos: r.uint_in("the nanoseconds of a time", 0, 999_999_999)? as u32,
    };
    let mut xattrs = Vec::new();
    if items == 4 {
        for _ in 0..pairs(r)? {
            xattrs.push(Xattr {
                key: r.bytes()?,
                value: r.bytes()?,
            });
        }
        if xattrs.is_empty() {
            return Err(Fault::Form("an empty list of attributes, which is not written"));
        }
    }
    let meta = Meta { mode, mtime, xattrs };
    rules::check_meta(&meta)?;
    Ok(meta)
}

fn chunk_ref(r: &mut Reader<'_>) -> Result<ChunkRef, Fault> {
    let id = ChunkId::from_bytes(r.hash()?);
    let len = r.uint_in("the length of a chunk", 1, CHUNK_BYTES_MAX.into())? as u32;
    Ok(ChunkRef { id, len })
}

fn chunk_refs(r: &mut Reader<'_>) -> Result<Vec<ChunkRef>, Fault> {
    (0..pairs(r)?).map(|_| chunk_ref(r)).collect()
}

fn dir_ref(r: &mut Reader<'_>) -> Result<DirRef, Fault> {
    let node = chunk_ref(r)?;
    let height = r.uint_in("the height of a directory", 0, NODE_HEIGHT_MAX.into())? as u8;
    let depth = r.uint_in("the depth of nested directories", 0, DIR_DEPTH_MAX as u64)? as u16;
    let bytes = r.uint_in("the bytes of a directory", 0, FILE_BYTES_MAX)?;
    let entries = r.uint_in("the entries of a directory", 0, FILE_BYTES_MAX)?;
    let chunks = r.uint_in("the chunks of a directory", 0, FILE_BYTES_MAX)?;
    Ok(DirRef {
        node,
        height,
        depth,
        totals: Totals { bytes, entries, chunks },
    })
}

fn list_ref(r: &mut Reader<'_>) -> Result<ListRef, Fault> {
    r.array_of(5)?;
    let node = chunk_ref(r)?;
    let height = r.uint_in("the height of a chunk list", 0, NODE_HEIGHT_MAX.into())? as u8;
    let bytes = r.uint_in("the bytes of a file", 1, FILE_BYTES_MAX)?;
    let chunks = r.uint_in("the chunks of a file", 1, FILE_BYTES_MAX)?;
    Ok(ListRef {
        node,
        height,
        bytes,
        chunks,
    })
}

fn entry_kind(r: &mut Reader<'_>, packs: &mut Packs) -> Result<EntryKind, Fault> {
    let items = r.array()?;
    let what = r.uint()?;
    let parts = match what {
        WHAT_DIR if items == 8 => return Ok(EntryKind::Dir(dir_ref(r)?)),
        WHAT_SYMLINK if items == 2 => return Ok(EntryKind::Symlink(r.bytes()?)),
        WHAT_INLINE | WHAT_PACKED | WHAT_CHUNKS | WHAT_LIST if items == 2 || items == 3 => items,
        WHAT_DIR..=WHAT_LIST => return Err(r.fault("an entry with another number of parts than its kind has")),
        _ => return Err(r.fault("an entry of an unknown kind")),
    };
    let (bytes, content) = match what {
        WHAT_INLINE => {
            let bytes = r.bytes()?;
            (bytes.len() as u64, Content::Inline(bytes))
        }
        WHAT_PACKED => {
            let bytes = r.uint_in("the bytes of a packed file", 1, PACKED_BYTES_MAX)?;
            (bytes, packs.place(bytes)?)
        }
        WHAT_CHUNKS => {
            let chunks = chunk_refs(r)?;
            (chunks.iter().map(|c| u64::from(c.len)).sum(), Content::Chunks(chunks))
        }
        _ => {
            let list = list_ref(r)?;
            (list.bytes, Content::List(list))
        }
    };
    let b3 = if parts == 3 { Some(r.hash()?) } else { None };
    Ok(EntryKind::File(File { bytes, content, b3 }))
}

// Writing.

pub(super) fn encode_root(root: &Root) -> VerifiedChunk {
    seal(write_root(root))
}

pub(super) fn encode_dir(node: &DirNode) -> VerifiedChunk {
    seal(write_dir(node))
}

pub(super) fn encode_list(node: &ListNode) -> VerifiedChunk {
    seal(write_list(node))
}

fn seal(bytes: Vec<u8>) -> VerifiedChunk {
    VerifiedChunk::of(Bytes::from(bytes))
}

fn node(w: &mut Writer, kind: NodeKind, items: usize) {
    w.array(items);
    w.uint(VERSION);
    w.uint(kind as u64);
}

fn write_root(root: &Root) -> Vec<u8> {
    let mut w = Writer::default();
    node(&mut w, NodeKind::Root, 4);
    w.uint(root.cutter.0.into());
    w.array(3);
    match &root.top {
        Top::Dir { meta, node } => {
            w.uint(0);
            write_meta(&mut w, meta);
            write_dir_ref(&mut w, node);
        }
        Top::File { meta, file } => {
            w.uint(1);
            write_meta(&mut w, meta);
            write_file(&mut w, file);
        }
    }
    w.finish()
}

fn write_dir(dir: &DirNode) -> Vec<u8> {
    let mut w = Writer::default();
    match dir {
        DirNode::Leaf(entries) => {
            node(&mut w, NodeKind::DirLeaf, 4);
            let packs = entries.iter().filter_map(|entry| match &entry.kind {
                EntryKind::File(File {
                    content: Content::Packed { pack, offset: 0 },
                    ..
                }) => Some(*pack),
                _ => None,
            });
            write_chunk_refs(&mut w, &packs.collect::<Vec<_>>());
            w.array(entries.len());
            for entry in entries {
                w.array(3);
                w.bytes(entry.name.as_bytes());
                write_meta(&mut w, &entry.meta);
                match &entry.kind {
                    EntryKind::Dir(dir) => write_dir_ref(&mut w, dir),
                    EntryKind::Symlink(target) => {
                        w.array(2);
                        w.uint(WHAT_SYMLINK);
                        w.bytes(target);
                    }
                    EntryKind::File(file) => write_file(&mut w, file),
                }
            }
        }
        DirNode::Branch(children) => {
            node(&mut w, NodeKind::DirBranch, 3);
            w.array(children.len() * 2);
            for child in children {
                w.bytes(child.first.as_bytes());
                write_dir_ref(&mut w, &child.node);
            }
        }
    }
    w.finish()
}

fn write_list(list: &ListNode) -> Vec<u8> {
    let mut w = Writer::default();
    match list {
        ListNode::Leaf(chunks) => {
            node(&mut w, NodeKind::ListLeaf, 3);
            write_chunk_refs(&mut w, chunks);
        }
        ListNode::Branch(children) => {
            node(&mut w, NodeKind::ListBranch, 3);
            w.array(children.len());
            children.iter().for_each(|child| write_list_ref(&mut w, child));
        }
    }
    w.finish()
}

fn write_meta(w: &mut Writer, meta: &Meta) {
    w.array(if meta.xattrs.is_empty() { 3 } else { 4 });
    w.uint(meta.mode.into());
    w.int(meta.mtime.secs);
    w.uint(meta.mtime.nanos.into());
    if !meta.xattrs.is_empty() {
        w.array(meta.xattrs.len() * 2);
        for xattr in &meta.xattrs {
            w.bytes(&xattr.key);
            w.bytes(&xattr.value);
        }
    }
}

fn write_chunk_refs(w: &mut Writer, chunks: &[ChunkRef]) {
    w.array(chunks.len() * 2);
    chunks.iter().for_each(|chunk| write_chunk_ref(w, chunk));
}

fn write_chunk_ref(w: &mut Writer, chunk: &ChunkRef) {
    w.bytes(chunk.id.as_bytes());
    w.uint(chunk.len.into());
}

fn write_dir_ref(w: &mut Writer, dir: &DirRef) {
    w.array(8);
    w.uint(WHAT_DIR);
    write_chunk_ref(w, &dir.node);
    w.uint(dir.height.into());
    w.uint(dir.depth.into());
    w.uint(dir.totals.bytes);
    w.uint(dir.totals.entries);
    w.uint(dir.totals.chunks);
}

fn write_list_ref(w: &mut Writer, list: &ListRef) {
    w.array(5);
    write_chunk_ref(w, &list.node);
    w.uint(list.height.into());
    w.uint(list.bytes);
    w.uint(list.chunks);
}

fn write_file(w: &mut Writer, file: &File) {
    w.array(if file.b3.is_some() { 3 } else { 2 });
    match &file.content {
        Content::Inline(bytes) => {
            w.uint(WHAT_INLINE);
            w.bytes(bytes);
        }
        Content::Packed { .. } => {
            w.uint(WHAT_PACKED);
            w.uint(file.bytes);
        }
        Content::Chunks(chunks) => {
            w.uint(WHAT_CHUNKS);
            write_chunk_refs(w, chunks);
        }
        Content::List(list) => {
            w.uint(WHAT_LIST);
            write_list_ref(w, list);
        }
    }
    if let Some(b3) = &file.b3 {
        w.bytes(b3);
    }
}
