//! The ways of others to the node's chunks: `tree` and `export` wait for them, fs is called back.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId, VerifiedChunk};
use ares_core::swarm::{BlobPlace, Class, FetchError, Unreached, Want};
use ares_fs::{Backing, Fetching, Reply, Source};
use ares_node::Handle;
use ares_node::api::WantId;
use ares_node::store::{Dest, Lent, Taken};
use bytes::Bytes;

use super::Shared;
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
        NodeChunks {
            handle: &self.handle,
            release,
            patience: self.config.patience,
            cancel: cancel.clone(),
        }
    }
}

/// Chunks of one release, for a thread that waits.
pub(crate) struct NodeChunks<'a> {
    handle: &'a Handle,
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
        Ok(match self.handle.store().take_blob(blob, dest, dress)? {
            Taken::Moved => Took::Moved,
            Taken::MustCopy => Took::MustCopy,
        })
    }
}

impl Stock for Shared {
    fn is_on(&self, device: u64) -> bool {
        // A store that cannot be looked at may be anywhere: what it holds then counts as moved.
        std::fs::metadata(&self.config.state).map_or(true, |meta| meta.dev() == device)
    }

    fn holds(&self, chunk: &ChunkId) -> bool {
        self.handle.store().has(chunk)
    }
}

/// Chunks of one release, for a mount.
pub(crate) struct NodeSource {
    handle: Handle,
    /// What peers know it by: a mounted subdirectory has a root of its own that nobody else has heard of.
    release: ReleaseId,
}

impl NodeSource {
    /// Of `release`, whatever the wants say.
    pub(crate) fn new(handle: Handle, release: ReleaseId) -> Self {
        Self { handle, release }
    }
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

    fn backing(&self, blob: ChunkId, bytes: u64) -> Option<Backing> {
        let Lent { file, lease, .. } = self.handle.store().lend(&blob).filter(|lent| lent.bytes == bytes)?;
        let lease = Box::new(lease);
        Some(Backing { file, lease })
    }
}
