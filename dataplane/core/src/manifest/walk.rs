//! Goes through a release in order, or to one place in it: says which nodes it needs, takes them, and gives out what is in them.
//!
//! A walk visits what the manifest says, and a small hostile one can say 2^62 entries by naming the same node again and again. What is
//! said is checked, so whoever walks first compares `Totals` with what they are ready to receive.

use std::collections::BTreeMap;

use super::{
    Content, DirClaim, DirNode, Entry, EntryKind, File, Find, ListNode, ListRef, ListSpan, ManifestError, Meta, Name, Root, Top,
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
    Item(WalkItem),
    Dir(DirClaim),
    List { node: ListRef, place: BlobPlace },
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
        walk.push_entry(None, entry);
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
            if let Some(node) = self.next_ahead() {
                self.nodes.insert(node.id, None);
                return Ok(WalkStep::Node(node));
            }
            let Some(next) = self.stack.pop() else {
                return Ok(WalkStep::Done);
            };
            let wanted = match &next {
                Todo::Item(item) => return Ok(WalkStep::Item(item.clone())),
                Todo::Dir(claim) => claim.node.node,
                Todo::List { node, .. } => node.node,
            };
            match (self.nodes.remove(&wanted.id), next) {
                (Some(Some(node)), Todo::Dir(claim)) => self.expand_dir(&DirNode::parse(&node, &claim)?, &claim),
                (Some(Some(node)), Todo::List { node: list, place }) => self.expand_list(&ListNode::parse(&node, &list)?, place),
                (asked, next) => {
                    self.stack.push(next);
                    self.nodes.insert(wanted.id, None);
                    // It was not asked for ahead where it occurs twice and the first took it, or later nodes fill the window.
                    return Ok(if asked.is_some() {
                        WalkStep::Wait
                    } else {
                        WalkStep::Node(wanted)
                    });
                }
            }
            self.look = true;
        }
    }

    /// The next node to ask for ahead of its turn.
    fn next_ahead(&mut self) -> Option<ChunkRef> {
        if !self.look || self.nodes.len() >= self.ahead {
            return None;
        }
        let found = self
            .stack
            .iter()
            .rev()
            .filter_map(Todo::node)
            .find(|node| !self.nodes.contains_key(&node.id));
        self.look = found.is_some();
        found
    }

    fn push_dir(&mut self, name: Option<Name>, meta: Meta, claim: DirClaim) {
        self.stack.push(Todo::Item(WalkItem::Leave));
        self.stack.push(Todo::Dir(claim));
        self.stack.push(Todo::Item(WalkItem::Enter { name, meta }));
    }

    fn push_file(&mut self, name: Option<Name>, meta: Meta, file: File) {
        if let Some(blob) = file.blob_id() {
            let mut place = BlobPlace {
                blob,
                blob_bytes: file.bytes,
                offset: 0,
            };
            match &file.content {
                Content::Inline(_) | Content::Packed { .. } => {}
                Content::List(list) => self.stack.push(Todo::List { node: *list, place }),
                Content::Chunks(chunks) => {
                    place.offset = file.bytes;
                    for &chunk in chunks.iter().rev() {
                        place.offset -= u64::from(chunk.len);
                        self.stack.push(Todo::Item(WalkItem::Chunk { chunk, place }));
                    }
                }
            }
        }
        self.stack.push(Todo::Item(WalkItem::File { name, meta, file }));
    }

    fn push_entry(&mut self, name: Option<Name>, entry: &Entry) {
        let meta = entry.meta.clone();
        match &entry.kind {
            EntryKind::Dir(dir) => self.push_dir(name, meta, dir.claim()),
            EntryKind::File(file) => self.push_file(name, meta, file.clone()),
            EntryKind::Symlink(target) => self.stack.push(Todo::Item(WalkItem::Symlink {
                name,
                meta,
                target: target.clone(),
            })),
        }
    }

    fn expand_dir(&mut self, node: &DirNode, claim: &DirClaim) {
        match node {
            DirNode::Leaf(entries) => entries
                .iter()
                .rev()
                .for_each(|entry| self.push_entry(Some(entry.name.clone()), entry)),
            DirNode::Branch(_) => {
                let at = self.stack.len();
                self.stack.extend(node.children(claim).map(Todo::Dir));
                self.stack[at..].reverse();
            }
        }
    }

    fn expand_list(&mut self, node: &ListNode, place: BlobPlace) {
        let at = self.stack.len();
        let within = |start| BlobPlace {
            offset: place.offset + start,
            ..place
        };
        self.stack.extend(node.spans().map(|span| match span {
            ListSpan::Chunk { chunk, start } => Todo::Item(WalkItem::Chunk {
                chunk,
                place: within(start),
            }),
            ListSpan::Child { node, start } => Todo::List {
                node,
                place: within(start),
            },
        }));
        self.stack[at..].reverse();
    }
}

impl Todo {
    fn node(&self) -> Option<ChunkRef> {
        match self {
            Self::Item(_) => None,
            Self::Dir(claim) => Some(claim.node.node),
            Self::List { node, .. } => Some(node.node),
        }
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
