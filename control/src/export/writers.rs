//! Small files, written by a few threads while the walk goes on: it hands them over in batches, and waits where too many are unwritten.
//! The first error is kept and ends everything.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ares_core::manifest::{Meta, Name};
use bytes::Bytes;

use super::Counters;
use super::dir::{Dir, Standing, may_replace};
use crate::admin::proto::Overwrite;
use crate::error::{Failure, Kind};

/// Threads that write: the kernel makes and closes files on as many cores, but a directory takes one new name at a time.
const WRITERS_MAX: usize = 4;

/// Files handed over together: what the hand-over costs is shared by them.
const BATCH: usize = 32;

/// Batches that wait for a writer. Each file of them holds a directory open and at most 64 KiB.
const BATCHES_MAX: usize = 8;

/// A small file that is to be.
pub(super) struct SmallFile {
    pub(super) dir: Dir,
    pub(super) name: Name,
    pub(super) meta: Meta,
    pub(super) bytes: Bytes,
}

impl SmallFile {
    fn write(self, overwrite: Overwrite, counters: &Counters) -> Result<(), Failure> {
        let Self { dir, name, meta, bytes } = self;
        match dir.standing(&name)? {
            Standing::Nothing => dir.file(&name, &bytes, &meta, Overwrite::Refuse)?,
            Standing::File(there) if there.holds(&bytes)? => {
                counters.unchanged.fetch_add(1, Relaxed);
                there.dress(&meta)?;
            }
            standing => {
                may_replace(&dir, &name, standing.in_the_way(), overwrite)?;
                dir.file(&name, &bytes, &meta, Overwrite::Replace)?;
            }
        }
        counters.bytes.fetch_add(bytes.len() as u64, Relaxed);
        counters.entries.fetch_add(1, Relaxed);
        dir.close()
    }
}

/// Files on their way from the walk to the writers.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to write, or nothing more will come.
    filled: Condvar,
    /// There is room, or a writer has failed.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Vec<SmallFile>>,
    is_closed: bool,
    failed: Option<Failure>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Batches go in and out whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, batch: Vec<SmallFile>) -> Result<(), Failure> {
        let is_full = |state: &mut State| state.batches.len() >= BATCHES_MAX && state.failed.is_none();
        let waited = self.emptied.wait_while(self.state(), is_full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.failed {
            Some(failure) => Err(failure.clone()),
            None => {
                state.batches.push_back(batch);
                self.filled.notify_one();
                Ok(())
            }
        }
    }

    fn pop(&self) -> Option<Vec<SmallFile>> {
        let is_idle = |state: &mut State| state.batches.is_empty() && !state.is_closed;
        let waited = self.filled.wait_while(self.state(), is_idle);
        let batch = waited.unwrap_or_else(PoisonError::into_inner).batches.pop_front();
        self.emptied.notify_one();
        batch
    }

    /// Nothing more comes; after a failure nothing that waits is written either.
    fn close(&self, is_failed: bool) {
        let mut state = self.state();
        state.is_closed = true;
        if is_failed {
            state.batches.clear();
        }
        self.filled.notify_all();
    }

    fn fail(&self, failure: Failure) {
        let mut state = self.state();
        state.failed.get_or_insert(failure);
        state.batches.clear();
        self.emptied.notify_all();
    }

    fn write_all(&self, overwrite: Overwrite, counters: &Counters) {
        while let Some(batch) = self.pop() {
            if let Err(failure) = batch.into_iter().try_for_each(|file| file.write(overwrite, counters)) {
                self.fail(failure);
            }
        }
    }
}

/// Where the walk puts small files.
pub(super) struct Outbox<'a> {
    queue: &'a Queue,
    batch: Vec<SmallFile>,
}

impl Outbox<'_> {
    /// To be written soon. The error is that of an earlier file.
    pub(super) fn put(&mut self, file: SmallFile) -> Result<(), Failure> {
        self.batch.push(file);
        if self.batch.len() < BATCH { Ok(()) } else { self.send() }
    }

    /// Keeps none back: the walk is about to wait. An earlier file's error is told also where there is nothing to send.
    pub(super) fn send(&mut self) -> Result<(), Failure> {
        match self.batch.is_empty() {
            false => self.queue.push(std::mem::take(&mut self.batch)),
            true => self.queue.state().failed.clone().map_or(Ok(()), Err),
        }
    }
}

/// Runs `walk` on this thread beside the writers; returns when all it has put is written.
pub(super) fn beside(
    overwrite: Overwrite,
    counters: &Counters,
    walk: impl FnOnce(&mut Outbox<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let queue = Queue::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let walked = std::thread::scope(|scope| {
        let mut started = Ok(());
        for n in 0..cores.min(WRITERS_MAX) {
            let writer = std::thread::Builder::new().name(format!("write-{n}"));
            match writer.spawn_scoped(scope, || queue.write_all(overwrite, counters)) {
                Ok(_) => {}
                // Fewer will do.
                Err(e) if n > 0 => tracing::debug!("{n} threads write files: {e}"),
                Err(e) => started = Err(e),
            }
        }
        let mut outbox = Outbox {
            queue: &queue,
            batch: Vec::new(),
        };
        let walked =
            match started {
                Err(e) => Err(Failure::new(Kind::Failed, format!("no thread to write files: {e}"))
                    .help("raise the limit on tasks (ulimit -u)")),
                Ok(()) => walk(&mut outbox).and_then(|()| outbox.send()),
            };
        queue.close(walked.is_err());
        walked
    });
    // Of two errors the writer's came first: the walk only hears of it, or is cut short for another reason meanwhile.
    let failed = queue.state.into_inner().unwrap_or_else(PoisonError::into_inner).failed;
    failed.map_or(walked, Err)
}
