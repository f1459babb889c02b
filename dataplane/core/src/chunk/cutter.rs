//! Where a file's bytes are cut into chunks, by content: an edit moves the chunks around it and no others.
//!
//! 1. *Anchors.* A place is an anchor if a function of six of the 16 bytes before it says so; 1 in 4,096 does. The function is made of
//!    byte operations alone, so a compiler turns the test into whole vectors of places: 16 GB/s from a core's own cache (AVX-512), where a
//!    rolling gear hash (FastCDC), which goes byte by byte, does 1.9 and BLAKE3 10.
//! 2. *Rank.* An anchor's rank is a hash of the 32 bytes before it. A few lucky bytes that occur everywhere give many anchors, but
//!    not many low ranks.
//! 3. *Cut.* A chunk that begins at `s` ends at the first anchor in `s + min ..= s + max` whose rank is low; where there is none, at the
//!    one of lowest rank there (the last of equals); where there is no anchor at all, at `s + max`. The file's last chunk ends with the file.
//!
//! What lies before `s + min` is not looked at. The shortest chunk is three quarters of the average one and the first low rank ends the
//! search, so 30 % of a file is searched. To take the lowest rank where none is low is the local-extremum rule of Bjørner, Blass
//! and Gurevich ("Content-dependent chunking for differential compression, the local maximum approach", 2010): it keeps cuts bound to
//! the content, and the average, where data have anchors seldom.
//!
//! Two chains of cuts of the same bytes, begun at different places, come to a common cut after a few chunks, and are one from there on.
//! So a large file is cut in parts, by many threads: see [`Meeting`].
//!
//! Measured at an average of 64 KiB, against the lowest rank in a quarter to seven quarters of it, which must search everything: 69 KiB
//! of new bytes per edit of random data (77); unique bytes of five builds of binaries 31.7 % and 79.3 % (31.6, 79.0), of seven versions
//! of a source tree in a tar 28.3 % (28.9). The same rule as the latter's did better than the `fastcdc` crate in all of them.
//!
//! The same file gives the same boundaries whatever windows it is fed in, on any processor. This file decides nothing about hashing.

use std::collections::VecDeque;

use pulp::Arch;

/// A way of cutting: recorded in a release's root, because other cuts give other chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutterId(pub u8);

impl CutterId {
    /// What this program cuts with: see this file's head. Readers take any. (1 cut at the lowest rank only.)
    pub const CURRENT: Self = Self(2);
}

/// How finely a file is cut; follows from its size, so that any large object has about a thousand pieces or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeClass {
    /// Below 256 MiB: 64 KiB on average, 48 to 96 KiB.
    Small,
    /// Below 16 GiB: 256 KiB on average, 192 to 384 KiB.
    Medium,
    /// From 16 GiB: 512 KiB on average, 384 to 768 KiB.
    Large,
}

impl SizeClass {
    /// The class of a file of `bytes` bytes.
    pub const fn of(bytes: u64) -> Self {
        if bytes < 256 << 20 {
            Self::Small
        } else if bytes < 16 << 30 {
            Self::Medium
        } else {
            Self::Large
        }
    }

    const fn average(self) -> u64 {
        match self {
            Self::Small => 64 << 10,
            Self::Medium => 256 << 10,
            Self::Large => 512 << 10,
        }
    }

    /// Shortest chunk, in bytes; only a file's last may be shorter.
    pub const fn min(self) -> u64 {
        self.average() / 4 * 3
    }

    /// Longest chunk, in bytes.
    pub const fn max(self) -> u64 {
        self.average() / 2 * 3
    }

    /// Whether a chunk that is long enough ends at an anchor of this rank whatever follows: on average, 5/16 of a chunk on.
    const fn is_low(self, rank: u64) -> bool {
        rank < u64::MAX / (self.average() * 5 / 16 / ANCHOR_BYTES)
    }
}

const _: () = assert!(SizeClass::Large.max() <= crate::limits::CHUNK_BYTES_MAX as u64);
const _: () = assert!(SizeClass::Small.min() >= crate::limits::CHUNK_BYTES_MIN as u64);
const _: () = assert!(
    RANKED as u64 <= SizeClass::Small.min(),
    "all that an anchor depends on lies in the chunk that it ends"
);

