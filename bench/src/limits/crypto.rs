//! QUIC's ciphers by the two libraries rustls can be built with, called as rustls calls them, and the hash of chunks; one core.

use std::hint::black_box;
use std::rc::Rc;

use super::limit::{Limit, Sample, repeat};
use crate::error::Result;

/// Payloads of packets: QUIC's on Ethernet before and after path MTU discovery, on jumbo frames, and a TLS record.
const PAYLOADS: [(usize, &str); 4] = [
    (1_400, "1,400 B"),
    (1_452, "1,452 B"),
    (8_952, "8,952 B"),
    (16 << 10, "16 KiB"),
];

/// A packet on Ethernet, which has one header mask.
const PACKET_BYTES: usize = 1_452;

/// Packets of one pass together: out of the first cache and inside the second, like packets of a burst.
const PASS_BYTES: usize = 256 << 10;

/// Bytes hashed in turn, many times the last cache.
const HASHED_BYTES: usize = 128 << 20;

/// All three AEADs have tags and header samples of this size (RFC 9001 sections 5.3 and 5.4.2).
const TAG_BYTES: usize = 16;

/// Associated data of a short header: flags, a connection id of 8 bytes, a packet number of 4.
const HEADER: [u8; 13] = [0x43; 13];

const KEY: [u8; 32] = [5; 32];

const OURS: &str = "aws-lc";
const OTHER: &str = "ring";

/// What is done to a packet of this number in its place.
type OnPacket = dyn Fn(u32, &mut [u8]);

/// The header mask for a sample of a packet.
type Mask = dyn Fn(&[u8]) -> [u8; 5];

/// One AEAD of one library, under one key.
struct Cipher {
    name: &'static str,
    by: &'static str,
    /// Encrypts all but the last [`TAG_BYTES`] of a packet, and puts the tag there.
    seal: Box<OnPacket>,
    /// Undoes that.
    open: Box<OnPacket>,
    mask: Box<Mask>,
}

/// The two libraries have the same functions on types of their own.
macro_rules! cipher {
    ($name:literal, $by:expr, $library:ident, $aead:ident, $mask:ident) => {{
        use $library::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey, quic};
        let key = || {
            let algorithm = &aead::$aead;
            LessSafeKey::new(UnboundKey::new(algorithm, &KEY[..algorithm.key_len()]).expect("a key of its length is a key"))
        };
        let nonce = |number: u32| {
            let mut bytes = [9u8; 12];
            bytes[8..].copy_from_slice(&number.to_be_bytes());
            Nonce::assume_unique_for_key(bytes)
        };
        let (sealing, opening) = (key(), key());
        let masking = quic::HeaderProtectionKey::new(&quic::$mask, &KEY[..quic::$mask.key_len()]).expect("likewise");
        Cipher {
            name: $name,
            by: $by,
            seal: Box::new(move |number, packet| {
                let (payload, place) = packet.split_at_mut(packet.len() - TAG_BYTES);
                let tag = sealing
                    .seal_in_place_separate_tag(nonce(number), Aad::from(HEADER), payload)
                    .expect("a packet is far below the AEAD's limit");
                place.copy_from_slice(tag.as_ref());
            }),
            open: Box::new(move |number, packet| {
                opening
                    .open_in_place(nonce(number), Aad::from(HEADER), packet)
                    .expect("it was sealed with this key and number");
            }),
            mask: Box::new(move |sample| masking.new_mask(sample).expect("a sample has its length")),
        }
    }};
}

