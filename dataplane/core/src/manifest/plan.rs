//! Where a directory is split: which files share a pack, which entries share a node. Decided from names and sizes alone, so it is
//! known before a byte is read, and alike on every machine.

use super::{EntryKind, Meta, Name};

/// What of an entry decides where its directory is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A directory.
    Dir,
    /// A symbolic link with a target of this many bytes.
    Symlink(usize),
    /// A file of this many bytes.
    File(u64),
}

/// What ends behind an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    None,
    /// The pack: the next packed file begins another one.
    Pack,
    /// The node, and with it the pack.
    Node,
}

/// Splits one directory. Entries go in by ascending name.
#[derive(Clone, Debug, Default)]
pub struct Planner {}

impl Planner {
    /// Takes the next entry and says what ends behind it. The end of the directory ends everything.
    pub fn push(&mut self, _name: &Name, _meta: &Meta, _shape: Shape) -> Cut {
        unimplemented!()
    }
}

impl Shape {
    /// The shape of an entry that is known already.
    pub fn of(kind: &EntryKind) -> Self {
        match kind {
            EntryKind::Dir(_) => Self::Dir,
            EntryKind::Symlink(target) => Self::Symlink(target.len()),
            EntryKind::File(file) => Self::File(file.bytes),
        }
    }
}
