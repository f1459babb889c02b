//! Which paths a peer is worth behind its first one. A second one, over another lane or to another address, is opened right behind it
//! and kept, so that a switch needs no handshake. More come with demand: a path is one thread here and one there, so a bulk transfer
//! between two hosts takes several to use more than one core of either. Decides for one peer; the dialer knows its paths.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ares_core::limits::ADDR_PORTS_MAX;
use ares_core::path::{Ends, Lane, Pair};
use ares_core::peer::Address;
use ares_core::time::Instant;

use super::troubles::{Purpose, Troubles};

/// Cores of either side that one way is given a path for: four fill a link of 25 Gbit/s. The peer counts each path at the shard it leads
/// to, where a key has room for more (`ares_core::admission`).
const CORES_MAX: usize = 4;

/// Paths to one peer. Where there are two ways, each may have as many paths as there are cores, for either may be left alone; three of each
/// use three cores then, and all cores of most machines meanwhile.
const PATHS_MAX: usize = 6;

/// Bulk bytes asked of a peer within `DEMAND_TIME` that make it worth more cores: a tenth of what one moves. Over a link
/// that is slower no core is what everybody waits for, and who reads a small file is done before.
const DEMAND_BYTES: u64 = 32 << 20;
const DEMAND_TIME: Duration = Duration::from_secs(1);

/// Addresses of a peer that are remembered because a hello came from there, and of those that it has no more.
const GREETED_MAX: usize = 16;
const WITHDRAWN_MAX: usize = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Further {
    /// Where the peer says that it is.
    announced: Vec<Address>,
    /// Where it was met, and with which ports: all there is of a peer that announces nothing, or that knows other addresses of itself.
    greeted: Vec<Address>,
    /// Where it says that it is no longer, whatever a link says.
    withdrawn: Vec<IpAddr>,
    demand: Demand,
    pub(super) troubles: Troubles,
    /// When to look for another path; `None` until something changes.
    look_at: Option<Instant>,
}

/// What the choice depends on.
pub(super) struct View<'a> {
    /// This node's end.
    pub(super) lanes: &'a [Lane],
    pub(super) route: &'a dyn Fn(IpAddr) -> Option<IpAddr>,
    pub(super) shards: usize,
    /// Nodes that differ in it begin with different ports of a peer.
    pub(super) turn: usize,
    /// Where links say that the peer is.
    pub(super) hints: &'a [SocketAddr],
    /// Paths that are up, whoever opened them, and those of them that this node opened.
    pub(super) up_count: usize,
    pub(super) up: &'a [Pair],
    /// Attempts under way, those to heal a path apart from the others.
    pub(super) opening: &'a [Pair],
    pub(super) healing: &'a [Pair],
}

impl View<'_> {
    pub(super) fn ends<'a>(&'a self, addresses: &'a [Address]) -> Ends<'a> {
        Ends {
            lanes: self.lanes,
            addresses,
            route: self.route,
        }
    }
}

impl Further {
    /// Something has changed: what was not worth a path or could not be reached may be now.
    pub(super) fn on_change(&mut self, now: Instant) {
        self.look_at = Some(now);
    }

    /// The peer said over a path to `remote` which ports its shards have there.
    pub(super) fn on_ports(&mut self, now: Instant, remote: SocketAddr, ports: &[u16]) {
        let ip = remote.ip();
        let is_known = self.greeted.iter().any(|address| address.ip == ip);
        // Where somebody on the way gave the peer another port, its own lead to others.
        if !is_known && ports.contains(&remote.port()) && self.greeted.len() < GREETED_MAX {
            let ports = ports.iter().copied().take(ADDR_PORTS_MAX).collect();
            self.greeted.push(Address { ip, ports });
            self.on_change(now);
        }
    }

    /// The peer said over a path to `via` where it is, and by that where it is no longer. To who is on its machine it speaks of loopback
    /// alone, and to others never.
    pub(super) fn on_addresses(&mut self, now: Instant, via: IpAddr, addresses: Vec<Address>) {
        let is_spoken_of = |address: &Address| address.ip.is_loopback() == via.is_loopback();
        let (old, kept): (Vec<Address>, Vec<Address>) = self.announced.drain(..).partition(is_spoken_of);
        self.announced = kept;
        self.announced.extend(addresses.into_iter().filter(is_spoken_of));
        self.withdrawn.extend(old.iter().map(|address| address.ip));
        let announced = &self.announced;
        self.withdrawn.retain(|ip| announced.iter().all(|address| address.ip != *ip));
        let surplus = self.withdrawn.len().saturating_sub(WITHDRAWN_MAX);
        self.withdrawn.drain(..surplus);
        self.on_change(now);
    }

