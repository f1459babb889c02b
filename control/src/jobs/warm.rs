//! Brings what a link names into the store and writes it nowhere else: whoever reads it then, by a mount or otherwise, waits for nobody.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use ares_core::link::Link;
use ares_core::swarm::Class;
use ares_node::download::DownloadProgress;

use super::get::{fetch, fetching, totals};
use super::progress::sampled;
use crate::admin::proto::{Outcome, SharedSink};
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::Failure;
use crate::tree;

pub(super) fn run(daemon: &Shared, link: &Link, sink: &SharedSink, cancel: &Cancel) -> Result<Outcome, Failure> {
    let start = Instant::now();
    daemon.hint(link);
    let found = tree::find(&daemon.chunks(link.release, cancel), link.release, &link.inside)?;
    let totals = totals(&found)?;
    daemon.adopt(link, &found.root)?;
    let progress = DownloadProgress::default();
    // A symlink is all in its entry.
    if let Some(root) = found.as_root() {
        let stop = cancel.flag();
        sampled(&**sink, cancel, &|| fetching(&progress), || {
            fetch(daemon, link, &root, Class::Bulk, &progress, &stop)
        })?;
        if link.inside.is_empty() {
            daemon.complete(link)?;
        }
    }
    let reused_bytes = progress.bytes_reused.load(Relaxed);
    Ok(Outcome::Warmed {
        release: link.release.to_string(),
        bytes: totals.bytes,
        entries: totals.entries,
        fetched_bytes: progress.bytes_done.load(Relaxed).saturating_sub(reused_bytes),
        reused_bytes,
        elapsed_s: start.elapsed().as_secs_f64(),
    })
}
