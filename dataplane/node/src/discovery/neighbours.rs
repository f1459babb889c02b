//! Which nodes of the local network take part in what this node looks for. Decides whom to try, and forgets what would be too much; hears
//! and dials nobody itself.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;

use ares_core::chunk::ReleaseId;
use ares_core::peer::{PeerAt, PeerId};

use super::notice::{Blinded, Notice};
use crate::lanes::is_link_local;

/// Announcements that are remembered; more are not heard until some of these are gone.
const HEARD_MAX: usize = 128;

/// Announcements that name one address, such as those of the nodes of one machine: it leaves room for other machines. Who sent them is not
/// known, nor would it prove more.
const HEARD_PER_IP_MAX: usize = 16;
const _: () = assert!(HEARD_PER_IP_MAX <= HEARD_MAX / 4);

/// News that are listened to at once, and how many more each time `on_tick` is called: with the reminders, what anybody on the network can
/// make us dial.
const NEWS_MAX: usize = HEARD_MAX;
const NEWS_PER_TICK: usize = 8;

/// Announcements that are repeated each time `on_tick` is called.
const REMINDERS_PER_TICK: usize = 8;

/// Releases looked for; the oldest is forgotten.
const SOUGHT_MAX: usize = 256;

/// Addresses of one announcement that are tried.
const ADDRS_MAX: usize = 8;

/// Who has been heard and what is looked for.
pub(super) struct Neighbours {
    own: PeerId,
    sought: VecDeque<(Blinded, ReleaseId)>,
    /// By the name of the announcement.
    heard: BTreeMap<String, Neighbour>,
    news_left: usize,
    /// The name of the announcement that was repeated last.
    reminded: String,
}

/// One announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    notice: Notice,
    addrs: Vec<SocketAddr>,
}

impl Neighbour {
    /// `None` where it gives no address that could be dialed from another machine: link-local ones mean nothing to sockets that are bound
    /// to a wildcard.
    pub(super) fn new(notice: Notice, ips: impl IntoIterator<Item = IpAddr>, port: u16) -> Option<Self> {
        let is_dialable = |ip: &IpAddr| {
            let is_special = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_link_local(*ip);
            !is_special && *ip != IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
        };
        let mut addrs: Vec<SocketAddr> = ips
            .into_iter()
            .filter(is_dialable)
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        addrs.sort_unstable();
        addrs.truncate(ADDRS_MAX);
        (port != 0 && !addrs.is_empty()).then_some(Self { notice, addrs })
    }

    fn shares_an_ip(&self, other: &Self) -> bool {
        let has = |addr: &SocketAddr| other.addrs.iter().any(|other| other.ip() == addr.ip());
        self.addrs.iter().any(has)
    }

    fn hint(&self) -> PeerAt {
        PeerAt {
            peer: self.notice.peer,
            addrs: self.addrs.clone(),
        }
    }
}

impl Neighbours {
    /// Of the node `own`, which is no neighbour of itself.
    pub(super) fn new(own: PeerId) -> Self {
        Self {
            own,
            sought: VecDeque::new(),
            heard: BTreeMap::new(),
            news_left: NEWS_MAX,
            reminded: String::new(),
        }
    }

    /// A release is looked for. Who has said to take part in it.
    pub(super) fn on_sought(&mut self, release: ReleaseId) -> Vec<PeerAt> {
        let blinded = Blinded::of(release);
        self.sought.retain(|(_, known)| *known != release);
        self.sought.push_back((blinded, release));
        if self.sought.len() > SOUGHT_MAX {
            self.sought.pop_front();
        }
        let takes_part = |neighbour: &&Neighbour| neighbour.notice.releases.contains(&blinded);
        self.heard.values().filter(takes_part).map(Neighbour::hint).collect()
    }

    /// Releases for which this does not hold are no longer looked for.
    pub(super) fn retain_sought(&mut self, is_wanted: impl Fn(ReleaseId) -> bool) {
        self.sought.retain(|(_, release)| is_wanted(*release));
    }

    /// Somebody was heard. Which of the releases looked for it may have, where that is news.
    pub(super) fn on_heard(&mut self, name: String, neighbour: Neighbour) -> Vec<(ReleaseId, PeerAt)> {
        let others = || self.heard.iter().filter(|(known, _)| **known != name);
        let of_its_machine = others().filter(|(_, other)| other.shares_an_ip(&neighbour));
        let is_full = others().count() >= HEARD_MAX || of_its_machine.count() >= HEARD_PER_IP_MAX;
        let is_old = self.heard.get(&name) == Some(&neighbour);
        if neighbour.notice.peer == self.own || is_old || is_full || self.news_left == 0 {
            return Vec::new();
        }
        self.news_left -= 1;
        let hints = self.hints_of(&neighbour);
        self.heard.insert(name, neighbour);
        hints
    }

