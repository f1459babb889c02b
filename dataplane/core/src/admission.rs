//! Who is let in: how many connections others may have to one shard, in all, from one network address and under one key, and how often one may
//! begin from an address. A key costs nothing and an address little, so what a stranger can take is bounded before anything else is known of it.
//!
//! Costs: O(log n) when a connection comes, proves its key or is gone; nothing in between. Connections that this side opened are not
//! counted: the dialer bounds those.

mod access;
mod rate;
mod refusals;
#[cfg(test)]
mod tests;

pub use access::{Access, Role};
pub use rate::Begin;
use rate::Rates;
pub use refusals::Refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::knobs::{Knob, Settings};
use crate::peer::{PathId, PeerId};
use crate::time::Instant;

/// Connections of a shard, handshakes included: about 64 KiB of state each while nothing is moved.
pub const CONNECTIONS_MAX: usize = 8192;

/// Of these, from one address: a thousand readers behind one NAT are let in, and it takes eight addresses to fill a shard.
pub const PER_NET_MAX: usize = CONNECTIONS_MAX / 8;

/// Of these, with one key: a peer that moves much has four paths, six over two ways, each to another shard if there are as many, and those
/// of a life that was cut short count until they time out.
pub const PER_PEER_MAX: usize = 16;

/// A connection without a request for this long may have to make room. Longer than a slow reader takes between two chunks.
pub const IDLE_MIN: Duration = Duration::from_secs(60);

/// One part in so many of all connections is kept free by closing idle ones: a newcomer need not wait until one has closed.
const SPARE: usize = 16;

/// Connections looked at for one newcomer. Those that turn out to be in use are not looked at again until they may be idle.
const LOOKS_MAX: usize = 16;

const _: () = assert!(PER_NET_MAX * 8 <= CONNECTIONS_MAX, "no address may take more than an eighth");
const _: () = assert!(
    PER_PEER_MAX < PER_NET_MAX,
    "one key must not speak for all behind its address"
);

/// How many connections others may have.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// In all.
    pub connections_max: usize,
    /// From one IPv4 address or one IPv6 /64, what a single customer is given.
    pub per_net_max: usize,
    /// With one proven key.
    pub per_peer_max: usize,
    /// Time without a request after which a connection may be closed for a newcomer.
    pub idle_min: Duration,
}

impl AdmissionLimits {
    /// As the knobs stand.
    pub fn of(settings: &Settings) -> Self {
        Self {
            connections_max: settings.count(Knob::Connections),
            per_net_max: settings.count(Knob::ConnectionsPerAddress),
            per_peer_max: settings.count(Knob::ConnectionsPerKey),
            idle_min: settings.time(Knob::ConnectionsIdle),
        }
    }
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self::of(&Settings::default())
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    /// There is no room for anybody.
    #[error("it has all the connections it takes ({max})")]
    Full {
        /// The limit.
        max: usize,
    },
    /// There are enough from that address.
    #[error("it has all the connections it takes from one address ({max})")]
    Net {
        /// The limit.
        max: usize,
    },
    /// There are enough with that key.
    #[error("it has all the connections it takes with one key ({max})")]
    Peer {
        /// The limit.
        max: usize,
    },
    /// Too many have begun from that address of late.
    #[error("it has begun all the connections it begins from one address for now")]
    Rate,
    /// The key is not one that is spoken with.
    #[error("that key is not let in here")]
    Key,
}

/// What counts as one address: a customer of IPv6 is given a /64 and can use all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Net {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Net {
    fn of(ip: IpAddr) -> Self {
        // An IPv4 address that came over an IPv6 socket is still one machine, not a part of a /64 of all of them.
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// A connection that was let in.
#[derive(Debug)]
struct Entry {
    net: Net,
    peer: Option<PeerId>,
    /// When it was last in use as far as was looked; `None` once it was told to go.
    seen: Option<Instant>,
}

/// The connections of one shard that others opened.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    entries: BTreeMap<PathId, Entry>,
    by_net: BTreeMap<Net, usize>,
    by_peer: BTreeMap<PeerId, usize>,
    /// Longest unused first.
    by_seen: BTreeSet<(Instant, PathId)>,
    unproven: usize,
    rates: Rates,
    access: Access,
}

