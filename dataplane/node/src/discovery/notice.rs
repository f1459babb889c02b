//! What nodes of one network tell each other: who they are and which releases they take part in, in the TXT record of a DNS-SD service
//! (RFC 6763 section 6). A release is told by a blinded name, from which who does not know the release learns nothing.
//!
//! ```text
//! v   "1"
//! id  the peer's public key, 32 bytes
//! r0, r1, ..  up to 15 blinded names each, 16 bytes a name
//! ```

use ares_core::chunk::ReleaseId;
use ares_core::peer::PeerId;

/// Releases told of; more are left out, oldest first.
pub(super) const RELEASES_MAX: usize = 64;

const NAME_BYTES: usize = 16;

/// A property with its key has at most 255 bytes (RFC 6763 section 6.1).
const NAMES_IN_PROPERTY: usize = 15;

/// Bytes of the whole record at most: it fits one packet of any network (RFC 6763 section 6.2).
const RECORD_BYTES_MAX: usize = 1300;

const NAME_PROPERTIES: usize = RELEASES_MAX.div_ceil(NAMES_IN_PROPERTY);
const _: () = assert!(NAME_PROPERTIES <= 10, "their keys have one digit");
const _: () = assert!("rN=".len() + NAMES_IN_PROPERTY * NAME_BYTES <= 255);
const _: () = assert!(
    // A length byte before each property.
    "_v=1".len() + "_id=".len() + 32 + NAME_PROPERTIES * "_rN=".len() + RELEASES_MAX * NAME_BYTES <= RECORD_BYTES_MAX
);

const VERSION: &[u8] = b"1";

/// What the names are derived for (BLAKE3 section 6.2).
const CONTEXT: &str = "ares mdns release v1";

/// A release, to those who know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blinded([u8; NAME_BYTES]);

impl Blinded {
    /// Of a release.
    pub(super) fn of(release: ReleaseId) -> Self {
        let [name @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = blake3::derive_key(CONTEXT, release.0.as_bytes());
        Self(name)
    }
}

/// What one node tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Who it says that it is; the handshake proves it.
    pub(super) peer: PeerId,
    /// What it takes part in, at most `RELEASES_MAX`.
    pub(super) releases: Vec<Blinded>,
}

impl Notice {
    /// Keys and values, in order.
    pub(super) fn to_properties(&self) -> Vec<(String, Vec<u8>)> {
        let skipped = self.releases.len().saturating_sub(RELEASES_MAX);
        let names = self.releases[skipped..].chunks(NAMES_IN_PROPERTY).enumerate();
        let names = names.map(|(i, names)| (key(i), names.iter().flat_map(|name| name.0).collect()));
        let head = [("v", VERSION), ("id", self.peer.as_bytes())];
        let head = head.map(|(key, value)| (key.to_owned(), value.to_vec()));
        head.into_iter().chain(names).collect()
    }

    /// From the values of a record, by key. `None` where it is none that this program understands.
    pub(super) fn from_properties<'a>(value: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Self> {
        if value("v") != Some(VERSION) {
            return None;
        }
        let peer = PeerId::from_bytes(value("id")?.try_into().ok()?);
        let mut releases = Vec::new();
        for names in (0..NAME_PROPERTIES).map_while(|i| value(&key(i))) {
            let (names, []) = names.as_chunks() else { return None };
            releases.extend(names.iter().copied().map(Blinded));
        }
        releases.truncate(RELEASES_MAX);
        Some(Self { peer, releases })
    }
}

fn key(i: usize) -> String {
    format!("r{i}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ares_core::chunk::ChunkId;

    fn release(n: usize) -> ReleaseId {
        ReleaseId(ChunkId::of(&n.to_le_bytes()))
    }

    fn notice(releases: std::ops::Range<usize>) -> Notice {
        Notice {
            peer: PeerId::from_bytes([7; 32]),
            releases: releases.map(|n| Blinded::of(release(n))).collect(),
        }
    }

    fn read(properties: &[(String, Vec<u8>)]) -> Option<Notice> {
        let find = |key: &str| properties.iter().find(|(known, _)| known == key);
        Notice::from_properties(|key| find(key).map(|(_, value)| value.as_slice()))
    }

    #[test]
    fn a_blinded_name_is_the_same_for_all_who_know_the_release_and_has_nothing_of_it() {
        let zero = ReleaseId(ChunkId::from_bytes([0; 32]));
        let by_definition = blake3::derive_key("ares mdns release v1", &[0; 32]);
        assert_eq!(Blinded::of(zero).0, by_definition[..16]);
        for n in 0..100 {
            let (release, blinded) = (release(n), Blinded::of(release(n)));
            assert_ne!(blinded.0, release.0.as_bytes()[..16]);
            assert_ne!(blinded, Blinded::of(self::release(n + 1)));
        }
    }

    #[test]
    fn what_is_told_is_what_was_meant_and_fits_a_record() {
        for (count, told) in [(0, 0..0), (1, 0..1), (15, 0..15), (16, 0..16), (64, 0..64), (1000, 936..1000)] {
            let properties = notice(0..count).to_properties();
            assert_eq!(read(&properties), Some(notice(told)), "{count} releases");
            let lens: Vec<usize> = properties.iter().map(|(key, value)| key.len() + 1 + value.len()).collect();
            assert!(lens.iter().all(|len| *len <= 255), "{count} releases: {lens:?}");
            let record = lens.iter().map(|len| len + 1).sum::<usize>();
            assert!(record <= RECORD_BYTES_MAX, "{count} releases: {record} bytes");
        }
    }

    #[test]
    fn a_record_of_something_else_is_nobodys_notice() {
        let check = |key: &str, value: Option<&[u8]>| {
            let mut properties = notice(0..20).to_properties();
            properties.retain(|(known, _)| known != key);
            properties.extend(value.map(|value| (key.to_owned(), value.to_vec())));
            assert_eq!(read(&properties), None, "{key} = {value:?}");
        };
        check("v", None);
        check("v", Some(b"2"));
        check("v", Some(b""));
        check("id", None);
        check("id", Some(&[7; 31]));
        check("id", Some(&[7; 64]));
        check("r0", Some(&[7; 17]));
        check("r1", Some(&[7; 1]));
    }

    #[test]
    fn no_record_has_more_names_than_are_told() {
        let mut properties = notice(0..0).to_properties();
        properties.extend((0..100).map(|i| (key(i), vec![7; 16 * 1000])));
        assert_eq!(read(&properties).map(|notice| notice.releases.len()), Some(RELEASES_MAX));
    }
}
