//! Reads and hashes what is held all the time, no faster than the knob `scrub-rate` says, and has what is wrong fetched anew. Under
//! passthrough the kernel reads files that nobody hashes again: this is what finds them rotten.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ares_core::knobs::Knob;
use ares_node::store::Verified;

use crate::cancel::Cancel;
use crate::daemon::{Role, Shared};
use crate::repair::repair;

/// A pass begins so long after the one before it began, or when that ends.
const PASS_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How often the knob is looked at while there is nothing to do.
const LOOK: Duration = Duration::from_millis(500);

/// The thread of a daemon that does it.
pub(crate) struct Scrubber {
    stop: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Scrubber {
    /// For a daemon that stays.
    pub(crate) fn start(daemon: &Arc<Shared>) -> Self {
        let stop = Cancel::new();
        let thread = match daemon.role {
            Role::Serve | Role::Mount => {
                let (daemon, stop) = (Arc::clone(daemon), stop.clone());
                let spawned = std::thread::Builder::new()
                    .name("ares-scrub".to_owned())
                    .spawn(move || run(&daemon, &stop));
                spawned
                    .inspect_err(|e| {
                        tracing::error!("no thread to look after what is held: {e}; is the process limit (ulimit -u) too low?")
                    })
                    .ok()
            }
            Role::Passing | Role::Discarding => None,
        };
        Self { stop, thread }
    }

    /// Ends it, wherever it is.
    pub(crate) fn stop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after what is held had panicked");
        }
    }
}

fn run(daemon: &Shared, stop: &Cancel) {
    let rate = || daemon.handle.settings().bytes(Knob::ScrubRate);
    let mut next = Instant::now();
    while !stop.wait(LOOK) {
        if rate() == 0 || Instant::now() < next {
            continue;
        }
        next = Instant::now() + PASS_EVERY;
        let mut before = Verified::default();
        let done = daemon.handle.store().verify(&mut |done| {
            let is_over = pause(done.bytes - before.bytes, &rate, stop);
            before = *done;
            !is_over
        });
        if stop.is_cancelled() {
            return;
        }
        tracing::info!(
            chunks = done.chunks,
            bytes = done.bytes,
            wrong = done.lost_chunks,
            "all that is held was read and hashed"
        );
        if done.lost_chunks > 0 {
            mend(daemon, stop);
        }
    }
}

/// Waits as long as so many bytes may take. Whether it is to end.
fn pause(bytes: u64, rate: &dyn Fn() -> u64, stop: &Cancel) -> bool {
    let began = Instant::now();
    loop {
        let rate = rate();
        let due = match rate {
            // Held up until it is turned again.
            0 => Duration::MAX,
            _ => Duration::from_secs_f64(bytes as f64 / rate as f64),
        };
        let left = due.saturating_sub(began.elapsed());
        if left.is_zero() {
            return stop.is_cancelled();
        }
        if stop.wait(left.min(LOOK)) {
            return true;
        }
    }
}

fn mend(daemon: &Shared, stop: &Cancel) {
    match repair(daemon, stop) {
        Ok(repaired) => {
            let (lacking, mended) = (repaired.lacking, repaired.mended);
            tracing::warn!(lacking, mended, whys = ?repaired.whys, "releases lacked something that the disk has lost");
        }
        Err(failure) => tracing::warn!(error = failure.message, "what the disk has lost was not fetched"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn it_waits_as_the_knob_says_also_when_that_is_turned_meanwhile() {
        let stop = Cancel::new();
        let began = Instant::now();
        assert!(!pause(1 << 20, &|| 20 << 20, &stop));
        assert!(began.elapsed() >= Duration::from_millis(50));
        // It would take a day.
        let looks = AtomicU64::new(0);
        let turned = || match looks.fetch_add(1, Relaxed) {
            0 => 10,
            1 => 0,
            _ => 1 << 30,
        };
        assert!(!pause(1 << 20, &turned, &stop));
        stop.cancel();
        assert!(pause(1 << 40, &|| 1, &stop));
    }
}
