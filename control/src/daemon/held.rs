//! How many file bytes of what is mounted are held, for statfs(2): counted in a thread when somebody asks, since that takes reading the
//! manifest as far as it is held.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ares_core::chunk::ReleaseId;
use ares_core::manifest::Root;
use ares_core::store::ReleaseState;
use ares_node::store::Store;

use crate::cancel::Cancel;
use crate::survey::survey_root;

/// Between two counts, and how many times as long as the last one took.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_FACTOR: u32 = 20;

/// What is held of one mounted tree. Counting ends when it is dropped.
pub(super) struct Held {
    inner: Arc<Inner>,
    stop: Cancel,
}

struct Inner {
    store: Arc<Store>,
    release: ReleaseId,
    root: Root,
    known: AtomicU64,
    /// When the next count may begin; `None` while one goes on.
    next_at: Mutex<Option<Instant>>,
}

impl Held {
    /// Of `root`, which is that of `release` or of a part of it.
    pub(super) fn new(store: &Arc<Store>, release: ReleaseId, root: &Root) -> Self {
        let held = Self {
            inner: Arc::new(Inner {
                store: Arc::clone(store),
                release,
                root: root.clone(),
                known: AtomicU64::new(0),
                next_at: Mutex::new(Some(Instant::now())),
            }),
            stop: Cancel::new(),
        };
        held.bytes();
        held
    }

    /// As the last count had it. May begin another, and never waits.
    pub(super) fn bytes(&self) -> u64 {
        let inner = &self.inner;
        if inner.store.release_state(inner.release) == Some(ReleaseState::Complete) {
            return inner.root.totals().bytes;
        }
        let mut next_at = inner.next_at.lock().unwrap_or_else(PoisonError::into_inner);
        if next_at.is_some_and(|at| at <= Instant::now()) {
            let (inner, stop) = (Arc::clone(inner), self.stop.clone());
            let count = move || inner.count(&stop);
            match std::thread::Builder::new().name("ares-held".into()).spawn(count) {
                Ok(_) => *next_at = None,
                Err(e) => tracing::warn!("no thread to count what is held: {e}"),
            }
        }
        inner.known.load(Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Inner {
    fn count(&self, stop: &Cancel) {
        let start = Instant::now();
        match survey_root(&self.store, &self.root, stop) {
            Ok(survey) if survey.missing_chunks == 0 => self.known.store(self.root.totals().bytes, Relaxed),
            Ok(survey) => self.known.store(survey.held_bytes, Relaxed),
            // Stopped, or malformed, which whoever reads that far is told.
            Err(e) => tracing::debug!("what is held is not known: {}", e.message),
        }
        let rest = REST_MIN.max(start.elapsed() * REST_FACTOR);
        *self.next_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + rest);
    }
}
