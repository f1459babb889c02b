//! What peers are told of where this node is: which of its addresses, and how often. Decides; the hub tells them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ares_core::limits::{ADDR_PORTS_MAX, PEER_ADDRS_MAX};
use ares_core::peer::Address;
use ares_core::time::Instant;

use crate::lanes::is_link_local;

/// Peers are told again at most so often, however the machine's addresses come and go.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Addresses {
    /// What the first shard's sockets are bound to, and the ports of all shards by socket.
    listen: Vec<SocketAddr>,
    ports: Vec<Vec<u16>>,
    /// The machine's addresses.
    own: Vec<IpAddr>,
    has_changed: bool,
    next_at: Instant,
}

impl Addresses {
    /// Of sockets bound to `listen`, on a machine with the addresses `own`.
    pub(super) fn new(listen: Vec<SocketAddr>, ports: Vec<Vec<u16>>, own: Vec<IpAddr>) -> Self {
        Self {
            listen,
            ports,
            own,
            has_changed: false,
            next_at: Instant::ZERO,
        }
    }

    /// The machine has these addresses now.
    pub(super) fn on_own(&mut self, own: Vec<IpAddr>) {
        self.has_changed |= own != self.own;
        self.own = own;
    }

    /// Whether all peers are to be told now; they have been, then.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        let is_due = self.has_changed && self.next_at <= now;
        if is_due {
            self.has_changed = false;
            self.next_at = now + TELL_EVERY;
        }
        is_due
    }

    /// When `poll` may have something to say next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.has_changed.then_some(self.next_at)
    }

    /// What a peer at `remote` is told. Loopback means this machine, so it is all that a peer on it needs and nothing to any other;
    /// link-local addresses mean nothing without the name of an interface.
    pub(super) fn for_peer_at(&self, remote: IpAddr) -> Vec<Address> {
        let may_tell = |ip: &IpAddr| ip.is_loopback() == remote.is_loopback() && !is_link_local(*ip);
        let mut told: Vec<Address> = Vec::new();
        for (bound, ports) in self.listen.iter().zip(&self.ports) {
            let bound = bound.ip();
            let of_wildcard = self
                .own
                .iter()
                .filter(|ip| bound.is_unspecified() && ip.is_ipv4() == bound.is_ipv4());
            let itself = Some(&bound).filter(|ip| !ip.is_unspecified());
            for ip in of_wildcard.chain(itself).filter(|ip| may_tell(ip)) {
                if told.iter().all(|address| address.ip != *ip) {
                    told.push(Address {
                        ip: *ip,
                        ports: ports.iter().copied().take(ADDR_PORTS_MAX).collect(),
                    });
                }
            }
        }
        told.truncate(PEER_ADDRS_MAX);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|ip| ip.parse().expect("an address")).collect()
    }

    const OWN: &str = "10.0.1.2 10.0.2.2 fd00::2 fe80::2 169.254.0.1 127.0.0.1 ::1";

    fn bound_to(listen: &str) -> Addresses {
        let listen: Vec<SocketAddr> = listen.split_whitespace().map(|at| at.parse().expect("ip:port")).collect();
        let ports = listen.iter().map(|at| vec![at.port(), at.port() + 1]).collect();
        Addresses::new(listen, ports, ips(OWN))
    }

    #[test]
    fn a_peer_is_told_what_means_something_to_it() {
        let check = |listen: &str, remote: &str, expect: &str| {
            let told = bound_to(listen).for_peer_at(remote.parse().expect("an address"));
            let shown: Vec<String> = told.iter().map(|a| format!("{}:{}", a.ip, a.ports[0])).collect();
            assert_eq!(shown.join(" "), expect, "{listen} to {remote}");
            assert!(told.iter().all(|address| address.ports.len() == 2), "all shards");
        };
        check("0.0.0.0:7", "10.0.9.9", "10.0.1.2:7 10.0.2.2:7");
        check("0.0.0.0:7 [::]:9", "10.0.9.9", "10.0.1.2:7 10.0.2.2:7 fd00::2:9");
        check("0.0.0.0:7 [::]:9", "127.0.0.5", "127.0.0.1:7 ::1:9");
        check("10.0.1.2:7", "10.0.9.9", "10.0.1.2:7");
        check("10.0.1.2:7 10.0.1.2:8", "10.0.9.9", "10.0.1.2:7");
        check("10.0.1.2:7", "127.0.0.1", "");
        check("127.0.0.9:7", "127.0.0.1", "127.0.0.9:7");
        check("[fe80::2]:7", "fe80::3", "");
    }

    #[test]
    fn a_machine_with_many_addresses_tells_some() {
        let own = (0..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let addresses = Addresses::new(vec![([0, 0, 0, 0], 7).into()], vec![(0..100).collect()], own);
        let told = addresses.for_peer_at([10, 0, 9, 9].into());
        assert_eq!(told.len(), PEER_ADDRS_MAX);
        assert_eq!(told[0].ports.len(), ADDR_PORTS_MAX);
    }

    #[test]
    fn peers_are_told_again_once_a_second_at_most_and_only_of_changes() {
        let mut addresses = bound_to("0.0.0.0:7");
        assert!(!addresses.poll(Instant::ZERO), "nothing has changed");
        let mut tellings = Vec::new();
        for ms in (0..3000).step_by(100) {
            let now = Instant::ZERO + Duration::from_millis(ms);
            addresses.on_own(ips(if ms % 200 == 0 { "10.0.1.2" } else { OWN }));
            if addresses.poll(now) {
                tellings.push(ms);
            }
        }
        assert_eq!(tellings, [0, 1000, 2000]);
        assert_eq!(
            addresses.deadline(),
            Some(Instant::ZERO + Duration::from_secs(3)),
            "the last one is not lost"
        );
    }
}
