//! Goes through a release in order, or to one place in it: says which nodes it needs, takes them, and gives out what is in them.
//!
//! A walk visits what the manifest says, and a small hostile one can say 2^62 entries by naming the same node again and again. What is
//! said is checked, so whoever walks first compares `Totals` with what they are ready to receive. Its memory is about the bytes of the nodes
//! it is in, of each directory around it one leaf and the branches above that: it goes through a node by a cursor, never unfolds it.

use std::collections::BTreeMap;

use super::codec::Entries;
use super::node::child_claim;
use super::{
    Content, DirChild, DirClaim, DirNode, Entry, EntryKind, File, Find, ListNode, ListRef, ManifestError, Meta, Name, Root, Top,
};
use crate::chunk::{ChunkId, ChunkRef, VerifiedChunk};
use crate::swarm::BlobPlace;

/// Goes through everything below one place, depth first and by name, asking for manifest nodes ahead.
#[derive(Debug)]
pub struct Walk {
    /// What is still to come; the next is last.
    stack: Vec<Todo>,
    /// Nodes asked for and not yet reached; with their bytes once they are here.
    nodes: BTreeMap<ChunkId, Option<VerifiedChunk>>,
    ahead: usize,
    /// Whether the stack may hold nodes that could be asked for.
    look: bool,
}

#[derive(Debug)]
enum Todo {
    Item(Box<WalkItem>),
    /// A node to be taken.
    Dir(Box<DirClaim>),
    /// A node to be taken.
    List {
        node: ListRef,
        place: BlobPlace,
    },
    Leaf(Leaf),
    Branch(Branch),
    Pieces(Pieces),
}

/// The rest of a directory's leaf.
#[derive(Debug)]
struct Leaf {
    node: ChunkId,
    next: Entries,
    /// Nodes before it were asked for, or are not to be.
    ahead: Entries,
}

/// The rest of a directory's branch.
#[derive(Debug)]
struct Branch {
    claim: Box<DirClaim>,
    children: Vec<DirChild>,
    next: usize,
    ahead: usize,
}

/// The rest of a chunk list's node.
#[derive(Debug)]
struct Pieces {
    node: ListNode,
    next: usize,
    ahead: usize,
    /// Of the next.
    place: BlobPlace,
}

/// What a walk does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkStep {
    /// It needs this manifest node: hand it to `on_node` when it is here. One that occurs twice may be asked for twice.
    Node(ChunkRef),
    /// The next thing in the release.
    Item(WalkItem),
    /// It waits for a node asked for earlier.
    Wait,
    /// Everything was given out.
    Done,
}

/// A thing in a release, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkItem {
    /// A directory begins; what follows is in it.
    Enter {
        /// Its name in the directory around it; `None` for the top.
        name: Option<Name>,
        /// Its mode, mtime, xattrs: to be set when it ends.
        meta: Meta,
    },
    /// The directory ends.
    Leave,
    /// A symlink.
    Symlink {
        /// Its name; `None` for the top.
        name: Option<Name>,
        /// Its times.
        meta: Meta,
        /// Where it points.
        target: bytes::Bytes,
    },
    /// A file. One with chunks of its own is followed by them.
    File {
        /// Its name; `None` for the top.
        name: Option<Name>,
        /// Its mode, mtime, xattrs.
        meta: Meta,
        /// Its content.
        file: File,
    },
    /// A chunk of the file before.
    Chunk {
        /// The chunk.
        chunk: ChunkRef,
        /// Its place in the file.
        place: BlobPlace,
    },
}

impl Walk {
    /// Starts at the top of `root`. At most `ahead` nodes (at least 1) are asked for and held at a time.
    pub fn new(root: &Root, ahead: usize) -> Self {
        let mut walk = Self {
            stack: Vec::new(),
            nodes: BTreeMap::new(),
            ahead: ahead.max(1),
            look: true,
        };
        match root.top.clone() {
            Top::Dir { meta, node } => walk.push_dir(None, meta, node.claim()),
            Top::File { meta, file } => walk.push_file(None, meta, file),
        }
        walk
    }

    /// Starts at an entry found by `Lookup`: a directory counts as the top of what is given out.
    pub fn below(entry: &Entry, ahead: usize) -> Self {
        let mut walk = Self {
            stack: Vec::new(),
            nodes: BTreeMap::new(),
            ahead: ahead.max(1),
            look: true,
        };
        walk.push_entry(None, entry.meta.clone(), entry.kind.clone());
        walk
    }

