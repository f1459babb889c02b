//! The subset of deterministic CBOR (RFC 8949 section 4.2.1) that manifest nodes are written in: integers, byte strings, arrays.
//!
//! Written by hand because the subset is three major types, because each length is judged against the bytes that are really there
//! before anything is reserved for it, and because a reader that takes only the shortest form of an integer is the canonical check.

use bytes::Bytes;

use super::Fault;

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const ARRAY: u8 = 4;

/// Writes canonical items.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        match value {
            0..24 => self.bytes.push(major | value as u8),
            24..=0xff => self.bytes.extend_from_slice(&[major | 24, value as u8]),
            0x100..=0xffff => {
                self.bytes.push(major | 25);
                self.bytes.extend_from_slice(&(value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.bytes.push(major | 26);
                self.bytes.extend_from_slice(&(value as u32).to_be_bytes());
            }
            _ => {
                self.bytes.push(major | 27);
                self.bytes.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    pub(super) fn uint(&mut self, value: u64) {
        self.head(UINT, value);
    }

    pub(super) fn int(&mut self, value: i64) {
        if value < 0 {
            self.head(NEGATIVE, !(value as u64));
        } else {
            self.head(UINT, value as u64);
        }
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Announces an array of `items` items, which the caller writes next.
    pub(super) fn array(&mut self, items: usize) {
        self.head(ARRAY, items as u64);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads items one by one. Byte strings share the memory of the input.
pub(super) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a Bytes) -> Self {
        Self::at(bytes, 0)
    }

    /// From a place where an item begins: one that `place` gave.
    pub(super) fn at(bytes: &'a Bytes, at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next item begins, in bytes.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// A fault at the current place.
    pub(super) fn fault(&self, what: &'static str) -> Fault {
        Fault::Syntax { at: self.at, what }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let taken = self.bytes[self.at..]
            .get(..count)
            .ok_or_else(|| self.fault("the node ends too early"))?;
        self.at += count;
        Ok(taken)
    }

    fn head(&mut self) -> Result<(u8, u64), Fault> {
        let start = self.at;
        let first = self.take(1)?[0];
        let (value, least) = match first & 31 {
            small @ 0..24 => (u64::from(small), 0),
            24 => (u64::from(self.take(1)?[0]), 24),
            25 => (self.take(2)?.iter().fold(0, |n, &b| n << 8 | u64::from(b)), 1 << 8),
            26 => (self.take(4)?.iter().fold(0, |n, &b| n << 8 | u64::from(b)), 1 << 16),
            27 => (self.take(8)?.iter().fold(0, |n, &b| n << 8 | u64::from(b)), 1 << 32),
            _ => {
                return Err(Fault::Syntax {
                    at: start,
                    what: "an item of indefinite or reserved length",
                });
            }
        };
        if value < least {
            return Err(Fault::NotCanonical { at: start });
        }
        Ok((first >> 5, value))
    }

    fn expect(&mut self, major: u8, what: &'static str) -> Result<u64, Fault> {
        let start = self.at;
        match self.head()? {
            (found, value) if found == major => Ok(value),
            _ => Err(Fault::Syntax { at: start, what }),
        }
    }

    pub(super) fn uint(&mut self) -> Result<u64, Fault> {
        self.expect(UINT, "something else than an unsigned integer")
    }

    /// An unsigned integer from `least` to `most`.
    pub(super) fn uint_in(&mut self, what: &'static str, least: u64, most: u64) -> Result<u64, Fault> {
        let value = self.uint()?;
        if value < least || value > most {
            return Err(Fault::Limit {
                what,
                value,
                least,
                most,
            });
        }
        Ok(value)
    }

    pub(super) fn int(&mut self) -> Result<i64, Fault> {
        let start = self.at;
        let wide = Fault::Syntax {
            at: start,
            what: "an integer beyond 64 bits",
        };
        match self.head()? {
            (UINT, value) => i64::try_from(value).map_err(|_| wide),
            (NEGATIVE, value) => i64::try_from(value).map(|value| !value).map_err(|_| wide),
            _ => Err(Fault::Syntax {
                at: start,
                what: "something else than an integer",
            }),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Fault> {
        let count = self.expect(BYTES, "something else than a byte string")?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let taken = self.take(count)?;
        Ok(self.bytes.slice_ref(taken))
    }

    pub(super) fn hash(&mut self) -> Result<[u8; 32], Fault> {
        let start = self.at;
        let count = self.expect(BYTES, "something else than a byte string")?;
        let what = "a hash of another length than 32 bytes";
        if count != 32 {
            return Err(Fault::Syntax { at: start, what });
        }
        self.take(32)?.try_into().map_err(|_| Fault::Syntax { at: start, what })
    }

    /// The number of items of an array. Every item takes a byte at least, so a count beyond the bytes left is a lie.
    pub(super) fn array(&mut self) -> Result<usize, Fault> {
        let start = self.at;
        let count = self.expect(ARRAY, "something else than an array")?;
        match usize::try_from(count) {
            Ok(count) if count <= self.left() => Ok(count),
            _ => Err(Fault::Syntax {
                at: start,
                what: "an array longer than the node",
            }),
        }
    }

    /// An array of exactly `items` items.
    pub(super) fn array_of(&mut self, items: usize) -> Result<(), Fault> {
        let start = self.at;
        if self.array()? != items {
            return Err(Fault::Syntax {
                at: start,
                what: "an array of another length than its kind has",
            });
        }
        Ok(())
    }

    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.left() > 0 {
            return Err(self.fault("bytes after the end of the node"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_form_and_it_is_the_shortest() {
        // RFC 8949 appendix A.
        let check = |value: i64, expect: &[u8]| {
            let mut w = Writer::default();
            w.int(value);
            let written = Bytes::from(w.finish());
            assert_eq!(written, expect, "{value}");
            assert_eq!(Reader::new(&written).int(), Ok(value));
        };
        check(0, &[0x00]);
        check(23, &[0x17]);
        check(24, &[0x18, 24]);
        check(100, &[0x18, 0x64]);
        check(1000, &[0x19, 0x03, 0xe8]);
        check(1_000_000, &[0x1a, 0x00, 0x0f, 0x42, 0x40]);
        check(1_000_000_000_000, &[0x1b, 0x00, 0x00, 0x00, 0xe8, 0xd4, 0xa5, 0x10, 0x00]);
        check(-1, &[0x20]);
        check(-100, &[0x38, 0x63]);
        check(i64::MIN, &[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn what_is_no_item_of_the_subset_is_refused() {
        let syntax = |what| Err(Fault::Syntax { at: 0, what });
        let check = |bytes: &'static [u8], expect: Result<i64, Fault>| {
            assert_eq!(Reader::new(&Bytes::from_static(bytes)).int(), expect, "{bytes:x?}");
        };
        check(&[0x18, 23], Err(Fault::NotCanonical { at: 0 }));
        check(&[0x19, 0, 255], Err(Fault::NotCanonical { at: 0 }));
        check(&[0x1a, 0, 0, 255, 255], Err(Fault::NotCanonical { at: 0 }));
        check(&[0x1b, 0, 0, 0, 0, 255, 255, 255, 255], Err(Fault::NotCanonical { at: 0 }));
        check(&[0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0], syntax("an integer beyond 64 bits"));
        check(&[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0], syntax("an integer beyond 64 bits"));
        check(&[0x1f], syntax("an item of indefinite or reserved length"));
        check(&[0x1c], syntax("an item of indefinite or reserved length"));
        check(&[0xf6], syntax("something else than an integer"));
        check(&[], syntax("the node ends too early"));
        check(
            &[0x19, 1],
            Err(Fault::Syntax {
                at: 1,
                what: "the node ends too early",
            }),
        );
    }

    #[test]
    fn a_length_beyond_the_bytes_left_reserves_nothing() {
        let long = Bytes::from_static(&[0x9b, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0]);
        assert_eq!(
            Reader::new(&long).array(),
            Err(Fault::Syntax {
                at: 0,
                what: "an array longer than the node"
            })
        );
        let long = Bytes::from_static(&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255, 0]);
        assert_eq!(
            Reader::new(&long).bytes(),
            Err(Fault::Syntax {
                at: 9,
                what: "the node ends too early"
            })
        );
    }
}
