//! How long things took, in buckets, for people. Bounded, whatever is counted; decides nothing.

use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: from what a cache answers to what a reader's patience is. One more bucket takes the rest.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
    30_000_000,
];

/// Counts of durations. The same bounds everywhere, so that figures of nodes can be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS_US.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// One more.
    pub fn observe(&mut self, took: Duration) {
        let bucket = BOUNDS_US.partition_point(|bound| Duration::from_micros(*bound) < took);
        self.counts[bucket] += 1;
        self.sum += took;
    }

    /// Each upper bound, and how many took so long or less.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut below = 0;
        BOUNDS_US.iter().zip(&self.counts).map(move |(bound, count)| {
            below += count;
            (Duration::from_micros(*bound), below)
        })
    }

    /// How many in all.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all took together.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_once_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        let us = Duration::from_micros;
        let all = [us(0), us(100), us(101), us(2_000), us(30_000_000), us(30_000_001)];
        all.iter().for_each(|took| histogram.observe(*took));
        assert_eq!((histogram.count(), histogram.sum()), (6, all.iter().sum()));
        let below = |bound| histogram.buckets().find(|(at, _)| *at == us(bound)).map(|(_, count)| count);
        assert_eq!(
            [100, 250, 500, 2_500, 30_000_000].map(below),
            [Some(2), Some(3), Some(3), Some(4), Some(5)],
            "a bound belongs to its bucket, and what is over the last counts in none"
        );
        assert!(BOUNDS_US.is_sorted());
    }
}