    /// Takes a node that was asked for; others are ignored.
    pub fn on_node(&mut self, node: VerifiedChunk) {
        if let Some(slot) = self.nodes.get_mut(&node.id()) {
            *slot = Some(node);
        }
    }

    /// What to do next. After an error the walk is over.
    pub fn poll(&mut self) -> Result<WalkStep, ManifestError> {
        loop {
            if let Some(node) = self.next_ahead()? {
                self.nodes.insert(node.id, None);
                return Ok(WalkStep::Node(node));
            }
            let Some(next) = self.stack.pop() else {
                return Ok(WalkStep::Done);
            };
            match next {
                Todo::Item(item) => return Ok(WalkStep::Item(*item)),
                Todo::Dir(claim) => match self.take(claim.node.node) {
                    Ok(node) => self.enter_dir(&node, claim)?,
                    Err(missing) => {
                        let step = missing.step(claim.node.node);
                        self.stack.push(Todo::Dir(claim));
                        return Ok(step);
                    }
                },
                Todo::List { node: list, place } => match self.take(list.node) {
                    Ok(node) => self.push_pieces(ListNode::parse(&node, &list)?, place),
                    Err(missing) => {
                        self.stack.push(Todo::List { node: list, place });
                        return Ok(missing.step(list.node));
                    }
                },
                Todo::Leaf(mut leaf) => {
                    let entry = leaf.next()?;
                    if leaf.next.left() > 0 {
                        self.stack.push(Todo::Leaf(leaf));
                    }
                    if let Some(entry) = entry {
                        self.push_entry(Some(entry.name), entry.meta, entry.kind);
                    }
                }
                Todo::Branch(mut branch) => {
                    if let Some(claim) = branch.next() {
                        self.stack.push(Todo::Branch(branch));
                        self.stack.push(Todo::Dir(Box::new(claim)));
                    }
                }
                Todo::Pieces(mut pieces) => {
                    if let Some(piece) = pieces.next() {
                        self.stack.push(Todo::Pieces(pieces));
                        self.stack.push(piece);
                    }
                }
            }
        }
    }

    /// A node whose turn it is.
    fn take(&mut self, wanted: ChunkRef) -> Result<VerifiedChunk, Missing> {
        match self.nodes.remove(&wanted.id) {
            Some(Some(node)) => {
                self.look = true;
                Ok(node)
            }
            asked => {
                self.nodes.insert(wanted.id, None);
                // It was not asked for ahead where it occurs twice and the first took it, or later nodes fill the window.
                Err(match asked {
                    Some(_) => Missing::Awaited,
                    None => Missing::Unasked,
                })
            }
        }
    }

    /// The next node to ask for ahead of its turn.
    fn next_ahead(&mut self) -> Result<Option<ChunkRef>, ManifestError> {
        if !self.look || self.nodes.len() >= self.ahead {
            return Ok(None);
        }
        for todo in self.stack.iter_mut().rev() {
            while let Some(node) = todo.ahead()? {
                if !self.nodes.contains_key(&node.id) {
                    return Ok(Some(node));
                }
                if matches!(todo, Todo::Dir(_) | Todo::List { .. }) {
                    break;
                }
            }
        }
        self.look = false;
        Ok(None)
    }

    fn push_item(&mut self, item: WalkItem) {
        self.stack.push(Todo::Item(Box::new(item)));
    }

    fn push_dir(&mut self, name: Option<Name>, meta: Meta, claim: DirClaim) {
        self.push_item(WalkItem::Leave);
        self.stack.push(Todo::Dir(Box::new(claim)));
        self.push_item(WalkItem::Enter { name, meta });
    }

    fn push_file(&mut self, name: Option<Name>, meta: Meta, file: File) {
        if let Some(blob) = file.blob_id() {
            let place = BlobPlace {
                blob,
                blob_bytes: file.bytes,
                offset: 0,
            };
            match &file.content {
                Content::Inline(_) | Content::Packed { .. } => {}
                Content::List(list) => self.stack.push(Todo::List { node: *list, place }),
                Content::Chunks(chunks) => self.push_pieces(ListNode::Leaf(chunks.clone()), place),
            }
        }
        self.push_item(WalkItem::File { name, meta, file });
    }

    fn push_entry(&mut self, name: Option<Name>, meta: Meta, kind: EntryKind) {
        match kind {
            EntryKind::Dir(dir) => self.push_dir(name, meta, dir.claim()),
            EntryKind::File(file) => self.push_file(name, meta, file),
            EntryKind::Symlink(target) => self.push_item(WalkItem::Symlink { name, meta, target }),
        }
    }

