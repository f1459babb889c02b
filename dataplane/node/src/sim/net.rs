//! What lies between the nodes: a link for each pair of addresses and direction, NATs, and the datagrams under way in the order of time. All
//! that happens here is hashed, so that two runs can be compared.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ares_core::rng::Rng;
use ares_core::time::Instant;
use ares_ring::Ecn;
use bytes::BytesMut;

use super::link::{Fate, Link};

/// What happens at a moment.
pub(super) enum Event {
    /// A datagram reaches the end of its link.
    Arrive(Datagram),
    /// A datagram is at the switch, before the receiver's own link.
    AtSwitch(Datagram),
    /// A node has something to do.
    Wake(usize),
}

/// A datagram under way, with the addresses that it has on the link.
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: Option<Ecn>,
    pub(super) bytes: BytesMut,
}

/// See the module.
pub(super) struct Net {
    pub(super) links: BTreeMap<(IpAddr, IpAddr), Link>,
    /// Machines on the switch: their links to it and from it. Among them no pair has a link of its own.
    pub(super) at_switch: BTreeMap<IpAddr, [Link; 2]>,
    /// What all that leaves from an address passes first.
    pub(super) uplinks: BTreeMap<IpAddr, Link>,
    /// Addresses behind a NAT: how far their ports are from those that others see.
    nats: BTreeMap<IpAddr, u16>,
    /// By time, and at one time in the order in which they were thought of.
    events: BTreeMap<(Instant, u64), Event>,
    events_ever: u64,
    rng: Rng,
    trace: blake3::Hasher,
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            links: BTreeMap::new(),
            at_switch: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            nats: BTreeMap::new(),
            events: BTreeMap::new(),
            events_ever: 0,
            rng: Rng::new(seed),
            trace: blake3::Hasher::new(),
        }
    }

    /// Something will happen.
    pub(super) fn plan(&mut self, at: Instant, event: Event) {
        self.events.insert((at, self.events_ever), event);
        self.events_ever += 1;
    }

    /// The next thing that happens until then.
    pub(super) fn next(&mut self, until: Instant) -> Option<(Instant, Event)> {
        let first = self.events.first_entry().filter(|event| event.key().0 <= until)?;
        let ((at, _), event) = first.remove_entry();
        Some((at, event))
    }

    /// Somebody sends a datagram from one of its own addresses.
    pub(super) fn send(&mut self, now: Instant, mut datagram: Datagram) {
        let outside = self.nats.get(&datagram.from.ip()).copied().unwrap_or(0);
        datagram.from.set_port(datagram.from.port() + outside);
        let (link, event): (_, fn(Datagram) -> Event) = match self.at_switch.get_mut(&datagram.from.ip()) {
            Some([up, _]) => (Some(up), Event::AtSwitch),
            None => (self.links.get_mut(&(datagram.from.ip(), datagram.to.ip())), Event::Arrive),
        };
        let uplink = self.uplinks.get_mut(&datagram.from.ip());
        let uplink = uplink.map_or(Fate::Arrives(now), |link| link.send(now, datagram.bytes.len(), &mut self.rng));
        let fate = match (uplink, link) {
            (Fate::Arrives(at), Some(link)) => link.send(at, datagram.bytes.len(), &mut self.rng),
            (Fate::Arrives(_), None) => Fate::Cut,
            (lost, _) => lost,
        };
        self.follow(now, datagram, fate, event);
    }

    /// What becomes of a datagram that was put on a link.
    fn follow(&mut self, now: Instant, datagram: Datagram, fate: Fate, event: fn(Datagram) -> Event) {
        self.note(now, &datagram, fate);
        if let Fate::Arrives(at) = fate {
            self.plan(at, event(datagram));
        }
    }

    /// A datagram is at the switch.
    pub(super) fn switch(&mut self, now: Instant, datagram: Datagram) {
        if let Some([up, _]) = self.at_switch.get_mut(&datagram.from.ip()) {
            up.arrive(now, datagram.bytes.len());
        }
        let down = self.at_switch.get_mut(&datagram.to.ip()).map(|[_, down]| down);
        let fate = down.map_or(Fate::Cut, |down| down.send(now, datagram.bytes.len(), &mut self.rng));
        self.follow(now, datagram, fate, Event::Arrive);
    }

    /// A datagram is at the end of its link. What comes out of it, with the address that its receiver knows as its own.
    pub(super) fn arrive(&mut self, now: Instant, mut datagram: Datagram) -> Option<Datagram> {
        let link = match self.at_switch.get_mut(&datagram.to.ip()) {
            Some([_, down]) => down,
            None => self.links.get_mut(&(datagram.from.ip(), datagram.to.ip()))?,
        };
        let is_there = link.arrive(now, datagram.bytes.len());
        self.note(now, &datagram, if is_there { Fate::Arrives(now) } else { Fate::Cut });
        let outside = self.nats.get(&datagram.to.ip()).copied().unwrap_or(0);
        let port = datagram.to.port().checked_sub(outside)?;
        datagram.to.set_port(port);
        is_there.then_some(datagram)
    }

    /// The NAT before an address forgets its ports and gives others.
    pub(super) fn rebind(&mut self, inside: IpAddr) {
        *self.nats.entry(inside).or_default() += 1;
    }

    /// All that has happened, in 256 bits.
    pub(super) fn trace(&self) -> blake3::Hash {
        self.trace.finalize()
    }

    /// What is encrypted differs from run to run, its length and its time do not.
    fn note(&mut self, now: Instant, datagram: &Datagram, fate: Fate) {
        let fate = match fate {
            Fate::Arrives(at) => at.as_nanos(),
            Fate::Cut | Fate::Lost | Fate::Dropped => 0,
        };
        for number in [now.as_nanos(), datagram.bytes.len() as u64, fate] {
            self.trace.update(&number.to_le_bytes());
        }
        for end in [datagram.from, datagram.to] {
            let IpAddr::V4(ip) = end.ip() else {
                unreachable!("the net has IPv4 addresses")
            };
            self.trace.update(&ip.octets()).update(&end.port().to_le_bytes());
        }
    }
}
