//! A host that the operator trusts to know where releases are, as written: `PEER@IP:PORT`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use ares_core::peer::{PeerAt, PeerId};

/// A peer that is asked about every release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    /// The key it must prove.
    peer: PeerId,
    /// Where it listens.
    addr: SocketAddr,
}

/// What is written is no seed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{entry}` is no seed: {why}. Write the peer's 64 hex digits (`ares status` there shows them), `@` and where it listens, such as {}…@192.0.2.7:4227",
    &EXAMPLE[..10]
)]
pub(crate) struct BadSeed {
    entry: String,
    why: &'static str,
}

/// A peer id, for showing what one looks like.
const EXAMPLE: &str = "76634e1668a1f2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b";

impl Seed {
    /// As the node takes it.
    pub(crate) fn hint(&self) -> PeerAt {
        PeerAt {
            peer: self.peer,
            addrs: vec![self.addr],
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.peer, self.addr)
    }
}

impl FromStr for Seed {
    type Err = BadSeed;

    fn from_str(entry: &str) -> Result<Self, BadSeed> {
        let bad = |why| BadSeed {
            entry: entry.to_owned(),
            why,
        };
        let (peer, addr) = entry.split_once('@').ok_or_else(|| bad("it has no `@`"))?;
        let peer = PeerId::from_hex(peer).ok_or_else(|| bad("what is before `@` is not the 64 hex digits of a peer"))?;
        let addr: SocketAddr = addr
            .parse()
            .map_err(|_| bad("what follows `@` is no IP address with a port"))?;
        if addr.port() == 0 || addr.ip().is_unspecified() {
            return Err(bad("nobody can be reached at what follows `@`"));
        }
        Ok(Self { peer, addr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_peer_and_where_it_listens() {
        for addr in ["192.0.2.7:4227", "[2001:db8::7]:4227", "[fe80::7%2]:4227"] {
            let written = format!("{EXAMPLE}@{addr}");
            let seed: Seed = written.parse().expect(addr);
            assert_eq!(seed.to_string(), written);
            let hint = seed.hint();
            assert_eq!(hint.peer.to_string(), EXAMPLE);
            assert_eq!(hint.addrs, [addr.parse().expect("an address")]);
        }
    }

    #[test]
    fn what_is_no_seed_is_named_with_the_right_form() {
        let check = |entry: String, why: &str| {
            let said = entry.parse::<Seed>().expect_err(&entry).to_string();
            for word in [why, "ares status", "@192.0.2.7:4227", &entry] {
                assert!(said.contains(word), "{entry}: {said}");
            }
        };
        check(String::new(), "no `@`");
        check("192.0.2.7:4227".to_owned(), "no `@`");
        check("76634e1668@192.0.2.7:4227".to_owned(), "before `@`");
        check(format!("{}g@192.0.2.7:4227", &EXAMPLE[..63]), "before `@`");
        check(format!("{EXAMPLE}@192.0.2.7"), "follows `@`");
        check(format!("{EXAMPLE}@host:4227"), "follows `@`");
        check(format!("{EXAMPLE}@192.0.2.7:0"), "nobody");
        check(format!("{EXAMPLE}@0.0.0.0:4227"), "nobody");
    }
}