/// The rows, ours before the other of the same.
pub(crate) fn limits() -> Vec<Limit> {
    let ciphers = [
        cipher!("AES-128-GCM", OURS, aws_lc_rs, AES_128_GCM, AES_128),
        cipher!("AES-128-GCM", OTHER, ring, AES_128_GCM, AES_128),
        cipher!("AES-256-GCM", OURS, aws_lc_rs, AES_256_GCM, AES_256),
        cipher!("AES-256-GCM", OTHER, ring, AES_256_GCM, AES_256),
        cipher!("ChaCha20-Poly1305", OURS, aws_lc_rs, CHACHA20_POLY1305, CHACHA20),
        cipher!("ChaCha20-Poly1305", OTHER, ring, CHACHA20_POLY1305, CHACHA20),
    ]
    .map(Rc::new);
    let mut limits = Vec::new();
    for pair in ciphers.chunks(2) {
        for (bytes, size) in PAYLOADS {
            let name = |verb: &str| format!("{} {verb} {size}", pair[0].name);
            limits.extend(
                pair.iter()
                    .map(|c| Limit::new(name("seal"), c.by, bound_of(bytes, true), sealing(c.clone(), bytes))),
            );
            limits.extend(
                pair.iter()
                    .map(|c| Limit::new(name("open"), c.by, bound_of(bytes, false), opening(c.clone(), bytes))),
            );
        }
        let name = format!("{} header masks of 1,452 B packets", pair[0].name);
        limits.extend(
            pair.iter()
                .map(|c| Limit::new(name.clone(), c.by, "a core that sends or receives", masking(c.clone()))),
        );
    }
    limits.extend(
        [(256 << 10, "BLAKE3 256 KiB"), (1 << 20, "BLAKE3 1 MiB")]
            .map(|(bytes, what)| Limit::new(what, "", "a worker that verifies, and publishing, by core", hashing(bytes))),
    );
    limits
}

fn bound_of(payload_bytes: usize, sending: bool) -> &'static str {
    match (payload_bytes, sending) {
        (..=PACKET_BYTES, true) => "a core that sends, MTU 1500",
        (..=PACKET_BYTES, false) => "a core that receives, MTU 1500",
        (..=8_952, true) => "a core that sends, MTU 9000",
        (..=8_952, false) => "a core that receives, MTU 9000",
        (_, true) => "TLS over TCP that sends, a record",
        (_, false) => "TLS over TCP that receives, a record",
    }
}

/// A packet number for each packet of a pass.
fn numbered(packets: &mut [u8], payload_bytes: usize) -> impl Iterator<Item = (u32, &mut [u8])> {
    (0..).zip(packets.chunks_exact_mut(payload_bytes + TAG_BYTES))
}

fn sealing(cipher: Rc<Cipher>, payload_bytes: usize) -> impl FnMut() -> Result<Sample> {
    let count = PASS_BYTES / payload_bytes;
    let mut packets = vec![1u8; count * (payload_bytes + TAG_BYTES)];
    move || {
        let pass =
            |packets: &mut Vec<u8>| numbered(packets, payload_bytes).for_each(|(number, packet)| (cipher.seal)(number, packet));
        Ok(repeat(count * payload_bytes, &mut packets, |_| {}, pass))
    }
}

fn opening(cipher: Rc<Cipher>, payload_bytes: usize) -> impl FnMut() -> Result<Sample> {
    let count = PASS_BYTES / payload_bytes;
    let mut sealed = vec![1u8; count * (payload_bytes + TAG_BYTES)];
    numbered(&mut sealed, payload_bytes).for_each(|(number, packet)| (cipher.seal)(number, packet));
    let mut packets = sealed.clone();
    move || {
        let prepare = |packets: &mut Vec<u8>| packets.copy_from_slice(&sealed);
        let pass =
            |packets: &mut Vec<u8>| numbered(packets, payload_bytes).for_each(|(number, packet)| (cipher.open)(number, packet));
        Ok(repeat(count * payload_bytes, &mut packets, prepare, pass))
    }
}

fn masking(cipher: Rc<Cipher>) -> impl FnMut() -> Result<Sample> {
    let mut samples = vec![3u8; PASS_BYTES];
    move || {
        let pass = |samples: &mut Vec<u8>| {
            for sample in samples.chunks_exact(TAG_BYTES) {
                black_box((cipher.mask)(sample));
            }
        };
        let packets = PASS_BYTES / TAG_BYTES;
        Ok(repeat(packets * PACKET_BYTES, &mut samples, |_| {}, pass))
    }
}

fn hashing(piece_bytes: usize) -> impl FnMut() -> Result<Sample> {
    let mut bytes = vec![1u8; HASHED_BYTES];
    move || {
        let pass = |bytes: &mut Vec<u8>| {
            for piece in bytes.chunks_exact(piece_bytes) {
                black_box(blake3::hash(piece));
            }
        };
        Ok(repeat(HASHED_BYTES, &mut bytes, |_| {}, pass))
    }
}
