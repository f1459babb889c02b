//! Chunks from the store alone, for mounts that must not wait for a network: read and verified on threads of their own, and refused at once
//! where they are not held.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use ares_core::chunk::ChunkId;
use ares_core::swarm::{FetchError, Want};
use ares_fs::{Backing, Fetching, Reply, Source};
use ares_node::store::Store;

use super::held::Held;
use super::source::lend;

/// Threads that read. They wait for the disk alone.
const READERS: usize = 2;

/// Why what is not held cannot be read; behind it stands which chunk.
pub(super) const REFUSED: &str = "the mount is offline, and this is not in the store";

/// A source that never asks anybody.
pub(crate) struct OfflineSource {
    store: Arc<Store>,
    held: Held,
    /// Ends the threads when it is dropped.
    jobs: mpsc::Sender<(Want, Reply)>,
}

impl OfflineSource {
    pub(super) fn new(store: &Arc<Store>, held: Held) -> Self {
        let (jobs, todo) = mpsc::channel::<(Want, Reply)>();
        let todo = Arc::new(Mutex::new(todo));
        for n in 0..READERS {
            let (store, todo) = (Arc::clone(store), Arc::clone(&todo));
            let work = move || {
                loop {
                    let job = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((want, reply)) = job else { return };
                    let read = store.read(want.chunk).map(|chunk| chunk.bytes().clone());
                    reply(read.map_err(|error| refusal(want.chunk.id, &format!("{REFUSED}: {error}"))));
                }
            };
            if let Err(e) = std::thread::Builder::new().name(format!("ares-off-{n}")).spawn(work) {
                // With none left there is no queue, and readers are refused.
                tracing::error!("no thread to read the store: {e}; is the process limit (ulimit -u) too low?");
            }
        }
        Self {
            store: Arc::clone(store),
            held,
            jobs,
        }
    }
}

pub(super) fn refusal(chunk: ChunkId, why: &str) -> FetchError {
    FetchError::Lacked {
        chunk,
        why: why.to_owned(),
    }
}

impl Source for OfflineSource {
    fn chunk(&self, want: Want, reply: Reply) -> Fetching {
        if !self.store.has(&want.chunk.id) {
            reply(Err(refusal(want.chunk.id, REFUSED)));
        } else if let Err(mpsc::SendError((want, reply))) = self.jobs.send((want, reply)) {
            reply(Err(refusal(want.chunk.id, "nobody reads the store")));
        }
        Fetching(0)
    }

    fn let_go(&self, _: Fetching) {}

    fn is_held(&self, want: &Want) -> bool {
        self.store.has(&want.chunk.id)
    }

    fn held_bytes(&self) -> u64 {
        self.held.bytes()
    }

    fn backing(&self, blob: ChunkId, bytes: u64) -> Option<Backing> {
        lend(&self.store, blob, bytes)
    }
}
