//! Pins a release, and takes that back. What is pinned is fetched in the background: a command does not wait for it.

use ares_core::chunk::ReleaseId;
use ares_core::link::Link;
use ares_node::store::{PINS_MAX, PinnedBy};

use crate::admin::proto::Outcome;
use crate::daemon::{Role, Shared};
use crate::error::{Failure, Kind};

pub(super) fn run(daemon: &Shared, link: &Link) -> Result<Outcome, Failure> {
    if matches!(daemon.role, Role::Passing | Role::Discarding) {
        let message = "the process that has the state directory will end soon, and keeps nothing";
        return Err(Failure::new(Kind::Disk, message).help("start a daemon with `ares serve` when it has ended"));
    }
    if !link.inside.is_empty() {
        let help = "leave out the /path: what is pinned is the whole release";
        return Err(Failure::new(Kind::Usage, "a part of a release cannot be pinned").help(help));
    }
    let already = daemon.handle.store().is_pinned(link.release);
    if !daemon.handle.store().pin(link.release, &link.to_string())? {
        let message = format!("{PINS_MAX} releases are pinned, and no more can be");
        return Err(Failure::new(Kind::Failed, message).help("`ares pin` lists them, `ares unpin RELEASE` lets go of one"));
    }
    daemon.pins.on_pinned(link.clone());
    Ok(Outcome::Pinned {
        release: link.release.to_string(),
        name: link.name.clone(),
        already,
    })
}

/// `which`: the release's name, or the first digits of its hash.
pub(super) fn undo(daemon: &Shared, which: &str) -> Result<Outcome, Failure> {
    let (release, name) = find(daemon, which)?;
    daemon.handle.store().unpin(release)?;
    daemon.pins.on_unpinned(release);
    let release = release.to_string();
    Ok(Outcome::Unpinned { release, name })
}

fn find(daemon: &Shared, which: &str) -> Result<(ReleaseId, String), Failure> {
    let named = |pin: &ares_node::store::Pin| pin.link.parse().map_or(String::new(), |link: Link| link.name);
    let mut meant = daemon.handle.store().pins();
    meant.retain(|pin| pin.release.to_string().starts_with(which) || named(pin) == which);
    match &meant[..] {
        [pin] if pin.by == PinnedBy::Config => {
            let message = format!("{which:?} is pinned by the config file");
            Err(Failure::new(Kind::Usage, message).help("take it out of `pins` there, and restart the daemon"))
        }
        [pin] => Ok((pin.release, named(pin))),
        [] => Err(Failure::new(Kind::NotFound, format!("no pinned release is called {which:?}"))
            .help("`ares pin` lists them; give the first digits of one, its name or its link")),
        _ => Err(Failure::new(
            Kind::Usage,
            format!("{which:?} may be any of {} pinned releases", meant.len()),
        )
        .help("give more digits; `ares pin` lists them")),
    }
}
