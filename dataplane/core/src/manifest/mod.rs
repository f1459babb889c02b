//! The manifest: a Merkle tree of directories that names every byte of a release. A release is the hash of its root.
//!
//! ```text
//! Root ── Top::Dir ──> DirNode::Branch ──> DirNode::Leaf ── Entry ── Dir ──> DirNode ..
//!     └── Top::File            (by name)                          ├── Symlink (target inline)
//!                                                                 └── File ── Inline | Packed | Chunks | List ──> ListNode ..
//! ```
//!
//! Every node is one chunk in deterministic CBOR (RFC 8949 section 4.2), so a lookup in a directory of a million entries asks for
//! a few nodes and a mount needs only the root. What a reference claims of the node below it (height, depth, totals, names) is
//! checked when that node is parsed: a hostile manifest never becomes a value of these types. Names stand in byte order,
//! nothing is written twice, and big nodes are split at places chosen by their content: the same tree has the same hash on any
//! machine, in any order of reading, and an edit moves few nodes.

mod build;
mod cbor;
mod codec;
mod error;
mod name;
mod node;
mod plan;
mod rules;
mod walk;

pub use build::{BuildError, DirBuilder, ListBuilder};
pub use error::{Fault, ManifestError, NodeKind};
pub use name::{Name, NameError};
pub use node::{
    Content, DirChild, DirClaim, DirNode, DirRef, Entry, EntryKind, File, Find, ListNode, ListRef, ListSpan, Meta, Mtime, Root,
    Top, Totals, Xattr,
};
pub use plan::{Cut, Planner, Shape};
pub use walk::{Lookup, LookupStep, Walk, WalkItem, WalkStep};

#[cfg(test)]
mod tests;
