//! What the connections of a shard have to tell the hub and the workers, and what they have carried.

use std::net::SocketAddr;

use ares_core::peer::Source;

use super::Parts;
use super::asking::Outcome as AskOutcome;
use super::conn::{Conn, Said};
use ares_core::admission::{Refusals, TurnedAway};

use crate::counters::add;
use crate::figures::Traffic;
use crate::mailbox::{Job, PathAsk, ToHub};

/// Adds what a connection has carried to what its peer's others have, and those from the same address.
pub(super) fn count_moved(parts: &Parts, conn: &mut Conn) {
    if let Some(peer) = conn.peer() {
        let moved = conn.take_moved();
        let traffic = Traffic {
            rx_bytes: moved.rx_bytes,
            tx_bytes: moved.tx_bytes,
        };
        parts.totals.carried.add(conn.local_ip(), traffic);
        let [rx_bytes, tx_bytes] = &parts.totals.zones[usize::from(conn.is_far())];
        add(rx_bytes, moved.rx_bytes);
        add(tx_bytes, moved.tx_bytes);
        parts.totals.peers.add(peer, moved);
    }
}

/// A peer asked for what is not here, and nothing is fetched for it.
pub(super) fn on_refused_pull(parts: &Parts, conn: &Conn) {
    add(&parts.totals.refused_pulls, 1);
    if is_to_be_said(parts, &parts.totals.refused_roles) {
        let peer = conn.peer().map(|peer| peer.short().to_string());
        tracing::warn!(peer, remote = %conn.remote(), "a peer asked for what is not here, and its role under `[access]` is not `edge`; {}", Refusals::UNSAID);
    }
}

/// A peer asked for a release that is for others.
pub(super) fn on_refused_release(parts: &Parts, conn: &Conn) {
    if is_to_be_said(parts, &parts.totals.refused_releases) {
        let peer = conn.peer().map(|peer| peer.short().to_string());
        tracing::warn!(peer, remote = %conn.remote(), "a peer asked for a release that `access.releases` gives to others; {}", Refusals::UNSAID);
    }
}

/// A connection that somebody began came to no key: what came was altered or replayed on its way, or was nobody's.
pub(super) fn on_failed_handshake(parts: &Parts, remote: SocketAddr, why: &str) {
    if is_to_be_said(parts, &parts.totals.failed_handshakes) {
        tracing::warn!(%remote, why, "a connection of another did not come to a key; {}", Refusals::UNSAID);
    }
    tracing::debug!(%remote, why, "a connection did not come to a key");
}

/// Counts one more that is refused. Whether the log is to hear of it.
fn is_to_be_said(parts: &Parts, refused: &Refusals) -> bool {
    refused.on_refused(parts.clock.at(std::time::Instant::now()))
}

/// Carries what a connection says to the hub and the workers.
pub(super) fn tell_all(parts: &Parts, conn: &Conn, said: &mut Vec<Said>) {
    let path = conn.path;
    for word in said.drain(..) {
        let message = match word {
            Said::Up { peer } => ToHub::PathUp {
                source: Source { peer, path },
                remote: conn.remote(),
                shard: parts.index,
                rtt: conn.quic.rtt(),
            },
            Said::TurnedAway { peer, why } => {
                add(&parts.totals.refused_connections, 1);
                if why == TurnedAway::Key && is_to_be_said(parts, &parts.totals.refused_keys) {
                    tracing::warn!(peer = %peer.short(), remote = %conn.remote(), "a key was not let in; {}", Refusals::UNSAID);
                }
                tracing::debug!(peer = %peer.short(), remote = %conn.remote(), %why, "a connection was not let in");
                continue;
            }
            Said::Down { end } => ToHub::PathDown { path, end },
            Said::Ports { peer, ports, nonce } => ToHub::Ports {
                source: Source { peer, path },
                ports,
                nonce,
            },
            Said::Addresses { peer, addresses } => ToHub::Addresses {
                source: Source { peer, path },
                via: conn.remote(),
                addresses,
            },
            Said::Claim { peer, release, state } => ToHub::Claim {
                path,
                peer,
                release,
                state,
            },
            Said::Have { peer, have } => ToHub::Have { peer, have },
            Said::Zone { peer, zone } => ToHub::Zone { peer, zone },
            Said::Coming { peer, coming } => ToHub::Coming { peer, coming },
            Said::Load { peer, load } => ToHub::Load { peer, load },
            Said::Peers { by, told } => ToHub::Peers { by, told },
            Said::Gates { by, told } => ToHub::Gates { by, told },
            Said::SawBad { peer, chunk } => ToHub::PeerSawBad { peer, chunk },
            Said::Pulse { peer, pulse } => ToHub::Pulse {
                source: Source { peer, path },
                pulse,
            },
            Said::Violation { peer: Some(peer), error } => ToHub::Violation { peer, error },
            // Nobody to hold it against: the connection is closed, and that is all there is to do.
            Said::Violation { peer: None, .. } => continue,
            Said::Ask(AskOutcome::Progress { ask, bytes }) => ToHub::Progress { ask, bytes },
            Said::Ask(AskOutcome::Refused { ask, refusal }) => ToHub::Refused { ask, refusal },
            Said::Ask(AskOutcome::Failed { ask, why }) => ToHub::AskFailed { ask, why },
            Said::Ask(AskOutcome::Arrived { ask, bytes }) => {
                let PathAsk { ask: id, .. } = ask;
                let _ = parts.hub.send(ToHub::Arrived { ask: id });
                // Workers end after the shards.
                let _ = parts.jobs.send(Job::Land { ask, bytes });
                continue;
            }
        };
        let _ = parts.hub.send(message);
    }
}
