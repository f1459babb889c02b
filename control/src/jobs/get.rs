//! Brings what a link names into the store and writes it to a place of the user's: in one order, so that files are written while later
//! ones are still being fetched.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ares_core::link::Link;
use ares_core::manifest::{Root, Totals, Walk};
use ares_core::swarm::Class;
use ares_node::download::{DownloadError, DownloadJob, DownloadProgress, NODES_AHEAD, Reachable, Reached, download};

use super::progress::sampled;
use crate::admin::proto::{Outcome, Overwrite, Phase, Progress, SharedSink};
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::export::{self, Counters, Pace, Sources, Unhurried};
use crate::tree::{self, Found};

/// Entries and bytes beyond which a release is taken for hostile: a few nodes that name each other over and over say any number, and
/// walking them would never end.
const ENTRIES_MAX: u64 = 1 << 30;
const BYTES_MAX: u64 = 1 << 50;

/// How often writing looks whether it is still wanted while it waits for the network.
const LOOK: Duration = Duration::from_millis(100);

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
    let totals = totals(&found)?;
    // A destination that cannot be written to is found before hours of fetching, not after.
    let place = export::Place::open(dest, &found, link)?;
    if let Some(root) = found.as_root() {
        export::room::check(&place, &root, &chunks, daemon, cancel)?;
    }

    daemon.adopt(link, &found.root)?;

    let progress = DownloadProgress::default();
    let counters = Counters::default();
    let writing = || Progress {
        phase: Phase::Write,
        bytes_done: counters.bytes.load(Relaxed),
        bytes_total: totals.bytes,
        items_done: counters.entries.load(Relaxed),
        items_total: totals.entries,
    };
    // Writing ends with the command, and with a fetch that fails: it must not wait for its own bytes then.
    let ending = Cancel::new();
    let hook = ending.clone();
    cancel.on_cancel(move || hook.cancel());
    let chunks = daemon.chunks(link.release, &ending);
    let export = |pace: &dyn Pace| {
        let sources = Sources {
            chunks: &chunks,
            blobs: &chunks,
            pace,
        };
        export::run(sources, &found, place, overwrite, &counters, &ending)
    };
    match found.as_root() {
        // A symlink is all in its entry.
        None => sampled(&**sink, cancel, &writing, || export(&Unhurried))?,
        Some(root) => {
            let stop = cancel.flag();
            let (fetched, written) = std::thread::scope(|scope| {
                let behind = Behind(&progress.reached);
                let flag = Arc::clone(&stop);
                let write = move || {
                    let written = export(&behind);
                    // What cannot be written need not be fetched.
                    if written.is_err() {
                        flag.store(true, Relaxed);
                    }
                    written
                };
                let writer = std::thread::Builder::new().name("export".into()).spawn_scoped(scope, write);
                let writer = writer.map_err(|e| Failure::new(Kind::Failed, format!("no thread to write files: {e}")))?;
                let fetched = sampled(&**sink, cancel, &|| fetching(&progress), || {
                    fetch(daemon, link, &root, Class::Deadline, &progress, &stop)?;
                    if link.inside.is_empty() {
                        daemon.complete(link)?;
                    }
                    Ok::<_, DownloadError>(())
                });
                if fetched.is_err() {
                    ending.cancel();
                }
                let written = sampled(&**sink, cancel, &writing, || writer.join());
                Ok::<_, Failure>((fetched, written.unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
            })?;
            match fetched {
                // Stopped because of the other one, or with it.
                Err(DownloadError::Cancelled) => written?,
                fetched => fetched.map_err(Failure::from).and(written)?,
            }
        }
    }
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

/// What there is to bring, unless it is more than can be meant.
pub(super) fn totals(found: &Found) -> Result<Totals, Failure> {
    let totals = export::totals(found);
    sound(&totals).map(|()| totals)
}

/// Whether a release can mean what it says of its size.
pub(crate) fn sound(totals: &Totals) -> Result<(), Failure> {
    if totals.entries > ENTRIES_MAX || totals.bytes > BYTES_MAX {
        let (entries, bytes) = (totals.entries, totals.bytes);
        let message = format!("the release says that it has {entries} entries of {bytes} bytes: more than can be meant");
        return Err(Failure::new(Kind::Content, message).help("get the part that you need: LINK/path"));
    }
    Ok(())
}

/// Fetches all that is below `root`, to where the daemon's node keeps it. `nodes`: how urgent the manifest is.
pub(crate) fn fetch(
    daemon: &Shared,
    link: &Link,
    root: &Root,
    nodes: Class,
    progress: &DownloadProgress,
    stop: &ares_node::download::Cancel,
) -> Result<(), DownloadError> {
    let job = DownloadJob {
        release: link.release,
        bytes: root.totals().bytes,
        patience: daemon.patience(),
        nodes,
    };
    download(&daemon.handle, &job, Walk::new(root, NODES_AHEAD), progress, stop)
}

/// How far that is.
pub(super) fn fetching(progress: &DownloadProgress) -> Progress {
    Progress {
        phase: Phase::Fetch,
        bytes_done: progress.bytes_done.load(Relaxed),
        bytes_total: progress.bytes_total.load(Relaxed),
        items_done: progress.entries_done.load(Relaxed),
        items_total: 0,
    }
}

/// Writes behind a download.
struct Behind<'a>(&'a Reached);

impl Pace for Behind<'_> {
    fn held(&self, items: u64) -> Result<u64, Failure> {
        match self.0.wait(items, LOOK) {
            Reachable::Held(items) => Ok(items),
            Reachable::NotYet => Ok(0),
            // Its own error is the one that is told.
            Reachable::Never => Err(Failure::interrupted()),
        }
    }
}
