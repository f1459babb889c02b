//! Finds peers on the local network and lets them find this node, by multicast DNS (RFC 6762) service discovery (RFC 6763). A thread of its
//! own that hands what it finds to the hub, which goes to some of them: whoever answers there proves its key, so nothing else that is heard needs to be true.
//!
//! A network that does not carry multicast, or a sandbox that forbids it, costs a line in the debug log and nothing else.

pub(crate) mod dht;
mod neighbours;
mod notice;
mod service;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ares_core::chunk::ReleaseId;
use ares_core::path::LaneRules;
use ares_core::store::ReleaseState;
use crossbeam::channel::{Receiver, Sender, never, select, unbounded};

use self::neighbours::Neighbours;
use self::notice::{Blinded, Notice, RELEASES_MAX};
use self::service::{Heard, Service};
use crate::api::Mdns;
use crate::handle::Handle;

/// How often it is looked whether the machine's addresses are others, whether others have told too much, and whether multicast works by now.
const LOOK: Duration = Duration::from_secs(10);

/// What this node takes part in is told again at most so often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a discovery is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ToDiscovery {
    /// Find peers that take part in this.
    Seek(ReleaseId),
    /// This node takes part in other releases than before, or holds more of them.
    Changed,
    /// The node stops.
    Stop,
}

/// Whether there is to be a discovery, and where it is told.
pub(crate) fn post(mdns: Mdns, bound: &[SocketAddr]) -> Option<(Sender<ToDiscovery>, Receiver<ToDiscovery>)> {
    let is_reachable = bound.iter().any(|addr| !addr.ip().is_loopback());
    (mdns != Mdns::Off && is_reachable).then(unbounded)
}

/// See the module.
pub(crate) struct Discovery {
    handle: Handle,
    lanes: LaneRules,
    inbox: Receiver<ToDiscovery>,
    neighbours: Neighbours,
    /// Whether it is time to have a `service`.
    is_begun: bool,
    service: Option<Service>,
    /// What is to be told may not be what is told.
    is_stale: bool,
    next_telling: Instant,
    next_look: Instant,
}

impl Discovery {
    /// For the node of `handle`, on the lanes that the rules leave.
    pub(crate) fn new(mdns: Mdns, handle: Handle, lanes: LaneRules, inbox: Receiver<ToDiscovery>) -> Self {
        let now = Instant::now();
        Self {
            neighbours: Neighbours::new(handle.peer_id()),
            handle,
            lanes,
            inbox,
            is_begun: mdns == Mdns::Always,
            service: None,
            is_stale: true,
            next_telling: now,
            next_look: now,
        }
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        loop {
            self.act();
            let deadline = self.deadline();
            let nothing = never();
            let heard = self.service.as_ref().map_or(&nothing, |service| &service.heard);
            select! {
                recv(self.inbox) -> told => match told {
                    Ok(ToDiscovery::Seek(release)) => self.on_seek(release),
                    Ok(ToDiscovery::Changed) => self.on_changed(),
                    Ok(ToDiscovery::Stop) | Err(_) => return,
                },
                recv(heard) -> heard => match heard {
                    Ok(heard) => self.on_heard(heard),
                    Err(_) => self.close("it has ended"),
                },
                default(deadline.saturating_duration_since(Instant::now())) => {}
            }
        }
    }

    fn on_seek(&mut self, release: ReleaseId) {
        if self.handle.store().release_state(release) == Some(ReleaseState::Complete) {
            return;
        }
        if !self.is_begun {
            self.is_begun = true;
            self.next_look = Instant::now();
        }
        let hints = self.neighbours.on_sought(release);
        self.handle.add_neighbours(release, hints);
    }

    fn on_changed(&mut self) {
        self.is_stale = true;
        let store = self.handle.store();
        self.neighbours
            .retain_sought(|release| store.release_state(release) != Some(ReleaseState::Complete));
    }

    fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Neighbour { name, neighbour } => {
                for (release, hint) in self.neighbours.on_heard(name, neighbour) {
                    tracing::debug!(peer = %hint.peer.short(), addrs = ?hint.addrs, %release, "found on the local network");
                    self.handle.add_neighbours(release, vec![hint]);
                }
            }
            Heard::Gone { name } => self.neighbours.on_gone(&name),
        }
    }

    fn deadline(&self) -> Instant {
        let telling = (self.is_stale && self.service.is_some()).then_some(self.next_telling);
        telling.map_or(self.next_look, |at| at.min(self.next_look))
    }

    /// Does what is due.
    fn act(&mut self) {
        let now = Instant::now();
        if self.next_look <= now {
            self.next_look = now + LOOK;
            self.look();
        }
        if self.is_stale && self.next_telling <= now {
            self.tell(now);
        }
    }

    fn look(&mut self) {
        for (release, hint) in self.neighbours.on_tick() {
            self.handle.add_neighbours(release, vec![hint]);
        }
        // Addresses may have changed; nothing is sent where they have not.
        self.is_stale = true;
        match &mut self.service {
            Some(service) if service.is_flooded() => self.close("others have told more than can be meant"),
            Some(_) => {}
            None if self.is_begun => match Service::open(self.lanes.clone(), self.handle.listen_addrs()) {
                Ok(service) => self.service = Some(service),
                Err(error) => tracing::debug!(%error, "no peers are looked for on the local network now"),
            },
            None => {}
        }
    }

    fn tell(&mut self, now: Instant) {
        let Some(service) = &mut self.service else { return };
        self.is_stale = false;
        self.next_telling = now + TELL_EVERY;
        let known = self.handle.store().releases();
        let latest = &known[known.len().saturating_sub(RELEASES_MAX)..];
        let releases: Vec<Blinded> = latest.iter().map(|known| Blinded::of(known.release)).collect();
        let mut addrs = self.handle.reachable_addrs();
        // Who has nothing yet is nobody's source.
        addrs.retain(|addr| !addr.ip().is_loopback() && !releases.is_empty());
        let peer = self.handle.peer_id();
        if let Err(error) = service.tell(&Notice { peer, releases }, &addrs) {
            tracing::debug!(%error, "the local network is not told of this node now");
        }
    }

    fn close(&mut self, why: &str) {
        tracing::debug!(why, "the local network is not heard until the next try");
        self.service = None;
        self.neighbours.on_deaf();
    }
}
