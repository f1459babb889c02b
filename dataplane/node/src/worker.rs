//! Hash and disk, off the network's threads: verifies what arrived, writes it where it is to be kept, reads what is held. Decides nothing.

use std::sync::Arc;

use ares_core::chunk::{ChunkId, ChunkRef, LEN_UNKNOWN, VerifiedChunk};
use ares_core::swarm::{FetchError, Want};
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender};

use crate::api::{PeerBytes, Sink, WantId};
use crate::counters::{Totals, add};
use crate::hub::Waiter;
use crate::mailbox::{Job, PathAsk, ToHub};
use crate::store::{Evicted, Filled, Store, StoreWriter};

/// One worker thread.
pub(crate) struct Worker {
    pub(crate) jobs: Receiver<Job>,
    pub(crate) hub: Sender<ToHub>,
    pub(crate) store: Arc<Store>,
    pub(crate) sink: Sink,
    pub(crate) totals: Arc<Totals>,
}

impl Worker {
    /// Runs until nobody is left who could have a job.
    pub(crate) fn run(self) {
        let writer = self.store.writer();
        while let Ok(job) = self.jobs.recv() {
            self.on_job(&writer, job);
        }
    }

    /// Does it and tells the hub.
    pub(crate) fn on_job(&self, writer: &StoreWriter, job: Job) {
        match job {
            Job::Land { ask, bytes } => self.land(writer, &ask, bytes),
            Job::Read { id, want, waiter } => self.read(id, want, waiter),
            Job::Check(chunk) => {
                self.check(&chunk);
                self.tell(ToHub::Checked(chunk));
            }
            Job::Fill { want, chunk, place } => {
                let failed = |why: String| FetchError::Store { chunk: chunk.id, why };
                let result = match writer.fill(chunk, place) {
                    Ok(Filled::Copied | Filled::There) => Ok(()),
                    Ok(Filled::NotHeld) => Err(failed("its bytes were lost from the disk meanwhile; try again".to_owned())),
                    Err(error) => Err(failed(error.to_string())),
                };
                self.tell_evicted();
                self.tell(ToHub::Filled { want, result });
            }
            Job::MakeRoom => {
                if let Err(error) = self.store.make_room() {
                    tracing::warn!("{error}");
                }
                self.tell_evicted();
            }
        }
    }

    /// What was written may have cost something that others were told is here.
    fn tell_evicted(&self) {
        let evicted = self.store.take_evicted();
        if evicted != Evicted::default() {
            self.tell(ToHub::Evicted(evicted));
        }
    }

    fn land(&self, writer: &StoreWriter, ask: &PathAsk, bytes: Bytes) {
        let verified = match VerifiedChunk::verify(ask.chunk.id, bytes) {
            Ok(verified) => verified,
            Err(mismatch) => {
                return self.tell(ToHub::BadChunk {
                    ask: *ask,
                    why: mismatch.to_string(),
                });
            }
        };
        add(&self.totals.fetched_bytes[ask.class as usize], verified.bytes().len() as u64);
        add(&self.totals.fetched_chunks, 1);
        let fetched = PeerBytes {
            fetched_bytes: verified.bytes().len() as u64,
            ..PeerBytes::default()
        };
        self.totals.peers.add(ask.peer, fetched);
        let chunk = ask.chunk.id;
        self.tell(ToHub::Verified {
            peer: ask.peer,
            chunk,
            bytes: verified.bytes().clone(),
        });
        let kept = match self.sink {
            Sink::Store => writer.put(&verified, ask.place),
            Sink::Discard => Ok(()),
        };
        self.tell_evicted();
        match kept {
            Ok(()) => self.tell(ToHub::Stored { chunk, place: ask.place }),
            Err(error) => self.tell(ToHub::StoreFailed {
                chunk,
                why: error.to_string(),
            }),
        }
    }

    fn read(&self, id: WantId, want: Want, waiter: Waiter) {
        let mut chunk = want.chunk;
        if chunk.len == LEN_UNKNOWN {
            chunk.len = self.store.locate(&chunk.id).map_or(LEN_UNKNOWN, |extent| extent.len);
        }
        match self.store.read(chunk) {
            Ok(verified) => waiter.give(verified.bytes().clone()),
            Err(error) => {
                tracing::warn!(chunk = %want.chunk.id.short(), %error, "a held chunk was lost; fetching it");
                self.tell(ToHub::Lost { id, want, waiter });
            }
        }
    }

    fn check(&self, chunk: &ChunkId) {
        let Some(extent) = self.store.locate(chunk) else { return };
        let chunk = ChunkRef {
            id: *chunk,
            len: extent.len,
        };
        match self.store.read(chunk) {
            Ok(_) => tracing::info!(chunk = %chunk.id.short(), "held bytes are right"),
            Err(error) => tracing::warn!(chunk = %chunk.id.short(), %error, "held bytes were wrong and are forgotten"),
        }
    }

    fn tell(&self, message: ToHub) {
        // The hub ends after the workers were told to stop; what they still say then is for nobody.
        let _ = self.hub.send(message);
    }
}
