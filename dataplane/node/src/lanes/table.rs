//! What the kernel has told of interfaces and addresses, as lanes. Takes rtnetlink's messages in; asks nothing and waits for nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ares_core::path::Lane;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// Addresses that cannot be used, not yet or not for anything new (RFC 4862 section 2).
const UNUSABLE: AddressFlags = AddressFlags::Tentative
    .union(AddressFlags::Dadfailed)
    .union(AddressFlags::Deprecated);

/// Interfaces by index, and addresses by interface with their prefixes in bits.
#[derive(Debug, Default)]
pub(super) struct Table {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<(u32, IpAddr), u8>,
}

#[derive(Debug)]
struct Link {
    name: String,
    is_up: bool,
}

impl Table {
    /// What the kernel said. Messages may repeat what is known and undo what never was.
    pub(super) fn on_message(&mut self, message: &RouteNetlinkMessage) {
        match message {
            RouteNetlinkMessage::NewLink(link) if is_of_interface(link) => self.on_link(link),
            RouteNetlinkMessage::DelLink(link) if is_of_interface(link) => {
                let index = link.header.index;
                self.links.remove(&index);
                self.addresses.retain(|(interface, _), _| *interface != index);
            }
            RouteNetlinkMessage::NewAddress(address) => self.on_address(address, is_usable(address)),
            RouteNetlinkMessage::DelAddress(address) => self.on_address(address, false),
            _ => {}
        }
    }

    fn on_link(&mut self, message: &LinkMessage) {
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        let Some(name) = name else { return };
        let is_up = message.header.flags.contains(LinkFlags::Up | LinkFlags::Running);
        self.links.insert(message.header.index, Link { name, is_up });
    }

    fn on_address(&mut self, message: &AddressMessage, is_usable: bool) {
        let Some(ip) = own_end(message) else { return };
        let key = (message.header.index, ip);
        if is_usable && !is_link_local(ip) {
            self.addresses.insert(key, message.header.prefix_len);
        } else {
            self.addresses.remove(&key);
        }
    }

    /// The lanes there are, loopback last.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        let of_link = |(&(interface, ip), &prefix_bits): (&(u32, IpAddr), &u8)| {
            let link = self.links.get(&interface)?;
            Some(Lane {
                interface,
                name: link.name.clone(),
                ip,
                prefix_bits,
                is_up: link.is_up,
            })
        };
        let mut lanes: Vec<Lane> = self.addresses.iter().filter_map(of_link).collect();
        lanes.sort_by_key(|lane| lane.ip.is_loopback());
        lanes
    }
}

/// Bridges speak of their ports in messages of their own family, whose `DelLink` takes a port out of the bridge and not away.
fn is_of_interface(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

/// Where there are two ends, `Address` is the other one's.
fn own_end(message: &AddressMessage) -> Option<IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })
}

fn is_usable(message: &AddressMessage) -> bool {
    // The attribute has all flags, the header those that fit a byte.
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let flags = flags.unwrap_or_else(|| AddressFlags::from_bits_retain(u32::from(message.header.flags.bits())));
    !flags.intersects(UNUSABLE)
}

/// Means nothing without its interface: sockets bound to a wildcard cannot be reached there by an address alone.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use RouteNetlinkMessage as M;

    const RUNNING: LinkFlags = LinkFlags::Up.union(LinkFlags::Running);

    fn link(index: u32, name: &str, flags: LinkFlags) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message
    }

    fn address(index: u32, ip: &str, flags: AddressFlags) -> AddressMessage {
        let ip: IpAddr = ip.parse().expect("an address");
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = 24;
        message.attributes = vec![AddressAttribute::Address(ip), AddressAttribute::Flags(flags)];
        message
    }

    /// Tells a table of two interfaces with an address each these messages. The lanes then, in words.
    fn after(messages: Vec<RouteNetlinkMessage>) -> Vec<String> {
        let mut table = Table::default();
        let machine = [
            M::NewLink(link(1, "lo", RUNNING)),
            M::NewLink(link(2, "eth0", RUNNING)),
            M::NewAddress(address(1, "127.0.0.1", AddressFlags::Permanent)),
            M::NewAddress(address(2, "10.0.1.2", AddressFlags::Permanent)),
        ];
        for message in machine.iter().chain(&messages) {
            table.on_message(message);
        }
        let say = |lane: Lane| format!("{} {} {}", lane.name, lane.ip, if lane.is_up { "up" } else { "down" });
        table.lanes().into_iter().map(say).collect()
    }

    #[test]
    fn lanes_follow_what_the_kernel_says() {
        let (eth0, lo) = ("eth0 10.0.1.2 up", "lo 127.0.0.1 up");
        let permanent = AddressFlags::Permanent;
        let check = |messages: Vec<RouteNetlinkMessage>, expect: &[&str]| {
            let said = format!("{messages:?}");
            assert_eq!(after(messages), expect, "{said}");
        };
        check(vec![], &[eth0, lo]);
        check(vec![M::NewLink(link(2, "eth0", LinkFlags::Up))], &["eth0 10.0.1.2 down", lo]);
        check(
            vec![M::NewLink(link(2, "eth0", LinkFlags::empty()))],
            &["eth0 10.0.1.2 down", lo],
        );
        check(vec![M::NewLink(link(2, "wan", RUNNING))], &["wan 10.0.1.2 up", lo]);
        check(vec![M::DelLink(link(2, "eth0", RUNNING))], &[lo]);
        check(vec![M::DelAddress(address(2, "10.0.1.2", permanent))], &[lo]);
        check(vec![M::DelAddress(address(2, "10.0.1.3", permanent))], &[eth0, lo]);
        check(
            vec![M::NewAddress(address(2, "fd00::2", permanent))],
            &[eth0, "eth0 fd00::2 up", lo],
        );
        for flags in [AddressFlags::Tentative, AddressFlags::Deprecated, AddressFlags::Dadfailed] {
            check(vec![M::NewAddress(address(2, "fd00::2", flags))], &[eth0, lo]);
            check(vec![M::NewAddress(address(2, "10.0.1.2", permanent | flags))], &[lo]);
        }
        check(vec![M::NewAddress(address(2, "fe80::2", permanent))], &[eth0, lo]);
        check(vec![M::NewAddress(address(9, "10.0.9.2", permanent))], &[eth0, lo]);
        let late = vec![
            M::NewAddress(address(9, "10.0.9.2", permanent)),
            M::NewLink(link(9, "wg0", RUNNING)),
        ];
        check(late, &[eth0, "wg0 10.0.9.2 up", lo]);
    }

    #[test]
    fn a_port_that_leaves_its_bridge_stays_an_interface() {
        let mut port = link(2, "eth0", RUNNING);
        port.header.interface_family = AddressFamily::Bridge;
        assert_eq!(after(vec![M::DelLink(port)]).len(), 2);
    }

    #[test]
    fn of_two_ends_the_own_one_is_the_lane() {
        let mut tunnel = address(2, "10.9.0.1", AddressFlags::Permanent);
        let own = "10.9.0.2".parse().expect("an address");
        tunnel.attributes.push(AddressAttribute::Local(own));
        assert!(after(vec![M::NewAddress(tunnel)]).contains(&"eth0 10.9.0.2 up".to_owned()));
    }
}
