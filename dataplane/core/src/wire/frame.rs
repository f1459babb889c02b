//! Control frames: their meaning, their bytes, and nothing about when they may be sent (`exchange` knows that).

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};

use super::{WireError, varint};
use crate::chunk::{ChunkId, ChunkTag, ReleaseId};
use crate::limits::{
    ADDR_PORTS_MAX, COMING_CHUNKS_MAX, FRAME_BYTES_MAX, HAVE_CHUNKS_MAX, PEER_ADDRS_MAX, TOLD_ADDRS_MAX, TOLD_PEERS_MAX,
};
use crate::peer::{Address, PeerAt, PeerId};

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
    /// Label of the zone that the node is in; empty where it was given none.
    pub zone: String,
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

/// The sender, who holds a part of the release, holds these chunks of it too; none, when it begins to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Have {
    /// The release.
    pub release: ReleaseId,
    /// The chunks, by their tags. At most `HAVE_CHUNKS_MAX`.
    pub chunks: Vec<ChunkTag>,
}

/// The sender has asked peers of other zones for the first of these chunks of the release, and does not wait for the others any more. To peers
/// of its own zone, so that a chunk crosses once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coming {
    /// The release.
    pub release: ReleaseId,
    /// What is to be waited for. At most `COMING_CHUNKS_MAX`.
    pub coming: Vec<ChunkTag>,
    /// What is not. At most `COMING_CHUNKS_MAX`.
    pub not_coming: Vec<ChunkTag>,
}

/// These take part in the release too. Whether they are there and do is for them to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// The release.
    pub release: ReleaseId,
    /// Who and where. More than `TOLD_PEERS_MAX` of ours, and addresses beyond `TOLD_ADDRS_MAX`, are cut.
    pub peers: Vec<PeerAt>,
}

/// What others than the receiver have asked of the sender, over whichever connection, and how it copes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// What it has not sent yet of that, in bytes.
    pub queued_bytes: u64,
    /// How many peers wait for it.
    pub peers: u64,
    /// What it sends altogether, to the receiver too, in bytes per second.
    pub bytes_per_s: u64,
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
    // Type 2 was a load of one number, which nobody ever sent.
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
    /// Type 6.
    Have(Have),
    /// Type 7.
    Peers(Peers),
    /// Type 8.
    Load(Load),
    /// Type 9.
    Coming(Coming),
    /// Type 10. These of the receiver's zone fetch for it what nobody there has.
    Gates(Peers),
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
                if !hello.zone.is_empty() {
                    put_text(&mut body, &hello.zone);
                }
            }
            Self::Claim { release, state } => {
                body.extend_from_slice(release.0.as_bytes());
                varint::put(&mut body, *state as u64);
            }
            Self::Load(load) => [load.queued_bytes, load.peers, load.bytes_per_s]
                .iter()
                .for_each(|number| varint::put(&mut body, (*number).min(varint::VARINT_MAX))),
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
            Self::Have(Have { release, chunks }) => {
                body.extend_from_slice(release.0.as_bytes());
                varint::put(&mut body, chunks.len() as u64);
                chunks.iter().for_each(|chunk| body.extend_from_slice(&chunk.to_bytes()));
            }
            Self::Coming(Coming {
                release,
                coming,
                not_coming,
            }) => {
                body.extend_from_slice(release.0.as_bytes());
                for chunks in [coming, not_coming] {
                    varint::put(&mut body, chunks.len() as u64);
                    chunks.iter().for_each(|chunk| body.extend_from_slice(&chunk.to_bytes()));
                }
            }
            Self::Peers(Peers { release, peers }) | Self::Gates(Peers { release, peers }) => {
                body.extend_from_slice(release.0.as_bytes());
                let peers = &peers[..peers.len().min(TOLD_PEERS_MAX)];
                varint::put(&mut body, peers.len() as u64);
                for told in peers {
                    body.extend_from_slice(told.peer.as_bytes());
                    let addrs = &told.addrs[..told.addrs.len().min(TOLD_ADDRS_MAX)];
                    varint::put(&mut body, addrs.len() as u64);
                    for addr in addrs {
                        put_ip(&mut body, addr.ip());
                        varint::put(&mut body, addr.port().into());
                    }
                }
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
            Self::Bad { .. } => 3,
            Self::Bye { .. } => 4,
            Self::Addresses(_) => 5,
            Self::Have(_) => 6,
            Self::Peers(_) => 7,
            Self::Load(_) => 8,
            Self::Coming(_) => 9,
            Self::Gates(_) => 10,
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
                ports: body.list(0..=PORTS_MAX, "more than 256 ports", Body::port)?,
                zone: if body.rest.is_empty() { String::new() } else { body.text()? },
            }),
            1 => Self::Claim {
                release: ReleaseId(body.id()?),
                state: body.claim()?,
            },
            3 => Self::Bad { chunk: body.id()? },
            4 => Self::Bye {
                code: body.varint()?,
                reason: body.text()?,
            },
            5 => Self::Addresses(body.list(0..=PEER_ADDRS_MAX, "more than 16 addresses", Body::address)?),
            6 => Self::Have(Have {
                release: ReleaseId(body.id()?),
                chunks: body.list(0..=HAVE_CHUNKS_MAX, "more than 4096 chunks", Body::tag)?,
            }),
            7 => Self::Peers(body.peers()?),
            8 => Self::Load(Load {
                queued_bytes: body.varint()?,
                peers: body.varint()?,
                bytes_per_s: body.varint()?,
            }),
            9 => Self::Coming(Coming {
                release: ReleaseId(body.id()?),
                coming: body.list(0..=COMING_CHUNKS_MAX, "more than 1024 chunks", Body::tag)?,
                not_coming: body.list(0..=COMING_CHUNKS_MAX, "more than 1024 chunks", Body::tag)?,
            }),
            10 => Self::Gates(body.peers()?),
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
const NAMES: [&str; 11] = [
    "hello",
    "claim",
    "unknown",
    "bad",
    "bye",
    "addresses",
    "have",
    "peers",
    "load",
    "coming",
    "gates",
];