    /// An announcement was taken back or has run out.
    pub(super) fn on_gone(&mut self, name: &str) {
        self.heard.remove(name);
    }

    /// Nothing is heard any more.
    pub(super) fn on_deaf(&mut self) {
        self.heard.clear();
    }

    /// Some time has passed. What is old news of some of those heard, others each time: who could not be reached may be there by now, and
    /// announces no news of it.
    pub(super) fn on_tick(&mut self) -> Vec<(ReleaseId, PeerAt)> {
        self.news_left = (self.news_left + NEWS_PER_TICK).min(NEWS_MAX);
        let last = std::mem::take(&mut self.reminded);
        let last = last.as_str();
        let behind = self.heard.range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
        let in_turn = behind.chain(self.heard.range::<str, _>((Bound::Unbounded, Bound::Included(last))));
        let due: Vec<(&String, &Neighbour)> = in_turn.take(REMINDERS_PER_TICK).collect();
        let hints = due.iter().flat_map(|(_, neighbour)| self.hints_of(neighbour)).collect();
        self.reminded = due.last().map(|(name, _)| (*name).clone()).unwrap_or_default();
        hints
    }

    /// Which of the releases looked for it may have.
    fn hints_of(&self, neighbour: &Neighbour) -> Vec<(ReleaseId, PeerAt)> {
        let sought = self.sought.iter();
        let sought = sought.filter(|(blinded, _)| neighbour.notice.releases.contains(blinded));
        sought.map(|(_, release)| (*release, neighbour.hint())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ares_core::chunk::ChunkId;

    const OWN: PeerId = PeerId::from_bytes([0; 32]);

    fn release(n: u8) -> ReleaseId {
        ReleaseId(ChunkId::of(&[n]))
    }

    /// A peer at 10.0.0.`n` that takes part in these releases.
    fn neighbour(n: u8, releases: &[u8]) -> Neighbour {
        let notice = Notice {
            peer: PeerId::from_bytes([n; 32]),
            releases: releases.iter().map(|n| Blinded::of(release(*n))).collect(),
        };
        Neighbour::new(notice, [[10, 0, 0, n].into()], 4227).expect("it has an address")
    }

    fn hears(neighbours: &mut Neighbours, n: u8, releases: &[u8]) -> Vec<(ReleaseId, PeerAt)> {
        neighbours.on_heard(format!("peer {n}"), neighbour(n, releases))
    }

    #[test]
    fn who_takes_part_is_found_whichever_comes_first() {
        let mut neighbours = Neighbours::new(OWN);
        assert_eq!(hears(&mut neighbours, 1, &[1, 2]), []);
        assert_eq!(hears(&mut neighbours, 2, &[3]), []);
        assert_eq!(neighbours.on_sought(release(1)), [neighbour(1, &[]).hint()]);
        assert_eq!(hears(&mut neighbours, 3, &[1]), [(release(1), neighbour(3, &[]).hint())]);
        assert_eq!(hears(&mut neighbours, 3, &[1]), [], "that is no news");
        let more = hears(&mut neighbours, 2, &[3, 1]);
        assert_eq!(more, [(release(1), neighbour(2, &[]).hint())], "it takes part by now");
        neighbours.on_gone("peer 3");
        assert_eq!(neighbours.on_sought(release(1)).len(), 2, "who is gone is not tried");
        neighbours.retain_sought(|_| false);
        assert_eq!(hears(&mut neighbours, 3, &[1]), [], "nobody looks for it any more");
        neighbours.on_deaf();
        assert_eq!(neighbours.on_sought(release(1)), []);
    }

    #[test]
    fn a_node_does_not_find_itself() {
        let mut neighbours = Neighbours::new(PeerId::from_bytes([1; 32]));
        neighbours.on_sought(release(1));
        assert_eq!(hears(&mut neighbours, 1, &[1]), []);
        assert_eq!(neighbours.on_sought(release(1)), []);
    }

    #[test]
    fn a_crowd_costs_no_more_than_is_remembered() {
        let mut neighbours = Neighbours::new(OWN);
        neighbours.on_sought(release(1));
        let heard = (1..=255).filter(|n| !hears(&mut neighbours, *n, &[1]).is_empty()).count();
        assert_eq!(heard, HEARD_MAX);
        neighbours.on_gone("peer 1");
        assert_eq!(hears(&mut neighbours, 255, &[1]), [], "no more news for now");
        neighbours.on_tick();
        assert_eq!(hears(&mut neighbours, 255, &[1]).len(), 1);
        let turns = |neighbours: &mut Neighbours| (0..100).filter(|n| !hears(neighbours, 2, &[1, *n]).is_empty()).count();
        assert_eq!(
            turns(&mut neighbours),
            NEWS_PER_TICK - 1,
            "one that keeps changing is heard as seldom"
        );
        for _ in 0..1000 {
            neighbours.on_tick();
        }
        assert!(turns(&mut neighbours) <= NEWS_MAX);
    }

    #[test]
    fn one_machine_leaves_room_for_others() {
        let mut neighbours = Neighbours::new(OWN);
        neighbours.on_sought(release(1));
        let hears_at = |neighbours: &mut Neighbours, name: u8, ips: &[u8]| {
            let notice = neighbour(name, &[1]).notice;
            let ips = ips.iter().map(|n| [10, 0, 0, *n].into());
            let neighbour = Neighbour::new(notice, ips, 4227).expect("it has an address");
            neighbours.on_heard(format!("peer {name}"), neighbour).len()
        };
        let heard = (1..=100).map(|n| hears_at(&mut neighbours, n, &[n, 200])).sum::<usize>();
        assert_eq!(heard, HEARD_PER_IP_MAX);
        assert_eq!(
            hears_at(&mut neighbours, 1, &[200]),
            1,
            "of those, one may say something else"
        );
        assert_eq!(hears_at(&mut neighbours, 101, &[201]), 1, "another machine");
        neighbours.on_gone("peer 1");
        assert_eq!(hears_at(&mut neighbours, 100, &[200]), 1);
    }

    #[test]
    fn all_who_were_heard_are_tried_again_some_at_a_time() {
        let mut neighbours = Neighbours::new(OWN);
        assert_eq!(neighbours.on_tick(), []);
        neighbours.on_sought(release(1));
        for n in 1..=20 {
            hears(&mut neighbours, n, &[1]);
        }
        let mut reminded: Vec<PeerId> = Vec::new();
        for count in [8, 8, 8] {
            let hints = neighbours.on_tick();
            assert_eq!(hints.len(), count);
            reminded.extend(hints.iter().map(|(_, hint)| hint.peer));
        }
        assert_eq!(reminded[..4], reminded[20..], "then it begins anew");
        reminded.truncate(20);
        reminded.sort_unstable();
        assert_eq!(reminded, (1..=20).map(|n| neighbour(n, &[]).notice.peer).collect::<Vec<_>>());
        (2..=20).for_each(|n| neighbours.on_gone(&format!("peer {n}")));
        for _ in 0..2 {
            assert_eq!(
                neighbours.on_tick(),
                [(release(1), neighbour(1, &[]).hint())],
                "nobody is named twice"
            );
        }
    }

    #[test]
    fn the_oldest_of_many_releases_is_no_longer_looked_for() {
        let mut neighbours = Neighbours::new(OWN);
        let many = |n: usize| ReleaseId(ChunkId::of(&n.to_le_bytes()));
        for n in 0..=SOUGHT_MAX {
            neighbours.on_sought(many(n));
            neighbours.on_sought(many(n));
        }
        let known: Vec<ReleaseId> = neighbours.sought.iter().map(|(_, release)| *release).collect();
        assert_eq!(known, (1..=SOUGHT_MAX).map(many).collect::<Vec<_>>());
    }

    #[test]
    fn addresses_are_such_as_can_be_dialed() {
        let check = |ips: &str, port: u16, expect: &str| {
            let ips = ips.split_whitespace().map(|ip| ip.parse::<IpAddr>().expect("an address"));
            let notice = neighbour(1, &[]).notice;
            let addrs = Neighbour::new(notice, ips, port).map_or(Vec::new(), |neighbour| neighbour.addrs);
            let shown: Vec<String> = addrs.iter().map(ToString::to_string).collect();
            assert_eq!(shown.join(" "), expect);
        };
        check("10.0.0.2 10.0.0.1 fd00::1", 7, "10.0.0.1:7 10.0.0.2:7 [fd00::1]:7");
        check("10.0.0.1", 0, "");
        check("127.0.0.1 ::1 0.0.0.0 :: 224.0.0.251 ff02::fb 255.255.255.255", 7, "");
        check("169.254.0.1 fe80::1", 7, "");
        let many: Vec<String> = (1..=100).map(|n| format!("10.0.0.{n}")).collect();
        let first: Vec<String> = (1..=ADDRS_MAX).map(|n| format!("10.0.0.{n}:7")).collect();
        check(&many.join(" "), 7, &first.join(" "));
    }
}
