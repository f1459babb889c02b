//! The ways of others to the node's chunks: `tree` and `export` wait for them, fs is called back.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId, VerifiedChunk};
use ares_core::knobs::Knob;
use ares_core::manifest::Root;
use ares_core::swarm::{BlobPlace, Class, FetchError, Unreached, Want};
use ares_fs::{Backing, Fetching, Reply, Source};
use ares_node::Handle;
use ares_node::api::WantId;
use ares_node::store::{Dest, Lent, Store, Taken};
use bytes::Bytes;

use super::Shared;
use super::held::Held;
use super::offline::{self, OfflineSource};
use crate::admin::proto::Reach;
use crate::cancel::Cancel;
use crate::error::{Failure, Kind};
use crate::export::room::Stock;
use crate::export::{Blobs, Took};
use crate::tree::Chunks;

/// How often a thread that waits for a chunk looks whether anybody still wants it.
const CANCEL_LOOK: Duration = Duration::from_millis(50);

impl Shared {
    /// Chunks of `release`, from the store or the swarm.
    pub(crate) fn chunks(&self, release: ReleaseId, cancel: &Cancel) -> NodeChunks<'_> {
        self.chunks_within(Reach::Swarm, release, cancel)
    }

    /// How long whoever asks for a chunk now may wait for it.
    pub(crate) fn patience(&self) -> Duration {
        self.handle.settings().time(Knob::ReadPatience)
    }

    /// Chunks of `release`, from as far as `reach` says.
    pub(crate) fn chunks_within(&self, reach: Reach, release: ReleaseId, cancel: &Cancel) -> NodeChunks<'_> {
        NodeChunks {
            handle: &self.handle,
            reach,
            release,
            patience: self.patience(),
            cancel: cancel.clone(),
        }
    }

    /// Chunks of `root`, which is that of `release` or of a part of it, for a mount.
    pub(crate) fn source(&self, reach: Reach, release: ReleaseId, root: &Root) -> Arc<dyn Source> {
        let held = Held::new(self.handle.store(), release, root);
        match reach {
            Reach::Swarm => Arc::new(NodeSource {
                handle: self.handle.clone(),
                release,
                held,
            }),
            Reach::Store => Arc::new(OfflineSource::new(self.handle.store(), held)),
        }
    }
}

/// Chunks of one release, for a thread that waits.
pub(crate) struct NodeChunks<'a> {
    handle: &'a Handle,
    reach: Reach,
    release: ReleaseId,
    patience: Duration,
    cancel: Cancel,
}

impl NodeChunks<'_> {
    fn get(&self, chunk: ChunkRef, place: Option<BlobPlace>) -> Result<Bytes, Failure> {
        let want = Want {
            chunk,
            place,
            class: Class::Deadline,
            release: self.release,
            patience: self.patience,
            unreached: Unreached::GiveUp,
        };
        self.wait(want)
    }

    /// As `Handle::fetch_blocking`, but a signal or a client that leaves ends it at once.
    fn wait(&self, want: Want) -> Result<Bytes, Failure> {
        if self.reach == Reach::Store {
            let read = self.handle.store().read(want.chunk);
            return match read {
                Ok(chunk) => Ok(chunk.bytes().clone()),
                Err(e) => Err(offline::refusal(want.chunk.id, &format!("{}: {e}", offline::REFUSED)).into()),
            };
        }
        let (answered, answer) = sync_channel(1);
        // Whoever has given up takes no answer.
        let id = self
            .handle
            .fetch(want, Box::new(move |result| drop(answered.try_send(result))));
        loop {
            match answer.recv_timeout(CANCEL_LOOK) {
                Ok(result) => return Ok(result?),
                Err(RecvTimeoutError::Disconnected) => return Err(FetchError::Shutdown.into()),
                Err(RecvTimeoutError::Timeout) if self.cancel.is_cancelled() => {
                    self.handle.cancel(id);
                    return Err(Failure::interrupted());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Chunks for NodeChunks<'_> {
    fn root(&self, release: ReleaseId) -> Result<VerifiedChunk, Failure> {
        self.node(release.root())
    }

    fn node(&self, chunk: ChunkRef) -> Result<VerifiedChunk, Failure> {
        let bytes = self.get(chunk, None)?;
        // The node has verified them; hashing a manifest node or a pack once more is what the type costs.
        VerifiedChunk::verify(chunk.id, bytes).map_err(|e| Failure::new(Kind::Content, e.to_string()))
    }

    fn placed(&self, chunk: ChunkRef, place: BlobPlace) -> Result<Bytes, Failure> {
        self.get(chunk, Some(place))
    }
}

impl Blobs for NodeChunks<'_> {
    fn take(
        &self,
        blob: &ChunkId,
        dest: Dest<'_>,
        dress: &mut dyn FnMut(&std::fs::File) -> io::Result<()>,
    ) -> Result<Took, Failure> {
        // What is to stay whole is not given to somebody who may remove it; a pinned release may have the same file as this one.
        if self.handle.store().has_pins() {
            return Ok(Took::MustCopy);
        }
        Ok(match self.handle.store().take_blob(blob, dest, dress)? {
            Taken::Moved => Took::Moved,
            Taken::MustCopy => Took::MustCopy,
        })
    }
}

impl Stock for Shared {
    fn is_on(&self, device: u64) -> bool {
        // A store that cannot be looked at may be anywhere: what it holds then counts as moved. Where something is pinned nothing is moved.
        !self.handle.store().has_pins() && std::fs::metadata(&self.config.state).map_or(true, |meta| meta.dev() == device)
    }

    fn holds(&self, chunk: &ChunkId) -> bool {
        self.handle.store().has(chunk)
    }
}

/// Chunks of one release, for a mount.
struct NodeSource {
    handle: Handle,
    /// What peers know it by: a mounted subdirectory has a root of its own that nobody else has heard of.
    release: ReleaseId,
    held: Held,
}

impl Source for NodeSource {
    fn chunk(&self, mut want: Want, reply: Reply) -> Fetching {
        want.release = self.release;
        let WantId(id) = self.handle.fetch(want, reply);
        Fetching(id)
    }

    fn let_go(&self, Fetching(id): Fetching) {
        self.handle.cancel(WantId(id));
    }

    fn is_held(&self, want: &Want) -> bool {
        self.handle.store().has(&want.chunk.id)
    }

    fn held_bytes(&self) -> u64 {
        self.held.bytes()
    }

    fn backing(&self, blob: ChunkId, bytes: u64) -> Option<Backing> {
        lend(self.handle.store(), blob, bytes)
    }
}

/// The store's file of a blob of so many bytes, where it has all of it.
pub(super) fn lend(store: &Arc<Store>, blob: ChunkId, bytes: u64) -> Option<Backing> {
    let Lent { file, lease, .. } = store.lend(&blob).filter(|lent| lent.bytes == bytes)?;
    let lease = Box::new(lease);
    Some(Backing { file, lease })
}
