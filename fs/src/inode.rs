//! What the kernel knows of the release: entries it has looked up and not yet forgotten. Numbers come from `view`; here is only
//! what stands behind them.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use ares_core::chunk::ChunkId;
use ares_core::manifest::{Content, DirRef, Entry, EntryKind, File, Meta, Mtime, Name, Root, Top};
use bytes::Bytes;

use crate::view::DirView;

/// Inode number of the top directory, as FUSE has it.
pub(crate) const ROOT: u64 = 1;

/// What stands behind an inode number.
#[derive(Debug)]
pub(crate) struct Inode {
    /// Times the kernel was told of it, less the times it forgot.
    lookups: u64,
    /// The directory it is in; the top is in itself.
    pub(crate) parent: u64,
    /// Its name there; the top has none.
    name: Option<Name>,
    /// Mode, mtime, xattrs.
    pub(crate) meta: Meta,
    /// What it is.
    pub(crate) kind: Kind,
    /// The file's blob, worked out at the first read.
    blob: OnceCell<Option<ChunkId>>,
}

/// What an inode is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A directory.
    Dir(Folder),
    /// A link and its target.
    Symlink(Bytes),
    /// A file.
    File(File),
}

/// Where a directory's entries are.
#[derive(Clone, Debug)]
pub(crate) enum Folder {
    /// In the manifest.
    Tree(DirRef),
    /// Here: the directory we show around a release of a single file.
    Around(Arc<DirView>),
}

/// Attributes as stat(2) shows them, less the owner: that is the mounter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attr {
    pub(crate) ino: u64,
    pub(crate) kind: AttrKind,
    /// Bytes of a file or link target; of a directory, bytes of its topmost manifest node.
    pub(crate) size: u64,
    /// Permission bits.
    pub(crate) mode: u16,
    pub(crate) mtime: Mtime,
}

/// File type as stat(2) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttrKind {
    Dir,
    Symlink,
    File,
}

/// All inodes the kernel knows.
#[derive(Debug)]
pub(crate) struct Inodes {
    known: HashMap<u64, Inode>,
}

impl Inodes {
    /// Knows the top of `root` and nothing else. A release of a single file is shown as a directory that holds it under `name`.
    pub(crate) fn new(root: &Root, name: Name) -> Self {
        let (meta, folder) = match &root.top {
            Top::Dir { meta, node } => (meta.clone(), Folder::Tree(*node)),
            Top::File { meta, file } => {
                let entry = Entry {
                    name,
                    meta: meta.clone(),
                    kind: EntryKind::File(file.clone()),
                };
                let around = Meta {
                    mode: 0o755,
                    mtime: meta.mtime,
                    xattrs: Vec::new(),
                };
                (around, Folder::Around(Arc::new(DirView::around(entry))))
            }
        };
        let top = Inode {
            lookups: 1,
            parent: ROOT,
            name: None,
            meta,
            kind: Kind::Dir(folder),
            blob: OnceCell::new(),
        };
        Self {
            known: HashMap::from([(ROOT, top)]),
        }
    }

    /// What stands behind a number.
    pub(crate) fn get(&self, ino: u64) -> Option<&Inode> {
        self.known.get(&ino)
    }

    /// The kernel is being told once more of `ino`, which is `entry` of the directory `parent`.
    pub(crate) fn tell(&mut self, ino: u64, parent: u64, entry: &Entry) {
        let inode = self.known.entry(ino).or_insert_with(|| Inode::of(parent, entry));
        inode.lookups += 1;
    }

    /// The kernel has been told of `ino`, which is `entry` of the directory `parent`, by whoever had this mount before. How often is not known: it
    /// forgets all of it at once, as it does with what it is done with.
    pub(crate) fn recall(&mut self, ino: u64, parent: u64, entry: &Entry) {
        self.known.entry(ino).or_insert_with(|| Inode::of(parent, entry));
    }

    /// The kernel forgot `count` times what it was told. Whether it knows nothing of `ino` any more.
    pub(crate) fn forget(&mut self, ino: u64, count: u64) -> bool {
        let Some(inode) = self.known.get_mut(&ino) else { return true };
        inode.lookups = inode.lookups.saturating_sub(count);
        let gone = inode.lookups == 0 && ino != ROOT;
        if gone {
            self.known.remove(&ino);
        }
        gone
    }

