//! Who waits for which chunk, and whether for its bytes or for it to be held. Knows nothing of where chunks come from.

use std::collections::HashMap;

use ares_core::chunk::ChunkId;
use ares_core::swarm::{BlobPlace, FetchError, Want};
use bytes::Bytes;

use crate::api::{Done, Held, WantId};
use crate::mailbox::Job;

/// One who waits.
pub(crate) enum Waiter {
    /// For verified bytes, at once.
    Bytes(Done),
    /// For the chunk to be in the store at its place.
    Held(Held),
}

impl Waiter {
    /// Answers. Byte waiters that are told "held" without bytes cannot be satisfied by it and hear that they were cancelled;
    /// the hub never does that.
    pub(super) fn finish(self, result: Result<(), FetchError>, bytes: Option<Bytes>) {
        match self {
            Self::Bytes(done) => done(result.and_then(|()| bytes.ok_or(FetchError::Cancelled))),
            Self::Held(held) => held(result),
        }
    }

    pub(crate) fn fail(self, error: FetchError) {
        self.finish(Err(error), None);
    }
}

/// All who wait.
#[derive(Default)]
pub(super) struct Waiting {
    wants: HashMap<WantId, Entry>,
    by_chunk: HashMap<ChunkId, Vec<WantId>>,
}

struct Entry {
    want: Want,
    waiter: Waiter,
    /// The chunk is held and on its way to one more place: `ToHub::Filled` ends the wait, nothing else does.
    filling: bool,
}

impl Waiting {
    pub(super) fn has_any(&self) -> bool {
        !self.wants.is_empty()
    }

    pub(super) fn insert(&mut self, id: WantId, want: Want, waiter: Waiter) {
        self.by_chunk.entry(want.chunk.id).or_default().push(id);
        self.wants.insert(
            id,
            Entry {
                want,
                waiter,
                filling: false,
            },
        );
    }

    pub(super) fn mark_filling(&mut self, id: WantId) {
        if let Some(entry) = self.wants.get_mut(&id) {
            entry.filling = true;
        }
    }

    pub(super) fn take(&mut self, id: WantId) -> Option<Waiter> {
        self.take_with_want(id).map(|(_, waiter)| waiter)
    }

    pub(super) fn take_with_want(&mut self, id: WantId) -> Option<(Want, Waiter)> {
        let entry = self.wants.remove(&id)?;
        if let Some(ids) = self.by_chunk.get_mut(&entry.want.chunk.id) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_chunk.remove(&entry.want.chunk.id);
            }
        }
        Some((entry.want, entry.waiter))
    }

    pub(super) fn take_unless_filling(&mut self, id: WantId) -> Option<Waiter> {
        if self.wants.get(&id)?.filling { None } else { self.take(id) }
    }

    /// Those who wait for the chunk's bytes.
    pub(super) fn take_byte_waiters(&mut self, chunk: ChunkId) -> Vec<Waiter> {
        let Some(ids) = self.by_chunk.get(&chunk) else {
            return Vec::new();
        };
        let for_bytes = |id: &&WantId| {
            matches!(
                self.wants.get(id),
                Some(Entry {
                    waiter: Waiter::Bytes(_),
                    ..
                })
            )
        };
        let ids: Vec<WantId> = ids.iter().filter(for_bytes).copied().collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// A chunk is held at `place`. Those who need it at another place wait on, for the jobs returned.
    pub(super) fn on_stored(&mut self, chunk: ChunkId, place: Option<BlobPlace>) -> Vec<Job> {
        let mut fills = Vec::new();
        for id in self.by_chunk.get(&chunk).into_iter().flatten() {
            let Some(entry) = self.wants.get_mut(id) else { continue };
            if let (Waiter::Held(_), Some(wanted), false) = (&entry.waiter, entry.want.place, entry.filling)
                && Some(wanted) != place
            {
                entry.filling = true;
                fills.push(Job::Fill {
                    want: *id,
                    chunk: entry.want.chunk,
                    place: wanted,
                });
            }
        }
        fills
    }

    /// Everybody, at the end.
    pub(super) fn drain(&mut self) -> Vec<Waiter> {
        self.by_chunk.clear();
        self.wants.drain().map(|(_, entry)| entry.waiter).collect()
    }
}
