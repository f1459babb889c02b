//! What the kernel knows of the release: entries it has looked up and not yet forgotten. Numbers come from `view`; here is only
//! what stands behind them, of all directories and of those others that it was told of last: the kernel may know of millions, and
//! an entry is found again by its number.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ares_core::chunk::ChunkId;
use ares_core::manifest::{Content, DirRef, Entry, EntryKind, File, Meta, Mtime, Name, Root, Top};
use bytes::Bytes;

use crate::view::DirView;

/// Inode number of the top directory, as FUSE has it.
pub(crate) const ROOT: u64 = 1;

/// Files and links that are kept, of nearly 400 bytes each. 7,000 more would take a table of twice the size.
const KEPT_MAX: usize = if cfg!(test) { 1_000 } else { 50_000 };

/// What stands behind an inode number.
#[derive(Debug)]
pub(crate) struct Inode {
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
    /// Tells it from what had its number before the kernel forgot that.
    stamp: u64,
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
    /// Times the kernel was told of each, less the times it forgot.
    told: HashMap<u64, u64>,
    kept: HashMap<u64, Inode>,
    /// Files and links in the order in which they came, by number and stamp, and some that are forgotten.
    order: VecDeque<(u64, u64)>,
    /// How many of those are.
    forgotten: usize,
    /// Stamp of the last that came.
    stamp: u64,
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
            parent: ROOT,
            name: None,
            meta,
            kind: Kind::Dir(folder),
            blob: OnceCell::new(),
            stamp: 0,
        };
        Self {
            told: HashMap::from([(ROOT, 1)]),
            kept: HashMap::from([(ROOT, top)]),
            order: VecDeque::new(),
            forgotten: 0,
            stamp: 0,
        }
    }

    /// What stands behind a number; `None` where the kernel was not told of it, or that is to be recalled.
    pub(crate) fn get(&self, ino: u64) -> Option<&Inode> {
        self.kept.get(&ino)
    }

    /// The kernel is being told once more of `ino`, which is `entry` of the directory `parent`.
    pub(crate) fn tell(&mut self, ino: u64, parent: u64, entry: &Entry) {
        *self.told.entry(ino).or_default() += 1;
        self.keep(ino, parent, entry);
    }

    /// The kernel has been told of `ino`, which is `entry` of the directory `parent`: by us, or by whoever had this mount before. How often they have is not
    /// known: it forgets all of it at once, as it does with what it is done with.
    pub(crate) fn recall(&mut self, ino: u64, parent: u64, entry: &Entry) {
        self.told.entry(ino).or_default();
        self.keep(ino, parent, entry);
    }

    fn keep(&mut self, ino: u64, parent: u64, entry: &Entry) {
        if self.kept.contains_key(&ino) {
            return;
        }
        self.stamp += 1;
        let stamp = self.stamp;
        self.kept.insert(ino, Inode::of(parent, entry, stamp));
        if let EntryKind::Dir(_) = entry.kind {
            return;
        }
        self.order.push_back((ino, stamp));
        if self.order.len() <= KEPT_MAX {
            return;
        }
        if self.forgotten > KEPT_MAX / 4 {
            self.order.retain(|&(ino, stamp)| is_kept(&self.kept, ino, stamp));
            self.forgotten = 0;
        } else if let Some((ino, stamp)) = self.order.pop_front() {
            if is_kept(&self.kept, ino, stamp) {
                self.kept.remove(&ino);
            } else {
                self.forgotten = self.forgotten.saturating_sub(1);
            }
        }
    }

    /// The kernel forgot `count` times what it was told. Whether it knows nothing of `ino` any more.
    pub(crate) fn forget(&mut self, ino: u64, count: u64) -> bool {
        let Some(times) = self.told.get_mut(&ino) else { return true };
        *times = times.saturating_sub(count);
        let gone = *times == 0 && ino != ROOT;
        if gone {
            self.told.remove(&ino);
            let kept = self.kept.remove(&ino);
            self.forgotten += usize::from(kept.is_some_and(|inode| !matches!(inode.kind, Kind::Dir(_))));
        }
        gone
    }

    /// Whether the kernel knows nothing but the top.
    pub(crate) fn are_forgotten(&self) -> bool {
        self.told.len() == 1
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
            && let Some(inode) = self.kept.get(&at)
        {
            names.extend(inode.name.as_ref().map(Name::as_bytes));
            at = inode.parent;
        }
        names.reverse();
        (names, at == ROOT)
    }
}

fn is_kept(kept: &HashMap<u64, Inode>, ino: u64, stamp: u64) -> bool {
    kept.get(&ino).is_some_and(|inode| inode.stamp == stamp)
}

impl Inode {
    /// Copies what shares memory with the manifest node, so that one known entry does not keep a whole node.
    fn of(parent: u64, entry: &Entry, stamp: u64) -> Self {
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
            parent,
            name: Name::new(entry.name.as_bytes().to_vec()).ok(),
            meta,
            kind,
            blob: OnceCell::new(),
            stamp,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn inodes() -> Inodes {
        let root = crate::testing::Release::of(&crate::testing::dir([("a", crate::testing::file("a"))]));
        let root = Root::parse(&root.root).expect("a root");
        Inodes::new(&root, Name::new(b"x".to_vec()).expect("a name"))
    }

    fn link() -> Entry {
        Entry {
            name: Name::new(b"l".to_vec()).expect("a name"),
            meta: Meta {
                mode: 0o777,
                mtime: Mtime::default(),
                xattrs: Vec::new(),
            },
            kind: EntryKind::Symlink(Bytes::from_static(b"to")),
        }
    }

    #[test]
    fn what_is_forgotten_and_told_again_is_as_young_as_it_was_told_last_and_costs_others_nothing() {
        let (mut inodes, link) = (inodes(), link());
        let max = KEPT_MAX as u64;
        let all = |from: u64, count: u64| from..from + count;
        for ino in all(10, max / 2) {
            inodes.tell(ino, ROOT, &link);
        }
        // Looked up and forgotten, again and again.
        for _ in 0..5 * max {
            inodes.tell(9, ROOT, &link);
            assert!(inodes.forget(9, 1));
        }
        assert!(all(10, max / 2).all(|ino| inodes.get(ino).is_some()), "none fell out");
        assert!(inodes.order.len() <= KEPT_MAX + 1, "{}", inodes.order.len());
        // Half of them anew: the others are the oldest now.
        for ino in all(10, max / 4) {
            assert!(inodes.forget(ino, 1));
            inodes.tell(ino, ROOT, &link);
        }
        for ino in all(10 + max, max / 2) {
            inodes.tell(ino, ROOT, &link);
        }
        assert!(all(10, max / 4).all(|ino| inodes.get(ino).is_some()));
        for ino in all(10 + 2 * max, max / 4) {
            inodes.tell(ino, ROOT, &link);
        }
        assert!(all(10, max / 4).all(|ino| inodes.get(ino).is_some()), "the oldest went first");
        assert!(inodes.kept.len() <= KEPT_MAX + 1);
    }
}
