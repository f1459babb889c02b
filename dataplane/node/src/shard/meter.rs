//! What a connection has carried in the last seconds. Fed with its totals once a second, so that it costs nothing in between.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time between two marks, and marks that are kept: rates are those of the last three to four seconds.
const MARK_EVERY: Duration = Duration::from_secs(1);
const MARKS_MAX: usize = 4;

/// Bytes since a connection began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// That came.
    pub(super) rx_bytes: u64,
    /// That went.
    pub(super) tx_bytes: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Meter {
    marks: VecDeque<(Instant, Carried)>,
}

impl Meter {
    /// Whether it is time for `on_mark`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let last = self.marks.back();
        last.is_none_or(|(at, _)| now.saturating_duration_since(*at) >= MARK_EVERY)
    }

    /// This much has been carried in all.
    pub(super) fn on_mark(&mut self, now: Instant, total: Carried) {
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back((now, total));
    }

    /// What was carried in each of the last seconds on average, now that it is `total` in all.
    pub(super) fn per_s(&self, now: Instant, total: Carried) -> Carried {
        let Some((from, then)) = self.marks.front() else {
            return Carried::default();
        };
        let seconds = now.saturating_duration_since(*from).as_secs_f64();
        let rate = |bytes: u64| if seconds > 0.0 { (bytes as f64 / seconds) as u64 } else { 0 };
        Carried {
            rx_bytes: rate(total.rx_bytes.saturating_sub(then.rx_bytes)),
            tx_bytes: rate(total.tx_bytes.saturating_sub(then.tx_bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let carried = |rx_bytes, tx_bytes| Carried { rx_bytes, tx_bytes };
        let mut meter = Meter::default();
        assert_eq!(meter.per_s(at(0), carried(9, 9)), carried(0, 0), "nothing is known yet");
        let mut total = carried(0, 0);
        for ms in (0..60_000).step_by(100) {
            total.tx_bytes += 10;
            total.rx_bytes += if ms < 30_000 { 100 } else { 0 };
            if meter.is_due(at(ms)) {
                meter.on_mark(at(ms), total);
            }
            assert!(meter.marks.len() <= MARKS_MAX);
            if ms == 29_000 {
                assert_eq!(meter.per_s(at(ms), total), carried(1000, 100));
            }
        }
        assert_eq!(
            meter.per_s(at(59_900), total),
            carried(0, 100),
            "what was long ago is forgotten"
        );
    }
}