    /// Whether the kernel knows nothing but the top.
    pub(crate) fn are_forgotten(&self) -> bool {
        self.known.len() == 1
    }

    /// The entry as a person would name it, for log lines.
    pub(crate) fn describe(&self, ino: u64) -> String {
        let (mut names, is_whole) = self.names(ino);
        if !is_whole {
            names.insert(0, b"..");
        }
        format!("/{}", String::from_utf8_lossy(&names.join(&b'/')))
    }

    /// Its names from the top, joined by `/`; `None` where the kernel has forgotten one of them.
    pub(crate) fn path(&self, ino: u64) -> Option<Vec<u8>> {
        let (names, is_whole) = self.names(ino);
        is_whole.then(|| names.join(&b'/'))
    }

    /// Its names as far up as they are known, and whether that is to the top.
    fn names(&self, ino: u64) -> (Vec<&[u8]>, bool) {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT
            && let Some(inode) = self.known.get(&at)
        {
            names.extend(inode.name.as_ref().map(Name::as_bytes));
            at = inode.parent;
        }
        names.reverse();
        (names, at == ROOT)
    }
}

impl Inode {
    /// Copies what shares memory with the manifest node, so that one known entry does not keep a whole node.
    fn of(parent: u64, entry: &Entry) -> Self {
        let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        let mut meta = entry.meta.clone();
        for xattr in &mut meta.xattrs {
            xattr.key = own(&xattr.key);
            xattr.value = own(&xattr.value);
        }
        let kind = match &entry.kind {
            EntryKind::Dir(dir) => Kind::Dir(Folder::Tree(*dir)),
            EntryKind::Symlink(target) => Kind::Symlink(own(target)),
            EntryKind::File(file) => {
                let mut file = file.clone();
                if let Content::Inline(bytes) = &mut file.content {
                    *bytes = own(bytes);
                }
                Kind::File(file)
            }
        };
        Self {
            lookups: 0,
            parent,
            name: Name::new(entry.name.as_bytes().to_vec()).ok(),
            meta,
            kind,
            blob: OnceCell::new(),
        }
    }

    /// Its attributes.
    pub(crate) fn attr(&self, ino: u64) -> Attr {
        let (kind, size) = match &self.kind {
            Kind::Dir(Folder::Tree(dir)) => (AttrKind::Dir, dir.node.len.into()),
            Kind::Dir(Folder::Around(_)) => (AttrKind::Dir, 0),
            Kind::Symlink(target) => (AttrKind::Symlink, target.len() as u64),
            Kind::File(file) => (AttrKind::File, file.bytes),
        };
        Attr::new(ino, kind, size, &self.meta)
    }

    /// Identity of the file's blob, where it has chunks of its own.
    pub(crate) fn blob(&self) -> Option<ChunkId> {
        let Kind::File(file) = &self.kind else { return None };
        *self.blob.get_or_init(|| file.blob_id())
    }
}

impl Attr {
    /// What FUSE wants in place of an entry that does not exist.
    pub(crate) fn absent() -> Self {
        Self::dir(0)
    }

    /// A directory of which only the number matters.
    pub(crate) fn dir(ino: u64) -> Self {
        Self {
            ino,
            kind: AttrKind::Dir,
            size: 0,
            mode: 0,
            mtime: Mtime::default(),
        }
    }

    /// The attributes of an entry that the kernel may not know yet.
    pub(crate) fn of(ino: u64, entry: &Entry) -> Self {
        let (kind, size) = match &entry.kind {
            EntryKind::Dir(dir) => (AttrKind::Dir, dir.node.len.into()),
            EntryKind::Symlink(target) => (AttrKind::Symlink, target.len() as u64),
            EntryKind::File(file) => (AttrKind::File, file.bytes),
        };
        Self::new(ino, kind, size, &entry.meta)
    }

    fn new(ino: u64, kind: AttrKind, size: u64, meta: &Meta) -> Self {
        // Linux shows links with all bits set, whatever was recorded.
        let mode = if kind == AttrKind::Symlink { 0o777 } else { meta.mode };
        Self {
            ino,
            kind,
            size,
            mode,
            mtime: meta.mtime,
        }
    }
}
