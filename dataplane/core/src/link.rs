//! The `ares:` link: one shell-safe token that names a release and says where to find it.
//!
//! ```text
//! ares:BASE32[/path/inside][#key]     BASE32 = lower case, RFC 4648 alphabet, no padding, of:
//!     version u8 = 1 | release 32 | name length u8, name | peers u8, each: key 32, addresses u8, each: 4 or 6 u8, ip 4 or 16, port u16
//!     | checksum: first 4 bytes of the BLAKE3 of all before                       (numbers big-endian)
//! ```
//! Bytes of the path that a shell or a URI could take for something else are written `%xx`. A key is refused until sealed releases
//! exist.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::chunk::{ChunkId, ReleaseId};
use crate::limits::{LINK_ADDRS_MAX, LINK_PEERS_MAX, NAME_BYTES_MAX};
use crate::manifest::Name;
use crate::peer::{PeerAt, PeerId};

const SCHEME: &str = "ares:";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// A release, a name for people, hints where to find it, and a place inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What.
    pub release: ReleaseId,
    /// What people call it: a file name as `name_from` makes it, or empty. What goes beyond 255 bytes is not written.
    pub name: String,
    /// Who has it, best first. What goes beyond `LINK_PEERS_MAX`, and `LINK_ADDRS_MAX` each, is not written; nor
    /// are IPv6 scopes and flow labels, which mean nothing on another machine.
    pub peers: Vec<PeerAt>,
    /// Names below the top, joined by `/`; empty for the whole release.
    pub inside: Vec<u8>,
}

/// Why a text is no link. The guilty is who typed or copied it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Something else.
    #[error("\"{text}\" is not an ares link: links begin with \"ares:\"")]
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
    #[error("the link has {found:?} as its {at}. character, which no link has there; copy it again")]
    Character {
        /// The character.
        found: char,
        /// Where, counted from 1.
        at: usize,
    },
    /// Its checksum does not fit.
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
    /// Right by its checksum, and yet no link: made by a faulty program.
    #[error("the link is malformed: {what}; ask whoever made it for another")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// A sealed release.
    #[error("the link carries a key (after '#'): sealed releases need a newer ares")]
    Sealed,
    /// The place inside cannot be.
    #[error("the link's path \"{inside}\" leads nowhere: {why}")]
    Inside {
        /// The path as written.
        inside: String,
        /// What is wrong with it.
        why: String,
    },
}

impl FromStr for Link {
    type Err = LinkError;

    /// White space around is ignored, and upper case is taken for lower case.
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        let body = match text.get(..SCHEME.len()) {
            Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => &text[SCHEME.len()..],
            _ => {
                return Err(LinkError::Foreign {
                    text: text.chars().take(40).collect(),
                });
            }
        };
        if body.contains('#') {
            return Err(LinkError::Sealed);
        }
        let (token, inside) = body.split_once('/').unwrap_or((body, ""));
        let mut link = parse_payload(&base32_decode(token)?)?;
        link.inside = unescape(inside)?;
        Ok(link)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        base32_encode(&self.payload(), f)?;
        if !self.inside.is_empty() {
            f.write_str("/")?;
        }
        for &byte in &self.inside {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' => write!(f, "{}", byte as char)?,
                _ => write!(f, "%{byte:02x}")?,
            }
        }
        Ok(())
    }
}

impl Link {
    /// The name for people of a published file or directory: text, one line, one component.
    pub fn name_from(file_name: &[u8]) -> String {
        let text = String::from_utf8_lossy(file_name);
        let name: String = text
            .chars()
            .map(|c| if c.is_control() || c == '/' { '_' } else { c })
            .collect();
        if is_name(&name) { name } else { String::new() }
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(self.release.0.as_bytes());
        let name = &self.name[..self.name.floor_char_boundary(NAME_BYTES_MAX)];
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        let peers = &self.peers[..self.peers.len().min(LINK_PEERS_MAX)];
        out.push(peers.len() as u8);
        for PeerAt { peer, addrs } in peers {
            out.extend_from_slice(peer.as_bytes());
            let addrs = &addrs[..addrs.len().min(LINK_ADDRS_MAX)];
            out.push(addrs.len() as u8);
            for addr in addrs {
                match addr.ip() {
                    IpAddr::V4(ip) => {
                        out.push(4);
                        out.extend_from_slice(&ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        out.push(6);
                        out.extend_from_slice(&ip.octets());
                    }
                }
                out.extend_from_slice(&addr.port().to_be_bytes());
            }
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum);
        out
    }
}

/// Whether a text may be shown, and used as a file name: the name is chosen by whoever made the link.
fn is_name(name: &str) -> bool {
    name.is_empty() || (!name.contains(char::is_control) && Name::new(name.as_bytes().to_vec()).is_ok())
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = ChunkId::of(bytes);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// Takes the parts of a payload one after the other.
struct Parts<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parts<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], LinkError> {
        let needed = self.at + count;
        let part = self.bytes.get(self.at..needed);
        self.at = needed;
        part.ok_or(LinkError::Truncated {
            bytes: self.bytes.len(),
            needed: needed + CHECKSUM_BYTES,
        })
    }

