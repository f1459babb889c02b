//! What the publish workers do: jobs, what they share, and how one of them fails for all.
//!
//! ```text
//! Dir:  list -> plan packs -> push Dir, Small, Big jobs        the last job of a directory to end builds its nodes and hands its
//! Small: read a pack's files -> hash -> store                  reference to the directory around it; the top's is the release
//! Big:  parts: read, cut, hash -> list -> take the file in       any number of workers on one file
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use ares_core::chunk::VerifiedChunk;
use ares_core::manifest::Top;

use super::big::{Big, BigJob};
use super::buffers::Buffers;
use super::pool::Pool;
use super::small::SmallJob;
use super::tree::{Dir, DirJob};
use super::{ImportError, ImportProgress, PublishOptions};
use crate::store::{Store, StoreError, StoreWriter};

/// Times a directory is listed again, or a file read again, because it changed meanwhile.
pub(super) const TRIES_MAX: u32 = 3;

pub(super) enum Job {
    /// List a directory.
    Dir(DirJob),
    /// Read the small files between two cuts of a directory.
    Small(SmallJob),
    /// Open a big file.
    Open(BigJob),
    /// Help with the parts of one.
    Parts(Arc<Big>),
}

/// What the workers share.
pub(super) struct Work<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) options: &'a PublishOptions,
    pub(super) progress: &'a ImportProgress,
    pub(super) pool: Pool<Job>,
    pub(super) buffers: Arc<Buffers>,
    /// Device and inode numbers of the directories that are left out.
    pub(super) without: Vec<(u64, u64)>,
    /// Directories that were found and not yet listed.
    pub(super) unlisted: AtomicUsize,
    /// Called when a directory was listed and before anything in it is read: where a test changes things.
    #[cfg(test)]
    pub(super) on_listed: Option<&'a (dyn Fn(&Path) + Sync)>,
    outcome: Mutex<Option<Result<Top, ImportError>>>,
    over: AtomicBool,
}

/// One worker: what is its own.
pub(super) struct Worker<'a> {
    pub(super) work: &'a Work<'a>,
    writer: StoreWriter,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        store: &'a Arc<Store>,
        options: &'a PublishOptions,
        progress: &'a ImportProgress,
        threads: usize,
        without: Vec<(u64, u64)>,
        first: Job,
    ) -> Self {
        let (pool, buffers) = (Pool::new(first), Buffers::new(threads));
        Self {
            store,
            options,
            progress,
            pool,
            buffers,
            without,
            unlisted: AtomicUsize::new(1),
            #[cfg(test)]
            on_listed: None,
            outcome: Mutex::new(None),
            over: AtomicBool::new(false),
        }
    }

    /// Ends the work: with the top, or with the first error.
    pub(super) fn end(&self, outcome: Result<Top, ImportError>) {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(outcome);
        self.over.store(true, Relaxed);
        self.pool.stop();
    }

    /// Whether what is still at work does so in vain; looked at between the parts of a long job.
    pub(super) fn is_over(&self) -> bool {
        if self.progress.is_cancelled() {
            self.end(Err(ImportError::Cancelled));
        }
        self.over.load(Relaxed)
    }

    /// What all came to.
    pub(super) fn outcome(self) -> Result<Top, ImportError> {
        let outcome = self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.expect("the job that ends last sets the outcome")
    }
}

impl<'a> Worker<'a> {
    pub(super) fn new(work: &'a Work<'a>) -> Self {
        Self {
            work,
            writer: work.store.writer(),
        }
    }

    pub(super) fn run(mut self) {
        let work = self.work;
        work.pool.work(|job| {
            let done = match job {
                _ if work.is_over() => Ok(()),
                Job::Dir(job) => job.run(&mut self),
                Job::Small(job) => job.run(&mut self),
                Job::Open(job) => job.run(&mut self),
                Job::Parts(big) => big.help(&mut self),
            };
            if let Err(error) = done {
                work.end(Err(error));
            }
        });
    }

    /// Stores a manifest node or pack.
    pub(super) fn put(&mut self, chunk: &VerifiedChunk) -> Result<(), StoreError> {
        self.writer.put(chunk, None)
    }

    pub(super) fn writer(&mut self) -> &mut StoreWriter {
        &mut self.writer
    }

    /// A directory's job has ended; where it was the last, the directory has, too.
    pub(super) fn end_job_of(&mut self, dir: &Arc<Dir>) -> Result<(), ImportError> {
        super::tree::end_job(self, dir)
    }

    pub(super) fn count_done(&self, files: u64, bytes: u64) {
        self.work.progress.files_done.fetch_add(files, Relaxed);
        self.work.progress.bytes_done.fetch_add(bytes, Relaxed);
    }

    pub(super) fn at(&self, path: &Path) {
        self.work.progress.at(path);
    }
}
