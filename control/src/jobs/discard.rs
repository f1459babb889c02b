//! Fetches and verifies all that a link names and keeps nothing of it: what the network delivers, without a disk at its end. For a daemon
//! that is started for this alone (`Role::Discarding`), so no request of the admin socket leads here.

use std::time::{Duration, Instant};

use ares_core::link::Link;
use ares_core::swarm::Class;
use ares_node::download::DownloadProgress;

use super::get::{fetch, fetching, totals};
use super::progress::sampled;
use crate::admin::proto::SharedSink;
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::tree;

/// What came and is gone.
pub(crate) struct Discarded {
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// Files, symlinks and directories.
    pub(crate) entries: u64,
    /// Verified bytes of chunks that came from peers, the manifest's among them. A chunk that occurs again while it is on its way comes once.
    pub(crate) fetched_bytes: u64,
    /// From the first dial to the last verified byte.
    pub(crate) elapsed: Duration,
}

/// Blocks until all of it came, or cannot be had, or nobody wants it any more.
pub(crate) fn run(daemon: &Shared, link: &Link, sink: &SharedSink, cancel: &Cancel) -> Result<Discarded, Failure> {
    let start = Instant::now();
    daemon.hint(link);
    let found = tree::find(&daemon.chunks(link.release, cancel), link.release, &link.inside)?;
    let totals = totals(&found)?;
    // A symlink is all in its entry.
    if let Some(root) = found.as_root() {
        let progress = DownloadProgress::default();
        let stop = cancel.flag();
        sampled(&**sink, cancel, &|| fetching(&progress), || {
            fetch(daemon, link, &root, Class::Deadline, &progress, &stop)
        })?;
    }
    let elapsed = start.elapsed();
    let status = daemon
        .handle
        .status()
        .map_err(|e| Failure::new(Kind::Interrupted, e.to_string()))?;
    Ok(Discarded {
        bytes: totals.bytes,
        entries: totals.entries,
        fetched_bytes: status.counters.fetched_bytes,
        elapsed,
    })
}
