//! Whole backing files that others read past the store: the kernel, on behalf of a mount. Nobody checks what they read, so a file that is
//! lent stays what it was when its chunks were verified: it is neither handed out (`hand_over`) nor taken away (`evict`), and of what is written to it later nothing
//! is new, as `writer` only puts a chunk to the place where the blob has it.
//!
//! A file in place is never lent: it is its owner's to write to, and no lock keeps them from it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use ares_core::chunk::ChunkId;
use ares_core::store::ObjectNo;

use super::locked;
use super::object::ObjectFile;
use super::shared::Shared;

/// How many have borrowed each object.
pub(super) type Loans = Mutex<BTreeMap<ObjectNo, u32>>;

/// The backing file of a whole blob.
#[derive(Debug)]
pub struct Lent {
    /// To be read only. It may be closed before the lease ends.
    pub file: Arc<ObjectFile>,
    /// Its length, which is the blob's.
    pub bytes: u64,
    /// Keeps it what it is.
    pub lease: Lease,
}

/// As long as this lives, a file of the store stays what it is.
pub struct Lease {
    object: ObjectNo,
    store: Weak<Shared>,
}

impl Shared {
    /// Never waits: `None` also while somebody gives a file its name.
    pub(super) fn lend(&self, blob: &ChunkId) -> Option<Lent> {
        // `take_blob` looks for loans with this lock held.
        let _names = self.names.try_lock().ok()?;
        let object = self.whole_blob(blob).ok()??;
        let file = self.files.get(object).or_else(|| self.open(object).ok())?;
        if file.path.extension().is_some() {
            return None; // still named as one that is not whole; after a power cut it may be what followed one that was
        }
        self.check_trust(object, &file.path).ok()?;
        let bytes = self.index().blob(blob)?.1.bytes;
        if file.file.metadata().ok()?.len() != bytes {
            return None;
        }
        *locked(&self.loans).entry(object).or_default() += 1;
        let store = self.weak.clone();
        let lease = Lease { object, store };
        Some(Lent { file, bytes, lease })
    }

    /// Whether somebody reads the object past the store.
    pub(super) fn is_lent(&self, object: ObjectNo) -> bool {
        locked(&self.loans).contains_key(&object)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(store) = self.store.upgrade() else { return };
        let mut loans = locked(&store.loans);
        let Some(count) = loans.get_mut(&self.object) else { return };
        *count -= 1;
        if *count == 0 {
            loans.remove(&self.object);
            drop(loans);
            locked(&store.room.uses).on_read(self.object);
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("object", &self.object).finish_non_exhaustive()
    }
}