impl Admission {
    /// Nobody is in.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            by_net: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            by_seen: BTreeSet::new(),
            unproven: 0,
            rates: Rates::default(),
            access: Access::default(),
        }
    }

    /// Which keys may what.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// From now on these keys are spoken with. Connections that are up are for the caller to look at.
    pub fn set_access(&mut self, access: Access) {
        self.access = access;
    }

    /// Other limits from now on. Who is in stays in, and counts.
    pub fn set_limits(&mut self, limits: AdmissionLimits) {
        self.limits = limits;
    }

    /// Whether one more may come from `ip`. Nothing is counted yet.
    pub fn check(&self, ip: IpAddr) -> Result<(), TurnedAway> {
        let AdmissionLimits {
            connections_max,
            per_net_max,
            ..
        } = self.limits;
        if self.entries.len() >= connections_max {
            return Err(TurnedAway::Full { max: connections_max });
        }
        match self.by_net.get(&Net::of(ip)) {
            Some(count) if *count >= per_net_max => Err(TurnedAway::Net { max: per_net_max }),
            _ => Ok(()),
        }
    }

    /// How one more is to begin that `check` had nothing against; `is_proven`: that it is at that address.
    pub fn begin(&mut self, now: Instant, ip: IpAddr, is_proven: bool) -> Begin {
        self.rates.on_begin(now, Net::of(ip), is_proven)
    }

    /// A connection that `check` had nothing against has begun its handshake.
    pub fn on_accepted(&mut self, now: Instant, path: PathId, ip: IpAddr) {
        let net = Net::of(ip);
        let entry = Entry {
            net,
            peer: None,
            seen: Some(now),
        };
        let twice = self.entries.insert(path, entry);
        assert!(twice.is_none(), "{path:?} was let in twice");
        assert!(self.entries.len() <= self.limits.connections_max, "connections are bounded");
        *self.by_net.entry(net).or_default() += 1;
        self.by_seen.insert((now, path));
        self.unproven += 1;
    }

    /// A connection has proven its key. Where it is turned away now, it counts until it is gone. One that this side opened is welcome, if the key is.
    pub fn on_proven(&mut self, path: PathId, peer: PeerId) -> Result<(), TurnedAway> {
        if self.access.role_of(&peer).is_none() {
            return Err(TurnedAway::Key);
        }
        let max = self.limits.per_peer_max;
        let Some(entry) = self.entries.get_mut(&path).filter(|entry| entry.peer.is_none()) else {
            return Ok(());
        };
        let count = self.by_peer.entry(peer).or_default();
        if *count >= max {
            return Err(TurnedAway::Peer { max });
        }
        *count += 1;
        entry.peer = Some(peer);
        self.unproven -= 1;
        Ok(())
    }

    /// A connection is gone for good. Whether others had opened it.
    pub fn on_gone(&mut self, path: PathId) -> bool {
        let Some(entry) = self.entries.remove(&path) else {
            return false;
        };
        take_one(&mut self.by_net, entry.net);
        match entry.peer {
            Some(peer) => take_one(&mut self.by_peer, peer),
            None => self.unproven -= 1,
        }
        if let Some(seen) = entry.seen {
            self.by_seen.remove(&(seen, path));
        }
        true
    }

    /// Connections whose peer has not proven its key yet.
    pub fn unproven(&self) -> usize {
        self.unproven
    }

    /// A connection to close for a newcomer, where room is short and one is idle. `used` tells when a connection was last in use.
    pub fn make_room(&mut self, now: Instant, used: impl Fn(PathId) -> Instant) -> Option<PathId> {
        let all = self.limits.connections_max;
        if self.entries.len() < all - all / SPARE {
            return None;
        }
        for _ in 0..LOOKS_MAX {
            let &(seen, path) = self.by_seen.first()?;
            if now.since(seen) < self.limits.idle_min {
                return None;
            }
            self.by_seen.pop_first();
            let entry = self.entries.get_mut(&path).expect("who is in order is in");
            let used = used(path).max(seen);
            if now.since(used) >= self.limits.idle_min {
                entry.seen = None;
                return Some(path);
            }
            entry.seen = Some(used);
            self.by_seen.insert((used, path));
        }
        None
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    let count = counts.get_mut(&key).expect("whoever is in was counted");
    *count -= 1;
    if *count == 0 {
        counts.remove(&key);
    }
}
