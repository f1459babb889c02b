//! Which byte ranges of a blob's backing file are held. Knows ranges, not chunks.

use std::collections::BTreeMap;

/// What filesystems give files at a time, where they are not made otherwise.
const BLOCK_BYTES: u64 = 4096;

/// What `start..end` of a file of its own takes of the disk, in bytes: whole blocks.
pub(super) const fn disk_bytes(start: u64, end: u64) -> u64 {
    end.next_multiple_of(BLOCK_BYTES) - start / BLOCK_BYTES * BLOCK_BYTES
}

/// Held ranges of `0..bytes`, merged: a file filled in order is one range, a whole one is one, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    bytes: u64,
    held_bytes: u64,
    disk_bytes: u64,
    /// Start -> end; never empty ranges, never touching each other.
    ranges: BTreeMap<u64, u64>,
}

impl Coverage {
    /// Nothing held of `bytes`.
    pub fn new(bytes: u64) -> Self {
        Self {
            bytes,
            held_bytes: 0,
            disk_bytes: 0,
            ranges: BTreeMap::new(),
        }
    }

    /// Size of the whole, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes are held.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// What the held ranges take of the disk, each by itself, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Whether every byte is held.
    pub fn is_complete(&self) -> bool {
        self.held_bytes == self.bytes
    }

    /// Whether `len` bytes at `offset` lie within the whole and are not none.
    pub fn fits(&self, offset: u64, len: u64) -> bool {
        len > 0 && offset.checked_add(len).is_some_and(|end| end <= self.bytes)
    }

    /// Whether all of `start..end` is held.
    pub fn has(&self, start: u64, end: u64) -> bool {
        self.ranges
            .range(..=start)
            .next_back()
            .is_some_and(|(_, held_end)| *held_end >= end)
    }

    /// Holds `start..end`, which fits.
    pub fn insert(&mut self, start: u64, end: u64) {
        assert!(start < end, "an empty range is not held");
        assert!(end <= self.bytes, "checked with `fits` before");
        let (mut start, mut end) = (start, end);
        // Swallow every range that touches this one; the last that starts at or before `end` is the first candidate.
        while let Some((&s, &e)) = self.ranges.range(..=end).next_back().filter(|(_, e)| **e >= start) {
            self.take(s, e);
            start = start.min(s);
            end = end.max(e);
        }
        self.put(start, end);
    }

    /// No longer holds `start..end`.
    pub fn remove(&mut self, start: u64, end: u64) {
        while let Some((&s, &e)) = self.ranges.range(..end).next_back().filter(|(_, e)| **e > start) {
            self.take(s, e);
            if e > end {
                self.put(end, e);
            }
            if s < start {
                self.put(s, start);
            }
        }
    }

    fn put(&mut self, start: u64, end: u64) {
        self.ranges.insert(start, end);
        self.held_bytes += end - start;
        self.disk_bytes += disk_bytes(start, end);
    }

    fn take(&mut self, start: u64, end: u64) {
        self.ranges.remove(&start);
        self.held_bytes -= end - start;
        self.disk_bytes -= disk_bytes(start, end);
    }

    /// The held ranges, start and end, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(s, e)| (*s, *e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against an oracle that shares nothing with it: one bool per byte.
    #[test]
    fn ranges_agree_with_a_bitmap_whatever_is_held_and_forgotten() {
        for seed in 0..200u64 {
            let mut random = seed;
            let mut next = |below: u64| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % below
            };
            let bytes = 1 + next(60);
            let mut coverage = Coverage::new(bytes);
            let mut oracle = vec![false; bytes as usize];
            for _ in 0..80 {
                let start = next(bytes);
                let end = start + 1 + next(bytes - start);
                let insert = next(3) > 0;
                if insert {
                    coverage.insert(start, end);
                } else {
                    coverage.remove(start, end);
                }
                oracle[start as usize..end as usize].fill(insert);
                assert_eq!(
                    coverage.held_bytes(),
                    oracle.iter().filter(|b| **b).count() as u64,
                    "seed {seed}"
                );
                assert_eq!(coverage.is_complete(), oracle.iter().all(|b| *b), "seed {seed}");
                let (s, e) = (next(bytes), bytes);
                assert_eq!(
                    coverage.has(s, e),
                    oracle[s as usize..e as usize].iter().all(|b| *b),
                    "seed {seed}"
                );
                let merged = coverage.ranges().zip(coverage.ranges().skip(1)).all(|((_, e), (s, _))| e < s);
                assert!(merged, "seed {seed}: touching ranges are one");
            }
        }
    }

    #[test]
    fn the_disk_gives_whole_blocks_to_each_range() {
        let mut coverage = Coverage::new(100_000);
        let mut check = |start, end, is_held, expect| {
            match is_held {
                true => coverage.insert(start, end),
                false => coverage.remove(start, end),
            }
            assert_eq!(coverage.disk_bytes(), expect * BLOCK_BYTES, "{start}..{end}");
        };
        check(0, 1, true, 1);
        check(4095, 4097, true, 3); // two ranges
        check(1, 4095, true, 2); // one
        check(50_000, 60_000, true, 2 + 3);
        check(98_303, 100_000, true, 5 + 2);
        check(52_000, 53_248, false, 7);
        check(0, 100_000, false, 0);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let check = |offset, len, fits| assert_eq!(Coverage::new(100).fits(offset, len), fits, "{offset}+{len}");
        check(0, 100, true);
        check(99, 1, true);
        check(100, 1, false);
        check(0, 0, false);
        check(0, 101, false);
        check(u64::MAX, 2, false);
    }
}
