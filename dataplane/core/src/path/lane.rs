//! What a path leaves from.

use std::net::IpAddr;

/// One local address of a network interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The kernel's index of the interface (`if_nametoindex(3)`).
    pub interface: u32,
    /// The interface's name, for people and rules.
    pub name: String,
    /// The address.
    pub ip: IpAddr,
    /// How many leading bits of it name its subnet.
    pub prefix_bits: u8,
    /// Whether the interface is up and has a carrier (`IFF_RUNNING` of netdevice(7)).
    pub is_up: bool,
}

impl Lane {
    /// Whether `other` is on this lane's own subnet, so that no router is needed.
    pub fn is_near(&self, other: IpAddr) -> bool {
        let bits = u32::from(self.prefix_bits);
        match (self.ip, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u32::from(own) ^ u32::from(other);
                differ.leading_zeros() >= bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = u128::from(own) ^ u128::from(other);
                differ.leading_zeros() >= bits
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_what_shares_the_prefix() {
        for (own, bits, other, near) in [
            ("10.0.1.2", 24, "10.0.1.9", true),
            ("10.0.1.2", 24, "10.0.2.2", false),
            ("10.0.1.2", 32, "10.0.1.2", true),
            ("10.0.1.2", 32, "10.0.1.3", false),
            ("10.0.1.2", 0, "192.0.2.1", true),
            ("fd00::1", 64, "fd00::2", true),
            ("fd00::1", 64, "fd00:0:0:1::2", false),
            ("10.0.1.2", 0, "fd00::2", false),
        ] {
            let lane = Lane {
                interface: 2,
                name: "eth0".to_owned(),
                ip: own.parse().expect("an address"),
                prefix_bits: bits,
                is_up: true,
            };
            assert_eq!(
                lane.is_near(other.parse().expect("an address")),
                near,
                "{own}/{bits} and {other}"
            );
        }
    }
}
