//! Finds things in manifest nodes: a name or a position in a directory, a byte in a chunk list. Says which node it lacks; never
//! fetches one.
//!
//! **Inode numbers.** The manifest says of every directory how many entries are below it, so every entry has a place in the order
//! of the whole release (depth first, by name) that is known without looking at what stands before it. That place is the inode
//! number: the top is 1, an entry is `directory + 1 + entries before it`. It is the same on every mount of the release, needs no
//! table, and is unique because every node is checked against what its parent says of it.
//!
//! ```text
//! 1 top ─┬─ 2 a        position 0, ends at 1
//!        ├─ 3 d ── 4 x position 1, ends at 3: what is below d comes before what follows it
//!        └─ 5 z        position 3, ends at 4
//! ```
//! The same places serve as directory offsets: an entry's offset is where it ends, which is where the next begins.

use std::ops::Range;
use std::sync::Arc;

use ares_core::chunk::{ChunkRef, Mismatch, VerifiedChunk};
use ares_core::manifest::{Content, DirClaim, DirNode, DirRef, Entry, EntryKind, File, ListNode, ListRef, ManifestError};

/// A parsed directory node and where its items stand.
#[derive(Debug)]
pub(crate) struct DirView {
    claim: Option<DirClaim>,
    node: DirNode,
    /// Positions taken by the items before each, one longer than the items.
    before: Vec<u64>,
}

/// A parsed chunk list node and where its items begin.
#[derive(Debug)]
pub(crate) struct ListView {
    claim: ListRef,
    node: ListNode,
    /// File bytes before each item, one longer than the items.
    before: Vec<u64>,
}

/// Gives parsed nodes, or remembers that they are lacking.
pub(crate) trait Nodes {
    /// A directory node, if it is at hand.
    fn dir(&mut self, claim: &DirClaim) -> Result<Option<Arc<DirView>>, NodeError>;
    /// A chunk list node, if it is at hand.
    fn list(&mut self, claim: &ListRef) -> Result<Option<Arc<ListView>>, NodeError>;
}

/// Why a node cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The publisher's fault.
    #[error(transparent)]
    Malformed(#[from] ManifestError),
    /// The fault of whoever handed it out: sources verify.
    #[error("the source of chunks handed out wrong bytes: {0}")]
    Mismatch(#[from] Mismatch),
}

/// Where entries of one directory are: in `leaf` from item `index` on, the leaf's first at `base` positions into the directory.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) leaf: Arc<DirView>,
    pub(crate) base: u64,
    pub(crate) index: usize,
}

/// The outcome of a search.
#[derive(Debug)]
pub(crate) enum Found<T> {
    /// Here it is.
    Here(T),
    /// There is no such thing.
    Absent,
    /// This node must be had first.
    Lacking(ChunkRef),
}

/// A chunk of a file and where in the file it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) chunk: ChunkRef,
    pub(crate) start: u64,
}

impl DirView {
    /// Reads a node.
    pub(crate) fn parse(chunk: &VerifiedChunk, claim: &DirClaim) -> Result<Self, ManifestError> {
        Ok(Self::new(DirNode::parse(chunk, claim)?, Some(claim.clone())))
    }

    /// A directory that is in no manifest: the one we show around a release of a single file.
    pub(crate) fn around(entry: Entry) -> Self {
        Self::new(DirNode::Leaf(vec![entry]), None)
    }

    fn new(node: DirNode, claim: Option<DirClaim>) -> Self {
        let before = match &node {
            DirNode::Leaf(entries) => sums(entries.iter().map(positions)),
            DirNode::Branch(children) => sums(children.iter().map(|child| child.node.totals.entries)),
        };
        Self { claim, node, before }
    }

    /// Whether it is what `claim` says; the same chunk may be named with other claims elsewhere, by a liar.
    pub(crate) fn satisfies(&self, claim: &DirClaim) -> bool {
        self.claim.as_ref() == Some(claim)
    }

    /// Its entries; none in a branch.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.node {
            DirNode::Leaf(entries) => entries,
            DirNode::Branch(_) => &[],
        }
    }

    /// Where item `index` begins, in positions from the start of this node.
    pub(crate) fn begin(&self, index: usize) -> u64 {
        self.before[index]
    }

    /// Positions taken by all of it.
    fn len(&self) -> u64 {
        self.before.last().copied().unwrap_or(0)
    }

    /// Item of a branch that holds position `at`.
    fn child_at(&self, at: u64) -> usize {
        self.before.partition_point(|&before| before <= at).saturating_sub(1)
    }

    /// What is expected of child `index` of a branch.
    fn child(&self, index: usize) -> Option<DirClaim> {
        let DirNode::Branch(children) = &self.node else { return None };
        let child = children.get(index)?;
        let below = children.get(index + 1).map(|next| next.first.clone());
        Some(DirClaim {
            node: child.node,
            first: Some(child.first.clone()),
            below: below.or_else(|| self.claim.as_ref()?.below.clone()),
        })
    }

    /// Memory it takes, roughly, in bytes.
    pub(crate) fn weight(&self) -> u64 {
        let items = self.before.len() as u64;
        let encoded = self.claim.as_ref().map_or(0, |claim| u64::from(claim.node.node.len));
        encoded + items * size_of::<Entry>() as u64
    }
}

