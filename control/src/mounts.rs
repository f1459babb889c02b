//! The mounts of a daemon: by mount point, each with what it shows. Mounting itself is fs's work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::admin::proto::Force;
use crate::error::Failure;

/// What the table needs of a mount.
pub(crate) trait Mounted: Send + Sync {
    /// Takes it away, also while it is used.
    fn end(&self);
    /// Takes it away as hard as told; EBUSY is a failure that says what to do.
    fn take_away(&self, force: Force) -> Result<(), Failure>;
    /// Whether the kernel has let go of it.
    fn is_over(&self) -> bool;
    /// How long the request has waited that has waited longest.
    fn longest_wait(&self) -> Duration;
}

/// One mount.
#[derive(Clone)]
pub(crate) struct MountEntry {
    /// 64 hex digits.
    pub(crate) release: String,
    /// As `df` shows it.
    pub(crate) name: String,
    /// The mount itself.
    pub(crate) mount: Arc<dyn Mounted>,
}

/// The table.
#[derive(Default)]
pub(crate) struct Mounts(Mutex<BTreeMap<PathBuf, MountEntry>>);

impl Mounts {
    fn table(&self) -> MutexGuard<'_, BTreeMap<PathBuf, MountEntry>> {
        // Entries are inserted and removed whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a mount at `dir`.
    pub(crate) fn add(&self, dir: PathBuf, entry: MountEntry) {
        self.table().insert(dir, entry);
    }

    /// The mount at `dir`, removed from the table.
    pub(crate) fn take(&self, dir: &Path) -> Option<MountEntry> {
        self.table().remove(dir)
    }

    /// The mount at `dir`.
    pub(crate) fn get(&self, dir: &Path) -> Option<MountEntry> {
        self.table().get(dir).cloned()
    }

    /// Forgets those that others unmounted, then says how many there are.
    pub(crate) fn count(&self) -> usize {
        let mut table = self.table();
        table.retain(|_, entry| !entry.mount.is_over());
        table.len()
    }

    /// All, for `status`.
    pub(crate) fn list(&self) -> Vec<(PathBuf, MountEntry)> {
        self.count();
        self.table().iter().map(|(dir, entry)| (dir.clone(), entry.clone())).collect()
    }

    /// Takes all of them away.
    pub(crate) fn end_all(&self) {
        let all = std::mem::take(&mut *self.table());
        for (dir, entry) in all {
            tracing::info!("unmounting {}", dir.display());
            entry.mount.end();
        }
    }
}
