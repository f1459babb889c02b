//! Takes a file or directory into the store, lets peers know, and makes the link.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use ares_core::link::{Link, LinkPeer};

use super::progress::sampled;
use crate::admin::proto::{Event, Outcome, Phase, Progress, SharedSink};
use crate::cancel::Cancel;
use crate::daemon::{ImportProgress, Role, Shared, publish};
use crate::error::Failure;

pub(super) fn run(
    daemon: &Shared,
    path: &Path,
    name: Option<String>,
    sink: &SharedSink,
    cancel: &Cancel,
) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let progress = ImportProgress::default();
    let sample = || Progress {
        phase: Phase::Publish,
        bytes_done: progress.bytes_done.load(Relaxed),
        bytes_total: progress.bytes_total.load(Relaxed),
        items_done: progress.files_done.load(Relaxed),
        items_total: progress.files_total.load(Relaxed),
    };
    let published = sampled(&**sink, cancel, &sample, || {
        publish(&daemon.handle, path, name, &progress, cancel)
    });
    let published = published?;
    let addrs = addrs_for_link(daemon);
    let note = |text: String| sink.event(Event::Note { text }).map_err(|_| Failure::interrupted());
    if addrs.iter().all(|a| a.ip().is_loopback()) {
        note(match addrs.is_empty() {
            true => "note: this machine has no network address, so the link names none: others cannot find it".to_owned(),
            false => "note: the link names only loopback addresses: it works on this machine alone".to_owned(),
        })?;
    }
    if published.skipped > 0 {
        note(format!(
            "note: {} entries left out: neither file nor directory nor symlink",
            published.skipped
        ))?;
    }
    let link = Link {
        release: published.release,
        name: published.name.clone(),
        peers: vec![LinkPeer {
            peer: daemon.handle.peer_id(),
            addrs: addrs.clone(),
        }],
        inside: Vec::new(),
    };
    Ok(Outcome::Published {
        link: link.to_string(),
        release: published.release.to_string(),
        name: published.name,
        bytes: published.bytes,
        entries: published.entries,
        elapsed_s: start.elapsed().as_secs_f64(),
        skipped: published.skipped,
        addrs: addrs.iter().map(ToString::to_string).collect(),
    })
}

/// Where the release can be had: where this daemon listens if it stays, else where `ares serve` will listen by the config.
fn addrs_for_link(daemon: &Shared) -> Vec<SocketAddr> {
    let reachable = daemon.handle.reachable_addrs();
    match daemon.role {
        Role::Serve => reachable,
        Role::Mount | Role::Passing => expand(&daemon.config.listen, &reachable),
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