impl ListView {
    /// Reads a node.
    pub(crate) fn parse(chunk: &VerifiedChunk, claim: &ListRef) -> Result<Self, ManifestError> {
        let node = ListNode::parse(chunk, claim)?;
        let before = match &node {
            ListNode::Leaf(chunks) => sums(chunks.iter().map(|chunk| u64::from(chunk.len))),
            ListNode::Branch(nodes) => sums(nodes.iter().map(|node| node.bytes)),
        };
        Ok(Self {
            claim: *claim,
            node,
            before,
        })
    }

    /// Whether it is what `claim` says.
    pub(crate) fn satisfies(&self, claim: &ListRef) -> bool {
        self.claim == *claim
    }

    /// Memory it takes, roughly, in bytes.
    pub(crate) fn weight(&self) -> u64 {
        u64::from(self.claim.node.len) + self.before.len() as u64 * 48
    }
}

/// Running sums of `parts`, from 0 to their total. The manifest's totals are checked not to overflow; saturating is for the eye.
fn sums(parts: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut sums = vec![0_u64];
    sums.extend(parts.scan(0_u64, |sum, part| {
        *sum = sum.saturating_add(part);
        Some(*sum)
    }));
    sums
}

/// Positions that an entry takes: its own and those of everything below it.
fn positions(entry: &Entry) -> u64 {
    match &entry.kind {
        EntryKind::Dir(dir) => dir.totals.entries.saturating_add(1),
        EntryKind::Symlink(_) | EntryKind::File(_) => 1,
    }
}

/// Looks for `name` in the directory `top`.
pub(crate) fn find(nodes: &mut impl Nodes, top: DirRef, name: &[u8]) -> Result<Found<Spot>, NodeError> {
    let mut claim = top.claim();
    let mut base = 0_u64;
    loop {
        let Some(view) = nodes.dir(&claim)? else {
            return Ok(Found::Lacking(claim.node.node));
        };
        let child = match &view.node {
            DirNode::Leaf(_) => {
                return Ok(match find_here(&view, name) {
                    Some(index) => Found::Here(Spot { leaf: view, base, index }),
                    None => Found::Absent,
                });
            }
            DirNode::Branch(children) => children
                .partition_point(|child| child.first.as_bytes() <= name)
                .checked_sub(1),
        };
        let Some((child, next)) = child.and_then(|index| Some((index, view.child(index)?))) else {
            return Ok(Found::Absent);
        };
        base = base.saturating_add(view.before[child]);
        claim = next;
    }
}

/// Looks for `name` in a leaf.
pub(crate) fn find_here(leaf: &DirView, name: &[u8]) -> Option<usize> {
    leaf.entries().binary_search_by(|entry| entry.name.as_bytes().cmp(name)).ok()
}

/// Finds the first entry of the directory `top` that begins at position `at` or later. `ahead` gets the leaves that follow, as
/// far as their parent is at hand, at most as many as it has room for.
pub(crate) fn seek(nodes: &mut impl Nodes, top: DirRef, at: u64, ahead: &mut Ahead) -> Result<Found<Spot>, NodeError> {
    let mut at = at;
    // A position inside the last entry of a leaf leads to the next leaf: one more descent at most, as leaves are never empty.
    loop {
        if at >= top.totals.entries {
            return Ok(Found::Absent);
        }
        let (leaf, base) = match leaf_at(nodes, top, at, ahead)? {
            Found::Here(leaf) => leaf,
            Found::Absent => return Ok(Found::Absent),
            Found::Lacking(node) => return Ok(Found::Lacking(node)),
        };
        let index = leaf.before.partition_point(|&before| before < at - base);
        if index < leaf.entries().len() {
            return Ok(Found::Here(Spot { leaf, base, index }));
        }
        at = (base + leaf.len()).max(at + 1);
    }
}

/// The leaf of the directory `top` that holds position `at`, which is not past its end, and where it begins.
fn leaf_at(nodes: &mut impl Nodes, top: DirRef, at: u64, ahead: &mut Ahead) -> Result<Found<(Arc<DirView>, u64)>, NodeError> {
    let mut claim = top.claim();
    let mut base = 0_u64;
    loop {
        let Some(view) = nodes.dir(&claim)? else {
            return Ok(Found::Lacking(claim.node.node));
        };
        let index = view.child_at(at - base);
        let Some(next) = view.child(index) else {
            return Ok(Found::Here((view, base)));
        };
        ahead.take(&view, index);
        base += view.before[index];
        claim = next;
    }
}

