//! Where a release's nodes and packs are split. Decided from names and sizes alone, so it is known before a byte of a file is read, and
//! it is alike on every machine.
//!
//! A split falls behind an item whose hash says so. The chance is proportional to the item's weight, which makes pieces of the target
//! size on average whatever the items are, and an inserted or removed item moves the splits next to it only.

use super::{EntryKind, Meta, Name};
use crate::chunk::ChunkId;
use crate::limits::{CHUNK_BYTES_MAX, INLINE_BYTES_MAX, PACKED_BYTES_MAX, TARGET_BYTES_MAX, XATTRS_BYTES_MAX};

/// Manifest nodes: 64 KiB on average. Weights are estimates of encoded bytes that do not depend on what the chunks are.
const NODE: Sizes = Sizes {
    min: 16 << 10,
    target: 64 << 10,
    max: 256 << 10,
};

/// Packs: 512 KiB on average. The next file might bring `PACKED_BYTES_MAX` more, and a pack is one chunk.
const PACK: Sizes = Sizes {
    min: 256 << 10,
    target: 512 << 10,
    max: (CHUNK_BYTES_MAX as u64) - PACKED_BYTES_MAX,
};

/// Generous for what surrounds name, target, inline bytes and attributes of an entry when it is written.
const ENTRY_FRAME_BYTES: u64 = 1 << 10;

const _: () = assert!(
    NODE.max + TARGET_BYTES_MAX as u64 + XATTRS_BYTES_MAX as u64 * 2 + INLINE_BYTES_MAX + ENTRY_FRAME_BYTES
        < CHUNK_BYTES_MAX as u64 / 2,
    "a node and the entry that overfills it must fit a chunk, though weights be off by half"
);

#[derive(Clone, Copy, Debug)]
struct Sizes {
    min: u64,
    target: u64,
    max: u64,
}

impl Sizes {
    /// Whether a piece ends behind an item of `weight` that makes it `total` heavy. `hash` is asked for only where it decides.
    fn ends(self, total: u64, weight: u64, hash: impl FnOnce() -> u32) -> bool {
        if total < self.min {
            return false;
        }
        total >= self.max || u64::from(hash()) * (self.target - self.min) < weight << 32
    }
}

/// Splits a sequence of weighted items into nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodeSplit {
    total: u64,
}

impl NodeSplit {
    /// Takes the next item; whether the node ends behind it.
    pub(super) fn push(&mut self, weight: u64, hash: impl FnOnce() -> u32) -> bool {
        self.total += weight;
        let ends = NODE.ends(self.total, weight, hash);
        if ends {
            self.total = 0;
        }
        ends
    }
}

/// Four bytes of a hash for each purpose: nodes of height 0 to 6, and packs. Above that height nothing real is left to split.
pub(super) fn salted(hash: &ChunkId, purpose: usize) -> u32 {
    let at = purpose.min(PURPOSE_PACK) * 4;
    hash.as_bytes()[at..at + 4].iter().fold(0, |n, &b| n << 8 | u32::from(b))
}

const PURPOSE_PACK: usize = 7;

/// What of an entry decides where its directory is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A directory.
    Dir,
    /// A symbolic link with a target of this many bytes.
    Symlink(u64),
    /// A file of this many bytes.
    File(u64),
}

impl Shape {
    /// The shape of an entry that is known already.
    pub fn of(kind: &EntryKind) -> Self {
        match kind {
            EntryKind::Dir(_) => Self::Dir,
            EntryKind::Symlink(target) => Self::Symlink(target.len() as u64),
            EntryKind::File(file) => Self::File(file.bytes),
        }
    }

    /// Whether it is a file that shares a pack with siblings.
    pub fn is_packed(self) -> bool {
        matches!(self, Self::File(bytes) if bytes > INLINE_BYTES_MAX && bytes <= PACKED_BYTES_MAX)
    }

    fn weight(self) -> u64 {
        match self {
            Self::Dir => 60,
            Self::Symlink(target) => target,
            Self::File(bytes) if bytes <= INLINE_BYTES_MAX => bytes,
            Self::File(_) if self.is_packed() => 8,
            Self::File(_) => 100,
        }
    }
}

/// What ends behind an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    None,
    /// The pack: the next packed file begins another one.
    Pack,
    /// The node, and with it the pack.
    Node,
}

/// Splits one directory into nodes and its packed files into packs. Entries go in by ascending name; the end of the directory ends
/// everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planner {
    nodes: NodeSplit,
    pack_bytes: u64,
}

impl Planner {
    /// Takes the next entry and says what ends behind it.
    pub fn push(&mut self, name: &Name, meta: &Meta, shape: Shape) -> Cut {
        let xattrs: usize = meta.xattrs.iter().map(|x| x.key.len() + x.value.len() + 4).sum();
        let weight = 20 + name.as_bytes().len() as u64 + shape.weight() + xattrs as u64;
        let mut hash = None;
        let mut hash = |purpose| salted(hash.get_or_insert_with(|| ChunkId::of(name.as_bytes())), purpose);
        if self.nodes.push(weight, || hash(0)) {
            self.pack_bytes = 0;
            return Cut::Node;
        }
        match shape {
            Shape::File(bytes) if shape.is_packed() => {
                self.pack_bytes += bytes;
                if PACK.ends(self.pack_bytes, bytes, || hash(PURPOSE_PACK)) {
                    self.pack_bytes = 0;
                    return Cut::Pack;
                }
                Cut::None
            }
            _ => Cut::None,
        }
    }
}
