//! What comes of all sources together, and how much that lets be asked ahead.

use std::time::Duration;

use crate::time::Instant;

/// Shorter than that, a rate means little.
const EPOCH: Duration = Duration::from_millis(250);

/// What is asked of many is here within so long, in seconds. A peer in a large swarm may have others before us for a second.
const AHEAD_S: u64 = 2;

/// So many chunks may be asked of many however slowly they come.
const CHUNKS_MIN: u64 = 8;

/// Bytes that come while something is asked.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    /// `None` while nothing is asked.
    epoch_start: Option<Instant>,
    epoch_bytes: u64,
    /// In bytes per second; zero before anything is known.
    rate: u64,
    /// Of the last chunk that was asked.
    chunk_bytes: u64,
}

impl Throughput {
    pub(super) fn on_ask(&mut self, now: Instant, bytes: u32) {
        self.epoch_start.get_or_insert(now);
        self.chunk_bytes = bytes.into();
    }

    pub(super) fn on_bytes(&mut self, now: Instant, bytes: u32) {
        let Some(start) = self.epoch_start else { return };
        self.epoch_bytes += u64::from(bytes);
        let passed = now.since(start);
        if passed < EPOCH {
            return;
        }
        let sample = (u128::from(self.epoch_bytes) * 1_000_000_000 / passed.as_nanos()) as u64;
        self.rate = if sample >= self.rate {
            sample
        } else {
            self.rate - (self.rate - sample) / 8
        };
        self.epoch_start = Some(now);
        self.epoch_bytes = 0;
    }

    /// Nothing is asked any more.
    pub(super) fn on_idle(&mut self) {
        self.epoch_start = None;
        self.epoch_bytes = 0;
    }

    /// Bytes that many sources together may owe. As many as they like, before it is known how fast they come.
    pub(super) fn ahead(&self) -> u64 {
        match self.rate {
            0 => u64::MAX,
            rate => (rate * AHEAD_S).max(CHUNKS_MIN * self.chunk_bytes),
        }
    }

    /// Whether so many asks are more than that.
    pub(super) fn is_enough(&self, asks: u64) -> bool {
        asks.saturating_mul(self.chunk_bytes) > self.ahead()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u32 = 64 << 10;

    /// What may be owed after so many chunks, one in each so many milliseconds.
    fn ahead(throughput: &mut Throughput, from_ms: u64, chunks: u64, each_ms: u64) -> u64 {
        let at = |n: u64| Instant::ZERO + Duration::from_millis(from_ms + n * each_ms);
        throughput.on_ask(at(0), CHUNK);
        (1..=chunks).for_each(|n| throughput.on_bytes(at(n), CHUNK));
        throughput.ahead()
    }

    #[test]
    fn two_seconds_of_what_comes_may_be_owed_and_some_chunks_in_any_case() {
        let mut throughput = Throughput::default();
        assert_eq!(ahead(&mut throughput, 0, 2, 100), u64::MAX, "nobody knows yet");
        throughput.on_idle();
        assert_eq!(ahead(&mut throughput, 1000, 100, 10), 2 * 100 * u64::from(CHUNK));
        // Time in which nothing is asked does not count.
        throughput.on_idle();
        assert_eq!(ahead(&mut throughput, 60_000, 100, 10), 2 * 100 * u64::from(CHUNK));
        let slower = ahead(&mut throughput, 61_000, 10, 100);
        assert!(slower < 2 * 100 * u64::from(CHUNK));
        let slow = ahead(&mut throughput, 62_000, 40, 1000);
        assert_eq!(slow, CHUNKS_MIN * u64::from(CHUNK));
        assert!(!throughput.is_enough(CHUNKS_MIN) && throughput.is_enough(CHUNKS_MIN + 1));
    }
}
