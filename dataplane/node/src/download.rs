//! Brings everything below one place of a release to where the node keeps it: walks the manifest, wants its chunks, keeps a bounded number
//! of wants under way. Held chunks are not asked again, which is all there is to resuming.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, Mismatch, ReleaseId, VerifiedChunk};
use ares_core::knobs::Knob;
use ares_core::limits::WANTED_WINDOWS;
use ares_core::manifest::{Content, File, ManifestError, Root, Walk, WalkItem, WalkStep};
use ares_core::swarm::{BlobPlace, Class, FetchError, Unreached, Want};
use bytes::Bytes;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::api::{Sink, WantId};
use crate::handle::Handle;
use crate::store::{ReadError, StoreError};

/// Wants under way, however small: bounds the memory for a tree of tiny packs.
const WANTS_MAX: usize = 8192;

/// Manifest nodes a walk had better ask for ahead: hides their round trips.
pub const NODES_AHEAD: usize = 64;

/// How often a download looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// What a download has done so far; shared with whoever shows it.
#[derive(Debug, Default)]
pub struct DownloadProgress {
    /// File bytes to bring, once the root is known.
    pub bytes_total: AtomicU64,
    /// File bytes that are held.
    pub bytes_done: AtomicU64,
    /// Of these, bytes that were held before or are held elsewhere, and were not asked from anybody.
    pub bytes_reused: AtomicU64,
    /// Files, symlinks and directories seen.
    pub entries_done: AtomicU64,
    /// How far it has come in the walk's order, for whoever writes files meanwhile.
    pub reached: Reached,
}

/// Up to where, in the order of the walk, all is held. Who walks the same tree behind a download waits here.
#[derive(Debug, Default)]
pub struct Reached {
    state: Mutex<Reach>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Reach {
    items: u64,
    is_over: bool,
}

/// What became of waiting for a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachable {
    /// All that this many first items of the walk name is held; `u64::MAX` when all is.
    Held(u64),
    /// Not yet, and the time is up.
    NotYet,
    /// The download has failed.
    Never,
}

impl Reached {
    fn state(&self) -> MutexGuard<'_, Reach> {
        // Numbers are set whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all that the first `items` items of the walk name is held, for `time` at most.
    pub fn wait(&self, items: u64, time: Duration) -> Reachable {
        let waited = self
            .moved
            .wait_timeout_while(self.state(), time, |reach| reach.items < items && !reach.is_over);
        let reach = waited.unwrap_or_else(PoisonError::into_inner).0;
        match (reach.items >= items, reach.is_over) {
            (true, _) => Reachable::Held(reach.items),
            (false, true) => Reachable::Never,
            (false, false) => Reachable::NotYet,
        }
    }

    fn advance(&self, items: u64) {
        let mut reach = self.state();
        if reach.items < items {
            reach.items = items;
            self.moved.notify_all();
        }
    }

    fn end(&self, is_whole: bool) {
        let mut reach = self.state();
        reach.is_over = true;
        if is_whole {
            reach.items = u64::MAX;
        }
        self.moved.notify_all();
    }
}

/// Ends a download early when set.
pub type Cancel = Arc<AtomicBool>;

/// What is to be brought.
#[derive(Clone, Debug)]
pub struct DownloadJob {
    /// The release that all chunks belong to.
    pub release: ReleaseId,
    /// File bytes that the walk will come by, for progress.
    pub bytes: u64,
    /// How long one chunk may take before the download gives up.
    pub patience: Duration,
    /// How urgent manifest nodes are: content behind them is bulk in any case.
    pub nodes: Class,
}

/// Why a download ended early. What has arrived is kept.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// A chunk could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Bytes handed over by this very node are wrong: memory or program at fault.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The publisher's manifest is wrong.
    #[error("release {release}: {error}")]
    Manifest {
        /// The release.
        release: ReleaseId,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// A chunk just stored cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever asked for it gave up.
    #[error("cancelled")]
    Cancelled,
}

