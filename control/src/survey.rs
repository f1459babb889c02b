//! How much of a release the store holds, by way of its manifest as far as that is held. Fetches nothing.

use std::collections::BTreeSet;

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId, VerifiedChunk};
use ares_core::manifest::{Content, DirClaim, DirNode, EntryKind, File, ListNode, ListRef, Root, Top};
use ares_node::store::{Kept, Store};
use serde::Serialize;

use crate::cancel::Cancel;
use crate::error::Failure;

/// What there is of a release: of its chunks, manifest nodes among them, each counted once however often it occurs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Survey {
    pub(crate) held_chunks: u64,
    pub(crate) held_bytes: u64,
    /// Of these, bytes in files of the publisher.
    pub(crate) in_place_bytes: u64,
    /// Of these, bytes in files of the store.
    pub(crate) own_bytes: u64,
    pub(crate) missing_chunks: u64,
    pub(crate) missing_bytes: u64,
    /// Manifest nodes that are missing: nobody knows how much below them is.
    pub(crate) missing_nodes: u64,
}

/// Looks through all of `release`. Reads its manifest from the disk; of its content it asks the index alone.
pub(crate) fn survey(store: &Store, release: ReleaseId, cancel: &Cancel) -> Result<Survey, Failure> {
    let mut walk = Surveyor::new(store);
    match walk.node(release.root()) {
        Some(root) => walk.all(&Root::parse(&root)?, cancel),
        None => Ok(walk.survey),
    }
}

/// The same of a tree whose root is at hand, and is not counted.
pub(crate) fn survey_root(store: &Store, root: &Root, cancel: &Cancel) -> Result<Survey, Failure> {
    Surveyor::new(store).all(root, cancel)
}

struct Surveyor<'a> {
    store: &'a Store,
    /// A manifest may name a node again and again; so nothing is looked at twice.
    seen: BTreeSet<ChunkId>,
    todo: Vec<Todo>,
    survey: Survey,
}

/// A manifest node to look into.
enum Todo {
    Dir(DirClaim),
    List(ListRef),
}

impl<'a> Surveyor<'a> {
    fn new(store: &'a Store) -> Self {
        Self {
            store,
            seen: BTreeSet::new(),
            todo: Vec::new(),
            survey: Survey::default(),
        }
    }

    fn all(mut self, root: &Root, cancel: &Cancel) -> Result<Survey, Failure> {
        match &root.top {
            Top::Dir { node, .. } => self.todo.push(Todo::Dir(node.claim())),
            Top::File { file, .. } => self.file(file.clone()),
        }
        while let Some(next) = self.todo.pop() {
            if cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            match next {
                Todo::Dir(claim) => self.dir(&claim)?,
                Todo::List(list) => self.list(list)?,
            }
        }
        Ok(self.survey)
    }

    fn dir(&mut self, claim: &DirClaim) -> Result<(), Failure> {
        let Some(node) = self.node(claim.node.node) else {
            return Ok(());
        };
        let node = DirNode::parse(&node, claim)?;
        self.todo.extend(node.children(claim).map(Todo::Dir));
        if let DirNode::Leaf(entries) = node {
            for entry in entries {
                match entry.kind {
                    EntryKind::Dir(dir) => self.todo.push(Todo::Dir(dir.claim())),
                    EntryKind::File(file) => self.file(file),
                    EntryKind::Symlink(_) => {}
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, file: File) {
        match file.content {
            Content::Inline(_) => {}
            Content::Packed { pack, .. } => self.chunk(pack),
            Content::Chunks(chunks) => chunks.into_iter().for_each(|chunk| self.chunk(chunk)),
            Content::List(list) => self.todo.push(Todo::List(list)),
        }
    }

    fn list(&mut self, list: ListRef) -> Result<(), Failure> {
        if let Some(node) = self.node(list.node) {
            match ListNode::parse(&node, &list)? {
                ListNode::Leaf(chunks) => chunks.into_iter().for_each(|chunk| self.chunk(chunk)),
                ListNode::Branch(lists) => self.todo.extend(lists.into_iter().map(Todo::List)),
            }
        }
        Ok(())
    }

    /// A manifest node, the first time it is met, if it is held.
    fn node(&mut self, node: ChunkRef) -> Option<VerifiedChunk> {
        if !self.seen.insert(node.id) {
            return None;
        }
        let kept = self.store.kept(&node.id);
        // One that cannot be read is as good as missing: the store has forgotten it, or a disk fails.
        let read = kept.and_then(|_| self.store.read(node).ok());
        match (kept, &read) {
            (Some(kept), Some(read)) => self.count(kept, read.bytes().len() as u64),
            _ => {
                self.survey.missing_nodes += 1;
                self.miss(node);
            }
        }
        read
    }

    fn chunk(&mut self, chunk: ChunkRef) {
        if self.seen.insert(chunk.id) {
            match self.store.kept(&chunk.id) {
                Some(kept) => self.count(kept, chunk.len.into()),
                None => self.miss(chunk),
            }
        }
    }

    fn count(&mut self, kept: Kept, bytes: u64) {
        self.survey.held_chunks += 1;
        self.survey.held_bytes += bytes;
        *match kept {
            Kept::Own => &mut self.survey.own_bytes,
            Kept::InPlace => &mut self.survey.in_place_bytes,
        } += bytes;
    }

    fn miss(&mut self, chunk: ChunkRef) {
        self.survey.missing_chunks += 1;
        self.survey.missing_bytes += u64::from(chunk.len);
    }
}

#[cfg(test)]
mod tests {
    use ares_core::chunk::CutterId;
    use ares_core::manifest::{Meta, Mtime};

    use super::*;

    fn chunk(n: u8) -> VerifiedChunk {
        VerifiedChunk::of(vec![n; 100_000 + usize::from(n)].into())
    }

    fn named(n: u8) -> ChunkRef {
        let chunk = chunk(n);
        ChunkRef {
            id: chunk.id(),
            len: chunk.bytes().len() as u32,
        }
    }

    #[test]
    fn what_is_held_and_what_is_missing_is_counted_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let chunks: Vec<ChunkRef> = [1, 2, 2, 3].map(named).into();
        let root = Root {
            cutter: CutterId::CURRENT,
            top: Top::File {
                meta: Meta {
                    mode: 0o644,
                    mtime: Mtime::default(),
                    xattrs: Vec::new(),
                },
                file: File {
                    bytes: chunks.iter().map(|chunk| u64::from(chunk.len)).sum(),
                    content: Content::Chunks(chunks),
                    b3: None,
                },
            },
        }
        .encode();
        let release = ReleaseId(root.id());
        let look = || survey(&store, release, &Cancel::new()).expect("a good manifest");
        let nothing = Survey {
            missing_chunks: 1,
            missing_nodes: 1,
            ..Survey::default()
        };
        assert_eq!(look(), nothing);

        let writer = store.writer();
        for held in [&root, &chunk(2)] {
            writer.put(held, None).expect("a good disk");
        }
        let root_bytes = root.bytes().len() as u64;
        let some = Survey {
            held_chunks: 2,
            held_bytes: root_bytes + 100_002,
            own_bytes: root_bytes + 100_002,
            missing_chunks: 2,
            missing_bytes: 200_004,
            ..Survey::default()
        };
        assert_eq!(look(), some);
    }
}
