//! Reads and hashes all that is held, and fetches what was wrong.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use ares_node::store::Verified;

use super::progress::sampled;
use crate::admin::proto::{Outcome, Phase, Progress, SharedSink};
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::Failure;
use crate::repair::repair;

/// How far it is.
#[derive(Default)]
struct Counters {
    chunks: AtomicU64,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
}

pub(super) fn run(daemon: &Shared, sink: &SharedSink, cancel: &Cancel) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let counters = Counters::default();
    let sample = || Progress {
        phase: Phase::Verify,
        bytes_done: counters.bytes.load(Relaxed),
        bytes_total: counters.bytes_total.load(Relaxed),
        items_done: counters.chunks.load(Relaxed),
        items_total: 0,
    };
    let verified = sampled(&**sink, cancel, &sample, || {
        daemon.handle.store().verify(&mut |done: &Verified| {
            counters.chunks.store(done.chunks, Relaxed);
            counters.bytes.store(done.bytes, Relaxed);
            counters.bytes_total.store(done.bytes_total, Relaxed);
            !cancel.is_cancelled()
        })
    });
    if cancel.is_cancelled() {
        return Err(Failure::interrupted());
    }
    let repaired = repair(daemon, cancel)?;
    Ok(Outcome::Verified {
        chunks: verified.chunks,
        bytes: verified.bytes,
        bad_chunks: verified.lost_chunks,
        lacking_releases: repaired.lacking,
        mended_releases: repaired.mended,
        whys: repaired.whys,
        elapsed_s: start.elapsed().as_secs_f64(),
    })
}
