//! Control frames: their meaning, their bytes, and nothing about when they may be sent (`exchange` knows that).

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};

use super::{WireError, varint};
use crate::chunk::{ChunkId, ReleaseId};
use crate::limits::{ADDR_PORTS_MAX, FRAME_BYTES_MAX, PEER_ADDRS_MAX};
use crate::peer::Address;

/// Version of the protocol this node speaks.
pub const PROTOCOL_VERSION: u64 = 1;

/// Longest agent name and goodbye reason, in bytes; longer ones of ours are cut, longer ones of a peer are refused.
const TEXT_BYTES_MAX: usize = 256;

/// Most ports a hello may list: one per shard.
const PORTS_MAX: usize = 256;

/// The first frame each side sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol version; see `PROTOCOL_VERSION`.
    pub version: u64,
    /// Optional features, one bit each; unknown bits are ignored. 62 bits.
    pub features: u64,
    /// Program and version, for people.
    pub agent: String,
    /// Random number of the node's life: tells a connection to oneself or to the same node over another address. 62 bits.
    pub nonce: u64,
    /// UDP ports of the node's shards on this lane, for further paths.
    pub ports: Vec<u16>,
}

/// How much of a release a peer says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimState {
    /// Every chunk.
    Complete,
    /// Some; it may be fetching more.
    Partial,
    /// Nothing (any more).
    None,
}

/// One message of the control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Type 0. Opens the conversation, exactly once per side.
    Hello(Hello),
    /// Type 1. The sender holds this much of a release.
    Claim {
        /// The release.
        release: ReleaseId,
        /// How much of it.
        state: ClaimState,
    },
    /// Type 2. The sender has this much asked of it and not yet sent.
    Load {
        /// In bytes.
        queued_bytes: u64,
    },
    /// Type 3. The receiver served bytes that do not hash to this name.
    Bad {
        /// The name they were asked by.
        chunk: ChunkId,
    },
    /// Type 4. The sender closes the connection right after.
    Bye {
        /// A `CloseCode`.
        code: u64,
        /// For people.
        reason: String,
    },
    /// Type 5. The sender is also at these addresses, and no longer at those it told before. More than `PEER_ADDRS_MAX` of ours, and ports
    /// beyond `ADDR_PORTS_MAX`, are cut.
    Addresses(Vec<Address>),
}

impl Frame {
    /// Appends length, type and body.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut body = BytesMut::with_capacity(64);
        varint::put(&mut body, self.kind());
        match self {
            Self::Hello(hello) => {
                varint::put(&mut body, hello.version);
                varint::put(&mut body, hello.features & varint::VARINT_MAX);
                put_text(&mut body, &hello.agent);
                varint::put(&mut body, hello.nonce & varint::VARINT_MAX);
                let ports = &hello.ports[..hello.ports.len().min(PORTS_MAX)];
                varint::put(&mut body, ports.len() as u64);
                ports.iter().for_each(|port| varint::put(&mut body, (*port).into()));
            }
            Self::Claim { release, state } => {
                body.extend_from_slice(release.0.as_bytes());
                varint::put(&mut body, *state as u64);
            }
            Self::Load { queued_bytes } => varint::put(&mut body, (*queued_bytes).min(varint::VARINT_MAX)),
            Self::Bad { chunk } => body.extend_from_slice(chunk.as_bytes()),
            Self::Bye { code, reason } => {
                varint::put(&mut body, (*code).min(varint::VARINT_MAX));
                put_text(&mut body, reason);
            }
            Self::Addresses(addresses) => {
                let addresses = &addresses[..addresses.len().min(PEER_ADDRS_MAX)];
                varint::put(&mut body, addresses.len() as u64);
                addresses.iter().for_each(|address| put_address(&mut body, address));
            }
        }
        assert!(body.len() <= FRAME_BYTES_MAX as usize, "our own frames are short");
        varint::put(out, body.len() as u64);
        out.extend_from_slice(&body);
    }

    /// The frame's bytes on the wire.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }

    const fn kind(&self) -> u64 {
        match self {
            Self::Hello(_) => 0,
            Self::Claim { .. } => 1,
            Self::Load { .. } => 2,
            Self::Bad { .. } => 3,
            Self::Bye { .. } => 4,
            Self::Addresses(_) => 5,
        }
    }

    /// Parses a body of type `kind`, all of it; `None` for a type of a later version.
    pub(super) fn parse(kind: u64, body: &[u8]) -> Result<Option<Self>, WireError> {
        let mut body = Body {
            name: NAMES.get(kind as usize).copied().unwrap_or("unknown"),
            rest: body,
        };
        let frame = match kind {
            0 => Self::Hello(Hello {
                version: body.varint()?,
                features: body.varint()?,
                agent: body.text()?,
                nonce: body.varint()?,
                ports: body.ports()?,
            }),
            1 => Self::Claim {
                release: ReleaseId(body.id()?),
                state: body.claim()?,
            },
            2 => Self::Load {
                queued_bytes: body.varint()?,
            },
            3 => Self::Bad { chunk: body.id()? },
            4 => Self::Bye {
                code: body.varint()?,
                reason: body.text()?,
            },
            5 => Self::Addresses(body.addresses()?),
            _ => return Ok(None),
        };
        // A hello may grow in later versions; the others have their exact shape.
        if kind != 0 && !body.rest.is_empty() {
            return Err(body.malformed("bytes past its end"));
        }
        Ok(Some(frame))
    }
}

