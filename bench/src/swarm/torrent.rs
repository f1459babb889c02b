//! What BitTorrent writes down (BEP 3): bencoding, and the description of one file. Only written here, never read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Bytes of a piece, which is what peers have or have not. `aria2c` took 5 % longer with 1,024 KiB, and as long with 64 KiB.
const PIECE_BYTES: u64 = 256 << 10;

/// A bencoded value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `i7e`
    Integer(u64),
    /// `4:spam`
    Bytes(Vec<u8>),
    /// `d3:cow3:mooe`, sorted by key as it must be.
    Dictionary(BTreeMap<&'static str, Value>),
}

impl Value {
    /// A dictionary of these.
    pub(super) fn dictionary<const N: usize>(entries: [(&'static str, Self); N]) -> Self {
        Self::Dictionary(entries.into())
    }

    /// As text.
    pub(super) fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(number) => out.extend(format!("i{number}e").as_bytes()),
            Self::Bytes(bytes) => encode_bytes(bytes, out),
            Self::Dictionary(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    encode_bytes(key.as_bytes(), out);
                    value.encode_to(out);
                }
                out.push(b'e');
            }
        }
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("{}:", bytes.len()).as_bytes());
    out.extend(bytes);
}

/// The `.torrent` of a file, which peers find each other for at the tracker `announce`, a URL.
pub(super) fn describe(file: &Path, announce: &str) -> io::Result<Vec<u8>> {
    let name = file.file_name().unwrap_or_default().as_encoded_bytes();
    let info = Value::dictionary([
        ("length", Value::Integer(file.metadata()?.len())),
        ("name", Value::Bytes(name.to_vec())),
        ("piece length", Value::Integer(PIECE_BYTES)),
        ("pieces", Value::Bytes(pieces(File::open(file)?)?)),
    ]);
    Ok(Value::dictionary([("announce", Value::text(announce)), ("info", info)]).encode())
}

/// The SHA-1 of each piece, one after another.
fn pieces(mut file: impl Read) -> io::Result<Vec<u8>> {
    let mut hashes = Vec::new();
    let mut piece = Vec::with_capacity(PIECE_BYTES as usize);
    loop {
        piece.clear();
        if file.by_ref().take(PIECE_BYTES).read_to_end(&mut piece)? == 0 {
            return Ok(hashes);
        }
        hashes.extend(digest(&SHA1_FOR_LEGACY_USE_ONLY, &piece).as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_as_bep_3_says() {
        for (value, expect) in [
            (Value::Integer(3), "i3e"),
            (Value::Integer(0), "i0e"),
            (Value::text("spam"), "4:spam"),
            (Value::text(""), "0:"),
            (Value::dictionary([]), "de"),
            (
                Value::dictionary([("spam", Value::text("eggs")), ("cow", Value::text("moo"))]),
                "d3:cow3:moo4:spam4:eggse",
            ),
            (
                Value::dictionary([("info", Value::dictionary([("length", Value::Integer(7))]))]),
                "d4:infod6:lengthi7eee",
            ),
        ] {
            assert_eq!(String::from_utf8_lossy(&value.encode()), expect);
        }
    }

    #[test]
    fn every_piece_has_a_hash_and_the_last_one_may_be_short() {
        let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // FIPS 180-4, the example of one block.
        assert_eq!(hex(&pieces(&b"abc"[..]).unwrap()), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(pieces(&b""[..]).unwrap(), b"");
        let long = vec![0; PIECE_BYTES as usize + 3];
        let hashes = pieces(&long[..]).unwrap();
        assert_eq!(hashes.len(), 2 * 20);
        assert_eq!(hashes[20..], *digest(&SHA1_FOR_LEGACY_USE_ONLY, &[0; 3]).as_ref());
    }
}