    fn push_pieces(&mut self, node: ListNode, place: BlobPlace) {
        self.stack.push(Todo::Pieces(Pieces {
            node,
            next: 0,
            ahead: 0,
            place,
        }));
    }

    fn enter_dir(&mut self, node: &VerifiedChunk, claim: Box<DirClaim>) -> Result<(), ManifestError> {
        self.stack.push(match DirNode::parse(node, &claim)? {
            DirNode::Leaf(_) => {
                let next = Entries::new(node)?;
                let (node, ahead) = (node.id(), next.clone());
                Todo::Leaf(Leaf { node, next, ahead })
            }
            DirNode::Branch(children) => Todo::Branch(Branch {
                claim,
                children,
                next: 0,
                ahead: 0,
            }),
        });
        Ok(())
    }
}

/// Why a node is not here when its turn has come.
enum Missing {
    Awaited,
    Unasked,
}

impl Missing {
    /// What to do about it.
    fn step(self, node: ChunkRef) -> WalkStep {
        match self {
            Self::Awaited => WalkStep::Wait,
            Self::Unasked => WalkStep::Node(node),
        }
    }
}

impl Todo {
    /// The next node in it that may be asked for. Each but a node's own is said once.
    fn ahead(&mut self) -> Result<Option<ChunkRef>, ManifestError> {
        Ok(match self {
            Self::Item(_) => None,
            Self::Dir(claim) => Some(claim.node.node),
            Self::List { node, .. } => Some(node.node),
            Self::Leaf(leaf) => leaf.ahead()?,
            Self::Branch(branch) => branch.ahead(),
            Self::Pieces(pieces) => pieces.ahead(),
        })
    }
}

impl Leaf {
    fn next(&mut self) -> Result<Option<Entry>, ManifestError> {
        let node = self.node;
        self.next.next().map_err(|fault| ManifestError::Malformed { node, fault })
    }

    fn ahead(&mut self) -> Result<Option<ChunkRef>, ManifestError> {
        if self.ahead.left() > self.next.left() {
            self.ahead = self.next.clone();
        }
        let node = self.node;
        let malformed = |fault| ManifestError::Malformed { node, fault };
        while let Some(entry) = self.ahead.next().map_err(malformed)? {
            match entry.kind {
                EntryKind::Dir(dir) => return Ok(Some(dir.node)),
                EntryKind::File(File {
                    content: Content::List(list),
                    ..
                }) => return Ok(Some(list.node)),
                EntryKind::File(_) | EntryKind::Symlink(_) => {}
            }
        }
        Ok(None)
    }
}

impl Branch {
    fn next(&mut self) -> Option<DirClaim> {
        let at = self.next;
        self.next += 1;
        (at < self.children.len()).then(|| child_claim(&self.children, at, &self.claim))
    }

    fn ahead(&mut self) -> Option<ChunkRef> {
        let at = self.ahead.max(self.next);
        self.ahead = at + 1;
        self.children.get(at).map(|child| child.node.node)
    }
}

impl Pieces {
    fn next(&mut self) -> Option<Todo> {
        let (at, place) = (self.next, self.place);
        self.next += 1;
        let (bytes, todo) = match &self.node {
            ListNode::Leaf(chunks) => {
                let chunk = *chunks.get(at)?;
                (chunk.len.into(), Todo::Item(Box::new(WalkItem::Chunk { chunk, place })))
            }
            ListNode::Branch(lists) => {
                let node = *lists.get(at)?;
                (node.bytes, Todo::List { node, place })
            }
        };
        self.place.offset += bytes;
        Some(todo)
    }

    fn ahead(&mut self) -> Option<ChunkRef> {
        let ListNode::Branch(lists) = &self.node else {
            return None;
        };
        let at = self.ahead.max(self.next);
        self.ahead = at + 1;
        lists.get(at).map(|list| list.node)
    }
}

/// Finds one place in a release by the names that lead to it.
#[derive(Debug)]
pub struct Lookup {
    /// Names still to go, the next last.
    names: Vec<Vec<u8>>,
    at: At,
}

#[derive(Debug)]
enum At {
    Top(Top),
    Entry(Entry),
    Search(DirClaim),
    Nowhere,
}

/// What a lookup does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupStep {
    /// It needs this manifest node: hand it to `on_node`.
    Node(ChunkRef),
    /// The place is the top of the release.
    Top(Top),
    /// Here it is.
    Found(Entry),
    /// The release has nothing there.
    Absent,
}

