//! How addresses, control messages and received bursts are laid out for the kernel and read back. Bytes in, values out: no pointers, no
//! system calls, so that a wrong length is an error here and never a stray access.
//!
//! A received buffer, as io_uring's multishot recvmsg fills it:
//!
//! ```text
//!  0        16              48                      192                      192 + 65,536
//!  | header | remote address | control messages ... | payload: stride, stride, .., rest  |
//!    namelen, controllen, payloadlen, flags (u32 each)
//! ```

use bytes::BytesMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;

/// The kernel cuts one send into at most this many datagrams (UDP_MAX_SEGMENTS was 64 before Linux 6.9).
pub const SEGMENTS_MAX: usize = 64;

/// Payload of one send: what fits an IPv4 packet of 65,535 bytes after its two headers, with or without GSO.
pub const SEND_BYTES_MAX: usize = 65_507;

const RECEIVE_HEADER_BYTES: usize = 16;
pub(crate) const NAME_BYTES: usize = 32;
/// UDP_GRO 24, IPV6_PKTINFO 40, traffic class 24, and room for one more of each to come.
pub(crate) const RECEIVE_CONTROL_BYTES: usize = 144;
pub(crate) const PAYLOAD_OFFSET: usize = RECEIVE_HEADER_BYTES + NAME_BYTES + RECEIVE_CONTROL_BYTES;
const PAYLOAD_BYTES_MAX: usize = 65_536;
/// One receive buffer: the largest burst GRO can build, behind its header.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = PAYLOAD_OFFSET + PAYLOAD_BYTES_MAX;

const _: () = assert!(PAYLOAD_OFFSET.is_multiple_of(64), "payloads start on a cache line");
const _: () = assert!(
    RECEIVE_CONTROL_BYTES >= 24 + 40 + 24,
    "every control message asked for by socket.rs fits"
);

/// The ECN mark of a datagram (RFC 3168). A datagram that is not ECN-capable has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// ECN-capable, ECT(1).
    Ect1 = 0b01,
    /// ECN-capable, ECT(0).
    Ect0 = 0b10,
    /// Congestion experienced.
    Ce = 0b11,
}

impl Ecn {
    /// The two bits as they stand in the IP header.
    pub fn bits(self) -> u8 {
        self as u8
    }

    /// Reads the two low bits of a TOS or traffic class byte.
    pub fn from_bits(tos: u8) -> Option<Ecn> {
        match tos & 0b11 {
            0b01 => Some(Ecn::Ect1),
            0b10 => Some(Ecn::Ect0),
            0b11 => Some(Ecn::Ce),
            _ => None,
        }
    }
}

/// Where a datagram leaves from. Needs no privilege: the kernel refuses addresses that are not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The local address, of the destination's family; for a socket bound to a wildcard, or to this address.
    pub ip: IpAddr,
    /// The index of the interface to leave by, whatever the routing table would choose (`ipi_ifindex` of ip(7), `ipi6_ifindex` of RFC 3542
    /// section 6.2). An interface that is gone is an error (ENODEV).
    pub interface: Option<u32>,
}

impl Origin {
    /// An address, by whichever interface the routing table chooses.
    pub fn address(ip: IpAddr) -> Origin {
        Origin { ip, interface: None }
    }
}

/// Datagrams that arrived together from one address. All but the last are `stride` bytes long.
#[derive(Debug)]
pub struct Datagrams {
    /// Who sent them.
    pub remote: SocketAddr,
    /// The address they were sent to, where the kernel told.
    pub local_ip: Option<IpAddr>,
    /// Their common ECN mark.
    pub ecn: Option<Ecn>,
    /// Bytes per datagram, at least 1.
    pub stride: usize,
    /// All of them, never empty; owned, so `split_to(stride)` costs no copy.
    pub data: BytesMut,
}

impl Datagrams {
    /// Takes the next datagram off the front.
    pub fn take(&mut self) -> Option<BytesMut> {
        match self.data.len() {
            0 => None,
            left => Some(self.data.split_to(self.stride.min(left))),
        }
    }
}

/// What the header of a received buffer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) remote: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) stride: usize,
    pub(crate) payload: Range<usize>,
}

/// Why a received buffer was not handed on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// An empty datagram: legal, meaningless to us.
    Empty,
    /// The datagram or its control messages did not fit, or the kernel's header does not agree with itself.
    Truncated,
    /// Not from an IP address.
    Address,
}

impl Received {
    /// Reads a buffer of which the kernel filled all of `buffer`.
    pub(crate) fn parse(buffer: &[u8]) -> Result<Received, Unusable> {
        let field = |index: usize| read_u32(buffer, 4 * index).map(|v| v as usize).ok_or(Unusable::Truncated);
        let (name_bytes, control_bytes, payload_bytes, flags) = (field(0)?, field(1)?, field(2)?, field(3)? as i32);
        if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 || name_bytes > NAME_BYTES || control_bytes > RECEIVE_CONTROL_BYTES {
            return Err(Unusable::Truncated);
        }
        let payload = PAYLOAD_OFFSET..PAYLOAD_OFFSET + payload_bytes;
        if payload.end > buffer.len() {
            return Err(Unusable::Truncated);
        }
        if payload.is_empty() {
            return Err(Unusable::Empty);
        }
        let name = &buffer[RECEIVE_HEADER_BYTES..][..name_bytes];
        let remote = decode_addr(name).ok_or(Unusable::Address)?;
        let mut received = Received {
            remote,
            local_ip: None,
            ecn: None,
            stride: payload_bytes,
            payload,
        };
        for (level, kind, data) in control_messages(&buffer[RECEIVE_HEADER_BYTES + NAME_BYTES..][..control_bytes]) {
            received.note(level, kind, data);
        }
        Ok(received)
    }

