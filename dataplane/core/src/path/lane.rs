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

/// What makes a lane the same one whatever has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    interface: u32,
    ip: IpAddr,
}

impl Lane {
    /// Which one it is.
    pub fn id(&self) -> LaneId {
        LaneId {
            interface: self.interface,
            ip: self.ip,
        }
    }

    /// Whether `other` is on this lane's own subnet, so that no router is needed.
    pub fn is_near(&self, other: IpAddr) -> bool {
        share_prefix(self.ip, other, self.prefix_bits)
    }

    /// Why nothing can leave from here any more, if so, where the machine's lanes are now these.
    pub fn lost(&self, lanes: &[Lane]) -> Option<LaneLost> {
        let still = lanes
            .iter()
            .find(|lane| lane.interface == self.interface && lane.ip == self.ip);
        match still {
            Some(lane) if lane.is_up => None,
            Some(lane) => Some(LaneLost::Down {
                interface: lane.name.clone(),
            }),
            None => Some(LaneLost::Removed { ip: self.ip }),
        }
    }
}

/// Whether two addresses of one family have the same leading bits.
pub(super) fn share_prefix(one: IpAddr, other: IpAddr, prefix_bits: u8) -> bool {
    let same_bits = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u32::from(one) ^ u32::from(other)).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (u128::from(one) ^ u128::from(other)).leading_zeros(),
        _ => return false,
    };
    same_bits >= u32::from(prefix_bits)
}

/// Why a lane carries nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneLost {
    /// It was taken down, or its cable was pulled.
    #[error("interface {interface} went down")]
    Down {
        /// Its name.
        interface: String,
    },
    /// The kernel would not send from it.
    #[error("nothing can leave from {ip} by {interface}: {why}")]
    NoWay {
        /// The address.
        ip: IpAddr,
        /// The interface's name.
        interface: String,
        /// What the kernel said.
        why: String,
    },
    /// The operator leaves it out now.
    #[error("{ip} by {interface} is left out now")]
    LeftOut {
        /// The address.
        ip: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The interface has it no more, or there is no such interface.
    #[error("address {ip} was removed")]
    Removed {
        /// The address.
        ip: IpAddr,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(interface: u32, ip: &str, is_up: bool) -> Lane {
        Lane {
            interface,
            name: format!("eth{interface}"),
            ip: ip.parse().expect("an address"),
            prefix_bits: 24,
            is_up,
        }
    }

    #[test]
    fn a_lane_is_lost_when_it_is_down_or_gone() {
        let own = lane(1, "10.0.1.2", true);
        let other = lane(2, "10.0.2.2", true);
        let check = |now: &[Lane], expect: Option<&str>| {
            let lost = own.lost(now).map(|lost| lost.to_string());
            assert_eq!(lost.as_deref(), expect, "{now:?}");
        };
        check(std::slice::from_ref(&own), None);
        check(&[other.clone(), own.clone()], None);
        check(&[lane(1, "10.0.1.2", false), other.clone()], Some("interface eth1 went down"));
        check(&[other], Some("address 10.0.1.2 was removed"));
        check(&[lane(1, "10.0.1.3", true)], Some("address 10.0.1.2 was removed"));
        check(&[lane(3, "10.0.1.2", true)], Some("address 10.0.1.2 was removed"));
    }

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
                prefix_bits: bits,
                ..lane(2, own, true)
            };
            assert_eq!(
                lane.is_near(other.parse().expect("an address")),
                near,
                "{own}/{bits} and {other}"
            );
        }
    }
}