/// Brings the root of a release: from the store or from peers.
pub fn fetch_root(handle: &Handle, release: ReleaseId, patience: Duration) -> Result<Root, DownloadError> {
    let chunk = release.root();
    let want = Want {
        chunk,
        place: None,
        class: Class::Deadline,
        release,
        patience,
        unreached: Unreached::GiveUp,
    };
    let bytes = handle.fetch_blocking(want)?;
    let chunk = VerifiedChunk::verify(release.0, bytes)?;
    Root::parse(&chunk).map_err(|error| DownloadError::Manifest { release, error })
}

/// Brings all that `walk` comes by, on the calling thread: into the store, or merely here on a node that keeps nothing. A walk over a whole
/// release is `Walk::new(root, NODES_AHEAD)`.
pub fn download(
    handle: &Handle,
    job: &DownloadJob,
    walk: Walk,
    progress: &DownloadProgress,
    cancel: &Cancel,
) -> Result<(), DownloadError> {
    let (reports, inbox) = unbounded();
    let run = Run {
        handle,
        job,
        progress,
        reports,
        open: BTreeMap::new(),
        open_bytes: 0,
        next: 0,
        items: 0,
    };
    let result = run.run(walk, &inbox, cancel);
    progress.reached.end(result.is_ok());
    result
}

/// One download under way.
struct Run<'a> {
    handle: &'a Handle,
    job: &'a DownloadJob,
    progress: &'a DownloadProgress,
    reports: Sender<Report>,
    open: BTreeMap<u64, Open>,
    open_bytes: u64,
    next: u64,
    /// Items that the walk has given out.
    items: u64,
}

/// A want under way.
struct Open {
    id: WantId,
    what: What,
    chunk: ChunkRef,
}

#[derive(Clone, Copy)]
enum What {
    Node,
    /// `item`: items of the walk before the one that names it.
    Content {
        reused: bool,
        item: u64,
    },
}

struct Report {
    number: u64,
    /// With a manifest node's bytes where nobody keeps them.
    result: Result<Option<Bytes>, FetchError>,
}

