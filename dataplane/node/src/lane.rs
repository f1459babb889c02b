//! Local addresses: which interfaces there are, what they can carry, and which of their addresses a link may name.

use std::net::{IpAddr, SocketAddr};

/// An address of this machine and what its link carries.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) ip: IpAddr,
    pub(crate) mtu: u32,
}

/// Ethernet's MTU: what is assumed where the kernel does not tell.
const DEFAULT_MTU: u32 = 1500;

/// The machine's interface addresses, loopback last. Empty where the kernel does not tell.
pub(crate) fn interfaces() -> Vec<Interface> {
    let mut found: Vec<Interface> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|i| Interface {
            ip: i.ip(),
            mtu: mtu_of(&i.name),
        })
        .collect();
    found.sort_by_key(|i| i.ip.is_loopback());
    found
}

fn mtu_of(interface: &str) -> u32 {
    let read = std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu"));
    read.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_MTU)
}

/// The MTU to probe up to for a connection to `remote` from `local`: that of the interface if it is known, loopback's for
/// loopback, else the largest of the machine. Too high costs a few lost probes, too low costs speed for good.
pub(crate) fn link_mtu(interfaces: &[Interface], local: Option<IpAddr>, remote: IpAddr) -> u32 {
    let of = |ip: IpAddr| interfaces.iter().find(|i| i.ip == ip).map(|i| i.mtu);
    if let Some(mtu) = local.filter(|ip| !ip.is_unspecified()).and_then(of) {
        return mtu;
    }
    // Traffic to an own address goes over loopback whatever interface bears the address.
    if remote.is_loopback() || of(remote).is_some() {
        return interfaces
            .iter()
            .filter(|i| i.ip.is_loopback())
            .map(|i| i.mtu)
            .max()
            .unwrap_or(DEFAULT_MTU);
    }
    interfaces
        .iter()
        .filter(|i| !i.ip.is_loopback())
        .map(|i| i.mtu)
        .max()
        .unwrap_or(DEFAULT_MTU)
}

/// Addresses at which others may reach sockets bound to `bound`: wildcards become the machine's own addresses, link-local
/// ones are left out (they mean nothing on another machine), loopback only counts where it was bound or nothing else is there.
pub(crate) fn reachable(bound: &[SocketAddr], interfaces: &[Interface]) -> Vec<SocketAddr> {
    let mut out: Vec<SocketAddr> = Vec::new();
    for addr in bound {
        if !addr.ip().is_unspecified() {
            out.push(*addr);
            continue;
        }
        let same_family = interfaces
            .iter()
            .filter(|i| i.ip.is_ipv4() == addr.is_ipv4() && !is_link_local(i.ip));
        let (loopback, global): (Vec<_>, Vec<_>) = same_family.partition(|i| i.ip.is_loopback());
        let chosen = if global.is_empty() { loopback } else { global };
        out.extend(chosen.into_iter().map(|i| SocketAddr::new(i.ip, addr.port())));
    }
    let any_global = out.iter().any(|a| !a.ip().is_loopback());
    if any_global && bound.iter().any(|a| a.ip().is_unspecified()) {
        out.retain(|a| !a.ip().is_loopback() || bound.contains(a));
    }
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|a| seen.insert(*a));
    out
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Interface> {
        [("10.0.0.1", 9000), ("fe80::1", 1500), ("127.0.0.1", 65_536), ("::1", 65_536)]
            .map(|(ip, mtu)| Interface {
                ip: ip.parse().expect("an address"),
                mtu,
            })
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
    fn mtu_is_that_of_the_link_the_bytes_take() {
        let rows = [
            (Some("10.0.0.1"), "10.0.0.2", 9000),
            (None, "10.0.0.2", 9000),
            (None, "127.0.0.1", 65_536),
            (None, "10.0.0.1", 65_536),
            (Some("0.0.0.0"), "10.0.0.2", 9000),
        ];
        for (local, remote, expect) in rows {
            let local = local.map(|l: &str| l.parse().expect("an address"));
            assert_eq!(
                link_mtu(&machine(), local, remote.parse().expect("an address")),
                expect,
                "{local:?} {remote}"
            );
        }
    }
}
