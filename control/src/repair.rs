//! Brings back what a disk has lost of releases that were whole, or are to be: fetches what is missing of each, from whoever has it.

use std::sync::Arc;

use ares_core::manifest::Root;
use ares_core::store::{ReleaseInfo, ReleaseState};
use ares_core::swarm::Class;
use ares_node::download::DownloadProgress;

use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::Failure;
use crate::jobs;
use crate::survey::survey;
use crate::tree::Chunks as _;

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Repaired {
    /// Releases that lacked something.
    pub(crate) lacking: u64,
    /// Those of them that are whole again.
    pub(crate) mended: u64,
    /// Why the others are not.
    pub(crate) whys: Vec<String>,
}

/// Looks through all releases that should be whole, and mends them. They are not said to be whole as long as they are not.
pub(crate) fn repair(daemon: &Shared, cancel: &Cancel) -> Result<Repaired, Failure> {
    let mut repaired = Repaired::default();
    let store = daemon.handle.store();
    for known in store.releases() {
        let should_be_whole = known.state == ReleaseState::Complete || store.is_pinned(known.release);
        if !should_be_whole || survey(store, known.release, cancel)?.missing_chunks == 0 {
            continue;
        }
        repaired.lacking += 1;
        store.mark_partial(known.release);
        daemon.handle.announce(known.release);
        match mend(daemon, &known, cancel) {
            Ok(true) => repaired.mended += 1,
            Ok(false) => repaired.whys.push(format!("{}: some of it has had to make room", known.name)),
            Err(_) if cancel.is_cancelled() => return Err(Failure::interrupted()),
            Err(failure) => repaired.whys.push(format!("{}: {}", known.name, failure.message)),
        }
    }
    Ok(repaired)
}

fn mend(daemon: &Shared, known: &ReleaseInfo, cancel: &Cancel) -> Result<bool, Failure> {
    let link = daemon.link_to(known);
    daemon.hint(&link);
    let root = Root::parse(&daemon.chunks(known.release, cancel).root(known.release)?)?;
    let progress = Arc::new(DownloadProgress::default());
    jobs::fetch(daemon, &link, &root, Class::Bulk, &progress, &cancel.flag())?;
    Ok(daemon.complete(&link)?)
}
