//! QUIC variable-length integers (RFC 9000 section 16): 1, 2, 4 or 8 bytes, the two top bits of the first say which.

use bytes::{BufMut, BytesMut};

/// Largest value a varint can carry.
pub(super) const VARINT_MAX: u64 = (1 << 62) - 1;

/// Appends `value` in its shortest form. `value` is ours, so one that is too large is our mistake.
pub(super) fn put(out: &mut BytesMut, value: u64) {
    match value {
        0..=0x3f => out.put_u8(value as u8),
        0x40..=0x3fff => out.put_u16(value as u16 | 0x4000),
        0x4000..=0x3fff_ffff => out.put_u32(value as u32 | 0x8000_0000),
        _ => {
            assert!(value <= VARINT_MAX, "{value} does not fit a varint");
            out.put_u64(value | 0xc000_0000_0000_0000);
        }
    }
}

/// Takes one varint off the front of `input`; `None` where it is not all there, and `input` is left alone. Longer forms than
/// needed are allowed, as in QUIC.
pub(super) fn take(input: &mut &[u8]) -> Option<u64> {
    let first = *input.first()?;
    let len = 1usize << (first >> 6);
    let (bytes, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(
        bytes[1..]
            .iter()
            .fold(u64::from(first & 0x3f), |value, b| (value << 8) | u64::from(*b)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_bytes_of_rfc_9000_a1() {
        let check = |value: u64, hex: &[u8]| {
            let mut out = BytesMut::new();
            put(&mut out, value);
            assert_eq!(&out[..], hex, "{value}");
            let mut input = hex;
            assert_eq!(take(&mut input), Some(value));
            assert!(input.is_empty());
            for cut in 0..hex.len() {
                let mut part = &hex[..cut];
                assert_eq!(take(&mut part), None, "{value} cut at {cut}");
                assert_eq!(part.len(), cut, "nothing is taken off a part");
            }
        };
        check(0, &[0]);
        check(37, &[0x25]);
        check(63, &[0x3f]);
        check(64, &[0x40, 0x40]);
        check(15_293, &[0x7b, 0xbd]);
        check(16_383, &[0x7f, 0xff]);
        check(16_384, &[0x80, 0, 0x40, 0]);
        check(494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]);
        check(1 << 30, &[0xc0, 0, 0, 0, 0x40, 0, 0, 0]);
        check(151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]);
        check(VARINT_MAX, &[0xff; 8]);
        assert_eq!(take(&mut &[0x40, 0x25][..]), Some(37), "a longer form is the same number");
    }
}