impl Run<'_> {
    fn run(mut self, walk: Walk, inbox: &Receiver<Report>, cancel: &AtomicBool) -> Result<(), DownloadError> {
        let result = self.walk(walk, inbox, cancel);
        if result.is_err() {
            for open in self.open.values() {
                self.handle.cancel(open.id);
            }
        }
        result
    }

    fn walk(&mut self, mut walk: Walk, inbox: &Receiver<Report>, cancel: &AtomicBool) -> Result<(), DownloadError> {
        let mut last_pack = None;
        self.progress.bytes_total.store(self.job.bytes, Ordering::Relaxed);
        loop {
            let mut waiting = false;
            // Wants under way: enough that the scheduler always has a choice beyond what is in flight.
            let wanted_bytes_max = WANTED_WINDOWS * self.handle.settings().bytes(Knob::GetWindow);
            while !waiting && self.open.len() < WANTS_MAX && self.open_bytes < wanted_bytes_max {
                match walk.poll().map_err(|error| self.manifest_error(error))? {
                    WalkStep::Node(chunk) => self.want(chunk, None, What::Node),
                    WalkStep::Item(item) => {
                        self.on_item(&item, &mut last_pack);
                        self.items += 1;
                    }
                    WalkStep::Wait => waiting = true,
                    WalkStep::Done if self.open.is_empty() => return Ok(()),
                    WalkStep::Done => waiting = true,
                }
            }
            self.tell_reached();
            self.await_report(&mut walk, inbox, cancel)?;
        }
    }

    /// Wants are numbered in the order of the walk, so the first open one for content is how far all is held.
    fn tell_reached(&self) {
        let first = self.open.values().find_map(|open| match open.what {
            What::Content { item, .. } => Some(item),
            What::Node => None,
        });
        self.progress.reached.advance(first.unwrap_or(self.items));
    }

    /// Waits for one want to end, takes all others that have ended too.
    fn await_report(&mut self, walk: &mut Walk, inbox: &Receiver<Report>, cancel: &AtomicBool) -> Result<(), DownloadError> {
        let first = loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(DownloadError::Cancelled);
            }
            match inbox.recv_timeout(CANCEL_POLL) {
                Ok(report) => break report,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(FetchError::Shutdown.into()),
            }
        };
        for report in std::iter::once(first).chain(inbox.try_iter()) {
            let Some(open) = self.open.remove(&report.number) else {
                continue;
            };
            self.open_bytes -= u64::from(open.chunk.len);
            let bytes = report.result?;
            match open.what {
                What::Node => walk.on_node(match bytes {
                    Some(bytes) => VerifiedChunk::verify(open.chunk.id, bytes)?,
                    None => self.handle.store().read(open.chunk)?,
                }),
                What::Content { reused, .. } => {
                    let bytes = u64::from(open.chunk.len);
                    self.progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
                    if reused {
                        self.progress.bytes_reused.fetch_add(bytes, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(())
    }

    fn on_item(&mut self, item: &WalkItem, last_pack: &mut Option<ChunkId>) {
        match item {
            WalkItem::Enter { .. } => self.count_entry(),
            WalkItem::Leave => {}
            WalkItem::Symlink { .. } => self.count_entry(),
            WalkItem::File { file, .. } => {
                self.count_entry();
                self.on_file(file, last_pack);
            }
            WalkItem::Chunk { chunk, place } => self.want_content(*chunk, Some(*place)),
        }
    }

    fn on_file(&mut self, file: &File, last_pack: &mut Option<ChunkId>) {
        match &file.content {
            Content::Inline(bytes) => {
                self.progress.bytes_done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            // Files of a pack stand side by side, so the last pack is all there is to remember.
            Content::Packed { pack, .. } if *last_pack != Some(pack.id) => {
                *last_pack = Some(pack.id);
                self.want_content(*pack, None);
            }
            // A file's own chunks follow it in the walk.
            Content::Packed { .. } | Content::Chunks(_) | Content::List(_) => {}
        }
    }

    fn want_content(&mut self, chunk: ChunkRef, place: Option<BlobPlace>) {
        let reused = self.handle.store().has(&chunk.id);
        let item = self.items;
        self.want(chunk, place, What::Content { reused, item });
    }

    fn want(&mut self, chunk: ChunkRef, place: Option<BlobPlace>, what: What) {
        let number = self.next;
        self.next += 1;
        let reports = self.reports.clone();
        // A download that has ended needs no report.
        let report = move |result| drop(reports.send(Report { number, result }));
        let class = match what {
            What::Node => self.job.nodes,
            What::Content { .. } => Class::Bulk,
        };
        let want = Want {
            chunk,
            place,
            class,
            release: self.job.release,
            patience: self.job.patience,
            unreached: Unreached::GiveUp,
        };
        let id = match self.handle.sink() {
            Sink::Store => self.handle.hold(want, Box::new(move |held| report(held.map(|()| None)))),
            Sink::Discard => {
                let is_node = matches!(what, What::Node);
                self.handle.fetch(
                    want,
                    Box::new(move |result| report(result.map(|bytes| is_node.then_some(bytes)))),
                )
            }
        };
        self.open_bytes += u64::from(chunk.len);
        self.open.insert(number, Open { id, what, chunk });
    }

    fn manifest_error(&self, error: ManifestError) -> DownloadError {
        let release = self.job.release;
        DownloadError::Manifest { release, error }
    }

    fn count_entry(&self) {
        self.progress.entries_done.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_a_download_hears_how_far_it_is_and_how_it_ended() {
        let moment = Duration::from_millis(1);
        for (is_whole, at_the_end) in [(true, Reachable::Held(u64::MAX)), (false, Reachable::Never)] {
            let reached = Reached::default();
            assert_eq!(reached.wait(0, moment), Reachable::Held(0));
            assert_eq!(reached.wait(1, moment), Reachable::NotYet);
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| reached.wait(5, Duration::from_secs(60)));
                reached.advance(7);
                reached.advance(6);
                assert_eq!(waiting.join().expect("no panic"), Reachable::Held(7), "it never goes back");
            });
            reached.end(is_whole);
            assert_eq!(reached.wait(8, Duration::from_secs(60)), at_the_end);
            assert!(
                matches!(reached.wait(7, moment), Reachable::Held(_)),
                "what is held stays held"
            );
        }
    }
}