/// Finds the entry that has inode number `ino` below the directory `top`, whose own is `number`; and the number of the directory it is in.
pub(crate) fn locate(nodes: &mut impl Nodes, number: u64, top: DirRef, ino: u64) -> Result<Found<(Spot, u64)>, NodeError> {
    let (mut number, mut dir) = (number, top);
    loop {
        let at = ino.checked_sub(number).and_then(|below| below.checked_sub(1));
        let Some(at) = at.filter(|at| *at < dir.totals.entries) else {
            return Ok(Found::Absent);
        };
        let (leaf, base) = match leaf_at(nodes, dir, at, &mut Ahead::default())? {
            Found::Here(leaf) => leaf,
            Found::Absent => return Ok(Found::Absent),
            Found::Lacking(node) => return Ok(Found::Lacking(node)),
        };
        let index = leaf.child_at(at - base);
        let begin = base + leaf.begin(index);
        match leaf.entries().get(index).map(|entry| &entry.kind) {
            Some(_) if begin == at => return Ok(Found::Here((Spot { leaf, base, index }, number))),
            Some(EntryKind::Dir(inner)) => (number, dir) = (number + 1 + begin, *inner),
            _ => return Ok(Found::Absent),
        }
    }
}

/// Leaves that a listing will come to next.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    pub(crate) nodes: Vec<ChunkRef>,
}

impl Ahead {
    /// Leaves fetched ahead of a listing: 64 KiB each, so a quarter of a MiB under way hides a round trip.
    const LEAVES: usize = 4;

    fn take(&mut self, branch: &DirView, index: usize) {
        self.nodes.clear();
        self.nodes
            .extend((index + 1..=index + Self::LEAVES).filter_map(|next| Some(branch.child(next)?.node.node)));
    }
}

/// The chunks of the list `top` that cover bytes `from..to` of the file, and the nodes that are lacking on the way to the rest.
/// Stops at the first `lacking_max` lacking nodes.
pub(crate) fn pieces(
    nodes: &mut impl Nodes,
    top: ListRef,
    from: u64,
    to: u64,
    lacking_max: usize,
) -> Result<(Vec<Piece>, Vec<ChunkRef>), NodeError> {
    let (mut found, mut lacking) = (Vec::new(), Vec::new());
    // The walk's own stack, last first: recursion would be as deep as a stranger's manifest says.
    let mut todo = vec![(top, 0_u64)];
    while let Some((claim, start)) = todo.pop() {
        if lacking.len() >= lacking_max {
            break;
        }
        let Some(view) = nodes.list(&claim)? else {
            lacking.push(claim.node);
            continue;
        };
        let first = view
            .before
            .partition_point(|&before| start.saturating_add(before) <= from)
            .saturating_sub(1);
        let end = view.before.partition_point(|&before| start.saturating_add(before) < to);
        match &view.node {
            ListNode::Leaf(chunks) => {
                let range = first..end.min(chunks.len());
                found.extend(range.map(|i| Piece {
                    chunk: chunks[i],
                    start: start + view.before[i],
                }));
            }
            ListNode::Branch(children) => {
                let range = first..end.min(children.len());
                todo.extend(range.rev().map(|i| (children[i], start + view.before[i])));
            }
        }
    }
    Ok((found, lacking))
}

/// The chunks that have bytes `range` of a file, and the nodes that are lacking on the way to the rest, `lacking_max` at most. None for a
/// file that is all in its entry; of one in a pack, the pack.
pub(crate) fn pieces_in(
    nodes: &mut impl Nodes,
    file: &File,
    range: Range<u64>,
    lacking_max: usize,
) -> Result<(Vec<Piece>, Vec<ChunkRef>), NodeError> {
    Ok(match &file.content {
        Content::Inline(_) => Default::default(),
        Content::Packed { pack, .. } => (vec![Piece { chunk: *pack, start: 0 }], Vec::new()),
        Content::Chunks(chunks) => (pieces_of(chunks, range.start, range.end), Vec::new()),
        Content::List(list) => pieces(nodes, *list, range.start, range.end, lacking_max)?,
    })
}

/// The chunks of a short list that cover bytes `from..to`.
pub(crate) fn pieces_of(chunks: &[ChunkRef], from: u64, to: u64) -> Vec<Piece> {
    let mut start = 0_u64;
    let placed = chunks.iter().map(|&chunk| {
        let piece = Piece { chunk, start };
        start = start.saturating_add(chunk.len.into());
        piece
    });
    placed
        .filter(|piece| piece.start < to && piece.start + u64::from(piece.chunk.len) > from)
        .collect()
}