impl Lookup {
    /// Looks for `inside`: names joined by `/`, none for the top. Empty names, as in `a//b/`, are skipped.
    pub fn new(root: &Root, inside: &[u8]) -> Self {
        let names = inside.split(|&b| b == b'/').filter(|name| !name.is_empty());
        Self {
            names: names.rev().map(<[u8]>::to_vec).collect(),
            at: At::Top(root.top.clone()),
        }
    }

    /// What to do next.
    pub fn poll(&mut self) -> LookupStep {
        loop {
            let dir = match (&self.at, self.names.is_empty()) {
                (At::Nowhere, _) => return LookupStep::Absent,
                (At::Search(claim), _) => return LookupStep::Node(claim.node.node),
                (At::Top(top), true) => return LookupStep::Top(top.clone()),
                (At::Entry(entry), true) => return LookupStep::Found(entry.clone()),
                (At::Top(Top::Dir { node, .. }), false) => Some(*node),
                (
                    At::Entry(Entry {
                        kind: EntryKind::Dir(node),
                        ..
                    }),
                    false,
                ) => Some(*node),
                (At::Top(Top::File { .. }) | At::Entry(_), false) => None,
            };
            self.at = dir.map_or(At::Nowhere, |dir| At::Search(dir.claim()));
        }
    }

    /// Takes the node asked for.
    pub fn on_node(&mut self, node: &VerifiedChunk) -> Result<(), ManifestError> {
        if let (At::Search(claim), Some(name)) = (&self.at, self.names.last()) {
            let parsed = DirNode::parse(node, claim)?;
            self.at = match parsed.find(claim, name) {
                Find::Child(claim) => At::Search(claim),
                Find::Absent => At::Nowhere,
                Find::Entry(entry) => {
                    self.names.pop();
                    At::Entry(entry.clone())
                }
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::CutterId;
    use crate::manifest::{Mtime, codec, rules};

    const FILES: usize = 40_000;
    const DEPTH: usize = 5;

    fn entry(name: String, kind: EntryKind) -> Entry {
        let meta = Meta {
            mode: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        };
        let name = Name::new(name.into_bytes()).expect("a name");
        Entry { name, meta, kind }
    }

    /// A hostile publisher makes leaves of small entries as big as a chunk may be, one in the other, and the way down comes first in each.
    #[test]
    fn a_walk_holds_no_more_than_the_nodes_it_is_in() {
        let empty = EntryKind::File(File {
            bytes: 0,
            content: Content::Inline(bytes::Bytes::new()),
            b3: None,
        });
        let mut chunks = Vec::new();
        let mut inner = None;
        for _ in 0..DEPTH {
            let below = inner.map(|dir| entry("0".to_owned(), EntryKind::Dir(dir)));
            let files = (0..FILES).map(|n| entry(format!("f{n:05}"), empty.clone()));
            let leaf = DirNode::Leaf(below.into_iter().chain(files).collect());
            let (totals, depth) = rules::sums(&leaf).expect("small sums");
            let chunk = codec::encode_dir(&leaf);
            let node = ChunkRef {
                id: chunk.id(),
                len: chunk.bytes().len() as u32,
            };
            inner = Some(super::super::DirRef {
                node,
                height: 0,
                depth,
                totals,
            });
            chunks.push(chunk);
        }
        let root = Root {
            cutter: CutterId::CURRENT,
            top: Top::Dir {
                meta: entry("x".to_owned(), empty).meta,
                node: inner.expect("a directory"),
            },
        };
        let mut walk = Walk::new(&root, 4);
        let (mut most, mut files, mut open) = (0, 0, 0);
        loop {
            match walk.poll().expect("a valid release") {
                WalkStep::Node(node) => {
                    let chunk = chunks.iter().find(|chunk| chunk.id() == node.id).expect("one of these");
                    walk.on_node(chunk.clone());
                }
                WalkStep::Item(WalkItem::Enter { .. }) => open += 1,
                WalkStep::Item(WalkItem::Leave) => open -= 1,
                WalkStep::Item(WalkItem::File { name: Some(name), .. }) => {
                    let expect = format!("f{:05}", files % FILES);
                    assert_eq!(name.as_bytes(), expect.as_bytes());
                    files += 1;
                }
                WalkStep::Item(item) => panic!("{item:?}"),
                WalkStep::Wait => panic!("every node was given at once"),
                WalkStep::Done => break,
            }
            most = most.max(walk.stack.len() * size_of::<Todo>());
        }
        assert_eq!((files, open), (FILES * DEPTH, 0));
        assert!(most < DEPTH * 1024, "{most} bytes besides the nodes");
    }
}
