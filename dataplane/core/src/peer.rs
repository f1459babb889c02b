//! Who is spoken to and over what: identities and network paths. Different things have different types that do not mix.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::order::cmp_names;

/// A remote identity: its Ed25519 public key (RFC 8032), 32 bytes. Proven in the TLS handshake before a word is exchanged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerId([u8; 32]);

impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> Ordering {
        cmp_names(&self.0, &other.0)
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PeerId {
    /// From the 32 bytes of the public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 64 hex digits; `None` where it is anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        Some(Self(*blake3::Hash::from_hex(text).ok()?.as_bytes()))
    }

    /// The first ten hex digits: enough for a person to tell peers apart in a log line.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.short())
    }
}

/// One address of a node and the UDP ports of its shards there, the one it was told to listen on first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// One port a shard, in the same order at each address.
    pub ports: Vec<u16>,
}

/// A peer and where it was met or said to be, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAt {
    /// The key it must prove.
    pub peer: PeerId,
    /// Where to dial.
    pub addrs: Vec<SocketAddr>,
}

/// One network 4-tuple to a peer, with a QUIC connection of its own. Unique within a node's life, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u64);

/// A UDP socket of a shard: an index into its list. Paths of several lanes may leave from one that is bound to all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u16);

/// What chunks are asked from: a peer over one of its paths. A dying path and a dying peer are the same event: ask the next source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The remote identity.
    pub peer: PeerId,
    /// The path to it.
    pub path: PathId,
}