/// Bytes between anchors, on average: the test compares 12 bits.
const ANCHOR_BYTES: u64 = 1 << 12;

/// Bytes before a place that its rank depends on.
const RANKED: usize = 32;

/// A place where a chunk may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    /// Bytes of the file before it.
    end: u64,
    /// The lower, the sooner a chunk ends here.
    rank: u64,
}

/// Places that are tested as one: few enough to look closer at when one of them is an anchor.
const BLOCK: usize = 256;
/// Places that are looked at closer as one.
const GROUP: usize = 64;
/// How far back a test looks.
const TAPS: usize = 15;

/// Zero for an anchor. A run of equal bytes has none: then `a` and `c` are zero, and 4 times a byte is even. A change here is a new
/// `CutterId`.
#[inline(always)]
fn test(bytes: &[u8], at: usize) -> u8 {
    let tap = |back: usize| bytes[at - back];
    let a = tap(0).wrapping_sub(tap(6));
    let b = tap(1).wrapping_add(tap(10));
    let c = tap(3) ^ tap(15);
    let all = a ^ b.wrapping_add(b).wrapping_add(c);
    let more = a.wrapping_add(c) ^ tap(1).wrapping_sub(tap(10));
    (all ^ 0xa5) | ((more ^ 0x0b) & 0x0f)
}

/// Looks for the end of a chunk: adds the anchors on the way to those that may be it.
struct Search<'a> {
    class: SizeClass,
    /// The file's bytes from offset `base` on.
    bytes: &'a [u8],
    base: u64,
    /// The places to be tested, each named by the index of the last byte before it.
    at: usize,
    until: usize,
    open: &'a mut VecDeque<Anchor>,
}

impl pulp::NullaryFnOnce for Search<'_> {
    /// The end of the chunk, if an anchor of low rank was found. The search is over there.
    type Output = Option<u64>;

    #[inline(always)]
    fn call(mut self) -> Option<u64> {
        while self.at + BLOCK <= self.until {
            // A fixed length lets the compiler drop every bound and use whole vectors.
            let block = &self.bytes[self.at - TAPS..self.at + BLOCK];
            let block: &[u8; TAPS + BLOCK] = block.try_into().expect("the slice has this length");
            let any = (TAPS..TAPS + BLOCK).fold(false, |any, at| any | (test(block, at) == 0));
            if any && let Some(end) = self.look_closer(block) {
                return Some(end);
            }
            self.at += BLOCK;
        }
        (self.at..self.until).find_map(|at| if test(self.bytes, at) == 0 { self.on_anchor(at) } else { None })
    }
}

impl Search<'_> {
    #[inline(always)]
    fn look_closer(&mut self, block: &[u8; TAPS + BLOCK]) -> Option<u64> {
        for group in (0..BLOCK).step_by(GROUP) {
            let mut tests = [0; GROUP];
            for (at, test_of) in tests.iter_mut().enumerate() {
                *test_of = test(block, TAPS + group + at);
            }
            if tests.iter().fold(false, |any, &t| any | (t == 0)) {
                for (at, _) in tests.iter().enumerate().filter(|(_, t)| **t == 0) {
                    if let Some(end) = self.on_anchor(self.at + group + at) {
                        return Some(end);
                    }
                }
            }
        }
        None
    }

    #[inline(never)]
    fn on_anchor(&mut self, at: usize) -> Option<u64> {
        let rank = rank(&self.bytes[at + 1 - RANKED..=at]);
        let end = self.base + at as u64 + 1;
        if self.class.is_low(rank) {
            return Some(end);
        }
        while self.open.back().is_some_and(|before| before.rank >= rank) {
            self.open.pop_back();
        }
        self.open.push_back(Anchor { end, rank });
        None
    }
}