    fn note(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                if let Some(stride @ 1..) = read_u32(data, 0) {
                    self.stride = (stride as usize).min(self.payload.len());
                }
            }
            // One byte when received, although an int when sent; the low byte comes first only on little-endian machines.
            (libc::IPPROTO_IP, libc::IP_TOS) => self.ecn = data.first().copied().and_then(Ecn::from_bits),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => self.ecn = read_u32(data, 0).and_then(|class| Ecn::from_bits(class as u8)),
            // struct in_pktinfo { int ifindex; in_addr spec_dst; in_addr addr }: addr is what the header said.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                self.local_ip = data
                    .get(8..12)
                    .and_then(|a| <[u8; 4]>::try_from(a).ok())
                    .map(|a| Ipv4Addr::from(a).into());
            }
            // struct in6_pktinfo { in6_addr addr; unsigned ifindex }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                self.local_ip = data
                    .get(..16)
                    .and_then(|a| <[u8; 16]>::try_from(a).ok())
                    .map(|a| Ipv6Addr::from(a).into());
            }
            _ => {}
        }
    }
}

/// An address in the kernel's layout.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Name {
    bytes: [u8; NAME_BYTES],
    len: usize,
}

impl Name {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

const _: () = assert!(size_of::<libc::sockaddr_in>() == 16 && std::mem::offset_of!(libc::sockaddr_in, sin_addr) == 4);
const _: () = assert!(size_of::<libc::sockaddr_in6>() == 28 && std::mem::offset_of!(libc::sockaddr_in6, sin6_addr) == 8);
const _: () = assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24);

pub(crate) fn encode_addr(addr: SocketAddr) -> Name {
    let mut name = Name {
        bytes: [0; NAME_BYTES],
        len: 0,
    };
    let (family, rest) = name.bytes.split_at_mut(2);
    rest[..2].copy_from_slice(&addr.port().to_be_bytes());
    match addr {
        SocketAddr::V4(addr) => {
            family.copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            rest[2..6].copy_from_slice(&addr.ip().octets());
            name.len = 16;
        }
        SocketAddr::V6(addr) => {
            family.copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            rest[2..6].copy_from_slice(&addr.flowinfo().to_be_bytes());
            rest[6..22].copy_from_slice(&addr.ip().octets());
            rest[22..26].copy_from_slice(&addr.scope_id().to_ne_bytes());
            name.len = 28;
        }
    }
    name
}

fn decode_addr(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some(SocketAddrV4::new(ip.into(), port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(name.get(4..8)?.try_into().ok()?);
            let ip: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            Some(SocketAddrV6::new(ip.into(), port, flow, read_u32(name, 24)?).into())
        }
        _ => None,
    }
}

const WORD: usize = size_of::<usize>();
const CONTROL_HEADER_BYTES: usize = size_of::<libc::cmsghdr>();
const _: () = assert!(
    CONTROL_HEADER_BYTES == WORD + 8,
    "struct cmsghdr: size_t len, int level, int type"
);

/// Control messages of one send: UDP_SEGMENT 24, traffic class 24, IPV6_PKTINFO 40 bytes.
const SEND_CONTROL_BYTES: usize = 88;

/// The control messages of one send, in the kernel's layout.
#[repr(C, align(8))]
pub(crate) struct Control {
    bytes: [u8; SEND_CONTROL_BYTES],
    len: usize,
}

impl Control {
    pub(crate) fn new(from: Option<Origin>, to: IpAddr, ecn: Option<Ecn>, segment_bytes: Option<u16>) -> Control {
        let mut control = Control {
            bytes: [0; SEND_CONTROL_BYTES],
            len: 0,
        };
        if let Some(segment_bytes) = segment_bytes {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment_bytes.to_ne_bytes());
        }
        if let Some(ecn) = ecn {
            let class = i32::from(ecn.bits()).to_ne_bytes();
            match to {
                IpAddr::V4(_) => control.push(libc::IPPROTO_IP, libc::IP_TOS, &class),
                IpAddr::V6(_) => control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class),
            }
        }
        if let Some(origin) = from {
            control.push_origin(origin);
        }
        control
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The layouts are those read in `Received::note`; there is no interface of index 0.
    fn push_origin(&mut self, origin: Origin) {
        let interface = origin.interface.unwrap_or(0).to_ne_bytes();
        match origin.ip {
            IpAddr::V4(ip) => {
                let mut info = [0u8; 12];
                info[..4].copy_from_slice(&interface);
                info[4..8].copy_from_slice(&ip.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(ip) => {
                let mut info = [0u8; 20];
                info[..16].copy_from_slice(&ip.octets());
                info[16..].copy_from_slice(&interface);
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let len = CONTROL_HEADER_BYTES + data.len();
        let at = &mut self.bytes[self.len..];
        at[..WORD].copy_from_slice(&len.to_ne_bytes());
        at[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        at[WORD + 4..WORD + 8].copy_from_slice(&kind.to_ne_bytes());
        at[CONTROL_HEADER_BYTES..len].copy_from_slice(data);
        self.len += len.next_multiple_of(WORD);
    }
}

/// Level, type and data of each message; stops at the first one that does not fit what is left.
fn control_messages(mut bytes: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from_ne_bytes(bytes.get(..WORD)?.try_into().ok()?);
        let level = read_u32(bytes, WORD)? as i32;
        let kind = read_u32(bytes, WORD + 4)? as i32;
        let data = bytes.get(CONTROL_HEADER_BYTES..len)?;
        bytes = bytes.get(len.next_multiple_of(WORD)..).unwrap_or_default();
        Some((level, kind, data))
    })
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
