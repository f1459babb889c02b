//! Fetches pinned releases whole in the background, a few at a time, and tries again as long as nobody has them. `pins` decides which is
//! next; what came before a try ended is kept and served.

use std::sync::Arc;
use std::thread::JoinHandle;

use ares_core::manifest::Root;
use ares_core::swarm::Class;

use crate::daemon::{Role, Shared};
use crate::error::{Failure, Kind};
use crate::jobs;
use crate::pins::Turn;
use crate::tree::Chunks as _;

/// Releases fetched at a time: one that nobody has does not hold up the others.
const FETCHED_AT_ONCE: usize = 4;

/// The threads of a daemon that fetch what is pinned.
pub(crate) struct Keeper {
    daemon: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Keeper {
    /// For a daemon that stays; another one fetches only what its command wants.
    pub(crate) fn start(daemon: &Arc<Shared>) -> Self {
        let count = match daemon.role {
            Role::Serve | Role::Mount => FETCHED_AT_ONCE,
            Role::Passing | Role::Discarding => 0,
        };
        let spawn = |n| {
            let daemon = Arc::clone(daemon);
            let keep = move || {
                while let Some(turn) = daemon.pins.next() {
                    take_turn(&daemon, &turn);
                }
            };
            let spawned = std::thread::Builder::new().name(format!("ares-keep-{n}")).spawn(keep);
            spawned
                .inspect_err(|e| {
                    tracing::error!("no thread to fetch what is pinned: {e}; is the process limit (ulimit -u) too low?")
                })
                .ok()
        };
        Self {
            daemon: Arc::clone(daemon),
            threads: (0..count).filter_map(spawn).collect(),
        }
    }

    /// Ends what is being fetched, and waits for that.
    pub(crate) fn stop(&mut self) {
        self.daemon.pins.end();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that fetches what is pinned had panicked");
            }
        }
    }
}

fn take_turn(daemon: &Shared, turn: &Turn) {
    let (release, name) = (turn.link.release, &turn.link.name);
    let result = fetch(daemon, turn);
    match &result {
        Ok(()) => tracing::info!(%release, name, "a pinned release is whole"),
        Err(failure) => tracing::info!(%release, name, error = failure.message, "a pinned release is not whole yet"),
    }
    daemon.pins.on_end(release, result.map_err(|failure| failure.message));
}

/// Walks all of the release: what is here already costs a look, what is not is fetched.
fn fetch(daemon: &Shared, turn: &Turn) -> Result<(), Failure> {
    let link = &turn.link;
    daemon.hint(link);
    let root = Root::parse(&daemon.chunks(link.release, &turn.stop).root(link.release)?)?;
    jobs::sound(&root.totals())?;
    daemon.adopt(link, &root)?;
    let stop = turn.stop.flag();
    jobs::fetch(daemon, link, &root, Class::Bulk, &turn.progress, &stop)?;
    match daemon.complete(link)? {
        true => Ok(()),
        false => Err(Failure::new(
            Kind::Disk,
            "some of it has had to make room before it was known to be a part of it",
        )),
    }
}
