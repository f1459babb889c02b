//! Who has a release, as the nodes of a DHT store it for others: a mutable item (BEP 44) under a key that whoever knows the release can
//! derive, and nobody else. Its bytes are sealed, so that those who store it learn neither the release nor who has it.
//!
//! ```text
//! nonce 8 | sealed: version u8 = 1 | n x (peer 32 | told u32, minutes since 1970 | addresses u8, each: 4 or 6 u8, ip 4 or 16, port u16)
//! ```
//! Numbers are big-endian. Whoever knows the release may write what he likes: what is read here is only where to knock.

use std::net::{IpAddr, SocketAddr};

use ares_core::chunk::ReleaseId;
use ares_core::peer::{PeerAt, PeerId};

/// Bytes of an item's value at most (BEP 44).
const VALUE_BYTES_MAX: usize = 1000;

/// Addresses of each peer that are told.
pub(super) const ADDRS_MAX: usize = 3;

/// Items of one release, each with a share of its peers.
pub(super) const SLOTS: u8 = 4;

/// Minutes after which a peer that has not told of itself again is forgotten.
const FRESH_MINUTES: u32 = 120;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 8;

/// What the keys of a release are derived for (BLAKE3 section 6.2).
const SIGNING_CONTEXT: &str = "ares dht 2026-11-26 signing key of a release";
const SEAL_CONTEXT: &str = "ares dht 2026-11-26 seal of a release";

/// What is derived of a release.
pub(super) struct Keys {
    /// Seed of the Ed25519 key that its items are found by and signed with.
    pub(super) signing: [u8; 32],
    seal: [u8; 32],
}

impl Keys {
    pub(super) fn of(release: ReleaseId) -> Self {
        Self {
            signing: blake3::derive_key(SIGNING_CONTEXT, release.0.as_bytes()),
            seal: blake3::derive_key(SEAL_CONTEXT, release.0.as_bytes()),
        }
    }

    /// Seals, or opens: both are the same. The signature of the item vouches for the bytes.
    fn seal(&self, nonce: &[u8; NONCE_BYTES], bytes: &mut [u8]) {
        let mut stream = vec![0; bytes.len()];
        let mut hasher = blake3::Hasher::new_keyed(&self.seal);
        hasher.update(nonce).finalize_xof().fill(&mut stream);
        bytes.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
    }
}

/// The item that a peer tells of itself in.
pub(super) fn slot_of(peer: &PeerId) -> u8 {
    peer.as_bytes()[0] % SLOTS
}

/// A peer and when it told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: PeerAt,
    /// Minutes since 1970.
    pub(super) minute: u32,
}

/// Peers that take part in a release, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record(pub(super) Vec<Told>);

impl Record {
    /// From a value as stored. Empty where it is none that this program understands.
    pub(super) fn read(value: &[u8], keys: &Keys) -> Self {
        let Some((nonce, sealed)) = value.split_first_chunk::<NONCE_BYTES>() else {
            return Self::default();
        };
        let mut bytes = sealed.to_vec();
        bytes.truncate(VALUE_BYTES_MAX);
        keys.seal(nonce, &mut bytes);
        let mut rest = &bytes[..];
        match take::<1>(&mut rest) {
            Some([VERSION]) => Self(std::iter::from_fn(|| told(&mut rest)).collect()),
            _ => Self::default(),
        }
    }

    /// As it is to be stored: as many as fit, the first first. `nonce` is used for this value alone.
    pub(super) fn write(&self, nonce: [u8; NONCE_BYTES], keys: &Keys) -> Vec<u8> {
        let mut value = nonce.to_vec();
        value.push(VERSION);
        for told in &self.0 {
            let before = value.len();
            put(&mut value, told);
            if value.len() > VALUE_BYTES_MAX {
                value.truncate(before);
                break;
            }
        }
        keys.seal(&nonce, &mut value[NONCE_BYTES..]);
        value
    }

    /// Without those who have not told of themselves for long, or from the future.
    pub(super) fn retain_fresh(&mut self, now_minute: u32) {
        let is_fresh =
            |told: &Told| told.minute <= now_minute + FRESH_MINUTES && now_minute <= told.minute.saturating_add(FRESH_MINUTES);
        self.0.retain(is_fresh);
    }

    /// With this peer in front, once.
    pub(super) fn insert(&mut self, own: Told) {
        self.0.retain(|told| told.at.peer != own.at.peer);
        self.0.insert(0, own);
    }
}

fn put(out: &mut Vec<u8>, told: &Told) {
    let addrs = &told.at.addrs[..told.at.addrs.len().min(ADDRS_MAX)];
    out.extend(told.at.peer.as_bytes());
    out.extend(told.minute.to_be_bytes());
    out.push(addrs.len() as u8);
    for addr in addrs {
        match addr.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend(ip.octets());
            }
        }
        out.extend(addr.port().to_be_bytes());
    }
}

