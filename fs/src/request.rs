//! What the kernel asks and what it is answered, apart from how FUSE writes either.

use ares_core::manifest::Entry;
use ares_core::profile::Part;
use ares_core::swarm::Want;
use bytes::Bytes;

use crate::errno::Failure;
use crate::inode::Attr;
use crate::view::Spot;

/// A question that may take chunks to answer, and so time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// What is `name` in the directory `parent`?
    Lookup { parent: u64, name: Vec<u8> },
    /// Bytes of a file.
    Read { ino: u64, offset: u64, len: u32 },
    /// Entries of a directory from `offset` on: 0 or what an earlier listing gave.
    List { ino: u64, offset: u64 },
    /// One extended attribute.
    Xattr { ino: u64, name: Vec<u8> },
    /// What is this inode? Asked before anything else of one that the kernel knows and we do not yet.
    Recall { ino: u64 },
    /// Nothing that the kernel asks for: what a profile names, to be fetched for those who will.
    Warm(Part),
}

impl Request {
    /// The inode that it is about, where it is about one.
    pub(crate) fn ino(&self) -> Option<u64> {
        match *self {
            Self::Lookup { parent: ino, .. }
            | Self::Read { ino, .. }
            | Self::List { ino, .. }
            | Self::Xattr { ino, .. }
            | Self::Recall { ino } => Some(ino),
            Self::Warm(_) => None,
        }
    }

    /// Its name in log lines.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Lookup { .. } => "lookup",
            Self::Read { .. } => "read",
            Self::List { .. } => "readdir",
            Self::Xattr { .. } => "getxattr",
            Self::Recall { .. } => "recall",
            Self::Warm(_) => "warm",
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The entry; the kernel counts being told of it.
    Entry(Attr),
    /// There is no such entry and never will be.
    Absent,
    /// Bytes in order, to be joined.
    Data(Vec<Bytes>),
    /// Entries.
    Listing(Listing),
    /// An attribute's value.
    Xattr(Bytes),
    /// The question was how much of a file of so many bytes is held; whoever has the source counts.
    Held { wants: Vec<Want>, bytes: u64 },
    /// The inode is known.
    Known,
    /// Nothing, for this reason.
    Failed(Failure),
}

/// A run of directory entries: up to the end of a leaf. Empty only at the end of the directory.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) dir: u64,
    pub(crate) parent: u64,
    /// Offset asked for.
    pub(crate) offset: u64,
    /// Where entries begin; `None` past the last.
    pub(crate) spot: Option<Spot>,
}

/// An entry of a listing.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    /// Offset of what follows it.
    pub(crate) next: u64,
    pub(crate) attr: Attr,
    pub(crate) entry: &'a Entry,
}

/// Offsets below this are taken: 0 is the start, 1 stands after `.`, 2 after `..` and before the first entry.
pub(crate) const OFFSET_ENTRIES: u64 = 2;

impl Listing {
    /// Its entries in order, `.` and `..` not among them.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Listed<'_>> {
        self.spot.iter().flat_map(|spot| {
            let entries = spot.leaf.entries().iter().enumerate().skip(spot.index);
            entries.map(|(index, entry)| Listed {
                next: OFFSET_ENTRIES + spot.base + spot.leaf.begin(index + 1),
                attr: Attr::of(self.dir + 1 + spot.base + spot.leaf.begin(index), entry),
                entry,
            })
        })
    }
}

/// Figures of what is shown for statfs(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Space {
    /// Files, directories and links.
    pub(crate) entries: u64,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// Of these, bytes that are here as far as is known.
    pub(crate) held_bytes: u64,
}

impl Space {
    /// How large it is, in blocks.
    pub(crate) fn blocks(&self) -> u64 {
        self.bytes.div_ceil(BLOCK_BYTES.into())
    }

    /// How much of it is not here.
    pub(crate) fn blocks_lacking(&self) -> u64 {
        self.blocks().saturating_sub(self.held_bytes.div_ceil(BLOCK_BYTES.into()))
    }
}

/// Block size that statfs(2) and stat(2) show.
pub(crate) const BLOCK_BYTES: u32 = 4096;