fn put_text(out: &mut BytesMut, text: &str) {
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_address(out: &mut BytesMut, address: &Address) {
    put_ip(out, address.ip);
    let ports = &address.ports[..address.ports.len().min(ADDR_PORTS_MAX)];
    varint::put(out, ports.len() as u64);
    ports.iter().for_each(|port| varint::put(out, (*port).into()));
}

fn put_ip(out: &mut BytesMut, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            varint::put(out, 4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            varint::put(out, 6);
            out.extend_from_slice(&ip.octets());
        }
    }
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

    fn peers(&mut self) -> Result<Peers, WireError> {
        Ok(Peers {
            release: ReleaseId(self.id()?),
            peers: self.list(0..=TOLD_PEERS_MAX, "more than 32 peers", Body::peer)?,
        })
    }

    /// So many items, and no other number of them.
    fn list<T>(
        &mut self,
        counts: RangeInclusive<usize>,
        wrong_count: &'static str,
        item: fn(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = usize::try_from(self.varint()?).ok().filter(|count| counts.contains(count));
        let count = count.ok_or(self.malformed(wrong_count))?;
        (0..count).map(|_| item(self)).collect()
    }

    fn port(&mut self) -> Result<u16, WireError> {
        u16::try_from(self.varint()?).map_err(|_| self.malformed("a port above 65535"))
    }

    fn ip(&mut self) -> Result<IpAddr, WireError> {
        let ip = match self.varint()? {
            4 => IpAddr::from(self.array::<4>("it ends within an address")?),
            6 => IpAddr::from(self.array::<16>("it ends within an address")?),
            _ => return Err(self.malformed("an address of an unknown family")),
        };
        match is_of_one(ip) {
            true => Ok(ip),
            false => Err(self.malformed("an address that is not of one node")),
        }
    }

    fn tag(&mut self) -> Result<ChunkTag, WireError> {
        Ok(ChunkTag::from_bytes(self.array("it ends within a chunk's tag")?))
    }

    fn peer(&mut self) -> Result<PeerAt, WireError> {
        let peer = PeerId::from_bytes(self.array("it ends within a key")?);
        let wrong_count = "a peer without addresses or with more than 4";
        let addrs = self.list(1..=TOLD_ADDRS_MAX, wrong_count, Self::socket_addr)?;
        Ok(PeerAt { peer, addrs })
    }

    fn socket_addr(&mut self) -> Result<SocketAddr, WireError> {
        match (self.ip()?, self.port()?) {
            (_, 0) => Err(self.malformed("port 0")),
            (ip, port) => Ok(SocketAddr::new(ip, port)),
        }
    }

    fn address(&mut self) -> Result<Address, WireError> {
        let ip = self.ip()?;
        let wrong_count = "an address without ports or with more than 16";
        let ports = self.list(1..=ADDR_PORTS_MAX, wrong_count, Self::port)?;
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
