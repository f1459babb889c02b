//! Open files that chunks lie in, and how many are kept open. Whether one is still believed is decided in `shared`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use ares_core::store::{Coverage, Guard, ObjectNo};

use super::locked;
use super::shared::Shared;

/// Files kept open. A tree may have 50,000 in-place files and the default limit of descriptors is 1,024; sockets need some, too.
const OPEN_FILES_MAX: usize = 512;

/// An open file that chunks lie in. Reads go through its descriptor.
pub struct ObjectFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) object: ObjectNo,
    /// What it must still be, where it is not ours.
    pub(super) guard: Option<Guard>,
    pub(super) store: Weak<Shared>,
    /// Held while somebody writes to it. The kernel lets one writer at a time into an inode anyway, and has the others spin for it.
    pub(super) writing: Mutex<()>,
    /// What of it was read and found right since it was opened, where it is a whole blob (`read_warm`).
    pub(super) seen: OnceLock<Mutex<Coverage>>,
}

impl ObjectFile {
    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of `bytes` at `offset`, or fails.
    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _writing = locked(&self.writing);
        self.file.write_all_at(bytes, offset)
    }

    /// Whether the file is still the one the chunks were found in. Where it is not, they are gone from the store from here on.
    pub fn still_valid(&self) -> bool {
        let Some(guard) = self.guard else { return true };
        if guard_of(&self.file).is_ok_and(|now| now == guard) {
            return true;
        }
        if let Some(store) = self.store.upgrade() {
            store.lose(self.object, &self.path, "it changed");
        }
        false
    }
}

impl AsFd for ObjectFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for ObjectFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectFile")
            .field("path", &self.path)
            .field("object", &self.object)
            .finish_non_exhaustive()
    }
}

/// Where a chunk's bytes are.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The file, open for reading.
    pub file: Arc<ObjectFile>,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Length, in bytes.
    pub len: u32,
}

impl Extent {
    /// To be asked after the bytes were read and before they are sent: whether the file is still the one the chunk was found in. One
    /// `fstat` for a publisher's file, free for our own. What slips through (a write within one tick of the file's clock) the receiver's hash catches.
    pub fn still_valid(&self) -> bool {
        self.file.still_valid()
    }
}

/// What a file's guard is now.
pub fn guard_of(file: &File) -> io::Result<Guard> {
    Ok(guard_from(&file.metadata()?))
}

pub(super) fn guard_from(meta: &Metadata) -> Guard {
    let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
    Guard {
        dev: meta.dev(),
        ino: meta.ino(),
        size: meta.size(),
        mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
    }
}

/// The files used last. Whoever uses one that falls out keeps it open until done.
#[derive(Default)]
pub(super) struct OpenFiles {
    inner: Mutex<Lru>,
}

#[derive(Default)]
struct Lru {
    files: BTreeMap<ObjectNo, (Arc<ObjectFile>, u64)>,
    /// Use number -> object, oldest first.
    uses: BTreeMap<u64, ObjectNo>,
    next_use: u64,
}

impl OpenFiles {
    pub(super) fn get(&self, object: ObjectNo) -> Option<Arc<ObjectFile>> {
        let mut lru = locked(&self.inner);
        let file = lru.files.get(&object)?.0.clone();
        lru.touch(object, file.clone());
        Some(file)
    }

    pub(super) fn insert(&self, file: Arc<ObjectFile>) {
        let mut lru = locked(&self.inner);
        lru.touch(file.object, file);
        if lru.files.len() > OPEN_FILES_MAX
            && let Some((_, oldest)) = lru.uses.pop_first()
        {
            lru.files.remove(&oldest);
        }
    }

    pub(super) fn remove(&self, object: ObjectNo) {
        let mut lru = locked(&self.inner);
        if let Some((_, used)) = lru.files.remove(&object) {
            lru.uses.remove(&used);
        }
    }
}

impl Lru {
    fn touch(&mut self, object: ObjectNo, file: Arc<ObjectFile>) {
        let used = self.next_use;
        self.next_use += 1;
        if let Some((_, before)) = self.files.insert(object, (file, used)) {
            self.uses.remove(&before);
        }
        self.uses.insert(used, object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempDir;

    #[test]
    fn the_files_used_last_stay_open() {
        let dir = TempDir::new();
        let path = dir.path().join("f");
        std::fs::write(&path, b"").unwrap();
        let open = |n: u32| {
            let file = File::open(&path).unwrap();
            Arc::new(ObjectFile {
                file,
                path: path.clone(),
                object: ObjectNo(n),
                guard: None,
                writing: Mutex::default(),
                seen: OnceLock::new(),
                store: Weak::new(),
            })
        };
        let files = OpenFiles::default();
        let max = OPEN_FILES_MAX as u32;
        (0..max).for_each(|n| files.insert(open(n)));
        assert!(files.get(ObjectNo(0)).is_some(), "used again: now the youngest");
        files.insert(open(max));
        assert!(files.get(ObjectNo(1)).is_none(), "the oldest fell out");
        assert!(files.get(ObjectNo(0)).is_some());
        files.remove(ObjectNo(0));
        assert!(files.get(ObjectNo(0)).is_none());
        files.insert(open(max + 1));
        assert!(files.get(ObjectNo(2)).is_some(), "there was room");
        let lru = locked(&files.inner);
        assert_eq!(lru.files.len(), lru.uses.len());
    }
}