/// Names by type, for errors.
const NAMES: [&str; 6] = ["hello", "claim", "load", "bad", "bye", "addresses"];

fn put_text(out: &mut BytesMut, text: &str) {
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_address(out: &mut BytesMut, address: &Address) {
    match address.ip {
        IpAddr::V4(ip) => {
            varint::put(out, 4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            varint::put(out, 6);
            out.extend_from_slice(&ip.octets());
        }
    }
    let ports = &address.ports[..address.ports.len().min(ADDR_PORTS_MAX)];
    varint::put(out, ports.len() as u64);
    ports.iter().for_each(|port| varint::put(out, (*port).into()));
}

/// Whether an address can be that of one node: what else a frame may name would have us send to many, or to nobody.
fn is_of_one(ip: IpAddr) -> bool {
    let is_other_family = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || is_broadcast || is_other_family)
}

/// What is left of a frame's body, and the frame's name for errors.
struct Body<'a> {
    name: &'static str,
    rest: &'a [u8],
}

impl Body<'_> {
    fn malformed(&self, why: &'static str) -> WireError {
        WireError::FrameMalformed { frame: self.name, why }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        varint::take(&mut self.rest).ok_or(self.malformed("it ends within a number"))
    }

    fn array<const N: usize>(&mut self, cut: &'static str) -> Result<[u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(self.malformed(cut))?;
        self.rest = rest;
        Ok(*array)
    }

    fn id(&mut self) -> Result<ChunkId, WireError> {
        Ok(ChunkId::from_bytes(self.array("it ends within a hash")?))
    }

    fn text(&mut self) -> Result<String, WireError> {
        let len = self.varint()?;
        if len > TEXT_BYTES_MAX as u64 {
            return Err(self.malformed("a text longer than 256 bytes"));
        }
        let (text, rest) = self
            .rest
            .split_at_checked(len as usize)
            .ok_or(self.malformed("it ends within a text"))?;
        self.rest = rest;
        // Shown to people: control characters could rewrite a terminal.
        Ok(String::from_utf8_lossy(text).replace(char::is_control, "?"))
    }

    fn ports(&mut self) -> Result<Vec<u16>, WireError> {
        let count = self.varint()?;
        if count > PORTS_MAX as u64 {
            return Err(self.malformed("more than 256 ports"));
        }
        (0..count).map(|_| self.port()).collect()
    }

    fn port(&mut self) -> Result<u16, WireError> {
        u16::try_from(self.varint()?).map_err(|_| self.malformed("a port above 65535"))
    }

    fn addresses(&mut self) -> Result<Vec<Address>, WireError> {
        let count = self.varint()?;
        if count > PEER_ADDRS_MAX as u64 {
            return Err(self.malformed("more than 16 addresses"));
        }
        (0..count).map(|_| self.address()).collect()
    }

    fn address(&mut self) -> Result<Address, WireError> {
        let ip = match self.varint()? {
            4 => IpAddr::from(self.array::<4>("it ends within an address")?),
            6 => IpAddr::from(self.array::<16>("it ends within an address")?),
            _ => return Err(self.malformed("an address of an unknown family")),
        };
        if !is_of_one(ip) {
            return Err(self.malformed("an address that is not of one node"));
        }
        let count = self.varint()?;
        if count == 0 || count > ADDR_PORTS_MAX as u64 {
            return Err(self.malformed("an address without ports or with more than 16"));
        }
        let ports: Vec<u16> = (0..count).map(|_| self.port()).collect::<Result<_, _>>()?;
        if ports.contains(&0) {
            return Err(self.malformed("port 0"));
        }
        Ok(Address { ip, ports })
    }

    fn claim(&mut self) -> Result<ClaimState, WireError> {
        match self.varint()? {
            0 => Ok(ClaimState::Complete),
            1 => Ok(ClaimState::Partial),
            2 => Ok(ClaimState::None),
            _ => Err(self.malformed("an unknown claim state")),
        }
    }
}
