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
            Self::DirLeaf => "a directory's leaf",
            Self::DirBranch => "a directory's branch",
            Self::ListLeaf => "a chunk list's leaf",
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
    #[error("chunk {got:?} was handed in where manifest node {asked:?} was asked for")]
    WrongChunk {
        /// What was asked for.
        asked: ChunkId,
        /// What came.
        got: ChunkId,
    },
    /// Whoever published the release made a node that is none. Nobody can read it: ask the publisher for another release.
    #[error("the release is malformed: manifest node {node:?}: {fault}")]
    Malformed {
        /// The node.
        node: ChunkId,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a node, or with an entry that is to be put into one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not the bytes of a node at all.
    #[error("{what} at byte {at}")]
    Syntax {
        /// Where, in bytes from the start of the node.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Another, canonical encoding says the same.
    #[error("not in canonical form from byte {at} on")]
    NotCanonical {
        /// The first byte that differs.
        at: usize,
    },
    /// A node of another kind than its parent says.
    #[error("it is {found}, its parent asks for {expected}")]
    Kind {
        /// What the parent says.
        expected: NodeKind,
        /// What it is.
        found: NodeKind,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(NameError),
    /// Names or keys that repeat or are out of order.
    #[error("\"{after}\" stands after \"{before}\": names must ascend and not repeat")]
    Order {
        /// The earlier one, escaped.
        before: String,
        /// The later one, escaped.
        after: String,
    },
    /// A name that belongs to another piece of the directory.
    #[error("it holds \"{name}\", which its parent places elsewhere")]
    Range {
        /// The name, escaped.
        name: String,
    },
    /// What the parent says of the node is not so.
    #[error("its {what} is {actual}, its parent says {claimed}")]
    Claim {
        /// Of what.
        what: &'static str,
        /// What the parent says.
        claimed: u64,
        /// What it is.
        actual: u64,
    },
    /// A number outside of what the format allows.
    #[error("{what} is {value}, allowed is {least} to {most}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// What it says.
        value: u64,
        /// The least allowed.
        least: u64,
        /// The most allowed.
        most: u64,
    },
    /// Content in a form that is not the one for its size, or a piece with nothing in it.
    #[error("{0}")]
    Form(&'static str),
}

impl From<NameError> for Fault {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}
