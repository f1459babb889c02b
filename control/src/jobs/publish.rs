//! Takes a file or directory into the store, lets peers know, and makes the link.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ares_core::link::Link;
use ares_core::peer::PeerAt;
use ares_node::import::{self, ImportProgress, PublishOptions};

use super::profile;
use super::progress::sampled;
use crate::admin::proto::{Event, FileHash, ImportHow, LargeFiles, Outcome, Phase, Progress, SharedSink, Troubled};
use crate::cancel::Cancel;
use crate::daemon::{Role, Shared};
use crate::error::{Failure, Kind};

/// Entries left out that are named; the rest is counted.
const WARNINGS_SHOWN: usize = 50;

/// What is to be published, and how.
pub(super) struct Ask {
    pub(super) path: PathBuf,
    pub(super) name: Option<String>,
    pub(super) options: ImportHow,
}

pub(super) fn run(daemon: &Shared, ask: Ask, sink: &SharedSink, cancel: &Cancel) -> Result<Outcome, Failure> {
    let start = Instant::now();
    refuse_own_state(&ask.path, &daemon.config.state)?;
    let options = PublishOptions {
        large_files: match ask.options.large_files {
            LargeFiles::InPlace => import::LargeFiles::InPlace,
            LargeFiles::Copy => import::LargeFiles::Copy,
        },
        troubled: match ask.options.troubled {
            Troubled::Fail => import::Troubled::Fail,
            Troubled::Skip => import::Troubled::Skip,
        },
        file_hash: match ask.options.file_hash {
            FileHash::Leave => import::FileHash::Leave,
            FileHash::Record => import::FileHash::Record,
        },
        profile: ask.options.profile.as_ref().map(profile::read).transpose()?,
        // A release that holds the store that holds the release would never end.
        without: vec![daemon.config.state.clone()],
        ..PublishOptions::default()
    };
    let progress = Arc::new(ImportProgress::new());
    let stop = Arc::clone(&progress);
    cancel.on_cancel(move || stop.cancel());
    let sample = || {
        let counts = progress.counts();
        Progress {
            // Until the walk is done nobody knows how much there is.
            phase: if counts.walked { Phase::Publish } else { Phase::Scan },
            bytes_done: counts.bytes_done,
            bytes_total: if counts.walked {
                counts.bytes_found.max(counts.bytes_done)
            } else {
                0
            },
            items_done: counts.files_done,
            items_total: if counts.walked { counts.files_found } else { 0 },
        }
    };
    let store = daemon.handle.store();
    let published = sampled(&**sink, cancel, &sample, || {
        import::publish(store, &ask.path, &options, &progress)
    });
    let note = |text: String| sink.event(Event::Note { text }).map_err(|_| Failure::interrupted());
    // Said also where it failed: what was left out may be the reason.
    let (warnings, skipped) = progress.warnings();
    for warning in warnings.iter().take(WARNINGS_SHOWN) {
        note(format!("note: {warning}"))?;
    }
    if skipped > warnings.len().min(WARNINGS_SHOWN) as u64 {
        note(format!(
            "note: {} more like these",
            skipped - warnings.len().min(WARNINGS_SHOWN) as u64
        ))?;
    }
    let published = published?;
    daemon.handle.announce(published.release);
    let addrs = addrs_for_link(daemon);
    if addrs.iter().all(|a| a.ip().is_loopback()) {
        note(match addrs.is_empty() {
            true => "note: this machine has no network address, so the link names none: others cannot find it".to_owned(),
            false => "note: the link names only loopback addresses: it works on this machine alone".to_owned(),
        })?;
    }
    let name = ask.name.unwrap_or_else(|| Link::name_from(published.name.as_bytes()));
    let link = Link {
        release: published.release,
        name: name.clone(),
        peers: vec![PeerAt {
            peer: daemon.handle.peer_id(),
            addrs: addrs.clone(),
        }],
        inside: Vec::new(),
    };
    Ok(Outcome::Published {
        link: link.to_string(),
        release: published.release.to_string(),
        name,
        bytes: published.bytes,
        entries: published.entries,
        elapsed_s: start.elapsed().as_secs_f64(),
        skipped,
        addrs: addrs.iter().map(ToString::to_string).collect(),
    })
}

/// The state directory holds this node's private key: it is never published, nor a part of it.
fn refuse_own_state(path: &Path, state: &Path) -> Result<(), Failure> {
    // What cannot be resolved cannot be read either: import says so.
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if !resolved(path).starts_with(resolved(state)) {
        return Ok(());
    }
    let message = format!(
        "{} is in this node's state directory, which holds its private key",
        path.display()
    );
    Err(Failure::new(Kind::Usage, message).help("publish something else, or name another --state"))
}

/// Where the release can be had: where this daemon listens if it stays, else where `ares serve` will listen by the config.
fn addrs_for_link(daemon: &Shared) -> Vec<SocketAddr> {
    let reachable = daemon.handle.reachable_addrs();
    match daemon.role {
        Role::Serve => reachable,
        Role::Mount | Role::Passing | Role::Discarding => expand(&daemon.config.listen, &reachable),
    }
}

/// `listen` with wildcards replaced by the machine's addresses, which are those of `reachable`.
fn expand(listen: &[SocketAddr], reachable: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut addrs = Vec::new();
    for wanted in listen {
        let ips = reachable
            .iter()
            .map(SocketAddr::ip)
            .filter(|ip| ip.is_ipv4() == wanted.is_ipv4());
        let found: Vec<_> = match wanted.ip().is_unspecified() {
            true => ips.map(|ip| SocketAddr::new(ip, wanted.port())).collect(),
            false => vec![*wanted],
        };
        addrs.extend(found.into_iter().filter(|addr| addr.port() != 0));
    }
    addrs.sort();
    addrs.dedup();
    addrs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_is_never_published() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["state/data", "other", "state-too"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("state/identity"), "secret").unwrap();
        std::os::unix::fs::symlink(at("state"), at("alias")).unwrap();
        let check = |path: &str, is_refused: bool| {
            assert_eq!(refuse_own_state(&at(path), &at("state")).is_err(), is_refused, "{path}");
        };
        check("state", true);
        check("state/identity", true);
        check("state/data", true);
        check("alias", true);
        check("other/../state", true);
        check("other", false);
        check("state-too", false);
        check("missing", false);
        // What is above it may be published: the state directory is left out of it.
        check("", false);
    }

    #[test]
    fn a_link_made_without_a_daemon_names_where_serve_will_listen() {
        let check = |listen: &[&str], reachable: &[&str], expect: &[&str]| {
            let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
            assert_eq!(expand(&parse(listen), &parse(reachable)), parse(expect), "{listen:?}");
        };
        let here = ["10.0.0.1:5001", "10.0.0.1:5002", "192.168.1.2:5001", "[fd00::1]:5001"];
        check(&["0.0.0.0:4227"], &here, &["10.0.0.1:4227", "192.168.1.2:4227"]);
        check(
            &["0.0.0.0:4227", "[::]:4227"],
            &here,
            &["10.0.0.1:4227", "192.168.1.2:4227", "[fd00::1]:4227"],
        );
        check(&["127.0.0.1:9"], &here, &["127.0.0.1:9"]);
        check(&["0.0.0.0:0"], &here, &[]);
        check(&["[::]:4227"], &["10.0.0.1:1"], &[]);
    }
}
