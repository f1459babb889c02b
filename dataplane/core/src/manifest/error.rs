//! Why bytes are no manifest node. The guilty is always who made the release: its chunks are verified before they come here.

use std::fmt;

use super::NameError;
use crate::chunk::ChunkId;

/// The kinds of manifest node; the number is the tag on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeKind {
    /// The root of a release.
    Root = 0,
    /// Entries of a directory.
    DirLeaf = 1,
    /// Pieces of a big directory.
    DirBranch = 2,
    /// Chunks of a file.
    ListLeaf = 3,
    /// Pieces of a long chunk list.
    ListBranch = 4,
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "a release root",
            Self::DirLeaf => "a directory",
            Self::DirBranch => "a directory's branch",
            Self::ListLeaf => "a chunk list",
            Self::ListBranch => "a chunk list's branch",
        })
    }
}

/// Why a chunk is not the manifest node that it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Made by a newer program.
    #[error("this release is written in manifest format {version}; this program reads up to {known}: update ares")]
    Newer {
        /// Its format.
        version: u64,
        /// The newest we read.
        known: u64,
    },
    /// Another node than asked for was handed in: a bug of the caller.
    #[error("manifest node {got:?} was handed in where {asked:?} was asked for")]
    WrongChunk {
        /// What was asked for.
        asked: ChunkId,
        /// What came.
        got: ChunkId,
    },
    /// Not the bytes of a node at all.
    #[error("the release is malformed: chunk {node:?} is no manifest node: {what} at byte {at}")]
    Syntax {
        /// The node.
        node: ChunkId,
        /// Where, in bytes from its start.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// It says the same as another, canonical encoding would.
    #[error("the release is malformed: manifest node {node:?} is not in canonical form from byte {at} on")]
    NotCanonical {
        /// The node.
        node: ChunkId,
        /// The first byte that differs.
        at: usize,
    },
    /// A node of another kind than its parent says.
    #[error("the release is malformed: manifest node {node:?} is {found}, its parent says {expected}")]
    Kind {
        /// The node.
        node: ChunkId,
        /// What the parent says.
        expected: NodeKind,
        /// What it is.
        found: NodeKind,
    },
    /// A name that is none.
    #[error("the release is malformed: manifest node {node:?}: {error}")]
    Name {
        /// The node.
        node: ChunkId,
        /// What is wrong with it.
        error: NameError,
    },
    /// Names or keys that repeat or are out of order.
    #[error("the release is malformed: manifest node {node:?} has {after:?} after {before:?}: names must ascend and not repeat")]
    Order {
        /// The node.
        node: ChunkId,
        /// The earlier one, escaped.
        before: String,
        /// The later one, escaped.
        after: String,
    },
    /// A name that belongs to another piece of the directory.
    #[error("the release is malformed: manifest node {node:?} holds {name:?}, which its parent places elsewhere")]
    Range {
        /// The node.
        node: ChunkId,
        /// The name, escaped.
        name: String,
    },
    /// What the parent says of the node is not so.
    #[error("the release is malformed: manifest node {node:?} has {what} {actual}, its parent says {claimed}")]
    Claim {
        /// The node.
        node: ChunkId,
        /// Of what.
        what: &'static str,
        /// What the parent says.
        claimed: u64,
        /// What it is.
        actual: u64,
    },
    /// A number beyond what the format allows.
    #[error("the release is malformed: manifest node {node:?} has {what} {value}, the limit is {limit}")]
    Limit {
        /// The node.
        node: ChunkId,
        /// Of what.
        what: &'static str,
        /// What it says.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Content of a size that belongs into another form (inline, packed, chunks, list), or an empty piece.
    #[error("the release is malformed: manifest node {node:?}: {what}")]
    Form {
        /// The node.
        node: ChunkId,
        /// What is wrong.
        what: &'static str,
    },
}
