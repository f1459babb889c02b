//! What addresses are good for: which of them a link may name, and how large packets to a peer may be.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ares_core::path::Lane;
use ares_ring::{SocketOptions, UdpSocket};
use rustix::net::sockopt;

/// Ethernet's MTU: what is assumed where the kernel does not tell.
const DEFAULT_MTU: u32 = 1500;

/// Where datagrams leave from and how large they may be.
#[derive(Clone, Copy)]
pub(crate) struct Routes {
    /// The local address that datagrams to that one leave from if nobody chooses.
    pub(crate) source_for: fn(IpAddr) -> Option<IpAddr>,
    /// The MTU to probe up to for a connection from an address, or from where `source_for` says, in bytes of IP packet.
    pub(crate) link_mtu: fn(Option<IpAddr>, SocketAddr) -> u32,
    /// The same for one that leaves from a lane.
    pub(crate) lane_mtu: fn(&Lane, SocketAddr) -> u32,
}

impl Routes {
    /// As the kernel has them.
    pub(crate) const KERNEL: Self = Self {
        source_for,
        link_mtu,
        lane_mtu,
    };
}

/// The MTU to probe up to for a connection from `local` to `remote`, in bytes of IP packet: that of the route the kernel takes (`IP_MTU`
/// of ip(7)), which knows the network namespace, loopback to own addresses and what routers have said.
fn link_mtu(local: Option<IpAddr>, remote: SocketAddr) -> u32 {
    route_mtu(local, None, remote).unwrap_or(DEFAULT_MTU)
}

/// As `link_mtu`, for a connection that leaves from this lane.
fn lane_mtu(lane: &Lane, remote: SocketAddr) -> u32 {
    let by_lane = route_mtu(Some(lane.ip), Some(&lane.name), remote);
    by_lane.unwrap_or_else(|_| link_mtu(Some(lane.ip), remote))
}

/// The local address that the kernel would send from to `remote` by itself.
fn source_for(remote: IpAddr) -> Option<IpAddr> {
    // The port matters to nobody: a socket that is connected asks for the route alone.
    let socket = connected(None, None, SocketAddr::new(remote, 9)).ok()?;
    let local = rustix::net::getsockname(&socket).ok()?;
    Some(SocketAddr::try_from(local).ok()?.ip())
}

fn route_mtu(local: Option<IpAddr>, interface: Option<&str>, remote: SocketAddr) -> io::Result<u32> {
    let socket = connected(local, interface, remote)?;
    Ok(match remote {
        SocketAddr::V4(_) => sockopt::ip_mtu(&socket)?,
        SocketAddr::V6(_) => sockopt::ipv6_mtu(&socket)?,
    })
}

/// A socket for which the kernel has looked the route up. Nothing is sent.
fn connected(local: Option<IpAddr>, interface: Option<&str>, remote: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let options = SocketOptions {
        interface: interface.map(str::to_owned),
        ..SocketOptions::default()
    };
    let socket = UdpSocket::bind(SocketAddr::new(local.unwrap_or(any), 0), &options).map_err(io::Error::other)?;
    rustix::net::connect(&socket, &remote)?;
    Ok(socket)
}

/// Addresses at which others may reach sockets bound to `bound`: wildcards become the machine's own addresses, link-local
/// ones are left out (they mean nothing on another machine), loopback only counts where it was bound or nothing else is there.
pub(crate) fn reachable(bound: &[SocketAddr], own: &[IpAddr]) -> Vec<SocketAddr> {
    let mut out: Vec<SocketAddr> = Vec::new();
    for addr in bound {
        if !addr.ip().is_unspecified() {
            out.push(*addr);
            continue;
        }
        let same_family = own
            .iter()
            .copied()
            .filter(|ip| ip.is_ipv4() == addr.is_ipv4() && !is_link_local(*ip));
        let (loopback, global): (Vec<IpAddr>, Vec<IpAddr>) = same_family.partition(|ip| ip.is_loopback());
        let chosen = if global.is_empty() { loopback } else { global };
        out.extend(chosen.into_iter().map(|ip| SocketAddr::new(ip, addr.port())));
    }
    let any_global = out.iter().any(|a| !a.ip().is_loopback());
    if any_global && bound.iter().any(|a| a.ip().is_unspecified()) {
        out.retain(|a| !a.ip().is_loopback() || bound.contains(a));
    }
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|a| seen.insert(*a));
    out
}

/// Whether it means something only along with the name of an interface.
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<IpAddr> {
        ["10.0.0.1", "fe80::1", "127.0.0.1", "::1"]
            .map(|ip| ip.parse().expect("an address"))
            .to_vec()
    }

    #[test]
    fn wildcards_become_addresses_others_can_use() {
        let rows: [(&[&str], &[&str]); 5] = [
            (&["0.0.0.0:4"], &["10.0.0.1:4"]),
            (&["0.0.0.0:4", "[::]:4"], &["10.0.0.1:4"]),
            (&["127.0.0.1:4"], &["127.0.0.1:4"]),
            (&["[::]:4"], &["[::1]:4"]),
            (&["10.0.0.1:4", "10.0.0.1:4"], &["10.0.0.1:4"]),
        ];
        for (bound, expect) in rows {
            let parse = |texts: &[&str]| {
                texts
                    .iter()
                    .map(|t| t.parse().expect("an address"))
                    .collect::<Vec<SocketAddr>>()
            };
            assert_eq!(reachable(&parse(bound), &machine()), parse(expect), "{bound:?}");
        }
    }

    #[test]
    fn the_kernel_says_what_it_would_send_from() {
        for ip in ["127.0.0.1", "127.0.0.9"] {
            assert_eq!(
                source_for(ip.parse().expect("an address")),
                Some(Ipv4Addr::LOCALHOST.into()),
                "{ip}"
            );
        }
    }

    /// Loopback's MTU is the one that is the same everywhere: 65,536 (or what somebody has set it to, above Ethernet's).
    #[test]
    fn mtu_is_that_of_the_route() {
        let loopback: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        for local in [None, Some(loopback.ip()), Some(Ipv4Addr::UNSPECIFIED.into())] {
            assert!(link_mtu(local, loopback) > DEFAULT_MTU, "{local:?}");
        }
        let nowhere = "10.0.0.1:9".parse().expect("an address");
        assert_eq!(
            link_mtu(Some(loopback.ip()), nowhere),
            DEFAULT_MTU,
            "no route leaves from there"
        );
        let lane = |name: &str| Lane {
            interface: 1,
            name: name.to_owned(),
            ip: loopback.ip(),
            prefix_bits: 8,
            is_up: true,
        };
        for name in ["lo", "gone0"] {
            assert_eq!(lane_mtu(&lane(name), loopback), link_mtu(None, loopback), "{name}");
        }
    }
}
