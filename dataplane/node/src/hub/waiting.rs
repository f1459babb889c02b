//! Who waits for which chunk, and whether for its bytes or for it to be held. Knows nothing of where chunks come from.

use std::collections::HashMap;

use ares_core::chunk::{ChunkId, ReleaseId};
use ares_core::swarm::{BlobPlace, FetchError, Want};
use bytes::Bytes;

use crate::api::{Done, Held, WantId};
use crate::mailbox::Job;

/// One who waits, to be answered exactly once: whoever drops it unanswered has said that the node is stopping.
pub(crate) struct Waiter(Option<Asker>);

enum Asker {
    /// Wants verified bytes, at once.
    Bytes(Done),
    /// Wants the chunk to be in the store at its place.
    Held(Held),
}

impl Waiter {
    /// Waits for verified bytes.
    pub(crate) fn for_bytes(done: Done) -> Self {
        Self(Some(Asker::Bytes(done)))
    }

    /// Waits for the chunk to be in the store at its place.
    pub(crate) fn for_held(held: Held) -> Self {
        Self(Some(Asker::Held(held)))
    }

    /// Whether it waits for bytes.
    pub(crate) fn wants_bytes(&self) -> bool {
        matches!(self.0, Some(Asker::Bytes(_)))
    }

    /// Answers with the chunk, verified and held or about to be.
    pub(crate) fn give(self, bytes: Bytes) {
        self.answer(Ok(bytes));
    }

    /// Tells one who does not want bytes that the chunk is held, or why it is not.
    pub(crate) fn tell(self, result: Result<(), FetchError>) {
        debug_assert!(!self.wants_bytes(), "who wants bytes is given some");
        self.answer(result.map(|()| Bytes::new()));
    }

    /// Answers that there will be no chunk.
    pub(crate) fn fail(self, error: FetchError) {
        self.answer(Err(error));
    }

    fn answer(mut self, result: Result<Bytes, FetchError>) {
        match self.0.take() {
            Some(Asker::Bytes(done)) => done(result),
            Some(Asker::Held(held)) => held(result.map(drop)),
            None => {}
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        match self.0.take() {
            Some(Asker::Bytes(done)) => done(Err(FetchError::Shutdown)),
            Some(Asker::Held(held)) => held(Err(FetchError::Shutdown)),
            None => {}
        }
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

    /// The releases that a chunk is wanted for.
    pub(super) fn releases_of(&self, chunk: &ChunkId) -> Vec<ReleaseId> {
        let wants = self.by_chunk.get(chunk).into_iter().flatten();
        let mut releases: Vec<ReleaseId> = wants.filter_map(|id| Some(self.wants.get(id)?.want.release)).collect();
        releases.dedup();
        releases
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

    pub(super) fn take_unless_filling(&mut self, id: WantId) -> Option<(Want, Waiter)> {
        if self.wants.get(&id)?.filling {
            None
        } else {
            self.take_with_want(id)
        }
    }

    /// Those who wait for the chunk's bytes.
    pub(super) fn take_byte_waiters(&mut self, chunk: ChunkId) -> Vec<Waiter> {
        let Some(ids) = self.by_chunk.get(&chunk) else {
            return Vec::new();
        };
        let for_bytes = |id: &&WantId| self.wants.get(id).is_some_and(|entry| entry.waiter.wants_bytes());
        let ids: Vec<WantId> = ids.iter().filter(for_bytes).copied().collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// A chunk is held at `place`. Those who need it at another place wait on, for the jobs returned.
    pub(super) fn on_stored(&mut self, chunk: ChunkId, place: Option<BlobPlace>) -> Vec<Job> {
        let mut fills = Vec::new();
        for id in self.by_chunk.get(&chunk).into_iter().flatten() {
            let Some(entry) = self.wants.get_mut(id) else { continue };
            if let (false, Some(wanted), false) = (entry.waiter.wants_bytes(), entry.want.place, entry.filling)
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
}