    /// Whether the peer has said that it has this address no more.
    pub(super) fn is_withdrawn(&self, ip: IpAddr) -> bool {
        self.withdrawn.contains(&ip)
    }

    /// So many bulk bytes were asked of the peer.
    pub(super) fn on_asked(&mut self, now: Instant, bytes: u32) {
        if self.demand.on_asked(now, bytes) {
            self.on_change(now);
        }
    }

    /// A path that is now to be opened, while another one is up, if any.
    pub(super) fn poll(&mut self, now: Instant, view: &View<'_>) -> Option<(Pair, Purpose)> {
        self.look_at.filter(|at| *at <= now)?;
        let found = self.look(now, view);
        if found.is_none() {
            self.look_at = self.troubles.deadline(now);
        }
        found
    }

    /// When `poll` may have something to say, as long as somebody wants something of the peer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    fn look(&self, now: Instant, view: &View<'_>) -> Option<(Pair, Purpose)> {
        let known = self.known(view.hints);
        let ends = view.ends(&known);
        let paths = view.up_count + view.opening.len() + view.healing.len();
        if paths >= PATHS_MAX {
            return None;
        }
        let all = [view.up, view.opening, view.healing].concat();
        let may_heal = |pair: &&Pair| {
            let is_known = known.iter().any(|address| address.ip == pair.remote.ip());
            is_known && ends.is_open(pair) && !ends.is_way_used(pair, &all)
        };
        if let Some(lost) = self.troubles.to_heal(now).find(may_heal) {
            return Some((lost.clone(), Purpose::Heal));
        }
        // An attempt to heal is no path yet, and must not keep others from being one.
        let used = [view.up, view.opening].concat();
        let others: Vec<Pair> = ends.others(&used);
        let mut others = others.into_iter().filter(|pair| self.troubles.is_free(now, pair));
        let ways = ends.ways_count(&used);
        if ways < 2
            && let Some(pair) = others.next()
        {
            return Some((pair, Purpose::Way));
        }
        let is_wanted = self.demand.is_there(now);
        // Where all may break at once, one that need not break with all of them; it may share an end with some.
        let parts_them = |pair: &Pair| !ends.are_kin(&[&used[..], std::slice::from_ref(pair)].concat());
        let apart = match ends.are_kin(&used) {
            true => others.find(parts_them),
            // Ranked first, if there is one.
            false => others.next().filter(|pair| is_wanted && ends.is_apart(pair, &used)),
        };
        if let Some(pair) = apart {
            return Some((pair, Purpose::Way));
        }
        let shards = known.iter().map(|address| address.ports.len()).max();
        if !is_wanted || paths >= paths_max(view.shards, shards.unwrap_or(1), ways) {
            return None;
        }
        let mut more = ends.more_ports(&all, view.turn).into_iter();
        let pair = more.find(|pair| self.troubles.is_free(now, pair))?;
        Some((pair, Purpose::Port))
    }

    /// Where the peer is: as it says itself, as it was met, as links say.
    fn known(&self, hints: &[SocketAddr]) -> Vec<Address> {
        let hinted = hints.iter().map(|hint| Address {
            ip: hint.ip(),
            ports: vec![hint.port()],
        });
        let mut known = self.announced.clone();
        for address in self.greeted.iter().cloned().chain(hinted) {
            if !self.is_withdrawn(address.ip) && known.iter().all(|other| other.ip != address.ip) {
                known.push(address);
            }
        }
        known
    }
}

/// As many as the side with fewer shards has, over each of two ways.
fn paths_max(own_shards: usize, peer_shards: usize, ways: usize) -> usize {
    let cores = own_shards.min(peer_shards).min(CORES_MAX);
    if ways < 2 { cores } else { (2 * cores).min(PATHS_MAX) }
}

/// Whether so much is asked of a peer that it is worth more than one core.
#[derive(Default)]
struct Demand {
    /// Bulk bytes asked since then.
    counted_from: Instant,
    asked_bytes: u64,
    until: Instant,
}

impl Demand {
    /// Whether it is there now and was not before.
    fn on_asked(&mut self, now: Instant, bytes: u32) -> bool {
        if now.since(self.counted_from) >= DEMAND_TIME {
            self.counted_from = now;
            self.asked_bytes = 0;
        }
        self.asked_bytes += u64::from(bytes);
        if self.asked_bytes < DEMAND_BYTES {
            return false;
        }
        let is_news = !self.is_there(now);
        self.until = now + DEMAND_TIME;
        is_news
    }

    fn is_there(&self, now: Instant) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests;
