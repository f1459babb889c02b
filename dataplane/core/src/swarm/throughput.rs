//! What comes of one source or of all together while something is asked, over longer than a round trip: bursts are no rate.

use std::time::Duration;

use crate::time::Instant;

/// Shorter than that, a rate means little.
const EPOCH: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    /// Since when something is asked; `None` while nothing is.
    busy_since: Option<Instant>,
    /// Before that, in this epoch.
    busy: Duration,
    bytes: u64,
    /// In bytes per second; zero before anything is known.
    rate: u64,
}

impl Throughput {
    /// Something is asked.
    pub(super) fn on_ask(&mut self, now: Instant) {
        self.busy_since.get_or_insert(now);
    }

    /// Whether that has changed the rate.
    pub(super) fn on_bytes(&mut self, now: Instant, bytes: u32) -> bool {
        self.bytes += u64::from(bytes);
        let busy = self.busy + self.busy_since.map_or(Duration::ZERO, |since| now.since(since));
        if busy < EPOCH {
            return false;
        }
        let sample = (u128::from(self.bytes) * 1_000_000_000 / busy.as_nanos()) as u64;
        self.rate = match self.rate {
            0 => sample,
            rate if sample >= rate => rate.midpoint(sample),
            rate => rate - (rate - sample) / 8,
        };
        self.busy_since = self.busy_since.and(Some(now));
        self.busy = Duration::ZERO;
        self.bytes = 0;
        true
    }

    /// Nothing is asked any more.
    pub(super) fn on_idle(&mut self, now: Instant) {
        if let Some(since) = self.busy_since.take() {
            self.busy += now.since(since);
        }
    }

    /// Bytes that come within so many seconds; `None` before anything is known.
    pub(super) fn within(&self, seconds: u64) -> Option<u64> {
        (self.rate > 0).then(|| self.rate.saturating_mul(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes within two seconds where so many bytes did, a thousand in each so many milliseconds.
    fn within_two_s(throughput: &mut Throughput, from_ms: u64, times: u64, each_ms: u64) -> Option<u64> {
        let at = |n: u64| Instant::ZERO + Duration::from_millis(from_ms + n * each_ms);
        throughput.on_ask(at(0));
        let changes = (1..=times).filter(|n| throughput.on_bytes(at(*n), 1000)).count() as u64;
        assert!(changes <= 1 + times * each_ms / EPOCH.as_millis() as u64);
        throughput.on_idle(at(times));
        throughput.within(2)
    }

    #[test]
    fn it_follows_what_comes_while_something_is_asked() {
        let mut throughput = Throughput::default();
        assert_eq!(within_two_s(&mut throughput, 0, 4, 100), None, "nobody knows yet");
        // Time in which nothing is asked does not count.
        assert_eq!(within_two_s(&mut throughput, 10_000, 1, 100), Some(2 * 10_000));
        assert_eq!(within_two_s(&mut throughput, 60_000, 5, 100), Some(2 * 10_000));
        let faster = within_two_s(&mut throughput, 70_000, 500, 1).expect("it is known");
        assert_eq!(faster, 10_000 + 1_000_000, "half of the way at once");
        let slower = within_two_s(&mut throughput, 80_000, 5, 100).expect("it is known");
        assert_eq!(slower, faster - (faster - 20_000) / 8);
        let slow = within_two_s(&mut throughput, 90_000, 60, 1000).expect("it is known");
        assert!((2000..3000).contains(&slow), "{slow}");
    }
}
