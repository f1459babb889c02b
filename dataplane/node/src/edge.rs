//! Pull-through: an edge takes part in releases because others ask it for them. Here the threads that read what chunks such a release has,
//! so that nobody can make an edge fetch anything else; `hub/edge.rs` decides what is pulled for whom.

use ares_core::chunk::{ChunkId, ChunkRef, ChunkTag, ReleaseId, VerifiedChunk};
use ares_core::manifest::{Content, Walk, WalkItem, WalkStep};
use ares_core::swarm::{Class, FetchError, Unreached, Want};
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, unbounded};

use crate::download::{DownloadError, NODES_AHEAD, fetch_root};
use crate::handle::Handle;
use crate::mailbox::ToHub;

/// Threads that read manifests.
pub(crate) const READERS: usize = 2;

/// Chunks of one release that an edge may pull, 8 bytes of memory each: beyond, a release is to be pinned instead.
const CHUNKS_MAX: usize = 1 << 21;

/// How long a manifest node may take.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The chunks of a release, manifest nodes among them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents(Box<[ChunkTag]>);

impl Contents {
    fn new(mut tags: Vec<ChunkTag>) -> Self {
        tags.sort_unstable();
        tags.dedup();
        Self(tags.into())
    }

    /// Whether the release has that chunk.
    pub(crate) fn has(&self, chunk: ChunkId) -> bool {
        self.0.binary_search(&chunk.into()).is_ok()
    }
}

/// One thread that reads manifests, which it gets like any other chunks.
pub(crate) struct Reader {
    pub(crate) handle: Handle,
    pub(crate) inbox: Receiver<ReleaseId>,
    pub(crate) hub: Sender<ToHub>,
}

impl Reader {
    /// Runs until the hub is gone.
    pub(crate) fn run(self) {
        while let Ok(release) = self.inbox.recv() {
            let contents = contents(&self.handle, release).map_err(|error| error.to_string());
            // As with all that is told to the hub.
            let _ = self.hub.send(ToHub::Contents { release, contents });
        }
    }
}

/// Why the chunks of a release are not known.
#[derive(Debug, thiserror::Error)]
enum ContentsError {
    /// Its manifest could not be had, or is wrong.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// It has too many.
    #[error("it has more than {CHUNKS_MAX} chunks: pin it to have it here")]
    TooMany,
}

fn contents(handle: &Handle, release: ReleaseId) -> Result<Contents, ContentsError> {
    let root = fetch_root(handle, release, PATIENCE)?;
    let totals = root.totals();
    handle
        .store()
        .add_release(release, "", totals.bytes, totals.entries)
        .map_err(DownloadError::from)?;
    let broken = |error| DownloadError::Manifest { release, error };
    let (reply, answers) = unbounded::<(ChunkId, Result<Bytes, FetchError>)>();
    let mut walk = Walk::new(&root, NODES_AHEAD);
    let mut tags = vec![ChunkTag::from(release.0)];
    loop {
        if tags.len() > 2 * CHUNKS_MAX {
            tags = Contents::new(tags).0.into_vec();
            if tags.len() > CHUNKS_MAX {
                return Err(ContentsError::TooMany);
            }
        }
        match walk.poll().map_err(broken)? {
            WalkStep::Node(node) => {
                tags.push(node.id.into());
                let reply = reply.clone();
                // Whoever has given up takes no answer.
                let done = move |result| drop(reply.send((node.id, result)));
                handle.fetch(want(release, node), Box::new(done));
            }
            WalkStep::Item(WalkItem::Chunk { chunk, .. }) => tags.push(chunk.id.into()),
            WalkStep::Item(WalkItem::File { file, .. }) => {
                if let Content::Packed { pack, .. } = file.content {
                    tags.push(pack.id.into());
                }
            }
            WalkStep::Item(_) => {}
            WalkStep::Wait => {
                let (node, bytes) = answers.recv().map_err(|_| DownloadError::from(FetchError::Shutdown))?;
                let bytes = bytes.map_err(DownloadError::from)?;
                walk.on_node(VerifiedChunk::verify(node, bytes).map_err(DownloadError::from)?);
            }
            WalkStep::Done => break,
        }
    }
    let contents = Contents::new(tags);
    match contents.0.len() > CHUNKS_MAX {
        true => Err(ContentsError::TooMany),
        false => Ok(contents),
    }
}

fn want(release: ReleaseId, chunk: ChunkRef) -> Want {
    Want {
        chunk,
        place: None,
        class: Class::Deadline,
        release,
        patience: PATIENCE,
        unreached: Unreached::GiveUp,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A release of these chunks.
    pub(crate) fn contents_of(chunks: &[ChunkId]) -> Contents {
        Contents::new(chunks.iter().map(|chunk| (*chunk).into()).collect())
    }
}
