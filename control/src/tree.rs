//! Finds its way in a release: from a link's path to an entry, from a directory to its entries. Asks for manifest nodes through
//! `Chunks` and writes nothing.

use std::collections::VecDeque;

use ares_core::chunk::{ChunkRef, ReleaseId, VerifiedChunk};
use ares_core::manifest::{DirNode, DirRef, Entry, EntryKind, Find, Meta, Name, Root, Top};

use ares_core::swarm::BlobPlace;
use bytes::Bytes;

use crate::error::{Failure, Kind};

/// Where chunks come from: the store, else the swarm. Blocking.
pub(crate) trait Chunks: Sync {
    /// The root node of `release`, whose length nobody knows before.
    fn root(&self, release: ReleaseId) -> Result<VerifiedChunk, Failure>;
    /// A manifest node or a pack.
    fn node(&self, chunk: ChunkRef) -> Result<VerifiedChunk, Failure>;
    /// A chunk of a big file.
    fn placed(&self, chunk: ChunkRef, place: BlobPlace) -> Result<Bytes, Failure>;
}

/// What a link's path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The last name of the path; `None` for the top.
    pub(crate) name: Option<Name>,
    /// Mode, mtime, xattrs.
    pub(crate) meta: Meta,
    /// What it is.
    pub(crate) kind: EntryKind,
    /// The root it was found under.
    pub(crate) root: Root,
}

impl Found {
    /// As a root of its own, for those who walk all that is below it; `None` for a symlink, which has nothing below.
    pub(crate) fn as_root(&self) -> Option<Root> {
        let meta = self.meta.clone();
        let top = match self.kind.clone() {
            EntryKind::Dir(node) => Top::Dir { meta, node },
            EntryKind::File(file) => Top::File { meta, file },
            EntryKind::Symlink(_) => return None,
        };
        Some(Root {
            top,
            cutter: self.root.cutter,
        })
    }
}

/// Follows `inside` (names joined by `/`, empty for the top) from the root of `release`. Symlinks are not followed.
pub(crate) fn find(chunks: &dyn Chunks, release: ReleaseId, inside: &[u8]) -> Result<Found, Failure> {
    let root = Root::parse(&chunks.root(release)?)?;
    let (meta, kind) = match root.top.clone() {
        Top::Dir { meta, node } => (meta, EntryKind::Dir(node)),
        Top::File { meta, file } => (meta, EntryKind::File(file)),
    };
    let mut found = Found {
        name: None,
        meta,
        kind,
        root,
    };
    let mut walked = Vec::new();
    for name in inside.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
        let place = if walked.is_empty() {
            "the release".to_owned()
        } else {
            show(&walked)
        };
        let EntryKind::Dir(dir) = found.kind else {
            let (what, help) = match &found.kind {
                EntryKind::Symlink(target) => ("a symlink", format!("it leads to {}; name that instead", show(target))),
                _ => ("a file", "leave out what follows its name".to_owned()),
            };
            let message = format!("{place} is {what}, not a directory: there is no {} in it", show(name));
            return Err(Failure::new(Kind::NotFound, message).help(help));
        };
        let Some(entry) = lookup(chunks, dir, name)? else {
            return Err(
                Failure::new(Kind::NotFound, format!("no such entry: {} in {place}", show(name)))
                    .help("`ares ls` with the same link and a shorter path lists what is there"),
            );
        };
        if !walked.is_empty() {
            walked.push(b'/');
        }
        walked.extend_from_slice(name);
        found.name = Some(entry.name);
        found.meta = entry.meta;
        found.kind = entry.kind;
    }
    Ok(found)
}

/// The entry `name` of `dir`.
fn lookup(chunks: &dyn Chunks, dir: DirRef, name: &[u8]) -> Result<Option<Entry>, Failure> {
    let mut claim = dir.claim();
    // Every step goes one level down, and a node whose height is not its parent's less one does not parse: this ends.
    loop {
        let node = DirNode::parse(&chunks.node(claim.node.node)?, &claim)?;
        claim = match node.find(&claim, name) {
            Find::Entry(entry) => return Ok(Some(entry.clone())),
            Find::Absent => return Ok(None),
            Find::Child(child) => child,
        };
    }
}

/// Calls `each` on the entries of `dir` by ascending name.
pub(crate) fn entries(
    chunks: &dyn Chunks,
    dir: DirRef,
    each: &mut dyn FnMut(Entry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut todo = VecDeque::from([dir.claim()]);
    while let Some(claim) = todo.pop_front() {
        let node = DirNode::parse(&chunks.node(claim.node.node)?, &claim)?;
        for (at, child) in node.children(&claim).enumerate() {
            todo.insert(at, child);
        }
        if let DirNode::Leaf(entries) = node {
            entries.into_iter().try_for_each(&mut *each)?;
        }
    }
    Ok(())
}

/// Bytes of a name or path for people.
pub(crate) fn show(bytes: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(bytes))
}
