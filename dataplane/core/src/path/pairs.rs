//! Which ways to a peer are worth a path, best first: a lane of ours and an address of its. Chooses among what it is shown, and neither
//! opens anything nor remembers what became of it.

use std::net::{IpAddr, SocketAddr};

use super::{Lane, Way};
use crate::peer::Address;

/// Lanes that are looked at, and ways that are named: a machine that has more is served by the first.
const LANES_MAX: usize = 16;
const OTHERS_MAX: usize = 16;

/// Where a path leaves from and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The lane it is held to; `None` leaves it to the kernel.
    pub from: Option<Lane>,
    /// An address of the peer and the port of one of its shards.
    pub remote: SocketAddr,
}

/// What is known of both ends.
#[derive(Clone, Copy)]
pub struct Ends<'a> {
    /// This machine's lanes. Empty while they are not known: then ways differ in the peer's address alone.
    pub lanes: &'a [Lane],
    /// The peer's addresses.
    pub addresses: &'a [Address],
    /// From which local address the kernel would send to that one by itself.
    pub route: &'a dyn Fn(IpAddr) -> Option<IpAddr>,
}

impl Ends<'_> {
    /// Ways that are not in use, each with the first port of the peer there, which a firewall is most likely to let through. Those that
    /// share neither lane nor address with a path in use come first: what breaks that one leaves them whole. Then those whose lane has the
    /// peer in its own subnet, then the lanes that the kernel would choose.
    pub fn others(&self, used: &[Pair]) -> Vec<Pair> {
        let used = self.ways(used);
        let mut found = Vec::new();
        for Address { ip, ports } in self.addresses.iter().filter(|address| self.is_elsewhere(address.ip)) {
            let Some(port) = ports.first() else { continue };
            let usual = (self.route)(*ip);
            for from in self.lanes_to(*ip) {
                let way = way(from, *ip);
                if used.contains(&way) {
                    continue;
                }
                let is_far = from.is_some_and(|lane| !lane.is_near(*ip));
                let is_unusual = from.is_some_and(|lane| Some(lane.ip) != usual);
                let remote = SocketAddr::new(*ip, *port);
                let pair = Pair {
                    from: from.cloned(),
                    remote,
                };
                found.push(((shared_ends(&way, &used), is_far, is_unusual), pair));
            }
        }
        // Stable: among equals the peer's own order counts, which is best first.
        found.sort_by_key(|(rank, _)| *rank);
        found.truncate(OTHERS_MAX);
        found.into_iter().map(|(_, pair)| pair).collect()
    }

    /// Other ports of the peer over ways in use, those with the fewest paths first. Who differs in `turn` begins with different ports.
    pub fn more_ports(&self, used: &[Pair], turn: usize) -> Vec<Pair> {
        let ways = self.ways(used);
        let mut crowded: Vec<(usize, &Pair)> = Vec::new();
        for (at, pair) in used.iter().enumerate() {
            if !ways[..at].contains(&ways[at]) {
                crowded.push((ways.iter().filter(|way| **way == ways[at]).count(), pair));
            }
        }
        crowded.sort_by_key(|(paths, _)| *paths);
        let ports_of = |(_, pair): (usize, &Pair)| {
            let ports = self.ports_beside(pair.remote);
            let first = turn % ports.len().max(1);
            let in_turn = ports[first..].iter().chain(&ports[..first]);
            let at_port = |port: &u16| Pair {
                from: pair.from.clone(),
                remote: SocketAddr::new(pair.remote.ip(), *port),
            };
            in_turn.map(at_port).collect::<Vec<_>>()
        };
        let all = crowded.into_iter().flat_map(ports_of);
        all.filter(|more| !self.is_path_used(more, used)).collect()
    }

    /// How many different ways these paths take.
    pub fn ways_count(&self, used: &[Pair]) -> usize {
        let ways = self.ways(used);
        (0..ways.len()).filter(|at| !ways[..*at].contains(&ways[*at])).count()
    }

    /// Whether these paths may all break at once: every two of them share an end.
    pub fn are_kin(&self, used: &[Pair]) -> bool {
        let ways = self.ways(used);
        (1..ways.len()).all(|at| ways[..at].iter().all(|other| shared_ends(&ways[at], &[*other]) > 0))
    }

    /// Whether some of these paths takes the same way.
    pub fn is_way_used(&self, pair: &Pair, used: &[Pair]) -> bool {
        self.ways(used).contains(&self.way_of(pair))
    }

    /// Whether it shares neither lane nor address with any of these paths.
    pub fn is_apart(&self, pair: &Pair, used: &[Pair]) -> bool {
        shared_ends(&self.way_of(pair), &self.ways(used)) == 0
    }

    /// Whether the pair can be used now: its lane is still there and up, and leads to the peer.
    pub fn is_open(&self, pair: &Pair) -> bool {
        let Some(from) = &pair.from else { return true };
        self.lanes_to(pair.remote.ip()).flatten().any(|lane| lane.id() == from.id())
    }

    fn is_path_used(&self, pair: &Pair, used: &[Pair]) -> bool {
        let way = self.way_of(pair);
        used.iter()
            .any(|other| other.remote == pair.remote && self.way_of(other) == way)
    }

    /// All ports of the peer there; none where its ports are not known, or somebody on the way gives it others.
    fn ports_beside(&self, remote: SocketAddr) -> &[u16] {
        let there = self.addresses.iter().find(|address| address.ip == remote.ip());
        let ports = there.map_or(&[][..], |address| &address.ports);
        if ports.contains(&remote.port()) { ports } else { &[] }
    }

    /// Whether an address is another machine's and can be told from all others: on this machine nothing fails alone.
    fn is_elsewhere(&self, ip: IpAddr) -> bool {
        !ip.is_loopback() && !is_link_local(ip) && self.lanes.iter().all(|lane| lane.ip != ip)
    }

    /// Lanes that lead to an address. None of them is said to be `None` only where no lanes are known. A lane that would have to send to
    /// another lane's subnet is not one: the kernel takes whatever it is to send by a given interface for on-link there.
    fn lanes_to(&self, ip: IpAddr) -> impl Iterator<Item = Option<&Lane>> {
        let is_attached = self.lanes.iter().any(|lane| lane.is_near(ip));
        let leads = move |lane: &&Lane| {
            lane.is_up
                && lane.ip.is_ipv4() == ip.is_ipv4()
                && !lane.ip.is_loopback()
                && !is_link_local(lane.ip)
                && (lane.is_near(ip) || !is_attached)
        };
        let unknown = self.lanes.is_empty().then_some(None);
        unknown
            .into_iter()
            .chain(self.lanes.iter().take(LANES_MAX).filter(leads).map(Some))
    }

    fn ways(&self, pairs: &[Pair]) -> Vec<Way> {
        pairs.iter().map(|pair| self.way_of(pair)).collect()
    }

    /// The same pair with the lane it leaves from while the kernel may choose, as far as that is known.
    pub fn settle(&self, pair: Pair) -> Pair {
        let from = self.lane_of(&pair).cloned();
        Pair { from, ..pair }
    }

    fn lane_of<'p>(&'p self, pair: &'p Pair) -> Option<&'p Lane> {
        let chosen = || {
            if self.lanes.is_empty() {
                return None;
            }
            let ip = (self.route)(pair.remote.ip())?;
            self.lanes.iter().find(|lane| lane.ip == ip)
        };
        pair.from.as_ref().or_else(chosen)
    }

    /// The way a path takes, which the kernel chooses where the pair does not.
    fn way_of(&self, pair: &Pair) -> Way {
        way(self.lane_of(pair), pair.remote.ip())
    }
}

fn way(lane: Option<&Lane>, remote: IpAddr) -> Way {
    Way {
        lane: lane.map(Lane::id),
        remote,
    }
}

/// How many of its two ends (0 to 2) are also ends of ways in use.
fn shared_ends(way: &Way, used: &[Way]) -> usize {
    let has_lane = way.lane.is_some() && used.iter().any(|other| other.lane == way.lane);
    let has_remote = used.iter().any(|other| other.remote == way.remote);
    usize::from(has_lane) + usize::from(has_remote)
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
