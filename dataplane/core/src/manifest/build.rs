//! Makes the nodes of a release: the publisher's side.
use bytes::Bytes;

use super::{Content, DirRef, Entry, Meta, Name};
use crate::chunk::{ChunkRef, VerifiedChunk};

/// Entries that do not make a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Names must ascend and not repeat.
    #[error("entry {after:?} cannot follow {before:?} in a directory")]
    Order {
        /// The earlier.
        before: Name,
        /// The later.
        after: Name,
    },
    /// Directories nest too deep.
    #[error("directories nest deeper than {limit} levels")]
    Deep {
        /// The limit.
        limit: usize,
    },
}

/// Builds one directory from its entries by ascending name. Nodes and packs go out through `out` as soon as they are finished.
pub struct DirBuilder {}

impl DirBuilder {
    /// An empty directory.
    pub fn new() -> Self {
        unimplemented!()
    }
    /// Adds an entry whose content is known: a directory, symlink, inline or big file, or a packed file with the pack that a `Planner` gave it.
    pub fn push(&mut self, _entry: Entry, _out: &mut dyn FnMut(VerifiedChunk)) -> Result<(), BuildError> {
        unimplemented!()
    }
    /// Adds a file of at most `PACKED_BYTES_MAX` bytes; the builder puts it inline or into a pack.
    pub fn push_small(
        &mut self,
        _name: Name,
        _meta: Meta,
        _bytes: Bytes,
        _b3: Option<[u8; 32]>,
        _out: &mut dyn FnMut(VerifiedChunk),
    ) -> Result<(), BuildError> {
        unimplemented!()
    }
    /// Finishes the directory.
    pub fn finish(self, _out: &mut dyn FnMut(VerifiedChunk)) -> Result<DirRef, BuildError> {
        unimplemented!()
    }
}

impl Default for DirBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds the content of one big file from its chunks in order.
pub struct ListBuilder {}

impl ListBuilder {
    /// A file without bytes so far.
    pub fn new() -> Self {
        unimplemented!()
    }
    /// Adds the next chunk.
    pub fn push(&mut self, _chunk: ChunkRef, _out: &mut dyn FnMut(VerifiedChunk)) {
        unimplemented!()
    }
    /// Finishes the file: its bytes and where they are.
    pub fn finish(self, _out: &mut dyn FnMut(VerifiedChunk)) -> (u64, Content) {
        unimplemented!()
    }
}

impl Default for ListBuilder {
    fn default() -> Self {
        Self::new()
    }
}