    fn byte(&mut self) -> Result<u8, LinkError> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LinkError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
}

/// The lengths are followed before the checksum is judged: that tells a cut link from a mistyped one.
fn parse_payload(payload: &[u8]) -> Result<Link, LinkError> {
    let mut parts = Parts { bytes: payload, at: 0 };
    let version = parts.byte()?;
    if version > VERSION {
        // Its layout is unknown, its checksum is where it always is: a mistyped old link is not taken for a new one.
        let (body, sum) = payload.split_at(payload.len().saturating_sub(CHECKSUM_BYTES));
        let newer = LinkError::Newer { version, known: VERSION };
        return Err(if checksum(body) == sum { newer } else { LinkError::Mistyped });
    }
    let link = parse_parts(&mut parts);
    if let Err(LinkError::Truncated { .. }) = link {
        return link;
    }
    let body = &payload[..parts.at.min(payload.len())];
    let sum: [u8; CHECKSUM_BYTES] = parts.array()?;
    if checksum(body) != sum || payload.len() != parts.at {
        return Err(LinkError::Mistyped);
    }
    if version < VERSION {
        return Err(LinkError::Malformed {
            what: "it has version 0, which never was",
        });
    }
    link
}

fn parse_parts(parts: &mut Parts<'_>) -> Result<Link, LinkError> {
    let release = ReleaseId(ChunkId::from_bytes(parts.array()?));
    let name_bytes = parts.byte()?;
    let name = String::from_utf8(parts.take(name_bytes.into())?.to_vec());
    let mut peers = Vec::new();
    let mut unknown_family = false;
    for _ in 0..parts.byte()? {
        let peer = PeerId::from_bytes(parts.array()?);
        let mut addrs = Vec::new();
        for _ in 0..parts.byte()? {
            let ip: IpAddr = match parts.byte()? {
                4 => Ipv4Addr::from(parts.array::<4>()?).into(),
                6 => Ipv6Addr::from(parts.array::<16>()?).into(),
                _ => {
                    unknown_family = true;
                    break;
                }
            };
            addrs.push(SocketAddr::new(ip, u16::from_be_bytes(parts.array()?)));
        }
        peers.push(PeerAt { peer, addrs });
    }
    // A family that never was hides where the rest lies: the checksum, which then fails, is the better judge.
    let name = name.map_err(|_| LinkError::Malformed {
        what: "its name is not UTF-8",
    })?;
    if !is_name(&name) {
        return Err(LinkError::Malformed {
            what: "its name is no file name",
        });
    }
    if unknown_family {
        return Err(LinkError::Mistyped);
    }
    Ok(Link {
        release,
        name,
        peers,
        inside: Vec::new(),
    })
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// RFC 4648 section 6 in lower case, without padding.
fn base32_encode(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for group in bytes.chunks(5) {
        let bits = group
            .iter()
            .chain(&[0; 5])
            .take(5)
            .fold(0u64, |bits, &b| bits << 8 | u64::from(b));
        for digit in 0..(group.len() * 8).div_ceil(5) {
            write!(f, "{}", ALPHABET[(bits >> (35 - 5 * digit) & 31) as usize] as char)?;
        }
    }
    Ok(())
}

fn base32_decode(text: &str) -> Result<Vec<u8>, LinkError> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut count) = (0u16, 0);
    for (at, found) in text.chars().enumerate() {
        let value = match found.to_ascii_lowercase() {
            letter @ 'a'..='z' => letter as u16 - 'a' as u16,
            digit @ '2'..='7' => digit as u16 - '2' as u16 + 26,
            _ => {
                return Err(LinkError::Character {
                    found,
                    at: SCHEME.len() + at + 1,
                });
            }
        };
        bits = bits << 5 | value;
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // Bits that fill up the last character are zero, and no character is left over: else the text is not what was written.
    if count >= 5 || bits != 0 {
        return Err(LinkError::Truncated {
            bytes: out.len(),
            needed: out.len() + 1,
        });
    }
    Ok(out)
}

fn unescape(inside: &str) -> Result<Vec<u8>, LinkError> {
    let wrong = |why: String| LinkError::Inside {
        inside: inside.to_owned(),
        why,
    };
    let mut out = Vec::with_capacity(inside.len());
    let mut bytes = inside.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut hex = || bytes.next().and_then(|digit| (digit as char).to_digit(16));
        match (hex(), hex()) {
            (Some(high), Some(low)) => out.push((high << 4 | low) as u8),
            _ => return Err(wrong("a '%' is followed by two hexadecimal digits".to_owned())),
        }
    }
    let out = out.strip_suffix(b"/").map(<[u8]>::to_vec).unwrap_or(out);
    if !out.is_empty() {
        for name in out.split(|&b| b == b'/') {
            Name::new(name.to_vec()).map_err(|error| wrong(error.to_string()))?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
