//! The `ares:` link: one shell-safe token that names a release and says where to find it.
//!
//! ```text
//! ares:BASE32[/path/inside][#key]     BASE32 = lower case, RFC 4648 alphabet, no padding, of:
//!     version u8 = 1 | release 32 | name length u8, name | peers u8, each: key 32, addresses u8, each: 4 or 6 u8, ip 4 or 16, port u16
//!     | checksum: first 4 bytes of the BLAKE3 of all before                       (numbers big-endian)
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::chunk::ReleaseId;
use crate::peer::PeerId;

/// A release, a name for people, hints where to find it, and a place inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What.
    pub release: ReleaseId,
    /// What people call it: the published file's or directory's name. At most 255 bytes.
    pub name: String,
    /// Who has it, best first.
    pub peers: Vec<LinkPeer>,
    /// Names below the top, joined by `/`; empty for the whole release.
    pub inside: Vec<u8>,
}

/// A peer that has the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPeer {
    /// The key it must prove.
    pub peer: PeerId,
    /// Where to dial, best first.
    pub addrs: Vec<SocketAddr>,
}

/// Why a text is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Something else.
    #[error("{text:?} is not an ares link: links begin with \"ares:\"")]
    Foreign {
        /// Its beginning.
        text: String,
    },
    /// Part of a link.
    #[error("the link is cut short: {bytes} bytes of it are there, at least {needed} are needed; copy it again, whole")]
    Truncated {
        /// Decoded bytes present.
        bytes: usize,
        /// Bytes that its own lengths ask for.
        needed: usize,
    },
    /// A character that cannot be in a link.
    #[error("the link has {found:?} at character {at}, which no link has there; copy it again")]
    Character {
        /// The character.
        found: char,
        /// Where, counted from 1.
        at: usize,
    },
    /// Checksum or structure wrong.
    #[error("the link is mistyped: its checksum does not fit; copy it again")]
    Mistyped,
    /// From a newer program.
    #[error("the link has version {version}; this program reads up to {known}: update ares")]
    Newer {
        /// Its version.
        version: u8,
        /// The newest we read.
        known: u8,
    },
    /// A sealed release.
    #[error("the link carries a key (after '#'): sealed releases need a newer ares")]
    Sealed,
    /// The place inside cannot be.
    #[error("the link's path {inside:?} is none: {why}")]
    Inside {
        /// The path as written.
        inside: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl FromStr for Link {
    type Err = LinkError;
    fn from_str(_text: &str) -> Result<Self, LinkError> {
        unimplemented!()
    }
}

impl fmt::Display for Link {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}