/// A hash of `RANKED` bytes by two folded multiplications, as in wyhash. A change here is a new `CutterId`.
fn rank(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    let word = |at: usize| u64::from_le_bytes(words[at]);
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let first = fold(word(0) ^ 0x9e37_79b9_7f4a_7c15, word(1) ^ 0xbf58_476d_1ce4_e5b9);
    let second = fold(word(2) ^ 0x94d0_49bb_1331_11eb, word(3) ^ 0xd6e8_feb8_6659_fd93);
    first.wrapping_add(second).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Cuts a file's bytes from one place on: bytes go in, boundaries come out, the same whatever the windows.
#[derive(Clone, Debug)]
pub struct Cutter {
    class: SizeClass,
    /// Where the current chunk begins.
    start: u64,
    /// Places before this are tested.
    tested: u64,
    /// Anchors that may still end a chunk: ascending in place and in rank, so the first is the lowest. A later anchor of no higher rank
    /// drives out those before it, which no chunk that reaches to it would choose.
    open: VecDeque<Anchor>,
}

impl Cutter {
    /// For a file of this class, of which a chunk begins at offset `start`.
    pub fn new(class: SizeClass, start: u64) -> Self {
        Self {
            class,
            start,
            tested: start,
            open: VecDeque::new(),
        }
    }

    /// Where the current chunk begins: bytes before it are done with.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Takes the file's bytes from offset `base` on, all those from `start` on that were given before among them, and adds the ends of the
    /// chunks that are certain by now, as offsets in the file. A boundary may lie up to the longest chunk back.
    ///
    /// # Panics
    /// If `base` lies behind the start of the current chunk.
    pub fn on_bytes(&mut self, bytes: &[u8], base: u64, cuts: &mut Vec<u64>) {
        assert!(base <= self.start, "the current chunk's bytes are there");
        let seen = base + bytes.len() as u64;
        loop {
            let last = self.start + self.class.max();
            // An anchor's own place is behind its last byte.
            let (from, until) = (self.tested.max(self.start + self.class.min() - 1), seen.min(last));
            if from < until {
                let found = Arch::new().dispatch(Search {
                    class: self.class,
                    bytes,
                    base,
                    at: (from - base) as usize,
                    until: (until - base) as usize,
                    open: &mut self.open,
                });
                self.tested = found.unwrap_or(until);
                if let Some(end) = found {
                    self.cut_at(end, cuts);
                    continue;
                }
            }
            if seen < last {
                return;
            }
            self.cut_at(self.open.front().map_or(last, |anchor| anchor.end), cuts);
        }
    }

    /// All bytes from the start of the current chunk to offset `until` are zero: ends the longest chunks of zeros that lie there, which follow
    /// each other as no place among zeros is an anchor, and tells how many they are. The bytes need not be given.
    pub fn on_zeros(&mut self, until: u64) -> u64 {
        let count = until.saturating_sub(self.start) / self.class.max();
        if count > 0 {
            self.start += count * self.class.max();
            self.tested = self.tested.max(self.start);
            self.open.clear();
        }
        count
    }

    /// The file ends at offset `len`: adds the end of the last chunk, unless the file ended with the one before.
    pub fn finish(self, len: u64, cuts: &mut Vec<u64>) {
        if len > self.start {
            cuts.push(len);
        }
    }

    fn cut_at(&mut self, end: u64, cuts: &mut Vec<u64>) {
        cuts.push(end);
        self.start = end;
        let least = end + self.class.min();
        while self.open.front().is_some_and(|anchor| anchor.end < least) {
            self.open.pop_front();
        }
    }
}

/// Watches two chains of cuts through the same bytes for a place where both cut: from there on they are one.
#[derive(Clone, Debug, Default)]
pub struct Meeting {
    /// Cuts of either that the other has not come to yet; one of the two is empty.
    ahead: [VecDeque<u64>; 2],
}

impl Meeting {
    /// The chains' next cuts, ascending. The first place that both cut at, if there is one among all that were given.
    pub fn on_cuts(&mut self, one: &[u64], other: &[u64]) -> Option<u64> {
        let [mine, theirs] = &mut self.ahead;
        mine.extend(one);
        theirs.extend(other);
        while let (Some(&a), Some(&b)) = (mine.front(), theirs.front()) {
            if a == b {
                return Some(a);
            }
            if a < b {
                mine.pop_front()
            } else {
                theirs.pop_front()
            };
        }
        None
    }
}

#[cfg(test)]
mod tests;
