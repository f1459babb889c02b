//! How much may be outstanding at one source: its measured delivery rate times its delay, twice over, so that a source that
//! can do more shows it.

use std::time::Duration;

use super::{Class, SchedulerConfig, SourceStats};
use crate::limits::CHUNK_BYTES_MAX;
use crate::time::Instant;

/// Delay of the responder's disk and of both programs, however near the peer is. Also the shortest time over which a rate means anything.
const SERVICE: Duration = Duration::from_millis(15);

/// What a source is believed to deliver before it has shown it, in bytes per second: high, so that a new one is tried.
const RATE_UNKNOWN: u64 = 100 << 20;

/// What a source is trusted with before it has shown it, in bytes per second: less, since many may ask a publisher at the same moment, and
/// what it owes to all of them is what each of them waits for.
const RATE_NEW: u64 = 25 << 20;

/// What is asked of a source of known rate lasts for so much of a second, where it has queues that the shortest round trip does not show. More
/// would wait at a peer while others have nothing to do.
const QUEUES_PER_S: u64 = 10;

/// And for this part of a chunk: the next one is asked when so much of the last is missing. In a large swarm each source is slow, and what waits at
/// one of them is what another, that holds it too, has nothing to do without.
const CHUNK_PART: u64 = 4;

const CHUNK: u64 = CHUNK_BYTES_MAX as u64;

/// How far beyond the window deadline chunks may go, so that they need not wait for bulk to come. More is what a reader waits for when a path
/// dies and its chunks are asked behind all that the other one owes.
const BEYOND_BYTES: u64 = CHUNK / 4;

#[derive(Debug)]
pub(super) struct Window {
    rtt: Duration,
    rtt_min: Duration,
    rttvar: Duration,
    /// Bytes asked and not yet come.
    outstanding: u64,
    /// Of the last chunk that was asked.
    chunk_bytes: u64,
    /// Measured delivery rate in bytes per second; zero until there is a measurement.
    rate: u64,
    /// What the transport believes, in bytes per second.
    rate_told: Option<u64>,
    epoch_start: Instant,
    epoch_bytes: u64,
    /// Whether the window was filled in this epoch: if not, a low rate is our doing.
    epoch_filled: bool,
}

impl Window {
    pub(super) fn new(now: Instant, rtt: Duration) -> Self {
        Self {
            rtt,
            rtt_min: rtt,
            rttvar: rtt / 2,
            outstanding: 0,
            chunk_bytes: 0,
            rate: 0,
            rate_told: None,
            epoch_start: now,
            epoch_bytes: 0,
            epoch_filled: false,
        }
    }

    pub(super) fn on_stats(&mut self, stats: SourceStats) {
        self.rtt = stats.rtt;
        self.rtt_min = self.rtt_min.min(stats.rtt);
        self.rttvar = stats.rttvar;
        self.rate_told = stats.rate_bytes_per_s.filter(|rate| *rate > 0);
    }

    pub(super) fn on_ask(&mut self, now: Instant, bytes: u64, config: &SchedulerConfig) {
        if self.outstanding == 0 {
            self.start_epoch(now);
        }
        self.outstanding += bytes;
        self.chunk_bytes = bytes;
        self.epoch_filled |= self.outstanding >= self.bytes(config);
    }

    pub(super) fn on_progress(&mut self, now: Instant, bytes: u64) {
        self.give_back(bytes);
        self.epoch_bytes += bytes;
        let passed = now.since(self.epoch_start);
        if passed >= self.rtt.max(SERVICE) {
            let sample = (u128::from(self.epoch_bytes) * 1_000_000_000 / passed.as_nanos()) as u64;
            self.rate = match self.rate {
                0 => sample,
                rate if sample >= rate => rate.midpoint(sample),
                rate if self.epoch_filled => rate - (rate - sample) / 4,
                rate => rate,
            };
            self.start_epoch(now);
        }
    }

    /// Bytes that will not come: their ask ended.
    pub(super) fn give_back(&mut self, bytes: u64) {
        assert!(
            bytes <= self.outstanding,
            "{bytes} of {} outstanding bytes given back",
            self.outstanding
        );
        self.outstanding -= bytes;
    }

    pub(super) const fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Of the last chunk that was asked.
    pub(super) const fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    pub(super) const fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Whether one more chunk may be asked. Asks go out while less than the window is outstanding; a deadline chunk may go a little
    /// beyond; `window_bytes_max` is never passed by the last of either.
    pub(super) fn has_room(&self, class: Class, config: &SchedulerConfig) -> bool {
        let limit = match class {
            Class::Deadline => (self.bytes(config) + self.chunk_bytes.max(BEYOND_BYTES)).min(config.window_bytes_max - CHUNK + 1),
            Class::Bulk | Class::Heal => self.bytes(config).min(config.window_bytes_max - 2 * CHUNK + 1),
        };
        self.outstanding < limit
    }

    /// The window, in bytes.
    fn bytes(&self, config: &SchedulerConfig) -> u64 {
        // It is asked of every source for every choice: 64 bits hold far more than the greatest window.
        let delay_us = self.rtt_min.max(SERVICE).as_nanos() as u64 / 1000;
        let (rate, floor) = match self.known_rate() {
            Some(rate) => (rate, (rate / QUEUES_PER_S).max(self.chunk_bytes / CHUNK_PART)),
            None => (RATE_NEW, config.window_bytes_min),
        };
        let wanted = rate.saturating_mul(2 * delay_us) / 1_000_000;
        wanted.clamp(floor.min(config.window_bytes_min), config.window_bytes_max)
    }

    /// What comes at most, as far as was seen, in bytes per second; zero before anything was.
    pub(super) fn rate(&self) -> u64 {
        self.known_rate().unwrap_or_default()
    }

    /// How long until `bytes` more would be here, were the peer there for us alone: half a round trip, and everything outstanding before them.
    pub(super) fn estimated_finish(&self, bytes: u64) -> Duration {
        let rate = self.known_rate().unwrap_or(RATE_UNKNOWN).max(1);
        // It is asked of every source for every choice, and there are seldom 18 GB outstanding.
        let nanos = (self.outstanding + bytes).saturating_mul(1_000_000_000) / rate;
        self.rtt / 2 + Duration::from_nanos(nanos)
    }

    /// Silence that is suspicious: well past a round trip and its deviation (compare the PTO of RFC 9002 section 6.2.1).
    pub(super) fn stall_time(&self, config: &SchedulerConfig) -> Duration {
        config.stall_floor.max(self.rtt * 2 + self.rttvar * 4)
    }

    fn known_rate(&self) -> Option<u64> {
        match self.rate {
            0 => self.rate_told,
            rate => Some(rate),
        }
    }

    fn start_epoch(&mut self, now: Instant) {
        self.epoch_start = now;
        self.epoch_bytes = 0;
        self.epoch_filled = false;
    }
}
