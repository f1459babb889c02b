//! Goes through a release in order: says which nodes it needs, takes them in any order, and gives out what is in them.
use super::{Entry, File, ManifestError, Meta, Name, Root};
use crate::chunk::{ChunkRef, VerifiedChunk};
use crate::swarm::BlobPlace;

/// Goes through everything below one place of a release, depth first and by name, with manifest nodes asked for ahead.
pub struct Walk {}

/// What a walk does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkStep {
    /// It needs this manifest node soon: hand it to `on_node`. Each is asked for once.
    Node(ChunkRef),
    /// The next thing in the release.
    Item(WalkItem),
    /// It waits for nodes asked for earlier.
    Wait,
    /// Everything was given out.
    Done,
}

/// A thing in a release, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkItem {
    /// A directory begins; what follows is in it. The name is `None` for the top.
    Enter {
        /// Its name in the directory around it.
        name: Option<Name>,
        /// Its mode, mtime, xattrs.
        meta: Meta,
    },
    /// The directory ends.
    Leave,
    /// A file or symlink. A file with chunks of its own is followed by them.
    Entry(Entry),
    /// A release of a single file.
    TopFile {
        /// Its mode, mtime, xattrs.
        meta: Meta,
        /// Its content.
        file: File,
    },
    /// A chunk of the file before.
    Chunk {
        /// The chunk.
        chunk: ChunkRef,
        /// Its place.
        place: BlobPlace,
    },
}

impl Walk {
    /// Starts at the top of `root`. At most `ahead` nodes are asked for and held at a time (at least 1).
    pub fn new(_root: &Root, _ahead: usize) -> Self {
        unimplemented!()
    }
    /// Takes a node that was asked for.
    pub fn on_node(&mut self, _node: &VerifiedChunk) -> Result<(), ManifestError> {
        unimplemented!()
    }
    /// What to do next.
    pub fn poll(&mut self) -> WalkStep {
        unimplemented!()
    }
}
