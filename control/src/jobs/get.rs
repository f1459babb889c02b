//! Brings what a link names into the store and writes it to a place of the user's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use ares_core::link::Link;
use ares_core::manifest::Walk;
use ares_node::download::{DownloadJob, DownloadProgress, NODES_AHEAD, download};

use super::progress::sampled;
use crate::admin::proto::{Outcome, Overwrite, Phase, Progress, SharedSink};
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::export::{self, Counters};
use crate::tree;

/// Entries and bytes beyond which a release is taken for hostile: a few nodes that name each other over and over say any number, and
/// walking them would never end.
const ENTRIES_MAX: u64 = 1 << 30;
const BYTES_MAX: u64 = 1 << 50;

pub(super) fn run(
    daemon: &Shared,
    link: &Link,
    dest: &Path,
    overwrite: Overwrite,
    sink: &SharedSink,
    cancel: &Cancel,
) -> Result<Outcome, Failure> {
    let start = Instant::now();
    daemon.hint(link);
    let chunks = daemon.chunks(link.release, cancel);
    let found = tree::find(&chunks, link.release, &link.inside)?;
    let totals = export::totals(&found);
    if totals.entries > ENTRIES_MAX || totals.bytes > BYTES_MAX {
        let (entries, bytes) = (totals.entries, totals.bytes);
        let message = format!("the release says that it has {entries} entries of {bytes} bytes: more than can be meant");
        return Err(Failure::new(Kind::Content, message).help("get the part that you need: LINK/path"));
    }
    // A destination that cannot be written to is found before hours of fetching, not after.
    let place = export::Place::open(dest, &found, link)?;

    daemon.adopt(link, &found.root)?;

    let progress = DownloadProgress::default();
    let sample = || Progress {
        phase: Phase::Fetch,
        bytes_done: progress.bytes_done.load(Relaxed),
        bytes_total: progress.bytes_total.load(Relaxed),
        items_done: progress.entries_done.load(Relaxed),
        items_total: 0,
    };
    // A symlink is all in its entry.
    if let Some(root) = found.as_root() {
        let job = DownloadJob {
            release: link.release,
            bytes: root.totals().bytes,
            patience: daemon.config.patience,
        };
        let stop: ares_node::download::Cancel = Arc::default();
        let flag = Arc::clone(&stop);
        cancel.on_cancel(move || flag.store(true, Relaxed));
        let walk = Walk::new(&root, NODES_AHEAD);
        sampled(&**sink, cancel, &sample, || {
            download(&daemon.handle, &job, walk, &progress, &stop)
        })?;
        if link.inside.is_empty() {
            daemon.complete(link)?;
        }
    }

    let counters = Counters::default();
    let sample = || Progress {
        phase: Phase::Write,
        bytes_done: counters.bytes.load(Relaxed),
        bytes_total: totals.bytes,
        items_done: counters.entries.load(Relaxed),
        items_total: totals.entries,
    };
    sampled(&**sink, cancel, &sample, || {
        export::run((&chunks, &chunks), &found, place, overwrite, &counters, cancel)
    })?;
    let reused_bytes = progress.bytes_reused.load(Relaxed);
    Ok(Outcome::Got {
        release: link.release.to_string(),
        bytes: counters.bytes.load(Relaxed),
        entries: counters.entries.load(Relaxed),
        fetched_bytes: progress.bytes_done.load(Relaxed).saturating_sub(reused_bytes),
        reused_bytes,
        unchanged: counters.unchanged.load(Relaxed),
        elapsed_s: start.elapsed().as_secs_f64(),
    })
}
