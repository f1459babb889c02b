//! Makes the mounts again that an earlier daemon of the same state directory had, and those that broke off. `mounts` decides which is next.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::jobs;

/// The thread of a daemon that does it. None where the daemon keeps no mounts.
#[derive(Default)]
pub(crate) struct Remounter {
    stop: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Remounter {
    /// Begins at once, and waits for nobody.
    pub(crate) fn start(daemon: &Arc<Shared>) -> Self {
        let stop = Cancel::new();
        if !daemon.mounts.are_kept() {
            return Self::default();
        }
        let (daemon, cancel) = (Arc::clone(daemon), stop.clone());
        let remount = move || {
            while let Some(next) = daemon.mounts.next_absent() {
                match jobs::mount_again(&daemon, &next, &cancel) {
                    Ok(()) => tracing::info!("mounted {} again", next.kept.dir.lossy()),
                    Err(failure) => daemon.mounts.on_failed(&next.kept, &failure.message),
                }
            }
        };
        let spawned = std::thread::Builder::new().name("ares-remount".into()).spawn(remount);
        let thread = spawned
            .inspect_err(|e| tracing::error!("no thread to mount again: {e}; is the process limit (ulimit -u) too low?"))
            .ok();
        Self { stop, thread }
    }

    /// What waits for the network ends. To be told before the mounts are taken away.
    pub(crate) fn cancel(&self) {
        self.stop.cancel();
    }

    /// Waits for the thread, which ends with the table.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; the rest of the shutdown goes on.
            drop(thread.join());
        }
    }
}