/// The next one; `None` at the end, or where something else stands.
fn told(rest: &mut &[u8]) -> Option<Told> {
    let peer = PeerId::from_bytes(take(rest)?);
    let minute = u32::from_be_bytes(take(rest)?);
    let [count] = take(rest)?;
    if !(1..=ADDRS_MAX).contains(&usize::from(count)) {
        return None;
    }
    let mut addrs = Vec::new();
    for _ in 0..count {
        let ip = match take(rest)? {
            [4] => IpAddr::from(take::<4>(rest)?),
            [6] => IpAddr::from(take::<16>(rest)?),
            _ => return None,
        };
        addrs.push(SocketAddr::new(ip, u16::from_be_bytes(take(rest)?)));
    }
    let at = PeerAt { peer, addrs };
    Some(Told { at, minute })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ares_core::chunk::ChunkId;

    fn release(n: u8) -> ReleaseId {
        ReleaseId(ChunkId::from_bytes([n; 32]))
    }

    fn one(n: u8, minute: u32) -> Told {
        let addrs = vec![([10, 0, 0, n], 4227).into(), "[2001:db8::1]:7".parse().expect("an address")];
        let peer = PeerId::from_bytes([n; 32]);
        Told {
            at: PeerAt { peer, addrs },
            minute,
        }
    }

    #[test]
    fn who_knows_the_release_reads_what_was_written_and_nobody_else() {
        let record = Record(vec![one(1, 5), one(2, 6)]);
        let keys = Keys::of(release(0));
        let value = record.write([9; 8], &keys);
        assert_eq!(Record::read(&value, &keys), record);
        assert_eq!(Record::read(&value, &Keys::of(release(1))), Record::default());
        let shows = |bytes: &[u8]| value.windows(bytes.len()).any(|part| part == bytes);
        assert!(!shows(&[1; 8]) && !shows(&[2; 8]) && !shows(&[10, 0, 0]), "sealed");
        assert_ne!(record.write([8; 8], &keys)[8..], value[8..], "another nonce, other bytes");
        let by_definition = blake3::derive_key("ares dht 2026-11-26 signing key of a release", &[0; 32]);
        assert_eq!(keys.signing, by_definition);
    }

    #[test]
    fn a_value_never_has_more_than_fits_and_the_first_have_their_place() {
        let many = Record((0..200).map(|n| one(n, 1)).collect());
        let keys = Keys::of(release(0));
        let value = many.write([0; 8], &keys);
        assert!(value.len() <= VALUE_BYTES_MAX, "{} bytes", value.len());
        let read = Record::read(&value, &keys);
        assert!(
            read.0.len() > 10 && read.0[..] == many.0[..read.0.len()],
            "{} peers",
            read.0.len()
        );
    }

    #[test]
    fn what_somebody_else_has_written_is_read_as_far_as_it_is_sound() {
        let keys = Keys::of(release(0));
        let sealed = |bytes: &[u8]| {
            let mut value = vec![0; 8];
            value.extend(bytes);
            keys.seal(&[0; 8], &mut value[8..]);
            value
        };
        let check = |bytes: &[u8], expect: usize| assert_eq!(Record::read(&sealed(bytes), &keys).0.len(), expect, "{bytes:?}");
        let mut good = vec![1];
        put(&mut good, &one(1, 1));
        check(&good, 1);
        check(&good[..good.len() - 1], 0);
        check(&[&good[..], &[7; 31]].concat(), 1);
        check(&[&[2], &good[1..]].concat(), 0);
        check(&[], 0);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        check(&with(1 + 36, 0), 0);
        check(&with(1 + 36, 200), 0);
        check(&with(1 + 37, 5), 0);
        assert_eq!(Record::read(&[1, 2, 3], &keys), Record::default());
        assert!(Record::read(&vec![0x5a; 1 << 20], &keys).0.len() < 50, "of any length");
    }

    #[test]
    fn who_is_not_heard_of_again_is_forgotten_and_who_is_moves_to_the_front() {
        let mut record = Record([1, 100, 221, 222, 400].map(|minute| one(minute as u8, minute)).into());
        record.retain_fresh(221);
        let minutes = |record: &Record| -> Vec<u32> { record.0.iter().map(|told| told.minute).collect() };
        assert_eq!(
            minutes(&record),
            [221, 222],
            "nobody from before, nobody from long after: {record:?}"
        );
        record.insert(one(222, 223));
        assert_eq!(minutes(&record), [223, 221]);
    }
}
